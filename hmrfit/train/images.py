"""People of image datasets as an image HMR is trained on them, real and synthetic alike, so that they can be mixed.

    real = PersonImages(read_spin_npz("coco_2014_train.npz"), root="/data/coco", how=Augmentation())
    made = ScenePeople(SceneDataset(body, poses, names="spin49"))
    MixedPeople([real, made], shares=[0.7, 0.3])                    # hmrfit.train.mixed: endless, resumed by a number
    DataLoader(ConcatDataset([real, made]), collate_fn=PersonSample.collate, ...)                 # or torch's own

The k-th person of an epoch is the same whatever the order and the workers: its chance comes of (seed, epoch, k).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hmrfit.camera import Camera
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.image import Crop, read_image
from hmrfit.keypoints import OPENPOSE25, SPIN24
from hmrfit.network.encoders import view_of_box
from hmrfit.synthetic.dataset import SceneDataset, SceneSample, scene_generator
from hmrfit.train.augmentation import (
    Augmentation,
    Change,
    change_image,
    change_names,
    change_params,
    change_points,
    draw,
    points_in_crop,
    turn,
)
from hmrfit.types import BodyParams, TensorRecord

SPIN49 = OPENPOSE25 + SPIN24


@dataclass(frozen=True)
class PersonSample(TensorRecord):
    """B people: what a network sees and what the losses compare with. What is unknown has the confidence 0."""

    images: Tensor  # (B, 3, R, R) uint8 RGB
    view: Tensor  # (B, 3), where the box lies before the camera; the default focal length where none is known
    keypoints: Tensor  # (B, 49, 2) spin49, in the crop's [-1, 1]
    confidence: Tensor  # (B, 49)
    joints: Tensor  # (B, 24, 3) spin24, metres
    joint_confidence: Tensor  # (B, 24)
    params: BodyParams  # at the origin
    has_params: Tensor  # (B,) bool

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def collate(cls, samples: Sequence[Self]) -> Self:
        """For `DataLoader(collate_fn=...)`."""
        return cls.cat(samples)


class PersonImages(Dataset):
    """The people of a `SpinDataset`, cut out of their images and augmented."""

    def __init__(
        self,
        people: SpinDataset,
        root: str | os.PathLike,
        how: Augmentation | None = None,
        resolution: int = 224,
        seed: int = 0,
    ) -> None:
        """
        Args:
            root: the folder below which `imgname` lies.
            how: None leaves everybody as they are.
        Raises:
            FileNotFoundError: the first image is not there.
        """
        self.people, self.root, self.how, self.resolution, self.seed = people, Path(root), how, resolution, seed
        self.epoch = 0
        self._keypoints, (self._joints, self._known) = people.keypoints(), people.joints()
        self._params, self._has_params = people.params(), people.smpl_known()
        if len(people) and not self.path(0).exists():
            raise FileNotFoundError(
                f"There is no '{self.path(0)}', the image of the first person. Is '{root}' the folder below which "
                f"'{people.imgname[0]}' lies?"
            )

    def __len__(self) -> int:
        return len(self.people)

    def path(self, index: int) -> Path:
        """The person's image."""
        return self.root / str(self.people.imgname[index])

    def change(self, index: int) -> Change:
        """What happens to this person in this epoch."""
        if self.how is None:
            return Change()
        return draw(self.how, scene_generator(self.seed, self.epoch * len(self) + index))

    def __getitem__(self, index: int) -> PersonSample:
        """Person `index`, as a batch of one."""
        return self._changed(index, self.change(index))

    def take(self, index: int, chance: int) -> PersonSample:
        """Person `index`, as a batch of one, changed as the number `chance` decides."""
        return self._changed(
            index, Change() if self.how is None else draw(self.how, scene_generator(self.seed, chance))
        )

    def _changed(self, index: int, change: Change) -> PersonSample:
        image, crop = read_image(self.path(index)), self.people.crop(index, self.resolution)
        box = change.box(crop)
        center, side = (torch.tensor([value], dtype=torch.float64) for value in (box.center, box.side))
        view = turn(view_of_box(center, side, Camera.from_size(*image.shape[1::-1])), change)
        row = slice(index, index + 1)
        origin = torch.zeros(1, 3, dtype=torch.float64)
        sample = {
            "view": view,
            "keypoints": points_in_crop(self._keypoints.xy[row], SPIN49, crop, change),
            "confidence": change_names(self._keypoints.confidence[row], SPIN49, change),
            "joints": change_points(self._joints[row], SPIN24, change),
            "joint_confidence": change_names(self._known[row], SPIN24, change),
            "params": change_params(self._params[row], origin, change),
        }
        picture = change_image(image, crop, change).transpose(2, 0, 1)
        return PersonSample(
            images=torch.from_numpy(np.ascontiguousarray(picture))[None],
            has_params=self._has_params[row],
            **{name: value.to(torch.float32) for name, value in sample.items()},
        )


class ScenePeople(Dataset):
    """Synthetic scenes in the same form: annotated (`spin24`) and detected (`openpose25`) keypoints, all true.

    A scene takes longer to make than to learn from: `remembered` ones are made once and shown again, each time changed
    in another way.
    """

    def __init__(
        self, scenes: SceneDataset, how: Augmentation | None = None, remembered: bool = False, resolution: int = 0
    ) -> None:
        """
        Args:
            how: what `take` changes; None leaves scenes as they were made. remembered: keep them in memory, 3 R² bytes
                each (and in that of every worker).
            resolution: of the crops; 0 for that of the scenes.
        Raises:
            ValueError: the scenes have other names than spin49.
        """
        if scenes.names != SPIN49:
            raise ValueError(
                'To be mixed with datasets, scenes need their keypoints: SceneDataset(..., names="spin49").'
            )
        self.scenes, self.how, self.resolution = scenes, how, resolution or scenes.resolution
        self._kept: dict[int, PersonSample] | None = {} if remembered else None

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> PersonSample:
        """Scene `index`, as a batch of one."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        sample = person_of_scene(self.scenes[index])
        if self._kept is not None:
            self._kept[index] = sample
        return sample

    def take(self, index: int, chance: int) -> PersonSample:
        """Scene `index`, as a batch of one, changed as the number `chance` decides."""
        change = Change() if self.how is None else draw(self.how, scene_generator(self.scenes.seed, chance))
        return change_sample(self[index], change, self.resolution)


def person_of_scene(scene: SceneSample) -> PersonSample:
    """What is known of a scene's people, in the form of datasets."""
    joints = scene.joints[:, len(OPENPOSE25) :]
    at_origin = replace(scene.params, transl=torch.zeros_like(scene.params.transl))
    return PersonSample(
        images=scene.images,
        view=scene.view,
        keypoints=scene.keypoints,
        confidence=scene.confidence,
        joints=joints,
        joint_confidence=torch.ones_like(joints[..., 0]),
        params=at_origin,
        has_params=torch.ones(len(joints), dtype=torch.bool),
    )


def change_sample(sample: PersonSample, change: Change, resolution: int) -> PersonSample:
    """A person cut out already, changed: the crop (a batch of one) takes the place of the full image."""
    if change == Change() and sample.images.shape[-1] == resolution:
        return sample
    picture = sample.images[0].permute(1, 2, 0).numpy()
    side = picture.shape[0]
    crop = Crop((side / 2, side / 2), side, resolution)
    shift = sample.view.new_tensor([change.shift])
    view = torch.cat([sample.view[:, :2] + shift * sample.view[:, 2:], change.scale * sample.view[:, 2:]], 1)
    pixels = side * (sample.keypoints + 1) / 2
    changed = change_image(picture, crop, change).transpose(2, 0, 1)
    return PersonSample(
        images=torch.from_numpy(np.ascontiguousarray(changed))[None],
        view=turn(view, change),
        keypoints=points_in_crop(pixels, SPIN49, crop, change),
        confidence=change_names(sample.confidence, SPIN49, change),
        joints=change_points(sample.joints, SPIN24, change),
        joint_confidence=change_names(sample.joint_confidence, SPIN24, change),
        params=change_params(sample.params, torch.zeros_like(sample.params.transl), change),
        has_params=sample.has_params,
    )

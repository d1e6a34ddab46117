"""People of image datasets as an image HMR is trained on them, real and synthetic alike, so that they can be mixed.

    real = PersonImages(read_spin_npz("coco_2014_train.npz"), root="/data/coco", how=Augmentation())
    made = ScenePeople(SceneDataset(body, poses, names="spin49"))
    both = ConcatDataset([real, made])
    DataLoader(both, sampler=WeightedRandomSampler(mixture_weights([real, made], [0.7, 0.3]), 50_000), ...)

The k-th person of an epoch is the same whatever the order and the workers: its chance comes of (seed, epoch, k).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hmrfit.camera import Camera
from hmrfit.data.augment import (
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
from hmrfit.data.scenes import SceneDataset, scene_generator
from hmrfit.data.spin_npz import SpinDataset
from hmrfit.image import read_image
from hmrfit.keypoints import OPENPOSE25, SPIN24
from hmrfit.network.encoders import view_of_box
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
        image, crop, change = read_image(self.path(index)), self.people.crop(index, self.resolution), self.change(index)
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
    """Synthetic scenes in the same form: annotated (`spin24`) and detected (`openpose25`) keypoints, all true."""

    def __init__(self, scenes: SceneDataset) -> None:
        """
        Raises:
            ValueError: the scenes have other names than spin49.
        """
        if scenes.names != SPIN49:
            raise ValueError(
                'To be mixed with datasets, scenes need their keypoints: SceneDataset(..., names="spin49").'
            )
        self.scenes = scenes

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> PersonSample:
        """Scene `index`, as a batch of one. Its augmentation is in its making."""
        scene = self.scenes[index]
        joints = scene.joints[:, len(OPENPOSE25) :]
        params = BodyParams(
            scene.params.global_orient,
            scene.params.body_pose,
            scene.params.betas,
            torch.zeros_like(scene.params.transl),
        )
        return PersonSample(
            images=scene.images,
            view=scene.view,
            keypoints=scene.keypoints,
            confidence=scene.confidence,
            joints=joints,
            joint_confidence=torch.ones_like(joints[..., 0]),
            params=params,
            has_params=torch.ones(1, dtype=torch.bool),
        )


def mixture_weights(datasets: Sequence[Dataset], shares: Sequence[float]) -> Tensor:
    """Weights (ΣN,) for torch's WeightedRandomSampler over their ConcatDataset: each dataset gets its share of draws.

    Raises:
        ValueError: not one share for each, a negative one, or a share for an empty dataset.
    """
    sizes = [len(dataset) for dataset in datasets]
    wrong = len(shares) != len(sizes) or any(s < 0 or (s > 0 and not n) for s, n in zip(shares, sizes, strict=False))
    if wrong or sum(shares) <= 0:
        raise ValueError(
            f"Expected a share ≥ 0 for each of {len(sizes)} datasets of {sizes} people, got {list(shares)}."
        )
    return torch.cat([torch.full((n,), s / max(n, 1), dtype=torch.float64) for n, s in zip(sizes, shares, strict=True)])

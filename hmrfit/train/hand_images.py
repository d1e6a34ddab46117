"""Training data of the image network of hands: hands of data sets and of synthetic scenes in one form, for `Mixed`.

    made = SceneHands(HandScenes(body, poses), Augmentation(flipped=0))
    real = HandImages(HandFiles(images, keypoints, ...), Augmentation(flipped=0), masks="grabcut")
    Mixed([made, real], shares=[0.5, 0.5])                                        # endless, resumed by a number

Every hand is a right one: a left hand's picture is mirrored, and with it its keypoints, its 3D points (x -> −x) and its
mask. A crop is CROP times the keypoints' box; its augmentation is the body's, without its mirror.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hmrfit.io.image import Crop, Image, read_image
from hmrfit.network.encoders import to_tensor
from hmrfit.ops.check import check_shape
from hmrfit.ops.how_many import how_many
from hmrfit.priors.biomechanics import mirrored_hands
from hmrfit.synthetic.dataset import scene_generator
from hmrfit.synthetic.hand_scenes import CROP, HAND21, HandSample, HandScenes
from hmrfit.train.augmentation import (
    Augmentation,
    Change,
    change_image,
    change_params,
    change_points,
    draw,
    points_in_crop,
)
from hmrfit.train.hand_masks import grabcut_mask
from hmrfit.types import BodyParams

GRABCUT_SIDE = 320
"""Pixels of the crop in which GrabCut looks for the hand (Boukhayma's released code)."""

MASKS = ("files", "grabcut", "none")
"""Where masks come from."""

WHITE = 127
"""A mask's pixel is the hand above it."""


@dataclass(frozen=True)
class HandFiles:
    """N hands of pictures on disk."""

    images: Sequence[Path]
    keypoints: NDArray[np.float64]  # (N, 21, 2) hand21, pixels of the picture, (0, 0) the corner of its first one
    confidence: NDArray[np.float64]  # (N, 21)
    points: NDArray[np.float64] | None = None  # (N, 21, 3) metres, camera frame; NaN in a hand where it is not known
    left: NDArray[np.bool_] | None = None  # (N,)
    masks: Sequence[Path | None] = ()  # white where the hand is

    def __post_init__(self) -> None:
        count = {"N": len(self.images)}
        check_shape(self.keypoints, "N 21 2", "keypoints of hands", dict(count))
        check_shape(self.confidence, "N 21", "confidence", dict(count))
        if self.points is not None:
            check_shape(self.points, "N 21 3", "points of hands", dict(count))
        if len(self.masks) not in (0, len(self.images)):
            raise ValueError(
                f"{how_many(len(self.images), 'pictures')} of hands have {how_many(len(self.masks), 'masks')}; give "
                "one each."
            )

    def __len__(self) -> int:
        return len(self.images)


def cut_hand(
    image: Image,
    keypoints: Tensor,
    confidence: Tensor,
    crop: Crop,
    change: Change,
    points: Tensor | None = None,
    mask: Image | None = None,
    mask_crop: Crop | None = None,
    params: BodyParams | None = None,
    betas: int = 10,
) -> HandSample:
    """One right hand, cut out and changed.

    Args:
        keypoints: (1, 21, 2) pixels of the picture. points: (1, 21, 3) metres. params: (1,).
        mask: (H, W) uint8, white where the hand is, of the picture; or of another one, in which the same box is
            `mask_crop`.
        betas: how many the body has where `params` are not known.
    """
    size, known = crop.resolution, torch.ones(1, dtype=torch.bool)
    if mask is None:
        seen = np.zeros((size, size), bool)
    else:
        plain = replace(change, colour=(1.0, 1.0, 1.0), occluder_colour=(0, 0, 0))
        seen = change_image(np.repeat(mask[..., None], 3, 2), mask_crop or crop, plain)[..., 0] > WHITE
    xy = size * (points_in_crop(keypoints, HAND21, crop, change) + 1) / 2
    within = ((xy >= 0) & (xy < size)).all(-1)
    xyz = torch.zeros(1, 21, 3) if points is None else change_points(points - points[:, :1], HAND21, change)
    if params is None:
        rest = torch.eye(3).repeat(1, 16, 1, 1)
        own = BodyParams(rest[:, 0], rest[:, 1:], torch.zeros(1, betas), torch.zeros(1, 3))
    else:
        own = change_params(replace(params, transl=torch.zeros_like(params.transl)), params.transl.new_zeros(3), change)
    return HandSample(
        images=to_tensor(change_image(image, crop, change)),
        masks=torch.from_numpy(seen)[None],
        has_mask=known & (mask is not None),
        keypoints=xy.float(),
        confidence=(confidence * within).float(),
        points=xyz.nan_to_num().float(),
        has_points=known & (points is not None and bool(xyz.isfinite().all())),
        params=own.to(torch.float32),
        has_params=known & (params is not None),
    )


class SceneHands(Dataset[HandSample]):
    """Synthetic hands, augmented. `remembered` ones are drawn once and come again, each time changed otherwise."""

    def __init__(
        self, scenes: HandScenes, how: Augmentation | None = None, remembered: bool = False, resolution: int = 0
    ) -> None:
        """how: None leaves them as they were drawn. resolution: of the crops; 0 for that of the scenes."""
        self.scenes, self.how, self.resolution = scenes, how, resolution or scenes.resolution
        self._kept: dict[int, HandSample] | None = {} if remembered else None

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> HandSample:
        """Hand `index`, as a batch of one."""
        if self._kept is None:
            return self.scenes[index]
        if index not in self._kept:
            self._kept[index] = self.scenes[index]
        return self._kept[index]

    def take(self, index: int, chance: int) -> HandSample:
        """Hand `index`, as a batch of one, changed as the number `chance` decides."""
        sample, change = self[index], drawn_change(self.how, self.scenes.seed, chance)
        side = sample.images.shape[-1]
        if change == Change() and side == self.resolution:
            return sample
        picture, mask = sample.images[0].permute(1, 2, 0).numpy(), sample.masks[0].numpy().astype(np.uint8) * 255
        crop = Crop((side / 2, side / 2), side, self.resolution)
        known = (sample.keypoints, sample.confidence)
        return cut_hand(picture, *known, crop, change, sample.points, mask, params=sample.params)


def drawn_change(how: Augmentation | None, seed: int, chance: int) -> Change:
    """The change of one hand: never a mirror."""
    return Change() if how is None else replace(draw(how, scene_generator(seed, chance)), flip=False)


class HandImages(Dataset[HandSample]):
    """The hands of pictures on disk."""

    def __init__(
        self,
        files: HandFiles,
        how: Augmentation | None = None,
        resolution: int = 256,
        seed: int = 0,
        masks: str = "files",
        betas: int = 10,
    ) -> None:
        """
        Args:
            how: None for no augmentation. betas: how many the network's body has.
            masks: "files" where there are some; "grabcut" makes them of the keypoints when a hand is first seen, and
                keeps them in memory; "none".
        Raises:
            ValueError: no such kind of masks. FileNotFoundError: the first picture is not there.
        """
        if masks not in MASKS:
            raise ValueError(f"masks is one of {', '.join(MASKS)}, not '{masks}'.")
        if len(files) and not Path(files.images[0]).is_file():
            raise FileNotFoundError(f"There is no '{files.images[0]}', the picture of the first hand.")
        self.files, self.how, self.resolution, self.seed = files, how, resolution, seed
        self.masks, self.betas = masks, betas
        self._grabcut: dict[int, NDArray[np.uint8]] = {}

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> HandSample:
        """Hand `index`, as a batch of one, as it is."""
        return self._cut(index, Change())

    def take(self, index: int, chance: int) -> HandSample:
        """Hand `index`, as a batch of one, changed as the number `chance` decides."""
        return self._cut(index, drawn_change(self.how, self.seed, chance))

    def _cut(self, index: int, change: Change) -> HandSample:
        files, row = self.files, slice(index, index + 1)
        image = read_image(files.images[index])
        xy, confidence = (torch.as_tensor(v[row].copy()) for v in (files.keypoints, files.confidence))
        points = None if files.points is None else torch.as_tensor(files.points[row].copy())
        left = files.left is not None and bool(files.left[index])
        if left:
            image = np.ascontiguousarray(image[:, ::-1])
            xy = torch.stack([image.shape[1] - xy[..., 0], xy[..., 1]], -1)
            points = None if points is None else mirrored_hands(points)
        seen = xy[0][confidence[0] > 0]
        if not len(seen):
            raise ValueError(f"'{files.images[index]}': no keypoint of the hand is known, so there is no crop.")
        low, high = seen.amin(0).tolist(), seen.amax(0).tolist()
        crop = Crop.around(low, high, CROP, self.resolution)
        mask, mask_crop = self._mask(index, image, xy[0].numpy(), confidence[0].numpy(), crop, left)
        return cut_hand(image, xy, confidence, crop, change, points, mask, mask_crop, betas=self.betas)

    def _mask(
        self, index: int, image: Image, xy: NDArray, confidence: NDArray, crop: Crop, left: bool
    ) -> tuple[Image | None, Crop | None]:
        """(the mask, the hand's box in it, None where it is that of the picture)."""
        if self.masks == "files":
            file = self.files.masks[index] if len(self.files.masks) else None
            if file is None:
                return None, None
            mask = read_image(file)[..., 0]
            if mask.shape != image.shape[:2]:
                raise ValueError(f"'{file}' is {mask.shape[1]} × {mask.shape[0]}, its picture another size.")
            return np.ascontiguousarray(mask[:, ::-1] if left else mask), None
        if self.masks == "none":
            return None, None
        wide = replace(crop, resolution=GRABCUT_SIDE)
        if index not in self._grabcut:
            found = grabcut_mask(wide.image(image), wide.points_to_crop(xy), confidence)
            self._grabcut[index] = np.packbits(found)
        bits = np.unpackbits(self._grabcut[index], count=GRABCUT_SIDE**2).reshape(GRABCUT_SIDE, GRABCUT_SIDE)
        middle = (GRABCUT_SIDE / 2, GRABCUT_SIDE / 2)
        return 255 * bits, Crop(middle, GRABCUT_SIDE, self.resolution)

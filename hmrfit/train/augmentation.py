"""Augmentation of people in square crops: another box, a rotation, a mirror, other colours, an occluder.

    u' = M R(a) u                     picture: u in the crop's [-1, 1], M = diag(−1, 1) if mirrored, a from x towards y
    X' = M R_z(a) X,  G' = M R_z(a) G M,  R_j' = M R_mate(j) M,  t' = M R_z(a) (J₀ + t) − J₀            the person
    v' = M R(a) v                     v, where the box lies from the camera's axis

Rotating a crop about its middle is rotating the whole picture about the camera's axis and cutting the box where it
went: so the truth stays exact, perspective and all, when the box's direction v rotates too. Left and right change
places by their names. Everything is a function of a `Change`, which `draw` makes of a generator's numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hmrfit.body.skeleton import SMPL, Skeleton
from hmrfit.io.image import Crop, Image
from hmrfit.keypoints import flip_permutation
from hmrfit.ops.rotation import mirror
from hmrfit.types import BodyParams


@dataclass(frozen=True)
class Augmentation:
    """How much changes; SPIN's by default, which neither moves the box nor covers anything."""

    scale: float = 0.25  # the box's side times 1 + a Gaussian of this deviation, cut off there
    translation: float = 0.0  # the box's middle moves by up to this fraction of its side, each way
    rotation: float = 30.0  # degrees, a Gaussian's deviation, cut off at twice that
    rotated: float = 0.4  # the fraction of people that are rotated at all
    flipped: float = 0.5
    colour: float = 0.4  # each channel times 1 ± this
    occluded: float = 0.0  # the fraction of people with an occluder
    occluder: tuple[float, float] = (0.15, 0.5)  # its sides, as fractions of the crop's

    @classmethod
    def hmr(cls) -> "Augmentation":
        """As HMR's released code: boxes moved by up to 20 of 224 pixels, mirrored, not rotated."""
        return cls(scale=0.23, translation=20 / 224, rotated=0.0, colour=0.0)


@dataclass(frozen=True)
class Change:
    """The augmentation of one person. The default changes nothing."""

    scale: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)  # fractions of the box's side
    angle: float = 0.0  # radians, from x towards y: clockwise as one looks at the picture
    flip: bool = False
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    occluder: tuple[float, float, float, float] | None = None  # left, top, right, bottom in the new crop's [-1, 1]
    occluder_colour: tuple[int, int, int] = (0, 0, 0)

    def box(self, crop: Crop) -> Crop:
        """The moved and resized box, still upright."""
        x, y = (c + s * crop.side for c, s in zip(crop.center, self.shift, strict=True))
        return Crop((x, y), crop.side * self.scale, crop.resolution)

    def matrix(self) -> Tensor:
        """M R(a), (2, 2) float64."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        sign = -1.0 if self.flip else 1.0
        return torch.tensor([[sign * cos, -sign * sin], [sin, cos]], dtype=torch.float64)


def draw(how: Augmentation, generator: torch.Generator) -> Change:
    """One person's change. As many random numbers are drawn whatever comes out."""
    uniform = torch.rand(15, generator=generator, dtype=torch.float64).tolist()
    normal = torch.randn(2, generator=generator, dtype=torch.float64).clamp(-2, 2).tolist()
    angle = math.radians(how.rotation * normal[1]) if uniform[0] < how.rotated else 0.0
    x, y = (how.translation * (2 * u - 1) for u in uniform[2:4])
    red, green, blue = (1 + how.colour * (2 * u - 1) for u in uniform[4:7])
    occluder_red, occluder_green, occluder_blue = (int(256 * u) for u in uniform[12:15])
    return Change(
        scale=1 + how.scale * min(max(normal[0], -1), 1),
        shift=(x, y),
        angle=angle,
        flip=uniform[1] < how.flipped,
        colour=(red, green, blue),
        occluder=_occluder(how.occluder, uniform[8:12]) if uniform[7] < how.occluded else None,
        occluder_colour=(occluder_red, occluder_green, occluder_blue),
    )


def _occluder(sides: tuple[float, float], chance: Sequence[float]) -> tuple[float, float, float, float]:
    """A rectangle whose middle lies anywhere in the crop."""
    width, height = (2 * (sides[0] + (sides[1] - sides[0]) * u) for u in chance[:2])
    x, y = (2 * u - 1 for u in chance[2:])
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


# ---- the picture


def change_image(image: Image, crop: Crop, change: Change) -> Image:
    """The person's changed crop (resolution, resolution, 3) out of the full image (H, W, 3)."""
    box = change.box(crop)
    picture = _rotated(image, box, change) if change.angle else box.image(image)
    if change.flip and not change.angle:
        picture = picture[:, ::-1]
    if change.colour != (1.0, 1.0, 1.0):
        picture = np.clip(picture * np.array(change.colour, np.float32) + np.float32(0.5), 0, 255).astype(np.uint8)
    picture = np.ascontiguousarray(picture)
    if change.occluder is not None:
        edges = (np.asarray(change.occluder) + 1) / 2 * box.resolution
        left, top, right, bottom = np.clip(np.round(edges), 0, box.resolution).astype(int)
        picture[top:bottom, left:right] = change.occluder_colour
    return picture


def _rotated(image: Image, box: Crop, change: Change) -> Image:
    """Bilinear, from an upright crop of the same fineness that is large enough to be rotated."""
    wide = math.ceil(box.resolution * (abs(math.cos(change.angle)) + abs(math.sin(change.angle))))
    ratio = wide / box.resolution
    upright = Crop(box.center, box.side * ratio, wide).image(image)
    back = change.matrix().T / ratio  # orthogonal: the transpose is the inverse
    affine = torch.cat([back, torch.zeros(2, 1).double()], 1).float()[None]
    grid = F.affine_grid(affine, [1, 3, box.resolution, box.resolution], align_corners=False)
    pixels = torch.as_tensor(upright).permute(2, 0, 1)[None].float()
    rotated = F.grid_sample(pixels, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return (rotated[0].permute(1, 2, 0) + 0.5).to(torch.uint8).numpy()


# ---- the truth about it


def points_in_crop(xy: Tensor, names: Sequence[str], crop: Crop, change: Change) -> Tensor:
    """2D keypoints (..., K, 2) in pixels of the full image -> the changed crop's [-1, 1]."""
    box = change.box(crop)
    middle = torch.tensor(box.center, dtype=xy.dtype, device=xy.device)
    return change_points(2 * (xy - middle) / box.side, names, change)


def change_points(points: Tensor, names: Sequence[str], change: Change) -> Tensor:
    """Named points (..., K, 2) about the crop's middle, or (..., K, 3) in the camera frame -> rotated and mirrored."""
    return change_names(rotate(points, change), names, change, dim=-2)


def change_names(values: Tensor, names: Sequence[str], change: Change, dim: int = -1) -> Tensor:
    """Values of named points along `dim`, such as confidences (..., K), with left and right exchanged in a mirror."""
    if not change.flip:
        return values.clone()
    return values.index_select(dim, torch.tensor(flip_permutation(names), device=values.device))


def rotate(vectors: Tensor, change: Change) -> Tensor:
    """(..., 2) or (..., 3): M R(a) on x and y; the component along the camera's axis stays. View directions too."""
    matrix = change.matrix().to(vectors)
    return torch.cat([vectors[..., :2] @ matrix.T, vectors[..., 2:]], -1)


def change_translation(transl: Tensor, root: Tensor, change: Change) -> Tensor:
    """t' = M R (J₀ + t) − J₀, since a body rotates about its pelvis.

    Args:
        transl: (B, 3) metres in the camera frame, or (B, 2) the weak camera's (tx, ty). Its s does not change.
        root: (B, 3) or (3,), J₀, where the pelvis of the resting body lies.
    """
    root = root[..., : transl.shape[-1]]
    return rotate(root + transl, change) - root


def change_params(params: BodyParams, root: Tensor, change: Change, skeleton: Skeleton = SMPL) -> BodyParams:
    """The parameters of the person in the changed picture. Betas stay: bodies are symmetric.

    Args:
        root: (B, 3) or (3,), the pelvis of the resting body.
        skeleton: of the body that the parameters are of.
    """
    matrix = torch.eye(3).to(params.transl)
    matrix[:2, :2] = Change(angle=change.angle).matrix().to(params.transl)
    orient, pose = matrix @ params.global_orient, params.body_pose
    if change.flip:
        order = torch.tensor(skeleton.mirror, device=pose.device)
        orient, pose = mirror(orient), mirror(pose[:, order[1:] - 1])
    return BodyParams(orient, pose.clone(), params.betas.clone(), change_translation(params.transl, root, change))

"""Cameras: frames, units, the pixel convention and every conversion between cameras, declared here and nowhere else.

Spaces, in the order a point passes them:
    body     metres, y up, the person's left = +x, facing +z
    camera   metres, OpenCV: +x right, +y down, +z forward;  X_camera = R X_body + transl
    pixels   continuous, (0, 0) is the CORNER of the top-left pixel, (0.5, 0.5) its centre (pytorch3d, COLMAP);
             cv2 puts centres at integers, so its principal points and hand-made annotations get +0.5 at the border
    crop     [-1, 1]² over a square box of the image, y down; exists only for the network

    Π(X) = focal * X_xy / X_z + center                                                       (pinhole, no distortion)

Weak perspective (s, tx, ty), as released HMR code has it: x̂ = s (X_xy + (tx, ty)) in the crop's [-1, 1].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.ops.check import brief_repr, check_finite, not_integer, numbers
from hmrfit.types import TensorRecord

Length = TypeVar("Length", float, Tensor)

PIXEL_CENTER = 0.5
"""What coordinates with pixel centres at integers (cv2's, COCO's, most detectors') lack to be ours."""

MIN_DEPTH = 0.05
"""Metres. Points nearer than this (or behind the camera) are projected as if they were this far away."""


LARGEST_SIDE = 2**20
"""Pixels. No image is wider or higher (OpenCV reads none that is)."""

FOCAL_RANGE = (1e-8, 1e9)
"""Of an image's longer side: beyond it, projections lose their digits. Lenses lie between 0.2 and 100."""

MOST_SKEW = 0.01
"""Of fx: a calibration's rounding. Leaving out as much moves a keypoint at the image's edge by half a percent."""

CENTER_RANGE = 100.0
"""Of an image's longer side: how far from its corner the principal point may lie. Crops have it outside of them."""


def default_focal(width: Length, height: Length) -> Length:
    """Pixels. √(W² + H²), a 53° diagonal view: what a photograph of unknown focal length is taken for."""
    return ((1.0 * width) ** 2 + (1.0 * height) ** 2) ** 0.5  # a whole number of 16 bits has no square


def focal_from_fov(fov_degrees: float, length: float) -> float:
    """Pixels, from the field of view along an image side of `length` pixels."""
    return 0.5 * length / torch.tan(torch.deg2rad(torch.tensor(fov_degrees / 2, dtype=torch.float64))).item()


def focal_from_35mm(focal_mm: float, width: float, height: float) -> float:
    """Pixels, from a 35 mm-equivalent focal length (EXIF's): by the diagonal, 43.27 mm on film."""
    return focal_mm * default_focal(width, height) / (36.0**2 + 24.0**2) ** 0.5


@dataclass(frozen=True, init=False)
class Camera(TensorRecord):
    """Pinhole cameras, one per person. The camera follows its image: `crop` and `resize` return the new image's."""

    focal: Tensor  # (B, 2) pixels
    center: Tensor  # (B, 2) pixels, the principal point
    size: Tensor  # (B, 2) width and height, pixels
    focal_known: Tensor  # (B,) bool: False where the focal length is assumed, or fitted

    def __init__(self, focal: Tensor, center: Tensor, size: Tensor, focal_known: Tensor | None = None) -> None:
        """focal_known: whether each focal length is a known one; all of them by default."""
        if focal_known is None and isinstance(focal, Tensor):
            focal_known = torch.ones(focal.shape[:1], dtype=torch.bool, device=focal.device)
        for name, value in (("focal", focal), ("center", center), ("size", size), ("focal_known", focal_known)):
            object.__setattr__(self, name, not_integer(value))

    def __len__(self) -> int:
        return self.focal.shape[0]

    @classmethod
    def from_size(
        cls, width: float, height: float, focal: float | Sequence[float] | None = None, count: int = 1
    ) -> "Camera":
        """An ordinary photograph's camera: principal point in the middle, focal length (one number or two, along x and
        y) given, or else assumed to be `default_focal`.

        Raises:
            ValueError, TypeError: a size or a focal length that no camera has.
        """
        size, known = _size_row(width, height), torch.tensor([focal is not None])
        focal = checked_focal(default_focal(*size[0].tolist()) if focal is None else focal, *size[0].tolist())
        return cls(torch.tensor([focal], dtype=torch.float64), size / 2, size, known)[[0] * count]

    @classmethod
    def from_intrinsics(
        cls, K: ArrayLike, width: float, height: float, pixel_centers_at_integers: bool = True
    ) -> "Camera":
        """From a 3×3 matrix without skew; cv2's calibrations (the default) have pixel centres at integers: +0.5.

        Raises:
            ValueError, TypeError: K is no such matrix, or its numbers are those of no camera.
        """
        what = "a matrix [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] in pixels"
        matrix = numbers(K, "K", what)
        if matrix.shape != (3, 3) or abs(matrix[2] - [0, 0, 1]).max() > 1e-6:
            raise ValueError(f"K should be {what}, but is {brief_repr(matrix.tolist(), 200)}.")
        (fx, skew, cx), (lower, fy, cy), _ = matrix.tolist()
        if abs(lower) > MOST_SKEW * abs(fx):
            raise ValueError(f"K should be {what}, but is {brief_repr(matrix.tolist(), 200)}.")
        if abs(skew) > MOST_SKEW * abs(fx):
            raise ValueError(f"K has a skew of {skew:g} px, which this pinhole has not. Calibrate without skew.")
        shift = PIXEL_CENTER if pixel_centers_at_integers else 0.0
        focal = torch.tensor([[fx, fy]], dtype=torch.float64)
        center = torch.tensor([[cx, cy]], dtype=torch.float64) + shift
        camera = cls(focal, center, _size_row(width, height))
        check_camera(camera, "K")
        return camera

    def project(self, points: Tensor) -> Tensor:
        """Camera-frame points (B, ..., 3) in metres -> pixels (B, ..., 2)."""
        focal, center = (v.reshape(len(v), *[1] * (points.ndim - 2), 2) for v in (self.focal, self.center))
        return focal * points[..., :2] / points[..., 2:].clamp_min(MIN_DEPTH) + center

    def project_jacobian(self, points: Tensor) -> Tensor:
        """∂Π/∂X (B, ..., 2, 3) in pixels per metre:  [f/z, 0, -f x/z²; 0, f/z, -f y/z²]."""
        focal = self.focal.reshape(len(self.focal), *[1] * (points.ndim - 2), 2)
        depth = points[..., 2:].clamp_min(MIN_DEPTH)
        in_front = points[..., 2:] > MIN_DEPTH
        scale = focal / depth
        slope = torch.where(in_front, -scale * points[..., :2] / depth, 0.0)
        return torch.cat([torch.diag_embed(scale), slope[..., None]], -1)

    def unproject(self, xy: Tensor, depth: Tensor) -> Tensor:
        """Pixels (B, K, 2) at depths (B, K) metres -> camera-frame points (B, K, 3)."""
        rays = (xy - self.center[:, None]) / self.focal[:, None]
        return torch.cat([rays * depth[..., None], depth[..., None]], -1)

    def crop(self, low: Tensor, size: Tensor) -> "Camera":
        """The camera of the image cut at `low` (B, 2), `size` (B, 2) pixels; `low` may lie outside the image."""
        return Camera(self.focal, self.center - low, size, self.focal_known)

    def resize(self, size: Tensor) -> "Camera":
        """The camera of the image resampled to `size` (B, 2) pixels."""
        ratio = size / self.size
        return Camera(self.focal * ratio, self.center * ratio, size, self.focal_known)


def checked_size(size: ArrayLike, name: str = "image_size") -> tuple[int, int]:
    """(width, height) as whole numbers of pixels.

    Raises:
        ValueError, TypeError: it is something else.
    """
    what = f"(width, height), two whole numbers of pixels from 1 to {LARGEST_SIDE:,}"
    pair = numbers(size, name, what)
    if pair.shape != (2,) or (pair < 1).any() or (pair > LARGEST_SIDE).any() or (pair % 1).any():
        raise ValueError(f"{name} should be {what}, but is {brief_repr(size)}.")
    return int(pair[0]), int(pair[1])


def checked_focal(focal: ArrayLike, width: float, height: float, name: str = "focal") -> list[float]:
    """Pixels along x and y, from one number or two.

    Raises:
        ValueError, TypeError: no such number, or one that no lens over an image of this size has.
    """
    what = "one number above 0 (or two, along x and y), in pixels"
    if isinstance(focal, str):
        raise ValueError(f"{name} should be {what}, or 'free' in hmrfit.fit, but is {brief_repr(focal)}.")
    pair = numbers(focal, name, what)
    if pair.shape == (3, 3):
        raise ValueError(
            f"{name} should be {what}, but is a 3×3 matrix: give camera=Camera.from_intrinsics(K, width, height)."
        )
    if pair.shape not in ((), (1,), (2,)) or not (pair > 0).all():
        raise ValueError(f"{name} should be {what}, but is {brief_repr(focal)}.")
    low, high = (limit * max(width, height) for limit in FOCAL_RANGE)
    if (pair < low).any() or (pair > high).any():
        raise ValueError(
            f"{name} should be {what}. Over {width:g} × {height:g} pixels, {brief_repr(focal)} cannot be computed "
            f"with: expected {low:g} to {high:g}, about {default_focal(width, height):.0f} where nothing is known. "
            "Millimetres in 35 mm equivalent go to focal_35mm=."
        )
    return [float(pair.flat[0]), float(pair.flat[-1])]


def check_camera(camera: Camera, name: str = "camera") -> None:
    """That B cameras hold the numbers of cameras.

    Raises:
        TypeError, ValueError: names the part that does not, and of which camera.
    """
    for part, of_one in (("focal", (2,)), ("center", (2,)), ("size", (2,)), ("focal_known", ())):
        _check_part(getattr(camera, part), f"{name}.{part}", of_one, camera.focal)
    parts = (camera.focal.tolist(), camera.center.tolist(), camera.size.tolist())
    for i, (focal, center, size) in enumerate(zip(*parts, strict=True)):
        one = name if len(camera) == 1 else f"{name} {i}"
        width, height = size
        if not (min(size) >= 1 and max(size) <= LARGEST_SIDE):
            raise ValueError(f"{one} is of an image of {size} pixels; expected 1 to {LARGEST_SIDE:,} along each side.")
        checked_focal(focal, width, height, name=f"{one}'s focal length")
        if max(map(abs, center)) > CENTER_RANGE * max(size):
            raise ValueError(f"{one} has its principal point at {center}, far outside of its image of {size} pixels.")


def _check_part(part: object, name: str, of_one: tuple[int, ...], focal: Tensor) -> None:
    """That one part of B cameras is a tensor (B, *of_one): of real numbers, or of bool where each camera has one."""
    shape, kind = ("(B, 2)", "real numbers") if of_one else ("(B,)", "bool")
    right = (torch.int32, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)
    if not isinstance(part, Tensor) or part.dtype not in (right if of_one else (torch.bool,)):
        raise TypeError(f"{name} should be a tensor {shape} of {kind}, not {brief_repr(part)}.")
    if part.shape != (*focal.shape[:1], *of_one):
        raise ValueError(
            f"{name} should have the shape {shape}, but has {tuple(part.shape)}; focal has {tuple(focal.shape)}."
        )
    check_finite(part, name)


def _size_row(width: float, height: float) -> Tensor:
    """(1, 2) pixels; a crop's need not be whole."""
    what = f"pixels, one number from 1 to {LARGEST_SIDE:,}"
    pair = [float(numbers(v, n, what, (), 1, LARGEST_SIDE)) for v, n in ((width, "width"), (height, "height"))]
    return torch.tensor([pair], dtype=torch.float64)


def weak_to_translation(weak: Tensor, box_center: Tensor, box_side: Tensor, camera: Camera) -> Tensor:
    """Weak perspective of a square crop -> translation (B, 3) of the body in the full image's camera.

    tz = 2 f/(side s),  t_xy = (tx, ty) + (box_center − c) tz / f                 (CLIFF's form; at the body's depth)

    Args:
        weak: (B, 3) s, tx, ty in the crop's [-1, 1]; translation added before scaling, as released.
        box_center: (B, 2) pixels of the full image. box_side: (B,) pixels.
    """
    s, txy = weak[:, 0], weak[:, 1:]
    focal = camera.focal.mean(-1)
    depth = 2 * focal / (box_side * s)
    offset = (box_center - camera.center) * depth[:, None] / camera.focal
    return torch.cat([txy + offset, depth[:, None]], -1)


def translation_to_weak(transl: Tensor, box_center: Tensor, box_side: Tensor, camera: Camera) -> Tensor:
    """The inverse of `weak_to_translation`: (B, 3) metres -> (B, 3) s, tx, ty."""
    depth = transl[:, 2]
    s = 2 * camera.focal.mean(-1) / (box_side * depth)
    offset = (box_center - camera.center) * depth[:, None] / camera.focal
    return torch.cat([s[:, None], transl[:, :2] - offset], -1)


def weak_project(points: Tensor, weak: Tensor) -> Tensor:
    """x̂ = s (X_xy + t): points (B, K, 3) about the pelvis, metres -> (B, K, 2) in the crop's [-1, 1]."""
    return weak[:, None, :1] * (points[..., :2] + weak[:, None, 1:])


def paper_to_released_weak(weak: Tensor) -> Tensor:
    """HMR's paper writes s Π(RX) + t; its code s (Π(RX) + t'): so t' = t / s. (B, 3) -> (B, 3)."""
    return torch.cat([weak[..., :1], weak[..., 1:] / weak[..., :1]], -1)


def released_to_paper_weak(weak: Tensor) -> Tensor:
    """The inverse of `paper_to_released_weak`."""
    return torch.cat([weak[..., :1], weak[..., 1:] * weak[..., :1]], -1)


def pixels_to_crop(xy: Tensor, box_center: Tensor, box_side: Tensor) -> Tensor:
    """Pixels (B, K, 2) -> the crop's [-1, 1]."""
    return 2 * (xy - box_center[:, None]) / box_side[:, None, None]


def crop_to_pixels(xy: Tensor, box_center: Tensor, box_side: Tensor) -> Tensor:
    """The inverse of `pixels_to_crop`."""
    return xy * box_side[:, None, None] / 2 + box_center[:, None]

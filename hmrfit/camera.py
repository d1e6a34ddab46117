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

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.types import TensorRecord

PIXEL_CENTER = 0.5
"""What coordinates with pixel centres at integers (cv2's, COCO's, most detectors') lack to be ours."""

MIN_DEPTH = 0.05
"""Metres. Points nearer than this (or behind the camera) are projected as if they were this far away."""


def default_focal(width: float | Tensor, height: float | Tensor) -> float | Tensor:
    """Pixels. √(W² + H²), a 53° diagonal view: what a photograph of unknown focal length is taken for."""
    return (width**2 + height**2) ** 0.5


def focal_from_fov(fov_degrees: float, length: float) -> float:
    """Pixels, from the field of view along an image side of `length` pixels."""
    return 0.5 * length / torch.tan(torch.deg2rad(torch.tensor(fov_degrees / 2, dtype=torch.float64))).item()


def focal_from_35mm(focal_mm: float, width: float, height: float) -> float:
    """Pixels, from a 35 mm-equivalent focal length (EXIF's): by the diagonal, 43.27 mm on film."""
    return focal_mm * (width**2 + height**2) ** 0.5 / (36.0**2 + 24.0**2) ** 0.5


@dataclass(frozen=True)
class Camera(TensorRecord):
    """Pinhole cameras, one per person. The camera follows its image: `crop` and `resize` return the new image's."""

    focal: Tensor  # (B, 2) pixels
    center: Tensor  # (B, 2) pixels, the principal point
    size: Tensor  # (B, 2) width and height, pixels

    def __len__(self) -> int:
        return self.focal.shape[0]

    @classmethod
    def from_size(cls, width: float, height: float, focal: float | None = None, count: int = 1) -> "Camera":
        """An ordinary photograph's camera: principal point in the middle, focal length given or `default_focal`."""
        focal = default_focal(width, height) if focal is None else focal
        size = torch.tensor([[width, height]], dtype=torch.float64)
        return cls(torch.full_like(size, focal), size / 2, size)[[0] * count]

    @classmethod
    def from_intrinsics(
        cls, K: Tensor, width: float, height: float, pixel_centers_at_integers: bool = True
    ) -> "Camera":
        """From a 3×3 matrix without skew; cv2's calibrations (the default) have pixel centres at integers: +0.5."""
        K = torch.as_tensor(K, dtype=torch.float64)
        shift = PIXEL_CENTER if pixel_centers_at_integers else 0.0
        size = torch.tensor([[width, height]], dtype=torch.float64)
        return cls(K.diagonal()[None, :2].clone(), K[None, :2, 2] + shift, size)

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
        return Camera(self.focal, self.center - low, size)

    def resize(self, size: Tensor) -> "Camera":
        """The camera of the image resampled to `size` (B, 2) pixels."""
        ratio = size / self.size
        return Camera(self.focal * ratio, self.center * ratio, size)


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

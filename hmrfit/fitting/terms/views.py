"""The same keypoints in other calibrated views of the same instant.

e_vk = Pi_v(R_v X_k + t_v) - x_vk      a fraction of the person's box in that view
z = |e|²/(sigma n_vk)²,  cost 1/2 c² z/(1+z)                                                      (Geman-McClure)

n_vk is 1 but for points of hands, which are as much more exact than those of bodies as hands are smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Known, Staged, Term, record_of
from hmrfit.fitting.terms.keypoints_3d import WEIGHT, WIDE_WEIGHT
from hmrfit.keypoints import body_places
from hmrfit.ops.robust import geman_mcclure
from hmrfit.types import Keypoints, TensorRecord

VIEWS = "views"
"""The name of their record, and of the term in the last stage."""

WIDE_VIEWS, FINAL_VIEWS = 0.3, 0.06
"""Robust scales of other views, fractions of the box there, as of the keypoints' own stages."""


@dataclass(frozen=True)
class OtherViews(TensorRecord):
    """The same people seen by V more cameras at the same instant:  x_view = rotation x + translation."""

    rotation: Tensor  # (B, V, 3, 3) from the fit's camera frame to the view's
    translation: Tensor  # (B, V, 3)
    focal: Tensor  # (B, V, 2)
    center: Tensor  # (B, V, 2)
    xy: Tensor  # (B, V, K, 2)
    confidence: Tensor  # (B, V, K)
    box_size: Tensor  # (B, V)
    noise_ratio: Tensor | None = None  # (B, V, K) n, of each point

    def of_points(self, places: Sequence[int]) -> "OtherViews":
        """Some of the K points."""
        ratio, own = self.noise_ratio, list(places)
        ratio = None if ratio is None else ratio[..., own]
        return replace(self, xy=self.xy[:, :, own], confidence=self.confidence[:, :, own], noise_ratio=ratio)

    def depth(self, points: Tensor) -> Tensor:
        """(B, V) metres before each view of one point (B, 3) of each person."""
        return (self.rotation[:, :, 2] * points[:, None]).sum(-1) + self.translation[..., 2]


def other_views(seen: Keypoints, camera: Camera, rotation: Tensor, translation: Tensor, moments: int = 1) -> Known:
    """For each of C views what the C - 1 others see of the same person.

    Args:
        seen: (C,) one person in each view. camera: (C,). rotation: (C, 3, 3) and translation: (C, 3) metres, with
            x_camera = R x_world + t.
        moments: T, of one or more moments: (T C,) of `seen` and `camera` are then view after view of each moment.
    """
    C = len(seen) // moments
    of_one = torch.tensor([[o for o in range(C) if o != c] for c in range(C)])
    between = [relative_pose(rotation, translation, c) for c in range(C)] * moments
    others = (of_one + C * torch.arange(moments)[:, None, None]).flatten(0, 1)  # (T C, C - 1)
    box = seen.of_points(body_places(seen.names)).box_size().clamp_min(1.0)
    record = OtherViews(
        torch.stack([turns[o] for (turns, _), o in zip(between, others % C, strict=True)]),
        torch.stack([shifts[o] for (_, shifts), o in zip(between, others % C, strict=True)]),
        camera.focal[others],
        camera.center[others],
        seen.xy[others],
        seen.confidence[others],
        box[others],
    )
    wide, final = ViewsTerm(WIDE_VIEWS, "views_wide"), ViewsTerm(FINAL_VIEWS)
    return Known(record, (Staged(wide, 0.0, WIDE_WEIGHT), Staged(final, WEIGHT)))


def relative_pose(rotation: Tensor, translation: Tensor, base: int) -> tuple[Tensor, Tensor]:
    """From camera `base` to every camera: x_c = R_c R_baseᵀ x_base + t_c - R_c R_baseᵀ t_base."""
    between = rotation @ rotation[base].T
    return between, translation - (between @ translation[base, :, None]).squeeze(-1)


@dataclass
class ViewsTerm(Term):
    """The observed keypoints in other calibrated views. sigma: a share of the person's box there."""

    sigma: float = FINAL_VIEWS
    name: str = VIEWS

    def _parts(self, e: Linearization) -> tuple[OtherViews, Tensor, Tensor, Tensor]:
        """(views, residuals (B, V, K, 2), slopes (B, V, K, 2, 2) by pixel, d pixel / d point (B, V, K, 2, 3))."""
        v = record_of(e.observation, OtherViews, VIEWS)
        B, V = v.confidence.shape[:2]
        points = (v.rotation[:, :, None] @ e.posed.points[:, None, ..., None]).squeeze(-1) + v.translation[:, :, None]
        camera = Camera(v.focal.flatten(0, 1), v.center.flatten(0, 1), v.center.flatten(0, 1))
        flat = points.flatten(0, 1)
        unit = self.sigma * v.box_size[..., None, None]
        unit = unit if v.noise_ratio is None else unit * v.noise_ratio[..., None]
        error = (camera.project(flat).unflatten(0, (B, V)) - v.xy) / unit
        residuals, slope = geman_mcclure(error, v.confidence)
        return v, residuals, slope / unit[..., None], camera.project_jacobian(flat).unflatten(0, (B, V))

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e)[1].transpose(1, 2).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        v, _, slope, projection = self._parts(e)
        covectors = slope @ projection @ v.rotation[:, :, None]  # (B, V, K, 2, 3)
        return e.point_rows(covectors.transpose(1, 2).flatten(2, 3))

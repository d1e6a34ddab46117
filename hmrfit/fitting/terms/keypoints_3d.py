"""Points measured in 3D, as a depth camera or several views give them.

e_k = X_k - x_k      metres; or both about their weighted means
z = |e|²/sigma²,  cost 1/2 c² z/(1+z)                                                             (Geman-McClure)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.smpl import FARTHEST, SmplBody
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Known, Measurement, PointTerm, Staged, check_point, record_of
from hmrfit.io.keypoint_files.names import choose_points
from hmrfit.io.photo import Photo
from hmrfit.ops.check import brief_repr, numbers
from hmrfit.ops.robust import geman_mcclure
from hmrfit.types import TensorRecord

WIDE, FINAL = 0.5, 0.1
"""Metres, the robust scales of the stages: with the weight of keypoints, 24, the last is a Gaussian of 2 cm."""

WEIGHT, WIDE_WEIGHT = 24.0, 200.0
"""Of what is measured like keypoints: in the last stage, and in those before it with the wide scale."""

MOST_CONFIDENCE = 2.0
"""As for 2D keypoints: greater than this is no confidence any more; between 1 and this it is 1."""


@dataclass(frozen=True)
class Points3D(TensorRecord):
    """Named points in the camera frame."""

    xyz: Tensor  # (B, K3, 3) metres
    confidence: Tensor  # (B, K3)


@dataclass(frozen=True, eq=False)
class Keypoints3D(Measurement):
    """Keypoints measured in 3D.

    Args:
        xyz: (K, 4) or (N, K, 4) x, y, z in metres and confidence, or (..., 3) with NaN where unseen.
        keypoint_set: the name of their set or the K names; default those of the 2D keypoints.
        relative: only where the points are relative to each other counts, not where they are.
    """

    name: ClassVar[str] = "keypoints_3d"
    xyz: ArrayLike
    keypoint_set: str | Sequence[str] | None = None
    relative: bool = False

    def read(self, photo: Photo, body: SmplBody) -> Known:
        names = photo.keypoints.names if self.keypoint_set is None else self.keypoint_set
        names, record = read_points_3d(self.xyz, names, body, photo, self.relative)
        points = body.points(names)
        wide = Keypoints3DTerm(points, self.relative, WIDE, "keypoints_3d_wide")
        final = Keypoints3DTerm(points, self.relative)
        return Known(record, (Staged(wide, 0.0, WIDE_WEIGHT), Staged(final, WEIGHT)))

    def seen_from(self, record: TensorRecord, rotation: Tensor, translation: Tensor) -> TensorRecord:
        assert isinstance(record, Points3D)
        return Points3D(record.xyz @ rotation.mT + translation[:, None], record.confidence)

    def check_in_camera(self, record: TensorRecord) -> None:
        assert isinstance(record, Points3D)
        depths = record.xyz[..., 2][record.confidence > 0]
        if not self.relative and len(depths) and depths.quantile(0.5) <= 0:
            raise ValueError(
                "keypoints_3d lie behind the camera: they should be in its frame, x to the right, y down, z forward "
                "(in fit_views in the world of the extrinsics). With relative=True only where they are relative to "
                "each other counts, in the same axes."
            )


@dataclass
class Keypoints3DTerm(PointTerm):
    """Points measured in 3D. relative: only where they are about their own weighted mean, not where that is."""

    points: PointBody
    relative: bool = False
    sigma: float = FINAL
    name: str = "keypoints_3d"

    def _parts(self, e: Linearization) -> tuple[PosedPoints, Tensor, Tensor, Tensor]:
        given, posed = record_of(e.observation, Points3D, Keypoints3D.name), self.posed(e)
        error = posed.points - given.xyz
        if self.relative:
            error = error - self._mean(error, given.confidence)
        return posed, *geman_mcclure(error / self.sigma, given.confidence), given.confidence

    @staticmethod
    def _mean(values: Tensor, confidence: Tensor) -> Tensor:
        """(B, 1, ...) over the points (B, K, ...), weighted; 0 where no point counts."""
        share = confidence / confidence.sum(1, keepdim=True).clamp_min(1e-9)
        return (share.view(*share.shape, *[1] * (values.ndim - 2)) * values).sum(1, keepdim=True)

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e)[1].flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        posed, _, slope, confidence = self._parts(e)
        if not self.relative:
            return self.rows(e, posed, slope / self.sigma).flatten(1, 2)
        axes = torch.eye(3).to(slope).expand_as(slope)
        rows = self.rows(e, posed, axes)
        return (slope / self.sigma @ (rows - self._mean(rows, confidence))).flatten(1, 2)


def read_points_3d(
    points: ArrayLike, keypoint_set: str | Sequence[str], body: SmplBody, photo: Photo, relative: bool
) -> tuple[tuple[str, ...], Points3D]:
    """(K, 4) or (N, K, 4) x, y, z in metres and confidence; (…, 3) with NaN where unseen -> names and record."""
    if not isinstance(relative, bool | np.bool_):
        raise TypeError(f"relative should be True or False, not {brief_repr(relative)}.")
    points = numbers(points, "keypoints_3d", "x, y, z in metres and confidence", finite=False)
    points = points[None] if points.ndim == 2 else points
    count = photo.given
    if points.ndim != 3 or points.shape[0] != count or points.shape[-1] not in (3, 4):
        raise ValueError(
            f"keypoints_3d should have the shape ({count}, K, 4) with x, y, z, confidence, or ({count}, K, 3), but "
            f"has {points.shape}."
        )
    chosen = choose_points(points.shape[1], None, keypoint_set, "keypoints_3d")
    names, points = chosen.names, points if chosen.rows is None else points[:, chosen.rows]
    for name in names:
        check_point(name, body, "keypoint_set")
    points = points[list(photo.rows)]
    finite = np.isfinite(points[..., :3]).all(-1)
    confidence = points[..., 3] if points.shape[-1] == 4 else finite.astype(np.float64)
    confidence = np.where(np.isnan(confidence) & ~finite, 0.0, confidence)  # a row of NaN: a missing point
    if not (finite | ~(confidence > 0)).all():
        raise ValueError(
            "keypoints_3d: a point with NaN or infinite coordinates has a confidence above 0. Unseen points have "
            "confidence 0."
        )
    seen = finite & (confidence > 0)
    if not seen.any():
        raise ValueError(
            "keypoints_3d: no point has a confidence above 0 and three coordinates, so nothing is known. Leave it out."
        )
    if np.median(np.abs(points[seen][:, 2])) > 100 or np.abs(points[seen][:, :3]).max() > FARTHEST:
        raise ValueError("keypoints_3d: depths above 100 look like millimetres. Give metres: divide by 1000.")
    if not ((confidence >= 0) & (confidence <= MOST_CONFIDENCE)).all():
        raise ValueError(
            f"keypoints_3d: confidences should lie between 0 and 1, but run from {confidence.min():g} to "
            f"{confidence.max():g}."
        )
    xyz = np.where(seen[..., None], points[..., :3], 0.0)
    return names, Points3D(torch.tensor(xyz), torch.tensor(np.where(seen, confidence.clip(0, 1), 0.0)))

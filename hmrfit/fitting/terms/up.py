"""What points up, known: people do not fall over, so their necks are above their feet.

    d = neck − middle of the ankles and feet,   e = d/|d| − g,   z = |e|²/s²,  cost ½ z/(1+z)

g points up in the camera frame. In recorded motion d is within 5 degrees of it half of the time, the pelvis' own axis
within 10. The cost is bounded, so people who lie down pay a constant and no more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Known, Measurement, PointTerm, Staged, record_of
from hmrfit.io.photo import Photo
from hmrfit.ops.check import numbers
from hmrfit.ops.level import unit_up, up_of_angles
from hmrfit.ops.robust import damping
from hmrfit.types import TensorRecord

POINTS = ("left_ankle", "right_ankle", "left_foot", "right_foot", "neck")
SHARES = (-0.25, -0.25, -0.25, -0.25, 1.0)
"""Of each in d."""

SCALE, WEIGHT = 0.25, 40.0
"""s, of a chord: 14 degrees; and the weight beside an anchor of 7 and keypoints of 0.7."""

PITCH, ROLL = (-90.0, 90.0), (-180.0, 180.0)
"""Degrees."""


@dataclass(frozen=True)
class Vertical(TensorRecord):
    """What points up in the camera frame."""

    up: Tensor  # (B, 3) unit vectors


@dataclass(frozen=True)
class Up(Measurement):
    """What points up, in one of four ways: a direction, gravity, the camera's pitch and roll, or the horizon.

    Args:
        direction: (3,) points up in the camera frame, (0, -1, 0) for a level camera; in `fit_views` in the world of the
            extrinsics.
        gravity: (3,) points down in the same frame, as the accelerometer of a phone gives it.
        pitch: degrees by which the camera looks down: 0 level, 90 straight down, below 0 upwards.
        roll: degrees by which the camera is turned clockwise, as who holds it sees it; with pitch, 0 by default.
        horizon: two points of it, ((x, y), (x, y)) pixels of the full image, lens distortion taken out. The focal
            length counts: one that is far off tilts the ground.
    """

    name: ClassVar[str] = "up"
    direction: ArrayLike | None = None
    gravity: ArrayLike | None = None
    pitch: float | None = None
    roll: float | None = None
    horizon: Sequence[Sequence[float]] | None = None

    def read(self, photo: Photo, body: SmplBody) -> Known:
        missing = [name for name in POINTS if not body.has_point(name)]
        if missing:
            raise ValueError(f"Up is about people who stand; this body has no {missing[0]}. Leave Up out.")
        up = self.upright(photo.camera)
        assert up is not None
        x, y, z = up.tolist()
        words = f"({x:.3f}, {y:.3f}, {z:.3f}), the camera looks {abs(_pitch_of(up)):.0f}° {'down' if z < 0 else 'up'}"
        record = Vertical(up.expand(len(photo), 3).clone())
        return Known(record, (Staged(UpTerm(body.points(POINTS)), WEIGHT, WEIGHT),), words)

    def upright(self, camera: Camera | None) -> Tensor | None:
        ways = {
            "direction": self.direction,
            "gravity": self.gravity,
            "pitch": self.pitch,
            "horizon": self.horizon,
        }
        given = [name for name, value in ways.items() if value is not None]
        if len(given) != 1:
            raise ValueError(
                "Up takes one of direction, gravity, pitch (with roll) and horizon, but got "
                f"{', '.join(given) or 'none'}. For a camera that is held level: Up(pitch=0)."
            )
        if self.roll is not None and self.pitch is None:
            raise ValueError(
                "Up: roll belongs to pitch, which is not given. Give Up(pitch=0, roll=...), or leave it out."
            )
        if self.direction is not None:
            return unit_up(self.direction, "Up's direction")
        if self.gravity is not None:
            return -unit_up(self.gravity, "Up's gravity")
        if camera is None:
            raise ValueError(
                f"Up: in fit_views {given[0]} says nothing, since each camera has its own. Give what points up in the "
                "world of the extrinsics: Up((0, 0, 1))."
            )
        if self.pitch is not None:
            return _of_angles(self.pitch, 0.0 if self.roll is None else self.roll)
        return _of_horizon(self.horizon, camera)

    def in_view(self, index: int, count: int) -> "Up":
        return Up(self.upright(None))

    def seen_from(self, record: TensorRecord, rotation: Tensor, translation: Tensor) -> TensorRecord:
        assert isinstance(record, Vertical)
        return Vertical((rotation @ record.up[..., None]).squeeze(-1))


def _pitch_of(up: Tensor) -> float:
    """Degrees."""
    return float(torch.rad2deg(torch.asin(-up[2])))


def _of_angles(pitch: float, roll: float) -> Tensor:
    angles = (
        float(numbers(pitch, "Up's pitch", "degrees, from -90 to 90, positive down", (), *PITCH)),
        float(numbers(roll, "Up's roll", "degrees, from -180 to 180", (), *ROLL)),
    )
    return up_of_angles(*torch.tensor(angles, dtype=torch.float64))


def _of_horizon(horizon: object, camera: Camera) -> Tensor:
    """The normal of the plane through the camera and the horizon, on the image's upper side."""
    what = "two different points ((x, y), (x, y)), pixels of the full image"
    points = numbers(horizon, "Up's horizon", what)
    if points.shape != (2, 2) or np.ptp(points, axis=0).max() < 1.0:
        raise ValueError(f"Up's horizon should be {what}, but is {points.tolist()}.")
    focal, center = camera.focal[0].numpy(), camera.center[0].numpy()
    rays = np.c_[(points - center) / focal, np.ones(2)]
    up = np.cross(rays[0], rays[1])
    return unit_up(up if up[1] < 0 else -up, "Up's horizon")


def standing_axis(points: Tensor) -> tuple[Tensor, Tensor]:
    """Points (B, 5, 3) named as `POINTS` -> d/|d| (B, 3), and |d| (B, 1) metres."""
    d = (points * points.new_tensor(SHARES)[:, None]).sum(1)
    length = d.norm(dim=-1, keepdim=True).clamp_min(1e-3)
    return d / length, length


@dataclass
class UpTerm(PointTerm):
    """The direction from the feet to the neck against what points up."""

    points: PointBody
    scale: float = SCALE
    name: str = "up"

    def _parts(self, e: Linearization) -> tuple[PosedPoints, Tensor, Tensor, Tensor, Tensor]:
        """(points, d/|d|, |d|, e/s, its damping)."""
        posed = self.posed(e)
        unit, length = standing_axis(posed.points)
        error = (unit - record_of(e.observation, Vertical, Up.name).up) / self.scale
        return posed, unit, length, error, damping(error)

    def residuals(self, e: Linearization) -> Tensor:
        *_, error, damp = self._parts(e)
        return error * damp

    def jacobian(self, e: Linearization) -> Tensor:
        posed, unit, length, error, damp = self._parts(e)
        eye = torch.eye(3).to(unit)
        r = (error * damp)[..., None]
        across = (eye - unit[..., None] * unit[:, None]) / (length * self.scale)[..., None]  # d e/s by d
        slope = damp[..., None] * (across - r @ (r.mT @ across))  # (B, 3, 3), residuals by d
        shares = unit.new_tensor(SHARES)[None, :, None, None]
        rows = self.rows(e, posed, shares * slope[:, None])  # (B, K, 3, P)
        return rows.sum(1)

"""The floor, and the points that touch it.

e_k = n . X_k - offset      metres; at points that touch, elsewhere only where it is below 0
z = e²/sigma²,  cost 1/2 c² z/(1+z)                                                               (Geman-McClure)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.smpl import FARTHEST, SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Known, Measurement, PointTerm, Staged, check_point, record_of
from hmrfit.fitting.terms.keypoints_3d import FINAL, WEIGHT, WIDE, WIDE_WEIGHT
from hmrfit.io.photo import Photo
from hmrfit.ops.check import brief_repr, numbers
from hmrfit.ops.level import unit_up
from hmrfit.ops.robust import geman_mcclure
from hmrfit.types import TensorRecord

SOLES = ("left_heel", "right_heel", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe")
"""Points that are never below the floor."""


@dataclass(frozen=True)
class Plane(TensorRecord):
    """The floor as a plane n . x = offset."""

    up: Tensor  # (B, 3) unit normal n, pointing up
    offset: Tensor  # (B,) metres
    weight: Tensor  # (B,) 1 where there is a floor, 0 where nothing is known


@dataclass(frozen=True)
class Floor(Measurement):
    """The floor in the camera frame: the points x with up . x = offset (metres), and what stands on it.

    Args:
        up: (3,) away from the floor; a level camera's is (0, -1, 0), and with it offset is minus the camera's height.
        offset: metres.
        contacts: names of points that touch it ("left_heel", "right_big_toe", any point of the body). The soles of
            both feet are never below it, whatever touches.
    """

    name: ClassVar[str] = "ground"
    up: Sequence[float]
    offset: float
    contacts: Sequence[str] = ()

    def read(self, photo: Photo, body: SmplBody) -> Known:
        names, record = _read_floor(self, body, len(photo))
        points, contacts = body.points(names), tuple(self.contacts)
        wide, final = FloorTerm(points, contacts, WIDE, "ground_wide"), FloorTerm(points, contacts)
        return Known(record, (Staged(wide, 0.0, WIDE_WEIGHT), Staged(final, WEIGHT)))

    def upright(self, camera: Camera | None) -> Tensor:
        return unit_up(self.up, "the floor's up")

    def seen_from(self, record: TensorRecord, rotation: Tensor, translation: Tensor) -> TensorRecord:
        assert isinstance(record, Plane)
        up = (rotation @ record.up[..., None]).squeeze(-1)
        return Plane(up, record.offset + (up * translation).sum(-1), record.weight)


@dataclass
class FloorTerm(PointTerm):
    """Points against the floor. contacts: which of the points touch it; the others only must not be below."""

    points: PointBody
    contacts: Sequence[str] = ()
    sigma: float = FINAL
    name: str = "ground"

    def _parts(self, e: Linearization) -> tuple[Plane, PosedPoints, Tensor, Tensor]:
        floor, posed = record_of(e.observation, Plane, Floor.name), self.posed(e)
        above = (posed.points * floor.up[:, None]).sum(-1) - floor.offset[:, None]
        touch = torch.tensor([name in self.contacts for name in self.points.names], device=above.device)
        counts = floor.weight[:, None] * (touch | (above < 0))
        residuals, slope = geman_mcclure(above[..., None] / self.sigma, counts)
        return floor, posed, residuals.squeeze(-1), slope.squeeze(-1) / self.sigma

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e)[2]

    def jacobian(self, e: Linearization) -> Tensor:
        floor, posed, _, slope = self._parts(e)
        return self.rows(e, posed, slope[..., None] * floor.up[:, None, None]).squeeze(2)


def _read_floor(floor: Floor, body: SmplBody, count: int) -> tuple[tuple[str, ...], Plane]:
    if not isinstance(floor.contacts, Sequence) or isinstance(floor.contacts, str):
        raise TypeError(f"the floor's contacts should be a list of names of points, not {brief_repr(floor.contacts)}.")
    for name in floor.contacts:
        check_point(name, body, "the floor's contacts")
    what = "three numbers that point away from the floor, (0, -1, 0) for a level camera"
    up = numbers(floor.up, "the floor's up", what)
    if up.shape != (3,):
        raise ValueError(f"the floor's up should be {what}, but has the shape {up.shape}.")
    largest = float(np.abs(up).max())
    if not largest > 0:
        raise ValueError("the floor's up should point away from the floor, but has no length.")
    offset = numbers(floor.offset, "the floor's offset", "metres, one number", ())
    length = float(np.linalg.norm(up / largest)) * largest
    metres = float(offset) / length
    if not abs(metres) <= FARTHEST:
        raise ValueError(
            f"the floor's offset should be metres, at most {FARTHEST:g}, but the floor is {metres:g} m away."
        )
    names = tuple(dict.fromkeys((*floor.contacts, *(n for n in SOLES if body.has_point(n)))))
    row = torch.tensor(up / length).expand(count, 3).clone()
    return names, Plane(row, torch.full((count,), metres, dtype=torch.float64), torch.ones(count).double())

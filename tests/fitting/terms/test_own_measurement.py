"""A measurement of the user's own is a class or two in one file, and does the same in all three fits."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from helpers.bodies import demo_points
from torch import Tensor

import hmrfit
from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Known, Measurement, Staged, Term, record_of
from hmrfit.io.photo import Photo
from hmrfit.types import TensorRecord


@dataclass(frozen=True)
class Width(TensorRecord):
    """Between the shoulders' joints."""

    metres: Tensor  # (B,)


@dataclass(frozen=True)
class ShoulderWidth(Measurement):
    """What the user gives, and how it is read."""

    name: ClassVar[str] = "shoulder_width"
    metres: float

    def read(self, photo: Photo, body: SmplBody) -> Known:
        record = Width(torch.full((len(photo),), self.metres, dtype=torch.float64))
        return Known(record, (Staged(ShoulderWidthTerm(), 1.0, 1.0),), f"{self.metres} m")


class ShoulderWidthTerm(Term):
    """r = (|left - right| - width) / 5 mm. Its derivatives are found by the library."""

    name = "shoulder_width"

    def residuals(self, e: Linearization) -> Tensor:
        known = record_of(e.observation, Width, "shoulder_width")
        left, right = (e.output.joints[:, e.body.skeleton.index(f"{side}_shoulder")] for side in ("left", "right"))
        return (((left - right).norm(dim=-1) - known.metres) / 0.005)[:, None]


def width(result: hmrfit.FitResult) -> np.ndarray:
    joints = [result.joints[:, result.joint_names.index(f"{side}_shoulder")] for side in ("left", "right")]
    return np.linalg.norm(joints[0] - joints[1], axis=-1)


def test_a_measurement_of_the_users_own_holds_in_all_three_fits():
    points, image = demo_points(480), {"keypoint_set": "coco17", "image_size": (640, 480)}
    assert abs(width(hmrfit.fit(None, points, **image))[0] - 0.39) > 0.02
    known = {"measurements": [ShoulderWidth(0.39)]}
    one = hmrfit.fit(None, points, **image, **known)
    frames = hmrfit.fit_sequence(np.stack([points] * 3), fps=30, **image, **known)
    apart = np.tile(np.eye(3, 4), (2, 1, 1))
    apart[1, 0, 3] = -0.01
    cameras = [hmrfit.Camera.from_size(640, 480, focal=800.0)] * 2
    views = hmrfit.fit_views([None] * 2, [points] * 2, apart, cameras=cameras, **image, **known)
    for result in (one, frames, *views):
        np.testing.assert_allclose(width(result), 0.39, atol=0.01)
        assert result.measurements == {"shoulder_width": "0.39 m"} and "shoulder_width" in result.term_cost

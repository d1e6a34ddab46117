"""What points up, known: the term, the four ways to say it, and people who stand straighter by it."""

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points, free_body
from helpers.measured import at, check_measured, moved, other_frame

import hmrfit
from hmrfit.camera import Camera
from hmrfit.fitting.terms.up import POINTS, Up, UpTerm, Vertical

CAMERA = Camera.from_size(640, 480, focal=600.0)
TERM = UpTerm(free_body().points(POINTS))


def vertical(*up: float, count: int = 3) -> Vertical:
    return Vertical(torch.nn.functional.normalize(torch.tensor([up]).double(), dim=-1).expand(count, 3))


def test_derivatives_and_sums():
    check_measured(TERM, at(up=vertical(0.1, -1.0, -0.3)))


def test_without_it_there_is_an_error_message():
    with pytest.raises(ValueError, match="The term 'up' looks at a measurement that was not given"):
        TERM.residuals(at())


@pytest.mark.parametrize("pitch, roll", [(0.0, 0.0), (20.0, 0.0), (-15.0, 10.0)])
def test_four_ways_to_say_it(pitch: float, roll: float):
    up = Up(pitch=pitch, roll=roll).upright(CAMERA)
    assert up is not None
    assert np.sign(-float(up[2])) == np.sign(pitch)  # a camera that looks down sees the heads lean towards it
    far = up.numpy() @ np.array([[1.0, 0, 0], [0, 0, 1]]).T  # two directions along the ground
    along = [np.array([1.0, -far[0] / up[1].item(), 0]), np.array([0.3, 0, 1.0])]
    along[1][1] = -(0.3 * up[0].item() + up[2].item()) / up[1].item()
    along[0] = along[0] + along[1]  # both before the camera
    horizon = [(600 * d[0] / d[2] + 320, 600 * d[1] / d[2] + 240) for d in along]
    for same in (Up(up.tolist()), Up(gravity=(-3 * up).tolist()), Up(horizon=horizon)):
        torch.testing.assert_close(same.upright(CAMERA), up, rtol=0, atol=1e-9)


def test_in_another_frame_it_says_the_same():
    e, record = at(up=vertical(0.1, -1.0, -0.3)), vertical(0.1, -1.0, -0.3)
    rotation, translation = other_frame()
    there = Up((0, -1, 0)).seen_from(record, rotation, translation)
    other = moved(e, rotation, translation)
    other = type(e)(other.body, other.state, at(up=there).observation, other.layout)
    torch.testing.assert_close(TERM.residuals(other).norm(dim=-1), TERM.residuals(e).norm(dim=-1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "up, match",
    [
        (Up(), "one of direction, gravity"),
        (Up((0, -1, 0), pitch=3), "but got direction, pitch"),
        (Up(pitch=120), "between -90 and 90"),
        (Up((0, -1, 0), roll=3), "roll belongs to pitch"),
        (Up(horizon=((1, 2), (1, 2))), "two different points"),
        (Up(gravity=(0, 0, 0)), "no direction"),
    ],
)
def test_what_is_wrong_with_it_is_said(up: Up, match: str):
    with pytest.raises(ValueError, match=match):
        hmrfit.fit(None, demo_points(480), keypoint_set="coco17", image_size=(640, 480), measurements=[up])


def test_the_result_stands_upright_by_it_and_people_turn_towards_it():
    given = {"keypoint_set": "coco17", "image_size": (640, 480)}

    def tilt(*known: Up) -> tuple[float, hmrfit.FitResult]:
        """Of the line from the feet to the neck towards the camera, degrees."""
        result = hmrfit.fit(None, demo_points(480), **given, measurements=known)
        points = result.body_model.points(POINTS).pose(result.params).points[0]
        d = points[-1] - points[:-1].mean(0)
        return float(torch.rad2deg(torch.atan2(-d[2], -d[1]))), result

    down, result = tilt(Up(pitch=15))
    up, _ = tilt(Up(pitch=-15))
    assert up < tilt()[0] < down and down - up > 3
    np.testing.assert_allclose(result.up, [0, -np.cos(np.radians(15)), -np.sin(np.radians(15))], atol=1e-12)
    assert "the camera looks 15° down" in result.measurements["up"]


def test_it_must_agree_with_the_floor():
    known = [Up(pitch=30), hmrfit.Floor((0, -1, 0), -1.5)]
    with pytest.raises(ValueError, match=r"Up's is .*, but Floor's is"):
        hmrfit.fit(None, demo_points(480), keypoint_set="coco17", image_size=(640, 480), measurements=known)

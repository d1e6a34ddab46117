"""Pictures that are turned by quarter turns: the same people, seen by a camera that is turned about its axis."""

from dataclasses import replace

import pytest
import torch
from helpers.fits import fitter, people, photograph, shipped
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.parameters import State
from hmrfit.fitting.quarter_turns import (
    TURNS,
    quarter_turn,
    starts_in_quarter_turns,
    turned_anchor,
    turned_picture,
)
from hmrfit.fitting.starts import Given
from hmrfit.keypoints import COCO17
from hmrfit.types import Keypoints

B = 4


def lens() -> Camera:
    """Of other focal lengths along x and y, its principal point off the middle."""
    row = torch.tensor([[900.0, 870.0], [500.0, 410.0], [1024.0, 768.0]], dtype=torch.float64)
    return Camera(*(value.expand(B, 2) for value in row))


def turn_by(count: int) -> Tensor:
    return quarter_turn(torch.full((B,), count), torch.zeros(1).double())


@pytest.mark.parametrize("count", TURNS)
def test_the_turned_camera_takes_the_turned_picture(count: int):
    points = people(B, "coco17").joints
    seen = Keypoints(lens().project(points), torch.ones(points.shape[:2]).double(), COCO17)
    turned, camera = turned_picture(seen, lens(), turn_by(count))
    torch.testing.assert_close(camera.project(points @ turn_by(count).mT), turned.xy, rtol=0, atol=1e-9)
    torch.testing.assert_close(camera.size, lens().size.flip(1) if count % 2 else lens().size)
    inside = lambda xy, size: ((xy >= 0) & (xy <= size[:, None])).all(-1)  # noqa: E731
    assert torch.equal(inside(turned.xy, camera.size), inside(seen.xy, lens().size))


def test_four_quarter_turns_are_none():
    seen, camera = people(B, "coco17").keypoints, lens()
    for _ in range(4):
        seen, camera = turned_picture(seen, camera, turn_by(1))
    torch.testing.assert_close(seen.xy, people(B, "coco17").keypoints.xy)
    torch.testing.assert_close(camera.center, lens().center)


def test_an_anchor_says_the_same_of_turned_bodies():
    """The energy of a body about the anchor, both turned, is that of the body before."""
    truth = people(B, "coco17", noise=0.01)
    begun = shipped().begin(Given(truth.keypoints, photograph(B)))
    anchor, turn = begun.observation.anchor, quarter_turn(torch.tensor([0, 1, 2, 3]), truth.keypoints.xy)
    turned = lambda p: replace(p, global_orient=turn @ p.global_orient, transl=(turn @ p.transl[..., None])[..., 0])  # noqa: E731
    other = turned_anchor(anchor, State(turned(begun.state.params), begun.state.camera), turn)
    torch.testing.assert_close(other.energy(turned(truth.params)), anchor.energy(truth.params))


def test_a_start_in_no_turn_is_the_start_and_the_others_are_seen_where_it_was():
    truth = people(B, "coco17", noise=0.01)
    body, start = shipped().point_body(COCO17), shipped().schedule.start
    begun = start(Given(truth.keypoints, photograph(B)), body)
    same = starts_in_quarter_turns(start, begun.observation, photograph(B), body, (0,))
    torch.testing.assert_close(same.state.params.rotations, begun.state.params.rotations)
    torch.testing.assert_close(same.observation.anchor.scale, begun.observation.anchor.scale)
    others = starts_in_quarter_turns(start, begun.observation, photograph(B), body)
    assert len(others.state) == B * len(TURNS)
    for part, count in zip(torch.arange(B * len(TURNS)).split(B), TURNS, strict=True):
        alone = start(Given(*turned_picture(truth.keypoints, photograph(B), turn_by(count))), body)
        seen = alone.state.camera.project(body.pose(alone.state.params).points)
        back = others.state.camera[part].project(body.pose(others.state.params[part]).points)
        back = Keypoints(back, truth.keypoints.confidence, COCO17)
        torch.testing.assert_close(turned_picture(back, photograph(B), turn_by(count))[0].xy, seen)


def test_a_route_from_a_library_has_no_quarter_turns():
    """They need a start with an anchor."""
    assert not any(hasattr(step, "library") for step in fitter().schedule.after)

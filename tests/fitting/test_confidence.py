"""Low confidence is low: a keypoint of little confidence moves hardly anything, and padding moves nothing."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.fits import joints_of, people, photograph, shipped
from torch import Tensor

from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.route import Begun
from hmrfit.fitting.starts import Given, InitialEstimate
from hmrfit.keypoints import COCO17, OPENPOSE25
from hmrfit.types import Keypoints

COUNT = 60


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return shipped()


@pytest.fixture(scope="module")
def seen() -> Keypoints:
    return people(COUNT, "coco17", noise=0.01, missing=0.1).keypoints


def joints(fitter: Fitter, keypoints: Keypoints) -> Tensor:
    """About the pelvis."""
    found = joints_of(fitter.fit(keypoints, photograph(len(keypoints))))
    return found - found[:, :1]


def apart(a: Tensor, b: Tensor) -> Tensor:
    """Millimetres from joint to joint, the worst of each person."""
    return 1e3 * (a - b).norm(dim=-1).amax(1)


def begun(fitter: Fitter, keypoints: Keypoints) -> Begun:
    return fitter.begin(Given(keypoints, photograph(len(keypoints))))


def with_point(keypoints: Keypoints, name: str, xy: Tensor | None, confidence: float) -> Keypoints:
    changed, place = keypoints.map(torch.clone), keypoints.names.index(name)
    changed.confidence[:, place] = confidence
    changed.xy[:, place] = 0.0 if xy is None else xy
    return changed


def stray(keypoints: Keypoints, seed: int) -> Tensor:
    """(B, 2) somewhere within a box of the person's middle."""
    draw = torch.rand(2, len(keypoints), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    low, high = keypoints.bounds()
    angle, far = 2 * math.pi * draw[0], (0.3 + 0.7 * draw[1]) * keypoints.box_size()
    return (low + high) / 2 + far[:, None] * torch.stack([angle.cos(), angle.sin()], -1)


@pytest.mark.parametrize("name", ["nose", "left_wrist", "right_ankle", "left_hip_coco"])
def test_as_confidence_falls_to_zero_the_point_is_gone(fitter, seen, name):
    """At its place or anywhere: 1e-9 is as good as 0."""
    without = joints(fitter, with_point(seen, name, None, 0.0))
    for xy in (seen.xy[:, COCO17.index(name)], stray(seen, 1), torch.full((COUNT, 2), 1e6, dtype=torch.float64)):
        assert apart(joints(fitter, with_point(seen, name, xy, 1e-9)), without).max() < 1e-3


@pytest.mark.parametrize("confidence", [0.02, 0.05, 0.1])
def test_a_stray_point_of_low_confidence_moves_little(fitter, seen, confidence):
    """Among points of confidence 1, and among those of a detector that is never surer than 0.8."""
    for highest in (1.0, 0.8):
        keypoints = Keypoints(seen.xy, highest * seen.confidence, seen.names)
        without = joints(fitter, with_point(keypoints, "left_wrist", None, 0.0))
        moved = apart(joints(fitter, with_point(keypoints, "left_wrist", stray(seen, 2), confidence)), without)
        assert moved.median() < 30


def test_start_and_anchor_have_no_jump_in_a_confidence(fitter, seen):
    """What the networks say, while a stray point comes in. Of the person alone: where a joint is turned half around in
    the mirror image's estimate, there is no mean of both, and a jump from one side to the other."""
    some, one_sided = seen[slice(0, 12)], without_mirror_image(fitter)
    coarse, fine = (largest_step(one_sided, some, stray(some, 3), count) for count in (40, 320))
    assert (fine < 0.5 * coarse + 1e-3).all()  # a jump would be as large among eight times as many steps


def test_between_three_and_four_keypoints_the_error_model_fades(fitter, seen):
    """With four it is believed, with three nothing is known but that this is a person; between lies a way."""
    anchor = begun(fitter, seen).observation.anchor
    amounts = torch.linspace(0, 1, 5).tolist()
    ways = [anchor.unknown(torch.full((COUNT,), amount).double()) for amount in amounts]
    assert torch.equal(ways[0].scale, anchor.scale) and not ways[4].factors.any()
    for way, amount in zip(ways, amounts, strict=True):
        torch.testing.assert_close(way.scale, (1 - amount) * ways[0].scale + amount * ways[4].scale)
        torch.testing.assert_close(way.factors, (1 - amount) * ways[0].factors)


def without_mirror_image(fitter: Fitter) -> Fitter:
    start = fitter.schedule.start
    assert isinstance(start, InitialEstimate)
    one_sided = replace(start, network=start.network.without_flip_test())
    return fitter.with_schedule(replace(fitter.schedule, start=one_sided))


def largest_step(fitter: Fitter, keypoints: Keypoints, xy: Tensor, count: int) -> Tensor:
    """(B,) of the initial estimate and its anchor, while the left ankle's confidence goes from 0 to 1."""
    levels = torch.linspace(0, 1, count + 1).tolist()
    along = Keypoints.cat([with_point(keypoints, "left_ankle", xy, confidence) for confidence in levels])
    found = begun(fitter, along)
    path = torch.cat([found.state.params.rotations.flatten(1), found.observation.anchor.scale], 1)
    return path.unflatten(0, (len(levels), -1)).diff(dim=0).norm(dim=-1).amax(0)


def test_padding_a_set_changes_nothing(fitter, seen):
    names = (*COCO17, *(name for name in OPENPOSE25 if name not in COCO17))
    extra = len(names) - 17
    padded = Keypoints(
        torch.cat([seen.xy, torch.zeros(COUNT, extra, 2).double()], 1),
        torch.cat([seen.confidence, torch.zeros(COUNT, extra).double()], 1),
        names,
    )
    start, other = (begun(fitter, given) for given in (padded, seen))
    assert torch.equal(start.state.params.rotations, other.state.params.rotations)
    away = apart(joints(fitter, padded), joints(fitter, seen))
    converged = fitter.fit(seen, photograph(COUNT)).status > 0
    assert converged.sum() > 0.9 * COUNT
    assert away[converged].max() < 0.2 and away.max() < 1.0  # it stops at 3e-4 of the energy, or after its steps

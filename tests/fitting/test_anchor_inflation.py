"""The anchor lets go of people whose guess was wrong, and of them alone: a limb far off gets its keypoints, a stray
keypoint gets no limb."""

from dataclasses import replace

import pytest
import torch
from helpers.fits import people, photograph
from torch import Tensor

from hmrfit.build import build
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.anchor_inflation import IN_PLANE, OUT_OF_PLANE, SHAPE, Loosening, held, loosened
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import ANCHORED
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints

COUNT = 64
WRIST, ELBOW = COCO17.index("right_wrist"), COCO17.index("right_elbow")


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    own = build().fitter
    return own.with_schedule(replace(own.schedule, flips=0, guarded=False))


@pytest.fixture(scope="module")
def stiff(fitter: Fitter) -> Fitter:
    """The same without the second look."""
    return fitter.with_schedule(replace(fitter.schedule, loosening=None))


def away(fitter: Fitter, state: State, keypoints: Keypoints) -> Tensor:
    """(B, K) distances to the keypoints, % of the box."""
    projected = state.camera.project(fitter.point_body(keypoints.names).pose(state.params).points)
    return 100 * (projected - keypoints.xy).norm(dim=-1) / keypoints.box_size()[:, None]


def off_limb(params: BodyParams) -> BodyParams:
    """The right shoulder turned by 60 degrees in the picture's plane, the elbow by 40."""
    pose = params.body_pose.clone()
    for name, degrees in (("right_shoulder", 60.0), ("right_elbow", 40.0)):
        turn = torch.tensor([0.0, 0.0, degrees], dtype=torch.float64)
        j = SMPL24.index(name) - 1
        pose[:, j] = pose[:, j] @ rotvec_to_matrix(torch.deg2rad(turn))
    return replace(params, body_pose=pose)


def test_variances_are_multiplied_axis_by_axis(fitter):
    anchor = fitter.guess(Observation.of(people(3, "coco17").keypoints), photograph(3))[1].anchor
    twice = (held(anchor).scale / anchor.scale).square()
    expected = torch.tensor([OUT_OF_PLANE, OUT_OF_PLANE, IN_PLANE]).double()
    torch.testing.assert_close(twice[:, :72].unflatten(1, (24, 3)), expected.expand(3, 24, 3))
    torch.testing.assert_close(twice[:, 72:], torch.full((3, 10), SHAPE).double())
    assert torch.equal(held(anchor).factors, anchor.factors)


def outcome(anchor: float, keypoints: float, noise: float, unseen: int = 0) -> Fit:
    """Of one person with 20 keypoints, with such costs for each seen one, in nats, at the schedule's weights."""
    confidence = torch.ones(1, 20).double()
    confidence[:, :unseen] = 0
    seen = Keypoints(torch.rand(1, 20, 2).double(), confidence, tuple(f"k{i}" for i in range(20)))
    observation = Observation(seen, torch.ones(1).double(), noise=torch.full((1, 20), noise).double())
    each = {"anchor": 7.0 * anchor, "keypoints": 0.7 * keypoints}
    cost = {name: torch.tensor([value * (20 - unseen)]).double() for name, value in each.items()}
    weights = {"anchor": 7.0, "keypoints": 0.7}
    assert all(ANCHORED.weights[name] == weight for name, weight in weights.items())
    return Fit(None, torch.zeros(1).double(), cost, None, None, observation=observation)


def test_the_factor_is_its_formula():
    how = Loosening(base=1.0, anchor=0.5, keypoints=0.25, noise=2.0, hidden=3.0, least=1.1, most=50.0)
    noise = 0.0222
    found = how.factor(outcome(0.81, 0.64, noise, unseen=5), ANCHORED)
    expected = torch.e * 0.81**0.5 / 0.64**0.25 * noise**2 * torch.tensor(4.5 * 2 - 3 * 0.25).exp()
    torch.testing.assert_close(found, expected[None].double(), rtol=1e-6, atol=0)


def test_whom_it_lets_go():
    factor = lambda *case: Loosening().factor(outcome(*case), ANCHORED).item()  # noqa: E731
    usual, left = factor(0.03, 1.5, 0.008), factor(0.2, 1.2, 0.015)
    assert usual == 1.0 and left > 3
    assert factor(0.2, 4.0, 0.015) == 1.0  # the keypoints are not met although the anchor gave way
    assert factor(0.2, 1.2, 0.015, 12) == 1.0  # more than half is hidden
    assert factor(1e3, 0.1, 0.1) == Loosening().most  # never more than that
    assert factor(0.0, 0.0, 0.01) == 1.0  # the start was right


def test_a_limb_that_the_guess_has_wrong_gets_its_keypoints(fitter, stiff):
    """The guess from clean keypoints, its right arm then turned far away; what the error model says of it as it was."""
    truth = people(COUNT, "coco17")
    start, observation = fitter.guess(Observation.of(truth.keypoints), photograph(COUNT))
    wrong = replace(start, params=off_limb(start.params))
    own = observation.anchor
    turned = type(own).at(wrong.params, fitter.body.parents, own.scale, own.factors)
    observation = replace(observation, anchor=turned, noise=torch.full_like(observation.noise, 0.015))
    before, after = (f.from_start(wrong, observation, others=False) for f in (stiff, fitter))
    concerned = (after.observation.anchor.scale > own.scale * 1.01).all(1)
    assert concerned.double().mean() > 0.5
    arm = torch.tensor([WRIST, ELBOW])
    missed, met = (away(fitter, fit.state, truth.keypoints)[concerned][:, arm].mean() for fit in (before, after))
    assert met < 0.7 * missed
    assert (after.cost[concerned] < before.cost[concerned]).all()
    assert torch.equal(after.state.params.body_pose[~concerned], before.state.params.body_pose[~concerned])


def test_a_stray_keypoint_gets_no_limb(fitter, stiff):
    """One wrist a third of the box away from where it is: the loosened anchor does not follow it."""
    truth = people(COUNT, "coco17", noise=0.01)
    xy = truth.keypoints.xy.clone()
    xy[:, WRIST] += 0.33 * truth.keypoints.box_size()[:, None] * torch.tensor([0.6, -0.8]).double()
    keypoints = replace(truth.keypoints, xy=xy)
    before, after = (f.fit(keypoints, photograph(COUNT)) for f in (stiff, fitter))
    found = [fitter.body.points(SMPL24).pose(fit.state.params).joints for fit in (before, after)]
    error = [pa_mpjpe(joints, truth.joints).mean() for joints in found]
    assert error[1] < error[0] + 5e-4
    others = torch.tensor([k for k in range(17) if k != WRIST])
    clean = [away(fitter, f.state, truth.clean)[:, others].mean() for f in (before, after)]
    assert clean[1] <= clean[0]


def test_the_costs_are_those_of_the_anchor_it_carries(fitter):
    """So the guard and whoever asks for the energy see the same."""
    truth = people(COUNT, "coco17", noise=0.01)
    fit = fitter.fit(truth.keypoints, photograph(COUNT))
    energy = 7.0 * fit.observation.anchor.energy(fit.state.params)
    torch.testing.assert_close(fit.term_cost["anchor"], energy)
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost)


def test_alone_as_in_a_crowd(fitter, stiff):
    truth = people(COUNT, "coco17", noise=0.01)
    crowd, plain = (f.fit(truth.keypoints, photograph(COUNT)) for f in (fitter, stiff))
    loose = (crowd.steps > plain.steps).nonzero()[:, 0]
    assert 0 < len(loose) < COUNT / 2
    for i in loose[:3]:
        alone = fitter.fit(truth.keypoints[i : i + 1], photograph(1))
        torch.testing.assert_close(alone.state.params.transl[0], crowd.state.params.transl[i], rtol=0, atol=1e-6)
        torch.testing.assert_close(alone.state.params.body_pose[0], crowd.state.params.body_pose[i], rtol=0, atol=1e-6)


def test_nobody_or_no_anchor_changes_nothing(stiff):
    truth = people(8, "coco17")
    fit = stiff.fit(truth.keypoints, photograph(8))
    refuse = lambda *_: pytest.fail("nobody is to be fitted again")  # noqa: E731
    assert loosened(fit, ANCHORED, Loosening(base=-50.0), refuse) is fit
    without = replace(ANCHORED, weights={"keypoints": 0.7})
    assert loosened(fit, without, Loosening(), refuse) is fit

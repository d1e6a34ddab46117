"""The anchor's covariance is inflated for people whose start was wrong, and for them alone: a limb far off gets its
keypoints, a stray keypoint gets no limb."""

from dataclasses import replace

import pytest
import torch
from helpers.fits import joints_of, people, photograph, shipped
from torch import Tensor

from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.anchor_inflation import IN_PLANE, OUT_OF_PLANE, SHAPE, InflateAnchor, inflated_for_all
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Begun, Route
from hmrfit.fitting.schedule import ANCHORED
from hmrfit.fitting.starts import Given
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, RecordTable

COUNT = 64
WRIST, ELBOW = COCO17.index("right_wrist"), COCO17.index("right_elbow")


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    """As shipped, without other modes and without the acceptance test."""
    own = shipped()
    return own.with_schedule(replace(own.schedule, after=(InflateAnchor(),)))


@pytest.fixture(scope="module")
def stiff(fitter: Fitter) -> Fitter:
    """The same with the anchor as it was."""
    return fitter.with_schedule(replace(fitter.schedule, after=()))


def begun(fitter: Fitter, keypoints: Keypoints) -> Begun:
    return fitter.begin(Given(keypoints, photograph(len(keypoints))))


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
    anchor = begun(fitter, people(3, "coco17").keypoints).observation.anchor
    twice = (inflated_for_all(anchor).scale / anchor.scale).square()
    expected = torch.tensor([OUT_OF_PLANE, OUT_OF_PLANE, IN_PLANE]).double()
    torch.testing.assert_close(twice[:, :72].unflatten(1, (24, 3)), expected.expand(3, 24, 3))
    torch.testing.assert_close(twice[:, 72:], torch.full((3, 10), SHAPE).double())
    assert torch.equal(inflated_for_all(anchor).factors, anchor.factors)


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
    none = torch.zeros(1).double()
    return Fit(None, none, cost, none, none, [], none[:, None], observation, ANCHORED)


def test_the_factor_is_its_formula():
    how = InflateAnchor(base=1.0, anchor=0.5, keypoints=0.25, noise=2.0, hidden=3.0, least=1.1, most=50.0)
    noise = 0.0222
    found = how.factor(outcome(0.81, 0.64, noise, unseen=5), ANCHORED)
    expected = torch.e * 0.81**0.5 / 0.64**0.25 * noise**2 * torch.tensor(4.5 * 2 - 3 * 0.25).exp()
    torch.testing.assert_close(found, expected[None].double(), rtol=1e-6, atol=0)


def test_for_which_people_it_is_inflated():
    factor = lambda *case: InflateAnchor().factor(outcome(*case), ANCHORED).item()  # noqa: E731
    usual, left = factor(0.03, 1.5, 0.008), factor(0.2, 1.2, 0.015)
    assert usual == 1.0 and left > 3
    assert factor(0.2, 4.0, 0.015) == 1.0  # the keypoints are not met although the anchor gave way
    assert factor(0.2, 1.2, 0.015, 12) == 1.0  # more than half is hidden
    assert factor(1e3, 0.1, 0.1) == InflateAnchor().most  # never more than that
    assert factor(0.0, 0.0, 0.01) == 1.0  # the start was right


def test_a_limb_that_the_start_has_wrong_gets_its_keypoints(fitter, stiff):
    """The estimate from clean keypoints, its right arm then turned far away; its predicted error is as it was."""
    truth = people(COUNT, "coco17")
    estimate = begun(fitter, truth.keypoints)
    start, observation = estimate.state, estimate.observation
    wrong = replace(start, params=off_limb(start.params))
    own = observation.anchor
    turned = type(own).at(wrong.params, fitter.body.parents, own.scale, own.factors)
    observation = replace(observation, anchor=turned, noise=torch.full_like(observation.noise, 0.015))
    before, after = (f.run(Begun.at(wrong, observation)) for f in (stiff, fitter))
    concerned = (after.observation.anchor.scale > own.scale * 1.01).all(1)
    assert concerned.double().mean() > 0.5
    arm = torch.tensor([WRIST, ELBOW])
    missed, met = (away(fitter, fit.state, truth.keypoints)[concerned][:, arm].mean() for fit in (before, after))
    assert met < 0.7 * missed
    assert (after.cost[concerned] < before.cost[concerned]).all()
    assert torch.equal(after.state.params.body_pose[~concerned], before.state.params.body_pose[~concerned])


def test_a_stray_keypoint_gets_no_limb(fitter, stiff):
    """One wrist a third of the box away from where it is: the inflated anchor does not follow it."""
    truth = people(COUNT, "coco17", noise=0.01)
    xy = truth.keypoints.xy.clone()
    xy[:, WRIST] += 0.33 * truth.keypoints.box_size()[:, None] * torch.tensor([0.6, -0.8]).double()
    keypoints = replace(truth.keypoints, xy=xy)
    before, after = (f.fit(keypoints, photograph(COUNT)) for f in (stiff, fitter))
    error = [pa_mpjpe(joints_of(fit), truth.joints).mean() for fit in (before, after)]
    assert error[1] < error[0] + 5e-4
    others = torch.tensor([k for k in range(17) if k != WRIST])
    clean = [away(fitter, f.state, truth.clean)[:, others].mean() for f in (before, after)]
    assert clean[1] <= clean[0]


def test_the_costs_are_those_of_the_anchor_it_carries(fitter):
    """So the acceptance test compares with the same energy."""
    truth = people(COUNT, "coco17", noise=0.01)
    fit = fitter.fit(truth.keypoints, photograph(COUNT))
    energy = 7.0 * fit.observation.anchor.energy(fit.state.params)
    torch.testing.assert_close(fit.term_cost["anchor"], energy)
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost)


def test_inflation_is_independent_of_the_batch(fitter, stiff):
    truth = people(COUNT, "coco17", noise=0.01)
    crowd, plain = (f.fit(truth.keypoints, photograph(COUNT)) for f in (fitter, stiff))
    loose = (crowd.steps > plain.steps).nonzero()[:, 0]
    assert 0 < len(loose) < COUNT / 2
    for i in loose[:3]:
        alone = fitter.fit(truth.keypoints[i : i + 1], photograph(1))
        torch.testing.assert_close(alone.state.params.transl[0], crowd.state.params.transl[i], rtol=0, atol=1e-6)
        torch.testing.assert_close(alone.state.params.body_pose[0], crowd.state.params.body_pose[i], rtol=0, atol=1e-6)


def refused(*_: object) -> Fit:
    pytest.fail("nobody is to be fitted again")


def test_nobody_or_no_anchor_changes_nothing(stiff, monkeypatch):
    truth = people(8, "coco17")
    fit, route = stiff.fit(truth.keypoints, photograph(8)), stiff.route(COCO17)
    monkeypatch.setattr(Route, "run", refused)
    assert InflateAnchor(base=-50.0)(fit, route) is fit
    without = replace(fit, stage=replace(ANCHORED, weights={"keypoints": 0.7}))
    assert InflateAnchor(base=50.0)(without, route) is without


def test_beside_measurements_no_anchor_is_inflated(stiff, monkeypatch):
    """The costs say something else then."""
    fit, route = stiff.fit(people(8, "coco17").keypoints, photograph(8)), stiff.route(COCO17)
    known = RecordTable({"some": fit.state.params})
    seen = replace(fit, observation=replace(fit.observation, measurements=known))
    monkeypatch.setattr(Route, "run", refused)
    assert InflateAnchor(base=50.0)(seen, route) is seen


def test_inflated_people_keep_their_start_and_count_all_steps(fitter, stiff):
    """The stage and the start are those of the fit, so that the steps after it go on from one outcome."""
    truth = people(COUNT, "coco17", noise=0.01)
    before, after = (f.fit(truth.keypoints, photograph(COUNT)) for f in (stiff, fitter))
    assert torch.equal(after.start.params.rotations, before.start.params.rotations) and after.stage is before.stage
    again = (after.observation.anchor.scale > before.observation.anchor.scale).any(1)
    assert (after.steps > before.steps)[again].all() and torch.equal(after.steps[~again], before.steps[~again])

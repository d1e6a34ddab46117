"""The acceptance test: what is accepted and why not, what stands in the place of a rejected answer, and that
hypotheses, costs and probabilities are those of the answer."""

from dataclasses import replace

import pytest
import torch
from helpers.fits import fitter, people, photograph, shipped
from torch import Tensor

from hmrfit.fitting.acceptance import LIMIT, Accept, compare, implausibility
from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fit import REASONS, Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.retry import Retry
from hmrfit.fitting.route import Route
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.solver import Options
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

B = 4


def route() -> Route:
    return fitter().route(COCO17)


def twisted(params: BodyParams) -> BodyParams:
    """Every joint far from what joints do."""
    turn = rotvec_to_matrix(torch.tensor([1.6, 1.6, 1.6]).double())
    return replace(params, body_pose=params.body_pose @ turn)


def test_lower_energy_and_plausible_is_accepted_else_not():
    truth = people(4, "coco17", noise=0.01)
    observation = Observation.of(truth.keypoints)
    good, bad = State(truth.params, photograph(4)), State(twisted(truth.params), photograph(4))
    low, high = torch.ones(4).double(), 2 * torch.ones(4).double()
    outcomes = [
        compare(route(), good, high, good, low, observation),
        compare(route(), good, low, good, high, observation),
        compare(route(), good, high, bad, low, observation),
        compare(route(), good, torch.full((4,), torch.nan).double(), good, low, observation),
        compare(route(), bad, high, bad, low, observation),  # no less plausible than a bad start
    ]
    for outcome, reason in zip(outcomes, (0, 1, 2, 3, 0), strict=True):
        assert (outcome.reason == reason).all() and set(outcome.reason.tolist()) <= set(REASONS)
    assert (outcomes[2].implausible > LIMIT).all() and outcomes[0].accepted.all()


def test_a_fit_without_steps_returns_its_start():
    """The solver may not move: the energy is not lower, so the start is the answer, to the last bit."""
    truth = people(3, "coco17", noise=0.01)
    no_steps = fitter().from_given.with_stages(lambda stage: replace(stage, options=Options(max_steps=0)))
    still = fitter().with_schedule(fitter().schedule, no_steps)
    fit = still.fit(truth.keypoints, photograph(3), init=truth.params)
    assert (fit.acceptance.reason == 1).all() and not fit.acceptance.accepted.any()
    assert torch.equal(fit.state.params.body_pose, truth.params.body_pose)
    torch.testing.assert_close(fit.cost, fit.acceptance.start_cost, rtol=0, atol=0)
    for name, cost in fit.term_cost.items():
        assert torch.equal(cost, fit.start_term_cost[name])


def test_samples_of_the_prior_are_plausible():
    truth = people(24)
    state = State(truth.params, photograph(24))
    names = truth.keypoints.names
    found = implausibility(fitter().route(names), state, Observation.of(truth.keypoints))
    assert (found < LIMIT).double().mean() > 0.9


def test_an_energy_without_pose_prior_and_limits_has_no_implausible_poses():
    bare = Route(route().body, {name: route().terms[name] for name in ("reprojection", "shape")})
    state = State(twisted(people(B, "coco17", noise=0.01).params), photograph(B))
    observation = Observation.of(people(B, "coco17", noise=0.01).keypoints)
    assert not implausibility(bare, state, observation).any()


def turned(state: State, radians: float) -> State:
    """Every joint turned by as much about its three axes; of the first people more."""
    turn = radians * torch.linspace(1.2, 1.0, len(state)).double()[:, None, None, None]
    change = rotvec_to_matrix(turn.expand(-1, 1, 1, 1).squeeze(-1) * torch.ones(3).double())
    return State(replace(state.params, body_pose=state.params.body_pose @ change), state.camera)


def energy(state: State, observation: Observation, stage: Stage = FINAL) -> dict[str, Tensor]:
    return route().term_costs(state, observation, stage)


def before_and_after(start: State, *found: State) -> tuple[Fit, Fit]:
    """A fit of the same people from a start, with these answers; before and after the acceptance test."""
    observation = Observation.of(people(B, "coco17", noise=0.01).keypoints)
    costs = torch.stack([total(energy(s, observation)) for s in found], 1)
    none = torch.zeros(B).long()
    fit = Fit(
        state=found[0],
        cost=costs[:, 0],
        term_cost=energy(found[0], observation),
        status=none,
        steps=none,
        hypotheses=list(found),
        hypothesis_cost=costs,
        observation=observation,
        stage=FINAL,
        start=start,
    )
    return fit, Accept()(fit, route())


def truth() -> State:
    return State(people(B, "coco17", noise=0.01).params, photograph(B))


def check(fit: Fit) -> None:
    """The answer is the first hypothesis; costs rise and are those of the hypotheses; they add up."""
    finite = fit.hypothesis_cost.isfinite()
    assert torch.equal(fit.hypothesis_cost[:, 0], fit.cost)
    assert (fit.hypothesis_cost[:, 1:] >= fit.hypothesis_cost[:, :-1]).all()
    assert torch.equal(fit.hypotheses[0].params.rotations, fit.state.params.rotations)
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost)
    for h, state in enumerate(fit.hypotheses):
        rows, cost = finite[:, h], total(energy(state, fit.observation))
        torch.testing.assert_close(fit.hypothesis_cost[rows, h], cost[rows])


def test_of_a_rejected_fit_only_the_start_stays():
    """The answer is bent beyond belief."""
    start, bent = turned(truth(), 0.03), turned(truth(), 1.6)
    fit, after = before_and_after(start, bent)
    assert (implausibility(route(), bent, fit.observation) > LIMIT).all()
    assert not after.acceptance.accepted.any()
    check(after)
    assert len(after.hypotheses) == 1 and torch.equal(after.state.params.rotations, start.params.rotations)


def test_accepted_people_stay_as_they_are_beside_rejected_ones():
    """To the last bit."""
    start, good, bent = turned(truth(), 0.2), turned(truth(), 0.02), turned(truth(), 1.6)
    mixed = good.with_rows(torch.tensor([1]), bent)
    before, after = before_and_after(start, mixed)
    assert after.acceptance.accepted.tolist() == [True, False, True, True]
    assert torch.equal(after.state.params.rotations[1], start.params.rotations[1])
    others = torch.tensor([0, 2, 3])
    assert torch.equal(after.state.params.rotations[others], before.state.params.rotations[others])
    assert torch.equal(after.hypothesis_cost[others], before.hypothesis_cost[others])
    check(after)


def test_without_a_start_to_compare_with_nothing_is_tested():
    fit, _ = before_and_after(truth(), turned(truth(), 0.1))
    alone = replace(fit, start=None)
    assert Accept()(alone, route()) is alone


@pytest.fixture(scope="module")
def default() -> Fitter:
    """As shipped, but that nobody is fitted again."""
    schedule = shipped().schedule
    after = tuple(step for step in schedule.after if not isinstance(step, Retry))
    return shipped().with_schedule(replace(schedule, after=after))


def test_a_batch_with_rejected_fits_is_consistent(default: Fitter):
    """Of 256 of these people three fits are rejected."""
    keypoints = people(256, "coco17", noise=0.01, missing=0.1).keypoints[120:230]
    fit = default.fit(keypoints, photograph(110))
    rejected = ~fit.acceptance.accepted
    assert rejected.sum() >= 1
    assert (fit.hypothesis_cost[:, 1:] >= fit.hypothesis_cost[:, :-1]).all()
    torch.testing.assert_close(fit.hypothesis_cost[:, 0], fit.cost)  # sums in another order
    posterior = default.posterior(fit)
    torch.testing.assert_close(posterior.probability.sum(1), torch.ones(110).double())
    assert (posterior.probability[~fit.hypothesis_cost.isfinite()] == 0).all()
    alone = default.fit(keypoints[rejected], photograph(int(rejected.sum())))
    torch.testing.assert_close(alone.cost, fit.cost[rejected], rtol=1e-6, atol=1e-6)

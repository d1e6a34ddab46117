"""Who is refused: what stands in the answer's place, and that hypotheses, costs and probabilities speak of it."""

from dataclasses import replace

import pytest
import torch
from helpers.fits import fitter, people, photograph
from torch import Tensor

from hmrfit.build import build
from hmrfit.fitting.acceptance import LIMIT, implausibility
from hmrfit.fitting.energy import StageProblem, term_costs
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.guarded import guarded
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.schedule import FINAL, LIKELY
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix

B = 4


def turned(state: State, radians: float) -> State:
    """Every joint turned by as much about its three axes; the first people's more."""
    turn = radians * torch.linspace(1.2, 1.0, len(state)).double()[:, None, None, None]
    change = rotvec_to_matrix(turn.expand(-1, 1, 1, 1).squeeze(-1) * torch.ones(3).double())
    return State(replace(state.params, body_pose=state.params.body_pose @ change), state.camera)


def energy(state: State, observation: Observation) -> dict[str, Tensor]:
    return term_costs(Linearization(fitter().point_body(COCO17), state, observation), fitter().terms, FINAL)


def made_up(*states: State) -> tuple[Fit, Fit]:
    """A fit to the first state's keypoints that found states[1:], begun at states[0]; before and after the guard."""
    body = fitter().point_body(COCO17)
    observation = Observation.of(people(B, "coco17", noise=0.01).keypoints)
    start, found = states[0], states[1:]
    costs = torch.stack([sum(energy(s, observation).values()) for s in found], 1)
    none = torch.zeros(B).long()
    terms = energy(found[0], observation)
    fit = Fit(found[0], costs[:, 0], terms, none, none, list(found), costs, costs / 10, start, observation)
    return fit, guarded(fit, body, fitter().terms, FINAL, LIKELY)


def truth() -> State:
    return State(people(B, "coco17", noise=0.01).params, photograph(B))


def check(fit: Fit) -> None:
    """The answer is the first hypothesis; costs rise and are those of the hypotheses; they add up."""
    finite = fit.hypothesis_cost.isfinite()
    assert torch.equal(fit.hypothesis_cost[:, 0], fit.cost)
    assert (fit.hypothesis_cost[:, 1:] >= fit.hypothesis_cost[:, :-1]).all()
    assert torch.equal(finite, fit.likely_cost.isfinite())
    assert torch.equal(fit.hypotheses[0].params.rotations, fit.state.params.rotations)
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost)
    for h, state in enumerate(fit.hypotheses):
        rows, cost = finite[:, h], sum(energy(state, fit.observation).values())
        torch.testing.assert_close(fit.hypothesis_cost[rows, h], cost[rows])


def test_of_a_refused_person_only_the_start_and_what_is_plausible_stay():
    """The answer is bent beyond belief, one other answer as well, the third is worse than the start."""
    start, worse = turned(truth(), 0.03), turned(truth(), -0.06)
    bent, broken = turned(truth(), 1.6), turned(truth(), 2.2)
    fit, after = made_up(start, bent, broken, worse)
    body, terms = fitter().point_body(COCO17), fitter().terms
    assert (implausibility(body, terms, bent, fit.observation) > LIMIT).all()
    assert not after.verdict.accepted.any()
    check(after)
    assert after.hypothesis_cost.isfinite().sum(1).tolist() == [2] * B
    assert torch.equal(after.state.params.rotations, start.params.rotations)
    assert torch.equal(after.hypotheses[1].params.rotations, worse.params.rotations)
    assert torch.equal(after.likely_cost[:, 1], fit.likely_cost[:, 2])
    # of the start, by the energy that says what is likely, at its own minimum
    mode = StageProblem(body, fit.observation, terms, LIKELY).solve(start)
    torch.testing.assert_close(after.likely_cost[:, 0], mode.cost)
    assert (mode.cost <= sum(term_costs(Linearization(body, start, fit.observation), terms, LIKELY).values())).all()


def test_another_answer_that_passes_takes_the_place_of_the_refused_one():
    start, better, bent = turned(truth(), 0.2), turned(truth(), 0.02), turned(truth(), 1.6)
    _, after = made_up(start, bent, better)
    check(after)
    assert after.verdict.accepted.all() and (after.cost < after.verdict.start_cost).all()
    assert torch.equal(after.state.params.rotations, better.params.rotations)
    assert (after.verdict.implausible < LIMIT).all()


def test_who_is_accepted_is_not_touched():
    """Beside people who are refused, to the last bit."""
    start, good, bent = turned(truth(), 0.2), turned(truth(), 0.02), turned(truth(), 1.6)
    mixed = good.with_rows(torch.tensor([1]), bent)
    before, after = made_up(start, mixed, turned(truth(), 0.1))
    assert after.verdict.accepted.tolist() == [True, True, True, True]  # the second by its other answer
    others = torch.tensor([0, 2, 3])
    assert torch.equal(after.state.params.rotations[others], before.state.params.rotations[others])
    assert torch.equal(after.hypothesis_cost[others], before.hypothesis_cost[others])
    assert torch.equal(after.likely_cost[others], before.likely_cost[others])
    check(after)


@pytest.fixture(scope="module")
def shipped() -> Fitter:
    return build().fitter


def test_of_a_crowd_with_refused_people_everything_is_true(shipped: Fitter):
    """As shipped. With 256 of these people three are refused, one of them had an answer below its start's energy."""
    keypoints = people(256, "coco17", noise=0.01, missing=0.1).keypoints[120:230]
    fit = shipped.fit(keypoints, photograph(110))
    refused = ~fit.verdict.accepted
    assert refused.sum() >= 1
    assert (fit.hypothesis_cost[:, 1:] >= fit.hypothesis_cost[:, :-1]).all()
    torch.testing.assert_close(fit.hypothesis_cost[:, 0], fit.cost)  # sums in another order
    spread = shipped.posterior(fit)
    torch.testing.assert_close(spread.probability.sum(1), torch.ones(110).double())
    assert (spread.probability[~fit.hypothesis_cost.isfinite()] == 0).all()
    alone = shipped.fit(keypoints[refused], photograph(int(refused.sum())))
    for ours, theirs in ((alone.cost, fit.cost), (alone.likely_cost[:, 0], fit.likely_cost[:, 0])):
        torch.testing.assert_close(ours, theirs[refused], rtol=1e-6, atol=1e-6)

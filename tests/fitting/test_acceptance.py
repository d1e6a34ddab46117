"""The guard: a fit that is no better than its start is not taken, and says why."""

from dataclasses import replace

import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people, photograph

from hmrfit.fitting.acceptance import LIMIT, REASONS, implausibility, judge
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import restaged
from hmrfit.fitting.solver import Options
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams


def twisted(params: BodyParams) -> BodyParams:
    """Every joint far from what joints do."""
    turn = rotvec_to_matrix(torch.tensor([1.6, 1.6, 1.6]).double())
    return replace(params, body_pose=params.body_pose @ turn)


def test_lower_energy_and_plausible_is_accepted_else_not():
    truth = people(4, "coco17", noise=0.01)
    body, terms, observation = fitter().point_body(COCO17), fitter().terms, Observation.of(truth.keypoints)
    good, bad = State(truth.params, photograph(4)), State(twisted(truth.params), photograph(4))
    low, high = torch.ones(4).double(), 2 * torch.ones(4).double()
    verdicts = [
        judge(body, terms, good, high, good, low, observation),
        judge(body, terms, good, low, good, high, observation),
        judge(body, terms, good, high, bad, low, observation),
        judge(body, terms, good, torch.full((4,), torch.nan).double(), good, low, observation),
        judge(body, terms, bad, high, bad, low, observation),  # no less plausible than a bad start
    ]
    for verdict, reason in zip(verdicts, (0, 1, 2, 3, 0), strict=True):
        assert (verdict.reason == reason).all() and set(verdict.reason.tolist()) <= set(REASONS)
    assert (verdicts[2].implausible > LIMIT).all() and verdicts[0].accepted.all()


def test_a_fit_without_steps_returns_its_start():
    """The solver may not move: the energy is not lower, so the start is the answer, to the last bit."""
    truth = people(3, "coco17", noise=0.01)
    still = fitter().with_schedule(
        restaged(fitter().schedule, lambda stage: replace(stage, options=Options(max_steps=0)))
    )
    fit = still.fit(truth.keypoints, photograph(3), init=truth.params)
    assert (fit.verdict.reason == 1).all() and not fit.verdict.accepted.any()
    assert torch.equal(fit.state.params.body_pose, truth.params.body_pose)
    torch.testing.assert_close(fit.cost, fit.verdict.start_cost, rtol=0, atol=0)
    for name, cost in fit.term_cost.items():
        assert torch.equal(cost, fit.start_term_cost[name])


def test_the_prior_calls_its_own_samples_plausible():
    truth = people(24)
    state = State(truth.params, photograph(24))
    body = free_body().points(truth.keypoints.names)
    found = implausibility(body, fitter().terms, state, Observation.of(truth.keypoints))
    assert (found < LIMIT).double().mean() > 0.9

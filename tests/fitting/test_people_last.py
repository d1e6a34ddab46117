"""With people last in memory the equations are those of `StageProblem`, and so is the fit."""

from dataclasses import replace
from functools import cache
from unittest.mock import patch

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import people, shipped

from hmrfit.fitting import energy
from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.parameters import State
from hmrfit.fitting.people_last import PeopleLast
from hmrfit.fitting.schedule import ANCHORED, FINAL
from hmrfit.fitting.starts import Given
from hmrfit.fitting.terms.base import FunctionTerm
from hmrfit.ops.rotation import rotvec_to_matrix

B = 70
FAR = FunctionTerm(lambda state, output, seen: state.params.transl[:, 2:] - 3, "far")


@cache
def crowd() -> tuple[StageProblem, State]:
    """People of many shapes in poses that break limits, with the anchors of the initial estimate."""
    many = people(B, "coco17")
    begun = shipped().begin(Given(many.clean, many.camera))
    params = begun.state.params
    turned = params.body_pose @ rotvec_to_matrix(0.4 * torch.randn(B, 23, 3, dtype=torch.float64))
    params = replace(params, body_pose=turned, betas=params.betas + 0.5 * torch.randn_like(params.betas))
    problem = StageProblem(free_body().points(many.clean.names), begun.observation, shipped().terms, ANCHORED)
    return problem, State(params, begun.state.camera)


def one_after_the_other(problem: StageProblem, state: State) -> StageProblem:
    with patch.object(energy, "MANY", B + 1):
        return problem.linearize(state)


def test_equations_are_those_of_the_people():
    problem, state = crowd()
    found, expected = problem.linearize(state), one_after_the_other(problem, state)
    for name in ("cost", "gradient", "hessian"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11 * b.abs().max().item())
    assert (found.cost != expected.cost).any()  # of other operations
    torch.testing.assert_close(problem.cost_at(state), expected.cost, rtol=1e-11, atol=0.0)


def test_a_person_is_fitted_as_among_few():
    many = people(B, "coco17")
    whole = shipped().fit(many.clean, many.camera).state.params
    few = shipped().fit(many.clean[:20], many.camera[:20]).state.params
    torch.testing.assert_close(whole.rotations[:20], few.rotations, rtol=0.0, atol=1e-9)
    torch.testing.assert_close(whole.betas[:20], few.betas, rtol=0.0, atol=1e-9)


@pytest.mark.parametrize("why", ["few", "another term", "another stage", "gradients"])
def test_others_are_computed_as_ever(why):
    problem, state = crowd()
    if why == "few":
        few = slice(0, energy.MANY - 1)
        problem, state = problem.select(few), state[few]
    elif why == "another term":
        stage = replace(ANCHORED, weights={**ANCHORED.weights, "far": 1.0})
        problem = StageProblem(problem.body, problem.observation, {**problem.terms, "far": FAR}, stage)
    elif why == "another stage":
        problem = StageProblem(problem.body, problem.observation, problem.terms, FINAL)
        assert PeopleLast.of(problem.body, problem.layout, problem.terms, FINAL.weights) is None
    else:
        params = replace(state.params, transl=state.params.transl.clone().requires_grad_())
        state = State(params, state.camera)
    found, expected = problem.linearize(state), one_after_the_other(problem, state)
    assert (found.cost == expected.cost).all() and (found.hessian == expected.hessian).all()

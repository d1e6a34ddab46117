"""A stage of the fit as a least-squares problem: what is free, what counts, and scipy's answer to it."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people
from scipy.optimize import least_squares

from hmrfit.camera import Camera
from hmrfit.fitting.check_term import sample_evaluation
from hmrfit.fitting.energy import Stage, StageProblem
from hmrfit.fitting.library import library_starts
from hmrfit.fitting.parameters import GROUPS, Linearization, Observation, State
from hmrfit.fitting.solver import Options, solve
from hmrfit.fitting.terms.base import terms_by_name
from hmrfit.keypoints import COCO17, SMPL24

WEIGHTS = {"reprojection": 24.0, "gmm": 1.0, "joint_limits": 1.0, "shape": 1.0, "upright": 4.0}
THOROUGH = Options(max_steps=200, ftol=1e-13, gtol=1e-9)


def first_of_library(names: tuple[str, ...], observation: Observation, camera: Camera) -> State:
    """The best start of each person."""
    body = fitter().point_body(names)
    return library_starts(body, fitter().schedule.start.seen_through(body), observation, camera, 1)


def problem_of(stage: Stage, count: int = 3, names: tuple[str, ...] = SMPL24) -> tuple[StageProblem, State]:
    """Noisy people and the first of their starts."""
    f = fitter()
    truth = people(count, "smpl24" if names == SMPL24 else "coco17", noise=0.01)
    observation = Observation.of(truth.keypoints)
    state = first_of_library(names, observation, truth.camera)
    return StageProblem(f.point_body(names), observation, f.terms, stage), state


def test_an_unknown_term_gets_the_nearest_name():
    with pytest.raises(ValueError, match=r"Unknown term 'reprojecton' in a stage\. Did you mean 'reprojection'\?"):
        problem_of(Stage({"reprojecton": 1.0}))


def test_a_stage_that_keeps_nobody_or_ranks_by_no_term_of_its_own_is_refused():
    with pytest.raises(ValueError, match="at least one hypothesis of a person, not 0"):
        Stage(WEIGHTS, keep=0)
    with pytest.raises(
        ValueError, match=r"rank_by names 'reprojecton', which is no term.* Did you mean 'reprojection'"
    ):
        Stage(WEIGHTS, rank_by=("reprojecton",))


def test_the_cost_is_the_sum_of_its_terms():
    problem, state = problem_of(Stage(WEIGHTS))
    state = problem.fill(state)
    parts = problem.term_costs(state)
    assert set(parts) == set(WEIGHTS)
    torch.testing.assert_close(problem.linearize(state).cost, sum(parts.values()), rtol=1e-12, atol=0)


@pytest.mark.parametrize("free", [GROUPS, ("transl",), ("transl", "global_orient"), ("body_pose", "betas")])
def test_only_what_is_free_moves(free):
    problem, state = problem_of(Stage(WEIGHTS, free, Options(max_steps=5)))
    solution = solve(problem, state, problem.stage.options)
    assert (solution.cost < problem.linearize(state).cost).all()
    for group in GROUPS:
        same = torch.equal(getattr(solution.x.params, group), getattr(state.params, group))
        assert same == (group not in free), group


def test_a_term_of_weight_zero_is_as_if_it_were_not_there():
    problem, state = problem_of(Stage(WEIGHTS | {"upright": 0.0}))
    other, _ = problem_of(Stage({k: v for k, v in WEIGHTS.items() if k != "upright"}))
    a, b = problem.linearize(state), other.linearize(state)
    for field in ("cost", "gradient", "hessian"):
        assert torch.equal(getattr(a, field), getattr(b, field))


def test_doubling_every_weight_doubles_the_cost_and_keeps_the_answer():
    problem, state = problem_of(Stage(WEIGHTS, options=THOROUGH))
    twice, _ = problem_of(Stage({k: 2 * v for k, v in WEIGHTS.items()}, options=THOROUGH))
    a, b = (solve(p, state, THOROUGH) for p in (problem, twice))
    torch.testing.assert_close(2 * a.cost, b.cost, rtol=1e-8, atol=0)


def test_selected_people_keep_their_problem():
    problem, state = problem_of(Stage(WEIGHTS))
    chosen = torch.tensor([2, 0])
    part, full = problem.select(chosen).linearize(state[chosen]), problem.linearize(state)
    for field in ("cost", "gradient", "hessian"):
        torch.testing.assert_close(getattr(part, field), getattr(full, field)[chosen], rtol=1e-12, atol=1e-12)


def test_a_fit_ends_where_scipys_does():
    """MINPACK's Levenberg-Marquardt on the same residuals, with autodiff's derivatives, from the same start.

    A quadratic pull stands in for the pose prior: between its components the energy has several valleys.
    """
    weights = {k: WEIGHTS[k] for k in ("reprojection", "shape", "upright")} | {"small_turns": 1.0}
    f = fitter()
    names = COCO17
    body, truth = f.point_body(names), people(1, "coco17", noise=0.01, seed=1)
    observation = Observation.of(truth.keypoints)
    start = first_of_library(names, observation, truth.camera)

    def small_turns(state, output, observation):
        return 3 * state.params.body_pose.flatten(1) - 3 * start.params.body_pose.flatten(1)

    terms = f.terms | terms_by_name([small_turns])
    problem = StageProblem(body, observation, terms, Stage(weights, options=THOROUGH))
    ours = solve(problem, start, THOROUGH)
    layout = Linearization(body, start, observation).layout

    def residuals(x):
        state = start.retract(x, body.parents, layout)
        e = Linearization(body, state, observation)
        return torch.cat([terms[n].residuals(e)[0] * w**0.5 for n, w in weights.items()])

    jacobian = torch.func.jacfwd(residuals)
    scipys = least_squares(
        lambda x: residuals(torch.as_tensor(x)).numpy(),
        np.zeros(layout.columns),
        method="lm",
        jac=lambda x: jacobian(torch.as_tensor(x)).numpy(),
        xtol=1e-9,
        ftol=1e-10,
        gtol=1e-9,
    )
    assert ours.cost.item() == pytest.approx(scipys.cost, rel=1e-7)  # scipy stops when the cost stands still to 1e-10


@pytest.mark.parametrize("names", [SMPL24, COCO17], ids=["smpl24", "coco17"])
def test_the_end_of_a_fit_is_a_minimum(names):
    """No small step in any direction, over all joints whether seen or not, lowers the whole energy."""
    problem, state = problem_of(Stage(WEIGHTS, options=THOROUGH), names=names)
    solution = solve(problem, state, THOROUGH)
    end = problem.fill(solution.x)
    whole = sum(problem.term_costs(end).values())
    layout = Linearization(problem.body, end, problem.observation).layout
    for size in (1e-3, 1e-2):
        for _ in range(50):
            delta = size * torch.nn.functional.normalize(torch.randn(3, layout.columns, dtype=torch.float64), dim=1)
            other = end.retract(delta, problem.body.parents, layout)
            rise = sum(problem.term_costs(other).values()) - whole
            assert (rise > -1e-9 * whole).all()


def test_joints_that_no_keypoint_shows_are_left_out_and_filled_in():
    """coco17 says nothing about toes and hands: fewer columns, the same energy."""
    problem, state = problem_of(Stage(WEIGHTS, options=THOROUGH), names=COCO17)
    assert problem.layout.columns < 3 + 3 * 24 + 10
    solution = solve(problem, state, THOROUGH)
    whole = sum(problem.term_costs(problem.fill(solution.x)).values())
    torch.testing.assert_close(whole, solution.cost, rtol=1e-6, atol=0)


def test_a_term_of_ones_own_sees_every_joint():
    """A function may look at any joint, so none is left out."""

    def right_hand(state, output, observation):
        return output.joints[:, 23]

    f = fitter()
    terms = f.terms | terms_by_name([right_hand])
    observation = Observation.of(people(2, "coco17").keypoints)
    problem = StageProblem(f.point_body(COCO17), observation, terms, Stage(WEIGHTS | {"right_hand": 1.0}))
    assert problem.layout.columns == 3 + 3 * 24 + 10


def test_a_made_up_body_is_fitted_too():
    """The problem asks nothing of the body but its points."""
    e = sample_evaluation()
    problem = StageProblem(e.body, e.observation, fitter().terms, Stage(WEIGHTS, options=Options(max_steps=10)))
    solution = solve(problem, e.state, problem.stage.options)
    assert (solution.cost < problem.linearize(e.state).cost).all()
    assert free_body().parents == e.body.parents

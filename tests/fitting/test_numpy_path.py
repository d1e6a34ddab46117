"""One person in NumPy and a batch in torch: the same energy, the same steps, the same end."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fits import limits, people, photograph

from hmrfit.build import build
from hmrfit.fitting import energy as module
from hmrfit.fitting.anchor import Anchor
from hmrfit.fitting.energy import Stage, StageProblem
from hmrfit.fitting.evidence import Evidence
from hmrfit.fitting.linear_systems import BatchedSystem, NumpySystem
from hmrfit.fitting.numpy_path import NumpyProblem, PoseState, numpy_body
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import ANCHORED, LIKELY
from hmrfit.fitting.solver import Options, solve
from hmrfit.keypoints import resolve_set
from hmrfit.ops.rotation import rotvec_to_matrix

FITTER = build().fitter


def seen(names: str, count: int = 6, anchored: bool = True) -> tuple[State, Observation]:
    """Noisy people, a keypoint of each far off and one missing; guesses with the network's anchor, or another."""
    keypoints = people(count, names, noise=0.01, missing=0.1).keypoints.map(torch.clone)
    keypoints.xy[:, 0] += 300.0
    observation, camera = Observation.of(keypoints), photograph(count)
    if anchored:
        return FITTER.guess(observation, camera)
    state = State(people(count, names).params, camera)
    return state, replace(observation, anchor=Anchor.around(state.params, FITTER.body.parents))


def moved(state: State, radians: float, seed: int = 0) -> State:
    """Every joint turned, as far as `radians`: also beyond its limits."""
    draws = torch.Generator().manual_seed(seed)
    turns = radians * torch.randn(*state.params.rotations.shape[:2], 3, generator=draws, dtype=torch.float64)
    rotations = state.params.rotations @ rotvec_to_matrix(turns)
    betas = state.params.betas + radians
    return State(replace(state.params, global_orient=rotations[:, 0], body_pose=rotations[:, 1:], betas=betas), state.camera)  # fmt: skip  # noqa: E501


def single(problem: StageProblem, state: State, i: int) -> tuple[NumpyProblem, PoseState]:
    body = numpy_body(problem.body, problem.layout)
    weights, warm_up = problem.stage.weights, problem.stage.warm_up_weights()
    row = (state, problem.observation, i)
    return NumpyProblem(body, problem.terms, weights, warm_up, problem.layout, row), PoseState.of(state, i, body)


@pytest.mark.parametrize("names", ["coco17", "smpl24", "openpose25", "lsp14"])
@pytest.mark.parametrize("radians", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("warm_up", [False, True])
def test_the_same_energy_and_derivatives(names, radians, warm_up):
    start, observation = seen(names)
    problem = StageProblem(FITTER.point_body(resolve_set(names)), observation, FITTER.terms, ANCHORED)
    state = moved(start, radians)
    outside = limits().residuals(state.params.to_rotvecs()[1]).any()
    assert outside or radians < 1.0  # the limits are among what is compared
    expected = problem.linearize(state, warm_up)
    for i in range(len(state)):
        one, x = single(problem, state, i)
        found = one.linearize(x, warm_up)
        np.testing.assert_allclose(found.cost, expected.cost[i].item(), rtol=1e-12)
        for name in ("gradient", "hessian"):
            there = getattr(expected, name)[i].numpy()
            np.testing.assert_allclose(getattr(found, name), there, rtol=0, atol=1e-11 * np.abs(there).max())


@pytest.mark.parametrize("stage", [ANCHORED, LIKELY], ids=["fit", "likely"])
@pytest.mark.parametrize("anchored", [True, False], ids=["guessed", "given"])
def test_the_same_steps_to_the_same_end(stage, anchored):
    start, observation = seen("coco17", anchored=anchored)
    problem = StageProblem(FITTER.point_body(resolve_set("coco17")), observation, FITTER.terms, stage)
    together = solve(problem, start, stage.options)
    for i in range(len(start)):
        alone = problem.select(torch.tensor([i])).solve(start[i])
        assert int(alone.steps) == int(together.steps[i]) and int(alone.status) == int(together.status[i])
        for field in ("global_orient", "body_pose", "betas", "transl"):
            found, expected = getattr(alone.x.params, field)[0], getattr(together.x.params, field)[i]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(alone.cost[0], together.cost[i], rtol=1e-10, atol=0)


def test_no_step_changes_what_it_was_given():
    start, observation = seen("coco17", 1)
    before = (start.map(torch.clone), observation.map(torch.clone))
    StageProblem(FITTER.point_body(resolve_set("coco17")), observation, FITTER.terms, ANCHORED).solve(start)
    for old, new in ((before[0].params, start.params), (before[1].keypoints, observation.keypoints), (before[1].anchor, observation.anchor)):  # fmt: skip  # noqa: E501
        for name in old.__dataclass_fields__:
            a, b = getattr(old, name), getattr(new, name)
            assert not isinstance(a, torch.Tensor) or torch.equal(a, b), name


def test_behind_the_camera_it_is_as_in_torch():
    start, observation = seen("coco17", 2)
    behind = replace(start, params=replace(start.params, transl=start.params.transl * -1))
    problem = StageProblem(FITTER.point_body(resolve_set("coco17")), observation, FITTER.terms, ANCHORED)
    expected = problem.linearize(behind)
    one, x = single(problem, behind, 1)
    np.testing.assert_allclose(one.linearize(x).cost, expected.cost[1].item(), rtol=1e-12)
    np.testing.assert_allclose(one.linearize(x).hessian, expected.hessian[1].numpy(), rtol=1e-9, atol=1e-6)


def taken(monkeypatch, problem: StageProblem, state: State) -> bool:
    """Does this problem go the NumPy way?"""
    asked = []
    real = module.NumpyProblem
    monkeypatch.setattr(module, "NumpyProblem", lambda *given: asked.append(1) or real(*given))
    problem.solve(state)
    return bool(asked)


def test_only_what_it_knows_goes_this_way(monkeypatch):
    body = FITTER.point_body(resolve_set("coco17"))
    start, observation = seen("coco17", 2)
    problem = lambda stage=ANCHORED, o=observation: StageProblem(body, o, FITTER.terms, stage)  # noqa: E731
    assert taken(monkeypatch, problem(), start)
    with_prior = replace(ANCHORED, weights={**ANCHORED.weights, "gmm": 0.1})
    assert not taken(monkeypatch, problem(with_prior), start)
    assert taken(monkeypatch, problem(replace(with_prior, weights={**with_prior.weights, "gmm": 0.0})), start)
    assert not taken(monkeypatch, problem(replace(ANCHORED, free=("transl", "global_orient"))), start)
    assert not taken(monkeypatch, problem(o=replace(observation, evidence=Evidence())), start)
    assert not taken(monkeypatch, problem(Stage({"keypoints": 1.0, "joint_limits": 1.0}), replace(observation, anchor=None)), start)  # fmt: skip  # noqa: E501
    many, seen_of_many = seen("coco17", module.FEW + 1)
    assert not taken(monkeypatch, problem(o=seen_of_many), many)


def test_what_is_not_finite_ends_where_it_began():
    start, observation = seen("coco17", 2)
    body, bad = FITTER.point_body(resolve_set("coco17")), start.params.transl.clone()
    bad[0] = torch.nan
    state = replace(start, params=replace(start.params, transl=bad))
    solution = StageProblem(body, observation, FITTER.terms, ANCHORED).solve(state)
    assert solution.status.tolist()[0] == 4 and solution.steps.tolist()[0] == 0
    assert solution.status.tolist()[1] in (1, 2) and solution.cost[1].isfinite()


# ---- the loop, on problems with known answers


class Parabola:
    """½ (x − goal)ᵀ A (x − goal)."""

    def __init__(self, A: np.ndarray, goal: np.ndarray) -> None:
        self.A, self.goal = A, goal

    def linearize(self, x: np.ndarray, warm_up: bool = False) -> NumpySystem:
        g = self.A @ (x - self.goal)
        return NumpySystem(0.5 * float((x - self.goal) @ g), g, self.A.copy())

    def retract(self, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return x + delta


def test_a_parabola_is_solved():
    rng = np.random.default_rng(0)
    J = rng.normal(size=(9, 5))
    goal = rng.normal(size=5)
    found = solve(Parabola(J.T @ J, goal), np.zeros(5), Options(ftol=1e-14, gtol=1e-12, max_steps=100))
    np.testing.assert_allclose(found.x, goal, rtol=0, atol=1e-6)
    assert found.status in (1, 2) and found.cost < 1e-12


def test_a_downhill_that_is_none_ends_with_the_start():
    class Wrong(Parabola):
        """Its gradient points the other way."""

        def linearize(self, x: np.ndarray, warm_up: bool = False) -> NumpySystem:
            linear = super().linearize(x)
            return NumpySystem(linear.cost, -linear.gradient, linear.hessian)

    start = np.ones(3)
    found = solve(Wrong(np.eye(3), np.zeros(3)), start, Options(max_steps=60))
    assert found.status == 3 and (found.x == start).all() and found.cost == 1.5


def test_the_damped_step_is_the_batchs():
    rng = np.random.default_rng(1)
    J, g = rng.normal(size=(20, 7)), rng.normal(size=7)
    H = J.T @ J
    H[3], H[:, 3], g[3] = 0.0, 0.0, 0.0  # a column nothing speaks of
    delta, fall = NumpySystem(0.0, g, H).step(0.01)
    wide = lambda a: torch.from_numpy(a)[None]  # noqa: E731
    batch = BatchedSystem(torch.zeros(1).double(), wide(g), wide(H))
    expected, predicted = batch.step(torch.tensor([0.01], dtype=torch.float64))
    np.testing.assert_allclose(delta, expected[0].numpy(), rtol=1e-9)
    np.testing.assert_allclose(fall, predicted.item(), rtol=1e-9)

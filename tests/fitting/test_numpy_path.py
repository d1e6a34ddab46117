"""One person in NumPy and a batch in torch: the same energy, the same steps, the same end."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fits import limits, people, photograph, shipped
from torch import Tensor

from hmrfit.fitting import energy as module
from hmrfit.fitting.answers import COMPONENT
from hmrfit.fitting.energy import Stage, StageProblem, numpy_term, term_costs
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.numpy_path import NumpyProblem, PoseState, TorchTerm
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.reverse_mode import ReverseTerm
from hmrfit.fitting.schedule import ANCHORED, FINAL, PRIOR_WEIGHTS
from hmrfit.fitting.solver import BatchedSystem, NumpySystem, Options, solve
from hmrfit.fitting.starts import Given
from hmrfit.fitting.terms.base import FunctionTerm, Term, terms_by_name
from hmrfit.fitting.terms.height import HeightTerm, KnownNumber
from hmrfit.fitting.terms.reprojection import Reprojection
from hmrfit.fitting.terms.shape import ShapePrior, ShapeTerm
from hmrfit.keypoints import resolve_set
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import RecordTable

FITTER = shipped()
BODY = FITTER.point_body(resolve_set("coco17"))


def seen(names: str, count: int = 6, anchored: bool = True) -> tuple[State, Observation]:
    """Noisy people, a keypoint of each far off and one missing; with the network's anchor, or another."""
    keypoints = people(count, names, noise=0.01, missing=0.1).keypoints.map(torch.clone)
    keypoints.xy[:, 0] += 300.0
    observation, camera = Observation.of(keypoints), photograph(count)
    if anchored:
        begun = FITTER.begin(Given(keypoints, camera))
        return begun.state, begun.observation
    state = State(people(count, names).params, camera)
    return state, replace(observation, anchor=Anchor.around(state.params, FITTER.body.parents))


def moved(state: State, radians: float, seed: int = 0) -> State:
    """Every joint turned, as far as `radians`: also beyond its limits."""
    draws = torch.Generator().manual_seed(seed)
    turns = radians * torch.randn(*state.params.rotations.shape[:2], 3, generator=draws, dtype=torch.float64)
    rotations = state.params.rotations @ rotvec_to_matrix(turns)
    betas = state.params.betas + radians
    params = replace(state.params, global_orient=rotations[:, 0], body_pose=rotations[:, 1:], betas=betas)
    return State(params, state.camera)


def alone(problem: StageProblem, state: State, i: int) -> tuple[NumpyProblem, PoseState]:
    """One person's problem in NumPy, and the state."""
    (one,) = problem.select(torch.tensor([i])).one_by_one(state[i])
    return one, PoseState.of(state, i, one.body)


def assert_same_as_in_torch(problem: StageProblem, state: State, warm_up: bool = False) -> None:
    """Cost, gradient and Hessian of every person, to rounding."""
    expected = problem.linearize(state, warm_up)
    for i in range(len(state)):
        one, x = alone(problem, state, i)
        found = one.linearize(x, warm_up)
        np.testing.assert_allclose(found.cost, expected.cost[i].item(), rtol=1e-12, atol=1e-12)
        for name in ("gradient", "hessian"):
            there = getattr(expected, name)[i].numpy()
            np.testing.assert_allclose(getattr(found, name), there, rtol=0, atol=1e-11 * np.abs(there).max())


@pytest.mark.parametrize("names", ["coco17", "smpl24", "openpose25", "lsp14"])
@pytest.mark.parametrize("radians", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("warm_up", [False, True])
def test_the_same_energy_and_derivatives(names, radians, warm_up):
    start, observation = seen(names)
    problem = StageProblem(FITTER.point_body(resolve_set(names)), observation, FITTER.terms, ANCHORED)
    state = moved(start, radians)
    outside = limits().residuals(state.params.to_rotvecs()[1]).any()
    assert outside or radians < 1.0  # the limits are among what is compared
    assert_same_as_in_torch(problem, state, warm_up)


def known(count: int) -> RecordTable:
    """A height and a shape, of one of which some are unknown."""
    draws = torch.Generator().manual_seed(1)
    betas = torch.randn(count, 10, generator=draws, dtype=torch.float64)
    std = torch.full_like(betas, 0.1)
    std[:, 7:] = torch.inf
    height = KnownNumber(torch.full((count,), 1.8).double(), torch.full((count,), 0.02).double())
    return RecordTable({"height": height, "known_shape": KnownNumber(betas, std)})


@pytest.mark.parametrize("name", [*PRIOR_WEIGHTS, "anchor", "keypoints", "reprojection", "height", "known_shape"])
@pytest.mark.parametrize("radians", [0.0, 0.7])
@pytest.mark.parametrize("anchored", [True, False])
def test_every_term_with_a_numpy_form_is_as_in_torch(name, radians, anchored):
    """Each alone, with every joint moving or only those that the keypoints show."""
    start, observation = seen("coco17", 3)
    observation = replace(observation, measurements=known(3), anchor=observation.anchor if anchored else None)
    terms = FITTER.terms | terms_by_name([HeightTerm(FITTER.body), ShapeTerm(), Reprojection(0.05, "other")])
    assert numpy_term(terms[name], observation, 0, StageProblem(BODY, observation, terms, ANCHORED).layout) is not None
    assert_same_as_in_torch(StageProblem(BODY, observation, terms, Stage({name: 0.7})), moved(start, radians))


def test_terms_of_every_kind_side_by_side():
    """Two that look at the points, one of turns, one of the columns, one derived in reverse mode, one in torch."""
    start, observation = seen("coco17", 2)
    plain = FunctionTerm(lambda state, output, observation: state.params.betas.square(), "plain")
    terms = FITTER.terms | terms_by_name([Reprojection(0.05, "other"), plain, TorchOnly()])
    weights = {"keypoints": 0.7, "other": 2.0, "gmm": 0.1, "shape": 0.3, "plain": 0.5, "torch_only": 0.2}
    problem = StageProblem(BODY, observation, terms, Stage(weights))
    for i in range(2):
        assert_same_as_in_torch(problem.select(torch.tensor([i])), moved(start, 0.3)[i])


@pytest.mark.parametrize("stage", [ANCHORED, COMPONENT], ids=["fit", "component"])
@pytest.mark.parametrize("anchored", [True, False], ids=["estimated", "given"])
def test_the_same_steps_to_the_same_end(stage, anchored):
    start, observation = seen("coco17", anchored=anchored)
    assert_the_same_end(StageProblem(BODY, observation, FITTER.terms, stage), start)


def test_the_same_end_without_an_anchor():
    """The stage of fits from a library of poses: the mixture, shape and upright priors."""
    start, observation = seen("coco17")
    assert_the_same_end(StageProblem(BODY, replace(observation, anchor=None), FITTER.terms, FINAL), start)


def assert_the_same_end(problem: StageProblem, start: State) -> None:
    """In NumPy and side by side in torch."""
    together = solve(problem, start, problem.stage.options)
    for i in range(len(start)):
        one = problem.select(torch.tensor([i])).solve(start[i])
        assert int(one.steps) == int(together.steps[i]) and int(one.status) == int(together.status[i])
        for field in ("global_orient", "body_pose", "betas", "transl"):
            found, expected = getattr(one.x.params, field)[0], getattr(together.x.params, field)[i]
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
        torch.testing.assert_close(one.cost[0], together.cost[i], rtol=1e-10, atol=0)


def test_no_step_changes_what_it_was_given():
    start, observation = seen("coco17", 1)
    before = (start.map(torch.clone), observation.map(torch.clone))
    StageProblem(BODY, observation, FITTER.terms, ANCHORED).solve(start)
    pairs = (
        (before[0].params, start.params),
        (before[1].keypoints, observation.keypoints),
        (before[1].anchor, observation.anchor),
    )
    for old, new in pairs:
        for name in old.__dataclass_fields__:
            a, b = getattr(old, name), getattr(new, name)
            assert not isinstance(a, torch.Tensor) or torch.equal(a, b), name


def test_behind_the_camera_it_is_as_in_torch():
    start, observation = seen("coco17", 2)
    behind = replace(start, params=replace(start.params, transl=start.params.transl * -1))
    problem = StageProblem(BODY, observation, FITTER.terms, ANCHORED)
    expected = problem.linearize(behind)
    one, x = alone(problem, behind, 1)
    np.testing.assert_allclose(one.linearize(x).cost, expected.cost[1].item(), rtol=1e-12)
    np.testing.assert_allclose(one.linearize(x).hessian, expected.hessian[1].numpy(), rtol=1e-9, atol=1e-6)


# ---- which problems go this way, and what becomes of terms without a NumPy form


class TorchOnly(Term):
    """A term with a Jacobian in torch: the betas' squares."""

    name = "torch_only"
    points_only = True

    def residuals(self, e: Linearization) -> Tensor:
        return e.state.params.betas.square()

    def jacobian(self, e: Linearization) -> Tensor:
        betas = e.state.params.betas
        jacobian = betas.new_zeros(*betas.shape, e.layout.columns)
        jacobian[:, :, e.layout.slice("betas")] = torch.diag_embed(2 * betas)
        return jacobian


class NegatedShape(ShapePrior):
    """Has the NumPy form of what it no longer computes."""

    def residuals(self, e: Linearization) -> Tensor:
        return e.state.params.betas + 1

    def add(self, e, sums, weight: float) -> None:
        Term.add(self, e, sums, weight)


def taken(monkeypatch: pytest.MonkeyPatch, problem: StageProblem, state: State) -> bool:
    """Does this problem go the NumPy way?"""
    asked: list[NumpyProblem] = []
    real: Callable = module.NumpyProblem
    monkeypatch.setattr(module, "NumpyProblem", lambda *given: asked.append(real(*given)) or asked[-1])
    problem.solve(state)
    monkeypatch.undo()
    return bool(asked)


def test_which_problems_go_this_way(monkeypatch):
    start, observation = seen("coco17", 2)
    terms = FITTER.terms | terms_by_name([TorchOnly()])
    problem = lambda stage=ANCHORED, o=observation: StageProblem(BODY, o, terms, stage)  # noqa: E731
    more = lambda name: replace(ANCHORED, weights={**ANCHORED.weights, name: 0.1})  # noqa: E731
    assert taken(monkeypatch, problem(), start)
    assert taken(monkeypatch, problem(more("gmm")), start)
    assert taken(monkeypatch, problem(ANCHORED, replace(observation, anchor=None)), start)
    assert taken(monkeypatch, problem(more("torch_only"), observation[:1]), start[0])  # that term in torch
    assert not taken(monkeypatch, problem(more("torch_only")), start)  # two people are quicker side by side then
    assert not taken(monkeypatch, problem(replace(ANCHORED, free=("transl", "global_orient"))), start)
    many, seen_of_many = seen("coco17", module.FEW + 1)
    assert not taken(monkeypatch, problem(o=seen_of_many), many)


@pytest.mark.parametrize("radians", [0.0, 0.7])
def test_a_term_without_a_numpy_form_is_computed_in_torch(radians):
    """Also one that stands on another's body, and one that has changed what the form it inherits computes."""
    start, observation = seen("coco17", 2)
    terms = FITTER.terms | terms_by_name([TorchOnly(), NegatedShape(name="negated")])
    layout = StageProblem(BODY, observation, terms, ANCHORED).layout
    for name in ("torch_only", "negated"):
        assert numpy_term(terms[name], observation, 0, layout) is None
        stage = replace(ANCHORED, weights={**ANCHORED.weights, name: 2.0})
        assert_same_as_in_torch(StageProblem(BODY, observation, terms, stage), moved(start, radians))
        one, _ = alone(StageProblem(BODY, observation, terms, stage), start, 0)
        assert any(isinstance(term, TorchTerm) for term, _ in one.terms)
    plain = FunctionTerm(lambda state, output, observation: state.params.betas)
    assert isinstance(numpy_term(plain, observation, 0, layout), ReverseTerm)


def test_what_is_not_finite_ends_where_it_began():
    start, observation = seen("coco17", 2)
    bad = start.params.transl.clone()
    bad[0] = torch.nan
    state = replace(start, params=replace(start.params, transl=bad))
    solution = StageProblem(BODY, observation, FITTER.terms, ANCHORED).solve(state)
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


def test_costs_of_terms_are_those_of_torch_and_one_by_one_only_where_all_are_here():
    start, observation = seen("coco17", 2)
    problem = StageProblem(BODY, observation, FITTER.terms, ANCHORED)
    state = problem.fill(moved(start, 0.3))
    expected = term_costs(Linearization(BODY, state, problem.observation), FITTER.terms, ANCHORED)
    found = problem.term_costs(state)
    assert list(found) == list(expected)
    for name, cost in expected.items():
        torch.testing.assert_close(found[name], cost, rtol=1e-9, atol=1e-9)
    terms = FITTER.terms | terms_by_name([TorchOnly()])
    other = StageProblem(BODY, observation, terms, Stage({"keypoints": 0.7, "torch_only": 0.2}))
    costs = term_costs(Linearization(BODY, start, other.observation), terms, other.stage)
    torch.testing.assert_close(other.term_costs(start)["torch_only"], costs["torch_only"], rtol=0, atol=0)


@pytest.mark.parametrize("weights", [{}, {"keypoints": 1.0, "gmm": 0.5, "joint_limits": 1.0, "shape": 1.0}])
def test_costs_of_few_people_are_those_of_many(weights: dict[str, float]) -> None:
    """Whatever the stage leaves out: the prior speaks of the joints as they are, not at their likeliest values."""
    seen = people(9, "coco17", noise=0.01).keypoints
    fit = shipped().fit(seen, photograph(9))
    route, stage = shipped().route(seen.names), Stage(weights) if weights else fit.stage
    many = route.term_costs(fit.state, fit.observation, stage)
    few = route.term_costs(fit.state[:3], fit.observation[:3], stage)
    for name, cost in few.items():
        torch.testing.assert_close(cost, many[name][:3], rtol=1e-9, atol=1e-9)

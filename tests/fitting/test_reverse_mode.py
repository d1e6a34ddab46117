"""Derivatives in reverse mode: those of forward mode and of differences, for a batch and for one person in NumPy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from helpers.fits import fitter, people
from torch import Tensor

from hmrfit.fitting.check_term import check_term, sample_evaluation
from hmrfit.fitting.energy import numpy_term
from hmrfit.fitting.numpy_path import NumpyProblem, PoseState
from hmrfit.fitting.parameters import GROUPS, Layout, Linearization, Observation, State
from hmrfit.fitting.reverse_mode import ReverseTerm, _CopiedTerm, rows_in_reverse
from hmrfit.fitting.terms.base import FunctionTerm, Term
from hmrfit.keypoints import COCO17


def of_joints(state, output, observation) -> Tensor:
    """Affine in what it looks at."""
    return (output.joints[:, 20] - output.joints[:, 4]) / 0.05


def of_points(state, output, observation) -> Tensor:
    return output.landmarks[:, :5].norm(dim=-1) - 2


def of_rotations(state, output, observation) -> Tensor:
    return state.params.body_pose[:, 3:6].flatten(1) * state.params.global_orient[:, :1, 1]


def of_betas(state, output, observation) -> Tensor:
    return state.params.betas[:, :2] - 0.3


def of_everything(state, output, observation) -> Tensor:
    seen = (state.camera.project(output.landmarks) - observation.keypoints.xy) / observation.box_size[:, None, None]
    return torch.cat([state.params.betas.square(), state.params.transl * output.joints[:, 3], seen.flatten(1)], 1)


def of_nothing(state, output, observation) -> Tensor:
    return torch.ones_like(state.params.betas)


class OfAngles(Term):
    """A term of the user's without a Jacobian."""

    name = "of_angles"

    def residuals(self, e: Linearization) -> Tensor:
        return torch.cat([e.theta[:, 10:14], e.projected[:, 3] / 300], 1)


FUNCTIONS = (of_joints, of_points, of_rotations, of_betas, of_everything, of_nothing)
TERMS = (*map(FunctionTerm, FUNCTIONS), OfAngles())
LAYOUTS = ((GROUPS, None), (GROUPS, (3, 5, 8, 16, 18)), (("transl", "betas"), None), (("body_pose",), None))


def shipped_body() -> Linearization:
    """Landmarks with pose correctives, and joints."""
    of = people(3, "coco17", noise=0.01)
    return Linearization(fitter().point_body(COCO17), State(of.params, of.camera), Observation.of(of.keypoints))


@pytest.mark.parametrize("term", TERMS, ids=[term.name for term in TERMS])
@pytest.mark.parametrize("at", [sample_evaluation, shipped_body])
@pytest.mark.parametrize(("free", "joints"), LAYOUTS, ids=["all", "some joints", "no rotations", "rotations"])
def test_it_is_forward_mode(term, at: Callable[[], Linearization], free, joints):
    """For a batch, whatever moves."""
    e = at()
    e = Linearization(e.body, e.state, e.observation, Layout(free, len(e.body.parents), 10, joints))
    expected = term.forward_jacobian(e)
    if expected.shape[1] > e.layout.columns:
        assert rows_in_reverse(e, term.residuals) is None
        return
    residuals, found = rows_in_reverse(e, term.residuals)
    assert torch.equal(residuals, term.residuals(e)) and not found.requires_grad
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def form_of(term: Term, e: Linearization, i: int) -> tuple[ReverseTerm, NumpyProblem]:
    """The term's NumPy form, and a problem with nothing but it."""
    form = numpy_term(term, e.observation, i, e.layout)
    assert isinstance(form, ReverseTerm)
    return form, NumpyProblem(e.body, e.layout, (e.state, e.observation, i), [(form, 0.7)], [])


def assert_as_in_torch(term: Term, problem: NumpyProblem, e: Linearization, i: int) -> None:
    """Cost, gradient and Hessian at one person's pose."""
    found = problem.linearize(PoseState.of(e.state, i, problem.body))
    r, J = term.residuals(e)[i].numpy(), term.forward_jacobian(e)[i].numpy()
    np.testing.assert_allclose(found.cost, 0.35 * r @ r, rtol=1e-9)
    np.testing.assert_allclose(found.gradient, 0.7 * r @ J, rtol=0, atol=1e-9 * max(1, np.abs(r @ J).max()))
    np.testing.assert_allclose(found.hessian, 0.7 * J.T @ J, rtol=0, atol=1e-9 * max(1, np.abs(J.T @ J).max()))


@pytest.mark.parametrize("term", TERMS, ids=[term.name for term in TERMS])
@pytest.mark.parametrize("joints", [None, (3, 5, 8, 16, 18, 20)])
def test_one_person_in_numpy_is_as_in_torch(term, joints):
    """At several poses in turn, as a solver goes: what is kept from one must not be wrong at the next."""
    e = shipped_body()
    e = Linearization(e.body, e.state, e.observation, Layout(GROUPS, len(e.body.parents), 10, joints))
    form, problem = form_of(term, e, 1)
    draws = torch.Generator().manual_seed(0)
    for size in (0.0, 0.3, 0.01, 1e-4):
        delta = size * torch.randn(3, e.layout.columns, generator=draws, dtype=torch.float64)
        there = Linearization(e.body, e.state.retract(delta, e.body.parents, e.layout), e.observation, e.layout)
        assert_as_in_torch(term, problem, there, 1)
    assert isinstance(form.way, _CopiedTerm)


def test_an_affine_term_is_derived_once(monkeypatch: pytest.MonkeyPatch):
    """Its residuals are computed at every pose."""
    calls = {"residuals": 0, "derivatives": 0}
    grad = torch.autograd.grad
    monkeypatch.setattr(
        torch.autograd, "grad", lambda *a, **k: calls.update(derivatives=calls["derivatives"] + 1) or grad(*a, **k)
    )

    def counted(state, output, observation) -> Tensor:
        calls["residuals"] += 1
        return of_joints(state, output, observation)

    e, term = shipped_body(), FunctionTerm(counted)
    for i, derived in ((0, 3), (1, 1)):  # of the first person, whether it is affine is seen too
        calls.update(residuals=0, derivatives=0)
        _, problem = form_of(term, e, i)
        for _ in range(5):
            problem.linearize(problem.start)
        assert calls["derivatives"] == derived and calls["residuals"] >= 5


def test_a_hinge_is_derived_again_where_it_bends():
    """On one side of it the term is affine."""
    hinge = FunctionTerm(lambda state, output, observation: (state.params.betas[:, :2] - 0.5).clamp_min(0), "hinge")
    e = shipped_body()
    _, problem = form_of(hinge, e, 0)
    for beta in (-1.0, 0.0, 0.7, 1.5, 0.2):
        betas = torch.full_like(e.state.params.betas, beta)
        params = e.state.params.map(torch.clone)
        params.betas[:] = betas
        assert_as_in_torch(
            hinge, problem, Linearization(e.body, State(params, e.state.camera), e.observation, e.layout), 0
        )


@dataclass
class OfThePose(Term):
    """Looks at more than reverse mode has; not hashable."""

    name: str = "of_the_pose"

    def residuals(self, e: Linearization) -> Tensor:
        return e.posed.world[:, 7, :, 0]


def numbered(state, output, observation) -> Tensor:
    """Takes the batch to be of one person."""
    return (output.joints[0, 20] - output.joints[0, 4])[None]


def detached(state, output, observation) -> Tensor:
    """No derivative at all."""
    return state.params.betas.detach()


def mapped(state, output, observation) -> Tensor:
    """One of torch's function transforms."""
    return torch.func.vmap(lambda joints: joints.square().sum(-1))(output.joints[:, :3])


def many(state, output, observation) -> Tensor:
    """More residuals than copies are made for."""
    return (output.joints[:, None] * torch.arange(1.0, 3.0).double()[:, None, None]).flatten(1)


OTHERS = (OfThePose(), *map(FunctionTerm, (numbered, detached, mapped, many)))


@pytest.mark.parametrize("term", OTHERS, ids=[term.name for term in OTHERS])
def test_other_terms_are_derived_too(term):
    e = shipped_body()
    e = Linearization(e.body, e.state[:1], e.observation[:1], e.layout)
    form, problem = form_of(term, e, 0)
    assert_as_in_torch(term, problem, e, 0)
    assert isinstance(form.way, _CopiedTerm) == (term.name in ("detached", "mapped"))


def test_forward_mode_says_what_is_wrong_with_a_term():
    def broken(state, output, observation) -> Tensor:
        raise RuntimeError("no such keypoint")

    e = shipped_body()
    _, problem = form_of(FunctionTerm(broken), e, 0)
    with pytest.raises(RuntimeError, match="no such keypoint"):
        problem.linearize(problem.start)


@pytest.mark.parametrize("term", TERMS, ids=[term.name for term in TERMS])
def test_the_checker_is_content(term):
    check_term(term)


def test_states_that_are_differentiated_are_left_to_forward_mode():
    e = sample_evaluation()
    e.state.params.betas.requires_grad_()
    assert rows_in_reverse(e, FunctionTerm(of_betas).residuals) is None
    assert FunctionTerm(of_betas).jacobian(e).shape == (4, 2, e.layout.columns)

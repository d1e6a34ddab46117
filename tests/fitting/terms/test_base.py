"""Every shipped term: its derivative three ways, its sums, and what it means."""

import math

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import gmm, limits

from hmrfit.build import default_terms
from hmrfit.fitting.check_term import (
    check_term,
    finite_difference_jacobian,
    normal_equations,
    sample_evaluation,
)
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import GROUPS, Layout, Linearization, State
from hmrfit.fitting.terms.base import FunctionTerm, Term, as_term, terms_by_name
from hmrfit.fitting.terms.shape import ShapePrior
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

TERMS = {term.name: term for term in default_terms(gmm(), limits())}


def at_pose(angle: float, e: Linearization) -> Linearization:
    """All body joints turned by `angle` about random axes."""
    axis = torch.nn.functional.normalize(torch.randn(len(e.state), 23, 3, dtype=torch.float64), dim=-1)
    p = e.state.params
    params = BodyParams(p.global_orient, rotvec_to_matrix(angle * axis), p.betas, p.transl)
    return Linearization(e.body, State(params, e.state.camera), e.observation, e.layout)


@pytest.mark.parametrize("name", TERMS)
def test_derivatives_and_sums_at_random_poses(name):
    check_term(TERMS[name])


@pytest.mark.parametrize("name", TERMS)
@pytest.mark.parametrize("angle", [0.0, 1e-4, math.pi - 1e-2], ids=["rest", "nearly rest", "nearly half turns"])
def test_derivatives_and_sums_at_the_hard_poses(name, angle):
    """Rest is where theta = 0 and a naive log has no derivative; beyond a half turn theta would jump."""
    e = sample_evaluation(count=2)
    check_term(TERMS[name], at=at_pose(angle, e))


@pytest.mark.parametrize("name", TERMS)
def test_derivatives_on_the_free_body(name):
    check_term(TERMS[name], at=sample_evaluation(free_body().points(COCO17), count=2))


def test_pose_terms_meet_in_theta_and_add_up():
    """Several terms in one sum are the sum of their own."""
    e = sample_evaluation()
    sums = NormalEquations(e)
    for weight, term in enumerate(TERMS.values(), 1):
        term.add(e, sums, weight)
    together = sums.finish(e)
    separate = [normal_equations(term, e, weight) for weight, term in enumerate(TERMS.values(), 1)]
    for i, total in enumerate(together):
        expected = sum(parts[i] for parts in separate)
        torch.testing.assert_close(total, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("free", [("transl",), ("transl", "global_orient"), ("betas",), ("body_pose",), GROUPS[1:]])
@pytest.mark.parametrize("name", TERMS)
def test_a_stage_has_the_columns_of_its_free_groups(name, free):
    """Fewer free groups: the same cost, and of gradient and Hessian exactly the free columns."""
    e = sample_evaluation(count=2)
    few = Linearization(e.body, e.state, e.observation, Layout(free, 24, 10))
    full = normal_equations(TERMS[name], e)
    part = normal_equations(TERMS[name], few)
    columns = torch.cat([torch.arange(e.layout.columns)[e.layout.slice(g)] for g in GROUPS if g in free])
    torch.testing.assert_close(part[0], full[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(part[1], full[1][:, columns], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(part[2], full[2][:, columns][:, :, columns], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["reprojection", "shape", "upright"])
def test_jacobians_of_some_joints_only(name):
    e = sample_evaluation(count=2)
    few = Linearization(e.body, e.state, e.observation, Layout(GROUPS, 24, 10, (1, 4, 16)))
    found = TERMS[name].jacobian(few)
    expected = finite_difference_jacobian(TERMS[name], few)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * expected.abs().max().item())  # as check_term has it


def test_functions_become_terms_named_after_themselves():
    def left_wrist(state, output, observation):
        return output.joints[:, 20]

    term = as_term(left_wrist)
    assert isinstance(term, FunctionTerm) and term.name == "left_wrist" and as_term(term) is term
    assert FunctionTerm(left_wrist, "other").name == "other"
    assert list(terms_by_name([left_wrist, ShapePrior()])) == ["left_wrist", "shape"]


def test_two_terms_of_one_name_are_refused():
    with pytest.raises(ValueError, match="Two terms are named 'shape'"):
        terms_by_name([ShapePrior(), ShapePrior()])


def test_a_term_without_residuals_says_so():
    class Empty(Term):
        pass

    with pytest.raises(NotImplementedError, match="Empty must define residuals"):
        check_term(Empty())

"""The anchor as a term: its derivatives, over some joints too, and at the start itself."""

import torch
from helpers.measured import anchored

from hmrfit.fitting.check_term import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.parameters import Layout, Linearization, State
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.types import BodyParams


def test_the_anchor_is_a_fine_term():
    check_term(AnchorPrior(), anchored())


def test_of_some_joints_too():
    """Only four joints and the shape move: the gradient is that of the marginal."""
    e = anchored()
    layout = Layout(("global_orient", "body_pose", "betas"), 24, 10, [1, 4, 16, 18])
    own = Linearization(e.body, e.state, e.observation, layout)
    cost, gradient, hessian = normal_equations(AnchorPrior(), own)
    index = layout.chart
    error = e.observation.anchor.error(e.state.params)[0][:, index]
    precision = torch.linalg.inv(e.observation.anchor.covariance(index))
    marginal = 0.5 * torch.einsum("bi,bij,bj->b", error, precision, error)
    away = (e.state.params.transl - e.observation.anchor.transl) / e.observation.anchor.transl_std
    torch.testing.assert_close(cost, marginal + 0.5 * away.square().sum(-1), rtol=1e-9, atol=1e-9)
    assert gradient.shape == (4, layout.columns) and (torch.linalg.eigvalsh(hessian) > 0).all()


def test_without_an_anchor_it_costs_nothing():
    e = sample_evaluation()
    cost, gradient, _ = normal_equations(AnchorPrior(), e)
    assert (cost == 0).all() and (gradient == 0).all()


def test_reverse_mode_passes_where_the_fit_begins():
    """At the anchor itself, with keypoints that nobody sees: gradients are finite and those of the rows."""
    e = anchored()
    start = e.observation.anchor
    params = BodyParams(start.rotations[:, 0], start.rotations[:, 1:], start.betas, start.transl)
    state = State(params, e.state.camera)
    for term in (AnchorPrior(), StudentReprojection()):
        delta = torch.zeros(4, e.layout.columns, dtype=torch.float64, requires_grad=True)
        moved = Linearization(e.body, state.retract(delta, e.body.parents, e.layout), e.observation, e.layout)
        (found,) = torch.autograd.grad(term.cost(moved).sum(), delta)
        _, expected, _ = normal_equations(term, Linearization(e.body, state, e.observation, e.layout))
        torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-7)

"""A prior about a start: the Gaussian it is, its derivatives, and what it says of joints that nothing shows."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX
from hmrfit.body.transfer import transferred
from hmrfit.fitting.anchor import Anchor
from hmrfit.fitting.check import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.energy import Stage, term_costs
from hmrfit.fitting.modes import costs_of_several
from hmrfit.fitting.parameters import Layout, Linearization, State
from hmrfit.fitting.route import Route
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.keypoints import StudentReprojection
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.types import BodyParams

RANK = 5


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def anchored(seed: int = 0) -> Linearization:
    """People in random poses, and an anchor a little away from them."""
    e = sample_evaluation(seed=seed)
    p = e.state.params
    B, D = len(p), 3 * 24 + 10
    turned = p.rotations @ rotvec_to_matrix(0.2 * draw(B, 24, 3, seed=seed))
    start = BodyParams(turned[:, 0], turned[:, 1:], p.betas + 0.3 * draw(B, 10), p.transl + 0.1 * draw(B, 3))
    anchor = Anchor.at(start, e.body.parents, 0.2 * draw(B, D).abs() + 0.05, 0.5 * draw(B, D, RANK, seed=1))
    return Linearization(e.body, e.state, replace(e.observation, anchor=anchor), e.layout)


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


def test_its_energy_is_scipys_gaussian():
    """Up to the constant: differences of log densities between two poses."""
    e, other = anchored(), sample_evaluation(seed=3).state.params
    anchor, index = e.observation.anchor, torch.arange(82)
    for params in (e.state.params, other):
        error = anchor.error(params)[0]
        for i in range(len(error)):
            density = multivariate_normal(np.zeros(82), anchor.covariance(index)[i].numpy())
            expected = density.logpdf(np.zeros(82)) - density.logpdf(error[i].numpy())
            away = ((params.transl - anchor.transl) / anchor.transl_std)[i]
            found = anchor.energy(params)[i] - 0.5 * away.square().sum()
            assert found.item() == pytest.approx(expected, rel=1e-8)


def test_the_chart_goes_there_and_back():
    e = anchored()
    anchor = e.observation.anchor
    error, _ = anchor.error(e.state.params)
    again = anchor.moved(error, e.state.params.transl)
    torch.testing.assert_close(again.rotations, e.state.params.rotations, rtol=0, atol=1e-12)
    torch.testing.assert_close(again.betas, e.state.params.betas)


def test_what_nothing_shows_is_the_conditional_mean():
    """Against the textbook's Σ_uo Σ_oo⁻¹ e_o."""
    e = anchored()
    anchor = e.observation.anchor
    known = torch.cat([torch.arange(0, 45), torch.arange(72, 82)])
    rest = torch.arange(45, 72)
    error, _ = anchor.error(e.state.params)
    covariance = anchor.covariance(torch.arange(82))
    gain = torch.linalg.solve(covariance[:, known][:, :, known], covariance[:, known][:, :, rest]).mT
    filled, _ = anchor.error(anchor.fill(e.state.params, known))
    torch.testing.assert_close(filled[:, known], error[:, known], rtol=0, atol=1e-9)
    torch.testing.assert_close(filled[:, rest], (gain @ error[:, known, None]).squeeze(-1), rtol=0, atol=1e-9)


def test_a_users_start_has_independent_errors():
    params = sample_evaluation().state.params
    anchor = Anchor.around(params, sample_evaluation().body.parents, degrees=5.0, betas=0.5)
    covariance = anchor.covariance(torch.arange(82))
    expected = torch.cat([torch.full((72,), np.deg2rad(5.0) ** 2), torch.full((10,), 0.25)]).double()
    torch.testing.assert_close(covariance, torch.diag(expected).expand(4, -1, -1), rtol=1e-6, atol=0)


def test_without_an_anchor_it_costs_nothing():
    e = sample_evaluation()
    cost, gradient, _ = normal_equations(AnchorPrior(), e)
    assert (cost == 0).all() and (gradient == 0).all()


@pytest.mark.parametrize("nu", [8.0, torch.inf])
def test_students_keypoints_are_a_fine_term(nu):
    e = sample_evaluation()
    noise = 0.01 + 0.02 * draw(*e.observation.keypoints.confidence.shape).abs()
    check_term(
        StudentReprojection(nu=nu), Linearization(e.body, e.state, replace(e.observation, noise=noise), e.layout)
    )


def test_students_cost_is_its_formula():
    """½ q c ν log(1 + z/ν) a keypoint; with many degrees of freedom the Gaussian's ½ q c z."""
    e = sample_evaluation()
    seen, box = e.observation.keypoints, e.observation.box_size
    z, weight = (e.projected - seen.xy).square().sum(-1) / (0.012 * box[:, None]).square(), seen.shown * seen.confidence
    torch.testing.assert_close(StudentReprojection(nu=8.0).cost(e), (weight * 4 * torch.log1p(z / 8)).sum(-1))
    torch.testing.assert_close(StudentReprojection(nu=1e9).cost(e), StudentReprojection(nu=torch.inf).cost(e), rtol=1e-5, atol=0)  # fmt: skip  # noqa: E501
    torch.testing.assert_close(StudentReprojection(nu=torch.inf).cost(e), 0.5 * (weight * z).sum(-1))


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


def test_several_states_of_a_person_cost_what_each_costs_alone():
    """Their common factors are taken into account once a person, not once a state."""
    e, stage = anchored(), Stage({"anchor": 1.2, "keypoints": 0.6})
    terms = {"anchor": AnchorPrior(), "keypoints": StudentReprojection()}
    states = [e.state, State(sample_evaluation(seed=3).state.params, e.state.camera)]
    alone = [sum(term_costs(Linearization(e.body, s, e.observation), terms, stage).values()) for s in states]
    together = costs_of_several(Route(e.body, terms), State.cat(states), e.observation, 2, stage)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=0)


@pytest.mark.parametrize("other", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_on_a_body_with_fingers_it_is_the_same_about_the_shared_joints(other):
    """Σ over the joints of both bodies, the place and the energy are as they were; fingers are at rest and unknown."""
    e = anchored()
    own, moved = e.observation.anchor, e.observation.anchor.transferred(SMPL, other)
    here, there = (torch.tensor([*range(66), *range(J, J + 10)]) for J in (SMPL.pose_size, other.pose_size))
    torch.testing.assert_close(moved.covariance(there), own.covariance(here))
    assert not matrix_to_rotvec(moved.rotations[:, 22:]).any() and not moved.factors[:, 66 : other.pose_size].any()
    people, fingered = e.state.params, transferred(e.state.params, SMPL, other)
    torch.testing.assert_close(moved.prepared(there).energy(fingered), own.prepared(here).energy(people))
    assert own.transferred(SMPL, SMPL) is own

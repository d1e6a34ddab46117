"""Joint limits: within them nothing is paid, beyond them the square of the way over the softness."""

import torch
from helpers.fits import limits

from hmrfit.fitting.check_term import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.terms.joint_limits import JointLimitPrior
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

TERM = JointLimitPrior(limits())


def at(theta: torch.Tensor) -> Linearization:
    """One person in the pose theta (69,)."""
    e = sample_evaluation(count=1)
    p = e.state.params
    params = BodyParams(p.global_orient, rotvec_to_matrix(theta.view(1, 23, 3)), p.betas, p.transl)
    return Linearization(e.body, State(params, e.state.camera), e.observation)


def test_in_the_middle_of_the_limits_nothing_is_paid():
    cost, gradient, hessian = normal_equations(TERM, at(0.5 * (limits().lower + limits().upper).clamp(-1, 1)))
    assert cost == 0 and not gradient.any() and not hessian.any()


def test_one_softness_beyond_a_limit_costs_a_half():
    knee = 3 * 3  # the left knee's bend
    for bound, way in ((limits().upper, 1), (limits().lower, -1)):
        theta = torch.zeros(69).double()
        theta[knee] = bound[knee] + way * limits().softness
        torch.testing.assert_close(normal_equations(TERM, at(theta))[0], torch.tensor([0.5]).double())


def test_derivatives_beyond_the_limits():
    """Every joint outside."""
    e = sample_evaluation(count=2)
    turn = rotvec_to_matrix(torch.tensor([1.5, 1.5, -1.5]).double())
    p = e.state.params
    params = BodyParams(p.global_orient, p.body_pose @ turn, p.betas, p.transl)
    bent = Linearization(e.body, State(params, e.state.camera), e.observation)
    assert (TERM.residuals(bent) != 0).sum(1).min() > 20
    check_term(TERM, at=bent)

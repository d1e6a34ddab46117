"""The pose prior: joints that a stage leaves out are filled in at their likeliest values, and cost the least there."""

import torch
from helpers.bodies import free_body
from helpers.fits import gmm
from helpers.measured import draw

from hmrfit.build import load_body
from hmrfit.fitting.check_term import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.parameters import GROUPS, Layout, Linearization, State
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix

TERM = PosePrior(gmm())
SOME = Layout(GROUPS, 24, 10, (1, 2, 4, 5, 16, 17, 18, 19))


def at() -> Linearization:
    """Poses of the mixture itself: far from it, two of its components may be as likely."""
    e = sample_evaluation(free_body().points(COCO17), count=4)
    theta = gmm().sample(4, torch.Generator().manual_seed(1))
    return with_theta(e, theta)


def with_theta(e: Linearization, theta: torch.Tensor, layout: Layout | None = None) -> Linearization:
    p = e.state.params
    params = type(p)(p.global_orient, rotvec_to_matrix(theta.unflatten(1, (-1, 3))), p.betas, p.transl)
    return Linearization(e.body, State(params, e.state.camera), e.observation, layout)


def test_the_cost_is_the_energy_of_the_mixture():
    e = at()
    torch.testing.assert_close(TERM.cost(e), gmm().energy(e.theta))


def test_left_out_joints_are_filled_in_where_the_energy_is_least():
    """The stage's own cost is that of the filled pose; no other values of those joints cost less."""
    e = at()
    stage = Linearization(e.body, e.state, e.observation, SOME)
    filled = TERM.fill(e.state, e.observation, SOME)
    theta = matrix_to_rotvec(filled.params.body_pose).flatten(1)
    least = TERM.cost(with_theta(e, theta))
    torch.testing.assert_close(normal_equations(TERM, stage)[0], least, rtol=1e-6, atol=1e-6)
    rest = torch.ones(69, dtype=torch.bool)
    rest[SOME.theta_columns] = False
    assert torch.equal(filled.params.body_pose[:, [0, 3]], e.state.params.body_pose[:, [0, 3]])  # those that move stay
    for _ in range(5):
        other = theta + 0.05 * draw(4, 69) * rest
        assert (TERM.cost(with_theta(e, other)) > least).all()


def test_a_stage_where_no_joint_moves_has_the_cost_alone():
    e = at()
    still = Linearization(e.body, e.state, e.observation, Layout(("transl",), 24, 10))
    cost, gradient, hessian = normal_equations(TERM, still, 2.0)
    torch.testing.assert_close(cost, 2 * gmm().energy(e.theta))
    assert not gradient.any() and not hessian.any()


def test_the_marginal_is_made_once_for_the_joints_that_move():
    assert TERM.marginal(SOME)[0] is TERM.marginal(Layout(GROUPS[1:], 24, 10, SOME.body_joints))[0]
    assert TERM.marginal(Layout(GROUPS, 24, 10)) == (gmm(), None)


def test_fingers_that_move_have_no_part_in_it():
    """A body with fingers, all joints moving: the energy of the others alone."""
    body = load_body("free_body_h")
    gmm_of_it = gmm().for_skeleton(body.skeleton)
    term, points = PosePrior(gmm_of_it), body.driving(body.joint_names[1:]).points(COCO17)
    e = sample_evaluation(points, count=2)
    check_term(term, e)
    turned = e.theta.clone()
    turned[:, 63:] += 0.1
    torch.testing.assert_close(term.cost(with_theta(e, turned, e.layout)), gmm_of_it.energy(e.theta))

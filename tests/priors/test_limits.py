"""Joint limits: nothing inside the box, a square outside, and derivatives on both sides."""

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.body.skeleton import MANO_RIGHT, SMPL, SMPLH, SMPLX
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import SOFTNESS, JointLimits

LOWER, UPPER = torch.tensor([-1.0, -0.5, 0.0]).double(), torch.tensor([0.5, 0.5, 2.0]).double()
LIMITS = JointLimits(LOWER, UPPER)


@given(st.lists(st.floats(-4, 4), min_size=3, max_size=3))
def test_the_hinge(numbers):
    r = LIMITS.residuals(torch.tensor([numbers], dtype=torch.float64))[0]
    for i, x in enumerate(numbers):
        low, high = LOWER[i].item(), UPPER[i].item()
        expected = (x - high) / SOFTNESS if x > high else (x - low) / SOFTNESS if x < low else 0.0
        assert r[i].item() == pytest.approx(expected, abs=1e-13)


def test_one_softness_beyond_costs_a_half():
    theta = (UPPER + SOFTNESS * torch.tensor([1.0, 0.0, 0.0]))[None]
    assert LIMITS.quadratic(theta)[0].item() == pytest.approx(0.5)


def test_quadratic_is_autodiffs():
    theta = 2 * torch.randn(100, 3, dtype=torch.float64)
    cost, gradient, curvature = LIMITS.quadratic(theta)
    one = lambda t: 0.5 * LIMITS.residuals(t[None]).square().sum()  # noqa: E731
    np.testing.assert_allclose(cost, 0.5 * LIMITS.residuals(theta).square().sum(1))
    np.testing.assert_allclose(gradient, torch.func.vmap(torch.func.grad(one))(theta), atol=1e-12)
    hessian = torch.func.vmap(torch.func.hessian(one))(theta)
    np.testing.assert_allclose(torch.diag_embed(curvature), hessian, atol=1e-12)
    assert (cost == 0).any() and (cost > 0).any()


def test_limits_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="every lower limit below its upper"):
        JointLimits(UPPER, LOWER)


def test_a_file_with_nan_is_refused(tmp_path):
    np.savez(tmp_path / "limits.npz", lower=np.full((2, 3), np.nan), upper=np.ones((2, 3)))
    with pytest.raises(ValueError, match="lower limits holds 6 NaN"):
        JointLimits.from_file(tmp_path / "limits.npz")


def test_the_shipped_limits_let_people_move():
    """Rest is allowed, poses drawn from the mixture hardly pay, an elbow bent backwards does."""
    limits = JointLimits.from_file(PRIORS / "joint_limits.npz")
    gmm = PoseGmm.from_file(PRIORS / "pose_gmm.npz")
    cost = lambda theta: limits.quadratic(theta)[0]  # noqa: E731
    assert cost(torch.zeros(1, 69, dtype=torch.float64)).item() == 0
    assert cost(gmm.means).max() < 0.5
    backwards = torch.zeros(1, 23, 3, dtype=torch.float64)
    backwards[0, 3] = torch.tensor([-1.0, 0.0, 0.0])  # left_knee: 57° the wrong way
    assert cost(backwards.flatten(1)).item() > 10


@pytest.mark.parametrize("skeleton", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_bodies_with_fingers_have_the_same_limits(skeleton):
    """Fingers, jaw and eyes have none; SMPL's hands are not there."""
    full = JointLimits.from_file(PRIORS / "joint_limits.npz")
    limits, theta = full.for_skeleton(skeleton), 2 * torch.randn(20, skeleton.pose_size - 3, dtype=torch.float64)
    assert full.joint_names == SMPL.names[1:] and limits.joint_names == skeleton.names[1:]
    assert torch.equal(limits.residuals(theta)[:, :63], full.residuals(theta[:, :69])[:, :63])
    assert not limits.residuals(theta)[:, 63:].any() and not limits.quadratic(theta)[2][:, 63:].any()
    assert all(part.isfinite().all() for part in limits.quadratic(theta))
    assert full.for_skeleton(SMPL) is full


def test_limits_of_other_joints_are_refused():
    with pytest.raises(ValueError, match=r"The joint limits speak of left_hip, .*; this body has none of these joints"):
        JointLimits.from_file(PRIORS / "joint_limits.npz").for_skeleton(MANO_RIGHT)

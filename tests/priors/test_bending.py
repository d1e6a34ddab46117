"""Elbows and knees: which numbers of a pose they are, which way they bend, and the energy in both published forms."""

import math

import pytest
import torch

from hmrfit.body.skeleton import MANO_LEFT, SMPLX
from hmrfit.priors.bending import BendingPrior


def theta_of_72(index: int, value: float) -> torch.Tensor:
    """The body's 69 numbers with one set, counted among SMPL's 72."""
    theta = torch.zeros(1, 72, dtype=torch.float64)
    theta[0, index] = value
    return theta[:, 3:]


@pytest.mark.parametrize(("index", "sign"), [(55, 1), (58, -1), (12, -1), (15, -1)])
def test_the_published_indices_and_signs(index, sign):
    """The wrong way is dear, the right way cheap; every other number is free."""
    prior = BendingPrior()
    straight, wrong, right = (prior.quadratic(theta_of_72(index, v * sign))[0].item() for v in (0.0, 0.5, -0.5))
    assert straight == pytest.approx(400)
    assert wrong - straight == pytest.approx(100 * (math.exp(1.0) - 1))
    assert right - straight == pytest.approx(100 * (math.exp(-1.0) - 1))


def test_nothing_else_counts():
    theta = torch.randn(1, 69).double()
    hinges = torch.tensor([55, 58, 12, 15]) - 3
    other = torch.randn(1, 69).double()
    other[:, hinges] = theta[:, hinges]
    assert torch.equal(BendingPrior().residuals(theta), BendingPrior().residuals(other))


def test_spins_energy_is_smplifys_residual_squared():
    """(3.17 w)² exp(2 s theta) at w = 4.78 against 15.2² exp(2 s theta): 15.15 was rounded."""
    theta = torch.randn(5, 69).double()
    cost = BendingPrior().quadratic(theta)[0]
    angles = theta[:, torch.tensor([55, 58, 12, 15]) - 3] * torch.tensor([1.0, -1.0, -1.0, -1.0])
    torch.testing.assert_close((0.317 * 4.78) ** 2 * cost, (3.17 * 4.78) ** 2 * (2 * angles).exp().sum(1))
    torch.testing.assert_close(1.52**2 * cost, 15.2**2 * (2 * angles).exp().sum(1))
    assert pytest.approx(15.2, abs=0.06) == 3.17 * 4.78


def test_derivatives():
    prior, theta = BendingPrior(), 0.5 * torch.randn(3, 69).double()
    cost, gradient, curvature = prior.quadratic(theta)
    torch.testing.assert_close(cost, 0.5 * prior.residuals(theta).square().sum(1))
    J = torch.zeros(3, 4, 69).double()
    for i in range(69):
        step = torch.zeros(69).double()
        step[i] = 1e-6
        J[..., i] = (prior.residuals(theta + step) - prior.residuals(theta - step)) / 2e-6
    torch.testing.assert_close(gradient, (prior.residuals(theta)[:, None] @ J).squeeze(1), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.diag_embed(curvature), J.mT @ J, rtol=1e-6, atol=1e-6)


def test_other_bodies_have_the_same_hinges():
    """The shared joints stand first, so theta's columns are SMPL's."""
    theta = torch.randn(2, SMPLX.pose_size - 3).double()
    assert torch.equal(BendingPrior(SMPLX).residuals(theta), BendingPrior().residuals(theta[:, :69]))


def test_a_body_without_elbows_is_refused():
    with pytest.raises(ValueError, match="elbows and knees; this body has no left_elbow, right_elbow, left_knee"):
        BendingPrior(MANO_LEFT)

"""The discriminators as a prior: its derivatives against reverse-mode autodiff, its precision, its file."""

import pytest
import torch

from hmrfit.network.checkpoints import save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KeypointEncoder
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.discriminator import DiscriminatorPrior


def network() -> FactorizedDiscriminator:
    """Random, biases too, as training leaves them."""
    network = FactorizedDiscriminator(hidden=64)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def people(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return rotvec_to_matrix(torch.randn(count, 23, 3).double()), torch.randn(count, 10).double()


def test_residuals_are_the_scores_less_one_in_float64():
    net, (pose, betas) = network(), people(3)
    r = DiscriminatorPrior(net).residuals(pose, betas)
    assert r.shape == (3, 25) and r.dtype == torch.float64
    torch.testing.assert_close(r, net.double()(pose, betas) - 1, rtol=1e-12, atol=1e-12)


def test_derivatives_equal_autodiffs():
    """Every output by every input: those that are not returned are zero."""
    prior, (pose, betas) = DiscriminatorPrior(network()), people(2)
    r, of_joints, of_all, of_betas = prior.derivatives(pose, betas)
    torch.testing.assert_close(r, prior.residuals(pose, betas), rtol=1e-12, atol=1e-12)
    for person in range(2):
        one = (pose[person : person + 1], betas[person : person + 1])
        by_pose, by_betas = torch.autograd.functional.jacobian(lambda p, b: prior.residuals(p, b)[0], one)
        expected = torch.zeros(25, 23, 3, 3).double()
        expected[range(23), range(23)] = of_joints[person]
        expected[23] = of_all[person]
        torch.testing.assert_close(by_pose[:, 0], expected, rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(by_betas[24, 0], of_betas[person], rtol=1e-10, atol=1e-12)
        assert not by_betas[:24].any()


def test_the_network_stays_as_it_was():
    net = network().train()
    DiscriminatorPrior(net)
    assert net.training and all(p.requires_grad and p.dtype == torch.float32 for p in net.parameters())


def test_another_precision():
    prior, (pose, betas) = DiscriminatorPrior(network()), people(2)
    single = prior.to(dtype=torch.float32)
    r = single.residuals(pose.float(), betas.float())
    assert r.dtype == torch.float32
    torch.testing.assert_close(r.double(), prior.residuals(pose, betas), rtol=0, atol=1e-4)  # sums of 700 in float32
    assert next(prior.network.parameters()).dtype == torch.float64


def test_from_a_file(tmp_path):
    net, (pose, betas) = network(), people(2)
    save_network(tmp_path / "d.npz", net)
    again = DiscriminatorPrior.from_file(tmp_path / "d.npz")
    assert torch.equal(again.residuals(pose, betas), DiscriminatorPrior(net).residuals(pose, betas))
    save_network(tmp_path / "e.npz", KeypointEncoder(8, 1))
    with pytest.raises(ValueError, match="KeypointEncoder, not discriminators"):
        DiscriminatorPrior.from_file(tmp_path / "e.npz")

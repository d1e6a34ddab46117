"""The discriminators as a prior: its derivatives against reverse-mode autodiff, its precision, its file."""

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS
from scipy.stats import mannwhitneyu

from hmrfit.body.skeleton import MANO_LEFT, SMPL, SMPLH, SMPLX
from hmrfit.network.checkpoints import save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KeypointEncoder
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.discriminator_prior import DiscriminatorPrior


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


def test_the_shipped_ones_tell_poses_of_people_from_perturbed_ones():
    """On samples of the shipped pose set, which no discriminator saw: the area under the ROC curve of ½ Σ r²."""
    prior = DiscriminatorPrior.from_file(PRIORS / "discriminators.npz")
    with np.load(PRIORS / "poses.npz", allow_pickle=False) as data:
        real = rotvec_to_matrix(torch.as_tensor(data["poses"]).double())
    generator = torch.Generator().manual_seed(0)
    betas = torch.randn(len(real), 10, generator=generator).double()

    def energy(pose: torch.Tensor) -> torch.Tensor:
        return prior.residuals(pose, betas).square().sum(-1)

    def turned(radians: float) -> torch.Tensor:
        return real @ rotvec_to_matrix(radians * torch.randn(*real.shape[:2], 3, generator=generator).double())

    areas = [roc_area(energy(real), energy(turned(radians))) for radians in (0.1, 0.2, 0.4)]
    assert areas == sorted(areas) and areas[1] > LEAST_AREA[0] and areas[2] > LEAST_AREA[1]


LEAST_AREA = (0.7, 0.9)
"""At 0.2 and at 0.4 rad of noise in every joint."""


def roc_area(real: torch.Tensor, fake: torch.Tensor) -> float:
    """How often a fake has more energy than a real one."""
    return mannwhitneyu(fake, real).statistic / (len(real) * len(fake))


def test_bodies_of_other_betas_are_refused():
    pose, betas = people(2)
    with pytest.raises(ValueError, match="of that many betas"):
        DiscriminatorPrior(network()).derivatives(pose, betas[:, :7])


@pytest.mark.parametrize("skeleton", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_bodies_with_fingers_score_as_smpl_with_its_hands_at_rest(skeleton):
    prior, (pose, betas) = DiscriminatorPrior(network()), people(2)
    pose[:, 21:] = torch.eye(3).double()
    fingered = torch.cat([pose[:, :21], rotvec_to_matrix(torch.randn(2, len(skeleton) - 22, 3).double())], 1)
    own = prior.for_skeleton(skeleton)
    assert torch.equal(own.residuals(fingered, betas), prior.residuals(pose, betas))
    for found, expected in zip(own.derivatives(fingered, betas)[1:3], prior.derivatives(pose, betas)[1:3], strict=True):
        assert found.shape == fingered.shape and not found[:, 21:].any()
        assert torch.equal(found[:, :21], expected[:, :21])
    assert torch.equal(own.to(dtype=torch.float64).residuals(fingered, betas), own.residuals(fingered, betas))
    assert prior.for_skeleton(SMPL) is prior


def test_a_hand_needs_discriminators_of_its_own():
    with pytest.raises(ValueError, match="about 24 joints, the root among them; this body has 16"):
        DiscriminatorPrior(network()).for_skeleton(MANO_LEFT)

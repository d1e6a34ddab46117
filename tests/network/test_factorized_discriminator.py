"""The discriminators: 25 outputs in HMR's order, by a slow twin; which input reaches which output."""

import pytest
import torch

from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.ops.rotation import rotvec_to_matrix


@pytest.fixture
def discriminator() -> FactorizedDiscriminator:
    return FactorizedDiscriminator().double()


def people(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    return rotvec_to_matrix(torch.randn(count, 23, 3).double()), torch.randn(count, 10).double()


def slow_scores(net: FactorizedDiscriminator, body_pose: torch.Tensor, betas: torch.Tensor) -> list[float]:
    """One person, one joint at a time."""
    (A1, a1), (A2, a2) = ((layer.weight, layer.bias) for layer in (net.each[0], net.each[2]))
    features, scores = [], []
    for j in range(23):
        nine = torch.stack([body_pose[j, row, column] for row in range(3) for column in range(3)])
        h = (A2 @ (A1 @ nine + a1).clamp_min(0) + a2).clamp_min(0)
        features.append(h)
        scores.append((net.joint_weight[j] @ h + net.joint_bias[j]).item())
    for layers, x in ((net.all_joints, torch.cat(features)), (net.shape, betas)):
        x = (layers[0].weight @ x + layers[0].bias).clamp_min(0)
        x = (layers[2].weight @ x + layers[2].bias).clamp_min(0)
        scores.append((layers[4].weight @ x + layers[4].bias).item())
    return scores


@pytest.mark.parametrize("count", [1, 4])
def test_25_outputs_equal_the_slow_twin(discriminator, count: int):
    for parameter in discriminator.parameters():  # biases too
        torch.nn.init.normal_(parameter, std=0.2)
    body_pose, betas = people(count)
    scores = discriminator(body_pose, betas)
    assert scores.shape == (count, 25)
    expected = [slow_scores(discriminator, *person) for person in zip(body_pose, betas, strict=True)]
    torch.testing.assert_close(scores, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-10)


def test_sizes_are_the_papers(discriminator):
    linear = [(m.in_features, m.out_features) for m in discriminator.modules() if isinstance(m, torch.nn.Linear)]
    assert linear == [(9, 32), (32, 32), (736, 1024), (1024, 1024), (1024, 1), (10, 10), (10, 5), (5, 1)]
    assert discriminator.joint_weight.shape == (23, 32)


def test_each_output_sees_its_own_input(discriminator):
    body_pose, betas = people(1)
    before = discriminator(body_pose, betas)
    turned = body_pose.clone()
    turned[:, 7] = rotvec_to_matrix(torch.randn(1, 3).double())
    moved = (discriminator(turned, betas) != before)[0].nonzero().flatten().tolist()
    assert moved == [7, 23]
    moved = (discriminator(body_pose, betas + 1) != before)[0].nonzero().flatten().tolist()
    assert moved == [24]


def test_no_joint_has_anothers_head(discriminator):
    """The same rotation everywhere: features are shared, heads are not."""
    same = rotvec_to_matrix(torch.randn(1, 1, 3).double()).expand(1, 23, 3, 3)
    scores = discriminator(same, torch.zeros(1, 10).double())[0, :23]
    assert len(scores.unique()) == 23


def test_gradients_equal_finite_differences(discriminator):
    small = FactorizedDiscriminator(joints=4, betas=3, hidden=6).double()
    rotvecs, betas = torch.randn(2, 3, 3).double().requires_grad_(), torch.randn(2, 3).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v, b: small(rotvec_to_matrix(v), b), (rotvecs, betas))


def test_the_root_is_left_out(discriminator):
    body_pose, betas = people(2)
    with pytest.raises(ValueError, match=r"body_pose.*23.*Leave the root out"):
        discriminator(torch.cat([body_pose[:, :1], body_pose], 1), betas)
    with pytest.raises(ValueError, match="betas"):
        discriminator(body_pose, betas[:1])

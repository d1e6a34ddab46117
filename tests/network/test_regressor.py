"""The iterative regressor: three steps with the same weights, from the mean, by a slow twin."""

import pytest
import torch

from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.theta import FORMS, ThetaLayout


def lively(regressor: IterativeRegressor) -> IterativeRegressor:
    """With a last layer that moves Θ, so that differences show."""
    torch.nn.init.normal_(regressor.fc3.weight, std=0.05)
    torch.nn.init.normal_(regressor.fc3.bias, std=0.05)
    return regressor


def slow_thetas(regressor: IterativeRegressor, phi: torch.Tensor) -> list[torch.Tensor]:
    """[φ, Θ] -> W₁ -> W₂ -> W₃, one person at a time, as the paper writes it."""
    found = []
    for features in phi:
        theta, steps = regressor.mean, []
        for _ in range(3):
            hidden = regressor.fc1.weight @ torch.cat([features, theta]) + regressor.fc1.bias
            hidden = hidden.clamp_min(0) if regressor.activation else hidden
            hidden = regressor.fc2.weight @ hidden + regressor.fc2.bias
            hidden = hidden.clamp_min(0) if regressor.activation else hidden
            theta = theta + regressor.fc3.weight @ hidden + regressor.fc3.bias
            steps.append(theta)
        found.append(torch.stack(steps))
    return list(torch.stack(found, 1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("activation", [True, False])
def test_three_steps_equal_the_slow_twin(form: str, activation: bool):
    regressor = lively(IterativeRegressor(40, ThetaLayout(form), hidden=64, activation=activation)).double().eval()
    phi = torch.randn(3, 40, dtype=torch.float64)
    fast, slow = regressor(phi), slow_thetas(regressor, phi)
    assert len(fast) == 3
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
    assert (fast[2] - fast[1]).abs().max() > 1e-3


def test_it_starts_near_the_mean():
    regressor = IterativeRegressor(40).eval()
    theta = regressor(torch.randn(2, 40))[-1]
    assert (theta - regressor.mean).abs().max() < 0.1  # 3 steps of a layer of gain 0.01


def test_another_start_takes_the_place_of_the_mean():
    regressor = lively(IterativeRegressor(8, hidden=16)).eval()
    phi = torch.randn(2, 8)
    first = regressor(phi)
    again = regressor(phi, start=first[0])
    torch.testing.assert_close(again[0], first[1])
    torch.testing.assert_close(again[1], first[2])


def test_dropout_in_training_only():
    regressor = lively(IterativeRegressor(8, hidden=256))
    phi = torch.randn(1, 8).expand(2, 8)
    dropped = regressor.train()(phi)[-1]
    assert not torch.allclose(dropped[0], dropped[1])
    kept = regressor.eval()(phi)[-1]
    torch.testing.assert_close(kept[0], kept[1])


def test_the_mean_is_trained_only_when_asked():
    fixed, learned = IterativeRegressor(8), IterativeRegressor(8, learn_mean=True)
    assert "mean" not in dict(fixed.named_parameters()) and "mean" in fixed.state_dict()
    learned(torch.randn(4, 8))[-1].sum().backward()
    assert learned.mean.grad.abs().sum() > 0


def test_gradients_reach_every_parameter_and_equal_finite_differences():
    regressor = lively(IterativeRegressor(5, ThetaLayout("axis_angle", 2, 1), hidden=7, activation=False)).double()
    regressor.eval()
    assert torch.autograd.gradcheck(lambda phi: regressor(phi)[-1], torch.randn(2, 5).double().requires_grad_())
    regressor(torch.randn(2, 5).double())[-1].square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in regressor.parameters())


def test_batch_mates_change_nothing():
    regressor = lively(IterativeRegressor(30)).eval().double()
    phi = torch.randn(6, 30).double()
    together = regressor(phi)[-1]
    alone = torch.cat([regressor(one[None])[-1] for one in phi])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)  # products of other sizes round differently


def test_settings_rebuild_it():
    regressor = IterativeRegressor(12, ThetaLayout("axis_angle", 16, 7), hidden=20, activation=False, learn_mean=True)
    again = IterativeRegressor.from_settings(**regressor.settings())
    assert again.settings() == regressor.settings()
    again.load_state_dict(regressor.state_dict())


def test_a_mean_of_another_form_is_refused():
    with pytest.raises(ValueError, match="6d"):
        IterativeRegressor(12, ThetaLayout("6d"), mean=ThetaLayout("axis_angle").mean())

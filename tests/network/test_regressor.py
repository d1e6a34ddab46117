"""Θ's layout: 85 numbers as released code has them, the 6D form, the mean, and the way into the full image. The
iterative regressor: three steps with the same weights, from the mean, by a slow twin."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera, crop_to_pixels, weak_project
from hmrfit.network.hmr import MIN_SCALE, in_full_image
from hmrfit.network.regressor import FORMS, IterativeRegressor, ThetaLayout
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Regression


def thetas(count: int = 5, angle: float = 3.0) -> torch.Tensor:
    """Θ in the 85-number layout, every rotation shorter than π, float64."""
    pose = torch.randn(count, 24, 3, dtype=torch.float64)
    pose = pose / pose.norm(dim=-1, keepdim=True) * torch.rand(count, 24, 1, dtype=torch.float64) * angle
    camera, betas = torch.rand(count, 3).double() + 0.5, torch.randn(count, 10).double()
    return torch.cat([camera, pose.flatten(1), betas], 1)


@given(st.integers(0, 2**31), st.floats(1e-9, 3.14))
@settings(max_examples=40)
def test_85_numbers_round_trip(seed: int, angle: float):
    torch.manual_seed(seed)
    theta = thetas(angle=angle)
    again = Regression.from_theta(theta, len(SMPL)).theta()
    torch.testing.assert_close(again, theta, rtol=0, atol=1e-9)  # near π the log's slope costs some of float64's digits


def test_85_numbers_stand_as_released():
    theta = torch.arange(85.0, dtype=torch.float64)[None] / 100
    regression = Regression.from_theta(theta, len(SMPL))
    assert torch.equal(regression.weak_camera[0], theta[0, :3])
    torch.testing.assert_close(regression.params.global_orient[0], rotvec_to_matrix(theta[0, 3:6]))
    torch.testing.assert_close(regression.params.body_pose[0, 22], rotvec_to_matrix(theta[0, 72:75]))
    assert torch.equal(regression.params.betas[0], theta[0, 75:])
    assert not regression.params.transl.any()


def test_a_hand_has_its_own_count_of_joints():
    theta = torch.rand(2, 3 + 16 * 3 + 7, dtype=torch.float64) * 0.5
    regression = Regression.from_theta(theta, joints=16)
    assert regression.params.body_pose.shape == (2, 15, 3, 3)
    torch.testing.assert_close(regression.theta(), theta)


@pytest.mark.parametrize("form", FORMS)
def test_a_layout_packs_what_it_splits(form: str):
    layout = ThetaLayout(form)
    assert layout.size == {"axis_angle": 85, "6d": 157}[form]
    regression = Regression.from_theta(thetas(), len(SMPL))
    theta = layout.pack(regression.params.rotations, regression.params.betas, regression.weak_camera)
    again = layout.regression(theta)
    for name in ("global_orient", "body_pose", "betas", "transl"):
        torch.testing.assert_close(getattr(again.params, name), getattr(regression.params, name))
    assert torch.equal(again.weak_camera, regression.weak_camera)


def test_the_axis_angle_layout_is_the_released_one():
    theta = thetas()
    rotations = ThetaLayout("axis_angle").regression(theta).params.rotations
    assert torch.equal(rotations, Regression.from_theta(theta, len(SMPL)).params.rotations)


def test_6d_is_two_columns_row_by_row():
    """As SPIN flattens them: (3, 2) with the two columns side by side."""
    layout = ThetaLayout("6d")
    R = rotvec_to_matrix(torch.randn(1, 24, 3))
    pose = layout.pack(R, torch.zeros(1, 10), torch.zeros(1, 3))[0, 3 : 3 + 6]
    expected = [R[0, 0, row, column] for row in range(3) for column in range(2)]
    assert torch.equal(pose, torch.stack(expected))


@pytest.mark.parametrize("form", FORMS)
def test_the_mean_is_upright_before_the_camera(form: str):
    layout = ThetaLayout(form)
    body_pose = 0.3 * torch.randn(69)
    regression = layout.regression(layout.mean(body_pose, betas=torch.ones(10))[None])
    half_turn = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # the body's y up becomes the camera's y down
    torch.testing.assert_close(regression.params.global_orient[0], half_turn, atol=1e-6, rtol=0)
    torch.testing.assert_close(regression.params.body_pose[0], rotvec_to_matrix(body_pose.reshape(23, 3)))
    assert regression.weak_camera.tolist() == [[pytest.approx(0.9), 0, 0]]
    assert torch.equal(regression.params.betas, torch.ones(1, 10))


def test_an_unknown_form_is_named():
    with pytest.raises(ValueError, match=r"axis-angle.*Did you mean 'axis_angle'"):
        ThetaLayout("axis-angle")


def test_the_full_image_sees_what_the_crop_saw():
    """A distant person: weak perspective and the pinhole agree to the share of the body's depth in the distance."""
    camera = Camera.from_size(1600, 1200, focal=20_000.0)
    center, side = torch.tensor([[300.0, 900.0]]).double(), torch.tensor([250.0]).double()
    points = torch.randn(1, 20, 3, dtype=torch.float64) * 0.3
    params = BodyParams(
        *(torch.eye(3).double().expand(1, *n, 3, 3) for n in ((), (23,))), torch.zeros(1, 10), torch.zeros(1, 3)
    )
    weak = torch.tensor([[0.9, 0.1, -0.2]]).double()
    placed = in_full_image(Regression(params, weak), center, side, camera)
    seen = camera.project(points + placed.transl[:, None])
    expected = crop_to_pixels(weak_project(points, weak), center, side)
    depth = placed.transl[0, 2].item()
    assert depth == pytest.approx(2 * 20_000 / (250 * 0.9))
    reach = (expected - camera.center).abs().max().item()
    assert (seen - expected).abs().max().item() < reach * points[..., 2].abs().max().item() / depth * 1.1


def test_a_scale_that_is_not_positive_still_stands_before_the_camera():
    camera = Camera.from_size(640, 480)
    params = Regression.from_theta(thetas(1), len(SMPL)).params
    for scale in (0.0, -1.0):
        placed = in_full_image(
            Regression(params, torch.tensor([[scale, 0.0, 0.0]]).double()),
            camera.center,
            torch.tensor([100.0]).double(),
            camera,
        )
        assert placed.transl[0, 2].item() == pytest.approx(2 * math.hypot(640, 480) / (100 * MIN_SCALE))


# ---- the regressor


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


def test_people_are_independent_of_the_batch():
    regressor = lively(IterativeRegressor(30)).eval().double()
    phi = torch.randn(6, 30).double()
    together = regressor(phi)[-1]
    one_by_one = torch.cat([regressor(one[None])[-1] for one in phi])
    torch.testing.assert_close(together, one_by_one, rtol=0, atol=1e-12)  # products of other sizes round differently


def test_settings_rebuild_it():
    regressor = IterativeRegressor(12, ThetaLayout("axis_angle", 16, 7), hidden=20, activation=False, learn_mean=True)
    again = IterativeRegressor.from_settings(**regressor.settings())
    assert again.settings() == regressor.settings()
    again.load_state_dict(regressor.state_dict())


def test_a_mean_of_another_form_is_refused():
    with pytest.raises(ValueError, match="6d"):
        IterativeRegressor(12, ThetaLayout("6d"), mean=ThetaLayout("axis_angle").mean())

"""The loss of the keypoint HMR: nothing for the truth, the distance that was made for a body that is off."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.training import stream

from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.train.keypoint_loss import LANDMARKS, KeypointLossWeights, batch_truth, in_box, keypoint_losses
from hmrfit.train.people import Batch
from hmrfit.types import Regression

UNIT = KeypointLossWeights(1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def body():
    return free_body().points(LANDMARKS)


@pytest.fixture(scope="module")
def batch() -> Batch:
    """In float64, so that small differences can be told from rounding; the truth's joints and box are made anew."""
    return stream().batch(12).to(torch.float64)


def truth(batch: Batch) -> Regression:
    zero = torch.zeros_like(batch.params.transl)
    return Regression(replace(batch.params, transl=zero), batch.weak_camera.clone())


def test_the_truth_costs_nothing(body, batch):
    losses = keypoint_losses(truth(batch), batch, body, UNIT)
    assert losses["joints"] == pytest.approx(1e-4, rel=0.01) and losses["canonical"] == pytest.approx(1e-4, rel=0.01)
    assert losses["rotations"] == 0 and losses["betas"] == 0  # the root of 1e-8 keeps distances differentiable at 0
    assert losses["reprojection"] < 1e-4 and losses["scale"] < 1e-6  # the batch was made in float32


def test_a_turned_body_is_off_in_the_camera_and_right_in_its_own_frame(body, batch):
    """Half a turn about the camera's axis: every point is off by twice its distance from that axis."""
    turn = rotvec_to_matrix(torch.tensor([0.0, 0.0, torch.pi]).double())
    right = truth(batch)
    wrong = Regression(replace(right.params, global_orient=turn @ right.params.global_orient), right.weak_camera)
    losses = keypoint_losses(wrong, batch, body, UNIT)
    points = batch_truth(batch, body)
    expected = 2 * (points - points[:, :1])[..., :2].norm(dim=-1).mean()
    assert losses["joints"] == pytest.approx(expected.item(), rel=1e-3)
    assert losses["canonical"] == pytest.approx(1e-4, rel=0.01)


def test_betas_scale_and_rotations_cost_what_they_differ(body, batch):
    right = truth(batch)
    betas = replace(right.params, betas=right.params.betas + 0.5)
    assert keypoint_losses(Regression(betas, right.weak_camera), batch, body, UNIT)["betas"] == pytest.approx(0.25)
    half = right.weak_camera * torch.tensor([0.5, 1.0, 1.0]).double()
    off = keypoint_losses(Regression(right.params, half), batch, body, UNIT)
    assert off["scale"] == pytest.approx(torch.tensor(2.0).log().item(), rel=1e-4) and off["joints"] < 2e-4
    eye = torch.eye(3).double().expand_as(right.params.body_pose)
    straight = Regression(replace(right.params, body_pose=eye), right.weak_camera)
    expected = (eye - right.params.body_pose).square().sum() / (12 * 24 * 9)
    assert keypoint_losses(straight, batch, body, UNIT)["rotations"] == pytest.approx(expected.item())


def test_the_projection_is_that_of_the_true_camera(body, batch):
    points = batch_truth(batch, body)[:, :24]
    pixels = batch.camera.project(points)
    box = 2 * (pixels - batch.box_center[:, None]) / batch.box_side[:, None, None]
    torch.testing.assert_close(in_box(points, batch), box)


def test_weights_are_factors_and_every_beta_has_a_gradient(body, batch):
    weights = KeypointLossWeights()
    right = truth(batch)
    betas = (right.params.betas + 0.1).requires_grad_()
    guess = Regression(replace(right.params, betas=betas), right.weak_camera)
    one, weighted = (keypoint_losses(guess, batch, body, w) for w in (UNIT, weights))
    for name, value in one.items():
        assert weighted[name].item() == pytest.approx(getattr(weights, name) * value.item())
    torch.stack(list(weighted.values())).sum().backward()
    assert betas.grad.isfinite().all() and (betas.grad != 0).all()


def test_the_gradient_is_the_derivative(body, batch):
    right = truth(batch)

    def loss(betas: torch.Tensor, weak: torch.Tensor) -> torch.Tensor:
        guess = Regression(replace(right.params[:2], betas=betas), weak)
        return torch.stack(list(keypoint_losses(guess, batch[:2], body, UNIT).values())).sum()

    start = right.params.betas[:2] + 0.3, right.weak_camera[:2] * 1.1 + 0.05
    assert torch.autograd.gradcheck(loss, [x.clone().requires_grad_() for x in start], eps=1e-6, atol=1e-5)

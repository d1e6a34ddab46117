"""The whole network: three regressions, either encoder, pixels to a body before the camera."""

import pytest
import torch

from hmrfit.camera import Camera, pixels_to_crop, weak_project
from hmrfit.keypoints import resolve_set
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder, view_of_box
from hmrfit.network.hmr import HMR, evaluating, in_full_image, project_in_crop
from hmrfit.network.regressor import FORMS, IterativeRegressor, ThetaLayout
from hmrfit.types import Regression

COCO = resolve_set("coco17")


def keypoint_hmr(form: str = "6d") -> HMR:
    hmr = HMR(KeypointEncoder(32, 1), IterativeRegressor(32, ThetaLayout(form), hidden=48))
    torch.nn.init.normal_(hmr.regressor.fc3.weight, std=0.05)
    return hmr


@pytest.mark.parametrize("form", FORMS)
def test_three_regressions_of_a_batch(form: str):
    hmr = keypoint_hmr(form).eval()
    regressions = hmr(torch.rand(4, 17, 3), COCO)
    assert len(regressions) == 3
    for regression in regressions:
        assert isinstance(regression, Regression) and len(regression) == 4
        R = regression.params.rotations
        assert R.shape == (4, 24, 3, 3)
        torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), rtol=0, atol=1e-5)
        assert regression.theta().shape == (4, 85)
    assert (regressions[2].params.betas - regressions[0].params.betas).abs().max() > 1e-3


def test_an_image_encoder_drives_the_same_regressor():
    encoder = ImageEncoder("resnet18")
    regressions = HMR(encoder, IterativeRegressor(encoder.features, hidden=32)).eval()(torch.rand(2, 3, 64, 64))
    assert regressions[-1].params.body_pose.shape == (2, 23, 3, 3)


@pytest.mark.parametrize("form", FORMS)
def test_gradients_reach_every_parameter(form: str):
    hmr = keypoint_hmr(form)
    regressions = hmr(torch.rand(4, 17, 3), COCO, torch.rand(4, 3))
    loss = sum((r.theta() * torch.arange(85)).sum() for r in regressions)
    loss.backward()
    for name, parameter in hmr.named_parameters():
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_encoder_and_regressor_must_fit():
    with pytest.raises(ValueError, match=r"features=32"):
        HMR(KeypointEncoder(32, 1), IterativeRegressor(16))
    assert HMR(KeypointEncoder(32, 1)).regressor.layout.form == "6d"


def test_rotations_keep_full_precision_under_autocast():
    hmr = keypoint_hmr().eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        R = hmr(torch.rand(2, 17, 3), COCO)[-1].params.rotations
    assert R.dtype == torch.float32
    torch.testing.assert_close(R @ R.mT, torch.eye(3).expand_as(R), rtol=0, atol=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_evaluating_puts_back_the_mode_even_after_an_error(training: bool):
    module = torch.nn.Dropout().train(training)
    with pytest.raises(RuntimeError), evaluating(module):
        assert not module.training
        raise RuntimeError
    assert module.training is training


def some_view() -> tuple[torch.Tensor, torch.Tensor, Camera]:
    """Boxes off the axis, before a camera of 500 to 1500 pixels."""
    size = torch.tensor([[800.0, 600.0]]).double().expand(3, 2)
    camera = Camera((500 + 1000 * torch.rand(3, 1).double()).expand(3, 2), size / 2, size)
    return size * torch.rand(3, 2).double(), 100 + 200 * torch.rand(3).double(), camera


def test_perspective_in_the_crop_is_the_full_images_camera():
    center, side, camera = some_view()
    points, weak = 0.4 * torch.randn(3, 9, 3).double(), torch.tensor([[0.9, 0.1, -0.2]]).double().expand(3, 3)
    params = keypoint_hmr()(torch.rand(3, 17, 3), COCO)[-1].params.to(torch.float64)
    placed = in_full_image(Regression(params, weak), center, side, camera)
    expected = pixels_to_crop(camera.project(points + placed.transl[:, None]), center, side)
    found = project_in_crop(points, weak, view_of_box(center, side, camera))
    torch.testing.assert_close(found, expected)


def test_perspective_from_afar_is_the_weak_projection():
    """The difference shrinks with the box's angle: a hundred times as far, a hundred times less."""
    points, weak = 0.4 * torch.randn(3, 9, 3).double(), 0.5 + torch.rand(3, 3).double()
    near, far = (
        (project_in_crop(points, weak, angle * torch.ones(3, 3).double()) - weak_project(points, weak)).abs().max()
        for angle in (1e-3, 1e-5)
    )
    assert 0 < far < 0.011 * near < 1e-4


def test_gradients_of_the_perspective_equal_finite_differences():
    points, weak = 0.4 * torch.randn(2, 3, 3).double(), 0.5 + torch.rand(2, 3).double()
    view = torch.tensor([[0.1, -0.2, 0.3], [0.0, 0.1, 0.5]]).double()
    inputs = (points.requires_grad_(), weak.requires_grad_())
    assert torch.autograd.gradcheck(lambda x, w: project_in_crop(x, w, view), inputs)

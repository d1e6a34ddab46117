"""Boukhayma's 22 numbers: what each of them does, their camera in pixels, heat maps, and files."""

import pytest
import torch
from helpers.hand_pictures import right_hand

from hmrfit.camera import weak_project
from hmrfit.network.checkpoints import load_hmr, save_network
from hmrfit.network.encoders import HeatmapEncoder, ImageEncoder, heatmaps_of
from hmrfit.network.hand_regressor import (
    HandRegression,
    HandRegressor,
    pixels_to_weak,
    project_to_pixels,
    weak_to_pixels,
)
from hmrfit.network.hmr import HMR
from hmrfit.synthetic.hand_scenes import HAND21


def regressor(**settings) -> HandRegressor:
    return HandRegressor(8, right_hand().hands["right"], **settings)


def test_the_numbers_are_22_and_the_mean_is_the_published_one():
    layout = regressor().layout
    assert layout.size == 22 and layout.joints == 16
    assert layout.mean().tolist() == [545, 128, 128] + [0] * 19
    assert regressor(resolution=64).layout.mean()[:3].tolist() == [545 / 4, 32, 32]


def test_each_number_does_what_its_name_says():
    """θ = μ + c C; R after half a turn about x; x̂ = t + s X in pixels."""
    body = right_hand()
    own, poses = regressor().layout, body.hands["right"]
    theta = own.mean()[None].repeat(3, 1)
    theta[1, 6] = 2.0  # c_1
    theta[2, 5] = torch.pi / 2  # about z
    found = own.regression(theta)
    assert isinstance(found, HandRegression) and len(found) == 3
    expected = poses.rotations(torch.tensor([[2.0, 0, 0, 0, 0, 0]], dtype=torch.float64))
    torch.testing.assert_close(found.params.body_pose[1:2].double(), expected, atol=1e-6, rtol=0)
    half = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    torch.testing.assert_close(found.params.global_orient[0], half)
    torch.testing.assert_close(found.params.global_orient[2], quarter @ half, atol=1e-6, rtol=0)
    points = body.points(HAND21).pose(found.params.to(torch.float64)).points
    xy = project_to_pixels(points, found.pixel_camera.double())
    torch.testing.assert_close(xy[0, 0], torch.full((2,), 128.0).double(), atol=1e-3, rtol=0)  # the wrist stays
    torch.testing.assert_close(xy, 128 + 545 * points[..., :2])


def test_the_camera_of_pixels_is_the_weak_camera_of_the_crop():
    pixels = torch.tensor([[545.0, 120.0, 140.0], [300.0, 10.0, 250.0]])
    weak = pixels_to_weak(pixels, 256)
    torch.testing.assert_close(weak_to_pixels(weak, 256), pixels)
    points = torch.randn(2, 5, 3) * 0.1
    in_crop = weak_project(points, weak)
    torch.testing.assert_close((in_crop + 1) * 128, project_to_pixels(points, pixels))
    assert pixels_to_weak(torch.zeros(1, 3), 256).isfinite().all()


@pytest.mark.parametrize("encoder", [ImageEncoder("resnet10", 32), HeatmapEncoder("resnet10", 32)], ids=["rgb", "maps"])
def test_a_file_holds_the_network_and_its_pose_space(encoder, tmp_path):
    hmr = HMR(encoder, HandRegressor(encoder.features, right_hand().hands["right"], resolution=32)).eval()
    inputs = [torch.rand(2, 3, 32, 32)]
    if isinstance(encoder, HeatmapEncoder):
        inputs.append(torch.rand(2, 21, 32, 32))
    again = load_hmr(save_network(tmp_path / "hand.npz", hmr))
    a, b = (network(*inputs)[-1] for network in (hmr, again))
    assert torch.equal(a.numbers, b.numbers) and torch.equal(a.params.body_pose, b.params.body_pose)
    assert again.regressor.layout.resolution == 32


def test_heat_maps_stand_at_the_keypoints_and_change_the_answer():
    keypoints, confidence = torch.full((1, 21, 2), torch.nan), torch.zeros(1, 21)
    keypoints[0, 4], confidence[0, 4] = torch.tensor([20.5, 9.5]), 1.0
    maps = heatmaps_of(keypoints, confidence, 32)
    assert maps.shape == (1, 21, 32, 32) and maps[0, 4].argmax() == 9 * 32 + 20 and maps[0, 4].max() == 1
    assert maps.isfinite().all() and maps[0, :4].max() == 0
    encoder, image = HeatmapEncoder("resnet10", 32).eval(), torch.rand(1, 3, 32, 32)
    assert encoder.resnet.conv1.weight.shape[1] == 24
    assert not torch.equal(encoder(image, maps), encoder(image))
    assert torch.equal(encoder(image, 0 * maps), encoder(image))


def test_what_cannot_be_built_is_refused():
    with pytest.raises(ValueError, match="45 pose components; 46"):
        regressor(components=46)
    with pytest.raises(ValueError, match="not into 'resnet50_v2'"):
        HeatmapEncoder("resnet50_v2")

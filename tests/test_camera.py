"""Cameras: every conversion against the numbers it stands for, and back."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.camera import (
    MIN_DEPTH,
    PIXEL_CENTER,
    Camera,
    check_camera,
    checked_size,
    crop_to_pixels,
    default_focal,
    focal_from_35mm,
    focal_from_fov,
    paper_to_released_weak,
    pixels_to_crop,
    released_to_paper_weak,
    translation_to_weak,
    weak_project,
    weak_to_translation,
)
from hmrfit.io.image import Crop


def make_camera() -> Camera:
    numbers = [[[1100.0, 1150.0], [900.0, 900.0]], [[330.0, 250.0], [512.0, 380.0]], [[640.0, 480.0], [1024.0, 768.0]]]
    return Camera(*(torch.tensor(n, dtype=torch.float64) for n in numbers))


def points_in_front(*shape: int) -> torch.Tensor:
    points = torch.randn(*shape, 3, dtype=torch.float64)
    points[..., 2] = points[..., 2].abs() + 2
    return points


def test_projection_is_K_X():
    camera, points = make_camera(), points_in_front(2, 7)
    for b in range(2):
        K = torch.diag(torch.cat([camera.focal[b], torch.ones(1, dtype=torch.float64)]))
        K[:2, 2] = camera.center[b]
        homogeneous = points[b] @ K.T
        torch.testing.assert_close(camera.project(points)[b], homogeneous[:, :2] / homogeneous[:, 2:])


@pytest.mark.parametrize("shape", [(2,), (2, 5), (2, 3, 4)])
def test_projection_of_any_number_of_points(shape):
    camera, points = make_camera(), points_in_front(*shape)
    assert camera.project(points).shape == (*shape, 2)
    assert camera.project_jacobian(points).shape == (*shape, 2, 3)


def test_unproject_undoes_project():
    camera, points = make_camera(), points_in_front(2, 9)
    torch.testing.assert_close(camera.unproject(camera.project(points), points[..., 2]), points)


def test_the_jacobian_against_finite_differences():
    camera, points, step = make_camera(), points_in_front(2, 9), 1e-5
    for i in range(3):
        d = step * torch.eye(3, dtype=torch.float64)[i]
        slope = (camera.project(points + d) - camera.project(points - d)) / (2 * step)
        # second differences: step² f/z³ ~ 1e-8; rounding: 1e-13/step
        torch.testing.assert_close(camera.project_jacobian(points)[..., i], slope, atol=1e-5, rtol=1e-7)


def test_points_behind_the_camera_stay_finite_and_pull_nowhere_in_depth():
    camera = make_camera()
    points = torch.tensor([[[0.1, 0.2, -3.0], [0.1, 0.2, 0.0]]] * 2, dtype=torch.float64)
    torch.testing.assert_close(
        camera.project(points)[0, 0], camera.focal[0] * points[0, 0, :2] / MIN_DEPTH + camera.center[0]
    )
    jacobian = camera.project_jacobian(points)
    assert jacobian.isfinite().all()
    assert (jacobian[..., 2] == 0).all()


def test_the_camera_follows_crop_and_resize():
    camera, points = make_camera(), points_in_front(2, 5)
    low, cut = (
        torch.tensor([[-20.0, 35.0], [7.5, 0.25]]).double(),
        torch.tensor([[200.0, 300.0], [64.0, 64.0]]).double(),
    )
    wanted = torch.tensor([[100.0, 600.0], [224.0, 224.0]]).double()
    pixels = camera.project(points)
    cropped = camera.crop(low, cut)
    torch.testing.assert_close(cropped.project(points), pixels - low[:, None])
    resized = cropped.resize(wanted)
    torch.testing.assert_close(resized.project(points), (pixels - low[:, None]) * (wanted / cut)[:, None])
    torch.testing.assert_close(resized.size, wanted)


def test_the_camera_follows_the_crop_of_an_image():
    camera, points = make_camera()[0], points_in_front(1, 5)
    crop = Crop((300.5, 220.25), 333.0, 224)
    low, side = torch.from_numpy(crop.low)[None], torch.full((1, 2), crop.side, dtype=torch.float64)
    follower = camera.crop(low, side).resize(torch.full((1, 2), 224.0, dtype=torch.float64))
    in_crop = crop.points_to_crop(camera.project(points)[0].numpy())
    np.testing.assert_allclose(follower.project(points)[0], in_crop, atol=1e-10)


def test_ordinary_photographs():
    camera = Camera.from_size(640, 480, count=3)
    assert len(camera) == 3
    assert camera.focal.tolist() == [[800.0, 800.0]] * 3  # √(640² + 480²)
    assert camera.center.tolist() == [[320.0, 240.0]] * 3
    assert Camera.from_size(640, 480, focal=500.0).focal.tolist() == [[500.0, 500.0]]


def test_an_assumed_focal_length_is_not_known() -> None:
    """However it comes to be 800 pixels; and a camera keeps what is known of it through all that happens to it."""
    assumed, given = Camera.from_size(640, 480), Camera.from_size(640, 480, focal=800.0)
    assert torch.equal(assumed.focal, given.focal)
    K = [[800.0, 0, 319.5], [0, 800.0, 239.5], [0, 0, 1]]
    made = Camera(assumed.focal, assumed.center, assumed.size)
    assert assumed.focal_known.tolist() == [False]
    for known in (given, made, Camera.from_intrinsics(K, 640, 480)):
        assert known.focal_known.tolist() == [True]
    both = Camera.cat([assumed, given])
    changed = both.crop(both.center / 2, both.size / 2).resize(2 * both.size).to("cpu", torch.float32)
    assert changed.focal_known.tolist() == [False, True] and both[[1, 0, 1]].focal_known.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("known", "error"),
    [([True, True], TypeError), (torch.ones(2), TypeError), (torch.ones(2, 2).bool(), ValueError), (None, None)],
)
def test_what_is_no_focal_known(known: object, error: type | None) -> None:
    camera = Camera.from_size(640, 480, count=2)
    camera = Camera(camera.focal, camera.center, camera.size, known)
    if error is None:
        return check_camera(camera)
    with pytest.raises(error, match=r"camera\.focal_known should"):
        check_camera(camera)


def test_intrinsics_of_cv2_get_half_a_pixel():
    K = [[1000.0, 0, 319.5], [0, 1010.0, 239.5], [0, 0, 1]]
    assert Camera.from_intrinsics(K, 640, 480).center.tolist() == [[320.0, 240.0]]
    corners = Camera.from_intrinsics(K, 640, 480, pixel_centers_at_integers=False)
    assert corners.center.tolist() == [[320.0 - PIXEL_CENTER, 240.0 - PIXEL_CENTER]]
    assert corners.focal.tolist() == [[1000.0, 1010.0]]


def test_focal_lengths():
    assert default_focal(3, 4) == 5
    assert focal_from_fov(90.0, 100.0) == pytest.approx(50.0)
    assert focal_from_35mm(math.hypot(36, 24), 300, 400) == pytest.approx(500.0)  # as long as the diagonal
    diagonal_view = 2 * math.degrees(math.atan(0.5))
    assert focal_from_fov(diagonal_view, 5.0) == pytest.approx(default_focal(3, 4))
    assert diagonal_view == pytest.approx(53, abs=0.2)


# Weak perspective


def make_weak(count: int = 2) -> torch.Tensor:
    return torch.stack([torch.rand(count) + 0.5, torch.randn(count) * 0.2, torch.randn(count) * 0.2], 1).double()


box = {
    "box_center": torch.tensor([[100.0, 260.0], [700.0, 400.0]]).double(),
    "box_side": torch.tensor([180.0, 420.0]).double(),
}


def test_weak_perspective_and_back():
    camera = make_camera()
    weak = make_weak()
    transl = weak_to_translation(weak, camera=camera, **box)
    torch.testing.assert_close(translation_to_weak(transl, camera=camera, **box), weak)


def test_a_flat_body_at_the_pelvis_depth_projects_alike_through_both_cameras():
    """Weak perspective is exact for points at one depth: numerically, not by the same formula."""
    camera = make_camera()
    camera = Camera(camera.focal[:, :1].expand(-1, 2), camera.center, camera.size)
    flat = torch.randn(2, 6, 3, dtype=torch.float64) * torch.tensor([1.0, 1.0, 0.0])
    weak = make_weak()
    transl = weak_to_translation(weak, camera=camera, **box)
    full = camera.project(flat + transl[:, None])
    torch.testing.assert_close(pixels_to_crop(full, **box), weak_project(flat, weak))


def test_far_bodies_project_alike_through_both_cameras():
    """With depth, the difference shrinks as depth over distance."""
    camera, body = make_camera(), torch.randn(2, 6, 3, dtype=torch.float64) * 0.3
    weak, gaps = make_weak(), []
    for zoom in (1, 10, 100):
        far = Camera(camera.focal[:, :1].expand(-1, 2) * zoom, camera.center, camera.size)
        transl = weak_to_translation(weak, camera=far, **box)
        seen = pixels_to_crop(far.project(body + transl[:, None]), **box)
        gaps.append((seen - weak_project(body, weak)).abs().max().item())
    assert gaps[1] < 0.2 * gaps[0]
    assert gaps[2] < 0.2 * gaps[1]


def test_the_papers_weak_camera_and_the_released_one():
    weak, points = make_weak(), torch.randn(2, 4, 3, dtype=torch.float64)
    s, t = weak[:, None, :1], weak[:, None, 1:]
    torch.testing.assert_close(weak_project(points, paper_to_released_weak(weak)), s * points[..., :2] + t)
    torch.testing.assert_close(released_to_paper_weak(paper_to_released_weak(weak)), weak)


@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(1, 1e4))
def test_crop_coordinates_and_back(x, y, side):
    xy = torch.tensor([[[x, y]]], dtype=torch.float64)
    center, side = torch.tensor([[320.0, 240.0]], dtype=torch.float64), torch.tensor([side], dtype=torch.float64)
    there = pixels_to_crop(xy, center, side)
    torch.testing.assert_close(crop_to_pixels(there, center, side), xy, atol=1e-9, rtol=0)
    edge = center[:, None] + side / 2
    torch.testing.assert_close(
        pixels_to_crop(edge, center, side), torch.ones(1, 1, 2, dtype=torch.float64), atol=1e-9, rtol=0
    )


def test_the_networks_square_is_the_crops_pixels():
    """[-1, 1] over the box and Crop's pixels are one square: x' = (x̂ + 1) res/2."""
    crop = Crop((300.5, 220.25), 333.0, 224)
    xy = np.random.default_rng(0).uniform(0, 600, (10, 2))
    center, side = torch.tensor([crop.center], dtype=torch.float64), torch.tensor([crop.side], dtype=torch.float64)
    unit = pixels_to_crop(torch.from_numpy(xy)[None], center, side)[0]
    np.testing.assert_allclose((unit + 1) * 112, crop.points_to_crop(xy), atol=1e-10)


K_OF = [[500.0, 0.0, 320.0], [0.0, 500.0, 240.0], [0.0, 0.0, 1.0]]


def K_with(row: int, column: int, value: float) -> list[list[float]]:
    return [[value if (i, j) == (row, column) else v for j, v in enumerate(r)] for i, r in enumerate(K_OF)]


@pytest.mark.parametrize(
    ("K", "said"),
    [
        (K_with(0, 0, 0.0), "focal length should be one number above 0"),
        (K_with(1, 1, -500.0), "focal length should be one number above 0"),
        (K_with(0, 2, float("nan")), "NaN"),
        (K_with(0, 1, 20.0), "skew of 20 px"),
        (K_with(2, 2, 2.0), r"\[\[fx, 0, cx\]"),
        (K_with(1, 0, 9.0), r"\[\[fx, 0, cx\]"),
        (K_with(0, 2, 1e9), "principal point"),
        ([[1.0, 2.0]], r"\[\[fx, 0, cx\]"),
    ],
)
def test_matrices_that_are_no_camera(K: list, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Camera.from_intrinsics(K, 640, 480)


@pytest.mark.parametrize("K", ["K", None, [[1j] * 3] * 3, [[True] * 3] * 3])
def test_what_is_no_matrix_at_all(K: object) -> None:
    with pytest.raises(TypeError, match=r"K should be a matrix"):
        Camera.from_intrinsics(K, 640, 480)


def test_a_focal_length_for_each_axis() -> None:
    assert Camera.from_size(640, 480, focal=(500, 510), count=2).focal.tolist() == [[500, 510]] * 2
    for focal in (0, -1, float("nan"), (1, 2, 3), 1e300, "500"):
        with pytest.raises(ValueError, match="focal should be one number above 0"):
            Camera.from_size(640, 480, focal=focal)
    with pytest.raises(ValueError, match="width should be"):
        Camera.from_size(0, 480)
    with pytest.raises(ValueError, match="height should be"):
        Camera.from_size(640, 1e300)


@pytest.mark.parametrize("size", [(1, 1), [640, 480], np.array([640.0, 480.0]), torch.tensor([2**20, 480])])
def test_sizes(size: object) -> None:
    assert checked_size(size) == tuple(int(v) for v in size)


@pytest.mark.parametrize(
    "size", [(0, 480), (640.5, 480), (1e300, 480), (2**20 + 1, 4), (-3, 4), (640,), 640, [], [[640, 480]], (10**400, 1)]
)
def test_what_is_no_size(size: object) -> None:
    with pytest.raises(ValueError, match=r"image_size should be \(width, height\)"):
        checked_size(size)


@pytest.mark.parametrize("size", ["640x480", ("640", "480"), (True, True), (1j, 3), {640, 480}, None, (None, 480)])
def test_what_are_no_numbers_of_a_size(size: object) -> None:
    with pytest.raises(TypeError, match=r"image_size should be \(width, height\)"):
        checked_size(size)


@pytest.mark.parametrize(("row", "column"), [(0, 1), (1, 0)])
def test_a_calibrations_rounding_is_no_skew(row: int, column: int) -> None:
    """One per cent of fx, and not more, whatever fx is; the sign does not matter."""
    for fx in (5.0, 800.0):
        for sign in (1, -1):
            K = np.array([[fx, 0, 320.0], [0, fx, 240.0], [0, 0, 1]])
            K[row, column] = sign * 0.0099 * fx
            Camera.from_intrinsics(K, 640, 480)
            K[row, column] = sign * 0.0101 * fx
            with pytest.raises(ValueError, match="K "):
                Camera.from_intrinsics(K, 640, 480)


def test_the_ends_of_the_ranges() -> None:
    """A focal length of 1e9 of the longer side is still one; a principal point a hundred sides away as well."""
    assert Camera.from_size(640, 480, focal=640e9).focal[0, 0] == 640e9
    with pytest.raises(ValueError, match="cannot be computed with"):
        Camera.from_size(640, 480, focal=640.001e9)
    camera = Camera.from_size(640, 480)
    check_camera(replace(camera, center=torch.tensor([[64000.0, -64000.0]]).double()), "camera")
    with pytest.raises(ValueError, match="principal point"):
        check_camera(replace(camera, center=torch.tensor([[64001.0, 0.0]]).double()), "camera")


def test_the_camera_that_is_wrong_is_named() -> None:
    one, three = Camera.from_size(640, 480), Camera.from_size(640, 480, count=3)
    center = three.center.clone()
    center[1, 0] = 1e6
    with pytest.raises(ValueError, match="camera 1 has its principal point"):
        check_camera(replace(three, center=center), "camera")
    with pytest.raises(ValueError, match="camera has its principal point"):
        check_camera(replace(one, center=center[1:2]), "camera")


def test_from_released_to_papers_weak_camera_and_back() -> None:
    """By hand: s = 2, t' = (0.5, -0.25) is t = s t'; several rows and leading dimensions."""
    released = torch.tensor([[2.0, 0.5, -0.25], [0.5, 1.0, 3.0]]).double()
    paper = torch.tensor([[2.0, 1.0, -0.5], [0.5, 0.5, 1.5]]).double()
    torch.testing.assert_close(released_to_paper_weak(released), paper)
    torch.testing.assert_close(paper_to_released_weak(paper), released)
    torch.testing.assert_close(released_to_paper_weak(released[None]), paper[None])

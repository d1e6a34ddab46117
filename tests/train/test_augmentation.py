"""Augmentation: picture and truth stay one person, seen by rendering; mirrors and boxes undo themselves."""

import math

import numpy as np
import pytest
import torch
from helpers.bodies import free_body, random_params
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.camera import Camera, crop_to_pixels, translation_to_weak
from hmrfit.io.image import Crop
from hmrfit.keypoints import COCO17
from hmrfit.network.encoders import view_of_box
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.train.augmentation import (
    Augmentation,
    Change,
    change_image,
    change_names,
    change_params,
    change_points,
    change_translation,
    draw,
    points_in_crop,
    rotate,
)
from hmrfit.types import BodyParams

CHANGES = {
    "nothing": Change(),
    "box": Change(scale=1.3, shift=(0.1, -0.05)),
    "turned": Change(angle=0.5),
    "mirrored": Change(flip=True),
    "all": Change(scale=0.9, shift=(-0.04, 0.07), angle=-0.7, flip=True),
}
SIZE = (480, 360)
RESOLUTION = 160


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def person() -> BodyParams:
    """Off the camera's axis and close, so that perspective shows."""
    params = random_params(free_body(), 1, 0.35, seed=4)
    return BodyParams(params.global_orient, params.body_pose, params.betas, torch.tensor([[0.6, 0.2, 2.6]]).double())


@pytest.fixture(scope="module")
def camera() -> Camera:
    return Camera.from_size(*SIZE, focal=430.0)


@pytest.fixture(scope="module")
def crop(person, camera) -> Crop:
    xy = camera.project(free_body()(person, vertices=False).joints)[0]
    return Crop.around(xy.amin(0).tolist(), xy.amax(0).tolist(), 1.3, RESOLUTION)


def rest_root(params: BodyParams) -> torch.Tensor:
    body = free_body()
    return body.rest_joints[0] + params.betas @ body.joint_shapes[0].T


def changed_person(person: BodyParams, change: Change) -> BodyParams:
    return change_params(person, rest_root(person), change, free_body().skeleton)


def changed_camera(camera: Camera, crop: Crop, change: Change) -> Camera:
    """Of the box after the whole picture has been turned about the camera's axis."""
    box = change.box(crop)
    center = camera.center + rotate(torch.tensor([box.center], dtype=torch.float64) - camera.center, change)
    cut = camera.crop(center - box.side / 2, torch.full((1, 2), box.side, dtype=torch.float64))
    return cut.resize(torch.full((1, 2), float(RESOLUTION)).double())


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_the_changed_picture_shows_the_changed_person(person, camera, crop, change):
    body, draw_mask = free_body(), BuiltinRenderer().silhouette
    before = draw_mask(body(person).vertices, body.faces, camera)[0].numpy()
    image = np.repeat(before[..., None].astype(np.uint8) * 255, 3, 2)
    found = change_image(image, crop, change)[..., 0] > 127
    expected = draw_mask(
        body(changed_person(person, change)).vertices, body.faces, changed_camera(camera, crop, change)
    )
    expected = expected[0].numpy()
    inside = change_image(np.full_like(image, 255), crop, change)[..., 0] > 127  # the box may reach out of the picture
    share = (found & expected).sum() / ((found | expected) & inside).sum()
    assert expected.sum() > 500 and share > 0.96  # outlines of some 600 pixels: half of them may differ by one


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_points_agree_with_the_person(person, camera, crop, change):
    """2D, 3D, the weak camera and the box's direction, each changed by itself, tell one story."""
    points = free_body().points(COCO17)
    posed, after = points.pose(person).points, points.pose(changed_person(person, change)).points
    # bodies are symmetric to the micrometres of their float32 file; half a metre is a crop's unit
    torch.testing.assert_close(change_points(posed, COCO17, change), after, rtol=0, atol=2e-5)
    xy = points_in_crop(camera.project(posed), COCO17, crop, change)
    small = changed_camera(camera, crop, change)
    torch.testing.assert_close(xy, 2 * small.project(after) / RESOLUTION - 1, rtol=0, atol=1e-4)
    box = change.box(crop)
    center, side = torch.tensor([box.center], dtype=torch.float64), torch.tensor([box.side], dtype=torch.float64)
    turned = camera.center + rotate(center - camera.center, change)
    torch.testing.assert_close(rotate(view_of_box(center, side, camera), change), view_of_box(turned, side, camera))
    weak = translation_to_weak(person.transl, center, side, camera)
    root = rest_root(person)
    weak_after = torch.cat([weak[:, :1], change_translation(weak[:, 1:], root, change)], 1)
    expected = translation_to_weak(change_translation(person.transl, root, change), turned, side, camera)
    # t' of the weak camera is measured from the box's middle at the depth of the body's origin
    torch.testing.assert_close(weak_after, expected)


def test_the_mirrored_left_wrist_is_the_right_one(person):
    names, change = ("left_wrist", "nose", "right_wrist"), Change(flip=True)
    points = torch.tensor([[0.3, 0.1], [0.0, 0.5], [-0.2, 0.4]])
    assert change_points(points, names, change).tolist() == (points[[2, 1, 0]] * torch.tensor([-1.0, 1.0])).tolist()
    assert change_names(torch.tensor([1.0, 2.0, 3.0]), names, change).tolist() == [3, 2, 1]
    assert change_names(torch.tensor([1.0, 2.0, 3.0]), names, Change(angle=1.0)).tolist() == [1, 2, 3]


def test_a_positive_angle_turns_clockwise_as_one_looks():
    """What is right of the middle comes below it: x towards y, y down."""
    torch.testing.assert_close(rotate(torch.tensor([1.0, 0.0]), Change(angle=math.pi / 2)), torch.tensor([0.0, 1.0]))
    image = np.zeros((40, 40, 3), np.uint8)
    image[18:22, 30:34] = 255
    turned = change_image(image, Crop((20, 20), 40, 40), Change(angle=math.pi / 2))
    assert (turned[30:34, 18:22] == 255).all() and turned.sum() == image.sum()


@given(angle=st.floats(-3, 3), flip=st.booleans(), seed=st.integers(0, 99))
def test_changes_undo_themselves(angle, flip, seed):
    points = torch.randn(17, 3, generator=generator(seed), dtype=torch.float64)
    there = change_points(points, COCO17, Change(angle=angle, flip=flip))
    back = Change(angle=angle if flip else -angle, flip=flip)  # a mirrored rotate is its own inverse
    torch.testing.assert_close(change_points(there, COCO17, back), points)


@given(angle=st.floats(-1.2, 1.2), flip=st.booleans(), seed=st.integers(0, 99))
def test_pictures_and_points_go_the_same_way(angle, flip, seed):
    """A bright spot is found where its keypoint is."""
    at = 30 + 60 * torch.rand(2, generator=generator(seed), dtype=torch.float64)
    rows, columns = np.mgrid[:120, :120] + 0.5
    spot = np.exp(-((columns - at[0].item()) ** 2 + (rows - at[1].item()) ** 2) / 18)
    image = np.repeat((255 * spot).astype(np.uint8)[..., None], 3, 2)
    crop, change = Crop((60, 60), 110, 90), Change(angle=angle, flip=flip)
    weight = change_image(image, crop, change)[..., 0].astype(float)
    rows, columns = np.mgrid[:90, :90] + 0.5
    found = torch.tensor([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
    expected = (points_in_crop(at[None], ("nose",), crop, change)[0] + 1) * 45
    assert (found - expected).abs().max() < 0.1  # 8-bit tails of the spot


def test_a_turned_box_looks_beyond_its_upright_corners():
    """Corners of a turned crop come from the picture, not from black."""
    image = np.full((100, 100, 3), 200, np.uint8)
    assert (change_image(image, Crop((50, 50), 50, 64), Change(angle=0.6)) == 200).all()


def test_colours_and_occluders():
    image = np.full((50, 50, 3), 100, np.uint8)
    crop = Crop((25, 25), 50, 50)
    change = Change(colour=(0.5, 1.0, 3.0), occluder=(-2.0, -1.0, 0.0, 0.0), occluder_colour=(1, 2, 3))
    picture = change_image(image, crop, change)
    assert (picture[:25, :25] == (1, 2, 3)).all()
    assert (picture[25:] == (50, 100, 255)).all() and (picture[:, 25:] == (50, 100, 255)).all()
    assert (image == 100).all()


def test_draws_follow_their_settings():
    g = generator()
    changes = [draw(Augmentation(translation=0.1, occluded=0.3), g) for _ in range(2000)]
    share = lambda values: np.mean(list(values))  # noqa: E731
    # five standard errors of a share of 2000 are 0.056
    assert abs(share(c.flip for c in changes) - 0.5) < 0.056
    assert abs(share(c.angle != 0 for c in changes) - 0.4) < 0.056
    assert abs(share(c.occluder is not None for c in changes) - 0.3) < 0.056
    assert max(abs(c.angle) for c in changes) <= math.radians(60) and min(c.angle for c in changes) < -0.8
    assert {min(c.scale for c in changes), max(c.scale for c in changes)} == {0.75, 1.25}
    shifts, colours = np.array([c.shift for c in changes]), np.array([c.colour for c in changes])
    assert 0.09 < shifts.max() <= 0.1 and -0.1 <= shifts.min() < -0.09 and colours.min() >= 0.6 and colours.max() <= 1.4
    sides = np.array([(c.occluder[2] - c.occluder[0]) / 2 for c in changes if c.occluder])
    assert sides.min() >= 0.15 and sides.max() <= 0.5


def test_the_same_seed_draws_the_same_and_nothing_can_be_nothing():
    assert draw(Augmentation(), generator(3)) == draw(Augmentation(), generator(3))
    still = Augmentation(0, 0, 0, 0, 0, 0)
    assert all(draw(still, generator(i)).box(Crop((5, 6), 7)) == Crop((5, 6), 7) for i in range(20))
    assert (change_image(np.full((9, 9, 3), 7, np.uint8), Crop((4, 4), 4, 8), draw(still, generator())) == 7).all()
    a, b = generator(1), generator(1)
    draw(Augmentation(), a), draw(still, b)
    assert torch.equal(torch.rand(1, generator=a), torch.rand(1, generator=b))


def test_a_crop_in_pixels_comes_back(crop):
    """Of a change of the box alone."""
    xy = torch.rand(5, 17, 2, dtype=torch.float64) * 300
    box = CHANGES["box"].box(crop)
    back = crop_to_pixels(
        points_in_crop(xy, COCO17, crop, CHANGES["box"]),
        torch.tensor([box.center], dtype=torch.float64),
        torch.tensor([box.side], dtype=torch.float64),
    )
    torch.testing.assert_close(back, xy)

"""Overlays and views: what is drawn where, and that nothing odd in the input breaks a picture."""

import numpy as np
import pytest
import torch
import trimesh

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.io.opencv import cv2
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.overlay import (
    LARGEST,
    Beside,
    close_up,
    draw_keypoints,
    overlay,
    sheet,
    side_by_side,
    turntable,
    views,
)
from hmrfit.render.shading import BODY_COLORS, hex_to_rgb, shade, to_linear, to_srgb, vertex_normals
from hmrfit.types import Keypoints

GREY = np.full((120, 160, 3), 128, np.uint8)
RED, GREEN = [1.0, 0, 0], [0, 1.0, 0]


@pytest.fixture(scope="module")
def ball():
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=0.5)
    return torch.tensor(mesh.vertices)[None], torch.tensor(mesh.faces)


@pytest.fixture(scope="module")
def camera():
    return Camera.from_size(160, 120, focal=200)


@pytest.fixture(scope="module")
def person():
    """The free body upright before the camera, 3.5 m away, facing it."""
    body = SmplBody.from_file(locate("free_body"))
    vertices = body(body.neutral()).vertices * torch.tensor([1.0, -1, -1])
    return vertices - vertices.mean(1) + torch.tensor([0, 0, 3.5]), body.faces


def at(vertices, x=0.0, y=0.0, z=3.0):
    return vertices + torch.tensor([x, y, z])


def changed(image, before=GREY):
    return (image != before).any(-1)


def hue(picture, mask):
    """Which of red, green, blue is strongest on average."""
    return int(picture[mask].astype(float).mean(0).argmax())


def test_the_overlay_covers_the_silhouette_and_nothing_else(ball, camera):
    vertices, faces = at(ball[0], 0.3, -0.1), ball[1]
    mask = BuiltinRenderer().silhouette(vertices, faces, camera)[0].numpy()
    drawn = changed(overlay(GREY, vertices, faces, camera))
    assert drawn[mask].all()
    outside = drawn & ~mask  # pixels that the edge crosses without touching their centre
    grown = BuiltinRenderer().silhouette(at(ball[0] * 1.03, 0.3, -0.1), faces, camera)[0].numpy()
    assert not (outside & ~grown).any()
    assert 0 < outside.sum() < 0.05 * mask.sum()


def test_the_edge_is_smooth(ball, camera):
    alpha = shade(at(ball[0]), ball[1], camera).alpha
    assert alpha.max() == 1
    partial = (alpha > 0) & (alpha < 1)
    assert partial.sum() > 50
    assert np.isclose(
        alpha.sum(), np.pi * (0.5 / np.sqrt(9 - 0.25) * 200) ** 2, rtol=0.01
    )  # a polyhedron of 1,280 faces


def test_the_nearer_person_hides_the_other_one(ball, camera):
    people = torch.cat([at(ball[0]), at(ball[0] * 0.5, z=2.0)])
    picture = overlay(GREY, people, ball[1], camera, colors=[RED, GREEN])
    assert hue(picture, np.s_[60:61, 80:81]) == 1
    assert hue(picture, np.s_[60:61, 108:109]) == 0
    swapped = overlay(GREY, people.flip(0), ball[1], camera, colors=[GREEN, RED])
    np.testing.assert_array_equal(picture, swapped)


def test_light_comes_from_above(ball, camera):
    picture = overlay(GREY, at(ball[0]), ball[1], camera).astype(int).sum(-1)
    assert picture[35, 80] > picture[60, 80] > picture[85, 80]


def test_colours_per_vertex(ball, camera):
    vertices = at(ball[0])
    halves = torch.where(vertices[..., :1] < 0, torch.tensor(RED), torch.tensor(GREEN))
    picture = overlay(GREY, vertices, ball[1], camera, colors=halves)
    assert hue(picture, np.s_[50:70, 55:75]) == 0
    assert hue(picture, np.s_[50:70, 85:105]) == 1


def test_opacity_lets_the_photograph_through(ball, camera):
    vertices, faces = at(ball[0]), ball[1]
    half, full = (overlay(GREY, vertices, faces, camera, opacity=o).astype(float) for o in (0.5, 1.0))
    np.testing.assert_allclose(half, (GREY + full) / 2, atol=1)  # rounded to whole numbers
    np.testing.assert_array_equal(overlay(GREY, vertices, faces, camera, opacity=0.0), GREY)


def test_views_walk_to_the_right(person):
    """At 90° the person who faces the camera shows the left side: the nose points left, the face is seen at 0° only."""
    vertices, faces = person
    front, right, back = views(vertices, faces, (0, 90, 180), (200, 300), colors=split(vertices, 0))
    middle = np.s_[100:200, 60:140]
    assert front.shape == right.shape == back.shape == (300, 200, 3)
    assert hue(right, mask_of(right)) == 1  # x > 0 of the camera: the person's left
    assert front[middle][:, :30].astype(int).sum((0, 1))[0] > front[middle][:, -30:].astype(int).sum((0, 1))[0]
    assert back[middle][:, :30].astype(int).sum((0, 1))[0] < back[middle][:, -30:].astype(int).sum((0, 1))[0]
    profile = views(vertices, faces, (90,), (200, 300), colors=split(vertices, 2))[0]
    coloured = mask_of(profile)
    toes = np.nonzero(coloured & (profile[..., 0] > profile[..., 1]))[1].mean()
    heels = np.nonzero(coloured & (profile[..., 0] < profile[..., 1]))[1].mean()
    assert toes < heels


def split(vertices, axis):
    """Red where the camera's axis is below its middle, green above."""
    low, high = vertices[..., axis].aminmax()
    return torch.where(vertices[..., axis : axis + 1] < (low + high) / 2, torch.tensor(RED), torch.tensor(GREEN))


def mask_of(picture):
    """Where the backdrop, which is grey, is hidden."""
    return np.ptp(picture.astype(int), axis=-1) > 60


def test_views_hold_the_whole_body(person):
    for picture in turntable(*person, count=4, size=(150, 200), colors=[RED]):
        mask = mask_of(picture)
        assert not mask[0].any() and not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()
        assert mask.any(1).sum() > 80


def test_a_sheet_has_the_overlay_and_two_sides(person):
    image = np.full((400, 300, 3), 90, np.uint8)
    picture = sheet(image, *person, Camera.from_size(300, 400))
    assert picture.shape[0] == 400
    assert picture.shape[1] > 3 * 180
    np.testing.assert_array_equal(picture[:, :300], overlay(image, *person, Camera.from_size(300, 400)))


def test_people_far_apart_in_depth_are_large_from_the_side(ball):
    """Each has a side view that is as large as that of one alone; the one behind is not a dot beside the other."""
    near, far, unknown = (at(ball[0], x, 0, z) for x, z in ((-0.5, 3.0), (0.6, 30.0), (0.0, 4.0)))
    camera, faces = Camera.from_size(300, 400), ball[1]
    image = np.full((400, 300, 3), 120, np.uint8)
    together = sheet(image, torch.cat([near, at(ball[0], 0.6, 0, 3.2)]), faces, camera)
    apart = sheet(image, torch.cat([near, far]), faces, camera)
    broken = sheet(image, torch.cat([near, far, unknown * torch.nan]), faces, camera)
    assert apart.shape[1] > together.shape[1] + 150 and broken.shape == apart.shape
    panels = Beside.of(torch.cat([near, far]).double())
    assert [list(group) for group in panels.groups] == [[0], [1]]
    views = panels.drawn(faces, (200, 200), None)
    for picture in views[:2]:
        colored = np.ptp(picture.astype(int), axis=2) > 20
        assert colored.any(1).sum() > 0.7 * 200


def test_a_sheet_fits_the_screen(person):
    image, camera = np.full((600, 450, 3), 80, np.uint8), Camera.from_size(450, 600)
    whole, smaller = (sheet(image, *person, camera, longest=longest) for longest in (None, 1200))
    assert abs(smaller.shape[1] - 1200) < 40 < whole.shape[1] - 1200
    reduced = cv2.resize(whole, smaller.shape[1::-1], interpolation=cv2.INTER_AREA)
    assert np.abs(reduced.astype(int) - smaller).mean() < 6


def test_a_small_person_gets_a_close_up(person):
    vertices, faces = person
    image, far, camera = np.zeros((400, 500, 3), np.uint8), at(vertices, 4.0, 1.0, 10.0), Camera.from_size(500, 400)
    assert sheet(image, far, faces, camera).shape[1] > sheet(image, vertices, faces, camera).shape[1] + 100
    close = close_up(image, far, faces, camera, (200, 400), colors=[RED])
    assert close.shape == (400, 200, 3)
    rows, columns = np.nonzero(close[..., 0] > close[..., 1] + 20)
    assert max(np.ptp(rows) / 400, np.ptp(columns) / 200) == pytest.approx(0.8, abs=0.03)  # CLOSE_FILL, to whole pixels


def test_a_large_photograph_is_reduced(ball):
    camera, image = Camera.from_size(4000, 1000), np.zeros((1000, 4000, 3), np.uint8)
    keypoints = Keypoints(torch.tensor([[[3000.0, 500]]]), torch.ones(1, 1), ("nose",))
    picture = overlay(image, at(ball[0]), ball[1], camera, given=keypoints)
    assert picture.shape == (LARGEST // 4, LARGEST, 3)
    drawn = changed(picture, 0)
    assert drawn[LARGEST // 8, LARGEST // 2]
    assert drawn[190:211, 1190:1211].any()


@pytest.mark.parametrize("place", [(50.0, 0, 3), (0, 0, -3), (0, 0, 0), (0.9, 0.7, 2)])
def test_bodies_outside_behind_around_and_across_the_edge(ball, camera, place):
    vertices = at(ball[0], *place)
    picture = overlay(GREY, vertices, ball[1], camera)
    mask = BuiltinRenderer().silhouette(vertices, ball[1], camera)[0].numpy()
    assert changed(picture)[mask].mean() > 0.99 if mask.any() else not changed(picture).any()
    assert sheet(GREY, vertices, ball[1], camera).shape[0] >= 320


def test_nan_bodies_draw_nothing(ball, camera):
    people = torch.cat([at(ball[0]), torch.full_like(ball[0], torch.nan)])
    picture = overlay(GREY, people, ball[1], camera)
    np.testing.assert_array_equal(picture, overlay(GREY, people[:1], ball[1], camera))
    assert sheet(GREY, people[1:], ball[1], camera).shape[0] >= 320


def test_inputs_stay_as_they_were(ball, camera):
    image, vertices = GREY.copy(), at(ball[0])
    keypoints = Keypoints(torch.tensor([[[80.0, 60]]]), torch.ones(1, 1), ("nose",))
    overlay(image, vertices, ball[1], camera, given=keypoints, reprojected=keypoints)
    draw_keypoints(image, keypoints)
    np.testing.assert_array_equal(image, GREY)
    assert torch.equal(vertices, at(ball[0]))


def test_keypoints_are_drawn_where_they_are():
    """A cross at a pixel centre is symmetric about that pixel."""
    keypoints = Keypoints(torch.tensor([[[20.5, 10.5]]]), torch.ones(1, 1), ("nose",))
    drawn = changed(draw_keypoints(np.zeros((21, 41, 3), np.uint8), keypoints, marker="cross"), 0)
    assert drawn[10, 20]
    np.testing.assert_array_equal(drawn, drawn[::-1])
    np.testing.assert_array_equal(drawn, drawn[:, ::-1])


def test_left_and_right_have_their_colours():
    xy = torch.tensor([[[30.0, 50], [130.0, 50]]])
    picture = draw_keypoints(
        np.zeros((100, 160, 3), np.uint8), Keypoints(xy, torch.ones(1, 2), ("left_knee", "right_knee"))
    )
    assert hue(picture, changed(picture, 0) & (np.arange(160) < 80)) == 0  # orange
    assert hue(picture, changed(picture, 0) & (np.arange(160) > 80)) == 1  # green


def test_limbs_join_the_keypoints_of_a_set():
    names = ("left_hip", "left_knee", "left_ankle")
    xy = torch.tensor([[[20.0, 10], [20.0, 50], [60.0, 50]]])
    keypoints = Keypoints(xy, torch.ones(1, 3), names)
    with_limbs, without = (draw_keypoints(GREY, keypoints, draw_limbs=d) for d in (True, False))
    assert changed(with_limbs)[30, 20] and changed(with_limbs)[50, 40]
    assert not changed(without)[30, 20]


def test_unseen_and_impossible_keypoints_are_left_out():
    xy = torch.tensor([[[20.0, 10], [torch.nan, 5], [1e30, 5], [-1e9, 0]]])
    confidence = torch.tensor([[0.0, 1, 1, 1]])
    keypoints = Keypoints(xy, confidence, ("nose", "left_eye", "right_eye", "left_ear"))
    np.testing.assert_array_equal(draw_keypoints(GREY, keypoints, draw_limbs=True), GREY)
    with pytest.raises(ValueError, match="'ring' or 'cross'"):
        draw_keypoints(GREY, keypoints, marker="star")


def test_side_by_side_centres_the_lower_picture():
    row = side_by_side([np.zeros((10, 4, 3), np.uint8), np.zeros((20, 6, 3), np.uint8)], background=9)
    assert row.shape == (20, 4 + 3 + 6, 3)
    assert (row[:5, :4] == 9).all() and (row[5:15, :4] == 0).all() and (row[15:, :4] == 9).all()


def test_normals_of_a_ball_point_outwards(ball):
    normals = vertex_normals(*ball)
    assert (normals * ball[0]).sum(-1).min() > 0.5 * 0.999  # an icosphere's vertex normals are radial to 0.1 %


def test_srgb_round_trip():
    values = np.linspace(0, 1, 256)
    np.testing.assert_allclose(
        to_srgb(to_linear(torch.tensor(values)).numpy()), values, atol=1e-4
    )  # IEC's own rounding
    assert len({tuple(hex_to_rgb(c)) for c in BODY_COLORS}) == len(BODY_COLORS)


def test_views_are_upright_where_it_is_known_what_is_up(person):
    """A camera that looks down by 25 degrees and is held aslant by 15: with `up` the pictures of a level one."""
    vertices, faces = person
    turn = rotvec_to_matrix(torch.tensor([0.0, 0, 0.26]).double()) @ rotvec_to_matrix(
        torch.tensor([0.44, 0, 0]).double()
    )
    up = -turn[:, 1]
    held = vertices @ turn.T
    level = views(vertices, faces, (0, 90, 180, 270), (60, 80))
    upright = views(held, faces, (0, 90, 180, 270), (60, 80), up=up)
    tilted = views(held, faces, (0, 90, 180, 270), (60, 80))

    def off(a: list[np.ndarray], b: list[np.ndarray]) -> float:
        return max(np.abs(i.astype(int) - j).mean() for i, j in zip(a, b, strict=True))

    assert off(level, upright) < 0.5 and off(level, tilted) > 5
    around = turntable(held, faces, 4, (60, 80), up=up)
    assert off(around, upright) == 0
    camera = Camera.from_size(160, 120, focal=200)
    known, unknown = sheet(GREY, held, faces, camera, up=up), sheet(GREY, held, faces, camera)
    truly = sheet(GREY, vertices, faces, camera)
    beside = slice(-200, None)  # from behind
    assert off([truly[:, beside]], [known[:, beside]]) < 1 < 5 < off([known[:, beside]], [unknown[:, beside]])

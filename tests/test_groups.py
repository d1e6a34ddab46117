"""fit_views and fit_sequence: what several cameras and many frames know together, and what is known beside them."""

import logging
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.groups import SIZE, draw, in_world, joints_of, moved, person, rig, seen_by, sequence, views, walk

import hmrfit
from hmrfit.camera import Camera
from hmrfit.fitting.terms.height import HeightTerm
from hmrfit.keypoints import SMPL24
from hmrfit.motion import read_motion
from hmrfit.ops.rotation import geodesic_angle, rotvec_to_matrix
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.types import BodyParams


def test_a_rigid_motion_moves_the_body_as_it_moves_points() -> None:
    R, t = rotvec_to_matrix(draw(3)), draw(3)
    torch.testing.assert_close(joints_of(moved(person(), R, t)), joints_of(person()) @ R.T + t, rtol=0, atol=1e-12)


def test_three_views_are_better_than_one() -> None:
    """One body in three frames; the joints, where they are in metres, nearer to the truth than from one photograph."""
    together, camera = views(), rig()[2]
    alone = hmrfit.fit(None, rig()[1][0], keypoint_set="coco17", camera=camera, image_size=SIZE)
    truth = joints_of(person())[0].numpy()
    error = [np.linalg.norm(r.joints[0] - truth, axis=-1).mean() for r in (alone, together[0])]
    assert error[1] < 0.04 and error[1] < 0.75 * error[0]
    for result, E in zip(together, rig()[0], strict=True):
        np.testing.assert_allclose(result.joints[0], together[0].joints[0] @ E[:, :3].T + E[:, 3], atol=1e-9)
        assert result.reprojection_error[0] < 0.02 and sum(result.term_cost.values()) == pytest.approx(result.cost)
    assert (together[0].betas == together[1].betas).all()


def test_the_world_is_anywhere() -> None:
    """Another world frame: the same bodies in the cameras' frames."""
    a, b = views(), views(extrinsics=in_world(rotvec_to_matrix(draw(3)).numpy(), draw(3).numpy()))
    np.testing.assert_allclose(a[1].joints, b[1].joints, atol=1e-6)


def test_up_of_the_world_is_up_in_every_view() -> None:
    """The rig is level; its world is turned so that z points up, as calibrations often have it."""
    to_level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # x right, y ahead, z up -> x right, y down, z forward
    world = in_world(to_level, np.zeros(3))
    known, unknown = views(extrinsics=world, up=(0, 0, 5)), views(extrinsics=world)
    assert all(result.up is None for result in unknown)
    for a, b, camera in zip(known, unknown, world, strict=True):
        np.testing.assert_allclose(a.up, camera[:, 2], atol=1e-9)
        np.testing.assert_allclose(a.joints, b.joints, atol=1e-12)
    with pytest.raises(ValueError, match="up should be three"):
        views(up=(0, 1))


@cache
def whole_walk() -> hmrfit.FitResult:
    return sequence(walk()[1])


def test_a_sequence_has_one_shape_and_moves_smoothly() -> None:
    truth, keypoints, camera = walk()
    alone = hmrfit.fit(None, keypoints, keypoint_set="coco17", camera=camera, image_size=SIZE)
    together = whole_walk()
    assert len(together) == 12 and (together.betas == together.betas[:1]).all()
    right = joints_of(truth).numpy()
    off = [(r.joints - r.joints[:, :1]) - (right - right[:, :1]) for r in (alone, together)]
    error = [np.linalg.norm(o, axis=-1).mean() for o in off]
    jitter = [np.linalg.norm(np.diff(r.joints, 2, axis=0), axis=-1).mean() for r in (alone, together)]
    assert error[1] < error[0] and jitter[1] < 0.25 * jitter[0]
    assert sum(together.term_cost.values()) == pytest.approx(together.cost)
    assert not together.origin.conditioned_on and not alone.origin.conditioned_on  # each frame's is of all frames


@cache
def holes() -> np.ndarray:
    """The walk, in two of whose frames nothing is seen."""
    keypoints = walk()[1].copy()
    keypoints[5:7] = 0
    return keypoints


def test_a_frame_without_keypoints_is_filled_in() -> None:
    whole, filled = whole_walk(), sequence(holes())
    off = np.linalg.norm(whole.joints[5:7] - filled.joints[5:7], axis=-1).mean()
    assert off < 0.08
    assert (filled.keypoints.confidence[5:7] == 0).all() and (holes()[5:7] == 0).all()
    assert np.isnan(filled.reprojection_error[5])


def test_a_sequence_is_saved_with_its_time_and_written_as_motion(tmp_path: Path) -> None:
    """Upright, at the right rate, in the direction and as far as the person truly went; the camera looks down."""
    truth, _, camera = walk()
    tilt = rotvec_to_matrix(torch.tensor([0.4, 0.0, 0.0]).double())
    center = truth.transl.mean(0)
    held = moved(truth, tilt, center - tilt @ center)
    up = (tilt @ torch.tensor([0.0, -1, 0]).double()).numpy()
    result = sequence(seen_by(held, camera[[0] * len(held)], noise=0.005), fps=60.0, up=up)
    assert (result.rows, result.fps) == ("frames", 60.0) and result.names == [str(i) for i in range(12)]
    np.testing.assert_allclose(result.up, up, atol=1e-12)
    result.save(tmp_path / "result.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "result.npz")
    assert (loaded.rows, loaded.fps, loaded.names) == ("frames", 60.0, result.names) and np.allclose(loaded.up, up)
    with np.load(tmp_path / "result.npz") as data:
        assert data["mocap_framerate"] == 60
    loaded.save_motion(tmp_path / "walk.npz")
    motion = read_motion(tmp_path / "walk.npz")
    assert motion.fps == 60 and len(motion) == 12 and motion.up == "z"
    x, y, z = np.moveaxis(joints_of(truth).numpy(), -1, 0)  # in the level camera's frame
    true = np.stack([x, z, -y], -1)
    R = rotvec_to_matrix(torch.tensor(motion.poses))
    betas = torch.tensor(motion.betas).expand(12, -1)
    found = joints_of(BodyParams(R[:, 0], R[:, 1:], betas, torch.tensor(motion.transl))).numpy()
    head, ankle = SMPL24.index("head"), SMPL24.index("left_ankle")
    trunk = (found[:, head] - found[:, 0]).mean(0), (true[:, head] - true[:, 0]).mean(0)
    cosine = trunk[0] @ trunk[1] / np.linalg.norm(trunk[0]) / np.linalg.norm(trunk[1])
    assert cosine > np.cos(np.deg2rad(12)) and (found[:, head, 2] > found[:, ankle, 2] + 1).all()
    steps = found[-1, 0] - found[0, 0], true[-1, 0] - true[0, 0]
    # the depth of a person who is seen for 0.2 s is known least; across the picture the way is as long as it was
    assert steps[0] @ steps[1] > 0.9 * np.linalg.norm(steps[0]) * np.linalg.norm(steps[1])
    assert steps[0][0] == pytest.approx(steps[1][0], rel=0.15)
    x, y, z = np.moveaxis(result.joints[:, :22] @ tilt.numpy(), -1, 0)  # palms are at rest in the file
    np.testing.assert_allclose(found[:, :22], np.stack([x, z, -y], -1), atol=1e-9)
    assert np.linalg.norm(trunk[0]) == pytest.approx(np.linalg.norm(trunk[1]), rel=0.1)


def test_blank_frames_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hmrfit"):
        result = sequence(holes())
    assert [len(w) for w in result.warnings[5:7]] == [1, 1] and "nearest frames" in result.warnings[5][0]
    assert len(caplog.records) == 1 and "frames 5-6: Filled in from the nearest frames: no keypoint" in caplog.text
    assert "nan" not in str(result) + repr(result) and "2 frames without keypoints" in repr(result)


def test_without_smoothness_only_the_shape_is_shared() -> None:
    _, keypoints, _ = walk()
    result = sequence(keypoints[:4], smooth=0)
    assert (result.betas == result.betas[:1]).all()
    assert not np.array_equal(result.joints, sequence(keypoints[:4]).joints)


# what else is known, in both

CAMERA = rig()[2]
HEELS = ("left_heel", "right_heel")


@cache
def plain_views() -> list[hmrfit.FitResult]:
    return views()


@cache
def plain_sequence() -> hmrfit.FitResult:
    return sequence(walk()[1][:4])


def both(**known: Any) -> list[list[hmrfit.FitResult]]:
    """The fits of views and of four frames with what is the same in both."""
    return [views(**known), [sequence(walk()[1][:4], **known)]]


def heights(result: hmrfit.FitResult) -> np.ndarray:
    """(N,) metres."""
    return HeightTerm(free_body()).of(result.params.betas).numpy()


def drawn(params: BodyParams, camera: Camera) -> np.ndarray:
    """(B, H, W) true masks."""
    body = free_body()
    cameras = camera[[0] * len(params)]
    return BuiltinRenderer().silhouette(body(params).vertices, body.faces, cameras).numpy() > 0


def test_a_known_height_is_the_bodys_in_every_view_and_frame() -> None:
    in_views, in_frames = both(measurements=[hmrfit.Height(1.95, 0.01)])
    for result, before in zip([*in_views, *in_frames], [*plain_views(), plain_sequence()], strict=True):
        assert np.abs(heights(result) - 1.95).max() < 0.03 and (heights(before) < 1.9).all()
        assert np.ptp(heights(result)) < 1e-12 and result.measurements == {"height": "1.95 ± 0.01 m"}
        assert "height" in result.term_cost


def test_a_known_shape_is_the_bodys_in_every_view_and_frame() -> None:
    betas = person().betas[0].numpy() + 0.8
    for found in both(measurements=[hmrfit.Shape(betas, 0.01)]):
        assert all(np.abs(result.betas - betas).max() < 0.1 for result in found)


def test_the_heels_are_on_the_floor_of_the_world_in_every_view() -> None:
    """The world of the extrinsics is another than any camera's, with z up, and its floor 10 cm higher than heels were
    found."""
    to_level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # x right, y ahead, z up -> x right, y down, z forward
    origin = np.array([0.3, 0.2, 3.0])
    world = in_world(to_level, origin)
    up_of = lambda found: [(r.points(HEELS)[0][0] - E[:, 3]) @ E[:, 2] for r, E in zip(found, world, strict=True)]  # noqa: E731
    before = np.mean(up_of(plain_views()))
    floor = hmrfit.Floor((0, 0, 2), 2 * (before + 0.1), HEELS)
    found = views(extrinsics=world, measurements=[floor], weights={"ground": 500.0})
    for result, heels, E in zip(found, up_of(found), world, strict=True):
        assert np.abs(heels - before - 0.1).max() < 0.02
        np.testing.assert_allclose(result.up, E[:, 2], atol=1e-9)  # the floor says what is up


def test_a_heel_is_on_the_floor_in_every_frame() -> None:
    """The lower one, on a floor 10 cm above where it was found."""
    heel = lambda result: result.points(HEELS[:1])[0][:, 0, 1]  # noqa: E731
    floor = heel(plain_sequence()).mean() - 0.1
    found = sequence(walk()[1][:4], measurements=[hmrfit.Floor((0, -1, 0), -floor, HEELS[:1])])
    assert np.abs(heel(found) - floor).max() < 0.6 * np.abs(heel(plain_sequence()) - floor).max()
    np.testing.assert_allclose(found.up, [0, -1, 0])


def test_points_in_3d_are_in_the_world_of_the_extrinsics() -> None:
    """Also where that world's origin lies beyond the person, whose depths are negative in it."""
    to_world = rotvec_to_matrix(torch.tensor([0.0, np.pi, 0.3]).double()).numpy()
    origin = np.array([0.0, 0.0, 9.0])
    world = in_world(to_world.T, origin)
    truth = joints_of(person())[0].numpy()
    there = (truth - origin) @ to_world.T
    known = [hmrfit.Keypoints3D(there, "smpl24")]
    found = views(extrinsics=world, measurements=known)
    off = lambda results: np.linalg.norm(results[0].joints[0] - truth, axis=-1).mean()  # noqa: E731
    assert off(found) < 0.5 * off(plain_views())
    with pytest.raises(ValueError, match=r"behind the camera.*world of the extrinsics"):
        views(extrinsics=world, measurements=[hmrfit.Keypoints3D(there + np.array([0, 0, 20.0]), "smpl24")])


def test_points_in_3d_are_one_set_a_frame() -> None:
    truth = joints_of(walk()[0])[:4].numpy()
    found = sequence(walk()[1][:4], measurements=[hmrfit.Keypoints3D(truth, "smpl24")])
    off = lambda result: np.linalg.norm(result.joints - truth, axis=-1).mean()  # noqa: E731
    assert off(found) < 0.5 * off(plain_sequence())


def outside(result: hmrfit.FitResult, masks: np.ndarray) -> float:
    """How many pixels of the bodies lie outside of the masks, as a fraction of these."""
    return (drawn(result.params, CAMERA) & ~masks).sum() / masks.sum()


def test_masks_are_one_a_view_and_one_a_frame() -> None:
    """Of a person who is narrower than was fitted: bodies stay inside of their masks."""
    slim = lambda p: replace(p, betas=p.betas + torch.tensor([0, 2.5] + [0] * 8).double())  # noqa: E731
    R, t = (torch.tensor(part) for part in (rig()[0][:, :, :3], rig()[0][:, :, 3]))
    in_views = np.concatenate([drawn(moved(slim(person()), R[c], t[c]), CAMERA) for c in range(3)])
    in_frames = drawn(slim(walk()[0]), CAMERA)[:4]
    found = views(measurements=[hmrfit.Mask(list(in_views))])
    pairs = list(zip(found, plain_views(), in_views[:, None], strict=True))
    pairs.append((sequence(walk()[1][:4], measurements=[hmrfit.Mask(list(in_frames))]), plain_sequence(), in_frames))
    outer = np.array([[outside(result, masks), outside(before, masks)] for result, before, masks in pairs])
    assert all("mask" in result.term_cost for result, _, _ in pairs)
    assert (outer[:, 0] < outer[:, 1]).all() and (outer.sum(0) @ [1, -0.87] < 0)


@pytest.mark.parametrize("kind", [hmrfit.Mask, hmrfit.Silhouette])
@pytest.mark.parametrize("count", [1, 2])
def test_masks_of_other_counts_are_refused(kind: type, count: int) -> None:
    masks = [np.ones(SIZE[::-1], bool)] * count
    with pytest.raises(ValueError, match="masks of 3 views should be a list of 3"):
        views(measurements=[kind(masks)])
    with pytest.raises(ValueError, match="one for each of the 4"):
        sequence(walk()[1][:4], measurements=[kind(masks)])


def tall(state, output, observation):
    """The first beta at 1.5."""
    return 300 * (state.params.betas[:, :1] - 1.5)


def test_terms_of_the_callers_own_are_in_both() -> None:
    for found, plain in zip(
        both(terms=[tall], weights={"tall": 4.0}), (plain_views(), [plain_sequence()]), strict=True
    ):
        for result, before in zip(found, plain, strict=True):
            assert "tall" in result.term_cost and np.abs(result.betas[:, 0] - 1.5).max() < 0.05
            assert np.abs(before.betas[:, 0] - 1.5).min() > 0.3
    with pytest.raises(ValueError, match="Term 'wrong' should return"):
        views(terms=[hmrfit.FunctionTerm(lambda state, output, observation: output.joints, "wrong")])
    near = sequence(walk()[1][:4], terms=["shape"], weights={"shape": 1e5})  # a built-in one, by its name
    assert np.abs(near.betas).max() < 0.1 * np.abs(plain_sequence().betas).max()


def test_weights_are_those_of_the_terms_in_both() -> None:
    """Views are fitted from the poses of a library, frames from the initial estimate: each has terms of its own."""
    far = views(weights={"shape": 1e5})
    assert np.abs(far[0].betas).max() < 0.1 * np.abs(plain_views()[0].betas).max()
    with pytest.raises(ValueError, match=r"no term 'anchor'\..*It has: gmm, joint_limits, shape, upright"):
        views(weights={"anchor": 2})
    close = sequence(walk()[1][:4], weights={"keypoints": 50.0})
    assert close.reprojection_error.mean() < 0.8 * plain_sequence().reprojection_error.mean()
    with pytest.raises(ValueError, match=r"no term 'shape'\..*It has: anchor, joint_limits, keypoints"):
        sequence(walk()[1][:4], weights={"shape": 2})


def turned(params: BodyParams, x: float, y: float) -> BodyParams:
    """Turned about its own axes, radians."""
    about = rotvec_to_matrix(torch.tensor([x, y, 0]).double())
    return replace(params, global_orient=params.global_orient @ about)


def turned_by(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Degrees, by which bodies as a whole are turned, at most."""
    return float(torch.rad2deg(geodesic_angle(found, expected).max()))


def test_a_given_start_is_where_the_fit_of_views_begins() -> None:
    """On its head, from where the fit finds the feet again. One body in the world is one in each camera's frame."""
    start, truth = turned(person(), np.pi, 0), person().global_orient
    R, t = (torch.tensor(part) for part in (rig()[0][:, :, :3], rig()[0][:, :, 3]))
    each = BodyParams.cat([moved(start, R[c], t[c]) for c in range(3)])
    assert turned_by(plain_views()[0].params.global_orient, truth) < 30 and plain_views()[0].start is None
    found, other = views(init=start), views(init=each)
    assert turned_by(found[0].start.global_orient, truth) > 90 and turned_by(found[0].params.global_orient, truth) < 30
    for c in range(3):
        torch.testing.assert_close(joints_of(found[c].start), joints_of(each[c]))
        np.testing.assert_allclose(found[c].joints, other[c].joints, atol=1e-6)
    with pytest.raises(ValueError, match=r"init holds 2 bodies.*one for each of the 3 cameras"):
        views(init=BodyParams.cat([start] * 2))
    with pytest.raises(TypeError, match="init should be a FitResult or BodyParams"):
        views(init=3)


def test_a_given_start_is_where_the_fit_of_frames_begins() -> None:
    keypoints, truth = walk()[1][:4], walk()[0][:4]
    start = turned(truth, 0, np.pi)  # its back to where it faces
    assert turned_by(plain_sequence().params.global_orient, truth.global_orient) < 30
    found = sequence(keypoints, init=start, init_std=5)
    assert turned_by(found.params.global_orient, truth.global_orient) > 90
    torch.testing.assert_close(joints_of(found.start), joints_of(start))
    again = sequence(keypoints, init=plain_sequence(), init_std=0.1)  # so sure that nothing moves
    assert np.abs(again.joints - plain_sequence().joints).max() < 0.02
    with pytest.raises(ValueError, match="init holds 3 people, but there are 4"):
        sequence(keypoints, init=start[:3])
    with pytest.raises(ValueError, match="init_std says how wrong init= is"):
        sequence(keypoints, init_std=5)


def test_a_free_focal_length_is_nearer_to_the_truth_than_the_one_it_begins_with() -> None:
    """900 px. Cameras that are not known begin with the diagonal, 1000 px; given ones with their own, here all too
    long: the size of the body holds them together, so that one alone hardly moves."""
    found = views(cameras=[replace(CAMERA, focal=CAMERA.focal * 1.3)] * 3, focal="free")
    assert all(abs(np.log(float(r.camera.focal[0, 0]) / 900.0)) < 0.12 and not r.focal_known for r in found)
    words = [r.origin.focal_source for r in found]
    assert all(w.startswith("fitted beside the people, about given") for w in words)
    assert all(10 < int(re.search("right to about ([0-9]+) %", w)[1]) < 30 for w in words), words
    unknown = views(cameras=None, focal="free")
    assert all("about assumed" in r.origin.focal_source and abs(r.camera.focal[0, 0] - 900) < 100 for r in unknown)
    frames = sequence(walk()[1][:4], camera=None, focal="free")
    assert (frames.camera.focal == frames.camera.focal[0]).all() and not frames.focal_known
    assert 600 < frames.camera.focal[0, 0] < 1500 and frames.camera.focal[0, 0] != 1000.0

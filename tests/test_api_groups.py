"""fit_views and fit_sequence: what several cameras and many frames know together, and letters for what does not fit."""

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import hmrfit
from hmrfit.api_groups import relative_pose, turned
from hmrfit.build import build
from hmrfit.camera import Camera
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.motion import read_motion
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Corruption, corrupt
from hmrfit.types import BodyParams, Keypoints

SIZE = (800, 600)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(sum(shape)))


def seen_by(params: BodyParams, camera: Camera, noise: float = 0.01) -> np.ndarray:
    """(B, 17, 3) keypoints with noise."""
    points = build().fitter.body.points(COCO17).pose(params).points
    clean = Keypoints(camera.project(points), torch.ones(len(params), 17).double(), COCO17)
    found = corrupt(clean, Corruption(noise, 0.0), torch.Generator().manual_seed(0))
    return torch.cat([found.xy, found.confidence[..., None]], -1).numpy()


def joints_of(params: BodyParams) -> torch.Tensor:
    return build().fitter.body.points(SMPL24).pose(params).joints


@cache
def person() -> BodyParams:
    """One person of the shipped poses, three metres and a half in front of a level camera."""
    fitter = build().fitter
    pose = rotvec_to_matrix(fitter.library_poses[9:10].unflatten(1, (-1, 3)))
    orient = rotvec_to_matrix(torch.tensor([[np.pi, 0, 0]]).double()) @ rotvec_to_matrix(
        torch.tensor([[0, 0.5, 0]]).double()
    )
    transl = torch.tensor([[0.1, 0.2, 3.5]]).double()
    return BodyParams(orient, pose, 0.7 * draw(1, 10), transl)


@cache
def rig(count: int = 3) -> tuple[np.ndarray, np.ndarray, Camera]:
    """Cameras in a ring about (0, 0, 3.5): (extrinsics (C, 3, 4), keypoints (C, 17, 3), camera)."""
    angle = torch.arange(count).double() * 1.2
    R = rotvec_to_matrix(angle[:, None] * torch.tensor([0.0, 1.0, 0.0]).double())
    center = torch.tensor([0.0, 0.0, 3.5]).double()
    t = center - R @ center
    camera = Camera.from_size(*SIZE, focal=900.0)
    body = build().fitter.body
    bodies = [turned(person(), body.rest_joints[0], body.joint_shapes[0], R[c], t[c]) for c in range(count)]
    keypoints = np.concatenate([seen_by(p, camera) for p in bodies])
    return torch.cat([R, t[..., None]], -1).numpy(), keypoints, camera


def views(count: int = 3, **changes) -> list[hmrfit.FitResult]:
    extrinsics, keypoints, camera = rig(count)
    given = {"keypoint_set": "coco17", "cameras": [camera] * count, "image_size": SIZE} | changes
    return hmrfit.fit_views([None] * count, given.pop("keypoints", keypoints), given.pop("extrinsics", extrinsics), **given)  # fmt: skip  # noqa: E501


def test_a_rigid_motion_moves_the_body_as_it_moves_points() -> None:
    body = build().fitter.body
    R, t = rotvec_to_matrix(draw(3)), draw(3)
    moved = turned(person(), body.rest_joints[0], body.joint_shapes[0], R, t)
    torch.testing.assert_close(joints_of(moved), joints_of(person()) @ R.T + t, rtol=0, atol=1e-12)


def test_relative_poses_meet_in_the_world() -> None:
    R, t, x = rotvec_to_matrix(draw(4, 3)), draw(4, 3), draw(3)
    between, shift = relative_pose(R, t, 2)
    for c in range(4):
        torch.testing.assert_close(between[c] @ (R[2] @ x + t[2]) + shift[c], R[c] @ x + t[c])


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
    Q, s = rotvec_to_matrix(draw(3)).numpy(), draw(3).numpy()
    E = rig()[0]
    other = np.concatenate([E[:, :, :3] @ Q, (E[:, :, :3] @ s)[..., None] + E[:, :, 3:]], -1)
    a, b = views(), views(extrinsics=other)
    np.testing.assert_allclose(a[1].joints, b[1].joints, atol=1e-6)


def test_up_of_the_world_is_up_in_every_view() -> None:
    """The rig is level; its world is turned so that z points up, as calibrations often have it."""
    to_level = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])  # x right, y ahead, z up -> x right, y down, z forward
    E = rig()[0]
    world = np.concatenate([E[:, :, :3] @ to_level, E[:, :, 3:]], -1)
    known, unknown = views(extrinsics=world, up=(0, 0, 5)), views(extrinsics=world)
    assert all(result.up is None for result in unknown)
    for a, b, camera in zip(known, unknown, world, strict=True):
        np.testing.assert_allclose(a.up, camera[:, 2], atol=1e-9)
        np.testing.assert_allclose(a.joints, b.joints, atol=1e-12)
    with pytest.raises(ValueError, match="up should be three"):
        views(up=(0, 1))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extrinsics": np.eye(4)[None].repeat(2, 0)}, "shape"),
        ({"extrinsics": np.full((3, 3, 4), np.nan)}, "NaN"),
        ({"extrinsics": np.ones((3, 3, 4))}, "no rotation"),
        ({"extrinsics": rig()[0] * [[[1, 1, -1, 1]]]}, "reflection"),
        ({"extrinsics": np.concatenate([rig()[0], np.ones((3, 1, 4))], 1)}, "0, 0, 0, 1"),
        ({"extrinsics": rig()[0] + [[[0, 0, 0, 1e9]]]}, "millimetres"),
        (
            {"cameras": [rig()[2]] * 2 + [replace(rig()[2], focal=rig()[2].focal * np.nan)]},
            r"View 2: camera\.focal holds",
        ),
        ({"cameras": [replace(rig()[2], focal=-rig()[2].focal)] * 3}, "View 0: camera's focal length"),
        ({"cameras": [replace(rig()[2], center=rig()[2].center * np.nan)] * 3}, r"View 0: camera\.center holds"),
        ({"image_size": [SIZE] * 2}, "one for each of the 3 views"),
        ({"image_size": [SIZE, SIZE, (1e300, 4)]}, "View 2: image_size should be"),
        ({"image_size": [SIZE, SIZE, (640, 480)]}, r"View 2: The camera is of an image"),
        ({"keypoints": rig()[1] * [1, 1, 0]}, "View 0: Person 0: no keypoint has"),
        ({"keypoints": rig()[1] + np.array([[[0, 0, 0]], [[0, 0, 0]], [[1e60, 0, 0]]])}, "View 2: .*person 0"),
        ({"extrinsics": np.stack([np.c_[np.eye(3), [0, 0, 3000.0]]] * 3)}, "millimetres"),
        ({"keypoints": np.ones((2, 17, 3))}, "one for each of the 3 views"),
        ({"cameras": None}, "is not known"),
        ({"keypoints": np.full((3, 2, 17, 2), 9.0)}, "2 people"),
    ],
)
def test_letters_about_views(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        views(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"extrinsics": "E"}, "extrinsics should be"),
        ({"extrinsics": rig()[0] * 1j}, "extrinsics should be"),
        ({"extrinsics": [None] * 3}, "extrinsics should be"),
        ({"keypoints": 3}, "keypoints should be a list, one for each view"),
        ({"cameras": "camera"}, "cameras should be a list"),
        ({"cameras": [3] * 3}, "View 0: camera should be a hmrfit.Camera"),
        ({"cameras": [replace(rig()[2], focal=rig()[2].focal > 0)] * 3}, "View 0: camera.focal should be a tensor"),
    ],
)
def test_views_of_another_kind(changes: dict, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        views(**changes)


def test_views_of_different_sizes_and_rounded_extrinsics() -> None:
    """The third camera's image is cut to its middle: the same keypoints, the same body."""
    extrinsics, keypoints, camera = rig()
    low, size = torch.tensor([[100.0, 50.0]]).double(), torch.tensor([[600.0, 500.0]]).double()
    moved = keypoints - np.array([[[0, 0, 0]], [[0, 0, 0]], [[100, 50, 0]]])
    whole = views()
    cut = views(keypoints=moved, cameras=[camera, camera, camera.crop(low, size)], image_size=[SIZE, SIZE, (600, 500)])
    np.testing.assert_allclose(cut[0].joints, whole[0].joints, atol=2e-3)  # the crop is seen a little elsewhere
    assert cut[2].image_size == (600, 500)
    np.testing.assert_allclose(views(extrinsics=extrinsics.round(4))[0].joints, whole[0].joints, atol=2e-3)


@cache
def walk(T: int = 12) -> tuple[BodyParams, np.ndarray, Camera]:
    """The person swings all joints for four tenths of a second."""
    time = torch.arange(T).double()[:, None, None] / 30
    p = person()
    swing = rotvec_to_matrix(0.15 * torch.sin(4 * time) * draw(1, 24, 3))
    rotations = p.rotations @ swing
    params = BodyParams(rotations[:, 0], rotations[:, 1:], p.betas.expand(T, -1), p.transl + 0.5 * time[:, 0])
    camera = Camera.from_size(*SIZE, focal=900.0)
    return params, seen_by(params, camera[[0] * T]), camera


def sequence(keypoints: np.ndarray, **more) -> hmrfit.FitResult:
    given = {"fps": 30.0, "keypoint_set": "coco17", "camera": walk()[2], "image_size": SIZE} | more
    return hmrfit.fit_sequence(keypoints, **given)


def test_a_sequence_has_one_shape_and_moves_smoothly() -> None:
    truth, keypoints, camera = walk()
    alone = hmrfit.fit(None, keypoints, keypoint_set="coco17", camera=camera, image_size=SIZE)
    together = sequence(keypoints)
    assert len(together) == 12 and (together.betas == together.betas[:1]).all()
    right = joints_of(truth).numpy()
    error = [np.linalg.norm((r.joints - r.joints[:, :1]) - (right - right[:, :1]), axis=-1).mean() for r in (alone, together)]  # fmt: skip  # noqa: E501
    jitter = [np.linalg.norm(np.diff(r.joints, 2, axis=0), axis=-1).mean() for r in (alone, together)]
    assert error[1] < error[0] and jitter[1] < 0.25 * jitter[0]
    assert sum(together.term_cost.values()) == pytest.approx(together.cost)
    assert together.apart == "the other frames" and not alone.apart


def test_a_frame_without_keypoints_is_filled_in() -> None:
    keypoints = walk()[1]
    holes = keypoints.copy()
    holes[5:7] = 0
    whole, filled = sequence(keypoints), sequence(holes)
    off = np.linalg.norm(whole.joints[5:7] - filled.joints[5:7], axis=-1).mean()
    assert off < 0.08
    assert (filled.keypoints.confidence[5:7] == 0).all() and (holes[5:7] == 0).all()
    assert np.isnan(filled.reprojection_error[5])


def test_frames_that_are_hopeless_are_filled_in_and_say_so() -> None:
    """One coordinate of 1e60, a person far outside, and numbers that are none do not lose the sequence."""
    keypoints = walk()[1]
    broken = keypoints.copy()
    broken[2, 3, 0], broken[6, :, 0], broken[9, :, 2] = 1e60, 9e4, 0
    result = sequence(broken)
    assert len(result) == 12 and not result.left_out and np.isfinite(result.joints).all()
    assert [bool(w and w[0].startswith("Filled in")) for w in result.warnings] == [t in (2, 6, 9) for t in range(12)]
    assert "1e+60" in result.warnings[2][0] and "outside" in result.warnings[6][0]
    assert (result.keypoints.confidence[[2, 6, 9]] == 0).all() and len(set(result.person_ids)) == 12
    holes = keypoints.copy()
    holes[[2, 6, 9], :, 2] = 0
    np.testing.assert_allclose(result.joints, sequence(holes).joints, atol=1e-9)


def test_a_list_of_people_is_a_sequence() -> None:
    keypoints = walk()[1][:4]
    people = read_photo(None, keypoints, "coco17", image_size=SIZE).people
    result = sequence(list(people), keypoint_set=None)
    np.testing.assert_allclose(result.joints, sequence(keypoints).joints, atol=1e-9)


def test_a_sequence_is_saved_with_its_time_and_written_as_motion(tmp_path: Path) -> None:
    """Upright, at the right rate, in the direction and as far as the person truly went; the camera looks down."""
    truth, _, camera = walk()
    tilt = rotvec_to_matrix(torch.tensor([0.4, 0.0, 0.0]).double())
    center = truth.transl.mean(0)
    body = build().fitter.body
    held = turned(truth, body.rest_joints[0], body.joint_shapes[0], tilt, center - tilt @ center)
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
    holes = walk()[1].copy()
    holes[5:7] = 0
    with caplog.at_level(logging.WARNING, "hmrfit"):
        result = sequence(holes)
    assert [len(w) for w in result.warnings[5:7]] == [1, 1] and "nearest frames" in result.warnings[5][0]
    assert len(caplog.records) == 1 and "frames 5-6: Filled in from the nearest frames: no keypoint" in caplog.text
    assert "nan" not in str(result) + repr(result) and "2 frames without keypoints" in repr(result)


def test_without_smoothness_only_the_shape_is_shared() -> None:
    _, keypoints, _ = walk()
    result = sequence(keypoints[:4], smooth=0)
    assert (result.betas == result.betas[:1]).all()
    assert not np.array_equal(result.joints, sequence(keypoints[:4]).joints)


@pytest.mark.parametrize(
    ("keypoints", "more", "said"),
    [
        (np.ones((17, 3)), {}, "frames first"),
        (np.zeros((3, 17, 3)), {}, "No frame shows"),
        ("photo.json", {}, "There is no keypoint file"),
        ("https://example.org/walk.json", {}, "is a URL"),
        (np.ones((3, 17, 3)), {"fps": 0}, "frames a second"),
        (np.ones((3, 17, 3)), {"smooth": -1}, "0 or more"),
        *(
            (np.ones((3, 17, 3)), {"fps": wrong}, "frames a second")
            for wrong in (np.nan, 1e300, -1, [], [30, 30], True, "30", None, 1j)
        ),
        *((np.ones((3, 17, 3)), {"smooth": wrong}, "0 or more") for wrong in (np.nan, 1e300, [], True, "1", None)),
        (
            np.full((3, 17, 3), 5000.0) * [1, 1, 0.0002],
            {},
            "No frame shows anybody who can be fitted.*Frame 0: no keypoint",
        ),
        (walk()[1], {"camera": replace(walk()[2], focal=walk()[2].focal * np.nan)}, "holds 2 NaN"),
        (walk()[1], {"camera": replace(walk()[2], focal=-walk()[2].focal)}, "above 0"),
        (walk()[1], {"camera": None, "focal": 0}, "above 0"),
        (walk()[1] * 1j, {}, "keypoints should be numbers"),
        ([], {}, "holds no people"),
        (np.ones((3, 17, 3)), {"up": (0, np.nan, 0)}, "up should be three finite"),
    ],
)
def test_letters_about_sequences(keypoints, more: dict, said: str) -> None:
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=said):
        sequence(keypoints, **more)

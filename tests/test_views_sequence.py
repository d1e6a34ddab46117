"""Calibrated cameras over time: nearer to the truth and smoother than frame by frame, for several people, with gaps."""

import json
from functools import cache

import numpy as np
import pytest
import torch
from helpers.groups import SIZE, joints_of, moved, seen_by, walk
from helpers.rigs import calibration, jitter, view_of, walker

import hmrfit
from hmrfit.views_sequence import read_views_over_time

NAMES = {"fps": 30.0, "keypoint_set": "coco17"}


@cache
def alone() -> hmrfit.WorldResult:
    return hmrfit.fit_views_sequence([view_of(walker(), v) for v in range(3)], calibration(), **NAMES)[0]


def away(result: hmrfit.WorldResult, params) -> float:
    """Metres, mean over frames and joints, nothing aligned."""
    return float(np.linalg.norm(result.joints - joints_of(params).numpy(), axis=-1).mean())


def test_the_motion_in_the_world_is_better_than_frame_by_frame() -> None:
    found, truth = alone(), joints_of(walker()).numpy()
    views = [view_of(walker(), v) for v in range(3)]
    given = {"keypoint_set": "coco17", "image_size": SIZE}
    each = [
        hmrfit.fit_views([None] * 3, [view[t] for view in views], calibration(), **given)[0].in_world()
        for t in range(3)
    ]
    joints = np.concatenate([one.joints for one in each])
    assert away(found, walker()) < 0.03
    assert away(found, walker()) < np.linalg.norm(joints - truth[:3], axis=-1).mean()
    assert jitter(found.joints) < 0.3 * jitter(joints) and jitter(found.joints) < 2.5 * jitter(truth)
    assert (found.betas == found.betas[:1]).all() and len(found) == 8 and found.fps == 30


def test_every_camera_has_the_same_body() -> None:
    found = alone()
    assert found.reprojection_error.shape == (3, 8) and found.reprojection_error.max() < 0.03
    for view, E in zip(found.views, calibration().extrinsics, strict=True):
        np.testing.assert_allclose(view.joints, found.joints @ E[:, :3].T + E[:, 3], atol=1e-9)
        np.testing.assert_allclose(view.joint_covariance, E[:, :3] @ found.joint_covariance @ E[:, :3].T, atol=1e-12)
        np.testing.assert_allclose(view.up, E[:, :3] @ [0, -1, 0], atol=1e-12)
        assert view.is_sequence
    small = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    assert found.views[1][3].overlay(small, sides=False).shape == small.shape
    assert not found.base.calibrated and found.joint_std.shape == (8, 24)


def test_samples_of_a_view_are_those_of_the_base_moved() -> None:
    """The posterior in another camera's frame is the same posterior: spread about the mean by its own axes."""
    base, other = alone().base, alone().views[1]
    assert base is not other
    E = calibration().extrinsics
    Q = E[1][:, :3] @ E[alone().base_view][:, :3].T
    S = base.posterior.covariance[:, 0, :3, :3].numpy()
    body = base.body_model
    spread = [hmrfit.BodyParams.cat(r.sample(400, seed=3)) for r in (base, other)]
    roots = [joints_of(p)[:, 0].view(400, 8, 3).numpy() for p in spread]
    a, b = (np.einsum("nti,ntj->tij", *[(r - r.mean(0))] * 2) / 400 for r in roots)
    np.testing.assert_allclose(b, Q @ a @ Q.T, atol=0.35 * np.abs(a).max())
    assert S.shape == (8, 3, 3) and body is not None


def test_blank_frames_and_blank_views_are_borne() -> None:
    """One camera sees nothing for a while, one never, all nothing in one frame; the numbers of frames stay."""
    views = [view_of(walker(), v) for v in range(3)]
    views[0][2:5, :, 2] = 0
    views[1][3, :, 2] = 0
    views[2][:, :, 2] = 0
    views[2][7, :, 2] = 1
    views[2][:, :, 2][3] = 0
    found = hmrfit.fit_views_sequence(dict(zip(calibration().names, views, strict=True)), calibration(), **NAMES)[0]
    assert len(found) == 8 and away(found, walker()) < 0.08
    assert "Filled in" in found.base.warnings[3][0] and not any("Only" in w for of in found.base.warnings for w in of)
    assert np.isnan(found.views[0].reprojection_error[2:5]).all()


def test_several_people_are_matched_between_the_views() -> None:
    one, other = walker(), walker(beside=0.9)
    people = [[view_of(one, v), view_of(other, v, seed=1)] for v in range(3)]
    found = hmrfit.fit_views_sequence([people[0], people[1][::-1], np.stack(people[2])], calibration(), **NAMES)
    errors = sorted((away(r, p), i) for r in found for i, p in enumerate((one, other)))
    assert len(found) == 2 and errors[1][0] < 0.04 and {errors[0][1], errors[1][1]} == {0, 1}
    assert errors[2][0] > 0.3


def test_files_of_a_detector_hold_the_tracks_of_several(tmp_path) -> None:
    """AlphaPose's file of a video, with the people's numbers."""
    rows = [view_of(walker(), 0), view_of(walker(beside=0.9), 0, seed=1)]
    people = [
        {"image_id": f"{t}.jpg", "idx": i, "score": 1.0, "keypoints": rows[i][t].ravel().tolist()}
        for t in range(2, 8)
        for i in range(2)
    ]
    (tmp_path / "a.json").write_text(json.dumps(people))
    found, rig = read_views_over_time([tmp_path / "a.json"] * 3, calibration(), "coco17")
    assert [len(tracks) for tracks in found] == [2, 2, 2] and len(rig) == 3
    assert found[0][0].frames.tolist() == [2, 3, 4, 5, 6, 7]
    assert found[0][0].people[0].intrinsics is not None


def test_cameras_that_disagree_are_warned_of() -> None:
    views = [view_of(walker(), v) for v in range(3)]
    views[1][..., :2] += [40, 25]
    found = hmrfit.fit_views_sequence(views, calibration(), **NAMES)[0]
    assert "do not agree" in found.base.warnings[0][0]
    assert not any("agree" in w for w in alone().base.warnings[0])


def test_a_result_in_the_world_is_saved_and_read(tmp_path) -> None:
    found = alone()
    found.save(tmp_path / "a.npz")
    again = hmrfit.WorldResult.load(tmp_path / "a.npz")
    np.testing.assert_allclose(again.joints, found.joints, atol=1e-9)
    np.testing.assert_allclose(again.views[2].joints, found.views[2].joints, atol=1e-9)
    np.testing.assert_allclose(again.reprojection_error, found.reprojection_error, atol=1e-9)
    np.testing.assert_allclose(again.joint_std, found.joint_std, rtol=1e-3)
    assert again.calibration.names == found.calibration.names and again.person == found.person
    np.testing.assert_array_equal(again.up, found.up)
    plain = np.load(tmp_path / "a.npz")
    np.testing.assert_allclose(plain["world_trans"], found.trans)
    assert hmrfit.FitResult.load(tmp_path / "a.npz").in_world().joints.shape == found.joints.shape
    broken = dict(plain) | {"view_keypoints": plain["view_keypoints"][:, :3]}
    np.savez(tmp_path / "b.npz", **broken)
    with pytest.raises(ValueError, match="damaged result: view_keypoints"):
        hmrfit.WorldResult.load(tmp_path / "b.npz")


def test_a_part_of_the_frames() -> None:
    part = alone()[2:5]
    np.testing.assert_allclose(part.joints, alone().joints[2:5])
    assert len(part) == 3 and part.views[1].keypoints.xy.shape[0] == 3


def test_a_result_without_a_world_says_so() -> None:
    result = hmrfit.fit(None, walk()[1][0], keypoint_set="coco17", camera=walk()[2], image_size=SIZE)
    with pytest.raises(ValueError, match="knows no world"):
        result.in_world()


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ([np.zeros((4, 17, 3))] * 2, "2 views, but the calibration has 3 cameras"),
        ({"cam01": np.zeros((4, 17, 3)), "cam9": 1}, "no camera 'cam9'. Did you mean 'cam0"),
        ([np.zeros((4, 17, 3))] * 3, "nobody is seen"),
        ([np.ones((4, 17, 3)), np.ones((4, 14, 3)), np.ones((4, 17, 3))], r"View 1 \(cam02\)"),
        (5, "views should be a list"),
    ],
)
def test_errors_say_what_was_expected(views, said) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        hmrfit.fit_views_sequence(views, calibration(), **NAMES)


def test_a_moving_camera_gives_the_motion_in_the_world() -> None:
    """The camera walks and turns; in its own frame the person seems to, in the world the truth is found."""
    T = 12
    truth = walk(T)[0]
    angle = 0.03 * np.sin(np.arange(T) * 1.3)
    R = np.stack([[[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]] for a in angle])
    poses = np.concatenate([R, np.stack([0.06 * np.cos(np.arange(T)), 0 * angle, 0 * angle], 1)[..., None]], -1)
    camera = walk(T)[2]
    seen = seen_by(moved(truth, torch.tensor(R), torch.tensor(poses[..., 3])), camera[[0] * T], noise=0.004)
    given = {"fps": 30.0, "keypoint_set": "coco17", "camera": camera, "image_size": SIZE}
    known = hmrfit.fit_sequence(seen, extrinsics=poses, up=(0, -1, 0), **given)
    world = known.in_world()
    still = hmrfit.fit_sequence(seen, **given)
    E = poses
    as_if = np.einsum("tji,tkj->tki", E[..., :3], still.joints - E[:, None, :, 3])
    right = joints_of(truth).numpy()
    assert jitter(world.joints) < 0.6 * jitter(as_if) and jitter(world.joints) < 2 * jitter(right)
    error = [np.linalg.norm(j - right, axis=-1).mean() for j in (world.joints, as_if)]
    assert error[0] < error[1] + 0.005
    assert known.up is None and world.up.tolist() == [0, -1, 0] and "the camera moves" in str(known)
    with pytest.raises(ValueError, match="for each frame"):
        hmrfit.fit_sequence(seen, extrinsics=poses[:5], **given)


def test_the_keypoints_noise_is_refused_where_no_term_has_it() -> None:
    """As in `fit_views`; of one view it is that of frames."""
    views = [view_of(walker(), v) for v in range(3)]
    for noise in ({"keypoint_std": 0.01}, {"keypoint_std": np.full((8, 17), 0.01)}, {"keypoint_source": "exact"}):
        with pytest.raises(ValueError, match=f"{next(iter(noise))} changes nothing here"):
            hmrfit.fit_views_sequence(views, calibration(), **NAMES, **noise)

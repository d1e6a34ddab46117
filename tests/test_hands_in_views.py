"""People with hands before several calibrated cameras: both hands by all views that show them."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.motion_with_hands import moving_person
from helpers.people_with_hands import some_people
from helpers.views_with_hands import FOCAL, SIZE, Ring, about_the_wrist, hand_error, in_frame, ring

import hmrfit
from hmrfit.build import load_body
from hmrfit.camera import Camera
from hmrfit.cli import main
from hmrfit.fitting.body_with_hands import HANDS_SIGMA_IN_VIEWS
from hmrfit.keypoints import HAND_POINTS, body_places, find_set

SIDES = ("left", "right")


@cache
def scene(who: int = 3, count: int = 3, keypoint_set: str = "coco_wholebody133") -> Ring:
    people = some_people(6, keypoint_set)
    return ring(people.params[[who]], people.keypoints.names, count, seed=who)


def fitted(one: Ring, seen: np.ndarray | None = None, **more) -> list[hmrfit.FitResult]:
    seen = one.seen if seen is None else seen
    given = {"keypoint_set": one.names} | more
    return hmrfit.fit_views([None] * len(seen), seen[:, 0], one.calibration, **given)


@cache
def known() -> list[hmrfit.FitResult]:
    return fitted(scene())


def errors(result: hmrfit.FitResult, truth: hmrfit.BodyParams, of=about_the_wrist) -> np.ndarray:
    return np.array([float(of(result.params, truth, side).mean()) for side in SIDES])


def test_fingers_are_nearer_than_from_one_view() -> None:
    one, camera = scene(), Camera.from_size(*SIZE, focal=FOCAL)
    alone = hmrfit.fit(None, one.seen[0, 0], keypoint_set=one.names, camera=camera, image_size=SIZE)
    away, before = errors(known()[0], one.truth), errors(alone, one.truth)
    assert (away < 0.006).all() and (away < before).all() and away.mean() < 0.5 * before.mean()
    assert errors(known()[0], one.truth, hand_error).max() < 0.004
    for c, result in enumerate(known()):
        assert result.origin.body == "free_body_h" and result.joints.shape == (1, 52, 3)
        np.testing.assert_allclose(errors(result, one.in_view(c)), away, atol=1e-9)
        assert result.reprojection_error[0] < 0.02 and not result.warnings[0]
    assert known()[0].joint_std[0, 22:].mean() < alone.joint_std[0, 22:].mean()


def test_how_sure_hands_are_is_said_with_their_own_noise() -> None:
    """As measured; of the body nothing changes."""
    for result in known():
        calibration = result.fit.calibration
        assert calibration is not None and calibration.hands == HANDS_SIGMA_IN_VIEWS and not result.calibrated
        wider = replace(result.fit, calibration=replace(calibration, hands=1.0))
        before = replace(result, known_answers=result.seek(wider))
        assert finger_spread(result) < 0.85 * finger_spread(before)
        np.testing.assert_allclose(result.joint_std[0, :20], before.joint_std[0, :20], rtol=0.05)


def finger_spread(result: hmrfit.FitResult) -> float:
    """Metres, the standard deviation of fingers' joints about the left wrist in draws of the posterior."""
    body, joints = load_body("free_body_h"), load_body("free_body_h").skeleton.fingers["left"]
    wrist = body.skeleton.index("left_wrist")
    drawn = torch.cat([body(params, vertices=False).joints for params in result.sample(60)])
    return float((drawn[:, list(joints)] - drawn[:, [wrist]]).std(0).mean())


def test_hands_do_not_spoil_the_body() -> None:
    one = scene()
    own = list(body_places(one.names))
    without = fitted(one, one.seen[:, :, own], keypoint_set=[one.names[k] for k in own])
    assert without[0].joints.shape == (1, 24, 3)
    truth = load_body("free_body_h")(one.truth, vertices=False).joints[0, :22].numpy()
    off, before = (np.linalg.norm(r[0].joints[0, :22] - truth, axis=-1).mean() for r in (known(), without))
    assert off < before + 0.002


def test_a_hand_that_two_cameras_show_is_found_in_the_third() -> None:
    """In the first camera no hand is seen, in the others one each is missing in one."""
    one = scene()
    seen = one.seen.copy()
    hands = [k for k, name in enumerate(one.names) if name in HAND_POINTS]
    seen[0][:, hands, 2] = 0
    right = [k for k in hands if one.names[k].startswith("right")]
    seen[1][:, right, 2] = 0
    found = fitted(one, seen)
    left, right = errors(found[0], one.truth)
    assert left < 0.008 and right < 0.02


def test_a_hand_that_nobody_shows_stays_at_the_mean() -> None:
    one = scene()
    seen = one.seen.copy()
    seen[:, :, [k for k, name in enumerate(one.names) if name in HAND_POINTS], 2] = 0
    result = fitted(one, seen)[0]
    assert result.joints.shape == (1, 52, 3)
    assert result.joint_std[0, 22:].mean() > 1.5 * known()[0].joint_std[0, 22:].mean()


def test_other_sets_and_frames_of_the_world_give_the_same_kind() -> None:
    one = scene(2, 4, "openpose135")
    result = fitted(one)[1]
    assert errors(result, one.in_view(1)).max() < 0.008
    left_out = fitted(one, config={"PRIORS.HANDS": ""}, keypoint_set="openpose135", seen=as_set(one, "openpose135"))
    assert left_out[0].joints.shape == (1, 24, 3)


def as_set(one: Ring, keypoint_set: str) -> np.ndarray:
    """(C, T, K, 3) in the set's own order, what bodies have not missing."""
    whole = find_set(keypoint_set)
    points = np.zeros((*one.seen.shape[:2], len(whole.layout), 3))
    points[:, :, list(whole.with_hands.rows)] = one.seen
    return points


@pytest.fixture(scope="module")
def motion() -> tuple[Ring, hmrfit.WorldResult]:
    person = moving_person(6, keys=2, part=0.2)
    one = ring(person.params, person.keypoints.names)
    seen = one.seen.copy()
    seen[1, 3:5, :, 2] = 0  # a camera that sees nothing for a while
    found = hmrfit.fit_views_sequence(list(seen), one.calibration, fps=30, keypoint_set=one.names)
    return one, found[0]


def test_a_motion_has_its_fingers(motion: tuple[Ring, hmrfit.WorldResult]) -> None:
    one, found = motion
    assert found.joints.shape == (6, 52, 3) and (found.betas == found.betas[:1]).all()
    assert errors(found, one.truth).max() < 0.005
    assert found.joint_std.shape == (6, 52) and np.isfinite(found.joint_std).all()
    truth = load_body("free_body_h")(one.truth, vertices=False).joints.numpy()
    fingers = [j[:, 22:] - j[:, [20]] for j in (found.joints, truth)]
    shakes, true = (np.abs(np.diff(f, n=2, axis=0)).mean() for f in fingers)
    assert shakes < 1.5 * true


def test_it_is_saved_and_written(motion: tuple[Ring, hmrfit.WorldResult], tmp_path: Path) -> None:
    found = motion[1]
    found.save(tmp_path / "a.npz")
    again = hmrfit.WorldResult.load(tmp_path / "a.npz")
    np.testing.assert_allclose(again.joints, found.joints, atol=1e-6)
    for ending in ("trc", "mot", "npz", "glb", "bvh"):
        again.save_motion(tmp_path / f"m.{ending}")
    assert np.load(tmp_path / "m.npz")["poses"].shape[1] == 156  # SMPL-H's, fingers and all
    assert "left_index1" in (tmp_path / "m.bvh").read_text()
    small = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    assert again.views[1][3].overlay(small, sides=False).any()


def test_the_command_line_does_the_same(tmp_path: Path) -> None:
    one = scene()
    points = as_set(one, "coco_wholebody133")
    center, lines = [n / 2 - 0.5 for n in SIZE], []
    K = [[FOCAL, 0.0, center[0]], [0.0, FOCAL, center[1]], [0.0, 0.0, 1.0]]
    for c, E in enumerate(one.extrinsics):
        turn = hmrfit.io.opencv.cv2.Rodrigues(E[:, :3])[0].ravel().tolist()
        lines += [f"[c{c}]", f'name = "c{c}"', f"size = [{SIZE[0]}.0, {SIZE[1]}.0]", f"matrix = {K}"]
        lines += ["distortions = [0.0, 0.0, 0.0, 0.0]", f"rotation = {turn}", f"translation = {E[:, 3].tolist()}", ""]
        hmrfit.write_image(tmp_path / f"c{c}.png", np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
        rows = [{"image_id": f"c{c}.png", "keypoints": points[c, 0].ravel().tolist()}]
        (tmp_path / f"c{c}.json").write_text(json.dumps(rows))
    (tmp_path / "Calib.toml").write_text("\n".join(lines))
    files = [str(tmp_path / f"c{c}.png") for c in range(3)]
    args = ["fit", *files, "--calibration", str(tmp_path / "Calib.toml"), "-o", str(tmp_path / "out")]
    assert main(args) == 0
    found = hmrfit.WorldResult.load(tmp_path / "out" / "person_1.npz")
    assert found.joints.shape == (1, 52, 3) and errors(found, one.truth).max() < 0.006
    assert (tmp_path / "out" / "person_1.glb").stat().st_size > 10_000
    assert (tmp_path / "out" / "overlay_c1.jpg").is_file() and (tmp_path / "out" / "index.html").is_file()


def test_a_start_may_be_given() -> None:
    one = scene()
    near = in_frame(one.truth, torch.eye(3).double(), torch.tensor([0.03, 0.0, 0.05]).double())
    result = fitted(one, init=near)[0]
    assert result.joints.shape == (1, 52, 3) and errors(result, one.truth).max() < 0.006

"""Sequences and videos of people whose hands are seen."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.motion_with_hands import moving_person
from torch import Tensor

import hmrfit
from hmrfit.build import load_body
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.hand_keypoints import hand_set
from hmrfit.keypoints import body_places, find_set
from hmrfit.synthetic.people import People

FRAMES = 12


def as_array(people: People) -> np.ndarray:
    seen = people.keypoints
    return torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy()


def hand_error(result: hmrfit.FitResult, people: People) -> Tensor:
    """(2, T) metres."""
    hands = [load_body("free_body_h").points(hand_set("hand21", side).names) for side in ("left", "right")]
    return torch.stack([pa_mpjpe(h.pose(result.params).points, h.pose(people.params).points) for h in hands])


@pytest.fixture(scope="module")
def person() -> People:
    return moving_person(FRAMES, keys=2, part=0.2)


@pytest.fixture(scope="module")
def motion(person: People) -> hmrfit.FitResult:
    names, camera = person.keypoints.names, person.camera[[0]]
    return hmrfit.fit_sequence(as_array(person), fps=30, keypoint_set=names, camera=camera, image_size=(1280, 960))


def test_a_sequence_has_its_fingers(person: People, motion: hmrfit.FitResult) -> None:
    assert motion.joints.shape == (FRAMES, 52, 3) and motion.origin.body == "free_body_h"
    assert hand_error(motion, person).mean() < 0.008
    assert np.abs(motion.betas - motion.betas[:1]).max() == 0  # one shape, of body and hands
    fingers = motion.joints[:, 22:] - motion.joints[:, [20]]
    shakes = np.abs(np.diff(fingers, n=2, axis=0)).mean()
    alone = hmrfit.fit(
        None, as_array(person), keypoint_set=person.keypoints.names, camera=person.camera, image_size=(1280, 960)
    )
    theirs = alone.joints[:, 22:] - alone.joints[:, [20]]
    assert shakes < 0.5 * np.abs(np.diff(theirs, n=2, axis=0)).mean()
    assert np.isfinite(motion.joint_std).all()


def test_without_points_of_hands_a_sequence_is_what_it_was(person: People) -> None:
    own = list(body_places(person.keypoints.names))
    names, camera = [person.keypoints.names[k] for k in own], person.camera[[0]]
    few = {"fps": 30, "camera": camera, "image_size": (1280, 960)}
    alone = hmrfit.fit_sequence(as_array(person)[:6, own], keypoint_set=names, **few)
    left_out = {"config": {"PRIORS.HANDS": ""}, "keypoint_set": person.keypoints.names}
    without = hmrfit.fit_sequence(as_array(person)[:6], **few, **left_out)
    assert alone.joints.shape == (6, 24, 3)
    np.testing.assert_array_equal(alone.joints, without.joints)


def test_windows_of_people_with_hands_meet(
    person: People, motion: hmrfit.FitResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("MANY", 1), ("WINDOW", 4), ("KEPT", 0)):
        monkeypatch.setattr(f"hmrfit.long_sequence.{name}", value)
    monkeypatch.setattr("hmrfit.groups.WINDOW", 4)
    monkeypatch.setattr("hmrfit.groups.FORGOTTEN", 0.0)
    names, camera = person.keypoints.names, person.camera[[0]]
    parts = hmrfit.fit_sequence(as_array(person), fps=30, keypoint_set=names, camera=camera, image_size=(1280, 960))
    about = [r.joints - r.joints[:, :1] for r in (parts, motion)]
    assert np.linalg.norm(about[0] - about[1], axis=-1).mean() < 0.01


def test_a_video_s_people_have_their_fingers(person: People, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for i in range(6):
        hmrfit.write_image(frames / f"{i:03d}.png", np.full((960, 1280, 3), 90, np.uint8))
    known, rows = find_set("coco_wholebody133"), []
    for i, seen in enumerate(as_array(person)[:6]):
        points = np.zeros((len(known.layout), 3))
        points[list(known.with_hands.rows)] = seen
        rows.append({"image_id": f"{i:03d}.png", "keypoints": points.ravel().tolist()})
    (tmp_path / "points.json").write_text(json.dumps(rows))
    result = hmrfit.fit_video(frames, tmp_path / "points.json", fps=30, progress=False)
    (track,) = result.tracks
    assert track.result.joints.shape == (6, 52, 3)

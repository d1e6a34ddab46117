"""Hands in the files of detectors and data sets: sides, orders, pixels; what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.hand_folders import freihand_folder, interhand_folder

import hmrfit
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.keypoint_files.hand_formats import side_of_hand
from hmrfit.keypoints import find_set

SIZE = (640, 480)
LEFT, RIGHT = (np.arange(42).reshape(21, 2) * 3.0 + shift for shift in (50.0, 200.0))
"""Pixels whose (0, 0) is the corner of the picture."""


def marks(xy: np.ndarray, **more: float) -> list[dict[str, float]]:
    return [{"x": x / SIZE[0], "y": y / SIZE[1], "z": 0.0, **more} for x, y in xy.tolist()]


def flat(xy: np.ndarray) -> list[float]:
    """OpenPose's and COCO's pixels, whose centres are at integers."""
    return np.concatenate([xy - 0.5, np.full((21, 1), 0.9)], 1).ravel().tolist()


MEDIAPIPE: dict[str, Any] = {
    "tasks, Python": {
        "hand_landmarks": [marks(RIGHT, visibility=0.0, presence=0.0), marks(LEFT, visibility=0.0, presence=0.0)],
        "handedness": [[{"category_name": "Left", "score": 0.9}], [{"category_name": "Right", "score": 0.8}]],
    },
    "tasks, JavaScript": {
        "landmarks": [marks(RIGHT), marks(LEFT)],
        "handednesses": [[{"categoryName": "Left", "index": 0}], [{"categoryName": "Right", "index": 1}]],
    },
    "solutions, Python": {
        "multi_hand_landmarks": [{"landmark": marks(RIGHT)}, {"landmark": marks(LEFT)}],
        "multi_handedness": [
            {"classification": [{"index": 0, "score": 0.98, "label": "Left"}]},
            {"classification": [{"index": 1, "score": 0.98, "label": "Right"}]},
        ],
    },
    "solutions, JavaScript": {
        "multiHandLandmarks": [marks(RIGHT), marks(LEFT)],
        "multiHandedness": [{"index": 0, "label": "Left"}, {"index": 1, "label": "Right"}],
    },
    "holistic": {"left_hand_landmarks": {"landmark": marks(LEFT)}, "rightHandLandmarks": marks(RIGHT), "pose": []},
}
OTHERS: dict[str, Any] = {
    "OpenPose": {
        "people": [
            {
                "pose_keypoints_2d": [0.0] * 75,
                "hand_left_keypoints_2d": flat(LEFT),
                "hand_right_keypoints_2d": flat(RIGHT),
            },
            {"pose_keypoints_2d": [0.0] * 75, "hand_left_keypoints_2d": [0] * 63, "hand_right_keypoints_2d": [0] * 63},
        ]
    },
    "COCO-WholeBody": {
        "images": [{"id": 7, "file_name": "a.jpg", "width": 640, "height": 480}],
        "annotations": [
            {
                "id": 1,
                "image_id": 7,
                "keypoints": [0] * 51,
                "lefthand_kpts": flat(LEFT),
                "righthand_kpts": flat(RIGHT),
                "lefthand_valid": True,
                "righthand_valid": True,
            },
            {"id": 2, "image_id": 7, "keypoints": [0] * 51, "lefthand_kpts": flat(LEFT), "lefthand_valid": False},
        ],
    },
}


def written(tmp_path: Path, content: Any) -> Path:
    path = tmp_path / "hands.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", [*MEDIAPIPE, *OTHERS])
def test_both_hands_are_read(name: str, tmp_path: Path) -> None:
    path = written(tmp_path, (MEDIAPIPE | OTHERS)[name])
    hands = {side_of_hand(h): h for h in hmrfit.read_hand_keypoints(path, image_size=SIZE)}
    for side, xy in (("left", LEFT), ("right", RIGHT)):
        assert hands[side].names == hand_set("hand21", side).names
        np.testing.assert_allclose(hands[side].xy, xy, atol=1e-9)
        assert (hands[side].confidence > 0.8).all()
        (only,) = hmrfit.read_hand_keypoints(path, side, image_size=SIZE)
        assert only.names == hands[side].names
    assert len(hands) == 2


def test_mediapipes_handedness_is_that_of_a_selfie(tmp_path: Path) -> None:
    path = written(tmp_path, MEDIAPIPE["tasks, Python"])
    (hand,) = hmrfit.read_hand_keypoints(path, "left", image_size=SIZE, mirrored=True)
    np.testing.assert_allclose(hand.xy, RIGHT)
    holistic = written(tmp_path, MEDIAPIPE["holistic"])
    (hand,) = hmrfit.read_hand_keypoints(holistic, "left", image_size=SIZE, mirrored=True)
    np.testing.assert_allclose(hand.xy, LEFT)  # the person's own already


def test_landmarks_alone_need_a_side(tmp_path: Path) -> None:
    path = written(tmp_path, marks(LEFT))
    with pytest.raises(ValueError, match="does not say which hand it is"):
        hmrfit.read_hand_keypoints(path)
    (hand,) = hmrfit.read_hand_keypoints(path, "left")
    assert hand.fractions == 0.0 and hand.at_size(SIZE).xy[3, 0] == pytest.approx(LEFT[3, 0])


@pytest.mark.parametrize("name", ["coco_wholebody133", "halpe136", "openpose135"])
def test_whole_body_keypoints_have_two_hands(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    layout = find_set(name).layout
    points = np.concatenate([rng.uniform(10, 400, (len(layout), 2)), np.ones((len(layout), 1))], 1)
    np.save(tmp_path / "a.npy", points)
    left, right = hmrfit.read_hand_keypoints(tmp_path / "a.npy")
    for side, hand in (("left", left), ("right", right)):
        assert side_of_hand(hand) == side and len(hand) == (20 if name == "openpose135" else 21)
        for point in (f"{side}_index_tip", f"{side}_thumb_cmc"):
            np.testing.assert_array_equal(hand.xy[hand.names.index(point)], points[layout.index(point), :2])


def test_arrays_are_of_the_side_and_set_that_is_said(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.concatenate([LEFT, np.ones((21, 1))], 1))
    with pytest.raises(ValueError, match="does not say which hand"):
        hmrfit.read_hand_keypoints(tmp_path / "a.npy")
    (hand,) = hmrfit.read_hand_keypoints(tmp_path / "a.npy", "right", "interhand21")
    np.testing.assert_array_equal(hand.xy[hand.names.index("right_hand_root")], LEFT[20])
    np.save(tmp_path / "b.npy", np.ones((17, 3)))
    with pytest.raises(ValueError, match=r"17 keypoints.*Or name a set of hands"):
        hmrfit.read_hand_keypoints(tmp_path / "b.npy", "right")


def test_our_own_json_says_which_hand_it_is(tmp_path: Path) -> None:
    points = np.concatenate([LEFT - 0.5, np.ones((21, 1))], 1).tolist()
    path = written(tmp_path, {"format": "hand21", "side": "left", "keypoints": points, "size": list(SIZE)})
    (hand,) = hmrfit.read_hand_keypoints(path)
    np.testing.assert_allclose(hand.xy, LEFT)
    assert side_of_hand(hand) == "left" and hmrfit.read_hand_keypoints(path, "right") == []


def test_annotations_of_data_sets_are_keypoints_with_a_camera(tmp_path: Path) -> None:
    freihand_folder(tmp_path / "f")
    hands = hmrfit.read_hand_keypoints(tmp_path / "f", dataset="freihand")
    assert len(hands) == 3 and hands[0].intrinsics is not None and hands[0].image == "evaluation/rgb/00000000.jpg"
    interhand_folder(tmp_path / "i")
    (left,) = hmrfit.read_hand_keypoints(tmp_path / "i", "left", dataset="interhand")
    assert left.names == hand_set("interhand21", "left").names and left.image_size == (512, 334)
    with pytest.raises(ValueError, match="Did you mean 'freihand'"):
        hmrfit.read_hand_keypoints(tmp_path / "f", dataset="freihnd")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"people": [{"hand_left_keypoints_2d": [1, 2, 3]}]}, "a hand has 21 points, not 1"),
        ({"hand_landmarks": [marks(LEFT)[:20]], "handedness": [[{"label": "Left"}]]}, "have 21 landmarks"),
        ({"hand_landmarks": 3}, "built differently"),
    ],
)
def test_broken_hands_are_said(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        hmrfit.read_hand_keypoints(written(tmp_path, content), image_size=SIZE)


def test_one_broken_hand_loses_only_itself(tmp_path: Path) -> None:
    whole = json.loads(json.dumps(OTHERS["OpenPose"]))
    whole["people"][0]["hand_left_keypoints_2d"] = [1.0, 2.0, 1.0]
    hands = hmrfit.read_hand_keypoints(written(tmp_path, whole))
    assert [side_of_hand(h) for h in hands] == ["left", "right"]
    assert hands[0].problem is not None and hands[1].problem is None


def test_a_side_is_one_of_two(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'left' or 'right'"):
        hmrfit.read_hand_keypoints(tmp_path / "a.json", "links")
    with pytest.raises(FileNotFoundError, match="There is no keypoint file"):
        hmrfit.read_hand_keypoints(tmp_path / "a.json", "left")

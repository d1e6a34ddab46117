"""Missing points, scores of any scale and stated image sizes, as bug reports have them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.keypoint_cases import COCO, assert_at, flat, photo_of, write
from helpers.keypoint_layouts import HALF, SIZE, rows
from hypothesis import given
from hypothesis import strategies as st

import hmrfit
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.io.photo import read_photo

# ---- missing points


MISSING = {
    "NaN": [np.nan, np.nan, 0.8], "NaN without a score": [np.nan, np.nan, np.nan], "(0, 0)": [0, 0, 0.8],
    "(-1, -1)": [-1, -1, 0.8], "(-999, -999)": [-999, -999, 1], "confidence 0": [55, 66, 0],
    "confidence -1": [55, 66, -1], "infinite, unseen": [np.inf, 5, 0],
}  # fmt: skip


@pytest.mark.parametrize("form", ["array", "coco results", "openpose", "mmpose", "csv", "npz", "hmrfit"])
@pytest.mark.parametrize("row", MISSING.values(), ids=MISSING)
def test_a_missing_point_is_missing_in_every_format(tmp_path: Path, form: str, row: list[float]) -> None:
    points = rows("coco17", shift=0.0 if form in ("array", "csv", "npz") else HALF)
    points[9] = row
    listed = [[None if np.isnan(v) else v for v in r] for r in points.tolist()]
    flattened = [v for r in listed for v in r]
    if form == "array":
        person = photo_of(points).people[0]
    elif form == "npz":
        np.savez(tmp_path / "a.npz", keypoints=points)
        (person,) = read_keypoints(tmp_path / "a.npz", "coco17")
    elif form == "csv":
        text = "\n".join(",".join("" if v is None else str(v) for v in r) for r in listed)
        (person,) = read_keypoints(write(tmp_path / "a.csv", text), "coco17")
    else:
        scores = [0.8 if r[2] is None else r[2] for r in listed]
        content = {
            "coco results": [{"image_id": 1, "keypoints": flattened}],
            "openpose": {"people": [{"pose_keypoints_2d": flattened}]},
            "mmpose": [{"keypoints": [r[:2] for r in listed], "keypoint_scores": scores}],
            "hmrfit": {"format": "coco17", "keypoints": listed},
        }[form]
        (person,) = read_keypoints(write(tmp_path / "a.json", content), "coco17")
    assert person.confidence[9] == 0 and (person.xy[9] == 0).all()
    assert (np.delete(person.confidence, 9) == 0.8).all()
    assert_at(person, "coco17")


@pytest.mark.parametrize("row", [[np.nan, np.nan], [0, 0], [-1, -1], [-3, -7.5]])
def test_a_missing_point_without_confidences(row: list[float]) -> None:
    points = COCO.copy()
    points[9] = row
    person = photo_of(points).people[0]
    assert person.confidence.tolist() == [float(i != 9) for i in range(17)]


@pytest.mark.parametrize("mark", [[65535, 65535], [9999, 9999], [1e7, 3], [-99999, 200], [60000, -60000]])
@pytest.mark.parametrize("frames", [1, 80])
def test_a_mark_far_away_is_missing_and_said(mark: list[float], frames: int) -> None:
    """In one photograph, and in frames of which not every one is looked at."""
    points = np.tile(rows("coco17", shift=0), (frames, 1, 1))
    points[frames // 2 - (frames > 1), 9, :2] = mark
    photo = read_photo(None, points, "coco17", image_size=SIZE, each="frame" if frames > 1 else "person")
    unseen = np.argwhere(np.stack([person.confidence for person in photo.people]) == 0)
    assert unseen.tolist() == [[frames // 2 - (frames > 1), 9]]
    said = [i for i, lines in enumerate(photo.warnings) if any("left_wrist: left out" in text for text in lines)]
    assert said == [unseen[0, 0]]


def test_a_point_outside_of_the_image_is_a_point() -> None:
    points = rows("coco17", shift=0)
    points[9], points[10] = [-3.2, 200, 0.7], [-3.2, -5.1, 0.6]
    person = photo_of(points).people[0]
    assert person.confidence[9:11].tolist() == [0.7, 0.6]
    assert person.xy[9:11].tolist() == [[-3.2, 200], [-3.2, -5.1]]
    assert photo_of(points[:, :2]).people[0].confidence[9:11].tolist() == [1, 0]


def test_a_person_without_a_body_loses_only_that_person(tmp_path: Path) -> None:
    body = flat(rows("openpose25"))
    people: list[dict] = [{"pose_keypoints_2d": None, "face_keypoints_2d": [1.0, 2, 1]}, {"pose_keypoints_2d": body}]
    people += [{"hand_left_keypoints_2d": [1.0] * 63}, {"pose_keypoints_2d": [0.0] * 75}, {"pose_keypoints_2d": body}]
    found = read_keypoints(write(tmp_path / "a.json", {"people": people}))
    assert [p.person_id for p in found] == ["1", "4"]
    for person in found:
        assert_at(person, "openpose25")


def test_a_person_with_broken_numbers_does_not_take_the_others_down(tmp_path: Path) -> None:
    broken = rows("coco17")
    broken[3, 0] = 1e60
    results = [{"image_id": 1, "keypoints": flat(p)} for p in (broken, rows("coco17"))]
    first, second = read_keypoints(write(tmp_path / "a.json", results))
    assert "keypoint 3 is at" in first.problem and not first.confidence.any()
    assert second.problem is None
    assert_at(second, "coco17")
    with pytest.raises(ValueError, match="keypoint 3 is at"):
        read_keypoints(write(tmp_path / "b.json", results[:1]))


@pytest.mark.parametrize("form", ["openpose", "coco annotations", "coco results", "mmpose"])
@pytest.mark.parametrize("broken", [[1.0] * 50, ["a"] * 51, [10**400, *[1.0] * 50], {"x": 1}, 7])
def test_a_person_with_another_layout_leaves_the_others_readable(tmp_path: Path, form: str, broken: Any) -> None:
    points = rows("openpose25" if form == "openpose" else "coco17")
    scores = points[:, 2].tolist()
    content = {
        "openpose": lambda: {"people": [{"pose_keypoints_2d": k} for k in (broken, flat(points))]},
        "coco results": lambda: [{"image_id": 1, "keypoints": k} for k in (broken, flat(points))],
        "mmpose": lambda: {
            "instance_info": [{"keypoints": k, "keypoint_scores": scores} for k in (broken, points[:, :2].tolist())],
            "meta_info": {"dataset_name": "coco"},
        },
        "coco annotations": lambda: {
            "images": [],
            "annotations": [{"id": i, "image_id": 1, "keypoints": k} for i, k in enumerate((broken, flat(points)))],
        },
    }[form]()
    first, second = read_keypoints(write(tmp_path / "a.json", content))
    assert first.problem and first.names == second.names and second.problem is None
    assert_at(second, "openpose25" if form == "openpose" else "coco17")


def test_a_number_of_400_digits_is_refused(tmp_path: Path) -> None:
    text = json.dumps([{"image_id": 1, "keypoints": [1.0] * 51}]).replace("1.0", "1" * 400, 1)
    with pytest.raises(ValueError, match=r"result 0: keypoint 0 is at .inf"):
        read_keypoints(write(tmp_path / "a.json", text))


# ---- scores


def scored(scores: list[float]) -> PersonKeypoints:
    return photo_of(np.c_[COCO, np.resize(scores, 17)]).people[0]


@pytest.mark.parametrize(
    ("scores", "confidence", "said"),
    [
        ([0.05, 5.3, 0.3, 1.8], [0.05, 1, 0.3, 1], "from 0.05 to 5.3"),  # detectron2
        ([0.2, 1.05, 0.9], [0.2, 1, 0.9], "from 0.2 to 1.05"),  # RTMW
        ([5, 95.0, 50], [0.05, 0.95, 0.5], "divided by 100"),
        ([255, 51, 5.1], [1, 0.2, 0.02], "divided by 255"),
        ([-3.0, 0.5, 2], [0, 0.5, 1], "as 0 where they are negative"),
        ([-0.1, 0.5], [0, 0.5], "the negative ones were taken as 0"),
        ([0, 1, 2], [0, 1, 1], None),  # visibility
        ([0, 0.3, 1], [0, 0.3, 1], None),
    ],
)
def test_scores_of_any_scale(scores: list[float], confidence: list[float], said: str | None) -> None:
    person = scored(scores)
    np.testing.assert_allclose(person.confidence, np.resize(confidence, 17))
    assert (said is None and not person.warnings) or said in person.warnings[0]
    assert "sigmoid" not in "".join(person.warnings)


@given(st.lists(st.floats(-5, 300), min_size=17, max_size=17).filter(lambda s: max(s) > 0.001))
def test_scores_keep_their_order_and_low_ones_stay_low(scores: list[float]) -> None:
    confidence = scored(scores).confidence
    by_score = confidence[np.argsort(scores)]
    assert (np.diff(by_score) >= 0).all() and by_score[-1] > 0
    low = np.array(scores) <= 0.3
    assert (confidence[low] <= 0.3).all() and (confidence <= 1).all()


def test_the_scores_of_missing_points_do_not_count() -> None:
    points = rows("coco17", shift=0)
    points[3], points[4] = [-1, -1, -1], [0, 0, 99]
    person = photo_of(points).people[0]
    assert not person.warnings
    assert person.confidence.tolist() == [0.8 * (i not in (3, 4)) for i in range(17)]


def test_one_file_has_one_scale(tmp_path: Path) -> None:
    points = [rows("coco17", score=s) for s in (0.6, 80.0)]
    first, second = read_keypoints(write(tmp_path / "a.json", [{"image_id": 1, "keypoints": flat(p)} for p in points]))
    assert (first.confidence == 0.006).all() and (second.confidence == 0.8).all()


def test_the_warning_about_scores_reaches_the_result() -> None:
    result = hmrfit.fit(None, np.c_[COCO, np.full(17, 1.3)], keypoint_set="coco17", image_size=SIZE)
    assert any("from 1.3 to 1.3" in warning for warning in result.warnings[0])


# ---- sizes


@pytest.mark.parametrize("unit", ["pixels", "shares"])
def test_a_canvas_is_scaled_to_the_photograph(tmp_path: Path, unit: str) -> None:
    points = rows("openpose18", shift=0)
    canvas = (320, 240)
    points[:, :2] = points[:, :2] / 2 - HALF if unit == "pixels" else (points[:, :2] / 2 - HALF) / canvas
    person = {"pose_keypoints_2d": flat(points), "face_keypoints_2d": None}
    content = [{"people": [person], "canvas_width": canvas[0], "canvas_height": canvas[1]}]
    path = write(tmp_path / "a.json", content)
    photo = photo_of(path, None)
    assert_at(photo.people[0], "openpose18")
    assert "of an image of 320 × 240 pixels: they were scaled to 640 × 480" in photo.warnings[0][0]
    assert photo_of(path, None, image_size=None).size == canvas
    with pytest.raises(ValueError, match=r"do not agree \(the image: 640 × 600; .*: 320 × 240\)"):
        photo_of(path, None, image_size=(640, 600))


def test_the_size_and_the_lens_that_a_file_states_are_scaled_together(tmp_path: Path) -> None:
    points = rows("coco17", shift=0)
    points[:, :2] = points[:, :2] / 2 - HALF
    K = [[450.0, 0, 159.5], [0, 450, 119.5], [0, 0, 1]]
    path = write(tmp_path / "a.json", {"format": "coco17", "keypoints": points.tolist(), "size": [320, 240], "K": K})
    photo = photo_of(path, None)
    assert_at(photo.people[0], "coco17")
    np.testing.assert_allclose(photo.camera.focal, [[900, 900]])
    np.testing.assert_allclose(photo.camera.center, [[320, 240]])

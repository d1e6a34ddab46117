"""Keypoints of a video, as bug reports have them: frames in their order, gaps, tracks, folders."""

from pathlib import Path

import numpy as np
import pytest
from helpers.keypoint_cases import COCO, flat, write
from helpers.keypoint_layouts import SIZE, plain, rows

import hmrfit
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.io.keypoint_files.frames import frame_number, read_frames
from hmrfit.keypoints import COCO17
from hmrfit.several import read_people_of_frames


def video(frames: list[int], people: int = 1, tracks: bool = True) -> list[dict]:
    """AlphaPose's list; in frame f the person is f pixels further right."""
    points = [(f, p, rows("coco17") + np.array([f, 0, 0])) for f in frames for p in range(people)]
    found = [{"image_id": f"{f}.jpg", "keypoints": flat(x), "score": 3.0, "idx": [float(p)]} for f, p, x in points]
    return [one if tracks else {key: one[key] for key in one if key != "idx"} for one in found]


def shifts(people: list[PersonKeypoints]) -> list[float | None]:
    return [round(p.xy[0, 0] - COCO[0, 0], 6) if p.confidence.any() else None for p in people]


def test_frames_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", video([0, 1, 10, 11, *range(2, 10)]))
    assert shifts(read_frames(path)) == list(range(12))
    result = hmrfit.fit_sequence(read_keypoints(path), fps=30, image_size=(700, 480))
    np.testing.assert_allclose(np.diff(result.keypoints.xy[:, 0, 0]), 1)


def test_frames_that_a_file_leaves_out_are_blank(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", video([3, 4, 6]))
    assert shifts(read_frames(path)) == [3, 4, None, 6]
    result = hmrfit.fit_sequence(path, fps=30, image_size=(700, 480))
    assert len(result) == 4 and (result.keypoints.confidence[2] == 0).all()
    listed = hmrfit.fit_sequence(read_keypoints(path), fps=30, image_size=(700, 480))
    assert len(listed) == 3 and "between 4 and 6 are left out" in listed.warnings[2][0]


def test_a_frame_that_cannot_be_read_is_filled_in_and_warned_of(tmp_path: Path) -> None:
    content = video([0, 1, 2])
    content[1]["keypoints"] = content[1]["keypoints"][:-1]
    result = hmrfit.fit_sequence(write(tmp_path / "a.json", content), fps=30, image_size=(700, 480))
    assert "Filled in from the nearest frames:" in result.warnings[1][0] and (result.keypoints.confidence[1] == 0).all()


def test_mmposes_frames_without_people_are_blank(tmp_path: Path) -> None:
    seen = {f: {"keypoints": (rows("coco17")[:, :2] + [f, 0]).tolist(), "keypoint_scores": [0.8] * 17} for f in (1, 2)}
    frames = [{"frame_id": f, "instances": [seen[f]] if f in seen else []} for f in range(4)]
    path = write(tmp_path / "a.json", {"meta_info": {"dataset_name": "coco"}, "instance_info": frames})
    assert shifts(read_frames(path)) == [None, 1, 2, None]


def test_two_people_in_a_frame_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", video([0, 1], people=2))
    with pytest.raises(ValueError, match=r"2 people in frame 0.jpg.*tracks are 0, 1.*read_tracks"):
        hmrfit.fit_sequence(path, fps=30, image_size=SIZE)
    with pytest.raises(ValueError, match=r"2 people in frame 0.jpg.*read_tracks.*choose the same person"):
        hmrfit.fit_sequence(
            read_keypoints(write(tmp_path / "b.json", video([0, 1], 2, False))), fps=30, image_size=SIZE
        )
    one = [p for p in read_keypoints(path) if p.track == "1"]
    assert [p.person_id for p in one] == ["1", "1"]
    assert len(hmrfit.fit_sequence(one, fps=30, image_size=(700, 480))) == 2


def test_a_track_that_changes_is_warned_of(tmp_path: Path) -> None:
    content = video([0, 1])
    content[1]["idx"] = [4.0]
    assert "'4' from here on, and '0' before" in read_frames(write(tmp_path / "a.json", content))[1].warnings[0]


def test_a_folder_with_a_file_a_frame(tmp_path: Path) -> None:
    for f in (9, 10, 12):
        person = {"pose_keypoints_2d": flat(rows("openpose25") + np.array([f, 0, 0]))}
        write(tmp_path / f"video_{f:012d}_keypoints.json", {"people": [person]})
    write(tmp_path / f"video_{11:012d}_keypoints.json", {"people": []})
    people = read_frames(tmp_path)
    assert [None if not p.confidence.any() else int(p.image) for p in people] == [9, 10, None, 12]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no people"):
        read_frames(tmp_path / "empty")


def openpose_folder(folder: Path, frames: range) -> Path:
    for f in frames:
        person = {"pose_keypoints_2d": flat(rows("openpose25") + np.array([f, 0, 0]))}
        write(folder / f"video_{f:012d}_keypoints.json", {"people": [person]})
    return folder


@pytest.mark.parametrize("content", ["", '{"people": [{"pose_key', "[1, 2]"])
def test_one_broken_file_of_a_folder_is_one_frame(tmp_path: Path, content: str) -> None:
    write(openpose_folder(tmp_path, range(4)) / "video_000000000002_keypoints.json", content)
    people = read_frames(tmp_path)
    assert [None if not p.confidence.any() else int(p.image) for p in people] == [0, 1, None, 3]
    assert people[2].problem is not None and "video_000000000002_keypoints.json" in people[2].problem
    tracks = hmrfit.read_tracks(tmp_path)
    assert "1 person could not be read" in tracks.notes[0] and tracks[0].seen.tolist() == [True, True, False, True]
    for f in range(4):
        write(tmp_path / f"video_{f:012d}_keypoints.json", content)
    with pytest.raises(ValueError, match="video_000000000000_keypoints"):
        read_frames(tmp_path)


def test_other_files_in_a_folder_are_no_frames(tmp_path: Path) -> None:
    openpose_folder(tmp_path, range(2, 5))
    write(tmp_path / "readme.txt", "hello"), write(tmp_path / "._video_0.json", "junk")
    write(tmp_path / "calibration.json", {"K": [1, 2]})
    assert [int(p.image) for p in read_frames(tmp_path)] == [2, 3, 4]


def test_every_second_frame_of_a_list_without_the_person_keeps_its_place(tmp_path: Path) -> None:
    """Frames 0 and 2 are not neighbours where frame 1 is listed, with nobody in it."""
    points = [rows("coco17") + np.array([f, 0, 0]) for f in range(3)]
    skeleton = {str(i): name for i, name in enumerate(plain(COCO17))}
    scored = lambda p: {"keypoints": p[:, :2].tolist(), "scores": p[:, 2].tolist()}  # noqa: E731
    turned = [{} if f == 1 else {"0": points[f][:, [1, 0, 2]].tolist()} for f in range(3)]
    lists = {
        "easy_ViTPose": {"keypoints": turned, "skeleton": skeleton},
        "ControlNet": [{"people": [{"pose_keypoints_2d": flat(points[f])}] * (f != 1)} for f in range(3)],
        "Hugging Face": [[scored(points[f])] * (f != 1) for f in range(3)],
    }
    for content in lists.values():
        people = read_frames(write(tmp_path / "a.json", content), "coco17")
        assert [p.confidence.any() for p in people] == [True, False, True]


@pytest.mark.parametrize("nothing", [None, [], np.zeros((0, 3))])
def test_a_list_with_frames_of_nobody(nothing: object) -> None:
    points = rows("coco17", shift=0)
    given = [points.tolist(), nothing, points.tolist()] if isinstance(nothing, list) else [points, nothing, points]
    people = read_people_of_frames(given, "coco17")
    assert [bool(p.confidence.any()) for p in people] == [True, False, True]


def test_several_people_in_every_frame_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 people in each frame.*keypoints\[:, 0\]"):
        read_people_of_frames(np.ones((5, 2, 17, 3)), "coco17")


@pytest.mark.parametrize(
    ("name", "number"),
    [("0.jpg", 0), ("frame_0012.png", 12), ("v2_000000000007_keypoints.json", 7), ("a\\b\\3.jpg", 3), ("x.jpg", None)],
)
def test_the_number_in_a_frames_name(name: str, number: int | None) -> None:
    assert frame_number(name) == number

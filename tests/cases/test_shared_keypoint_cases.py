"""The keypoint files of public bug reports themselves, where they are at hand: each gives what was expected of it."""

from pathlib import Path

import numpy as np
import pytest

import hmrfit
from hmrfit.io.keypoint_files import PersonKeypoints, read_keypoints
from hmrfit.io.keypoint_files.frames import read_frames
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import resolve_set


@pytest.fixture
def cases(shared: Path) -> Path:
    folder = shared / "cases"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here: it holds the files of the bug reports")
    return folder


def point(person: PersonKeypoints, name: str) -> list[float]:
    return person.xy[person.names.index(name)].tolist()


READ = {
    "01*/coco_own_order.json": ("coco17", "left_wrist", [442.5, 95.5]),
    "01*/coco_own_order_noface.json": ("coco17", "right_ankle", [277.5, 429.5]),
    "05*/alphapose26.json": ("halpe26", "head_top", [363.5, 17.5]),
    "05*/pose2sim_halpe26_openpose.json": ("halpe26", "mid_hip_coco", [351.5, 147.0]),
    "05*/mm133_meta.json": ("coco_wholebody133", "right_ankle", [369.5, 128.5]),
    "05*/rtm133.npy": ("coco_wholebody133", "right_ankle", [369.0, 128.0]),
    "05*/openpose_body135.json": ("openpose135", "nose", [505.73, 432.13]),
    "05*/sapiens308.json": ("goliath308", "nose", [363.5, 37.5]),
    "06*/easyvitpose.json": ("coco17", "left_ankle", [425.5, 173.5]),
    "08*/dwpose_null.json": ("openpose18", "nose", [111.5, 30.5]),
    "08*/openpose_fourkeys.json": ("openpose25", "nose", [505.73, 432.13]),
    "12*/alphapose_cmu.json": ("openpose18", "left_ear", [453.15, 400.52]),
    "12*/alphapose_open.json": ("openpose18", "left_ear", [453.15, 400.52]),
    "12*/dwpose_list.json": ("openpose18", "left_ear", [133.5, 34.5]),
    "12*/easymocap.json": ("openpose25", "right_heel", [332.29, 1026.12]),
    "12*/utf16.json": ("openpose25", "right_heel", [332.29, 1026.12]),
    "12*/spin.npz": ("openpose25", "right_heel", [332.29, 1026.12]),
    "12*/ultralytics.json": ("coco17", "right_ankle", [369.5, 128.5]),
    "12*/dlc.csv": ("coco17", "right_eye", [357.5, 32.5]),
    "12*/named_camel.csv": ("coco17", "left_hip_coco", [346.5, 317.5]),
    "12*/named_upper.csv": ("coco17", "left_hip_coco", [346.5, 317.5]),
}
"""File -> the set whose points it has, and where one of them is."""


@pytest.mark.parametrize("file", READ)
def test_points_are_where_the_file_says(cases: Path, file: str) -> None:
    (path,) = cases.glob(file)
    keypoint_set, name, place = READ[file]
    person = read_keypoints(path)[0]
    assert set(person.names) <= set(resolve_set(keypoint_set))
    assert point(person, name) == pytest.approx(place)


@pytest.mark.parametrize(("file", "size"), [("12*/yolo_label.txt", (640, 426)), ("12*/mediapipe_long.csv", (640, 426))])
def test_shares_of_the_image_become_pixels(cases: Path, file: str, size: tuple[int, int]) -> None:
    (path,) = cases.glob(file)
    (person,) = read_photo(None, path, image_size=size).people
    expected = [363.5, 37.5] if "yolo" in file else [0.4 * 640, 0.2 * 426]
    assert point(person, "nose") == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize(
    ("file", "said"), [("01*/coco_cvat_numbers.json", "does not say which"), ("01*/mouse_17.json", "'tail_base'")]
)
def test_names_of_no_human_points_are_refused(cases: Path, file: str, said: str) -> None:
    (path,) = cases.glob(file)
    with pytest.raises(ValueError, match=said):
        read_keypoints(path)


@pytest.mark.parametrize("file", ["minus1_18.npy", "minus1_18.csv"])
def test_minus_one_is_missing(cases: Path, file: str) -> None:
    (path,) = cases.glob(f"02*/{file}")
    (person,) = read_keypoints(path, "openpose18")
    assert np.flatnonzero(person.confidence == 0).tolist() == [3, 4, 16]


def test_detectron2s_scores_are_taken_and_warned_of(cases: Path) -> None:
    (path,) = cases.glob("04*/detectron2_results.json")
    photo = read_photo(None, path, image_size=(640, 426))
    assert photo.people[0].confidence[[1, 9, 15]].tolist() == pytest.approx([1, 0.3, 0.05])
    assert "from 0.05 to 5.3277" in photo.warnings[0][0]


def test_videos(cases: Path) -> None:
    (folder,) = cases.glob("07*")
    people = read_frames(folder / "alphapose_string_order.json")
    assert [p.image for p in people] == [f"{i}.jpg" for i in range(12)]
    for file in ("alphapose17_multi_idx.json", "mm_two_people.json"):
        with pytest.raises(ValueError, match="2 people in frame 0"):
            hmrfit.fit_sequence(folder / file, fps=30, image_size=(640, 426))


def test_videos_are_tracks(cases: Path) -> None:
    (folder,) = cases.glob("07*")
    for file, count in (("alphapose17_multi_idx.json", 3), ("mm_two_people.json", 4)):
        with pytest.raises(ValueError, match=r"hmrfit.read_tracks\(path\)"):
            hmrfit.fit_sequence(folder / file, fps=30, image_size=(640, 426))
        for retrack in (False, True):
            tracks = hmrfit.read_tracks(folder / file, retrack=retrack)
            assert [track.frames.tolist() for track in tracks] == [list(range(count))] * 2
            assert all(np.ptp([point(p, "nose")[0] for p in track]) < 60 for track in tracks)
    (track,) = hmrfit.read_tracks(folder / "alphapose_string_order.json")
    assert [p.image for p in track] == [str(i) for i in range(12)]


def test_frames_from_0_and_from_1_are_matched_in_order(cases: Path) -> None:
    (folder,) = cases.glob("09*")
    result = hmrfit.fit_video(folder / "frames", folder / "mm_video.json", fps=25, keypoint_set="coco17")
    assert result[0].frames.tolist() == [1, 2, 3] and result[0].seen.all()
    assert "matched in order" in result.notes[0]

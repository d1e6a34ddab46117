"""The rows of a result: chosen one by one, named, and printed on one screen, people as people and frames as frames."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit
from hmrfit.io.image import write_image
from hmrfit.result_text import reprojection, warning_lines

SIZE = (320, 240)
SCREEN = 24


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def people(points: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> hmrfit.FitResult:
    """Three people of different sizes in one photograph."""
    photo = tmp_path_factory.mktemp("photos") / "people.png"
    write_image(photo, np.full((SIZE[1], SIZE[0], 3), 90, np.uint8))
    sizes = np.array([1, 0.7, 0.5])[:, None, None] * [1, 1, 0] + [0, 0, 1]
    return hmrfit.fit(photo, points * sizes, keypoint_set="coco17")


@pytest.fixture(scope="module")
def frames(points: np.ndarray) -> hmrfit.FitResult:
    """Eight frames in which the person comes nearer; in the fourth and fifth nothing is seen."""
    grow = 1 + 0.01 * np.arange(8)
    keypoints = np.stack([points * [g, g, 1] for g in grow])
    keypoints[3:5] = 0
    return hmrfit.fit_sequence(keypoints, fps=25, keypoint_set="coco17", image_size=SIZE, up=(0, -1, -0.1))


def same(one: hmrfit.FitResult, many: hmrfit.FitResult, i: int) -> None:
    for name in ("joints", "poses", "betas", "trans", "cost", "reprojection_error", "joint_covariance", "probability"):
        np.testing.assert_allclose(getattr(one, name)[0], getattr(many, name)[i], atol=1e-12, err_msg=name)
    assert one.term_cost.keys() == many.term_cost.keys() and one.warnings == [many.warnings[i]]
    assert torch.equal(one.keypoints.xy[0], many.keypoints.xy[i]) and one.status == [many.status[i]]
    assert len(one) == 1 and one.names == [many.names[i]] and one.joint_names == many.joint_names


@pytest.mark.parametrize("index", [0, 2, -1, -3, np.int64(1)])
def test_one_person_is_a_result(people: hmrfit.FitResult, index: int) -> None:
    same(people[index], people, int(index) % 3)


def test_iteration_gives_everyone_once(people: hmrfit.FitResult, frames: hmrfit.FitResult) -> None:
    for many in (people, frames):
        found = list(many)
        assert len(found) == len(many)
        for i, one in enumerate(found):
            same(one, many, i)


@pytest.mark.parametrize("index", [slice(1, None), slice(None, None, -1), slice(0, 99, 2), slice(-2, None)])
def test_slices_are_as_those_of_a_list(people: hmrfit.FitResult, index: slice) -> None:
    chosen = list(range(3))[index]
    part = people[index]
    assert part.names == [people.names[i] for i in chosen] and len(part) == len(chosen)
    np.testing.assert_array_equal(part.trans, people.trans[chosen])
    assert part.accepted.tolist() == people.accepted[chosen].tolist()


@pytest.mark.parametrize("index", [3, -4, slice(3, None), slice(2, 1)])
def test_rows_that_are_not_there(people: hmrfit.FitResult, index: object) -> None:
    with pytest.raises(IndexError, match="3 people"):
        people[index]


@pytest.mark.parametrize("index", ["0", 1.0, None, [0, 1]])
def test_what_is_no_index(people: hmrfit.FitResult, index: object) -> None:
    with pytest.raises(TypeError, match="whole number or a slice"):
        people[index]


def test_a_part_can_do_what_the_whole_can(people: hmrfit.FitResult, tmp_path: Path) -> None:
    one = people[1]
    np.testing.assert_allclose(one.focal_effect.joints[0], people.focal_effect.joints[1], atol=1e-9)
    one.save(tmp_path / "one.npz")
    np.testing.assert_allclose(hmrfit.FitResult.load(tmp_path / "one.npz").joints[0], people.joints[1], atol=1e-9)
    assert one.overlay(sides=False).shape == (SIZE[1], SIZE[0], 3)
    one.warnings[0].append("mine")
    assert "mine" not in people.warnings[1]


def test_a_part_is_not_taken_for_the_whole_when_a_run_goes_on(people: hmrfit.FitResult) -> None:
    assert dataclasses.replace(people, stamp="of three people")[0].stamp == ""


def test_parts_of_a_sequence_keep_its_time(frames: hmrfit.FitResult) -> None:
    part = frames[2:8:2]
    assert part.is_sequence and part.fps == 12.5 and part.names == ["2", "4", "6"] and part.rows == "frames"
    assert frames[::-1].fps == 25 and part[0].names == ["2"] and not part[0].is_sequence
    np.testing.assert_array_equal(frames[3].up, frames.up)


def test_a_frame_has_no_photograph_but_takes_one(frames: hmrfit.FitResult) -> None:
    """Which frame the given image showed is not known, so none is drawn on it by default."""
    image = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    one = dataclasses.replace(frames, image=image)[5]
    with pytest.raises(ValueError, match="no photograph"):
        one.overlay()
    assert (one.overlay(image, sides=False, keypoints=False) != image).any()


def test_people_are_printed_as_people(people: hmrfit.FitResult) -> None:
    said = str(people)
    assert said.startswith("FitResult of people.png: 3 people\n") and "frame" not in said
    shares = [f"{100 * e:.1f} %" for e in people.reprojection_error]
    assert f"reprojection: {shares[0]}, {shares[1]} and {shares[2]} of the box" in said
    assert f"{people.camera.focal[0, 0]:.0f} px (assumed" in said and "accepted: 3 of 3" in said
    assert "up: not known" in said
    assert repr(people).startswith("FitResult(3 people, reprojection") and "\n" not in repr(people)


def test_frames_are_printed_as_frames(frames: hmrfit.FitResult) -> None:
    errors = 100 * frames.reprojection_error
    said = str(frames)
    assert "8 frames at 25 a second (0.32 s)" in said and "people" not in said and "nan" not in said + repr(frames)
    assert f"median {np.nanmedian(errors):.1f} % of the box, worst {np.nanmax(errors):.1f} %" in said
    assert f"(frame {np.nanargmax(errors)})" in said and "2 frames without keypoints, filled in" in said.replace(
        "\n   ", ""
    )
    assert "accepted: not tested" in said and "frames 3-4: Filled in from the nearest frames: no keypoint" in said
    assert repr(frames).startswith("FitResult(8 frames at 25 a second") and "2 frames without keypoints" in repr(frames)
    assert str(frames[3]).splitlines()[0].endswith(": frame 3") and "1 frame without keypoints" in str(frames[3])


def test_who_is_refused_and_why_is_printed(people: hmrfit.FitResult) -> None:
    said = " ".join(str(dataclasses.replace(people, reason=np.array([0, 2, 0]))).split())
    assert "accepted: 2 of 3; person 1: The fit is a less plausible pose than its start" in said


@pytest.mark.parametrize("count", [0, 1, 9, 3000])
def test_print_is_one_screen(people: hmrfit.FitResult, count: int) -> None:
    """However many warnings there are and however long they are: whole ones, and how many more there are."""
    many = [[f"Warning {i} of person {p}: " + "it has something long to tell. " * (i % 12) for i in range(count)] for p in range(3)]  # fmt: skip  # noqa: E501
    said = str(dataclasses.replace(people, warnings=many)).splitlines()
    assert len(said) <= SCREEN and max(map(len, said)) <= 100
    assert (said[5] == "  warnings: none") == (count == 0) and len(said) >= 6
    shown = sum("Warning" in line for line in said)
    left = [int(n) for line in said for n in re.findall(r"\.\.\. and (\d+) more", line)]
    assert shown + sum(left) == 3 * count


def test_what_a_terminal_would_obey_is_not_printed(people: hmrfit.FitResult) -> None:
    bad = dataclasses.replace(people, image_path=Path("a\x1b[2J.png"), person_ids=["\x1b[31m", "\r", "x"], warnings=[["w\x07"]] * 3)  # fmt: skip  # noqa: E501
    assert str(bad).replace("\n", "").isprintable()


def test_warnings_name_whom_they_are_about() -> None:
    names = [str(i) for i in range(9)]
    of = lambda *rows: [["It is so."] if i in rows else [] for i in range(9)]  # noqa: E731
    assert warning_lines(of(4), "people", names) == ["person 4: It is so."]
    assert warning_lines(of(0, 1, 2, 5), "frames", names) == ["frames 0-2, 5: It is so."]
    assert warning_lines(of(0, 2, 4, 6, 8), "people", names) == ["people 0, 2, 4, 6, ... (5 in all): It is so."]
    assert warning_lines([["A."], ["B.", "A."]], "people", ["left", "right"]) == [
        "people left, right: A.",
        "person right: B.",
    ]


def test_shares_of_few_of_many_and_of_none() -> None:
    names = [str(i) for i in range(9)]
    assert reprojection(np.array([0.01]), "people", names[:1]) == "1.0 % of the box"
    assert reprojection(np.arange(9) / 100, "people", names) == "median 4.0 % of the box, worst 8.0 % (person 8)"
    assert reprojection(np.array([np.nan]), "people", names[:1]) == "1 person without keypoints"
    assert reprojection(np.array([np.nan] * 2), "frames", names[:2]) == "2 frames without keypoints"


@pytest.mark.parametrize("what", ["mesh", "overlay", "turntable"])
def test_frames_are_not_stacked_into_one_picture(frames: hmrfit.FitResult, tmp_path: Path, what: str) -> None:
    with pytest.raises(ValueError, match=rf"sequence of 8 frames.*result\[i\]\.{what}\(.*save_motion"):
        getattr(frames, what)(*([tmp_path / "body.glb"] if what == "mesh" else []))
    assert not list(tmp_path.iterdir())
    frames[0].mesh(tmp_path / "body.obj")
    assert (tmp_path / "body.obj").read_text().count("\nv ") == frames[0].vertices.shape[1]


def test_the_page_of_a_sequence(frames: hmrfit.FitResult, tmp_path: Path) -> None:
    frames.page(tmp_path / "frames.html")
    text = (tmp_path / "frames.html").read_text()
    assert "8 frames at 25 a second" in text and "nan" not in text.split("<section>")[1].split("base64")[0].lower()
    assert text.count("<img") == 8 and text.count("<tr>") == 1 + 8 and "without keypoints" in text


def test_long_sequences_show_their_worst_frames(frames: hmrfit.FitResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmrfit.report.result_page.PAGE_ROWS", 3)
    entry = frames.entry({})
    worst = np.sort(np.argsort(-np.nan_to_num(frames.reprojection_error, nan=-1))[:3])
    assert [row["frame"] for row in entry.rows] == [str(i) for i in worst]
    assert "holds the 3 frames with the largest reprojection error" in entry.text

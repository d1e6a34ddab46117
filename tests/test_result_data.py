"""The rows of a result: chosen one by one, named, and printed on one screen, people as people and frames as frames."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit
from hmrfit.build import load_points
from hmrfit.fitting.uncertainty import GAUSSIAN
from hmrfit.io.image import write_image

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


def of_origin(result: hmrfit.FitResult, **changes: object) -> hmrfit.FitResult:
    """The same result, some of what it is of changed."""
    return dataclasses.replace(result, origin=dataclasses.replace(result.origin, **changes))


def same(one: hmrfit.FitResult, many: hmrfit.FitResult, i: int) -> None:
    for name in ("joints", "poses", "betas", "trans", "cost", "reprojection_error", "joint_covariance", "probability"):
        np.testing.assert_allclose(getattr(one, name)[0], getattr(many, name)[i], atol=1e-12, err_msg=name)
    assert one.term_cost.keys() == many.term_cost.keys() and one.warnings == [many.warnings[i]]
    assert torch.equal(one.keypoints.xy[0], many.keypoints.xy[i]) and one.status == [many.status[i]]
    assert len(one) == 1 and one.names == [many.names[i]] and one.joint_names == many.joint_names


@pytest.mark.parametrize("index", [0, 2, -1, -3, np.int64(1)])
def test_one_person_is_a_result(people: hmrfit.FitResult, index: int) -> None:
    assert people.hypotheses  # else one alone has as many columns as that person has answers
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
    np.testing.assert_allclose(one.focal_effect().joints[0], people.focal_effect().joints[1], atol=1e-9)
    one.save(tmp_path / "one.npz")
    np.testing.assert_allclose(hmrfit.FitResult.load(tmp_path / "one.npz").joints[0], people.joints[1], atol=1e-9)
    assert one.overlay(sides=False).shape == (SIZE[1], SIZE[0], 3)
    one.warnings[0].append("mine")
    assert "mine" not in people.warnings[1]


def test_a_part_is_not_taken_for_the_whole_when_a_run_goes_on(people: hmrfit.FitResult) -> None:
    assert of_origin(people, fingerprint="of three people")[0].origin.fingerprint == ""


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


def test_who_is_rejected_and_why_is_printed(people: hmrfit.FitResult) -> None:
    acceptance = dataclasses.replace(people.fit.acceptance, reason=torch.tensor([0, 2, 0]))
    rejected = dataclasses.replace(people, fit=dataclasses.replace(people.fit, acceptance=acceptance))
    assert rejected.accepted.tolist() == [True, False, True]
    assert [bool(reason) for reason in rejected.rejection_reason] == [False, True, False]
    said = " ".join(str(rejected).split())
    assert "accepted: 2 of 3; person 1: The fit is a less plausible pose than its start" in said


@pytest.mark.parametrize("count", [0, 1, 9, 3000])
def test_print_is_one_screen(people: hmrfit.FitResult, count: int) -> None:
    """However many warnings there are and however long they are: whole ones, and how many more there are."""
    warning = lambda i, p: f"Warning {i} of person {p}: " + "it has something long to tell. " * (i % 12)  # noqa: E731
    many = [[warning(i, p) for i in range(count)] for p in range(3)]
    said = str(of_origin(people, warnings=many)).splitlines()
    assert len(said) <= SCREEN and max(map(len, said)) <= 100
    assert (said[5] == "  warnings: none") == (count == 0) and len(said) >= 6
    shown = sum("Warning" in line for line in said)
    left = [int(n) for line in said for n in re.findall(r"\.\.\. and (\d+) more", line)]
    assert shown + sum(left) == 3 * count


def test_what_a_terminal_would_obey_is_not_printed(people: hmrfit.FitResult) -> None:
    names, warnings = ["\x1b[31m", "\r", "x"], [["w\x07"]] * 3
    bad = of_origin(people, image_path=Path("a\x1b[2J.png"), person_ids=names, warnings=warnings)
    assert str(bad).replace("\n", "").isprintable()


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


def test_joints_and_what_is_said_of_them_pose_no_mesh(
    people: hmrfit.FitResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For 1,800 frames the mesh takes eight seconds and 2 GB. To the last digit but one they are the mesh's own."""
    np.testing.assert_allclose(people.joints, people.output.joints, rtol=0, atol=2e-15)
    people.save(tmp_path / "people.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "people.npz")

    def posed(*_: object, **__: object) -> None:
        pytest.fail("a mesh was posed")

    monkeypatch.setattr("hmrfit.body.smpl.SmplBody.__call__", posed)
    assert loaded.joints.shape == (3, 24, 3) and loaded.joints is loaded.joints
    assert loaded.joint_std.shape == (3, 24) and loaded.projected.xy.shape == (3, 17, 2)
    assert loaded.landmark_std.shape == (3, 17) and loaded.focal_effect().joints.shape == (3, 24)


def test_projection_is_where_the_mesh_is(people: hmrfit.FitResult) -> None:
    wrist = people.joint_names.index("left_wrist")
    place = people.keypoints.names.index("left_wrist")
    focal, center = people.camera.focal[0].numpy(), people.camera.center[0].numpy()
    joint = people.joints[0, wrist]
    np.testing.assert_allclose(people.projected.xy[0, place], focal * joint[:2] / joint[2] + center, atol=1e-6)


def test_what_is_not_calibrated_is_called_so(people: hmrfit.FitResult) -> None:
    posterior = dataclasses.replace(people.posterior, nu=GAUSSIAN)
    bold = dataclasses.replace(people, known_answers=dataclasses.replace(people.answers, posterior=posterior))
    said = [r.entry({}).rows[0]["least certain"] for r in (people, bold)]
    assert people.calibrated and not bold.calibrated
    assert "not calibrated" in said[1] and "not calibrated" not in said[0]


def test_the_likeliest_answer_takes_the_first_place(people: hmrfit.FitResult) -> None:
    """The others stay what they are; whoever's first answer is the likeliest stays as it is."""
    other, p = people.likeliest(), people.probability
    chosen, rows = p.argmax(1), np.arange(len(people))
    np.testing.assert_array_equal(other.probability[:, 0], p.max(1))
    np.testing.assert_array_equal(np.sort(other.probability, 1), np.sort(p, 1))
    placed = np.stack([h.transl.numpy() for h in people.hypotheses], 1)
    np.testing.assert_array_equal(other.trans, placed[rows, chosen])
    np.testing.assert_array_equal(other.hypothesis_cost[:, 0], people.hypothesis_cost[rows, chosen])
    assert (other.likeliest().trans == other.trans).all() and len(other) == len(people)
    assert np.isfinite(other.joint_std).all()


def test_which_way_limbs_point(people: hmrfit.FitResult, tmp_path: Path) -> None:
    """About what the samples of the posterior say, who show rare sides more often; a saved result says the same."""
    found = people.limb_towards
    assert len(found) == 8 and all(((p >= 0) & (p <= 1)).all() and p.shape == (len(people),) for p in found.values())
    elbow, wrist = (people.joint_names.index(f"left_{name}") for name in ("elbow", "wrist"))
    body, towards = load_points(people.origin.body, people.joint_names), []
    for params in people.sample(300):
        joints = body.pose(params).joints
        towards.append(((joints[:, wrist] - joints[:, elbow]) * joints[:, elbow]).sum(-1) < 0)
    sampled = torch.stack(towards).double().mean(0).numpy()
    np.testing.assert_allclose(found["left_forearm"], sampled, atol=0.25)
    people.save(tmp_path / "result.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "result.npz").limb_towards
    assert all((loaded[bone] == p).all() for bone, p in found.items())

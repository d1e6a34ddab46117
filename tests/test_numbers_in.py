"""What fit() is given in numbers is used or refused before any work; a hopeless person does not take others down."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points, free_body

import hmrfit
from hmrfit.io.photo import read_photo
from hmrfit.pipeline import Pipeline
from hmrfit.types import BodyParams

SIZE = (320, 240)
NAN = float("nan")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def result(points: np.ndarray) -> hmrfit.FitResult:
    return fit(points)


def fit(points: np.ndarray, **asked: object) -> hmrfit.FitResult:
    return hmrfit.fit(None, points, **{"keypoint_set": "coco17", "image_size": SIZE} | asked)


def changed(points: np.ndarray, where: object, value: object) -> np.ndarray:
    points = points.copy()
    points[where] = value
    return points


def finite(result: hmrfit.FitResult, costs: bool = True) -> bool:
    numbers = [result.poses, result.betas, result.trans, result.joints, result.joint_covariance, result.probability]
    numbers += [result.cost, *result.term_cost.values()] if costs else []
    return all(np.isfinite(n).all() for n in numbers)


# cameras

CAMERA = hmrfit.Camera.from_size(*SIZE)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"focal": CAMERA.focal * 0}, ValueError, "focal length should be one number above 0"),
        ({"focal": -CAMERA.focal}, ValueError, "focal length should be one number above 0"),
        ({"focal": CAMERA.focal * NAN}, ValueError, r"camera\.focal holds 2 NaN"),
        ({"focal": CAMERA.focal * 1e300}, ValueError, "cannot be computed with"),
        ({"center": CAMERA.center * NAN}, ValueError, r"camera\.center holds 2 NaN"),
        ({"center": CAMERA.center * 1e30}, ValueError, "principal point"),
        ({"size": CAMERA.size * NAN}, ValueError, r"camera\.size holds 2 NaN"),
        ({"size": CAMERA.size * 0}, ValueError, "is of an image of"),
        ({"focal": CAMERA.focal[:, 0]}, ValueError, "shape"),
        ({"focal": CAMERA.focal[:0]}, ValueError, "shape"),
        ({"focal": [500, 500]}, TypeError, "tensor"),
        ({"focal": CAMERA.focal * 1j}, TypeError, "real numbers"),
        ({"focal": CAMERA.focal > 0}, TypeError, "real numbers"),
    ],
)
def test_cameras_that_are_none(points: np.ndarray, change: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        fit(points, camera=replace(CAMERA, **change))


def test_a_camera_with_a_gradient_and_in_float32_is_a_camera(points: np.ndarray) -> None:
    one = fit(points, camera=replace(CAMERA, focal=CAMERA.focal.clone().requires_grad_()))
    other = fit(points, camera=CAMERA.to(torch.float32))
    plain = fit(points, camera=CAMERA)
    assert np.array_equal(one.poses, plain.poses)
    np.testing.assert_allclose(other.trans, plain.trans, atol=1e-3)  # 400 px in 32 bits


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["focal", "focal_35mm"])
@pytest.mark.parametrize("value", [0, -500, NAN, np.inf, 1e300, 1e-300, 10**400, [], [1, 2, 3], [[500, 500]]])
def test_focal_lengths_that_are_none(points: np.ndarray, name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"{name} should be one number above 0"):
        fit(points, **{name: value})


@pytest.mark.usefixtures("no_work")
def test_a_matrix_as_focal_length_gets_the_right_place(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"is a 3×3 matrix: give camera=Camera.from_intrinsics\(K, width, height\)"):
        fit(points, focal=np.eye(3) * 500)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["focal", "focal_35mm"])
@pytest.mark.parametrize("value", [True, 1j, b"500", object(), {500}, [None]])
def test_focal_lengths_that_are_no_numbers(points: np.ndarray, name: str, value: object) -> None:
    with pytest.raises(TypeError, match=f"{name} should be one number above 0"):
        fit(points, **{name: value})


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("size", [(1e300, 1e300), (2**21, 4), (NAN, 4), (320.5, 240), 320, []])
def test_image_sizes(points: np.ndarray, size: object) -> None:
    with pytest.raises(ValueError, match="image_size should be"):
        fit(points, image_size=size)


# a start

CHANGES = {
    "betas": [(lambda b: b * NAN, ValueError, r"betas holds 10 NaN"), (lambda b: b + 1e10, ValueError, "within ±50"),
              (lambda b: torch.zeros(1, 12), ValueError, "got 12"), (lambda b: b.numpy(), TypeError, "tensor"),
              (lambda b: None, TypeError, "tensor"), (lambda b: b * 1j, TypeError, "real"),
              (lambda b: torch.zeros(2, 10), ValueError, "shape")],
    "body_pose": [(lambda R: R[:, :5], ValueError, "shape"), (lambda R: R * 2, ValueError, "is no rotation"),
                  (lambda R: -R, ValueError, "reflection"), (lambda R: R * NAN, ValueError, "NaN")],
    "global_orient": [(lambda R: R * 0, ValueError, "joint 0 of person 0 is no rotation"),
                      (lambda R: torch.zeros(1, 3), ValueError, "from_rotvecs")],
    "transl": [(lambda t: -t, ValueError, "in front of the camera"), (lambda t: t * 1e30, ValueError, "within 10000 m"),
               (lambda t: t[:, :2], ValueError, "shape")],
}  # fmt: skip


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("part", "change", "error", "said"), [(p, *c) for p, many in CHANGES.items() for c in many])
def test_starts_that_are_none(points: np.ndarray, part: str, change, error: type, said: str) -> None:
    params = free_body().neutral()
    params = replace(params, transl=params.transl + torch.tensor([0.0, 0.0, 4.0]))
    with pytest.raises(error, match=said):
        fit(points, init=replace(params, **{part: change(getattr(params, part))}))


def test_starts_that_are_some(points: np.ndarray, result: hmrfit.FitResult) -> None:
    """Fewer betas than the body has, rounded rotations, 32 bits, a gradient."""
    p = result.params
    few = fit(points, init=replace(p, betas=p.betas[:, :3]))
    assert np.array_equal(few.start.betas[0, 3:], np.zeros(7)) and finite(few)
    rounded = fit(points, init=replace(p, body_pose=(p.body_pose * 1e4).round() / 1e4))
    R = rounded.start.body_pose
    assert (R @ R.mT - torch.eye(3)).abs().max() < 1e-12
    np.testing.assert_allclose(rounded.joints, fit(points, init=p).joints, atol=1e-3)
    assert finite(fit(points, init=p.to(torch.float32)))
    assert finite(fit(points, init=replace(p, betas=p.betas.clone().requires_grad_())))


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("std", "error"),
    [
        *[(std, ValueError) for std in (0, -1, NAN, [1, 2], [5] * 23, [], [[5] * 24], 1e300, 1e-300)],
        *[(std, TypeError) for std in ("5", True, 1j, [None] * 24)],
    ],
)
def test_how_wrong_a_start_is_not(points: np.ndarray, result: hmrfit.FitResult, std: object, error: type) -> None:
    with pytest.raises(
        error, match=r"init_std should be degrees, positive, one number or one for each of the 24 joints"
    ):
        fit(points, init=result, init_std=std)


@pytest.mark.usefixtures("no_work")
def test_how_wrong_a_start_is_that_is_not_given(points: np.ndarray) -> None:
    with pytest.raises(ValueError, match="how wrong init= is"):
        fit(points, init_std=5)


@pytest.mark.usefixtures("no_work")
def test_how_wrong_a_start_is_says_nothing_to_stages_without_an_anchor(
    points: np.ndarray, result: hmrfit.FitResult
) -> None:
    with pytest.raises(ValueError, match="init_std changes nothing with these settings"):
        fit(points, init=result, init_std=5, config="fit_spin")


# several people, one of them hopeless

HOPELESS = {
    "nothing seen": (lambda p: p * [1, 1, 0], "no keypoint has a confidence above 0"),
    "a huge number": (lambda p: changed(p, (3, 0), 1e60), r"keypoint 3 is at \[1e\+60, .*no place in an image"),
    "huge numbers": (lambda p: p * [1e300, 1e300, 1], "no place in an image"),
    "all outside": (lambda p: p + np.array([5000, 0, 0]), "no keypoint lies inside the image"),
    "normalised": (lambda p: p / [*SIZE, 1], "look normalised"),
    "infinite": (lambda p: changed(p, (3, 0), np.inf), "keypoint 3 is at"),
    "logits": (lambda p: p * [1, 1, -3], "(no keypoint has a confidence above 0|confidences run from -3 to -3)"),
}


@pytest.mark.parametrize("kind", HOPELESS)
def test_one_hopeless_person_is_left_out(
    points: np.ndarray, kind: str, caplog: pytest.LogCaptureFixture, tmp_path
) -> None:
    make, said = HOPELESS[kind]
    three = np.stack([points, make(points), points * [0.8, 0.8, 1]])
    with caplog.at_level(logging.WARNING, "hmrfit"):
        result = fit(three)
    assert len(result) == 2 and result.person_ids == ["0", "2"] and list(result.left_out) == ["1"]
    assert finite(result) and np.array_equal(result.poses, fit(three[[0, 2]]).poses)
    with pytest.raises(ValueError, match=said):
        raise ValueError(result.left_out["1"])
    assert "person 1 is left out" in caplog.text and result.left_out["1"] in caplog.text
    assert "Person 1 is left out" in result.entry({}).warnings[0]
    result.save(tmp_path / "a.npz")
    assert hmrfit.FitResult.load(tmp_path / "a.npz").left_out == result.left_out


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("kind", HOPELESS)
def test_where_all_are_hopeless_the_error_says_why(points: np.ndarray, kind: str) -> None:
    make, said = HOPELESS[kind]
    with pytest.raises(ValueError, match=said):
        fit(make(points))
    whole = "confidences run from -3 to -3" if kind == "logits" else f"(?s)None of 3 can be fitted.*{said}.*Person 2"
    with pytest.raises(ValueError, match=whole):  # scores are of the whole array: where none is above 0, that is said
        fit(np.stack([make(points), points * 0, make(points)]))


def test_what_is_given_for_each_stays_with_its_person(points: np.ndarray, result: hmrfit.FitResult) -> None:
    """Cameras and starts count all people, also those who are left out."""
    hole = np.stack([points, points * 0, points * [0.8, 0.8, 1]])
    two = hole[[0, 2]]
    params = BodyParams.cat([result.params] * 3)
    start = replace(params, betas=params.betas + torch.tensor([[0.0], [9.0], [1.0]]))
    focal = torch.tensor([[400.0, 400.0], [9.0, 9.0], [500.0, 500.0]]).double()
    cameras = replace(hmrfit.Camera.cat([CAMERA] * 3), focal=focal)
    given = {
        "camera": (cameras, cameras[[0, 2]]),
        "init": (start, start[[0, 2]]),
    }
    for name, (all_three, those) in given.items():
        full, less = fit(hole, **{name: all_three}), fit(two, **{name: those})
        assert full.person_ids == ["0", "2"] and np.array_equal(full.trans, less.trans), name
        with pytest.raises(ValueError, match=r"3|\(3"):
            fit(hole, **{name: those})
    again = fit(hole, init=fit(hole))
    assert len(again) == 2 and again.person_ids == ["0", "2"]


def test_a_file_of_several_people(points: np.ndarray, tmp_path) -> None:
    """As OpenPose writes them: one of them far outside, and one with a broken number."""
    people = [points, points + np.array([9000, 0, 0]), changed(points, (3, 0), 1e60)]
    written = {"people": [{"pose_keypoints_2d": p.flatten().tolist()} for p in people]}
    (tmp_path / "a.json").write_text(json.dumps(written))
    result = fit(tmp_path / "a.json")
    assert result.person_ids == ["0"] and list(result.left_out) == ["1", "2"]


def test_photographs_side_by_side_leave_out_their_own(points: np.ndarray) -> None:
    photos = [read_photo(None, np.stack([points * 0, points]), "coco17", image_size=SIZE) for _ in range(2)]
    first, second = Pipeline.of().fit_photos(photos)
    assert first.person_ids == second.person_ids == ["1"] and list(second.left_out) == ["0"]


def test_people_of_one_name_are_told_apart(points: np.ndarray) -> None:
    """Files of several trackers call all people 0."""
    people = read_photo(None, np.stack([points] * 3), "coco17", image_size=SIZE).people
    same = [replace(p, person_id="0", confidence=p.confidence * (i == 1)) for i, p in enumerate(people)]
    assert list(fit(same).left_out) == ["0 (person 0)", "0 (person 2)"]


def test_a_term_that_loses_its_numbers_on_the_way_keeps_the_start(points: np.ndarray) -> None:
    """Where a term is tried it is finite, where the fit starts it is not: the start comes back, with a warning."""
    seen: list[int] = []

    def brittle(state, output, observation):
        seen.append(1)
        return output.joints[:, :2, 0] * (1.0 if len(seen) < 5 else NAN)

    result = fit(points, terms=[brittle])
    assert finite(result, costs=False) and not np.isnan(result.cost).any()
    assert "is not finite; the start is returned" in " ".join(result.warnings[0])

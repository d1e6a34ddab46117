"""What fit() is given in numbers is used or refused before any work; a hopeless person does not take others down."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit
from hmrfit.api import fit_photos
from hmrfit.build import build, load_points
from hmrfit.fitting.terms.base import FunctionTerm
from hmrfit.fitting.terms.height import KnownHeight
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17
from hmrfit.types import BodyParams

SIZE = (320, 240)
NAN = float("nan")


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def result(points: np.ndarray) -> hmrfit.FitResult:
    return fit(points)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails the test when the solver or a network is asked."""

    def begun(*_: object, **__: object) -> None:
        pytest.fail("the fit began")

    monkeypatch.setattr("hmrfit.fitting.fitter.Fitter.fit", begun)


def fit(points: np.ndarray, **asked: object) -> hmrfit.FitResult:
    return hmrfit.fit(None, points, **{"keypoint_set": "coco17", "image_size": SIZE} | asked)


def changed(points: np.ndarray, where: object, value: object) -> np.ndarray:
    points = points.copy()
    points[where] = value
    return points


def finite(result: hmrfit.FitResult) -> bool:
    numbers = (result.poses, result.betas, result.trans, result.cost, result.joints, result.joint_covariance)
    return all(np.isfinite(n).all() for n in (*numbers, *result.term_cost.values(), result.probability))


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
    params = build().fitter.body.neutral()
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
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"init_std": 5}, "how wrong init= is"),
        ({"height_std": 0.01}, "how well height= is known"),
        ({"relative_3d": True}, "about keypoints_3d"),
        ({"keypoint_set_3d": "smpl24"}, "about keypoints_3d"),
    ],
)
def test_what_is_about_something_that_is_not_given(points: np.ndarray, asked: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(points, **asked)


# height and shape


def test_how_well_a_height_is_known(points: np.ndarray) -> None:
    """Two centimetres where nothing is said, and as well as is said: the body's height is as near to it."""
    known = KnownHeight(build().fitter.body)
    off = {std: abs(float(known.of(fit(points, height=1.82, height_std=std).params.betas)) - 1.82) for std in (0.001, 0.02, 0.2)}  # noqa: E501  # fmt: skip
    assert off[0.001] < 1e-4 < off[0.02] < 0.02 < off[0.2]
    usual = fit(points, height=1.82)
    assert np.array_equal(usual.betas, fit(points, height=1.82, height_std=0.02).betas)
    assert usual.measurements == {"height": "1.82 ± 0.02 m"} and usual.warnings == [[]]
    assert "Given height: 1.82 ± 0.02 m." in usual.entry({}).text
    assert "0.02 by default" in hmrfit.fit.__doc__


def test_a_height_of_some_of_the_people(points: np.ndarray) -> None:
    both = np.stack([points, points])
    result = fit(both, height=[1.9, None], height_std=[0.005, 0.005])
    known = KnownHeight(build().fitter.body).of(result.params.betas)
    assert abs(known[0] - 1.9) < 0.005 and result.measurements == {"height": "1.9 ± 0.005 m, unknown"}
    np.testing.assert_allclose(result.betas[1], fit(points).betas[0], atol=1e-2)


@pytest.mark.parametrize(("asked", "said"), [({"height": 0.51}, "13 standard deviations"), ({"height": 2.5}, "metres"),
                                             ({"shape": [4.5]}, "beta of 4.5"), ({"shape": ([[0, -6.0]], 2.0)}, "6.0")])  # fmt: skip  # noqa: E501
def test_implausible_heights_and_shapes_are_warned_of(points: np.ndarray, asked: dict, said: str) -> None:
    assert any(said in warning for warning in fit(points, **asked).warnings[0])


WRONG_HEIGHTS = {
    ValueError: (NAN, 0.4, 3, [1.8, 1.8], [], [[1.8]], 10**400),
    TypeError: ("1.8", True, 1j, {1.8}, ["1.8"]),
}
WRONG_HEIGHT_STDS = {ValueError: (0, -1, NAN, np.inf, 1e300, []), TypeError: ("0.1", True, [None])}
WRONG_SHAPES = {
    ValueError: (NAN, 1e10, [NAN] * 10, [1e10], [], [[]], np.zeros((2, 10)), np.zeros(11), np.zeros((1, 1, 3))),
    TypeError: ("0", 1j, [1j] * 3, [True] * 10, [["a"]], object()),
}
WRONG_SHAPE_STDS = {ValueError: (0, -1, NAN, 1e-300, [1] * 3, []), TypeError: ("1", True, 1j)}
WRONG = (
    *((e, {"height": v}, "height should be") for e, many in WRONG_HEIGHTS.items() for v in many),
    *((e, {"height": 1.8, "height_std": v}, "_std should be") for e, many in WRONG_HEIGHT_STDS.items() for v in many),
    *((e, {"shape": v}, "shape should be") for e, many in WRONG_SHAPES.items() for v in many),
    *((e, {"shape": ([0.0] * 10, v)}, "standard deviation") for e, many in WRONG_SHAPE_STDS.items() for v in many),
)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("error", "asked", "said"), WRONG)
def test_heights_and_shapes_that_are_none(points: np.ndarray, error: type, asked: dict, said: str) -> None:
    with pytest.raises(error, match=said):
        fit(points, **asked)


# points in 3D and the floor


@pytest.fixture(scope="module")
def points_3d(result: hmrfit.FitResult) -> np.ndarray:
    return np.c_[load_points("free_body", COCO17).pose(result.params).points[0].numpy(), np.ones(17)]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        ((3, 3), NAN, "confidences should lie between 0 and 1"),
        ((3, 3), -1, "confidences should lie between 0 and 1"),
        ((3, 3), 1e10, "confidences should lie between 0 and 1"),
        ((3, 3), np.inf, "confidences should lie between 0 and 1"),
        ((slice(None), 3), 90.0, "confidences should lie between 0 and 1"),
        ((slice(None), 3), 0.0, "nothing is known"),
        ((3, 0), NAN, "NaN or infinite coordinates"),
        ((3, 0), 1e60, "millimetres"),
        ((slice(None), 2), -3.0, "behind the camera"),
    ],
)
def test_points_in_3d_that_are_none(points: np.ndarray, points_3d: np.ndarray, where, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        fit(points, keypoints_3d=changed(points_3d, where, value))


@pytest.mark.usefixtures("no_work")
def test_points_in_3d_that_are_no_numbers(points: np.ndarray, points_3d: np.ndarray) -> None:
    for wrong in (points_3d * 1j, points_3d.astype(str), points_3d > 0):
        with pytest.raises(TypeError, match="keypoints_3d should be x, y, z in metres"):
            fit(points, keypoints_3d=wrong)
    with pytest.raises(TypeError, match="relative_3d should be True or False"):
        fit(points, keypoints_3d=points_3d, relative_3d="yes")


@pytest.mark.parametrize("row", [[NAN, NAN, NAN, NAN], [NAN, NAN, NAN, 0.0], [1e60, 0, 1, 0.0]])
def test_an_unseen_point_in_3d_may_be_anything(points: np.ndarray, points_3d: np.ndarray, row: list) -> None:
    unseen = fit(points, keypoints_3d=changed(points_3d, (3, 3), 0.0))
    assert np.array_equal(fit(points, keypoints_3d=changed(points_3d, 3, row)).poses, unseen.poses)


F = hmrfit.Floor


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("floor", "error", "said"),
    [
        (F((0, -1, 0), NAN), ValueError, "offset should be metres"),
        (F((0, -1, 0), 1e300), ValueError, "offset should be metres"),
        (F((1e-300, 0, 0), 1), ValueError, "offset should be metres"),
        (F((0, -1, 0), None), TypeError, "offset should be metres"),
        (F((0, -1, 0), "1"), TypeError, "offset should be metres"),
        (F((0, 0, 0), 1), ValueError, "no length"),
        (F((NAN, 0, 0), 1), ValueError, "up should be three numbers"),
        (F(1, 1), ValueError, "up should be three numbers"),
        (F("abc", 1), TypeError, "up should be three numbers"),
        (F((0, 1j, 0), 1), TypeError, "up should be three numbers"),
        (F((0, -1, 0), 1, "left_heel"), TypeError, "a list of names"),
        (F((0, -1, 0), 1, None), TypeError, "a list of names"),
        (F((0, -1, 0), 1, (3,)), ValueError, "no point 3"),
    ],
)
def test_floors_that_are_none(points: np.ndarray, floor: hmrfit.Floor, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        fit(points, ground=floor)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_length_of_up_counts_for_nothing(points: np.ndarray) -> None:
    one, other = (fit(points, ground=F((0, -s, 0), -0.9 * s)) for s in (1.0, 1e200))
    np.testing.assert_allclose(one.joints, other.joints, atol=1e-9)


# terms and weights


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("weights", "error", "said"),
    [
        *[({"anchor": w}, ValueError, "weight of 'anchor'") for w in (NAN, -1, np.inf, 1e300, 10**400, [1, 1], [])],
        *[({"anchor": w}, TypeError, "weight of 'anchor' should be one") for w in ("1", None, True, 1j, "x")],
        ({"nope": 1}, ValueError, "no term 'nope'"),
        ({1: 2}, ValueError, "no term 1"),
        ([1], TypeError, "a dictionary"),
        ("anchor", TypeError, "a dictionary"),
        ({"anchor": 0, "keypoints": 0, "joint_limits": 0}, ValueError, "no term with a weight above 0"),
    ],
)  # fmt: skip
def test_weights_that_are_none(points: np.ndarray, weights: object, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        fit(points, weights=weights)


@pytest.mark.parametrize(("weight", "error"), [("1e3", TypeError), (".nan", ValueError), ("-1", ValueError), ("[1, 2]", ValueError)])  # fmt: skip  # noqa: E501
@pytest.mark.parametrize("kind", ["weights", "factors"])
def test_weights_in_settings(weight: str, error: type, kind: str, tmp_path) -> None:
    (tmp_path / "a.yaml").write_text(f"FIT:\n  STAGES: [{{{kind}: {{gmm: {weight}}}}}]\n")
    with pytest.raises(error, match=f"FIT.STAGES: {kind}: gmm should be one number from 0"):
        build(tmp_path / "a.yaml")


def raises(state, output, observation):
    raise KeyError("mine")


WRONG_TERMS = {
    "raises": (raises, ValueError, "Term 'raises' cannot be computed: KeyError"),
    "one dimension": (lambda s, o, b: o.joints[:, 0, 0], ValueError, r"should return residuals \(B, M\)"),
    "three dimensions": (lambda s, o, b: o.joints, ValueError, r"should return residuals \(B, M\)"),
    "a sum": (lambda s, o, b: o.joints.sum(), ValueError, r"should return residuals \(B, M\)"),
    "another B": (lambda s, o, b: torch.zeros(7, 3).double(), ValueError, r"should return residuals \(B, M\)"),
    "nothing": (lambda s, o, b: None, TypeError, "should return a tensor"),
    "a list": (lambda s, o, b: [[0.0]], TypeError, "should return a tensor"),
    "numpy": (lambda s, o, b: o.joints.detach().numpy()[:, 0], TypeError, "should return a tensor"),
    "NaN": (lambda s, o, b: o.joints[:, :, 0] * NAN, ValueError, "is not finite"),
    "a NaN slope": (lambda s, o, b: (o.joints[:, :, 0] * 0).sqrt(), ValueError, "derivative or a square"),
    "a square too large": (lambda s, o, b: o.joints[:, :, 0] * 1e200, ValueError, "derivative or a square"),
    "too few arguments": (lambda s: s.params.betas, ValueError, "cannot be computed: TypeError"),
    "an index": (lambda s, o, b: o.joints[:, 99], ValueError, "cannot be computed: IndexError"),
    "in place": (lambda s, o, b: o.joints.mul_(2)[:, 0], ValueError, "in place"),
    "float32": (lambda s, o, b: o.joints[:, :, 0].float(), ValueError, "float32"),
    "a name": ("gmm", TypeError, "should hold functions"),
    "a class": (FunctionTerm, TypeError, "should hold functions"),
}  # fmt: skip


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", WRONG_TERMS)
def test_terms_that_are_none(points: np.ndarray, name: str) -> None:
    term, error, said = WRONG_TERMS[name]
    with pytest.raises(error, match=said):
        fit(points, terms=[term])


@pytest.mark.usefixtures("no_work")
def test_a_list_of_terms_with_names_of_their_own(points: np.ndarray) -> None:
    fine = lambda s, o, b: o.joints[:, :, 0]  # noqa: E731
    for wrong in (fine, "terms", 3):
        with pytest.raises(TypeError, match="terms should be a list"):
            fit(points, terms=wrong)
    with pytest.raises(ValueError, match="has a term 'gmm' already"):
        fit(points, terms=[FunctionTerm(fine, "gmm")])


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
    assert "Person 1 is left out" in result.entry({}).text
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
    """Masks, heights, shapes, 3D points, cameras and starts count all people, also those who are left out."""
    hole = np.stack([points, points * 0, points * [0.8, 0.8, 1]])
    two = hole[[0, 2]]
    params = BodyParams.cat([result.params] * 3)
    start = replace(params, betas=params.betas + torch.tensor([[0.0], [9.0], [1.0]]))
    mask = np.zeros(SIZE[::-1], bool)
    mask[20:220, 100:230] = True
    xyz = np.stack([np.c_[np.full((17, 2), 0.1 * i), np.full(17, 3.0 + i), np.ones(17)] for i in range(3)])
    focal = torch.tensor([[400.0, 400.0], [9.0, 9.0], [500.0, 500.0]]).double()
    cameras = replace(hmrfit.Camera.cat([CAMERA] * 3), focal=focal)
    given = {
        "mask": ([mask, np.zeros_like(mask), None], [mask, None]),
        "height": ([1.6, 1.7, 1.9], [1.6, 1.9]),
        "shape": (np.arange(30).reshape(3, 10) / 10, np.r_[0:10, 20:30].reshape(2, 10) / 10),
        "keypoints_3d": (xyz, xyz[[0, 2]]),
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
    """As OpenPose writes them: one of them far outside, one of whom a number is broken."""
    people = [points, points + np.array([9000, 0, 0]), changed(points, (3, 0), 1e60)]
    written = {"people": [{"pose_keypoints_2d": p.flatten().tolist()} for p in people]}
    (tmp_path / "a.json").write_text(json.dumps(written))
    result = fit(tmp_path / "a.json")
    assert result.person_ids == ["0"] and list(result.left_out) == ["1", "2"]


def test_photographs_side_by_side_leave_out_their_own(points: np.ndarray) -> None:
    photos = [read_photo(None, np.stack([points * 0, points]), "coco17", image_size=SIZE) for _ in range(2)]
    first, second = fit_photos(photos, build())
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
    assert finite(replace(result, cost=np.zeros(1), term_cost={})) and not np.isnan(result.cost).any()
    assert "is not finite; the start is returned" in " ".join(result.warnings[0])

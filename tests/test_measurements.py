"""fit() with measurements: what is given arrives, and what is wrong with it is said before any work."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points, free_body

import hmrfit
from hmrfit.build import load_points
from hmrfit.cli.demo import DemoTruth, make_truth
from hmrfit.fitting.terms.height import HeightTerm
from hmrfit.io.image import write_image
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.types import BodyParams

SIZE = (480, 360)
NAN = float("nan")

Floor, Height, Keypoints3D, Mask, Shape = hmrfit.Floor, hmrfit.Height, hmrfit.Keypoints3D, hmrfit.Mask, hmrfit.Shape


@pytest.fixture(scope="module")
def truth() -> DemoTruth:
    return make_truth(free_body(), SIZE[1])


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    """(17, 3) exact COCO keypoints of the true person."""
    return demo_points(SIZE[1])


@pytest.fixture(scope="module")
def plain(points: np.ndarray) -> hmrfit.FitResult:
    """The fit to keypoints alone."""
    return fitted(points)


@pytest.fixture(scope="module")
def mask(truth: DemoTruth) -> np.ndarray:
    body = free_body()
    return BuiltinRenderer().silhouette(body(truth.params).vertices, body.faces, truth.camera)[0].numpy()


def fitted(points: np.ndarray, *measurements: hmrfit.Measurement, **more: object) -> hmrfit.FitResult:
    given = {"keypoint_set": "coco17", "image_size": SIZE, "measurements": measurements} | more
    return hmrfit.fit(None, points, **given)


def changed(points: np.ndarray, where: object, value: object) -> np.ndarray:
    points = points.copy()
    points[where] = value
    return points


def true_joints(truth: DemoTruth) -> np.ndarray:
    """(24, 3) metres."""
    return free_body().points(SMPL24).pose(truth.params).joints[0].numpy()


def joint_error(result: hmrfit.FitResult, truth: DemoTruth) -> float:
    """Metres, where they are."""
    return float(np.linalg.norm(result.joints[0] - true_joints(truth), axis=-1).mean())


def heights(result: hmrfit.FitResult) -> np.ndarray:
    """(N,) metres."""
    return HeightTerm(free_body()).of(result.params.betas).numpy()


# what measurements do


def test_points_in_3d(truth: DemoTruth, points: np.ndarray) -> None:
    without = joint_error(fitted(points, camera=truth.camera), truth)
    known = np.concatenate([true_joints(truth), np.ones((24, 1))], -1)
    found = fitted(points, Keypoints3D(known, "smpl24"), camera=truth.camera)
    assert joint_error(found, truth) < 0.03 < without
    assert "keypoints_3d" in found.term_cost


def test_unseen_points_are_nan(truth: DemoTruth, points: np.ndarray) -> None:
    known = changed(true_joints(truth), 15, NAN)
    assert joint_error(fitted(points, Keypoints3D(known, SMPL24), camera=truth.camera), truth) < 0.03


def test_a_height(truth: DemoTruth, points: np.ndarray) -> None:
    metres = HeightTerm(free_body()).of(truth.params.betas).item()
    assert abs(heights(fitted(points, Height(metres)))[0] - metres) < 0.02


def test_a_mask_as_array_path_and_list(points: np.ndarray, mask: np.ndarray, plain: hmrfit.FitResult, tmp_path) -> None:
    write_image(tmp_path / "mask.png", np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255)
    first, *others = (fitted(points, Mask(m)) for m in (mask, tmp_path / "mask.png", [mask * 1.0], mask[None]))
    assert all(np.array_equal(first.poses, r.poses) for r in others)
    nothing = fitted(points, Mask([None]))
    # without the term, joints that no keypoint moves are left out and filled in: only the solver stops elsewhere
    np.testing.assert_allclose(nothing.poses, plain.poses, atol=1e-2)
    weightless = fitted(points, Mask(mask), weights={"mask": 0.0})
    np.testing.assert_allclose(weightless.poses, nothing.poses, atol=1e-2)


def test_torch_arrays_do_as_well(points: np.ndarray, mask: np.ndarray) -> None:
    found, expected = fitted(points, Mask(torch.from_numpy(mask))), fitted(points, Mask(mask))
    assert np.array_equal(found.poses, expected.poses)


def test_a_known_shape_is_kept(truth: DemoTruth, points: np.ndarray) -> None:
    betas = truth.params.betas[0].numpy()
    assert np.abs(fitted(points, Shape(betas, 0.01)).betas[0] - betas).max() < 0.02
    some = fitted(points, Shape(betas[:3], 0.01)).betas[0]
    assert np.abs(some[:3] - betas[:3]).max() < 0.02


def test_nobody_sinks_into_the_floor(truth: DemoTruth, points: np.ndarray) -> None:
    """A floor 10 cm above where the lower heel would be lifts both heels, one far below it nothing."""
    soles = free_body().points(("left_heel", "right_heel"))
    heels = lambda *known: soles.pose(fitted(points, *known, camera=truth.camera).params).points[0, :, 1]  # noqa: E731
    free = heels()
    floor = free.max().item() - 0.1
    sunk = (free - floor).clamp_min(0)
    lifted = heels(Floor((0, -1, 0), -floor))
    assert (lifted - floor).clamp_min(0).sum() < 0.6 * sunk.sum()
    np.testing.assert_allclose(heels(Floor((0, -1, 0), -(floor + 1))), free, atol=1e-2)


def test_a_standard_deviation_is_taken_at_its_word(points: np.ndarray) -> None:
    """½ ((h − h₀)/σ)² and ½ |(β − β₀)/σ|² are what the energy holds, with weight 1."""
    result = fitted(points, Height(1.9, 0.05), Shape([0.5, -0.5], 0.3))
    eye = torch.eye(3).double().expand(1, 24, 3, 3)
    rest = BodyParams(eye[:, 0], eye[:, 1:], result.params.betas, torch.zeros(1, 3).double())
    y = result.body_model(rest).vertices[0, :, 1]
    off = (y.max() - y.min()).item() - 1.9
    assert result.term_cost["height"][0] == pytest.approx(0.5 * (off / 0.05) ** 2, rel=0.05)
    away = (result.betas[0, :2] - [0.5, -0.5]) / 0.3
    assert result.term_cost["known_shape"][0] == pytest.approx(0.5 * (away**2).sum(), rel=1e-6)


def test_inputs_are_not_changed(truth: DemoTruth, points: np.ndarray, mask: np.ndarray) -> None:
    known = np.concatenate([true_joints(truth), np.ones((24, 1))], -1)
    before = mask.copy(), known.copy()
    fitted(points, Mask(mask), Keypoints3D(known, "smpl24"))
    assert np.array_equal(before[0], mask) and np.array_equal(before[1], known)


def test_how_well_a_height_is_known(points: np.ndarray) -> None:
    """Two centimetres where nothing is said, and as well as is said: the body's height is as near to it."""
    off = {std: abs(heights(fitted(points, Height(1.82, std)))[0] - 1.82) for std in (0.001, 0.02, 0.2)}
    assert off[0.001] < 1e-4 < off[0.02] < 0.02 < off[0.2]
    usual = fitted(points, Height(1.82))
    assert np.array_equal(usual.betas, fitted(points, Height(1.82, 0.02)).betas)
    assert usual.measurements == {"height": "1.82 ± 0.02 m"} and usual.warnings == [[]]
    assert "Given height: 1.82 ± 0.02 m." in usual.entry({}).text
    assert "0.02 by default" in Height.__doc__


def test_a_height_of_some_of_the_people(points: np.ndarray, plain: hmrfit.FitResult) -> None:
    result = fitted(np.stack([points, points]), Height([1.9, None], [0.005, 0.005]))
    assert abs(heights(result)[0] - 1.9) < 0.005 and result.measurements == {"height": "1.9 ± 0.005 m, unknown"}
    np.testing.assert_allclose(result.betas[1], plain.betas[0], atol=1e-2)


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (Height(0.51), "13 standard deviations"),
        (Height(2.5), "metres"),
        (Shape([4.5]), "beta of 4.5"),
        (Shape([[0, -6.0]], 2.0), "6.0"),
    ],
)
def test_implausible_heights_and_shapes_are_warned_of(points: np.ndarray, known: hmrfit.Measurement, said: str) -> None:
    assert any(said in warning for warning in fitted(points, known).warnings[0])


@pytest.fixture(scope="module")
def points_3d(plain: hmrfit.FitResult) -> np.ndarray:
    return np.c_[load_points("free_body", COCO17).pose(plain.params).points[0].numpy(), np.ones(17)]


@pytest.mark.parametrize("row", [[NAN, NAN, NAN, NAN], [NAN, NAN, NAN, 0.0], [1e60, 0, 1, 0.0]])
def test_an_unseen_point_in_3d_may_be_anything(points: np.ndarray, points_3d: np.ndarray, row: list[float]) -> None:
    unseen = fitted(points, Keypoints3D(changed(points_3d, (3, 3), 0.0)))
    assert np.array_equal(fitted(points, Keypoints3D(changed(points_3d, 3, row))).poses, unseen.poses)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_the_length_of_up_counts_for_nothing(points: np.ndarray) -> None:
    one, other = (fitted(points, Floor((0, -s, 0), -0.9 * s)) for s in (1.0, 1e200))
    np.testing.assert_allclose(one.joints, other.joints, atol=1e-9)


def test_what_is_given_for_each_stays_with_its_person(points: np.ndarray) -> None:
    """Masks, heights, shapes and 3D points count all people, also those who are left out."""
    hole = np.stack([points, points * 0, points * [0.8, 0.8, 1]])
    mask = np.zeros(SIZE[::-1], bool)
    mask[30:330, 150:345] = True
    xyz = np.stack([np.c_[np.full((17, 2), 0.1 * i), np.full(17, 3.0 + i), np.ones(17)] for i in range(3)])
    given = [
        (Mask([mask, np.zeros_like(mask), None]), Mask([mask, None])),
        (Height([1.6, 1.7, 1.9]), Height([1.6, 1.9])),
        (Shape(np.arange(30).reshape(3, 10) / 10), Shape(np.r_[0:10, 20:30].reshape(2, 10) / 10)),
        (Keypoints3D(xyz), Keypoints3D(xyz[[0, 2]])),
    ]
    for all_three, those in given:
        full, less = fitted(hole, all_three), fitted(hole[[0, 2]], those)
        assert full.person_ids == ["0", "2"] and np.array_equal(full.trans, less.trans), all_three.name
        with pytest.raises(ValueError, match=r"3|\(3"):
            fitted(hole, those)


# what is refused


class Hat(hmrfit.Measurement):
    """A kind of the user's own, which says nothing."""

    name = "hat"

    def read(self, photo, body):
        raise AssertionError("not before the list is checked")


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("measurements", "error", "said"),
    [
        (Height(1.8), TypeError, "measurements should be a list, such as"),
        (1.8, TypeError, "measurements should be a list"),
        ({"height": 1.8}, TypeError, "measurements should be a list"),
        ([Hat(), 1.8], TypeError, r"should hold hmrfit's Mask, .*, not 1\.8"),
        ([Height], TypeError, "should hold hmrfit's Mask"),
        ("mask.png", TypeError, "should hold hmrfit's Mask"),
        ([Height(1.8), Height(1.9)], ValueError, "two of the kind Height"),
    ],
)
def test_lists_that_are_none(points: np.ndarray, measurements: object, error: type, said: str) -> None:
    """In all three fits."""
    known = {"measurements": measurements, "keypoint_set": "coco17", "image_size": SIZE}
    camera = hmrfit.Camera.from_size(*SIZE)
    with pytest.raises(error, match=said):
        hmrfit.fit(None, points, **known)
    with pytest.raises(error, match=said):
        hmrfit.fit_sequence(np.stack([points] * 2), fps=30, **known)
    with pytest.raises(error, match=said):
        hmrfit.fit_views([None] * 2, [points] * 2, np.stack([np.eye(4)] * 2), cameras=[camera] * 2, **known)


WRONG = [
    (Mask(np.ones((10, 10), bool)), ValueError, "of the image's size"),
    (Mask(np.zeros((360, 480))), ValueError, "is empty"),
    (Mask([]), ValueError, "one for each"),
    (Mask(np.full((360, 480), "a")), ValueError, "booleans or numbers"),
    (Mask("nowhere.png"), FileNotFoundError, r"no image.*nowhere\.png"),
    (hmrfit.Silhouette(np.ones((360, 480), bool), -1), ValueError, "Silhouette's weight should be one number above 0"),
    (Keypoints3D(np.ones((2, 17, 4))), ValueError, "shape"),
    (Keypoints3D(np.ones((5, 4))), ValueError, "5 keypoints"),
    (Keypoints3D(np.full((17, 4), 3000.0)), ValueError, "millimetres"),
    (Keypoints3D(np.full((17, 4), np.inf)), ValueError, "NaN or infinite"),
    (Keypoints3D("x"), TypeError, "keypoints_3d should be x, y, z in metres"),
    (Keypoints3D(np.ones((17, 4)), "coco_71"), ValueError, "Did you mean 'coco17'"),
    *((Height(v), ValueError, "height should be") for v in (NAN, 0.4, 3, 182, [1.8, 1.8], [], [[1.8]], 10**400)),
    *((Height(v), TypeError, "height should be") for v in ("1.8", "tall", True, 1j, {1.8}, ["1.8"])),
    *((Height(1.8, v), ValueError, "std should be") for v in (0, -1, NAN, np.inf, 1e300, [])),
    *((Height(1.8, v), TypeError, "std should be") for v in ("0.1", True, [None])),
    *(
        (Shape(v), ValueError, "shape should be .*betas")
        for v in (NAN, 1e10, [NAN] * 10, [1e10], [], [[]], np.zeros((2, 10)), np.zeros(11), np.zeros((1, 1, 3)))
    ),
    (Shape(np.ones((4, 10))), ValueError, "one row, or one for each of 1 person"),
    *((Shape(v), TypeError, "shape should be") for v in ("0", 1j, [1j] * 3, [True] * 10, [["a"]], object())),
    *((Shape([0.0] * 10, v), ValueError, "standard deviation") for v in (0, -1, NAN, 1e-300, [1] * 3, [])),
    *((Shape([0.0] * 10, v), TypeError, "standard deviation") for v in ("1", True, 1j)),
    (Floor((0, -1, 0), NAN), ValueError, "offset should be metres"),
    (Floor((0, -1, 0), 1e300), ValueError, "offset should be metres"),
    (Floor((1e-300, 0, 0), 1), ValueError, "offset should be metres"),
    (Floor((0, -1, 0), None), TypeError, "offset should be metres"),
    (Floor((0, -1, 0), "1"), TypeError, "offset should be metres"),
    (Floor((0, 0, 0), 1), ValueError, "no length"),
    (Floor((0, 1), 1), ValueError, "shape"),
    (Floor((NAN, 0, 0), 1), ValueError, "up should be three numbers"),
    (Floor(1, 1), ValueError, "up should be three numbers"),
    (Floor("abc", 1), TypeError, "up should be three numbers"),
    (Floor((0, 1j, 0), 1), TypeError, "up should be three numbers"),
    (Floor((0, -1, 0), 1, "left_heel"), TypeError, "a list of names"),
    (Floor((0, -1, 0), 1, None), TypeError, "a list of names"),
    (Floor((0, -1, 0), 1, (3,)), ValueError, "no point 3"),
    (Floor((0, 1, 0), 1, ("left_heal",)), ValueError, "Did you mean 'left_heel'"),
]


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(("known", "error", "said"), WRONG)
def test_measurements_that_are_none(points: np.ndarray, known: hmrfit.Measurement, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        fitted(points, known)


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
def test_points_in_3d_that_are_none(
    points: np.ndarray, points_3d: np.ndarray, no_work: None, where: object, value: float, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        fitted(points, Keypoints3D(changed(points_3d, where, value)))


def test_points_in_3d_that_are_no_numbers(points: np.ndarray, points_3d: np.ndarray, no_work: None) -> None:
    for wrong in (points_3d * 1j, points_3d.astype(str), points_3d > 0):
        with pytest.raises(TypeError, match="keypoints_3d should be x, y, z in metres"):
            fitted(points, Keypoints3D(wrong))
    with pytest.raises(TypeError, match="relative should be True or False"):
        fitted(points, replace(Keypoints3D(points_3d), relative="yes"))

"""fit() with more than keypoints: what is given arrives, and what is wrong with it is said before any work."""

import pickle

import numpy as np
import pytest
import torch

import hmrfit
from hmrfit.build import build
from hmrfit.cli.demo import Truth, make_truth
from hmrfit.fitting.terms.height import KnownHeight
from hmrfit.io.image import write_image
from hmrfit.keypoints import SMPL24
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.types import BodyParams

SIZE = (480, 360)


@pytest.fixture(scope="module")
def truth() -> Truth:
    return make_truth(build().fitter.body, SIZE[1])


def fitted(truth: Truth, **more) -> hmrfit.FitResult:
    points = np.concatenate([truth.clean.xy[0].numpy(), np.ones((17, 1))], 1)
    return hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, **more)


def true_joints(truth: Truth) -> np.ndarray:
    """(24, 3) metres."""
    return build().fitter.body.points(SMPL24).pose(truth.params).joints[0].numpy()


def joint_error(result: hmrfit.FitResult, truth: Truth) -> float:
    """Metres, where they are."""
    return float(np.linalg.norm(result.joints[0] - true_joints(truth), axis=-1).mean())


@pytest.fixture(scope="module")
def mask(truth: Truth) -> np.ndarray:
    body = build().fitter.body
    return BuiltinRenderer().silhouette(body(truth.params).vertices, body.faces, truth.camera)[0].numpy()


def test_points_in_3d_and_height(truth: Truth) -> None:
    without = joint_error(fitted(truth, camera=truth.camera), truth)
    points = np.concatenate([true_joints(truth), np.ones((24, 1))], -1)
    with_points = fitted(truth, camera=truth.camera, keypoints_3d=points, keypoint_set_3d="smpl24")
    assert joint_error(with_points, truth) < 0.03 < without
    assert "keypoints_3d" in with_points.term_cost
    height = KnownHeight(build().fitter.body)
    metres = height.of(truth.params.betas).item()
    found = height.of(fitted(truth, height=metres).params.betas).item()
    assert abs(found - metres) < 0.02


def test_unseen_points_are_nan(truth: Truth) -> None:
    points = true_joints(truth)
    points[15] = np.nan
    assert joint_error(fitted(truth, camera=truth.camera, keypoints_3d=points, keypoint_set_3d=SMPL24), truth) < 0.03


def test_a_mask_as_array_path_and_list(truth: Truth, mask: np.ndarray, tmp_path) -> None:
    write_image(tmp_path / "mask.png", np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255)
    first, *others = (fitted(truth, mask=m) for m in (mask, tmp_path / "mask.png", [mask * 1.0]))
    assert all(np.array_equal(first.poses, r.poses) for r in others)
    nothing = fitted(truth, mask=[None])
    # without the term, joints that no keypoint moves are left out and filled in: only the solver stops elsewhere
    np.testing.assert_allclose(nothing.poses, fitted(truth).poses, atol=1e-2)
    weightless = fitted(truth, mask=mask, weights={"mask": 0.0})
    np.testing.assert_allclose(weightless.poses, nothing.poses, atol=1e-2)


def test_a_known_shape_is_kept(truth: Truth) -> None:
    betas = truth.params.betas[0].numpy()
    assert np.abs(fitted(truth, shape=(betas, 0.01)).betas[0] - betas).max() < 0.02
    some = fitted(truth, shape=(betas[:3], 0.01)).betas[0]
    assert np.abs(some[:3] - betas[:3]).max() < 0.02


def test_nobody_sinks_into_the_floor(truth: Truth) -> None:
    """A floor 10 cm above where the lower heel would be lifts both heels, one far below it nothing."""
    soles = build().fitter.body.points(("left_heel", "right_heel"))
    heels = lambda **more: soles.pose(fitted(truth, camera=truth.camera, **more).params).points[0, :, 1]  # noqa: E731
    free = heels()
    floor = free.max().item() - 0.1
    sunk = (free - floor).clamp_min(0)
    lifted = heels(ground=hmrfit.Floor((0, -1, 0), -floor))
    assert (lifted - floor).clamp_min(0).sum() < 0.6 * sunk.sum()
    np.testing.assert_allclose(heels(ground=hmrfit.Floor((0, -1, 0), -(floor + 1))), free, atol=1e-2)


WRONG = {
    "mask": [
        (np.ones((10, 10), bool), "of the image's size"), (np.zeros((360, 480)), "is empty"), ([], "one for each"),
        (np.full((360, 480), "a"), "booleans or numbers"),
    ],
    "keypoints_3d": [
        (np.ones((2, 17, 4)), "shape"), (np.ones((5, 4)), "5 keypoints"), (np.full((17, 4), 3000.0), "millimetres"),
        (np.full((17, 4), np.inf), "NaN or infinite"), ("x", "metres"),
    ],
    "height": [(182, "metres"), (np.nan, "NaN"), ([1.7, 1.8], "shape"), ("tall", "metres")],
    "shape": [(np.ones(11), "betas"), ((np.ones(3), 0), "above 0"), (np.ones((4, 10)), "people")],
    "ground": [
        ((0, 1, 0), "Floor"), (hmrfit.Floor((0, 0, 0), 1), "no length"), (hmrfit.Floor((0, 1), 1), "shape"),
        (hmrfit.Floor((0, 1, 0), 1, ("left_heal",)), "left_heel"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "value", "said"), [(k, v, s) for k, many in WRONG.items() for v, s in many])
def test_letters(truth: Truth, name: str, value, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        fitted(truth, **{name: value})


def test_inputs_are_not_changed(truth: Truth, mask: np.ndarray) -> None:
    points = np.concatenate([true_joints(truth), np.ones((24, 1))], -1)
    before = mask.copy(), points.copy()
    fitted(truth, mask=mask, keypoints_3d=points, keypoint_set_3d="smpl24")
    assert np.array_equal(before[0], mask) and np.array_equal(before[1], points)


def test_torch_arrays_do_as_well(truth: Truth, mask: np.ndarray) -> None:
    assert np.array_equal(fitted(truth, mask=torch.from_numpy(mask)).poses, fitted(truth, mask=mask).poses)


def test_a_free_focal_length_says_what_it_is(truth: Truth) -> None:
    """Where its prior begins it is 600 px; the truth is 444."""
    free, assumed = fitted(truth, focal="free"), fitted(truth)
    assert free.focal_source.startswith("fitted beside the people") and "right to about" in free.focal_source
    assert not free.focal_known and not assumed.focal_known
    assert 200 < free.camera.focal[0, 0] < 1700 and free.camera.focal[0, 0] != assumed.camera.focal[0, 0]


def test_the_result_says_what_a_wrong_focal_length_does(truth: Truth, tmp_path) -> None:
    """A fifth longer is about a fifth farther away, and moves the joints by centimetres at most; a new fit agrees."""
    result = fitted(truth)
    effect = result.focal_effect
    assert effect is result.focal_effect is hmrfit.focal_effect(result)
    assert effect.depth[0].item() == pytest.approx(0.2 * result.joints[0, 0, 2], rel=0.15)
    assert 0 < effect.joints.max() < 0.1 and effect.joints[0, 0] == 0
    longer = fitted(truth, focal=1.2 * float(result.camera.focal[0, 0]))
    assert longer.joints[0, 0, 2] - result.joints[0, 0, 2] == pytest.approx(effect.depth[0].item(), rel=0.1)
    half = hmrfit.focal_effect(result, 1.1)
    result.save(tmp_path / "a.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "a.npz")
    assert torch.equal(loaded.focal_effect.moved, effect.moved) and torch.equal(loaded.focal_effect.depth, effect.depth)
    torch.testing.assert_close(hmrfit.focal_effect(loaded, 1.1).joints, half.joints, rtol=0.2, atol=1e-3)
    torch.testing.assert_close(hmrfit.focal_effect(loaded, 1.1).depth, half.depth, rtol=0.02, atol=0)
    for factor, error in (
        (0, ValueError),
        (np.nan, ValueError),
        (10**400, ValueError),
        ("2", TypeError),
        (True, TypeError),
    ):
        with pytest.raises(error, match="factor should be a number above 0"):
            hmrfit.focal_effect(result, factor)
    with pytest.raises(TypeError, match="about a result"):
        hmrfit.focal_effect(result.params)


def test_where_the_focal_length_is_known_its_effect_is_not_saved_unless_asked_for(truth: Truth, tmp_path) -> None:
    result = fitted(truth, focal=500.0)
    result.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"its own is known.*before saving it"):
        _ = hmrfit.FitResult.load(tmp_path / "a.npz").focal_effect
    effect = result.focal_effect
    result.save(tmp_path / "a.npz")
    assert torch.equal(hmrfit.FitResult.load(tmp_path / "a.npz").focal_effect.moved, effect.moved)


HELD = {
    "mask": {},
    "keypoints_3d": {"keypoint_set_3d": "smpl24"},
    "height": {"height": 1.7},
    "terms": {"terms": [lambda state, output, observation: 10 * output.joints[:, :1, 2] - 30], "weights": {"shape": 3}},
    "preset": {"config": "fit_spin"},
}


@pytest.mark.parametrize("name", HELD)
def test_what_else_was_known_is_in_the_effect(truth: Truth, mask: np.ndarray, name: str, tmp_path) -> None:
    """As new fits with the other focal length have it: within a third of the change, or 3.5 mm and 5 cm. New fits also
    start elsewhere, since the network looks at the focal length, and the effect leaves the start where it is: 3 mm."""
    more = {"mask": {"mask": mask}, "keypoints_3d": {"keypoints_3d": np.c_[true_joints(truth), np.ones(24)]}}
    given = {**HELD[name], **more.get(name, {})}
    result = fitted(truth, **given)
    longer = fitted(truth, **given, focal=1.2 * float(result.camera.focal[0, 0]))
    moved = longer.joints[0] - result.joints[0]
    about, said = moved - moved[:1], result.focal_effect.moved[0].numpy()
    off, size = np.linalg.norm(said - about, axis=1).mean(), np.linalg.norm(about, axis=1).mean()
    assert off < max(size / 3, 0.0035), (name, off, size)
    assert result.focal_effect.depth[0].item() == pytest.approx(moved[0, 2], rel=0.15, abs=0.05)
    copied = pickle.loads(pickle.dumps(result))
    assert copied.energy is None and torch.equal(copied.focal_effect.moved, result.focal_effect.moved)


def test_a_standard_deviation_is_taken_at_its_word(truth: Truth) -> None:
    """½ ((h − h₀)/σ)² and ½ |(β − β₀)/σ|² are what the energy holds, with weight 1."""
    result = fitted(truth, height=1.9, height_std=0.05, shape=([0.5, -0.5], 0.3))
    eye = torch.eye(3).double().expand(1, 24, 3, 3)
    rest = BodyParams(eye[:, 0], eye[:, 1:], result.params.betas, torch.zeros(1, 3).double())
    y = result.body_model(rest).vertices[0, :, 1]
    off = (y.max() - y.min()).item() - 1.9
    assert result.term_cost["height"][0] == pytest.approx(0.5 * (off / 0.05) ** 2, rel=0.05)
    away = (result.betas[0, :2] - [0.5, -0.5]) / 0.3
    assert result.term_cost["known_shape"][0] == pytest.approx(0.5 * (away**2).sum(), rel=1e-6)

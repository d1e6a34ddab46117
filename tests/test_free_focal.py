"""A free focal length says what it is, and what another one would change is what new fits with it find."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points, free_body

import hmrfit
from hmrfit.cli.demo import DemoTruth, make_truth
from hmrfit.keypoints import SMPL24
from hmrfit.render.backends.builtin import BuiltinRenderer

SIZE = (480, 360)


@pytest.fixture(scope="module")
def truth() -> DemoTruth:
    return make_truth(free_body(), SIZE[1])


def fitted(**more: Any) -> hmrfit.FitResult:
    return hmrfit.fit(None, demo_points(SIZE[1]), **{"keypoint_set": "coco17", "image_size": SIZE} | more)


@pytest.fixture(scope="module")
def plain() -> hmrfit.FitResult:
    return fitted()


def test_a_free_focal_length_says_what_it_is(plain: hmrfit.FitResult) -> None:
    """Where its prior begins it is 600 px; the truth is 444."""
    free, source = fitted(focal="free"), "fitted beside the people"
    assert free.origin.focal_source.startswith(source) and "right to about" in free.origin.focal_source
    assert not free.focal_known and not plain.focal_known
    assert 200 < free.camera.focal[0, 0] < 1700 and free.camera.focal[0, 0] != plain.camera.focal[0, 0]


def test_it_is_fitted_from_a_given_start(truth: DemoTruth, plain: hmrfit.FitResult) -> None:
    """The truth with a standard deviation of half a degree says more of it than the initial estimate does."""
    from_truth = fitted(focal="free", init=truth.params, init_std=0.5)
    off = [abs(np.log(float(r.camera.focal[0, 0] / truth.camera.focal[0, 0]))) for r in (from_truth, plain)]
    assert off[0] < 0.5 * off[1]
    frames = np.stack([demo_points(SIZE[1])] * 3)
    init = hmrfit.BodyParams.cat([truth.params] * 3)
    given = {"keypoint_set": "coco17", "image_size": SIZE, "init": init, "init_std": 0.5}
    sequence = hmrfit.fit_sequence(frames, fps=30, focal="free", **given)
    assert sequence.camera.focal[0, 0] == pytest.approx(float(from_truth.camera.focal[0, 0]), rel=1e-3)


def test_the_result_says_what_a_wrong_focal_length_does(plain: hmrfit.FitResult, tmp_path) -> None:
    """A fifth longer is about a fifth farther away, and moves the joints by centimetres at most; a new fit agrees."""
    effect = plain.focal_effect()
    assert effect is plain.focal_effect() is plain.focal_effect(factor=1.2) and effect.factor == 1.2
    assert effect.depth[0].item() == pytest.approx(0.2 * plain.joints[0, 0, 2], rel=0.15)
    assert 0 < effect.joints.max() < 0.1 and effect.joints[0, 0] == 0
    longer = fitted(focal=1.2 * float(plain.camera.focal[0, 0]))
    assert longer.joints[0, 0, 2] - plain.joints[0, 0, 2] == pytest.approx(effect.depth[0].item(), rel=0.1)
    half = plain.focal_effect(1.1)
    assert half.factor == 1.1 and half.depth[0].item() == pytest.approx(effect.depth[0].item() / 2, rel=0.05)
    plain.save(tmp_path / "a.npz")
    loaded = hmrfit.FitResult.load(tmp_path / "a.npz")
    found = loaded.focal_effect()
    assert torch.equal(found.moved, effect.moved) and torch.equal(found.depth, effect.depth)
    torch.testing.assert_close(loaded.focal_effect(1.1).joints, half.joints, rtol=0.2, atol=1e-3)
    torch.testing.assert_close(loaded.focal_effect(1.1).depth, half.depth, rtol=0.02, atol=0)


@pytest.mark.parametrize(
    ("factor", "error"),
    [(0, ValueError), (np.nan, ValueError), (10**400, ValueError), ("2", TypeError), (True, TypeError)],
)
def test_factors_that_are_none(plain: hmrfit.FitResult, factor: Any, error: type) -> None:
    with pytest.raises(error, match="factor should be a number above 0"):
        plain.focal_effect(factor)


def test_there_is_one_way_to_ask() -> None:
    assert not hasattr(hmrfit, "focal_effect") and callable(hmrfit.FitResult.focal_effect)
    ways = [name for name in dir(hmrfit.FitResult) if "focal" in name and not name.startswith("_")]
    assert ways == ["focal_effect", "focal_known", "focal_moves"]  # the last: what it found, and saves


def test_where_the_focal_length_is_known_its_effect_is_not_saved_unless_asked_for(tmp_path) -> None:
    result = fitted(focal=500.0)
    result.save(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"its own is known.*before saving it"):
        hmrfit.FitResult.load(tmp_path / "a.npz").focal_effect()
    effect = result.focal_effect()
    result.save(tmp_path / "a.npz")
    assert torch.equal(hmrfit.FitResult.load(tmp_path / "a.npz").focal_effect().moved, effect.moved)


def far(state, output, observation):
    return 10 * output.joints[:, :1, 2] - 30


def known(name: str, truth: DemoTruth) -> dict[str, Any]:
    """What a fit is given beside keypoints, by a name."""
    body = free_body()
    if name == "mask":
        drawn = BuiltinRenderer().silhouette(body(truth.params).vertices, body.faces, truth.camera)[0].numpy()
        return {"measurements": [hmrfit.Mask(drawn)]}
    if name == "keypoints_3d":
        joints = body.points(SMPL24).pose(truth.params).joints[0].numpy()
        return {"measurements": [hmrfit.Keypoints3D(np.c_[joints, np.ones(24)], "smpl24")]}
    return {
        "height": {"measurements": [hmrfit.Height(1.7)]},
        "terms": {"terms": [far, "shape"], "weights": {"shape": 3}},
        "preset": {"config": "fit_spin"},
    }[name]


@pytest.mark.parametrize("name", ["mask", "keypoints_3d", "height", "terms", "preset"])
def test_what_else_was_known_is_in_the_effect(truth: DemoTruth, name: str) -> None:
    """As new fits with the other focal length have it: within a third of the change, or two thirds of how far their
    starts are apart, and 5 cm. New fits start elsewhere, since the network looks at the focal length."""
    given = known(name, truth)
    result = fitted(**given)
    longer = fitted(**given, focal=1.2 * float(result.camera.focal[0, 0]))
    moved = longer.joints[0] - result.joints[0]
    about, said = moved - moved[:1], result.focal_effect().moved[0].numpy()
    off, size = np.linalg.norm(said - about, axis=1).mean(), np.linalg.norm(about, axis=1).mean()
    body, starts = free_body().points(SMPL24), [r.start for r in (result, longer)]
    placed = [body.pose(start).joints[0] for start in starts if start is not None]
    apart = torch.linalg.norm((placed[1] - placed[1][:1]) - (placed[0] - placed[0][:1]), dim=-1).mean().item()
    assert off < max(size / 3, 0.65 * apart), (name, off, size, apart)
    assert result.focal_effect().depth[0].item() == pytest.approx(moved[0, 2], rel=0.15, abs=0.05)
    copied = pickle.loads(pickle.dumps(result))
    assert copied.terms is None and torch.equal(copied.focal_effect().moved, result.focal_effect().moved)

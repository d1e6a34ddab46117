"""Keypoints with wrong names: who is fitted with mended ones, what is said of it, and that nobody else changes."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers.fits import people, photograph, shipped

import hmrfit
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.fit import Fit, Mended
from hmrfit.fitting.mend_labels import as_fitted
from hmrfit.keypoints import COCO17, LIMBS, find_part, limb_of
from hmrfit.network.label_model import EXCHANGES, exchanged_places
from hmrfit.synthetic.people import People
from hmrfit.train.label_training import with_others_limbs
from hmrfit.types import Keypoints

B = 48
AS_THEY_ARE = {"PRIORS.LABELS": ""}


@cache
def right() -> People:
    return people(B, "coco17", noise=0.01)


def exchanged(what: str) -> Keypoints:
    sources = exchanged_places(COCO17)[list(EXCHANGES).index(what)]
    return right().keypoints.rearranged(sources.expand(B, -1))


@cache
def fitted(what: str = "", mend: bool = True) -> Fit:
    keypoints = exchanged(what) if what else right().keypoints
    return shipped(None if mend else AS_THEY_ARE).fit(keypoints, photograph(B))


def error(fit: Fit) -> torch.Tensor:
    """PA-MPJPE (B,) mm of the keypoints' own points."""
    body = shipped().point_body(COCO17)
    return 1e3 * pa_mpjpe(body.pose(fit.state.params).points, body.pose(right().params).points)


@pytest.mark.parametrize("what", ["The arms", "Everything but the face"])
def test_exchanged_people_are_nearer_to_the_truth(what: str) -> None:
    with_them, without = fitted(what), fitted(what, mend=False)
    assert with_them.mended is not None
    mended = with_them.mended.exchanged > 0
    assert mended.sum() >= 6
    assert error(with_them)[mended].mean() < 0.7 * error(without)[mended].mean()
    assert error(with_them).mean() < error(without).mean()


def test_of_right_people_hardly_any_changes_and_the_others_keep_their_bits() -> None:
    with_them, without = fitted(), fitted(mend=False)
    assert with_them.mended is not None and without.mended is None
    same = (with_them.mended.exchanged == 0) & (with_them.mended.left_out == 0)
    assert same.sum() >= B - 1
    assert torch.equal(with_them.state.params.rotations[same], without.state.params.rotations[same])


def test_a_limb_of_somebody_else_is_left_out() -> None:
    keypoints, limb = with_others_limbs(right().keypoints, torch.Generator().manual_seed(0))
    found = shipped().fit(keypoints, photograph(B))
    assert found.mended is not None
    left_out = found.mended.left_out
    assert (left_out == limb)[left_out > 0].double().mean() > 0.8
    assert (left_out > 0).sum() >= 3
    used = found.observation.keypoints.confidence
    for i in (left_out > 0).nonzero()[:, 0].tolist():
        gone = [k for k, name in enumerate(COCO17) if limb_of(name) == LIMBS[int(left_out[i]) - 1]]
        assert not used[i, gone].any()


def test_batch_mates_change_nothing() -> None:
    found = fitted("The arms")
    assert found.mended is not None
    i = int(found.mended.exchanged.argmax())
    alone = shipped().fit(exchanged("The arms")[[i]], photograph(1))
    assert alone.mended is not None and int(alone.mended.exchanged[0]) == int(found.mended.exchanged[i])
    torch.testing.assert_close(alone.state.params.transl[0], found.state.params.transl[i], atol=1e-6, rtol=0)


def given(keypoints: Keypoints, i: int) -> np.ndarray:
    return torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1)[i].numpy()


def test_the_result_warns_and_has_the_keypoints_that_were_fitted() -> None:
    mended = fitted("The arms").mended
    assert mended is not None
    i = int(mended.exchanged.argmax())
    points, size = given(exchanged("The arms"), i), (1024, 768)
    std = np.linspace(0.01, 0.03, 17)
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=size, keypoint_std=std)
    kind = int(mended.exchanged[i]) - 1
    noise = result.fit.keypoint_noise.known[0].numpy()  # of a keypoint, whatever its name
    np.testing.assert_allclose(noise, std[exchanged_places(COCO17)[kind].numpy()])
    assert any("left and right swapped" in warning and "PRIORS.LABELS" in warning for warning in result.warnings[0])
    assert not np.allclose(result.keypoints.xy[0].numpy(), points[:, :2])
    assert float(result.reprojection_error[0]) < 0.05
    as_given = hmrfit.fit(None, points, keypoint_set="coco17", image_size=size, config=AS_THEY_ARE)
    assert np.allclose(as_given.keypoints.xy[0].numpy(), points[:, :2])
    start = hmrfit.fit(None, points, keypoint_set="coco17", image_size=size, init=as_given)
    assert np.allclose(start.keypoints.xy[0].numpy(), points[:, :2])  # who gives a start knows whose it is


def test_what_was_fitted_follows_from_what_was_given_and_mended() -> None:
    keypoints = right().keypoints[:3]
    kinds = list(EXCHANGES)
    mended = Mended(
        torch.tensor([0, 1 + kinds.index("The legs"), 0]), torch.tensor([0, 0, 1 + LIMBS.index("left_arm")])
    )
    found = as_fitted(keypoints, mended)
    assert torch.equal(found.xy[0], keypoints.xy[0]) and torch.equal(found.confidence[0], keypoints.confidence[0])
    left, other = (find_part(COCO17, f"{side}_knee") for side in ("left", "right"))
    assert torch.equal(found.xy[1, left], keypoints.xy[1, other])
    gone = [k for k, name in enumerate(COCO17) if limb_of(name) == "left_arm"]
    assert not found.confidence[2, gone].any()
    assert as_fitted(keypoints, None) is keypoints


def test_nobody_is_mended_in_an_empty_crowd() -> None:
    nobody = right().keypoints[:0]
    assert len(shipped().fit(nobody, photograph(0))) == 0


def test_keypoints_measured_in_3d_keep_their_names() -> None:
    """What was measured has the same names, and would have to be exchanged too."""
    mended = fitted("The arms").mended
    assert mended is not None
    i = int(mended.exchanged.argmax())
    posed = shipped().point_body(COCO17).pose(right().params[[i]])
    known = hmrfit.Keypoints3D(posed.points.numpy(), relative=True)
    points = given(exchanged("The arms"), i)
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=(1024, 768), measurements=[known])
    assert np.allclose(result.keypoints.xy[0].numpy(), points[:, :2])

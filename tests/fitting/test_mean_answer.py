"""The mean of all answers as the answer: between them, at the keypoints, as sure as before; refused without any."""

from functools import cache

import numpy as np
import pytest
import torch
from helpers.fits import people, photograph, shipped

import hmrfit
from hmrfit.build import build_parts
from hmrfit.config import ConfigError, load_config
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.mean_answer import mean_of
from hmrfit.fitting.retry import mean_distance
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import geodesic_angle
from hmrfit.types import Keypoints

B = 12
MEAN = {"FIT.ANSWER": "mean"}


@cache
def seen() -> Keypoints:
    return people(B, "coco17", noise=0.01).keypoints


@cache
def fitted(mean: bool) -> Fit:
    return shipped(MEAN if mean else None).fit(seen(), photograph(B))


def test_the_mean_lies_between_the_answers() -> None:
    fit = fitted(False)
    answers = shipped().answers(fit)
    mean = mean_of(fit.state.params, answers, shipped().body.parents)
    torch.testing.assert_close(mean.rotations.mT @ mean.rotations, torch.eye(3).double().expand(B, 24, 3, 3))
    bodies = torch.stack([state.params.transl for state in answers.hypotheses] + [fit.state.params.transl])
    assert ((mean.transl >= bodies.amin(0) - 1e-9) & (mean.transl <= bodies.amax(0) + 1e-9)).all()


def test_the_answer_moves_and_stays_at_its_keypoints() -> None:
    one, mean, route = fitted(False), fitted(True), shipped().route(COCO17)
    assert geodesic_angle(one.state.params.rotations, mean.state.params.rotations).amax(1).median() > 0.02
    assert mean_distance(mean, route).mean() < 1.2 * mean_distance(one, route).mean()
    assert mean.observation.anchor is not None and one.observation.anchor is not None
    assert torch.equal(mean.observation.anchor.scale, one.observation.anchor.scale)


def test_batch_mates_change_nothing() -> None:
    alone = shipped(MEAN).fit(seen()[:1], photograph(1))
    torch.testing.assert_close(
        alone.state.params.rotations[0], fitted(True).state.params.rotations[0], atol=1e-6, rtol=0
    )


def test_without_other_answers_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="other answers"):
        build_parts(load_config(None, ["FIT.ANSWER=mean", "PRIORS.MIXTURE="]))
    points = torch.cat([seen().xy, seen().confidence[..., None]], -1)[0].numpy()
    with pytest.raises(ValueError, match="changes nothing here"):
        hmrfit.fit(None, points, keypoint_set="coco17", image_size=(1024, 768), config={**MEAN, "FIT.START": "library"})


def test_the_preset_for_offline_work() -> None:
    """Another body, a focal length that is not the assumed one, and no limb inside another."""
    points = torch.cat([seen().xy, seen().confidence[..., None]], -1)[0].numpy()
    size = (1024, 768)
    usual = hmrfit.fit(None, points, keypoint_set="coco17", image_size=size)
    accurate = hmrfit.fit(None, points, keypoint_set="coco17", image_size=size, config="fit_accurate")
    assert accurate.camera.focal[0, 0] != usual.camera.focal[0, 0]
    assert not np.allclose(accurate.joints, usual.joints, atol=1e-3)
    assert "interpenetration" in accurate.fit.stage.weights
    known = hmrfit.fit(None, points, keypoint_set="coco17", image_size=size, config="fit_accurate", focal=900.0)
    assert float(known.camera.focal[0, 0]) == 900.0


def test_a_term_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="interpenetration"):
        build_parts(load_config(None, ["FIT.TERMS=['interpenetratin']"]))

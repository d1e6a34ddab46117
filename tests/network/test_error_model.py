"""The error model: what goes in, what comes out, and that company changes no bit of it."""

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS
from helpers.fits import people, photograph

from hmrfit.network.checkpoints import load_error_model, save_network
from hmrfit.network.encoders import KEYPOINT_NAMES
from hmrfit.network.error_model import INITIAL_NOISE, ErrorModel, PredictedError
from hmrfit.network.initial_estimate import KeypointHmr


@pytest.fixture(scope="module")
def guess() -> KeypointHmr:
    return KeypointHmr.from_file(PRIORS / "keypoint_hmr.npz")


@pytest.fixture(scope="module")
def model(guess: KeypointHmr) -> ErrorModel:
    torch.manual_seed(0)
    return ErrorModel(guess.hmr.encoder.features, rank=4, width=32, blocks=1).eval()


def predicted(model: ErrorModel, guess: KeypointHmr, count: int, rows: slice = slice(None)) -> PredictedError:
    truth = people(count, "coco17", noise=0.01, missing=0.2)[rows]
    answer, seen = guess.forward(truth.keypoints, photograph(len(truth.joints)))
    residuals = 0.02 * torch.ones_like(truth.keypoints.xy)
    return model.predict(seen, answer, residuals, torch.zeros(len(truth.joints), dtype=torch.bool))


def test_shapes_and_ranges(model, guess):
    spread = predicted(model, guess, 6)
    assert spread.scale.shape == (6, 82) and spread.factors.shape == (
        6,
        82,
        2 * 4,
    )  # of the person and the mirror image
    assert spread.noise.shape == (6, len(KEYPOINT_NAMES))
    assert (spread.scale > 0).all() and (spread.noise > 0).all() and (spread.noise <= 1).all()
    assert spread.scale.dtype == torch.float64


def test_company_changes_no_bit(model, guess):
    whole, alone = predicted(model, guess, 6), predicted(model, guess, 6, slice(2, 3))
    for field in ("scale", "factors", "noise"):
        assert torch.equal(getattr(whole, field)[2:3], getattr(alone, field))


def test_what_is_not_seen_does_not_matter(model, guess):
    """Pixels and residuals of a keypoint without confidence."""
    truth = people(3, "coco17")
    keypoints = truth.clean.map(torch.clone)
    keypoints.confidence[:, 9] = 0
    focal_known = torch.zeros(3, dtype=torch.bool)
    spreads = []
    for value in (0.0, 1e5):
        keypoints.xy[:, 9] = value
        answer, seen = guess.forward(keypoints, photograph(3))
        residuals = torch.zeros_like(keypoints.xy)
        residuals[:, 9] = value
        spreads.append(model.predict(seen, answer, residuals, focal_known))
    assert torch.equal(spreads[0].scale, spreads[1].scale) and torch.equal(spreads[0].noise, spreads[1].noise)


def test_names_without_a_slot_get_the_usual_noise(model, guess):
    spread = predicted(model, guess, 2)
    noise = model.noise_of(spread, ("left_wing", "nose"))
    assert (noise[:, 0] == INITIAL_NOISE).all()
    assert torch.equal(noise[:, 1], spread.noise[:, KEYPOINT_NAMES.index("nose")])


def test_a_file_holds_all_of_it(model, guess, tmp_path):
    path = save_network(tmp_path / "errors.npz", model)
    again = load_error_model(path)
    assert torch.equal(predicted(again, guess, 3).factors, predicted(model, guess, 3).factors)
    assert again.nu == model.nu
    with pytest.raises(ValueError, match="holds a HMR, not an error model"):
        load_error_model(PRIORS / "keypoint_hmr.npz")


def test_an_untrained_one_says_what_it_starts_from(model, guess):
    """About 0.15 rad a turn and 1.2 % a keypoint, within what small last layers add."""
    spread = predicted(model, guess, 4)
    assert np.log(0.15) == pytest.approx(spread.scale[:, :72].log().mean().item(), abs=0.3)
    assert np.log(INITIAL_NOISE) == pytest.approx(spread.noise.log().mean().item(), abs=0.3)

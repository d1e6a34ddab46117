"""The error model: its inputs, its outputs, and that they have the same bits in a batch of any size."""

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS
from helpers.fits import people, photograph

from hmrfit.keypoints import resolve_set
from hmrfit.network.checkpoints import load_error_model, save_network
from hmrfit.network.encoders import KEYPOINT_NAMES
from hmrfit.network.error_model import INITIAL_NOISE, ErrorModel, PredictedError
from hmrfit.network.initial_estimate import KeypointHmr


@pytest.fixture(scope="module")
def hmr() -> KeypointHmr:
    return KeypointHmr.from_file(PRIORS / "keypoint_hmr.npz")


@pytest.fixture(scope="module")
def model(hmr: KeypointHmr) -> ErrorModel:
    torch.manual_seed(0)
    return ErrorModel(hmr.hmr.encoder.features, rank=4, width=32, blocks=1).eval()


def predicted(model: ErrorModel, hmr: KeypointHmr, count: int, rows: slice = slice(None)) -> PredictedError:
    truth = people(count, "coco17", noise=0.01, missing=0.2)[rows]
    estimate, encoded = hmr.forward(truth.keypoints, photograph(len(truth.joints)))
    residuals = 0.02 * torch.ones_like(truth.keypoints.xy)
    return model.predict(encoded, estimate, residuals, torch.zeros(len(truth.joints), dtype=torch.bool))


def test_shapes_and_ranges(model, hmr):
    found = predicted(model, hmr, 6)
    assert found.scale.shape == (6, 82)
    assert found.factors.shape == (6, 82, 2 * 4)  # of the person and the mirror image
    assert found.noise.shape == (6, len(KEYPOINT_NAMES))
    assert (found.scale > 0).all() and (found.noise > 0).all() and (found.noise <= 1).all()
    assert found.scale.dtype == torch.float64


def test_a_person_has_the_same_bits_in_a_batch_of_any_size(model, hmr):
    whole, one = predicted(model, hmr, 6), predicted(model, hmr, 6, slice(2, 3))
    for field in ("scale", "factors", "noise"):
        assert torch.equal(getattr(whole, field)[2:3], getattr(one, field))


def test_invisible_keypoints_do_not_matter(model, hmr):
    """Pixels and residuals of a keypoint without confidence."""
    truth = people(3, "coco17")
    keypoints = truth.clean.map(torch.clone)
    keypoints.confidence[:, 9] = 0
    focal_known = torch.zeros(3, dtype=torch.bool)
    outcomes = []
    for value in (0.0, 1e5):
        keypoints.xy[:, 9] = value
        estimate, encoded = hmr.forward(keypoints, photograph(3))
        residuals = torch.zeros_like(keypoints.xy)
        residuals[:, 9] = value
        outcomes.append(model.predict(encoded, estimate, residuals, focal_known))
    assert torch.equal(outcomes[0].scale, outcomes[1].scale) and torch.equal(outcomes[0].noise, outcomes[1].noise)


def test_slots_for_more_names_change_nothing_at_first(hmr):
    """The shipped model's names, and others in another order."""
    shipped = load_error_model(PRIORS / "error_model.npz")
    more = shipped.knowing(("left_wing", *reversed(KEYPOINT_NAMES))).eval()
    one, other = predicted(shipped, hmr, 4), predicted(more, hmr, 4)
    torch.testing.assert_close(other.factors, one.factors, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other.scale, one.scale, rtol=1e-3, atol=1e-5)
    names = resolve_set("coco17")
    torch.testing.assert_close(more.noise_of(other, names), shipped.noise_of(one, names), rtol=1e-3, atol=1e-6)


def test_names_without_a_slot_get_the_usual_noise(model, hmr):
    found = predicted(model, hmr, 2)
    noise = model.noise_of(found, ("left_wing", "nose"))
    assert (noise[:, 0] == INITIAL_NOISE).all()
    assert torch.equal(noise[:, 1], found.noise[:, KEYPOINT_NAMES.index("nose")])


def test_a_file_holds_all_of_it(model, hmr, tmp_path):
    path = save_network(tmp_path / "errors.npz", model)
    again = load_error_model(path)
    assert torch.equal(predicted(again, hmr, 3).factors, predicted(model, hmr, 3).factors)
    assert again.nu == model.nu
    with pytest.raises(ValueError, match="holds a HMR, not an error model"):
        load_error_model(PRIORS / "keypoint_hmr.npz")


def test_an_untrained_one_predicts_the_initial_scale_and_noise(model, hmr):
    """About 0.15 rad a rotation and 1.2 % a keypoint, within what small last layers add."""
    found = predicted(model, hmr, 4)
    assert np.log(0.15) == pytest.approx(found.scale[:, :72].log().mean().item(), abs=0.3)
    assert np.log(INITIAL_NOISE) == pytest.approx(found.noise.log().mean().item(), abs=0.3)

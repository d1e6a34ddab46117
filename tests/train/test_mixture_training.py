"""Training the mixture: it begins as the initial estimate, its components part, its weights learn which is right."""

from functools import cache

import pytest
import torch

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.network.checkpoints import load_error_model, load_hmr
from hmrfit.network.error_model import PredictedError
from hmrfit.network.hmr import HMR
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.mixture import MixtureModel
from hmrfit.train.error_model_training import Cases
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights
from hmrfit.train.mixture_training import (
    SOFTNESS,
    component_loss,
    mixture_case,
    new_mixture,
    softness,
    train_components,
    train_weights,
    weight_losses,
)
from hmrfit.train.people_stream import PeopleStream
from tests.helpers.training import pool


@cache
def body() -> SmplBody:
    return SmplBody.from_file(locate("free_body")).to(dtype=torch.float32)


@cache
def hmr() -> HMR:
    return load_hmr(locate("keypoint_hmr"))


def mixture(count: int = 3) -> MixtureModel:
    torch.manual_seed(0)
    return new_mixture(hmr(), load_error_model(locate("error_model")), count)


def stream(seed: int = 0, hard: float = 0.0) -> PeopleStream:
    return PeopleStream(body().points(hmr().encoder.names), pool(), torch.Generator().manual_seed(seed), hard=hard)


def cases(model: MixtureModel) -> Cases:
    return Cases(body(), KeypointHmr(hmr()), model.errors, pool(), torch.Generator().manual_seed(1))


def test_a_new_mixture_is_about_the_initial_estimate():
    model, batch = mixture(), stream().batch(16, 1.0)
    phi = hmr().encoder(batch.points, hmr().encoder.names, batch.view)
    theta = hmr().regressor(phi)[-1]
    away = (model.components(phi) - theta[:, None]).abs().mean()
    assert 0 < away < 0.1 * (theta - theta.mean(0)).abs().max()
    assert model.errors.log_weight is not None and model.errors.inputs.weight[:, -1].abs().max() == 0


def test_the_softness_falls_until_the_middle_of_the_run():
    assert [softness(p) for p in (0.0, 0.5, 1.0)] == pytest.approx([SOFTNESS[0], SOFTNESS[1], SOFTNESS[1]])
    assert softness(0.0, begun=True) == SOFTNESS[1]


def test_the_loss_is_a_soft_minimum_over_the_components():
    """For a small τ the best of each person and a fiftieth of the mean; for a large one the mean and the same."""
    model, batch = mixture(), stream().batch(16, 1.0)
    with torch.no_grad():
        phi = hmr().encoder(batch.points, hmr().encoder.names, batch.view)
        points, weights = body().points(LANDMARKS), KeypointLossWeights()
        sharp, L = component_loss(model, phi, batch, points, weights, 1e-4)
        soft, _ = component_loss(model, phi, batch, points, weights, 1e4)
    assert L.shape == (16, 3)
    assert sharp.item() == pytest.approx((L.amin(1).mean() + 0.02 * L.mean()).item(), rel=1e-3)
    assert soft.item() == pytest.approx(1.02 * L.mean().item(), rel=1e-3)


def test_components_come_nearer_to_the_truth_and_part():
    model = mixture()
    lines = [
        line for _, line in train_components(model, hmr(), stream(), body().points(LANDMARKS), 0, count=32, steps=12)
    ]
    assert [line["step"] for line in lines] == list(range(1, 13))
    first, last = (sum(line["best"] for line in part) / 4 for part in (lines[:4], lines[-4:]))
    assert last < first
    assert lines[-1]["best"] < lines[-1]["mean"]


def test_the_weights_loss_prefers_weight_on_the_right_component():
    """All weight on one component, for each: of one person, even weights lie between the best and the worst of them."""
    model = mixture()
    case = mixture_case(cases(model), model, *cases(model).people(1))
    rows = model.count + 1
    with torch.no_grad():
        predicted = model.errors(case.inputs)
        found = []
        for chosen in range(rows):
            logits = torch.full((1, rows), -20.0)
            logits[:, chosen] = 0.0
            one = PredictedError(predicted.scale, predicted.factors, predicted.noise, logits.flatten())
            found.append(weight_losses(case, one, model.errors.nu, rows)["mixture"].item())
        even = PredictedError(predicted.scale, predicted.factors, predicted.noise, torch.zeros(rows))
        mixed = weight_losses(case, even, model.errors.nu, rows)["mixture"].item()
    assert min(found) < mixed < max(found)


def test_a_few_steps_lower_the_loss_of_the_weights_and_leave_the_components():
    model = mixture()
    before = model.regressor.fc1.weight.clone()
    lines = [line for _, line in train_weights(model, cases(model), 0, count=6, steps=6)]
    assert len(lines) == 6 and all(torch.tensor(list(line.values())).isfinite().all() for line in lines)
    assert torch.equal(model.regressor.fc1.weight, before)
    assert not torch.equal(model.errors.log_weight.weight, mixture().errors.log_weight.weight)


def test_hard_people_are_their_fraction_of_a_batch():
    """The rest are drawn as without them, and each has the keypoints of one set."""
    plain, mixed = stream().batch(20, 1.0), stream(hard=0.4).batch(20, 1.0)
    assert len(mixed.points) == 20 and mixed.points.isfinite().all() and plain.points.isfinite().all()
    assert ((mixed.points[..., 2] > 0).sum(1) >= 3).all()
    with pytest.raises(ValueError, match="below 1"):
        stream(hard=1.0)

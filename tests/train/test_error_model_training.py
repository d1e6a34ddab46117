"""Training the error model: its derivatives, its update, and that a few steps lower its losses."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.bodies import PRIORS, free_body
from helpers.fits import gmm, limits
from scipy.stats import multivariate_t

from hmrfit.network.error_model import ErrorModel, PredictedError
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.train.error_model_training import (
    Case,
    Cases,
    linearise,
    losses,
    moved,
    sigma_times,
    student_nll,
    train_error_model,
    update,
)
from hmrfit.train.people_stream import PosePool

RANK = 3


@pytest.fixture(scope="module")
def cases() -> Cases:
    """Poses of the prior; real motion is not needed here."""
    theta = gmm().sample(300, torch.Generator().manual_seed(0)).unflatten(1, (-1, 3)).float()
    poses = torch.cat([torch.zeros(300, 1, 3), theta], 1)
    pool = PosePool(poses, poses, torch.ones(300), gmm(), limits())
    hmr = KeypointHmr.from_file(PRIORS / "keypoint_hmr.npz")
    torch.manual_seed(0)
    model = ErrorModel(hmr.hmr.encoder.features, rank=RANK, width=32, blocks=1)
    return Cases(free_body().to(dtype=torch.float32), hmr, model, pool, torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def case(cases: Cases) -> Case:
    """In float64, so that differences are derivatives."""
    found = cases.batch(4)
    double = lambda record: record.to(torch.float64)  # noqa: E731
    return replace(
        found,
        people=double(found.people),
        body=found.body.to(dtype=torch.float64),
        joints=found.joints.to(dtype=torch.float64),
        camera=double(found.camera),
        anchor=double(found.anchor),
        box=found.box.double(),
    )


def some_prediction(case: Case) -> PredictedError:
    draw = torch.Generator().manual_seed(2)
    B = len(case.box)
    scale = 0.05 + 0.1 * torch.rand(B, 82, generator=draw, dtype=torch.float64)
    return PredictedError(
        scale, torch.randn(B, 82, RANK, generator=draw, dtype=torch.float64), torch.full((B, 66), 0.01).double()
    )


def test_the_chart_derivatives_are_differences(case):
    """J and A away from the start, where the chart is curved."""
    x = 0.2 * torch.randn(4, 86, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, :3] *= 0.1
    at = linearise(case, x)
    for column in (0, 2, 3, 5, 20, 41, 74, 75, 84, 85):
        step = torch.zeros(86).double()
        step[column] = 1e-6
        ends = [linearise(case, x + s) for s in (step, -step)]
        expected = -(ends[0].residuals - ends[1].residuals).flatten(1) / 2e-6
        torch.testing.assert_close(at.J[..., column], expected, rtol=1e-4, atol=1e-5)
        joints = [case.joints.pose(moved(case, x + s)[0]).joints for s in (step, -step)]
        joints = [(j - j[:, :1])[:, 1:].flatten(1) for j in joints]
        torch.testing.assert_close(at.A[..., column], (joints[0] - joints[1]) / 2e-6, rtol=1e-4, atol=1e-6)


def test_the_update_is_the_textbooks(case):
    """Against (Σ⁻¹ + Jᵀ R⁻¹ J)⁻¹ Jᵀ R⁻¹ r with a dense Σ."""
    predicted, x = some_prediction(case), torch.zeros(4, 86).double()
    at = linearise(case, x)
    found, JS, factor = update(case, predicted, x, at)
    sigma = sigma_times(torch.eye(86).double().expand(4, 86, 86), predicted, case)
    torch.testing.assert_close(JS, at.J @ sigma, rtol=1e-9, atol=1e-12)
    R = (factor @ factor.mT - JS @ at.J.mT).diagonal(dim1=1, dim2=2)
    precision = torch.linalg.inv(sigma) + at.J.mT @ (at.J / R[..., None])
    expected = torch.linalg.solve(precision, at.J.mT @ (at.residuals.flatten(1) / R)[..., None]).squeeze(-1)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-8)


def test_the_likelihood_is_scipys():
    generator = torch.Generator().manual_seed(0)
    error, root = torch.randn(5, 3, generator=generator).double(), torch.randn(5, 3, 3, generator=generator).double()
    scale = root @ root.mT + 0.1 * torch.eye(3).double()
    found = student_nll(error, scale, torch.tensor(4.5).double(), floor=0.0)
    for i in range(5):
        expected = -multivariate_t(torch.zeros(3), scale[i], df=4.5).logpdf(error[i].numpy())
        assert found[i].item() == pytest.approx(expected, rel=1e-6)


def test_a_few_steps_lower_the_losses(cases):
    """On held-out people: the batches differ."""
    held_out = [cases.batch(32) for _ in range(3)]
    run = list(train_error_model(cases.model, cases, minutes=0, count=16, steps=40))
    assert [line["step"] for _, line in run] == list(range(1, 41))
    assert all(math.isfinite(value) for _, line in run for value in line.values())
    begun, ended = (total_loss(model, held_out) for model in (untrained(cases), cases.model))
    assert ended < begun


def untrained(cases: Cases) -> ErrorModel:
    """As it was before, with the mean and deviation of its inputs."""
    torch.manual_seed(0)
    model = ErrorModel(cases.hmr.hmr.encoder.features, rank=RANK, width=32, blocks=1)
    model.middle.copy_(cases.model.middle)
    model.spread.copy_(cases.model.spread)
    return model


@torch.no_grad()
def total_loss(model: ErrorModel, held_out: list[Case]) -> float:
    return sum(value.item() for case in held_out for value in losses(case, model(case.inputs), model.nu).values())


def test_hidden_keypoints_change_nothing(case):
    """A keypoint that is not seen moves nothing, wherever it stands."""
    keypoints = case.people.keypoints.map(torch.clone)
    keypoints.confidence[:, 3] = 0
    values = []
    for place in (0.0, 900.0):
        keypoints.xy[:, 3] = place
        hidden = replace(case, people=replace(case.people, keypoints=keypoints))
        values.append(sum(losses(hidden, some_prediction(case), torch.tensor(5.0).double()).values()))
    assert torch.equal(values[0], values[1])

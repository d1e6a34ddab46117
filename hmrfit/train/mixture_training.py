"""Training the mixture beside an initial estimate (`hmrfit.network.mixture`), by likelihood, in two parts.

    components   −τ log (1/K) Σ_k exp(−L_k/τ) + ε mean L_k,     L_k the keypoint HMR's loss of Θ_k     (A, regressor)
    weights      −T log Σ_k w_k exp(−N_k/T) + 5 Σ_k r_k |joints − joints(x_k)| + ...                (error model)

N_k = −Σ_j log t_ν(joint j; C_k) after one Bayesian update of component k by the keypoints, x_k and C_k its mean and
covariance (`hmrfit.train.error_model_training`); r_k ∝ w_k exp(−N_k/T). The errors of a body's 23 joints go together:
they say about as much as 23/T that are independent. τ falls while the components are trained: first all of them learn
from everybody, at the end each from those who look like it. ε keeps components alive that nobody looks like.
"""

import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.network.error_model import ErrorModel, ErrorModelSettings, PredictedError
from hmrfit.network.hmr import HMR
from hmrfit.network.mixture import MixtureModel, components_of
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.synthetic.people import People
from hmrfit.train.error_model_training import WARM_UP, Case, Cases, case_of, descend, marginal_loss, noise_loss, updated
from hmrfit.train.losses import KeypointLossWeights, each_keypoint_loss
from hmrfit.train.people_stream import Batch, PeopleStream, assumed_camera
from hmrfit.train.trainer import rate_factor, set_rate

SOFTNESS = (0.5, 0.1)
"""τ at the beginning and from the middle of the run on; L is about 1."""

ALIVE = 0.02
"""ε."""

TOGETHER = 6.0
"""T."""


def new_mixture(hmr: HMR, errors: ErrorModel, count: int = 4) -> MixtureModel:
    """A mixture whose components are all the initial estimate, up to a little noise, and as wrong as it is.

    errors: the error model of the initial estimate, whose weights the mixture's begins with. Raises ValueError: the
    network has no iterative regressor.
    """
    if not isinstance(hmr.regressor, IterativeRegressor):
        raise ValueError("A mixture's components are made of an iterative regressor, and this network is one of hands.")
    settings: ErrorModelSettings = {**errors.settings(), "weighted": True}
    model = MixtureModel(deepcopy(hmr.regressor), ErrorModel(**settings), count)
    own, given = model.errors.state_dict(), errors.state_dict()
    for name, value in given.items():
        if own[name].shape == value.shape:
            own[name].copy_(value)
    own["inputs.weight"][:, :-1].copy_(given["inputs.weight"])
    own["inputs.weight"][:, -1].zero_()
    for name, last in (("middle", 0.0), ("spread", 1.0)):
        own[name].copy_(torch.cat([given[name], given[name].new_tensor([last])]))
    torch.nn.init.normal_(model.wide.weight, std=0.02)
    torch.nn.init.normal_(model.wide.bias, std=0.3)
    model.regressor.dropout.p = 0.0
    return model.train().requires_grad_(True)


# ---- the components


def softness(progress: float, begun: bool = False) -> float:
    """τ. begun: the components are trained already, and stay apart."""
    first, last = SOFTNESS
    return last if begun else first * (last / first) ** min(1.0, 2 * progress)


def component_loss(
    model: MixtureModel, phi: Tensor, batch: Batch, body: PointBody, weights: KeypointLossWeights, tau: float
) -> tuple[Tensor, Tensor]:
    """(the loss, L (B, K) of the components). phi: (B, features). body: with the points `losses.LANDMARKS`."""
    with torch.autocast(phi.device.type, torch.bfloat16):
        theta = model.components(phi)
    regression = model.layout.regression(theta.float().flatten(0, 1))
    each = batch[torch.arange(len(phi), device=phi.device).repeat_interleave(model.count)]
    L = torch.stack(list(each_keypoint_loss(regression, each, body, weights).values())).sum(0)
    L = L.unflatten(0, (len(phi), model.count))
    soft = -tau * ((-L / tau).logsumexp(1) - math.log(model.count))
    return soft.mean() + ALIVE * L.mean(), L


def train_components(
    model: MixtureModel,
    hmr: HMR,
    stream: PeopleStream,
    body: PointBody,
    minutes: float,
    rate: float = 5e-4,
    count: int = 4096,
    steps: int = 0,
    begun: bool = False,
) -> Iterator[tuple[MixtureModel, dict[str, float]]]:
    """(the averaged model, the losses) after every step; `steps` 0: as many as the minutes allow. begun: the components
    are trained already."""
    own = [*model.narrow.parameters(), *model.wide.parameters(), *model.regressor.parameters()]
    optimizer = torch.optim.AdamW(own, rate, betas=(0.9, 0.98), weight_decay=0.01)
    average, begin, step = deepcopy(model), time.monotonic(), 0
    weights = KeypointLossWeights(adversarial=0.0)
    while (progress := _progress(step, steps, begin, minutes)) < 1:
        set_rate(optimizer, rate * rate_factor(step, WARM_UP, progress))
        batch = stream.batch(count, 1.0)
        with torch.no_grad(), torch.autocast(batch.view.device.type, torch.bfloat16):
            phi = hmr.encoder(batch.points, stream.body.names, batch.view)
        loss, L = component_loss(model, phi.float(), batch, body, weights, softness(progress, begun))
        descend(loss, optimizer, model, average, step)
        step += 1
        best = L.argmin(1).bincount(minlength=model.count) / len(L)
        yield (
            average,
            {
                "loss": loss.item(),
                "mean": L.mean().item(),
                "best": L.amin(1).mean().item(),
                "rarest": best.min().item(),
                "step": step,
                "progress": progress,
            },
        )


# ---- their weights and errors


@torch.no_grad()
def mixture_case(cases: Cases, model: MixtureModel, people: People, body: PointBody, focal_known: Tensor) -> Case:
    """People with all components of their mixtures, K + 1 rows a person, the initial estimate first."""
    camera = assumed_camera(people.camera, focal_known)
    estimate, encoded = cases.hmr.forward(people.keypoints, camera)
    one_sided = replace(encoded, mirrored_phi=None)
    all_of = components_of(model, people.keypoints, camera, estimate, one_sided)
    person = all_of.person
    estimate, encoded = all_of.estimate, all_of.encoded
    return case_of(people[person], body, cases.joints, camera[person], model.errors, estimate, encoded, all_of.first)


def weight_losses(case: Case, predicted: PredictedError, nu: Tensor, rows: int) -> dict[str, Tensor]:
    """Every weighted part of the second loss. rows: K + 1, how many components a person has."""
    nll, distance = updated(case, predicted, nu)
    assert predicted.log_weight is not None
    N = nll.sum(1).unflatten(0, (-1, rows)) / TOGETHER
    log_joint = predicted.log_weight.unflatten(0, (-1, rows)).log_softmax(1) - N
    r = log_joint.detach().softmax(1)
    mean = lambda each: (r * each.unflatten(0, (-1, rows))).sum(1).mean()  # noqa: E731
    return {
        "mixture": -TOGETHER / nll.shape[1] * log_joint.logsumexp(1).mean(),
        "distance": 5.0 * mean(distance.mean(1)),
        "noise": 0.3 * noise_loss(case, predicted),
        "marginal": 0.2 * mean(marginal_loss(case, predicted)),
    }


def train_weights(
    model: MixtureModel,
    cases: Cases,
    minutes: float,
    rate: float = 3e-4,
    count: int = 384,
    steps: int = 0,
) -> Iterator[tuple[MixtureModel, dict[str, float]]]:
    """(the averaged model, the losses) after every step; `steps` 0: as many as the minutes allow. The components stay
    as they are."""
    errors = model.errors
    optimizer = torch.optim.AdamW(errors.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01)
    average, begin, step = deepcopy(model), time.monotonic(), 0
    while (progress := _progress(step, steps, begin, minutes)) < 1:
        set_rate(optimizer, rate * rate_factor(step, WARM_UP, progress))
        case = mixture_case(cases, model, *cases.people(count))
        with torch.autocast(case.box.device.type, torch.bfloat16):
            predicted = errors(case.inputs)
        parts = weight_losses(case, predicted, errors.nu, model.count + 1)
        descend(torch.stack(list(parts.values())).sum(), optimizer, model, average, step)
        step += 1
        yield average, {name: value.item() for name, value in parts.items()} | {"step": step, "progress": progress}


def _progress(step: int, steps: int, begin: float, minutes: float) -> float:
    return step / steps if steps else (time.monotonic() - begin) / (60 * minutes)

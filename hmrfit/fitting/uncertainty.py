"""How sure a fit is: Laplace's approximation about every hypothesis, mixed.

    p(Θ | x) ≈ Σ_h p_h t_ν(Θ_h, C_h),     C_h = H_h⁻¹,     p_h ∝ exp(−E_h) |H_h|^(−1/2)

H_h is the Gauss-Newton Hessian, in all columns of the fit (`state`), of the anchor and keypoints with weights of their
own: the fit's are cautious, they hold on to the start more than is likely. A keypoint's noise there is

    σ_post² = σ² + f² + (g r)²,    or what the user knows in place of all three

with σ as predicted, r the fit's root mean square residual, f and g by where the keypoints come from (`SOURCES_NOISE`):
people and detectors mean points that are a centimetre or two from the body's own, and no prediction was trained on it.
E_h is the energy with these weights at its own minimum near Θ_h. Errors have heavier tails than a Gaussian, so each
component is a multivariate t with the scale matrix C. The two weights and ν are measured on motion that nothing was
fitted on. A joint's position, relative to the pelvis and in the camera's axes, has the scale matrix A C Aᵀ with A its
Jacobian.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from hmrfit.body.points import PointBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.visibility import hidden_fraction
from hmrfit.keypoints import KeypointsFrom, body_places
from hmrfit.types import BodyParams, TensorRecord


@dataclass(frozen=True)
class Weight:
    """Of a term, for a person of whom a fraction h is not seen (`visibility`) and whose keypoints have the noise σ̄ on
    (geometric) average:  w = at · exp(hidden (h − 0.1) + noise (log σ̄ − log 0.011))."""

    at: float
    hidden: float = 0.0
    noise: float = 0.0

    def of(self, observation: Observation) -> Tensor:
        """(B,)."""
        body = list(body_places(observation.keypoints.names))  # points of hands have a noise of their own
        seen = observation.keypoints.presence[:, body]
        count = seen.sum(1)
        exponent = self.hidden * (hidden_fraction(observation.keypoints) - USUAL_HIDDEN)
        if observation.noise is not None:
            level = (observation.noise[:, body].log() * seen).sum(1) / count.clamp_min(1)
            exponent = exponent + self.noise * (level - USUAL_NOISE) * (count > 0)
        return self.at * exponent.exp()


USUAL_HIDDEN, USUAL_NOISE = 0.1, -4.5
"""What the slopes of a `Weight` are about: a tenth not seen, log 0.011."""


@dataclass(frozen=True)
class Calibration:
    """What was measured: the weights of the terms whose Hessian is the inverse covariance, and ν.

    noise: the keypoints' noise that the weights are about: as the error model predicts it, or the residuals of the fit.
    hands: of the points of a body's hands, σ_post is this much of what it would be, since the fit takes it too large.
    """

    weights: Mapping[str, Weight]
    nu: float
    noise: Literal["predicted", "residuals"] = "predicted"
    hands: float = 1.0


MEASURED = Calibration({"anchor": Weight(1.28, 0.28, 0.0), "keypoints": Weight(0.59, 0.31, 0.13)}, 7.0)
"""On 2,400 people of validation motion, each with 1, 2 and 3 % noise and half of the keypoints hidden, those of which
the gap between stated and measured coverage was least: 1.3 points at worst (`benchmarks/uncertainty.py --calibrate`;
without it the benchmark counts on others); then both weights 3 % more, since that search knows only the best
hypothesis, and with the others mixed in 2,000 more people of validation motion were covered a point too often. About
the wider anchor of `hmrfit.fitting.anchor_inflation`."""

GIVEN = Calibration({"anchor": Weight(0.82, 0.06, 0.07), "keypoints": Weight(0.45, 1.04, 0.14)}, 8.0)
"""Of fits from a given start, whose anchor is as wide as its owner says: as measured about the error model's own."""


GAUSSIAN = 1e6
"""So many degrees of freedom are a Gaussian: what stands where nothing was measured."""


SOURCES_NOISE: Mapping[KeypointsFrom, tuple[float, float]] = {
    "labelled": (0.005, 1.0),
    "detector": (0.005, 1.0),
    "exact": (0.0, 0.0),
}
"""(f, g) of the posterior's noise; f a fraction of the box. Chosen on 500 hard people of validation motion
(`hmrfit.synthetic.hard_people`), as labelled and as detected, and looked at on ten real ones; one pair serves both."""

UNKNOWN_SOURCE: KeypointsFrom = "detector"
"""What keypoints are taken for where nobody says it: those of photographs in bulk are detected."""


@dataclass(frozen=True)
class KeypointNoise(TensorRecord):
    """What is known of the noise of B people's keypoints beside the error model's prediction; fractions of the box."""

    floor: Tensor  # (B, 1) f
    residuals: Tensor  # (B, 1) g
    known: Tensor  # (B, K) what the user knows, NaN where nothing is known

    @classmethod
    def of(
        cls, sources: Sequence[KeypointsFrom | None], known: Sequence[NDArray[np.float64] | None], count: int
    ) -> "KeypointNoise":
        """Of each person's source, and of the standard deviations (K,) where they are known. count: K."""
        numbers = torch.tensor([SOURCES_NOISE[source or UNKNOWN_SOURCE] for source in sources], dtype=torch.float64)
        nothing = np.full(count, np.nan)
        stds = torch.tensor(np.stack([nothing if std is None else std for std in known]))
        return cls(numbers[:, :1], numbers[:, 1:], stds)

    @property
    def exact(self) -> Tensor:
        """(B,) bool: the source is "exact", and nothing else is known."""
        return ((self.floor == 0) & (self.residuals == 0))[:, 0] & self.known.isnan().all(1)

    def with_predicted(self, predicted: Tensor, residuals: Tensor, share: Tensor) -> Tensor:
        """σ_post (B, K). predicted: σ (B, K). residuals: r (B, K). share: (K,) how much of f a point has."""
        total = (predicted.square() + (self.floor * share).square() + (self.residuals * residuals).square()).sqrt()
        return torch.where(self.known.isnan(), total, self.known)


RESIDUALS = (1e-3, 0.2)
"""Between which a fit's residuals count, fractions of the box: nobody's keypoints are better than a thousandth."""

OF_HANDS = 0.3
"""How much of f the points of a body's hands have: hands are a tenth of a person, and what annotators mean by a knuckle
is a few millimetres from the joint."""


FLOORS = (1e-9, 1e-6, 1e-3)
"""Of the largest diagonal entry: the first is added where a Hessian would be singular (a column nothing speaks of), the
others to those that rounding has left not positive definite."""


@dataclass(frozen=True)
class Posterior(TensorRecord):
    """B people with H hypotheses each, the best first."""

    probability: Tensor  # (B, H), 0 for hypotheses that are not there
    covariance: Tensor
    """(B, H, P, P) of the columns [transl 3 | joints 3 J | betas S], turns about the camera's axes; 0 of joints that a
    fit does not turn (fingers, jaw and eyes)."""
    nu: float = GAUSSIAN
    noise: Tensor | None = None  # (B, K) σ_post, where the energy's keypoints have a noise; fractions of the box
    towards: Tensor | None = None
    """(B, L) how probable it is that each bone of `limb_bones` points towards the camera, where the answers were then
    moved to show both sides (`open_limbs`): they show a rare side more often than it is true."""


@dataclass(frozen=True)
class Answers(TensorRecord):
    """What may be the answer for B people, H bodies each: the fit's own first."""

    hypotheses: list[State]  # H entries of (B,)
    cost: Tensor  # (B, H) by the energy of the fit, infinite where a person has fewer
    posterior: Posterior | None  # None where nothing is known of it

    def with_hypotheses(self, count: int) -> Self:
        """The same with H = count at least: more that are not there, the first again with probability 0."""
        more = count - len(self.hypotheses)
        if more <= 0:
            return self
        padded = lambda t, value: F.pad(t, (0, more), value=value)  # noqa: E731
        posterior = self.posterior
        if posterior is not None:
            again = posterior.covariance[:, :1].expand(-1, more, -1, -1)
            covariance = torch.cat([posterior.covariance, again], 1)
            posterior = replace(posterior, probability=padded(posterior.probability, 0.0), covariance=covariance)
        hypotheses = self.hypotheses + self.hypotheses[:1] * more
        return replace(self, hypotheses=hypotheses, cost=padded(self.cost, torch.inf), posterior=posterior)

    def as_many_as_there_are(self) -> Self:
        """The same without the last hypotheses, where nobody here has them."""
        there = self.cost.isfinite() if self.posterior is None else self.posterior.probability > 0
        count = max(1, int(there.sum(1).amax())) if len(there) else 1
        if count >= len(self.hypotheses):
            return self
        posterior = self.posterior
        if posterior is not None:
            probability, covariance = posterior.probability[:, :count], posterior.covariance[:, :count]
            posterior = replace(posterior, probability=probability, covariance=covariance)
        return replace(self, hypotheses=self.hypotheses[:count], cost=self.cost[:, :count], posterior=posterior)

    @classmethod
    def cat(cls, records: Sequence[Self]) -> Self:
        """Several batches as one."""
        count = max(len(one.hypotheses) for one in records)
        return super().cat([one.with_hypotheses(count) for one in records])


def hessian(
    body: PointBody,
    terms: Mapping[str, Term],
    weights: Mapping[str, Weight],
    state: State,
    observation: Observation,
    noise: Tensor | None = None,
) -> Tensor:
    """The Gauss-Newton Hessian (B, n, n) in the columns of all driven joints, those that no keypoint shows too.

    noise: (B, K) of the keypoints in it, by default the observation's; the weights are about the observation's.
    """
    seen = observation if noise is None else replace(observation, noise=noise)
    e = Linearization(body, state, seen, Layout.driven(body))
    total = state.params.transl.new_zeros(len(state), e.layout.columns, e.layout.columns)
    for name, weight in weights.items():
        sums = NormalEquations(e)
        terms[name].add(e, sums, 1.0)
        total.addcmul_(weight.of(observation)[:, None, None], sums.finish(e)[2])
    return total


def posterior(
    body: PointBody,
    terms: Mapping[str, Term],
    how: Calibration,
    states: list[State],
    costs: Tensor,
    observation: Observation,
    noise: Tensor | None = None,
    chunk: int = 256,
) -> Posterior:
    """Of the hypotheses that a fit kept.

    Args:
        states: H entries of (B,) people. costs: E (B, H), infinite where there is none. noise: σ_post (B, K), default
            the observation's. chunk: people at a time.
    """
    each = [laplace(body, terms, how, state, observation, noise, chunk) for state in states]
    covariance, log_roots = (torch.stack(parts, 1) for parts in zip(*each, strict=True))
    log_weights = log_roots - costs
    nobody = ~log_weights.isfinite().any(1)
    log_weights[nobody, 0] = 0.0
    return Posterior(log_weights.nan_to_num(-torch.inf).softmax(1), covariance, how.nu, noise)


def laplace(
    body: PointBody,
    terms: Mapping[str, Term],
    how: Calibration,
    state: State,
    observation: Observation,
    noise: Tensor | None = None,
    chunk: int = 256,
) -> tuple[Tensor, Tensor]:
    """(C (B, P, P), log |H|^(−1/2) (B,)) about one state of each person; the rest as in `posterior`."""
    P, own = Layout.everything(body).columns, Layout.driven(body).all_columns
    nothing = state.params.transl.new_zeros(0)
    covariance, log_root = [nothing.view(0, P, 1).expand(0, P, P)], [nothing]
    for part in (slice(i, i + chunk) for i in range(0, len(state), chunk)):
        own_noise = None if noise is None else noise[part]
        factor = cholesky_of_any(hessian(body, terms, how.weights, state[part], observation[part], own_noise))
        covariance.append(_placed(torch.cholesky_inverse(factor), own, P))
        log_root.append(-factor.diagonal(dim1=1, dim2=2).log().sum(-1))
    return torch.cat(covariance), torch.cat(log_root)


def _placed(covariance: Tensor, columns: Tensor, count: int) -> Tensor:
    """(B, n, n) over some of `count` columns -> (B, P, P), 0 in the others."""
    if len(columns) == count:
        return covariance
    placed = covariance.new_zeros(len(covariance), count, count)
    placed[:, columns[:, None], columns] = covariance
    return placed


def residual_noise(body: PointBody, state: State, observation: Observation) -> Tensor:
    """(B, K) root mean square residual of a fit at its seen keypoints, per coordinate, a fraction of the box: the same
    for all of a person's, and another one for those of the hands. Energies without a noise of their own are met more or
    less well, which says something of it.
    """
    keypoints = observation.keypoints
    square = (state.camera.project(body.pose(state.params).points) - keypoints.xy).square().sum(-1)
    found = torch.empty_like(square)
    of_body = list(body_places(keypoints.names))
    for places in (of_body, [k for k in range(len(keypoints.names)) if k not in set(of_body)]):
        seen = keypoints.presence[:, places]
        mean = (square[:, places] * seen).sum(1) / (2 * seen.sum(1).clamp_min(1))
        found[:, places] = (mean.sqrt() / observation.box_size).clamp(*RESIDUALS)[:, None]
    return found


def posterior_noise(
    body: PointBody, state: State, observation: Observation, predicted: Tensor, known: KeypointNoise | None
) -> Tensor:
    """σ_post (B, K) at a state. predicted: σ (B, K). known: None for keypoints that are exact, whose noise is σ."""
    if known is None:
        return predicted
    of_body = set(body_places(observation.keypoints.names))
    share = predicted.new_tensor([1.0 if k in of_body else OF_HANDS for k in range(predicted.shape[1])])
    return known.with_predicted(predicted, residual_noise(body, state, observation), share)


def cholesky_of_any(H: Tensor, first: float = FLOORS[0]) -> Tensor:
    """The lower factors (B, P, P) of Hessians with what is needed to invert them; where they are NaN, nothing is known.

    first: the floor that everyone gets. Where no floor helps, the columns are taken one by one.
    """
    H = (H + H.mT).mul_(0.5).nan_to_num_(0.0, 0.0, 0.0)
    largest = H.diagonal(dim1=1, dim2=2).amax(-1).clamp_min(1e-6)
    factor, info = torch.linalg.cholesky_ex(_raised(H, first * largest))
    for floor in FLOORS[1:]:
        rows = info.nonzero()[:, 0]
        if not len(rows):
            return factor
        factor[rows], info[rows] = torch.linalg.cholesky_ex(_raised(H[rows], floor * largest[rows]))
    rows = info.nonzero()[:, 0]
    alone = torch.maximum(H[rows].diagonal(dim1=1, dim2=2), FLOORS[0] * largest[rows, None])
    factor[rows] = torch.diag_embed(alone.sqrt())
    return factor


def _raised(H: Tensor, floor: Tensor) -> Tensor:
    raised = H.clone()
    raised.diagonal(dim1=1, dim2=2).add_(floor[:, None])
    return raised


def joint_rows(body: PointBody, params: BodyParams) -> Tensor:
    """A (B, K, 3, P): the derivative of the body's points, relative to its root joint, along all columns.

    Args:
        body: with SMPL's joints as its points, the root first.
    """
    posed = body.pose(params)
    eye = body.eye.expand(len(params), len(body.names), 3, 3)
    rows = body.rows(posed, eye)
    return rows - rows[:, :1]


def joint_scale(body: PointBody, params: BodyParams, covariance: Tensor) -> Tensor:
    """(B, K, 3, 3) of the points relative to the root, metres², from a scale matrix (B, P, P) of the columns."""
    A = joint_rows(body, params)
    return (A.flatten(1, 2) @ covariance).view_as(A) @ A.mT


def sample_steps(
    posterior: Posterior, count: int, rng: np.random.Generator, alike: bool = False
) -> tuple[Tensor, Tensor]:
    """(which hypothesis (count, B), steps (count, B, P) from it) drawn from the mixture of t distributions.

    alike: all rows are one person's, and a draw errs in the same way in all of them: with one shape, if they have one.
    """
    B, P = posterior.covariance.shape[0], posterior.covariance.shape[-1]
    if alike and B > 1:
        return _alike_steps(posterior, count, rng)
    edges = posterior.probability.cumsum(1).numpy()
    which = torch.as_tensor((rng.random((count, B, 1)) > edges[None, :, :-1]).sum(-1))
    still = posterior.covariance.diagonal(dim1=-2, dim2=-1) == 0  # columns that a fit leaves alone
    factor = cholesky_of_any((posterior.covariance + torch.diag_embed(still.double())).flatten(0, 1), 0.0)
    factor = factor.view_as(posterior.covariance) * ~still[..., None]
    normal = torch.as_tensor(rng.standard_normal((count, B, P)))
    of_each = factor @ normal.permute(1, 2, 0)[:, None]  # (B, H, P, count): less work than a copy of factors a draw
    steps = of_each[torch.arange(B), which, :, torch.arange(count)[:, None]]
    heavy = torch.as_tensor(posterior.nu / rng.chisquare(posterior.nu, (count, B, 1))).sqrt()
    return which, steps * heavy


def _alike_steps(posterior: Posterior, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """`sample_steps` with the same normal numbers for all rows. The last columns, the shape's, come first in the
    factor, so that equal covariances of the shape give equal shapes."""
    B, P = posterior.covariance.shape[0], posterior.covariance.shape[-1]
    C = posterior.covariance[:, 0].flip(1, 2)
    still = C.diagonal(dim1=-2, dim2=-1) == 0
    factor = cholesky_of_any(C + torch.diag_embed(still.double()), 0.0) * ~still[..., None]
    steps = torch.einsum("bij,sj->sbi", factor, torch.as_tensor(rng.standard_normal((count, P)))).flip(-1)
    heavy = torch.as_tensor(posterior.nu / rng.chisquare(posterior.nu, (count, 1, 1))).sqrt()
    return torch.zeros(count, B, dtype=torch.int64), steps * heavy


def mixed_joint_covariance(
    body: PointBody, hypotheses: list[BodyParams], posterior: Posterior, chunk: int = 256
) -> Tensor:
    """(B, K, 3, 3) metres²: of the points' positions relative to the root about the first hypothesis' own, the t's
    tails and the other hypotheses in it. chunk: hypotheses at a time."""
    probability = posterior.probability
    B, H = probability.shape
    together = max(1, chunk // H)  # people
    if together < B:
        parts = [slice(i, i + together) for i in range(0, B, together)]
        return torch.cat([mixed_joint_covariance(body, [h[p] for h in hypotheses], posterior[p], chunk) for p in parts])
    there = probability > 0
    there[:, 0] = True  # about which all are
    person, which = there.nonzero(as_tuple=True)
    params = BodyParams.cat(hypotheses)[which * B + person]
    placed = body.pose(params).points
    placed = placed - placed[:, :1]
    first = (which == 0).nonzero()[:, 0]
    away = (placed - placed[first][person])[..., None]
    wider = posterior.nu / (posterior.nu - 2)
    own = wider * joint_scale(body, params, posterior.covariance[there]) + away @ away.mT
    return own.new_zeros(B, *own.shape[1:]).index_add(0, person, probability[there][:, None, None, None] * own)

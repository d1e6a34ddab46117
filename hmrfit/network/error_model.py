"""How wrong an initial estimate is: the covariance of its error, and the noise of its keypoints, by a network.

    e ~ N(0, Σ),   Σ = diag(s) (I + U Uᵀ) diag(s)       e in the chart of `fitting.gaussian_prior`, D = 3 J + S numbers
    x_k ~ Π(X_k) + σ_k · box · noise                       σ_k a fraction of the person's box, per coordinate
    (s, U, σ) = MLP(φ, Θ₀, view, and for every keypoint name: x, y, confidence, visibility, residual to Θ₀)

It is trained so that one exact Bayesian update of N(Θ₀, Σ) by the keypoints gives the true joints the highest
likelihood (`hmrfit.train.error_model_training`): Σ is what the fit needs, not how often the estimate alone is right.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmrfit.body.skeleton import SMPL
from hmrfit.keypoints import nearest_definition
from hmrfit.network.encoders import FAR, KEYPOINT_NAMES, EncodedKeypoints, ResidualBlock, begun_as, slots_or_none
from hmrfit.network.inference import pad_rows
from hmrfit.network.mirror import (
    mirrored_chart,
    mirrored_names,
    mirrored_points,
    mirrored_regression,
    mirrored_view,
)
from hmrfit.ops.presence import presence, shown
from hmrfit.types import Regression, TensorRecord

RESIDUAL_UNIT, RESIDUAL_LIMIT = 0.05, 4.0
"""A residual of 5 % of the box is one unit of the network's input, and none counts for more than four."""

SCALE_RANGE, NOISE_RANGE = (-6.0, 2.0), (-7.5, 0.0)
"""Bounds of log s (radians, units of a beta) and of log σ (fractions of the box): beyond them nothing is learned."""

INITIAL_SCALE, INITIAL_NOISE, FACTOR_UNIT = 0.15, 0.012, 0.3
"""Of an untrained network: s of every rotation, σ of every keypoint; and the unit of U."""


@dataclass(frozen=True)
class PredictedError(TensorRecord):
    """Predicted error covariance and keypoint noise, Σ and σ, of B people."""

    scale: Tensor  # (B, D) s
    factors: Tensor  # (B, D, r) U
    noise: Tensor  # (B, N) σ of every keypoint name the network has a slot for
    log_weight: Tensor | None = None  # (B,) of a component of a mixture, up to a constant a person


class ErrorModelSettings(TypedDict):
    """What builds an error model of the same shape."""

    features: int
    joints: int
    betas: int
    rank: int
    width: int
    blocks: int
    names: list[str]
    weighted: NotRequired[bool]


class ErrorModel(nn.Module):
    """The MLP. No batch statistics: people stay independent of their batch."""

    kind = "error_model"
    middle: Tensor  # mean and standard deviation of the inputs, by the names that they have in files
    spread: Tensor

    def __init__(
        self,
        features: int,
        joints: int = len(SMPL),
        betas: int = 10,
        rank: int = 16,
        width: int = 512,
        blocks: int = 2,
        names: Sequence[str] = KEYPOINT_NAMES,
        weighted: bool = False,
    ) -> None:
        """
        Args:
            features: of the initial estimate's encoder. names: the keypoint names that have slots.
            weighted: the estimate is a component of a mixture, whose weight is predicted too (`network.modes`).
        """
        super().__init__()
        self.features, self.joints, self.betas = features, joints, betas
        self.rank, self.width, self.names = rank, width, tuple(names)
        inputs = features + 3 + 6 * joints + betas + 3 + 6 * len(self.names) + 3 + weighted
        self.D = 3 * joints + betas
        self.inputs = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, 0.0) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.scale, self.factors = nn.Linear(width, self.D), nn.Linear(width, self.D * rank)
        self.noise = nn.Linear(width, len(self.names))
        self.log_weight = nn.Linear(width, 1) if weighted else None
        self.register_buffer("middle", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.log_nu = nn.Parameter(torch.tensor(math.log(6.0)))
        if not self.log_nu.is_meta:  # no numbers there, and for a first product torch would import its compiler
            self._initialise()

    def _initialise(self) -> None:
        """Small last layers about `INITIAL_SCALE` and `INITIAL_NOISE`."""
        for layer, gain in ((self.scale, 0.1), (self.factors, 0.3), (self.noise, 0.1)):
            layer.weight.data *= gain
            layer.bias.data.zero_()
        self.scale.bias.data[: 3 * self.joints] = torch.tensor(INITIAL_SCALE).log()
        self.noise.bias.data.fill_(torch.tensor(INITIAL_NOISE).log())

    @property
    def nu(self) -> Tensor:
        """Degrees of freedom of the joints' errors, learned beside Σ; more than 2.5."""
        return 2.5 + self.log_nu.exp()

    def settings(self) -> ErrorModelSettings:
        """What the constructor takes."""
        known: ErrorModelSettings = {
            "features": self.features,
            "joints": self.joints,
            "betas": self.betas,
            "rank": self.rank,
            "width": self.width,
            "blocks": len(self.blocks),
            "names": list(self.names),
        }
        if self.log_weight is not None:
            known["weighted"] = True
        return known

    def knowing(self, names: Sequence[str]) -> "ErrorModel":
        """The same model with slots for other names, to be trained on (`KeypointEncoder.knowing`)."""
        settings: ErrorModelSettings = {**self.settings(), "names": list(names)}
        other, state = ErrorModel(**settings), self.state_dict()
        first = self.features + 3 + 6 * self.joints + self.betas + 3
        for name, value in (("inputs.weight", 0.0), ("middle", 0.0), ("spread", 1.0)):
            columns = state[name].shape[-1]
            sizes = [first, 6 * len(self.names), columns - first - 6 * len(self.names)]
            before, slots, after = state[name].split_with_sizes(sizes, -1)
            each, dim = slots.unflatten(-1, (-1, 6)), slots.ndim - 1
            begun = begun_as(each, self.names, other.names, dim, value).flatten(dim)
            if name == "middle":  # an absent slot's inputs are -middle / spread, which the plain name's gives already
                begun = begun * torch.tensor([n in self.names for n in other.names]).repeat_interleave(6)
            state[name] = torch.cat([before, begun, after], -1)
        for name, value in (("noise.weight", 0.0), ("noise.bias", math.log(INITIAL_NOISE))):
            state[name] = begun_as(state[name], self.names, other.names, value=value)
        other.load_state_dict(state)
        return other

    def forward(self, inputs: Tensor) -> PredictedError:
        """What `encode` makes -> Σ and σ, in float32 or better whatever the products were in."""
        h = self.inputs(((inputs - self.middle) / self.spread).clamp(-6, 6))
        h = self.norm(self.blocks(h))
        scale = self.scale(h).float().clamp(*SCALE_RANGE).exp()
        factors = FACTOR_UNIT * self.factors(h).float().unflatten(1, (self.D, self.rank))
        weight = None if self.log_weight is None else self.log_weight(h).float().squeeze(1)
        return PredictedError(scale, factors, self.noise(h).float().clamp(*NOISE_RANGE).exp(), weight)

    def slots_of(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Which of `names` have a slot, and which: a name that stands twice counts where it stands last."""
        where, slots = _slots_of(names, self.names)
        return where.to(self.middle.device), slots.to(self.middle.device)

    def encode(
        self,
        keypoints: EncodedKeypoints,
        estimate: Regression,
        residuals: Tensor,
        focal_known: Tensor,
        first: Tensor | None = None,
    ) -> Tensor:
        """The network's input (B, n).

        Args:
            keypoints, estimate: what `KeypointHmr.forward` returns.
            residuals: (B, K, 2) keypoint − its projection by the estimate, fractions of the person's box.
            focal_known: (B,) bool, whether the focal length is known rather than assumed.
            first: (B,) bool, of a mixture's components: which are the initial estimate itself.
        """
        points = keypoints.points
        p, q = presence(points[..., 2])[..., None], shown(points[..., 2])[..., None]
        residuals = torch.where(q > 0, residuals, 0.0).to(points)
        count = p.sum(-2)
        size = (p * residuals.square()).sum((-2, -1))[:, None] / count.clamp_min(1)
        xy, units = points[..., :2].clamp(-FAR, FAR), (residuals / RESIDUAL_UNIT).clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT)
        each = torch.cat([q * xy, q * points[..., 2:], q, q * units], -1)
        where, slot = self.slots_of(keypoints.names)
        slots = each.new_zeros(len(each), len(self.names), 6).index_copy(1, slot, each[:, where])
        body = estimate.params
        betas = F.pad(body.betas, (0, self.betas - body.betas.shape[1]))  # a body of others may have fewer
        parts = [keypoints.phi, estimate.weak_camera, body.rotations[..., :2].flatten(1), betas, keypoints.view]
        rest = [slots.flatten(1), focal_known[:, None], 0.5 * (size + 1e-6).log(), count / 10.0]
        if first is not None:
            rest.append(first[:, None])
        return torch.cat([part.to(residuals) for part in (*parts, *rest)], -1)

    def noise_of(self, predicted: PredictedError, names: tuple[str, ...]) -> Tensor:
        """σ (B, K) of a set's keypoints; `INITIAL_NOISE` where the network has no slot for a name."""
        return F.pad(predicted.noise, (0, 1), value=INITIAL_NOISE)[:, slots_or_none(names, self.names)]

    @torch.no_grad()
    def predict(
        self,
        keypoints: EncodedKeypoints,
        estimate: Regression,
        residuals: Tensor,
        focal_known: Tensor,
        first: Tensor | None = None,
    ) -> PredictedError:
        """`forward` of `encode` for inference, in the estimate's precision: the same bits for a person in a batch of
        any size.

        Where the initial estimate is averaged with the mirror image's, so is this: Σ is the mean of both.
        """
        B, names = len(residuals), keypoints.names
        inputs = self.encode(keypoints, estimate, residuals, focal_known, first).to(self.middle)
        if keypoints.mirrored_phi is None:
            return self(pad_rows(inputs, self))[:B].to(estimate.params.betas.dtype)
        mirror_image = EncodedKeypoints(
            mirrored_points(keypoints.points, names), mirrored_view(keypoints.view), keypoints.mirrored_phi, names
        )
        residuals = mirrored_points(residuals, names)
        mirrored = self.encode(mirror_image, mirrored_regression(estimate), residuals, focal_known, first)
        both = torch.cat([inputs, mirrored.to(self.middle)])
        predicted = self(pad_rows(both, self))[: 2 * B].to(estimate.params.betas.dtype)
        return self._average_with_mirror(predicted[:B], predicted[B:])

    def _average_with_mirror(self, person: PredictedError, mirror_image: PredictedError) -> PredictedError:
        """½ (Σ + M Σ' M) as one scale and twice as many factors; σ by its logarithm."""
        scales = person.scale, mirrored_chart(mirror_image.scale, self.joints).abs()
        factors = person.factors, mirrored_chart(mirror_image.factors, self.joints)
        scale = (0.5 * (scales[0].square() + scales[1].square())).sqrt()
        weighted = [0.5**0.5 * (s / scale)[..., None] * U for s, U in zip(scales, factors, strict=True)]
        noise = (person.noise * mirrored_names(mirror_image.noise, self.names)).sqrt()
        log_weight = None
        if person.log_weight is not None and mirror_image.log_weight is not None:
            log_weight = 0.5 * (person.log_weight + mirror_image.log_weight)
        return PredictedError(scale, torch.cat(weighted, -1), noise, log_weight)


@lru_cache(maxsize=64)
def _slots_of(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    place = {near: k for k, name in enumerate(names) if (near := nearest_definition(name, known))}
    slots = [known.index(name) for name in place]
    return torch.tensor(list(place.values()), dtype=torch.int64), torch.tensor(slots, dtype=torch.int64)

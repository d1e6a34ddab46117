"""How wrong an initial estimate is, from what was seen and what was answered: its error's covariance, its keypoints'
noise.

    e ~ N(0, Σ),   Σ = diag(s) (I + U Uᵀ) diag(s)       e in the chart of `hmrfit.fitting.anchor`, D = 3 J + S numbers
    x_k ~ Π(X_k) + σ_k · box · noise                       σ_k a share of the person's box, per coordinate
    (s, U, σ) = MLP(φ, Θ₀, view, and for every keypoint name: x, y, confidence, seen, how far Θ₀ residuals it)

It is trained so that one exact Bayesian update of N(Θ₀, Σ) by the keypoints gives the true joints the highest
likelihood (`hmrfit.train.error_model`): Σ is what the fit needs, not how often the guess alone is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmrfit.network.encoders import FAR, KEYPOINT_NAMES, EncodedKeypoints, ResidualBlock
from hmrfit.network.mirror import (
    mirrored_chart,
    mirrored_names,
    mirrored_points,
    mirrored_regression,
    mirrored_view,
)
from hmrfit.network.packed import pad_rows
from hmrfit.ops.presence import presence, shown
from hmrfit.types import Regression, TensorRecord

RESIDUAL_UNIT, RESIDUAL_LIMIT = 0.05, 4.0
"""A miss of 5 % of the box is one unit of the network's input, and none counts for more than four."""

SCALE_RANGE, NOISE_RANGE = (-6.0, 2.0), (-7.5, 0.0)
"""Bounds of log s (radians, units of a beta) and of log σ (shares of the box): beyond them nothing is learned."""

INITIAL_SCALE, INITIAL_NOISE, FACTOR_UNIT = 0.15, 0.012, 0.3
"""What an untrained network says: s of every turn, σ of every keypoint; and the unit of U."""


@dataclass(frozen=True)
class PredictedError(TensorRecord):
    """Σ and σ of B people."""

    scale: Tensor  # (B, D) s
    factors: Tensor  # (B, D, r) U
    noise: Tensor  # (B, N) σ of every keypoint name the network has a slot for


class ErrorModel(nn.Module):
    """The MLP. No batch statistics: mates do not mix."""

    kind = "error_model"
    middle: Tensor
    spread: Tensor

    def __init__(
        self,
        features: int,
        joints: int = 24,
        betas: int = 10,
        rank: int = 16,
        width: int = 512,
        blocks: int = 2,
        names: Sequence[str] = KEYPOINT_NAMES,
    ) -> None:
        """
        Args:
            features: of the initial estimate's encoder. names: the keypoint names that have slots.
        """
        super().__init__()
        self.features, self.joints, self.betas = features, joints, betas
        self.rank, self.width, self.names = rank, width, tuple(names)
        inputs = features + 3 + 6 * joints + betas + 3 + 6 * len(self.names) + 3
        self.D = 3 * joints + betas
        self._slot = {name: i for i, name in enumerate(self.names)}
        self.inputs = nn.Linear(inputs, width)
        self.blocks = nn.Sequential(*(ResidualBlock(width, 0.0) for _ in range(blocks)))
        self.norm = nn.LayerNorm(width)
        self.scale, self.factors = nn.Linear(width, self.D), nn.Linear(width, self.D * rank)
        self.noise = nn.Linear(width, len(self.names))
        self.register_buffer("middle", torch.zeros(inputs))
        self.register_buffer("spread", torch.ones(inputs))
        self.log_nu = nn.Parameter(torch.tensor(6.0).log())
        self._begin()

    def _begin(self) -> None:
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

    def settings(self) -> dict[str, Any]:
        """What the constructor takes."""
        return {
            "features": self.features,
            "joints": self.joints,
            "betas": self.betas,
            "rank": self.rank,
            "width": self.width,
            "blocks": len(self.blocks),
            "names": list(self.names),
        }

    def forward(self, inputs: Tensor) -> PredictedError:
        """What `encode` makes -> Σ and σ, in float32 or better whatever the products were in."""
        h = self.inputs(((inputs - self.middle) / self.spread).clamp(-6, 6))
        h = self.norm(self.blocks(h))
        scale = self.scale(h).float().clamp(*SCALE_RANGE).exp()
        factors = FACTOR_UNIT * self.factors(h).float().unflatten(1, (self.D, self.rank))
        return PredictedError(scale, factors, self.noise(h).float().clamp(*NOISE_RANGE).exp())

    def slots_of(self, names: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Which of `names` have a slot, and which: a name that stands twice counts where it stands last."""
        where, slots = _slots_of(names, self.names)
        return where.to(self.middle.device), slots.to(self.middle.device)

    def encode(self, seen: EncodedKeypoints, answer: Regression, residuals: Tensor, focal_known: Tensor) -> Tensor:
        """The network's input (B, n).

        Args:
            residuals: (B, K, 2) keypoint − its projection by the answer, shares of the person's box.
            focal_known: (B,) bool, whether the focal length is known rather than assumed.
        """
        p, q = presence(seen.points[..., 2])[..., None], shown(seen.points[..., 2])[..., None]
        residuals = torch.where(q > 0, residuals, 0.0).to(seen.points)
        count = p.sum(-2)
        size = (p * residuals.square()).sum((-2, -1))[:, None] / count.clamp_min(1)
        xy = seen.points[..., :2].clamp(-FAR, FAR)
        each = torch.cat(
            [
                q * xy,
                q * seen.points[..., 2:],
                q,
                q * (residuals / RESIDUAL_UNIT).clamp(-RESIDUAL_LIMIT, RESIDUAL_LIMIT),
            ],
            -1,
        )
        where, slot = self.slots_of(seen.names)
        slots = each.new_zeros(len(each), len(self.names), 6).index_copy(1, slot, each[:, where])
        body = answer.params
        betas = F.pad(body.betas, (0, self.betas - body.betas.shape[1]))  # a body of others may have fewer
        parts = [seen.phi, answer.weak_camera, body.rotations[..., :2].flatten(1), betas, seen.view]
        rest = [slots.flatten(1), focal_known[:, None], 0.5 * (size + 1e-6).log(), count / 10.0]
        return torch.cat([part.to(residuals) for part in (*parts, *rest)], -1)

    def noise_of(self, spread: PredictedError, names: tuple[str, ...]) -> Tensor:
        """σ (B, K) of a set's keypoints; `INITIAL_NOISE` where the network has no slot for a name."""
        slots = [self._slot.get(name, len(self.names)) for name in names]
        return F.pad(spread.noise, (0, 1), value=INITIAL_NOISE)[:, slots]

    @torch.no_grad()
    def predict(
        self, seen: EncodedKeypoints, answer: Regression, residuals: Tensor, focal_known: Tensor
    ) -> PredictedError:
        """`forward` for inference, in the answer's precision: the same bits for a person in a batch of any size.

        Where the initial estimate was asked about the mirror image too, so is this: Σ is the mean of both.
        """
        B = len(residuals)
        inputs = self.encode(seen, answer, residuals, focal_known).to(self.middle)
        if seen.mirrored_phi is None:
            return self(pad_rows(inputs, self))[:B].to(answer.params.betas.dtype)
        image = EncodedKeypoints(
            mirrored_points(seen.points, seen.names), mirrored_view(seen.view), seen.mirrored_phi, seen.names
        )
        residuals = mirrored_points(residuals, seen.names)
        also = self.encode(image, mirrored_regression(answer), residuals, focal_known).to(self.middle)
        spread = self(pad_rows(torch.cat([inputs, also]), self))[: 2 * B].to(answer.params.betas.dtype)
        return self._average_with_mirror(spread[:B], spread[B:])

    def _average_with_mirror(self, person: PredictedError, image: PredictedError) -> PredictedError:
        """½ (Σ + M Σ' M) as one scale and twice as many factors; σ by its logarithm."""
        scales = person.scale, mirrored_chart(image.scale, self.joints).abs()
        factors = person.factors, mirrored_chart(image.factors, self.joints)
        scale = (0.5 * (scales[0].square() + scales[1].square())).sqrt()
        weighted = [0.5**0.5 * (s / scale)[..., None] * U for s, U in zip(scales, factors, strict=True)]
        noise = (person.noise * mirrored_names(image.noise, self.names)).sqrt()
        return PredictedError(scale, torch.cat(weighted, -1), noise)


@lru_cache(maxsize=64)
def _slots_of(names: tuple[str, ...], known: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    place = {name: k for k, name in enumerate(names) if name in known}
    slots = [known.index(name) for name in place]
    return torch.tensor(list(place.values()), dtype=torch.int64), torch.tensor(slots, dtype=torch.int64)

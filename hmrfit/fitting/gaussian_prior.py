"""A prior anchored at a start Θ₀ whose error is known: how far, by joint and by direction, it may be off.

    e_j = G⁰_j log(R⁰_jᵀ R_j)  for every joint j, the root first;     e_β = β − β⁰            (D = 3 J + S numbers)
    E = ½ eᵀ Σ⁻¹ e + ½ |(t − t⁰)/σ_t|²,      Σ = diag(s) (I + U Uᵀ) diag(s),      s (B, D),  U (B, D, r)

G⁰_j is the world rotation of joint j at the start, so e_j is a turn about the camera's axes, and what a photograph says
little of (turns out of the image plane) is a direction of its own. U says which errors go together: a pelvis that
leans and the thighs that make up for it. As residuals r = Lᵀ e with L Lᵀ = Σ⁻¹, which is a diagonal and, of the rank
of U, what the errors that go together take off it:

    Σ⁻¹ = diag(s)⁻² − A Aᵀ,      A = diag(s)⁻¹ U C⁻ᵀ,  C Cᵀ = I + Uᵀ U                             (Woodbury)

Of joints that no keypoint shows, only what the others imply is known: leaving them out is Σ without their rows, and
their likeliest values given the others are e_u = s_u U_u (I + U_oᵀ U_o)⁻¹ U_oᵀ (e_o / s_o).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import radians

import torch
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.body.transfer import transferred
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.ops.skinning import world_rotations
from hmrfit.types import BodyParams, TensorRecord

LATERAL, DEPTH = 0.15, 0.5
"""Standard deviations of the start's translation as shares of its depth: wide, the keypoints say it far better."""

INIT_STD_DEGREES, INIT_STD_BETAS = 7.0, 0.7
"""What is assumed of a start that its owner says nothing about: degrees per joint and axis, and units of a beta."""

UNKNOWN_DEGREES, UNKNOWN_FACING, UNKNOWN_BETAS = 35.0, 90.0, 1.0
"""Standard deviations where nothing was seen: of a joint's rotation about an axis in motion, of the whole body's,
and of a beta in the population."""


SILENT = 1e4
"""Radians: a prior of this standard deviation says nothing of a turn."""


@dataclass(frozen=True)
class Anchor(TensorRecord):
    """Θ₀ of B people and the covariance of its error."""

    rotations: Tensor  # (B, J, 3, 3) R⁰
    world: Tensor  # (B, J, 3, 3) G⁰
    betas: Tensor  # (B, S)
    transl: Tensor  # (B, 3)
    scale: Tensor  # (B, D) s: radians, and units of a beta
    factors: Tensor  # (B, D, r) U
    transl_std: Tensor  # (B, 3) metres
    common: Tensor | None = None  # (B, d, r) A over a stage's own coordinates
    coordinates: tuple[int, ...] = ()  # those that `common` is over

    @classmethod
    def at(cls, params: BodyParams, parents: Sequence[int], scale: Tensor, factors: Tensor) -> "Anchor":
        """Around a start, its translation as uncertain as LATERAL and DEPTH say."""
        rotations, depth = params.rotations, params.transl[:, 2:].abs().clamp_min(0.1)
        std = torch.cat([LATERAL * depth, LATERAL * depth, DEPTH * depth], -1)
        world = world_rotations(rotations, parents)
        return cls(rotations, world, params.betas, params.transl, scale, factors, std)

    @classmethod
    def around(
        cls,
        params: BodyParams,
        parents: Sequence[int],
        degrees: float | Tensor = INIT_STD_DEGREES,
        betas: float = INIT_STD_BETAS,
    ) -> "Anchor":
        """Around a user's start with independent errors.

        Args:
            degrees: standard deviation of each joint's rotation about each axis; one number, or (J,), (B, J) of them.
            betas: of each shape component.
        """
        B, J, S = len(params), params.rotations.shape[1], params.betas.shape[1]
        std = torch.deg2rad(torch.as_tensor(degrees).to(params.transl)).expand(B, J)
        scale = torch.cat([std.repeat_interleave(3, 1), params.betas.new_full((B, S), betas)], 1)
        return cls.at(params, parents, scale, scale.new_zeros(B, scale.shape[1], 1))

    def unknown(self, amount: Tensor) -> "Anchor":
        """The same as far as `amount` (B,) is 0; where it is 1, nothing is known but that this is a person."""
        J, S = self.rotations.shape[1], self.betas.shape[1]
        degrees = torch.tensor([UNKNOWN_FACING] * 3 + [UNKNOWN_DEGREES] * (3 * (J - 1)))
        scale = torch.cat([torch.deg2rad(degrees), torch.full((S,), UNKNOWN_BETAS)]).to(self.scale)
        amount = amount[:, None]
        factors = self.factors * (1 - amount[..., None])
        return replace(self, scale=torch.lerp(self.scale, scale.expand_as(self.scale), amount), factors=factors)

    def of_unknown_shape(self) -> "Anchor":
        """The same with betas of which only the population is known; as many as `betas` has."""
        turns = 3 * self.rotations.shape[1]
        scale = torch.cat([self.scale[:, :turns], torch.full_like(self.betas, UNKNOWN_BETAS)], 1)
        nothing = self.factors.new_zeros(len(scale), self.betas.shape[1], self.factors.shape[-1])
        return replace(self, scale=scale, factors=torch.cat([self.factors[:, :turns], nothing], 1))

    def of_shapes(self, people: Tensor, covariance: Tensor) -> "Anchor":
        """The same with this covariance (B, S, S) of the betas of some people (B,) bool, independent of their pose."""
        turns, S = 3 * self.rotations.shape[1], self.betas.shape[1]
        least = 0.999 * torch.linalg.eigvalsh(covariance)[:, 0]
        own = torch.linalg.cholesky(covariance / least[:, None, None] - torch.eye(S).to(covariance))
        some = people[:, None, None]
        of_betas = torch.where(some, 0.0, self.factors[:, turns:]), torch.where(some, own, 0.0)
        nothing = self.factors.new_zeros(len(own), turns, S)
        factors = torch.cat([torch.cat([self.factors[:, :turns], nothing], 2), torch.cat(of_betas, 2)], 1)
        betas = torch.where(people[:, None], least.sqrt()[:, None], self.scale[:, turns:])
        return replace(self, scale=torch.cat([self.scale[:, :turns], betas], 1), factors=factors)

    def with_betas(self, count: int) -> "Anchor":
        """The same of a body with more betas, up to `count`, of which only the population is known."""
        more = count - self.betas.shape[1]
        if more <= 0:
            return self
        zeros = self.betas.new_zeros(len(self.betas), more)
        factors = torch.cat([self.factors, zeros[..., None].expand(-1, -1, self.factors.shape[-1])], 1)
        scale = torch.cat([self.scale, zeros + UNKNOWN_BETAS], 1)
        return replace(self, betas=torch.cat([self.betas, zeros], 1), scale=scale, factors=factors)

    def silent_about(self, joints: Sequence[int]) -> "Anchor":
        """The same that says nothing of the turns of these joints: other terms do."""
        columns = [3 * joint + axis for joint in joints for axis in range(3)]
        scale, factors = self.scale.clone(), self.factors.clone()
        scale[:, columns], factors[:, columns] = SILENT, 0.0
        return replace(self, scale=scale, factors=factors, common=None, coordinates=())

    def transferred(self, own: Skeleton, other: Skeleton) -> "Anchor":
        """The same for a body of `other`'s joints: those that `own` lacks are at rest, and nothing is known of them."""
        if own == other:
            return self
        at_rest = transferred(self.params, own, other)
        shared = [name for name in other.names if name in own]
        places, theirs = (_chart_places(skeleton, shared, self.betas.shape[1]) for skeleton in (own, other))
        scale = self.scale.new_full((len(self.scale), other.pose_size + self.betas.shape[1]), radians(UNKNOWN_DEGREES))
        factors = self.factors.new_zeros(*scale.shape, self.factors.shape[-1])
        scale[:, theirs], factors[:, theirs] = self.scale[:, places], self.factors[:, places]
        rotations = at_rest.rotations
        world = world_rotations(rotations, other.parents)
        return Anchor(rotations, world, self.betas, self.transl, scale, factors, self.transl_std)

    @property
    def params(self) -> BodyParams:
        """Θ₀."""
        return BodyParams(self.rotations[:, 0], self.rotations[:, 1:], self.betas, self.transl)

    def covariance(self, index: Tensor) -> Tensor:
        """Σ over some coordinates (B, d, d)."""
        s, U = self.scale[:, index], self.factors[:, index]
        return s[:, :, None] * (torch.eye(len(index)).to(s) + U @ U.mT) * s[:, None]

    def prepared(self, index: Tensor) -> "Anchor":
        """The same with A over the coordinates `index`."""
        coordinates = tuple(index.tolist())
        if coordinates == self.coordinates:
            return self
        common = (self._shared(index) / self.scale[:, None, index]).mT.contiguous()
        return replace(self, common=common, coordinates=coordinates)

    @property
    def precision(self) -> Tensor:
        """Σ⁻¹ (B, d, d) over the prepared coordinates."""
        assert self.common is not None
        diagonal = torch.diag_embed(self.scale[:, list(self.coordinates)] ** -2)
        return diagonal - self.common @ self.common.mT

    def pull(self, e: Tensor) -> Tensor:
        """Σ⁻¹ e (B, d), e over the prepared coordinates."""
        assert self.common is not None
        together = self.common @ (e[:, None] @ self.common).mT
        return e / self.scale[:, list(self.coordinates)] ** 2 - together.squeeze(-1)

    def _shared(self, index: Tensor) -> Tensor:
        """V (B, r, d) with VᵀV = U (I + UᵀU)⁻¹ Uᵀ over some coordinates."""
        U = self.factors[:, index]
        return torch.linalg.solve_triangular(torch.linalg.cholesky_ex(_inner(U))[0], U.mT, upper=False)

    @cached_property
    def _shared_by_all(self) -> Tensor:
        """V over all coordinates, made once."""
        return self._shared(torch.arange(self.scale.shape[1]))

    def correlated(self, white: Tensor) -> Tensor:
        """½ |V w|² (B, n) of n errors w = e/s (B, n, D) a person: what E is less for the errors that go together."""
        return 0.5 * (white @ self._shared_by_all.mT).square().sum(-1)

    def uncorrelated(self) -> "Anchor":
        """The same without U."""
        return replace(self, factors=self.factors[..., :0], common=None, coordinates=())

    def energy(self, params: BodyParams, phi: Tensor | None = None) -> Tensor:
        """E (B,) of some parameters, nats: ½ (|e/s|² − |V e/s|²) and the translation's. phi: as `error_of` takes it.

        Where A was prepared over some coordinates, E is the least over the others: the same once they are filled in.
        """
        error = self.error(params)[0] if phi is None else self.error_of(phi, params.betas)
        away = ((params.transl - self.transl) / self.transl_std).square().sum(-1)
        if self.common is not None:
            own = error[:, list(self.coordinates)]
            return 0.5 * ((own * self.pull(own)).sum(-1) + away)
        white = error / self.scale
        return 0.5 * (white.square().sum(-1) + away) - self.correlated(white[:, None]).squeeze(1)

    def error(self, params: BodyParams) -> tuple[Tensor, Tensor]:
        """(e (B, D), φ (B, J, 3)) of some parameters."""
        phi = matrix_to_rotvec(self.rotations.mT @ params.rotations)
        return self.error_of(phi, params.betas), phi

    def error_of(self, phi: Tensor, betas: Tensor) -> Tensor:
        """e (B, D) from φ (B, J, 3), where it is known."""
        turned = (self.world @ phi[..., None]).squeeze(-1).flatten(1)
        return torch.cat([turned, betas - self.betas], -1)

    def moved(self, e: Tensor, transl: Tensor) -> BodyParams:
        """The parameters at chart coordinates e (B, D): the inverse of `error`."""
        turn = e[:, : e.shape[1] - self.betas.shape[1]].unflatten(1, (-1, 3, 1))
        rotations = self.rotations @ rotvec_to_matrix((self.world.mT @ turn).squeeze(-1))
        return BodyParams(rotations[:, 0], rotations[:, 1:], self.betas + e[:, turn.shape[1] * 3 :], transl)

    def fill(self, params: BodyParams, known: Tensor) -> BodyParams:
        """The parameters with all coordinates but `known` at their likeliest values given those."""
        e, _ = self.error(params)
        rest = torch.ones(e.shape[1], dtype=torch.bool, device=e.device)
        rest[known] = False
        rest = rest.nonzero()[:, 0]
        if not len(rest):
            return params
        U = self.factors[:, known]
        weights = torch.linalg.solve_ex(_inner(U), (U.mT @ (e / self.scale)[:, known, None]))[0]
        filled = e.clone()
        filled[:, rest] = self.scale[:, rest] * (self.factors[:, rest] @ weights).squeeze(-1)
        return self.moved(filled, params.transl)


def _chart_places(skeleton: Skeleton, joints: Sequence[str], betas: int) -> list[int]:
    """Where the coordinates of some joints, and all of the betas, stand in the chart of a body."""
    turns = [3 * skeleton.index(name) + axis for name in joints for axis in range(3)]
    return [*turns, *range(skeleton.pose_size, skeleton.pose_size + betas)]


def _inner(U: Tensor) -> Tensor:
    """I + UᵀU (B, r, r)."""
    return torch.eye(U.shape[-1]).to(U) + U.mT @ U

"""The mask: the body must not stick out of it, and its outline must be reached as far as clothes allow.

    outside   e_v = max(0, phi(Pi(x_v)) - slack),       v of a few hundred vertices, phi the distance outside the mask
    outline   e_q = max(0, n_q . (q - Pi(x_v)) / box - tolerance),      q on the outline, n_q its normal, v the vertex
                                                                        whose image is nearest to q
    cost      1/2 · 1/N sum s · z/(1+z),   z = (e/sigma)²                                               (Geman-McClure)

all in shares of the box. Both are one-sided: a body within the mask and within the tolerance of its outline pays
nothing, so clothes may stand off and a mask that stops at what stands in front does not push the outline inwards. s is
how much of a vertex' neighbourhood is seen: the share of its near keypoints that are seen and lie in the mask. What
hangs down behind a table is not pulled above it.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.body.surface import PosedSurface, SurfaceBody, spread_vertices, vertex_closeness
from hmrfit.fitting.evidence import MaskEvidence
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Term, part_of
from hmrfit.ops.robust import damping

REACH = 0.12
"""Metres: how far from a keypoint its sight tells about the surface."""


@dataclass
class _Parts:
    """Residuals of both kinds, and what their rows are made of: the first of `outside`, then of `outline`."""

    residuals: Tensor  # (B, M + Q)
    slope: Tensor  # (B, M + Q, 2): d residual / d image of its vertex
    vertex: Tensor  # (B, M + Q): which one
    posed: PosedSurface


@dataclass
class MaskTerm(Term):
    """See the module. tolerance, slack, sigma: shares of the box.

    vertices: how many of the body's must not stick out. dense: among how many the one nearest to the outline is looked
    for: on a thin arm the others leave gaps of a tolerance. At the truth 800 stay 0.3 % of the box within the outline,
    all of the body's 0.1 %, those on its occluding contour 0.03 %; no fit is better for it (`benchmarks/results.md`).
    """

    body: SmplBody
    vertices: int = 256
    dense: int = 800
    sigma: float = 0.04
    tolerance: float = 0.015
    slack: float = 0.003
    name: str = "mask"
    _surfaces: list[SurfaceBody] = field(default_factory=list, repr=False)
    _closeness: dict[tuple[str, ...], Tensor] = field(default_factory=dict, repr=False)

    @property
    def surface(self) -> SurfaceBody:
        """The vertices that stand for the body, those that must not stick out first; picked once."""
        if not self._surfaces:
            self._surfaces.append(SurfaceBody(self.body, spread_vertices(self.body, self.dense)))
        return self._surfaces[0]

    def closeness(self, names: tuple[str, ...]) -> Tensor:
        """(M, K) of `vertex_closeness`; made once per keypoint set."""
        if names not in self._closeness:
            self._closeness[names] = vertex_closeness(self.body, self.surface.vertices, names, REACH)
        return self._closeness[names]

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e).residuals

    def jacobian(self, e: Linearization) -> Tensor:
        parts = self._parts(e)
        every = torch.ones_like(parts.residuals, dtype=torch.bool).nonzero()
        return self._rows(e, parts, *every.T).view(*parts.residuals.shape, -1)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Only the rows that are not zero."""
        parts = self._parts(e)
        active = parts.residuals > 0
        person, which = active.nonzero().T
        place = (active.cumsum(1) - 1)[person, which]
        most = int(active.sum(1).max())
        rows = parts.residuals.new_zeros(len(active), most, e.layout.columns)
        rows[person, place] = self._rows(e, parts, person, which)
        residuals = parts.residuals.new_zeros(len(active), most)
        residuals[person, place] = parts.residuals[person, which]
        sums.add_rows(residuals, rows, weight)

    def _parts(self, e: Linearization) -> _Parts:
        evidence: MaskEvidence = part_of(e, "mask", "mask=")
        posed = self.surface.pose(e.state.params, e.state.world)
        seen = e.state.camera.project(posed.points)
        sight = evidence.trusted @ self.closeness(e.body.names).T  # (B, M)
        out = self._outside(evidence, seen, sight)
        line = self._outline(evidence, seen, sight, e.observation.box_size)
        return _Parts(*(torch.cat(pair, 1) for pair in zip(out, line, strict=True)), posed)

    def _outside(self, evidence: MaskEvidence, seen: Tensor, sight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What sticks out of the mask: residuals (B, M), slopes (B, M, 2), vertices (B, M)."""
        seen, sight = seen[:, : self.vertices], sight[:, : self.vertices]
        value, slope = look_up(evidence, seen)
        residuals, scale = self._robust(value - self.slack, sight / seen.shape[1])
        vertex = torch.arange(seen.shape[1], device=seen.device).expand(seen.shape[:2])
        return residuals, scale[..., None] * slope, vertex

    def _outline(
        self, evidence: MaskEvidence, seen: Tensor, sight: Tensor, box: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Which parts of the outline are not reached: residuals (B, Q), slopes (B, Q, 2), vertices (B, Q)."""
        points = seen.detach()
        # |q - p|² without |q|², which decides nothing
        vertex = (points.square().sum(-1)[:, None] - 2 * evidence.outline @ points.mT).argmin(-1)
        nearest = seen.gather(1, vertex[..., None].expand(-1, -1, 2))
        gap = (evidence.normal * (evidence.outline - nearest)).sum(-1) / box[:, None]
        share = evidence.length * sight.gather(1, vertex) / vertex.shape[1]
        residuals, scale = self._robust(gap - self.tolerance, share)
        return residuals, -(scale / box[:, None])[..., None] * evidence.normal, vertex

    def _robust(self, error: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """r = sqrt(share) e/(sigma sqrt(1 + z)) and dr/de, both 0 where e <= 0."""
        scaled = error.clamp_min(0) / self.sigma
        damp = damping(scaled[..., None]).squeeze(-1)
        root = share.sqrt()
        return root * scaled * damp, torch.where(error > 0, root * damp**3 / self.sigma, 0.0)

    def _rows(self, e: Linearization, parts: _Parts, person: Tensor, which: Tensor) -> Tensor:
        """(N, P) the derivatives of these residuals."""
        vertex = parts.vertex[person, which]
        points = parts.posed.points[person, vertex]
        projection = e.state.camera[person].project_jacobian(points[:, None])[:, 0]
        covectors = (parts.slope[person, which][:, None] @ projection).squeeze(1)
        wanted = [e.layout.moves(group) for group in ("transl", "betas")]
        return self.surface.rows(parts.posed, person, vertex, covectors, e.layout.turning_index, *wanted)


def look_up(evidence: MaskEvidence, xy: Tensor) -> tuple[Tensor, Tensor]:
    """The signed distance at pixels (B, M, 2): (B, M) in shares of the box, and its slope (B, M, 2) per pixel."""
    B, R = evidence.distance.shape[:2]
    place = (xy - evidence.low[:, None]) / evidence.cell[:, None, None]
    place = place.nan_to_num(0.0).clamp(0.0, R - 1.0)
    node = place.detach().floor().clamp_max(R - 2.0)
    fx, fy = (place - node).unbind(-1)
    first = (node[..., 1] * R + node[..., 0]).long()
    flat = evidence.distance.view(B, R * R)
    a, b, c, d = (flat.gather(1, first + step).to(xy) for step in (0, 1, R, R + 1))
    value = (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)
    slope = torch.stack([(1 - fy) * (b - a) + fy * (d - c), (1 - fx) * (c - a) + fx * (d - b)], -1)
    within = (place > 0) & (place < R - 1)
    return value, torch.where(within, slope, 0.0) / evidence.cell[:, None, None]

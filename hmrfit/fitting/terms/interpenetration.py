"""SMPLify's interpenetration as a term of the energy: `hmrfit.priors.sphere_overlap` brought to the fit's columns.

A joint above sphere p alone moves it by omega x (c_p - x_j); what is above both spheres of a pair turns them together
and changes nothing. So with g = dr/dc_p = -dr/dc_q a row's columns are

    dr/d omega_j = [j above p] (c_p - x_j) x g - [j above q] (c_q - x_j) x g

which vanishes by itself for the common ancestors, g being along c_p - c_q. Translation, orientation and betas have no
column: the betas only say how thick the spheres are. (Autodiff through `residuals` would give them one.) Most pairs are
far apart: what is negligible is left out of the sums, person by person.
"""

import torch
from torch import Tensor

from hmrfit.body.capsules import capsules_of
from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.skinning import kinematic_tree
from hmrfit.priors.sphere_overlap import NEGLIGIBLE, SphereOverlap


class Interpenetration(Term):
    """r (B, M), one residual for every pair of spheres. The capsules are made when the term is first asked."""

    def __init__(self, body: SmplBody, name: str = "interpenetration") -> None:
        self.body, self.name = body, name
        self._overlap: SphereOverlap | None = None

    @property
    def overlap(self) -> SphereOverlap:
        """The spheres of this body, and which pairs of them may not meet. Errors: those of `capsules_of`."""
        if self._overlap is None:
            self._overlap = SphereOverlap(capsules_of(self.body))
        return self._overlap

    def residuals(self, e: Linearization) -> Tensor:
        return self.overlap.residuals(*self._spheres(e))

    def jacobian(self, e: Linearization) -> Tensor:
        centers, widths = self._spheres(e)
        r, g = self.overlap.derivatives(centers, widths)
        pairs = torch.arange(r.shape[1], device=r.device).expand(r.shape)
        return self._rows(e, centers, g, pairs)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        centers, widths = self._spheres(e)
        r, g = self.overlap.derivatives(centers, widths)
        r = torch.where(r > NEGLIGIBLE, r, 0.0)
        most = int((r > 0).sum(1).max())
        if not (most and e.layout.moves("body_pose")):
            sums.cost += 0.5 * weight * r.square().sum(-1)
            return
        r, pairs = r.topk(most, dim=1)
        g = g.gather(1, pairs[..., None].expand(-1, -1, 3)) * (r > 0)[..., None]
        jacobian = self._rows(e, centers, g, pairs)[..., e.layout.slice("body_pose")]
        sums.add_block("body_pose", r, jacobian, weight)

    def _spheres(self, e: Linearization) -> tuple[Tensor, Tensor]:
        """(centres (B, n, 3), squared widths (B, M))."""
        betas, overlap = e.state.params.betas, self.overlap
        centers = overlap.capsules.sphere_centers(betas, e.posed.joints, e.posed.world)
        return centers, overlap.squared_widths(betas)

    def _rows(self, e: Linearization, centers: Tensor, g: Tensor, pairs: Tensor) -> Tensor:
        """(B, m, P) of covectors g (B, m, 3) on the first spheres of pairs (B, m)."""
        overlap, columns = self.overlap, e.layout.slice("body_pose")
        rows = g.new_zeros(*pairs.shape, e.layout.columns)
        turning = e.layout.body_index
        if len(turning):
            above = kinematic_tree(e.body.parents, g.device).ancestors[overlap.capsules.sphere_joint][:, turning].to(g)
            pivots = e.posed.joints[:, None, turning]
            part = g.new_zeros(*pairs.shape, len(turning), 3)
            for index, sign in ((overlap.first[pairs], 1.0), (overlap.second[pairs], -1.0)):
                arm = centers.gather(1, index[..., None].expand(-1, -1, 3))[:, :, None] - pivots
                part = part + sign * above[index][..., None] * torch.linalg.cross(arm, g[:, :, None], dim=-1)
            rows[..., columns] = part.flatten(2)
        return rows

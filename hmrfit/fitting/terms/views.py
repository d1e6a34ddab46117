"""The same keypoints in other calibrated views of the same instant.

e_vk = Pi_v(R_v X_k + t_v) - x_vk      a fraction of the person's box in that view
z = |e|²/sigma²,  cost 1/2 c² z/(1+z)                                                             (Geman-McClure)
"""

from dataclasses import dataclass

from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.evidence import ViewEvidence
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import Term, part_of
from hmrfit.ops.robust import geman_mcclure


@dataclass
class Views(Term):
    """The observed keypoints in other calibrated views. sigma: a share of the person's box there."""

    sigma: float = 0.06
    name: str = "views"

    def _parts(self, e: Linearization) -> tuple[ViewEvidence, Tensor, Tensor, Tensor]:
        """(views, residuals (B, V, K, 2), slopes (B, V, K, 2, 2) by pixel, d pixel / d point (B, V, K, 2, 3))."""
        v: ViewEvidence = part_of(e, "views", "several views")
        B, V = v.confidence.shape[:2]
        points = (v.rotation[:, :, None] @ e.posed.points[:, None, ..., None]).squeeze(-1) + v.translation[:, :, None]
        camera = Camera(v.focal.flatten(0, 1), v.center.flatten(0, 1), v.center.flatten(0, 1))
        flat = points.flatten(0, 1)
        unit = self.sigma * v.box_size[..., None, None]
        error = (camera.project(flat).unflatten(0, (B, V)) - v.xy) / unit
        residuals, slope = geman_mcclure(error, v.confidence)
        return v, residuals, slope / unit[..., None], camera.project_jacobian(flat).unflatten(0, (B, V))

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e)[1].transpose(1, 2).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        v, _, slope, projection = self._parts(e)
        covectors = slope @ projection @ v.rotation[:, :, None]  # (B, V, K, 2, 3)
        return e.point_rows(covectors.transpose(1, 2).flatten(2, 3))

"""Bodies do not run through themselves: spheres inside them keep apart, SMPLify's E_sp in residual form.

    r_pq = sqrt(2) exp(-|c_p - c_q|² / (2 rho_pq)),     rho_pq = (a R_p)² + (a R_q)²,   a = 0.3
    1/2 |r|² = sum_pq exp(-|c_p - c_q|² / (2 rho_pq))²

over the pairs of spheres p, q of capsules that may not meet (Bogo et al., ECCV 2016, eq. 5, as their code has it). The
code hands its least-squares solver one number, w sqrt(sum_pq exp(..)²), whose square is w² · 1/2 |r|²: the same energy.
Only the Gauss-Newton Hessian differs, of rank one there and with a row for every pair here. The derivative is by pose
alone: by shape, thin bodies would win.
"""

from itertools import product

import torch
from torch import Tensor

from hmrfit.body.capsules import NAMES, Capsules

WIDTH = 0.3
"""a, the Gaussian's width as a fraction of the radius."""

TORSO = ("hips", "spine", "spine1", "spine2")
ARM_ENDS = ("left_forearm", "right_forearm", "left_hand", "right_hand")
MAY_NOT_MEET = (
    *product(TORSO, ARM_ENDS),
    ("left_calf", "right_calf"),
    ("left_foot", "right_calf"),
    ("right_foot", "left_foot"),
    ("right_foot", "left_calf"),
    ("left_shoulder", "left_forearm"),
    ("right_shoulder", "right_forearm"),
    ("left_hand", "right_hand"),
)
"""SMPLify's 23 pairs of capsules. All others may touch: neighbours, thighs, arms and head."""

NEGLIGIBLE = 1e-6
"""Residuals below this are left out of the sums: at SMPLify's weight of 10⁶ they cost 5·10⁻⁷, and most are below."""


class SphereOverlap:
    """The pairs of spheres of some capsules, ready to be evaluated. M pairs, n spheres."""

    def __init__(self, capsules: Capsules, pairs: tuple[tuple[str, str], ...] = MAY_NOT_MEET) -> None:
        self.capsules = capsules
        spheres = [(capsules.sphere_capsule == i).nonzero()[:, 0].tolist() for i in range(len(NAMES))]
        index = [pq for a, b in pairs for pq in product(spheres[NAMES.index(a)], spheres[NAMES.index(b)])]
        self.first, self.second = torch.tensor(index, device=capsules.joint.device).unbind(1)  # (M,) each

    def squared_widths(self, betas: Tensor) -> Tensor:
        """rho (B, M) metres²."""
        squared = (WIDTH * self.capsules.sphere_radii(betas)).square()
        return squared[:, self.first] + squared[:, self.second]

    def residuals(self, centers: Tensor, widths: Tensor) -> Tensor:
        """r (B, M) of sphere centres (B, n, 3) and `squared_widths`."""
        apart = centers[:, self.first] - centers[:, self.second]
        return 2**0.5 * (-0.5 * apart.square().sum(-1) / widths).exp()

    def derivatives(self, centers: Tensor, widths: Tensor) -> tuple[Tensor, Tensor]:
        """r (B, M), and dr/dc_p (B, M, 3), the opposite of dr/dc_q."""
        apart = centers[:, self.first] - centers[:, self.second]
        r = 2**0.5 * (-0.5 * apart.square().sum(-1) / widths).exp()
        return r, -(r / widths)[..., None] * apart

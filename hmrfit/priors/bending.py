"""Elbows and knees bend one way: SMPLify's E_a in residual form.

    r_i = sqrt(2) alpha exp(s_i theta_i),  alpha = 10;     1/2 |r|² = sum_i (alpha exp(s_i theta_i))²

theta_i is the coordinate of log R about the hinge, s_i the sign of the way it does not bend (Bogo et al., ECCV 2016,
section 3.2, and their code). The energy is never zero: at a straight limb it is alpha², and it falls as the limb bends.

SMPLify weighs the residual alpha exp(..) by 0.317 w, w the pose prior's weight: 3.17 w exp(..). SPIN writes the energy,
15.2² exp(2 s_i theta_i): the same at its w = 4.78, where 3.17 w = 15.15, but for rounding.
"""

import torch
from torch import Tensor

from hmrfit.body.skeleton import SMPL, Skeleton

ALPHA = 10.0


class BendingPrior:
    """The hinges of a body, ready to be evaluated. Inputs theta (B, 3 (J-1)), radians.

    Axes and signs are the skeleton's; in the 72 numbers of a SMPL pose theta_i are 55, 58, 12 and 15.
    """

    def __init__(self, skeleton: Skeleton = SMPL) -> None:
        """Raises: ValueError, the body has not all of SMPL's elbows and knees."""
        missing = [limb.joints[1] for limb in SMPL.limbs if limb not in skeleton.limbs]
        if missing:
            raise ValueError(f"The bending prior is about elbows and knees; this body has no {', '.join(missing)}.")
        where = [skeleton.columns([limb.joints[1]])[limb.axis] for limb in skeleton.limbs]
        self.columns = torch.tensor(where)  # (4,) of theta, which lacks the root
        self.signs = torch.tensor([limb.overbent for limb in skeleton.limbs])  # (4,)

    def residuals(self, theta: Tensor) -> Tensor:
        """r (B, 4)."""
        return 2**0.5 * ALPHA * (theta[:, self.columns] * self.signs.to(theta)).exp()

    def quadratic(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """1/2 |r|² (B,), its gradient (B, D) and the diagonal of its Gauss-Newton Hessian (B, D)."""
        squared = self.residuals(theta).square()
        gradient, curvature = torch.zeros_like(theta), torch.zeros_like(theta)
        gradient[:, self.columns] = squared * self.signs.to(theta)  # dr = s r dtheta
        curvature[:, self.columns] = squared
        return 0.5 * squared.sum(-1), gradient, curvature

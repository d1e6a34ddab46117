"""Geman and McClure's robust cost of an error e (in units of its scale), as residuals.

    cost 1/2 c² z/(1+z),  z = |e|²:      r = c d e,   d = (1+z)^(-1/2),      dr/de = c d (I − u uᵀ),   u = d e

|u| < 1, so the cost of one error stays below c²/2, however large it is.
"""

import torch
from torch import Tensor


def damping(error: Tensor) -> Tensor:
    """d (..., 1) of errors (..., D)."""
    return (1 + error.square().sum(-1, keepdim=True)).rsqrt()


def geman_mcclure(error: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
    """Scaled errors (..., D) and confidences c (...) -> residuals (..., D) and dr/de (..., D, D)."""
    damp = damping(error)
    unit, scale = error * damp, confidence[..., None] * damp
    eye = torch.eye(error.shape[-1]).to(error)
    return scale * error, scale[..., None] * (eye - unit[..., None] * unit[..., None, :])

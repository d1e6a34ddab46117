"""Student's t distribution, of the posterior of a fit."""

import torch
from torch import Tensor


def student_cdf(nu: float, t: Tensor) -> Tensor:
    """P(T < t) of Student's t with nu degrees of freedom, elementwise, float64 on the CPU."""
    from scipy.special import stdtr  # 0.1 s to import, and a fit needs it only once its other answers are asked for

    return torch.as_tensor(stdtr(nu, t.numpy()))

"""How far a keypoint counts as seen, and how far it is looked at: two continuous functions of its confidence.

    p_k = s((c_k / max_j c_j − NOTHING) / (SURE − NOTHING))          presence:  what is counted
    q_k = s((c_k / max_j c_j − NOTHING) / (SHOWN − NOTHING))         shown:     what is looked at
    s(t) = t² (3 − 2t) on [0, 1], 0 before, 1 beyond

p answers wherever a formula asks which keypoints are seen: how many there are, how large their box is. q lets a
keypoint into the energy and the networks, which then weigh it by its confidence; it comes in and leaves without a jump.
Up to NOTHING it is as if it were not there. Confidences are compared with the person's greatest, since detectors do not
agree on a scale.
"""

import torch
from torch import Tensor

NOTHING, SHOWN, SURE = 0.15, 0.3, 0.5
"""Of the person's greatest confidence. Detectors put what they see at 0.4 to 1 times their best score, and most of what
they make up below 0.2 of it."""


def presence(confidence: Tensor) -> Tensor:
    """p (..., K) in [0, 1] of confidences (..., K); all 0 where none is above 0."""
    return _ramp(confidence, SURE)


def shown(confidence: Tensor) -> Tensor:
    """q (..., K) in [0, 1] of confidences (..., K)."""
    return _ramp(confidence, SHOWN)


def _ramp(confidence: Tensor, end: float) -> Tensor:
    greatest = confidence.amax(-1, keepdim=True).clamp_min(torch.finfo(confidence.dtype).tiny)
    t = ((confidence / greatest - NOTHING) / (end - NOTHING)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def expected_extremes(values: Tensor, presence: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the greatest of values (B, K, D) as they are expected if each was there with probability p (B, K).

    E max = Σ_i v_(i) p_(i) Π_{j<i} (1 − p_(j)),    v_(1) ≥ v_(2) ≥ …

    Two (B, D): the plain extremes of what has p = 1 where the others have p = 0; 0 where there is nothing.
    """
    return -_expected_maximum(-values, presence), _expected_maximum(values, presence)


def _expected_maximum(values: Tensor, presence: Tensor) -> Tensor:
    there = (presence > 0)[..., None]
    ordered, index = torch.where(there, values, -torch.inf).sort(1, descending=True)
    p = presence[..., None].expand_as(values).gather(1, index)
    missing = torch.cat([torch.ones_like(p[:, :1]), (1 - p[:, :-1]).cumprod(1)], 1)
    return (ordered.where(p > 0, 0.0) * p * missing).sum(1)

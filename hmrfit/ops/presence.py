"""How far a keypoint counts as seen, and how far it enters the fit: two continuous functions of its confidence.

    p_k = s((c_k / max_j c_j − NOTHING) / (SURE − NOTHING))          presence:  how far it counts as seen
    q_k = s((c_k / max_j c_j − NOTHING) / (SHOWN − NOTHING))         shown:     how far it enters the fit
    s(t) = t² (3 − 2t) on [0, 1], 0 before, 1 beyond

p stands wherever a formula asks which keypoints are seen: how many there are, how large their box is. q is the factor
with which a keypoint enters the energy and the networks, which then weigh it by its confidence, so that it comes and
goes without a jump. Up to NOTHING a keypoint counts as absent. Confidences are taken relative to the person's greatest,
since detectors do not agree on a scale.
"""

import torch
from torch import Tensor

NOTHING, SHOWN, SURE = 0.15, 0.3, 0.5
"""Fractions of the person's greatest confidence. Detectors score what they see at 0.4 to 1 times their best score, and
most of their false keypoints below 0.2 times."""


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

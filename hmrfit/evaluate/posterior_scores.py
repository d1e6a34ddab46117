"""How right a measure of uncertainty is: coverage of regions made of posterior samples, stated beside actual errors.

    d²(x) = (x − m)ᵀ C⁻¹ (x − m),      m, C the mean and covariance of the first half of the samples
    level of the truth = the fraction of the second half of the samples with a smaller d² than it

A region of q holds the samples of the least d², q of them. Where the truth is one more draw from the posterior, it is
exchangeable with the second half, whatever the posterior's form: a fraction q of all truths has a level up to q.
"""

from collections.abc import Sequence

import torch
from scipy.stats import spearmanr
from torch import Tensor

LEVELS = (0.50, 0.68, 0.90, 0.95)
"""Of the regions whose coverage is measured."""

SAMPLES = 200
"""Draws of the posterior: 101 for mean and covariance, 99 for the level, so that every one of LEVELS is met exactly."""

SMALLEST = 1e-9
"""Metres², added to a covariance that may be singular: the micrometres that no measurement has."""


def truth_levels(samples: Tensor, truth: Tensor) -> Tensor:
    """(B, K) from 0 to 1, how far out in the posterior each point's truth lies.

    Args:
        samples: (S, B, K, D) draws, S ≥ 8. truth: (B, K, D), NaN where there is none, and so is the level then.
    """
    first, second = samples.split([len(samples) - _ranked(len(samples)), _ranked(len(samples))])
    mean = first.mean(0)
    away = first - mean
    covariance = torch.einsum("sbkd,sbke->bkde", away, away) / (len(first) - 1)
    covariance = covariance + SMALLEST * torch.eye(truth.shape[-1]).to(covariance)
    factor = torch.linalg.cholesky(covariance)
    nearer = (_squared_norm(factor, second - mean) < _squared_norm(factor, truth.nan_to_num() - mean)).sum(0)
    level = (nearer + 0.5) / (len(second) + 1)
    return level.masked_fill(truth.isnan().any(-1), torch.nan)


def _squared_norm(factor: Tensor, away: Tensor) -> Tensor:
    """d² (..., B, K) of vectors (..., B, K, D), C = L Lᵀ with the factor L (B, K, D, D)."""
    white = torch.linalg.solve_triangular(factor, away[..., None], upper=False)
    return white.square().sum((-2, -1))


def _ranked(count: int) -> int:
    """How many of the samples rank the truth: nearly half, an odd number."""
    return (count - 1) // 2 if ((count - 1) // 2) % 2 else (count - 1) // 2 - 1


def coverage(levels: Tensor, stated: Sequence[float] = LEVELS) -> list[float]:
    """The fraction of truths within each region. levels: any shape, NaN where there is no truth; NaN without any."""
    known = levels[~levels.isnan()]
    return [(known <= q).double().mean().item() for q in stated]


def coverage_gap(levels: Tensor) -> float:
    """The worst difference between the measured and the stated coverage, over LEVELS."""
    return max(abs(measured - q) for measured, q in zip(coverage(levels), LEVELS, strict=True))


def rank_correlation(stated: Tensor, actual: Tensor) -> float:
    """Spearman's, of stated and actual errors (B,); NaN ones are left out."""
    known = ~(stated.isnan() | actual.isnan())
    return float(spearmanr(stated[known].numpy(), actual[known].numpy()).statistic)

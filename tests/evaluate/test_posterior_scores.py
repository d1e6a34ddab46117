"""Coverage and rank correlation, of posteriors whose coverage is known."""

import pytest
import torch
from scipy.stats import spearmanr

from hmrfit.evaluate.posterior_scores import (
    LEVELS,
    SAMPLES,
    coverage,
    coverage_gap,
    rank_correlation,
    truth_levels,
)

PEOPLE = 3000


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def turned(x: torch.Tensor) -> torch.Tensor:
    """With another covariance, centimetres, and a place of its own for each person."""
    return x @ (0.05 * normal(3, 3, seed=1)) + normal(PEOPLE, 1, 3, seed=2)


def standard_error(q: float) -> float:
    return (q * (1 - q) / PEOPLE) ** 0.5


def test_a_truth_drawn_from_the_posterior_is_covered_as_stated():
    levels = truth_levels(turned(normal(SAMPLES, PEOPLE, 1, 3)), turned(normal(PEOPLE, 1, 3, seed=9)))
    assert levels.min() > 0 and levels.max() < 1
    for measured, q in zip(coverage(levels), LEVELS, strict=True):
        assert measured == pytest.approx(q, abs=3 * standard_error(q))


def test_so_it_is_where_the_posterior_has_two_modes_and_tails():
    def draw(*shape: int, seed: int) -> torch.Tensor:
        far = 4.0 * (normal(*shape[:-1], 1, seed=seed + 1) > 0.5)
        return turned(normal(*shape, seed=seed) * normal(*shape[:-1], 1, seed=seed + 2).exp() + far)

    levels = truth_levels(draw(SAMPLES, PEOPLE, 1, 3, seed=20), draw(PEOPLE, 1, 3, seed=30))
    assert coverage_gap(levels) < 3 * standard_error(0.5)


def test_half_the_spread_covers_too_little_by_as_much_as_theory_says():
    from scipy.stats import chi2

    levels = truth_levels(0.5 * normal(SAMPLES, PEOPLE, 1, 3), normal(PEOPLE, 1, 3, seed=9))
    expected = [chi2.cdf(chi2.ppf(q, 3) / 4, 3) for q in LEVELS]
    assert coverage(levels) == pytest.approx(expected, abs=0.035)  # the samples' own covariance is 10 % unsure
    assert coverage_gap(levels) == pytest.approx(max(q - e for q, e in zip(LEVELS, expected, strict=True)), abs=0.035)


def test_points_without_a_truth_are_left_out():
    truth = normal(PEOPLE, 2, 3, seed=9)
    truth[:, 1] = torch.nan
    levels = truth_levels(normal(SAMPLES, PEOPLE, 2, 3), truth)
    assert levels[:, 1].isnan().all() and not levels[:, 0].isnan().any()
    assert coverage(levels) == coverage(levels[:, 0])


def test_samples_that_are_all_alike_cover_nothing_else():
    samples = torch.ones(SAMPLES, 1, 1, 3).double()
    assert truth_levels(samples, torch.full((1, 1, 3), 1.01).double()).item() > 0.99


def test_the_rank_correlation_is_spearmans():
    stated = normal(40, seed=1).exp()
    actual = stated + normal(40, seed=2)
    assert rank_correlation(stated, actual) == pytest.approx(spearmanr(stated, actual).statistic)
    assert rank_correlation(stated, stated**3) == pytest.approx(1.0)
    actual[3] = torch.nan
    keep = torch.arange(40) != 3
    assert rank_correlation(stated, actual) == pytest.approx(spearmanr(stated[keep], actual[keep]).statistic)

"""EM with missing coordinates (priors/scripts/mixture.py): closed forms, slow twins, recovery of what made the data."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.stats import multivariate_normal

SCRIPTS = Path(__file__).resolve().parents[2] / "priors" / "scripts"


@pytest.fixture(scope="module")
def em() -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        import mixture
    finally:
        sys.path.remove(str(SCRIPTS))
    return mixture


def covariance(rng: np.random.Generator, dims: int) -> np.ndarray:
    root = rng.normal(size=(dims, dims))
    return root @ root.T / dims + 0.1 * np.eye(dims)


def settings(em, dims: int, **changes: float):
    plain = {"floor": 0.0, "target": np.eye(dims), "pseudo_samples": 0.0, "max_steps": 200, "tolerance": 1e-9}
    return em.Settings(**plain | changes)


def some_mixture(em, rng, count: int = 3, dims: int = 5):
    weights = rng.dirichlet(np.full(count, 5.0))
    return em.Mixture(weights, 2.0 * rng.normal(size=(count, dims)), np.stack([covariance(rng, dims)] * count))


def test_log_density_is_the_marginal(em, rng):
    """Against scipy, sample by sample, over the observed coordinates only."""
    mix, x = some_mixture(em, rng), rng.normal(size=(40, 5))
    observed = rng.random((40, 5)) < 0.7
    observed[:, 0] = True
    slow = []
    for row, mask in zip(x, observed, strict=True):
        parts = [
            w * multivariate_normal(m[mask], c[np.ix_(mask, mask)]).pdf(row[mask])
            for w, m, c in zip(mix.weights, mix.means, mix.covariances, strict=True)
        ]
        slow.append(np.log(sum(parts)))
    assert np.allclose(em.log_density(mix, x, observed), slow)


def test_one_gaussian_without_gaps_is_the_weighted_mean_and_covariance(em, rng):
    x, weight = rng.normal(size=(200, 4)) @ rng.normal(size=(4, 4)), rng.random(200)
    start = em.Mixture(np.ones(1), np.zeros((1, 4)), np.eye(4)[None])
    found, _ = em.fit(start, x, np.ones(x.shape, bool), weight, settings(em, 4))
    mean = weight @ x / weight.sum()
    scatter = ((x - mean) * weight[:, None]).T @ (x - mean) / weight.sum()
    assert np.allclose(found.means[0], mean) and np.allclose(found.covariances[0], scatter)


def test_floor_and_pseudo_samples(em, rng):
    """S = (scatter + nu S0) / (N + nu) + floor^2 I."""
    x, target = rng.normal(size=(50, 3)), covariance(rng, 3)
    start = em.Mixture(np.ones(1), np.zeros((1, 3)), np.eye(3)[None])
    chosen = settings(em, 3, floor=0.2, target=target, pseudo_samples=25.0, max_steps=2)
    found, _ = em.fit(start, x, np.ones(x.shape, bool), np.ones(50), chosen)
    centred = x - x.mean(0)
    expected = (centred.T @ centred + 25.0 * target) / 75.0 + 0.04 * np.eye(3)
    assert np.allclose(found.covariances[0], expected)


def test_gaps_do_not_pull_towards_zero(em, rng):
    """Half of the last coordinate is missing, more often where it is large given the first: the regression survives."""
    truth = np.array([[1.0, 0.8], [0.8, 1.0]])
    x = rng.multivariate_normal([2.0, 3.0], truth, size=20000)
    observed = np.ones(x.shape, bool)
    observed[x[:, 0] > 2.0, 1] = False
    start = em.Mixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    found, _ = em.fit(start, np.where(observed, x, 0.0), observed, np.ones(len(x)), settings(em, 2))
    # 20000 samples: standard errors about 0.01 for the means, 0.02 for the covariances
    assert np.allclose(found.means[0], [2.0, 3.0], atol=0.05) and np.allclose(found.covariances[0], truth, atol=0.08)


def test_likelihood_never_falls(em, rng):
    x = np.concatenate([rng.normal(size=(150, 4)), rng.normal(size=(150, 4)) + 2.5])
    observed = rng.random(x.shape) < 0.8
    observed[:, 0] = True
    mixture, before = some_mixture(em, rng, 2, 4), -np.inf
    for _ in range(15):
        mixture, now = em.fit(mixture, x, observed, np.ones(300), settings(em, 4, max_steps=1, tolerance=-np.inf))
        assert now >= before - 1e-9
        before = now


def test_clusters_far_apart_are_found(em, rng):
    centres = np.array([[0, 0, 0], [20, 0, 0], [0, 20, 0], [0, 0, 20.0]])
    which = rng.integers(0, 4, size=400)
    x = centres[which] + rng.normal(size=(400, 3))
    labels = em.clusters(x, np.ones(400), 4, rng)
    assert len({(a, b) for a, b in zip(which, labels, strict=True)}) == 4
    chosen = settings(em, 3, floor=0.01, tolerance=1e-6)
    start = em.start_from(labels, x, np.ones(400), chosen)
    found, _ = em.fit(start, x, np.ones(x.shape, bool), np.ones(400), chosen)
    for centre in centres:
        assert np.linalg.norm(found.means - centre, axis=1).min() < 0.5  # 100 samples of deviation 1


def test_fill_is_the_conditional_mean(em, rng):
    cov = covariance(rng, 3)
    mix = em.Mixture(np.ones(1), np.array([[1.0, 2.0, 3.0]]), cov[None])
    x, observed = np.array([[0.5, 0.0, 4.0]]), np.array([[True, False, True]])
    oo, mo = cov[np.ix_([0, 2], [0, 2])], cov[1, [0, 2]]
    expected = 2.0 + mo @ np.linalg.solve(oo, [-0.5, 1.0])
    assert np.allclose(em.fill(mix, x, observed), [[0.5, expected, 4.0]])

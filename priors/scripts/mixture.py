"""Gaussian mixtures fitted by EM to data with missing coordinates (numpy only).

For sample x with observed coordinates o and missing ones m, component k:

    r_k     ~ w_k N(x_o; mu_o, S_oo)
    x_m | k ~ N(mu_m + S_mo S_oo^-1 (x_o - mu_o),  S_mm - S_mo S_oo^-1 S_om)

so nothing has to be filled in: a joint that a source does not drive takes no part, and its expected value and spread
follow from those that are driven. The M-step is the weighted mean and covariance of the expected samples plus the
spread of the missing part. Each covariance is drawn towards a target S0 by nu pseudo-samples and gets a floor:

    S_k = (sum_n r_nk [...] + nu S0) / (N_k + nu) + floor^2 I.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_solve, solve_triangular


@dataclass(frozen=True)
class Mixture:
    weights: np.ndarray
    """(K,) sum to 1."""
    means: np.ndarray
    """(K, D)."""
    covariances: np.ndarray
    """(K, D, D)."""

    def __len__(self) -> int:
        return len(self.weights)


@dataclass(frozen=True)
class Settings:
    floor: float
    """Standard deviation whose square is added to every variance."""
    target: np.ndarray
    """(D, D) S0."""
    pseudo_samples: float
    """nu."""
    max_steps: int = 100
    tolerance: float = 1e-3
    """Stop when the mean log-likelihood gains less (nats)."""


def patterns(observed: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(which coordinates (D,) bool, which samples (n,) indices) of every pattern of observed coordinates."""
    masks, index = np.unique(observed, axis=0, return_inverse=True)
    for p, mask in enumerate(masks):
        yield mask, np.flatnonzero(index.reshape(-1) == p)


def _whiten(x: np.ndarray, mean: np.ndarray, cov: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """log N(x; mean, cov), the Cholesky factor, and the whitened residuals (D, n)."""
    factor = np.linalg.cholesky(cov)
    white = solve_triangular(factor, (x - mean).T, lower=True)
    log_det = 2.0 * np.log(np.diag(factor)).sum()
    return -0.5 * ((white**2).sum(0) + log_det + len(mean) * np.log(2.0 * np.pi)), factor, white


def component_log_density(mixture: Mixture, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(N, K) log (w_k N_k) of the observed coordinates."""
    out = np.empty((len(x), len(mixture)))
    for mask, rows in patterns(observed):
        for k in range(len(mixture)):
            part, _, _ = _whiten(x[rows][:, mask], mixture.means[k][mask], mixture.covariances[k][np.ix_(mask, mask)])
            out[rows, k] = part + np.log(mixture.weights[k])
    return out


def log_density(mixture: Mixture, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(N,) marginal log-density, nats, of the observed coordinates of each sample."""
    return np.logaddexp.reduce(component_log_density(mixture, x, observed), axis=1)


def fill(mixture: Mixture, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(N, D) with the missing coordinates at their expected values under the likeliest component."""
    best = component_log_density(mixture, x, observed).argmax(1)
    out = x.copy()
    for mask, rows in patterns(observed):
        for k in range(len(mixture)):
            mine = rows[best[rows] == k]
            if len(mine) and not mask.all():
                out[mine] = _expected(mixture, k, x[mine], mask)[0]
    return out


def _expected(mixture: Mixture, k: int, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples with their missing part expected, and the (D, D) spread of that part."""
    mean, cov = mixture.means[k], mixture.covariances[k]
    spread, filled = np.zeros_like(cov), x.copy()
    if mask.all():
        return filled, spread
    oo, mo = cov[np.ix_(mask, mask)], cov[np.ix_(~mask, mask)]
    gain = cho_solve((np.linalg.cholesky(oo), True), mo.T).T
    filled[:, ~mask] = mean[~mask] + (x[:, mask] - mean[mask]) @ gain.T
    spread[np.ix_(~mask, ~mask)] = cov[np.ix_(~mask, ~mask)] - gain @ mo.T
    return filled, spread


def _maximise(mixture: Mixture, x: np.ndarray, observed: np.ndarray, shares: np.ndarray, settings: Settings) -> Mixture:
    """New parameters from the shares (N, K), sample weights included."""
    count, dims = shares.sum(0), x.shape[1]
    means, covs = np.empty((len(count), dims)), np.empty((len(count), dims, dims))
    groups = list(patterns(observed))
    for k in range(len(count)):
        filled, spread = np.empty_like(x), np.zeros((dims, dims))
        for mask, rows in groups:
            filled[rows], part = _expected(mixture, k, x[rows], mask)
            spread += shares[rows, k].sum() * part
        means[k] = shares[:, k] @ filled / count[k]
        centred = filled - means[k]
        scatter = (centred * shares[:, k : k + 1]).T @ centred + spread
        nu = settings.pseudo_samples
        covs[k] = (scatter + nu * settings.target) / (count[k] + nu) + settings.floor**2 * np.eye(dims)
    return Mixture(count / count.sum(), means, covs)


def fit(
    start: Mixture, x: np.ndarray, observed: np.ndarray, weight: np.ndarray, settings: Settings
) -> tuple[Mixture, float]:
    """EM from a start to convergence: the mixture and its weighted mean log-likelihood, nats a sample."""
    mixture, before = start, -np.inf
    for _ in range(settings.max_steps):
        logs = component_log_density(mixture, x, observed)
        total = np.logaddexp.reduce(logs, axis=1)
        now = float(np.average(total, weights=weight))
        if now - before < settings.tolerance:
            break
        before = now
        shares = np.exp(logs - total[:, None]) * weight[:, None]
        mixture = _maximise(mixture, x, observed, shares, settings)
    return mixture, before


def spread_centres(x: np.ndarray, weight: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count,) indices of samples far from each other: the start of k-means++, each drawn by squared distance."""
    chosen = [int(rng.choice(len(x), p=weight / weight.sum()))]
    nearest = ((x - x[chosen[0]]) ** 2).sum(1)
    while len(chosen) < count:
        chance = nearest * weight
        chosen.append(int(rng.choice(len(x), p=chance / chance.sum())))
        nearest = np.minimum(nearest, ((x - x[chosen[-1]]) ** 2).sum(1))
    return np.array(chosen)


def clusters(x: np.ndarray, weight: np.ndarray, count: int, rng: np.random.Generator, steps: int = 20) -> np.ndarray:
    """(N,) cluster of each sample: k-means from spread centres."""
    centres = x[spread_centres(x, weight, count, rng)]
    for _ in range(steps):
        distance = (centres**2).sum(1) - 2.0 * x @ centres.T
        label = distance.argmin(1)
        sums = np.stack([np.bincount(label, weight * column, count) for column in x.T], axis=1)
        centres = sums / np.maximum(np.bincount(label, weight, count), 1e-9)[:, None]
    return label


def start_from(labels: np.ndarray, x: np.ndarray, weight: np.ndarray, settings: Settings) -> Mixture:
    """A mixture with one component a cluster, for samples x (N, D) without missing coordinates."""
    count, dims = labels.max() + 1, x.shape[1]
    shares = np.eye(count)[labels] * weight[:, None]
    blank = Mixture(np.full(count, 1.0 / count), np.zeros((count, dims)), np.tile(np.eye(dims), (count, 1, 1)))
    return _maximise(blank, x, np.ones(x.shape, bool), shares, settings)

"""Gaussian mixtures fitted by EM to data with missing coordinates (numpy only).

For sample x with observed coordinates o and missing ones m, component k:

    r_k     ~ w_k N(x_o; mu_o, S_oo)
    x_m | k ~ N(mu_m + S_mo S_oo^-1 (x_o - mu_o),  S_mm - S_mo S_oo^-1 S_om)

so nothing has to be filled in: a joint that a source does not drive takes no part, and its expected value and
covariance follow from those that are driven. The M-step is the weighted mean and covariance of the expected samples
plus the covariance of the missing part. Each covariance is drawn towards a target S0 by nu pseudo-samples and gets a
floor:

    S_k = (sum_n r_nk [...] + nu S0) / (N_k + nu) + floor^2 I.
"""

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


@dataclass(frozen=True)
class Group:
    """Samples that have the same coordinates observed."""

    mask: np.ndarray
    """(D,) bool."""
    rows: np.ndarray
    """(n,) which samples."""
    x: np.ndarray
    """(n, D)."""


def groups(x: np.ndarray, observed: np.ndarray) -> list[Group]:
    """The samples by pattern of observed coordinates, so that each pattern is factored once."""
    masks, index = np.unique(observed, axis=0, return_inverse=True)
    rows = [np.flatnonzero(index.reshape(-1) == p) for p in range(len(masks))]
    return [Group(mask, r, x[r]) for mask, r in zip(masks, rows, strict=True)]


def _log_parts(mixture: Mixture, group: Group) -> np.ndarray:
    """(n, K) log (w_k N_k) of the observed coordinates of a group."""
    seen, out = group.x[:, group.mask], []
    for weight, mean, cov in zip(mixture.weights, mixture.means, mixture.covariances, strict=True):
        factor = np.linalg.cholesky(cov[np.ix_(group.mask, group.mask)])
        white = (seen - mean[group.mask]) @ solve_triangular(factor, np.eye(len(factor)), lower=True).T
        constant = np.log(np.diag(factor)).sum() + 0.5 * len(factor) * np.log(2.0 * np.pi)
        out.append(np.log(weight) - constant - 0.5 * np.einsum("nd,nd->n", white, white))
    return np.stack(out, axis=1)


def component_log_density(mixture: Mixture, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(N, K) log (w_k N_k) of the observed coordinates."""
    out = np.empty((len(x), len(mixture)))
    for group in groups(x, observed):
        out[group.rows] = _log_parts(mixture, group)
    return out


def log_density(mixture: Mixture, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(N,) marginal log-density, nats, of the observed coordinates of each sample."""
    return np.logaddexp.reduce(component_log_density(mixture, x, observed), axis=1)


def fill(mixture: Mixture, x: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """(N, D) with the missing coordinates at their expected values under the likeliest component."""
    out = x.copy()
    for group in groups(x, observed):
        best = _log_parts(mixture, group).argmax(1)
        for k in np.unique(best):
            mine = best == k
            out[group.rows[mine]] = _expected(mixture, k, group.x[mine], group.mask)[0]
    return out


def _expected(mixture: Mixture, k: int, x: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Samples with their missing part expected, and the (D, D) covariance of that part."""
    mean, cov = mixture.means[k], mixture.covariances[k]
    missing = np.zeros_like(cov)
    if mask.all():
        return x, missing
    filled = x.copy()
    oo, mo = cov[np.ix_(mask, mask)], cov[np.ix_(~mask, mask)]
    gain = cho_solve((np.linalg.cholesky(oo), True), mo.T).T
    filled[:, ~mask] = mean[~mask] + (x[:, mask] - mean[mask]) @ gain.T
    missing[np.ix_(~mask, ~mask)] = cov[np.ix_(~mask, ~mask)] - gain @ mo.T
    return filled, missing


def _maximise(mixture: Mixture, parts: list[Group], responsibilities: list[np.ndarray], settings: Settings) -> Mixture:
    """New parameters from the responsibilities (n, K) of every group, sample weights included.

    Moments are taken about the old means, which keeps the scatter exact where a component is narrow.
    """
    count = np.sum([s.sum(0) for s in responsibilities], axis=0)
    means, covs = np.empty_like(mixture.means), np.empty_like(mixture.covariances)
    for k, old in enumerate(mixture.means):
        first, second = np.zeros_like(old), np.zeros_like(covs[k])
        for group, responsibility in zip(parts, responsibilities, strict=True):
            filled, missing = _expected(mixture, k, group.x, group.mask)
            centred, own = filled - old, responsibility[:, k]
            first += own @ centred
            second += (centred * own[:, None]).T @ centred + own.sum() * missing
        shift = first / count[k]
        scatter, nu = second - count[k] * np.outer(shift, shift), settings.pseudo_samples
        means[k] = old + shift
        covs[k] = (scatter + nu * settings.target) / (count[k] + nu) + settings.floor**2 * np.eye(len(old))
    return Mixture(count / count.sum(), means, covs)


def fit(
    start: Mixture, x: np.ndarray, observed: np.ndarray, weight: np.ndarray, settings: Settings
) -> tuple[Mixture, float]:
    """EM from a start to convergence: the mixture and its weighted mean log-likelihood, nats a sample."""
    parts = groups(x, observed)
    mixture, before = start, -np.inf
    for _ in range(settings.max_steps):
        logs = [_log_parts(mixture, group) for group in parts]
        totals = [np.logaddexp.reduce(part, axis=1) for part in logs]
        now = sum(float(t @ weight[g.rows]) for t, g in zip(totals, parts, strict=True)) / float(weight.sum())
        if now - before < settings.tolerance:
            break
        before = now
        responsibilities = [
            np.exp(part - total[:, None]) * weight[g.rows][:, None]
            for part, total, g in zip(logs, totals, parts, strict=True)
        ]
        mixture = _maximise(mixture, parts, responsibilities, settings)
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
    responsibilities = np.eye(count)[labels] * weight[:, None]
    blank = Mixture(np.full(count, 1.0 / count), np.zeros((count, dims)), np.tile(np.eye(dims), (count, 1, 1)))
    everything = Group(np.ones(dims, bool), np.arange(len(x)), x)
    return _maximise(blank, [everything], [responsibilities], settings)

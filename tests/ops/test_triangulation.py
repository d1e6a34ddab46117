"""Points are found again from their pixels, by as few as two views, and weights count."""

import numpy as np

from hmrfit.ops.triangulation import triangulate


def cameras(count: int) -> np.ndarray:
    """K [R | t] of a ring that looks at the origin from four metres."""
    found = []
    for i in range(count):
        c, s = np.cos(1.3 * i), np.sin(1.3 * i)
        pose = np.array([[c, 0, s, 0.1 * i], [0, 1, 0, 0], [-s, 0, c, 4.0]])
        found.append(np.array([[1000.0, 0, 500], [0, 1000, 400], [0, 0, 1]]) @ pose)
    return np.stack(found)


def seen(points: np.ndarray, P: np.ndarray) -> np.ndarray:
    image = np.einsum("vij,nj->nvi", P, np.c_[points, np.ones(len(points))])
    return image[..., :2] / image[..., 2:]


def test_points_are_found_again() -> None:
    points, P = np.random.default_rng(0).normal(size=(20, 3)), cameras(4)
    found, away = triangulate(P, seen(points, P), np.ones((20, 4)))
    np.testing.assert_allclose(found, points, atol=1e-9)
    np.testing.assert_allclose(away, 0, atol=1e-6)
    two = np.ones((20, 4)) * [1, 0, 0.5, 0]
    found, away = triangulate(P, np.where(two[..., None] > 0, seen(points, P), np.nan), two)
    np.testing.assert_allclose(found, points, atol=1e-9)
    assert np.isnan(away[:, 1]).all() and np.isfinite(away[:, 0]).all()


def test_residuals_are_least_in_the_image() -> None:
    """Near the optimum of the pixels' squares, found by trying points around it."""
    rng = np.random.default_rng(1)
    points, P = rng.normal(size=(1, 3)), cameras(3)
    xy = seen(points, P) + rng.normal(scale=3, size=(1, 3, 2))
    found, away = triangulate(P, xy, np.ones((1, 3)))
    tried = found + rng.normal(scale=2e-3, size=(300, 3))
    costs = np.square(seen(tried, P) - xy).sum((1, 2))
    assert costs.min() > 0.999 * np.square(away).sum()


def test_one_view_says_nothing() -> None:
    found, away = triangulate(cameras(2), np.zeros((1, 2, 2)), np.array([[1.0, 0.0]]))
    assert np.isnan(found).all() and np.isnan(away).all()

"""The uncertainty plot: ellipses of the covariance, at the joints."""

import numpy as np

from hmrfit.report.uncertainty_plot import FRONT, INSIDE, PAPER, SIDE, uncertainty_plot

PARENTS = (-1, 0, 1)
JOINTS = np.array([[0.3, 0.1, 5.0], [0.3, -0.4, 5.0], [0.7, -0.4, 5.2]])


def drawn(covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both halves; the gap between them is cut off."""
    picture = uncertainty_plot(JOINTS, covariance, PARENTS, height=400)
    return picture[:, :400].astype(int), picture[:, -400:].astype(int)


def coloured(view: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Pixels nearer to the ellipses' colour over paper than to paper or bones."""
    mixed = 0.45 * np.array(color) + 0.55 * np.array(PAPER)
    return np.abs(view - mixed).sum(-1) < 12


def test_areas_are_the_covariances():
    """π q √det S: 10 cm across the view and 5 cm along y in front, 20 cm of depth at the side."""
    covariance = np.zeros((3, 3, 3))
    covariance[2] = np.diag([0.1, 0.05, 0.2]) ** 2
    q = -2 * np.log(1 - INSIDE)
    reach = 1.15 * max(0.5, 0.5 + 2 * np.sqrt(0.1**2 + 0.05**2 + 0.2**2))
    scale = 200 / reach
    for view, color, std in zip(drawn(covariance), (FRONT, SIDE), (0.1, 0.2), strict=True):
        expected = np.pi * q * std * 0.05 * scale**2
        assert abs(coloured(view, color).sum() / expected - 1) < 0.08  # bones and smoothed edges are not counted


def test_nothing_unsure_draws_no_ellipse():
    front, side = drawn(np.zeros((3, 3, 3)))
    assert not coloured(front, FRONT).any() and not coloured(side, SIDE).any()
    assert (front != np.array(PAPER)).any()  # the bones are there


def test_what_is_not_finite_is_left_out():
    covariance = np.full((3, 3, 3), np.nan)
    covariance[:] = 0
    covariance[1] = 1e12 * np.eye(3)
    assert uncertainty_plot(JOINTS, covariance, PARENTS).shape[0] == 480

"""Keypoints against the image: what one keypoint costs, and what an outlier costs."""

import math

import pytest
import torch
from helpers.points import one_point
from scipy.stats import t as student

from hmrfit.fitting.check import normal_equations
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.keypoints import Reprojection, StudentReprojection


@pytest.mark.parametrize("confidence", [0.0, 0.3, 1.0])
def test_reprojection_is_geman_mcclure_relative_to_the_box(confidence):
    """3-4-5: 5 pixels at sigma = 0.05 · 100 is z = 1, cost 1/2 c² · 1/2."""
    cost = normal_equations(Reprojection(0.05), one_point(3, 4, confidence))[0]
    assert cost.item() == pytest.approx(0.25 * confidence**2, abs=1e-12)
    twice = normal_equations(Reprojection(0.05), one_point(6, 8, confidence, box=200.0))[0]
    assert twice.item() == pytest.approx(cost.item(), abs=1e-12)


def test_one_keypoint_costs_at_most_a_half():
    assert normal_equations(Reprojection(0.05), one_point(1e6, 0))[0].item() == pytest.approx(0.5)


def with_noise(x: float, y: float, noise: float) -> Linearization:
    e = one_point(x, y)
    o = e.observation
    known = type(o)(o.keypoints, o.box_size, noise=torch.full((1, 2), noise, dtype=torch.float64))
    return Linearization(e.body, e.state, known)


def test_the_gaussian_is_half_the_squared_error_over_its_noise():
    """3-4-5: 5 pixels at a noise of 0.02 · 100 are 2.5 standard deviations; nu = inf."""
    cost = normal_equations(StudentReprojection(nu=torch.inf), with_noise(3, 4, 0.02))[0]
    assert cost.item() == pytest.approx(0.5 * 2.5**2)


def test_students_t_is_the_cheaper_one_far_away():
    """nu/2 log(1 + z/nu): the density of a t distribution but for a factor of its exponent, and a Gaussian near 0."""
    for pixels in (0.1, 2.0, 50.0, 1e4):
        z = (pixels / 2.0) ** 2
        found = normal_equations(StudentReprojection(nu=30.0), with_noise(pixels, 0, 0.02))[0].item()
        assert found == pytest.approx(15 * math.log1p(z / 30), rel=1e-9)
        drop = student(30.0).logpdf(0.0) - student(30.0).logpdf(z**0.5)
        assert found == pytest.approx(drop * 30 / 31, rel=1e-9)


def test_without_a_noise_of_their_own_keypoints_have_the_terms():
    term = StudentReprojection(sigma=0.02)
    own, default = with_noise(3, 4, 0.02), one_point(3, 4)
    torch.testing.assert_close(normal_equations(term, own)[0], normal_equations(term, default)[0])

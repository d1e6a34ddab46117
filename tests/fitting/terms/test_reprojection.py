"""Keypoints against the image: what one keypoint costs, and what an outlier costs."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.measured import seeded
from helpers.points import one_point
from scipy.stats import t as student

from hmrfit.fitting.check_term import check_term, normal_equations, sample_evaluation
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.reprojection import Reprojection, StudentReprojection


@pytest.mark.parametrize("confidence", [0.0, 0.3, 1.0])
def test_reprojection_is_geman_mcclure_relative_to_the_box(confidence):
    """3-4-5: 5 pixels at sigma = 0.05 · 100 is z = 1, cost 1/2 c² · 1/2."""
    cost = normal_equations(Reprojection(0.05), one_point(3, 4, confidence))[0]
    assert cost.item() == pytest.approx(0.25 * confidence**2, abs=1e-12)
    twice = normal_equations(Reprojection(0.05), one_point(6, 8, confidence, box=200.0))[0]
    assert twice.item() == pytest.approx(cost.item(), abs=1e-12)


def test_a_scale_of_its_own_is_so_much_wider():
    e = sample_evaluation()
    n = 0.2 + seeded(*e.observation.keypoints.confidence.shape).abs()
    wider = Linearization(e.body, e.state, replace(e.observation, noise_ratio=n), e.layout)
    check_term(Reprojection(0.05), wider)
    r = Reprojection(0.05).residuals(wider).unflatten(1, (-1, 2))[:, 3]
    for i in range(len(r)):
        alone = Reprojection(0.05 * float(n[i, 3])).residuals(e).unflatten(1, (-1, 2))[:, 3]
        torch.testing.assert_close(r[i], alone[i])


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


@pytest.mark.parametrize("nu", [8.0, torch.inf])
def test_students_keypoints_are_a_fine_term(nu):
    e = sample_evaluation()
    noise = 0.01 + 0.02 * seeded(*e.observation.keypoints.confidence.shape).abs()
    check_term(
        StudentReprojection(nu=nu), Linearization(e.body, e.state, replace(e.observation, noise=noise), e.layout)
    )


def test_students_cost_is_its_formula():
    """½ q c ν log(1 + z/ν) a keypoint; with many degrees of freedom the Gaussian's ½ q c z."""
    e = sample_evaluation()
    seen, box = e.observation.keypoints, e.observation.box_size
    z, weight = (e.projected - seen.xy).square().sum(-1) / (0.012 * box[:, None]).square(), seen.shown * seen.confidence
    torch.testing.assert_close(StudentReprojection(nu=8.0).cost(e), (weight * 4 * torch.log1p(z / 8)).sum(-1))
    gaussian = StudentReprojection(nu=torch.inf).cost(e)
    torch.testing.assert_close(StudentReprojection(nu=1e9).cost(e), gaussian, rtol=1e-5, atol=0)
    torch.testing.assert_close(gaussian, 0.5 * (weight * z).sum(-1))

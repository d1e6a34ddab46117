"""The posterior of a fit: the covariance of a least-squares problem, mixtures, and samples that have it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fits import fitter, people, photograph, shipped
from scipy.stats import f as fisher
from scipy.stats import kstest
from scipy.stats import t as student

from hmrfit.fitting.check_term import finite_difference_jacobian, sample_evaluation, stick_body
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.fitting.parameters import Layout, Linearization
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.fitting.uncertainty import (
    GAUSSIAN,
    SOURCES_NOISE,
    UNKNOWN_SOURCE,
    Calibration,
    KeypointNoise,
    Posterior,
    Weight,
    cholesky_of_any,
    joint_rows,
    joint_scale,
    mixed_joint_covariance,
    posterior,
    residual_noise,
    sample_steps,
)
from hmrfit.keypoints import SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import People
from hmrfit.types import BodyParams, Keypoints

WEIGHTS = {"anchor": Weight(0.7), "keypoints": Weight(0.5)}


@pytest.fixture(scope="module")
def anchored() -> Linearization:
    e = sample_evaluation()
    anchor = Anchor.around(e.state.params, e.body.parents, degrees=8.0)
    return Linearization(e.body, e.state, replace(e.observation, anchor=anchor), e.layout)


def test_the_covariance_is_the_inverse_of_jtj(anchored):
    """Rows by finite differences of the terms' residuals."""
    e, terms = anchored, {"anchor": AnchorPrior(), "keypoints": StudentReprojection()}
    how = Calibration(WEIGHTS, 8.0)
    found = posterior(e.body, terms, how, [e.state], torch.zeros(4, 1).double(), e.observation)
    rows = [WEIGHTS[n].at ** 0.5 * finite_difference_jacobian(term, e) for n, term in terms.items()]
    expected = torch.linalg.inv(sum(J.mT @ J for J in rows))
    torch.testing.assert_close(found.covariance[:, 0], expected, rtol=1e-3, atol=1e-6)  # what differences leave
    assert (found.probability == 1).all() and found.nu == 8.0


def test_probabilities_follow_energy_and_width(anchored):
    """Two hypotheses at the same place: e^-1 for one nat more; none for one that is not there."""
    e, terms = anchored, {"anchor": AnchorPrior(), "keypoints": StudentReprojection()}
    costs = torch.tensor([[3.0, 4.0, torch.inf]]).double().expand(4, 3)
    found = posterior(e.body, terms, Calibration(WEIGHTS, 8.0), [e.state] * 3, costs, e.observation)
    expected = 1 / (1 + np.exp(-1))
    torch.testing.assert_close(found.probability[:, 0], torch.full((4,), expected).double())
    assert (found.probability[:, 2] == 0).all()
    torch.testing.assert_close(found.probability.sum(1), torch.ones(4).double())


def test_joint_rows_are_derivatives():
    """Against moving the body by finite steps."""
    body = stick_body(SMPL24)
    e = sample_evaluation(body, SMPL24)
    layout = Layout.everything(body)
    rows = joint_rows(body, e.state.params)
    for column in range(0, layout.columns, 7):
        step = torch.zeros(layout.columns).double()
        step[column] = 1e-6
        ends = [body.pose(e.state.retract(s, body.parents, layout).params).points for s in (step, -step)]
        ends = [points - points[:, :1] for points in ends]
        torch.testing.assert_close(rows[..., column], (ends[0] - ends[1]) / 2e-6, rtol=0, atol=1e-6)


def test_samples_have_the_covariance_and_the_tails():
    """20,000 draws of one column: Kolmogorov-Smirnov against scipy's t, and the mixture's shares."""
    C = torch.diag(torch.tensor([4.0, 1.0]).double()).expand(1, 2, 2, 2)
    mixture = Posterior(torch.tensor([[0.25, 0.75]]).double(), C, nu=5.0)
    which, steps = sample_steps(mixture, 20000, np.random.default_rng(0))
    assert abs((which == 1).double().mean().item() - 0.75) < 0.015  # five standard errors
    assert kstest(steps[:, 0, 0].numpy() / 2, student(5.0).cdf).pvalue > 1e-3
    again = sample_steps(mixture, 20000, np.random.default_rng(0))
    assert torch.equal(steps, again[1]) and torch.equal(which, again[0])


def test_a_mixture_is_as_wide_as_its_parts_lie_apart(anchored):
    """Law of total covariance about the first hypothesis."""
    e = anchored
    body = stick_body(SMPL24)
    other = sample_evaluation(body, SMPL24, seed=2).state.params
    P = Layout.everything(body).columns
    C = 1e-4 * torch.eye(P).double().expand(4, 2, P, P)
    p = torch.tensor([[0.8, 0.2]], dtype=torch.float64).expand(4, 2)
    found = mixed_joint_covariance(body, [e.state.params, other], Posterior(p, C, nu=6.0))
    points = [body.pose(params).points for params in (e.state.params, other)]
    away = (points[1] - points[1][:, :1]) - (points[0] - points[0][:, :1])
    parts = [1.5 * joint_scale(body, params, C[:, 0]) for params in (e.state.params, other)]
    expected = 0.8 * parts[0] + 0.2 * (parts[1] + away[..., None] @ away[..., None, :])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_an_occluded_arm_is_less_sure():
    """Hiding the left wrist and elbow widens the left hand, not the right foot."""
    truth = people(6, "coco17", noise=0.01)
    names = list(truth.keypoints.names)
    hidden = truth.keypoints.map(torch.clone)
    hidden.confidence[:, [names.index("left_wrist"), names.index("left_elbow")]] = 0
    std = []
    for keypoints in (truth.keypoints, hidden):
        fit = fitter().fit(keypoints, photograph(6), init=truth.params, init_std=15.0)
        mixture = fitter().posterior(fit)
        body = fitter().body.points(SMPL24)
        C = mixed_joint_covariance(body, [s.params for s in fit.hypotheses], mixture)
        std.append(C.diagonal(dim1=2, dim2=3).sum(-1).sqrt())
    hand, foot = SMPL24.index("left_wrist"), SMPL24.index("right_ankle")
    assert (std[1][:, hand] > 1.2 * std[0][:, hand]).all()
    torch.testing.assert_close(std[1][:, foot], std[0][:, foot], rtol=0.2, atol=0)


def test_weights_follow_what_was_seen(anchored):
    """A person with a tenth hidden and the usual noise has the weight itself; slopes are exponents."""
    keypoints = replace(anchored.observation.keypoints, confidence=torch.ones(4, 17).double())
    keypoints.confidence[1, :8] = 0
    noise = torch.full((4, 17), math.exp(-4.5)).double()
    noise[2] *= 2
    found = Weight(0.5, hidden=1.0, noise=0.3).of(replace(anchored.observation, keypoints=keypoints, noise=noise))
    hidden = 4 / 13  # of the parts: the head, both shoulders, the left elbow
    expected = [0.5 * math.exp(-0.1), 0.5 * math.exp(hidden - 0.1), 0.5 * math.exp(-0.1 + 0.3 * math.log(2))]
    torch.testing.assert_close(found[:3], torch.tensor(expected).double())


def test_noise_of_the_posterior_is_predicted_noise_floor_and_residuals():
    """In quadrature; what is known replaces all three, keypoint by keypoint."""
    f, g = SOURCES_NOISE["labelled"]
    noise = KeypointNoise.of(["labelled", "exact", None, "exact"], [None, None, None, np.array([0.05, 0.06])], 2)
    predicted, residuals = torch.full((4, 2), 0.008).double(), torch.full((4, 2), 0.012).double()
    found = noise.with_predicted(predicted, residuals, torch.ones(2))
    floored = math.sqrt(0.008**2 + f**2 + (0.012 * g) ** 2)
    expected = torch.tensor([[floored, floored], [0.008, 0.008], [math.nan, math.nan], [0.05, 0.06]]).double()
    expected[2] = KeypointNoise.of([UNKNOWN_SOURCE], [None], 2).with_predicted(predicted, residuals, torch.ones(2))[0]
    torch.testing.assert_close(found, expected)


def test_only_the_posterior_of_those_who_are_not_exact_is_wider():
    """Beside others, too; without a word about them, keypoints are exact."""
    crowd = people(3, "coco17", noise=0.01)
    fit = shipped().fit(crowd.keypoints, photograph(3))
    plain = shipped().posterior(fit)
    sources = ["exact", "detector", "labelled"]
    mixed = shipped().posterior(replace(fit, keypoint_noise=KeypointNoise.of(sources, [None] * 3, 17)))
    assert torch.equal(mixed.covariance[0], plain.covariance[0]) and torch.equal(mixed.noise[0], plain.noise[0])
    ratio = mixed.covariance.diagonal(dim1=2, dim2=3)[1:, 0] / plain.covariance.diagonal(dim1=2, dim2=3)[1:, 0]
    seen = ratio[ratio.isfinite()]
    assert (seen > 0.999).all() and seen.max() > 1.5


def test_a_known_standard_deviation_is_believed():
    """Of 80 people with 2 % noise, regions of 68 % hold two thirds of elbows, wrists, knees and ankles where that is
    told; fewer where half a percent is, nearly all where six are. (About the best hypothesis, so a little too many.)"""
    crowd, body = people(80, "coco17", noise=0.02), shipped().body.points(SMPL24)
    fit = shipped().fit(crowd.keypoints, photograph(80))
    joints, held = body.pose(fit.state.params).points, {}
    limbs = [i for i, name in enumerate(SMPL24) if name.endswith(("elbow", "wrist", "knee", "ankle"))]
    away = ((joints - joints[:, :1]) - (crowd.joints - crowd.joints[:, :1]))[:, limbs]
    for std in (0.005, 0.02, 0.06):
        known = KeypointNoise.of([None] * 80, [np.full(17, std)] * 80, 17)
        mixture = shipped().posterior(replace(fit, keypoint_noise=known))
        scale = joint_scale(body, fit.state.params, mixture.covariance[:, 0])[:, limbs]
        square = (away * torch.linalg.solve(scale, away[..., None]).squeeze(-1)).sum(-1) / 3
        held[std] = float((fisher.cdf(square.numpy(), 3, mixture.nu) <= 0.68).mean())
    assert held[0.005] < 0.6 < held[0.02] < 0.8 < held[0.06], held


def turned_by(degrees: float, count: int) -> tuple[People, BodyParams]:
    """People, and starts of which every joint is off by so much about each axis."""
    truth = people(count, "coco17", noise=0.01, missing=0.1)
    draws = torch.randn(count, 24, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    rotations = truth.params.rotations @ rotvec_to_matrix(math.radians(degrees) * draws)
    return truth, replace(truth.params, global_orient=rotations[:, 0], body_pose=rotations[:, 1:])


def test_a_start_of_known_error_is_as_sure_as_it_should_be():
    """Root mean square of the predicted and of the actual error, over 24 joints of 120 people: within a quarter. By the
    energy of the fit alone it would be less than half."""
    truth, start = turned_by(10.0, 120)
    fit = fitter().fit(truth.keypoints, photograph(120), init=start, init_std=10.0)
    mixture, body = fitter().posterior(fit), fitter().body.points(SMPL24)
    variance = (
        mixed_joint_covariance(body, [s.params for s in fit.hypotheses], mixture).diagonal(dim1=2, dim2=3).sum(-1)
    )
    joints = body.pose(fit.state.params).joints
    away = (joints - joints[:, :1]) - (truth.joints - truth.joints[:, :1])
    predicted, found = variance[:, 1:].mean().sqrt(), away[:, 1:].square().sum(-1).mean().sqrt()
    assert 0.8 < predicted / found < 1.25 and mixture.nu < GAUSSIAN


def test_where_nothing_was_measured_the_energy_is_taken_at_its_word():
    truth = people(2, "coco17", noise=0.01)
    assert fitter().posterior(fitter().fit(truth.keypoints, photograph(2))).nu == GAUSSIAN  # no start, no anchor


def test_any_hessian_has_a_factor():
    """Good ones theirs, with the floor; what is no Hessian of anything does not take the others down."""
    good = torch.randn(6, 6, dtype=torch.float64)
    good = good @ good.T + torch.eye(6)
    indefinite = -good
    broken = good.clone()
    broken[2, 3] = torch.nan
    tiny, huge = good * 1e-30, torch.full((6, 6), torch.inf).double()
    H = torch.stack([good, indefinite, broken, torch.zeros(6, 6).double(), tiny, huge])
    factor = cholesky_of_any(H)
    covariance = torch.cholesky_inverse(factor)
    assert factor.isfinite().all() and covariance.isfinite().all()
    assert (covariance.diagonal(dim1=1, dim2=2) > 0).all()
    floor = 1e-9 * good.diagonal().max() * torch.eye(6)
    torch.testing.assert_close(factor[0], torch.linalg.cholesky(0.5 * (good + good.T) + floor), rtol=0, atol=0)
    torch.testing.assert_close(cholesky_of_any(good[None], 0.0)[0], torch.linalg.cholesky(good))


def test_residuals_stand_for_the_noise_of_energies_without_any():
    """Three pixels along x and four along y are 5/sqrt(2) a coordinate; what is not seen does not count."""
    crowd = people(8, "coco17", 0.005)
    spin = shipped("fit_spin")
    fit = spin.fit(crowd.keypoints, photograph(8))
    points = spin.point_body(crowd.keypoints.names)
    exact = fit.state.camera.project(points.pose(fit.state.params).points)
    moved = exact + torch.tensor([3.0, 4.0]).double()
    confidence = torch.ones_like(moved[..., 0])
    moved[:, 5], confidence[:, 5] = 1e4, 0
    seen = replace(fit.observation, keypoints=Keypoints(moved, confidence, points.names))
    found = residual_noise(points, fit.state, seen)
    expected = 5 / 2**0.5 / fit.observation.box_size
    torch.testing.assert_close(found, expected[:, None].expand_as(found))

"""The fit as it is shipped, anchored at the initial estimate: alone or in company, twice the same, good starts stay
good."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import people, photograph
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import pa_mpjpe, reprojection_error
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints

COUNT = 256
FIELDS = ("global_orient", "body_pose", "betas", "transl")


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return build().fitter


@pytest.fixture(scope="module")
def crowd(fitter: Fitter) -> tuple[Keypoints, Fit]:
    truth = people(COUNT, "coco17", noise=0.01, missing=0.1)
    return truth.keypoints, fitter.fit(truth.keypoints, photograph(COUNT))


def joints_of(params: BodyParams) -> Tensor:
    return free_body().points(SMPL24).pose(params).joints


def test_alone_or_in_a_crowd(fitter, crowd):
    keypoints, fit = crowd
    expected = joints_of(fit.state.params)
    for i in (0, 17, 101, 255):
        alone = fitter.fit(keypoints[i], photograph(1))
        torch.testing.assert_close(joints_of(alone.state.params)[0], expected[i], rtol=0, atol=1e-6)
        assert int(alone.hypothesis_cost.isfinite().sum()) == int(fit.hypothesis_cost[i].isfinite().sum())


def test_beside_garbage(fitter, crowd):
    """NaN-free nonsense: all on one place, far outside, none seen, enormous."""
    keypoints, fit = crowd
    bad = keypoints[:4].map(torch.clone)
    bad.xy[0] = 5.0
    bad.xy[1] = -1e7
    bad.confidence[2] = 0.0
    bad.xy[3] = 1e5 * torch.rand(17, 2, generator=torch.Generator().manual_seed(0))
    mixed = Keypoints.cat([bad, keypoints[20:21]])
    found = fitter.fit(mixed, photograph(5))
    torch.testing.assert_close(joints_of(found.state.params)[4], joints_of(fit.state.params)[20], rtol=0, atol=1e-6)
    for field in FIELDS:
        assert getattr(found.state.params, field).isfinite().all()
    spread = fitter.posterior(found)
    assert spread.covariance.isfinite().all() and spread.probability.isfinite().all()


def test_two_runs_are_equal_to_the_last_bit(fitter, crowd):
    keypoints, fit = crowd
    again = fitter.fit(keypoints, photograph(COUNT))
    for field in FIELDS:
        assert torch.equal(getattr(fit.state.params, field), getattr(again.state.params, field))
    assert torch.equal(fit.hypothesis_cost, again.hypothesis_cost)


def test_the_fit_lowers_its_energy_and_meets_the_keypoints_better(crowd):
    _, fit = crowd
    accepted = fit.verdict.accepted
    assert (fit.cost[accepted] < fit.verdict.start_cost[accepted]).all() and accepted.double().mean() > 0.95
    assert torch.equal(fit.cost[~accepted], fit.verdict.start_cost[~accepted])
    error = []
    for state in (fit.start, fit.state):
        seen = fit.observation.keypoints
        found = state.camera.project(free_body().points(COCO17).pose(state.params).points)
        error.append(reprojection_error(found, seen.xy, seen.confidence, fit.observation.box_size).mean())
    assert error[1] < 0.7 * error[0]


def test_in_3d_it_is_better_than_its_start():
    """On poses of the prior, whose range is wider than motion's."""
    truth = people(COUNT, "coco17", noise=0.01, missing=0.1)
    fit = build().fitter.fit(truth.keypoints, photograph(COUNT))
    before, after = (pa_mpjpe(joints_of(s.params), truth.joints).mean() for s in (fit.start, fit.state))
    assert after < 0.97 * before


@pytest.mark.parametrize("init_std", [5.0, None])
def test_a_good_start_stays_good(fitter, init_std):
    """The truth with every joint turned by 5°: the median changes by at most a millimetre."""
    truth = people(COUNT, "coco17", noise=0.01, missing=0.1)
    R = truth.params.rotations
    axis = torch.randn(*R.shape[:2], 3, generator=torch.Generator().manual_seed(5), dtype=R.dtype)
    R = R @ rotvec_to_matrix(torch.deg2rad(torch.tensor(5.0)) * torch.nn.functional.normalize(axis, dim=-1))
    start = BodyParams(R[:, 0], R[:, 1:], truth.params.betas, truth.params.transl)
    fit = fitter.fit(truth.keypoints, truth.camera, start, init_std)
    before, after = (pa_mpjpe(joints_of(p), truth.joints).median() for p in (start, fit.state.params))
    assert after < before + 0.001


def test_little_evidence_gets_the_priors_answer(fitter):
    """One keypoint, or none: the initial estimate as it is, and wider than when all are seen."""
    truth = people(4, "coco17")
    confidence = torch.zeros(4, 17, dtype=torch.float64)
    confidence[:2, 5] = 1.0
    keypoints = Keypoints(truth.clean.xy, confidence, COCO17)
    fit = fitter.fit(keypoints, photograph(4))
    moved = joints_of(fit.state.params) - joints_of(fit.start.params)
    assert (moved - moved[:, :1]).norm(dim=-1).max() < 0.05  # metres
    full = fitter.fit(truth.clean, photograph(4))
    wide, narrow = (
        torch.linalg.det(fitter.posterior(f).covariance[:, 0, 3:75, 3:75]).clamp_min(1e-300).log() for f in (fit, full)
    )
    assert (wide > narrow).all()


def test_company_of_other_cameras(fitter, crowd):
    """A person's camera is the person's own."""
    keypoints, _ = crowd
    cameras = Camera.cat([photograph(1), Camera.from_size(1024, 768, focal=3000.0)])
    both = fitter.fit(keypoints[torch.tensor([3, 3])], cameras)
    alone = fitter.fit(keypoints[3], Camera.from_size(1024, 768, focal=3000.0))
    a, b = joints_of(both.state.params)[1], joints_of(alone.state.params)[0]
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_the_guess_carries_its_own_doubt(fitter):
    """Noisier keypoints are given more noise, hidden limbs a wider anchor."""
    clean, noisy = (people(128, "coco17", noise=n, missing=0.1) for n in (0.005, 0.03))
    noise = [fitter.guess(Observation.of(p.keypoints), photograph(128))[1].noise.median() for p in (clean, noisy)]
    assert noise[1] > 1.5 * noise[0]
    hidden = clean.keypoints.map(torch.clone)
    hidden.confidence[:, [COCO17.index("left_knee"), COCO17.index("left_ankle")]] = 0
    std = []
    for keypoints in (clean.keypoints, hidden):
        anchor = fitter.guess(Observation.of(keypoints), photograph(128))[1].anchor
        leg = torch.tensor([3 * SMPL24.index(j) + axis for j in ("left_hip", "left_knee") for axis in range(3)])
        std.append(torch.linalg.det(anchor.covariance(leg)) ** (1 / 12))
    assert std[1].median() > 1.15 * std[0].median()  # the geometric mean of six directions; a knee bends one way only


def test_more_people_than_a_batch_holds(fitter, crowd, monkeypatch):
    """In pieces of 100: the same answers, in order, each with its own hypotheses."""
    keypoints, whole = crowd
    monkeypatch.setattr(Fitter, "chunk", 100)
    found = fitter.fit(keypoints, photograph(COUNT))
    torch.testing.assert_close(joints_of(found.state.params), joints_of(whole.state.params), rtol=0, atol=1e-6)
    assert torch.equal(found.hypothesis_cost.isfinite().sum(1), whole.hypothesis_cost.isfinite().sum(1))
    assert len(found.observation.noise) == len(found.verdict.reason) == len(found.start) == COUNT


def test_a_body_of_others_is_fitted_in_its_own_shapes(fitter, crowd):
    """The free body with its shapes in another order and fewer of them: the initial estimate's betas mean nothing to
    it."""
    keypoints, fit = crowd
    with np.load(locate("free_body"), allow_pickle=False) as data:
        arrays = dict(data)
    arrays["shapedirs"] = arrays["shapedirs"][..., [3, 0, 1, 2]]
    body = SmplBody(arrays)
    other = Fitter(
        body,
        fitter.terms.values(),
        fitter.library_poses,
        initial_estimate=fitter.initial_estimate,
        error_model=fitter.error_model,
        own_shapes=False,
    )
    found = other.fit(keypoints[:64], photograph(64))
    assert (found.start.params.betas == 0).all() and found.state.params.betas.shape == (64, 4)
    assert found.verdict.accepted.double().mean() > 0.9
    a, b = (
        x.pose(s.params).joints
        for x, s in ((body.points(SMPL24), found.state), (free_body().points(SMPL24), fit.state[:64]))
    )
    assert ((a - a[:, :1]) - (b - b[:, :1])).norm(
        dim=-1
    ).mean() < 0.04  # metres: the same pose, a little otherwise shaped

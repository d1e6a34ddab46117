"""The fit as it is shipped, anchored at the initial estimate: independent of the batch, twice the same, good starts
stay good."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import joints_of, people, photograph, shipped

from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import pa_mpjpe, reprojection_error
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints

COUNT = 256
FIELDS = ("global_orient", "body_pose", "betas", "transl")


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return shipped()


@pytest.fixture(scope="module")
def crowd(fitter: Fitter) -> tuple[Keypoints, Fit]:
    truth = people(COUNT, "coco17", noise=0.01, missing=0.1)
    return truth.keypoints, fitter.fit(truth.keypoints, photograph(COUNT))


def test_people_do_not_depend_on_the_batch(fitter, crowd):
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
    posterior = fitter.posterior(found)
    assert posterior.covariance.isfinite().all() and posterior.probability.isfinite().all()


def test_two_runs_are_equal_to_the_last_bit(fitter, crowd):
    keypoints, fit = crowd
    again = fitter.fit(keypoints, photograph(COUNT))
    for field in FIELDS:
        assert torch.equal(getattr(fit.state.params, field), getattr(again.state.params, field))
    assert torch.equal(fit.hypothesis_cost, again.hypothesis_cost)


def test_the_fit_lowers_its_energy_and_meets_the_keypoints_better(crowd):
    _, fit = crowd
    accepted = fit.acceptance.accepted
    assert (fit.cost[accepted] < fit.acceptance.start_cost[accepted]).all() and accepted.double().mean() > 0.95
    assert torch.equal(fit.cost[~accepted], fit.acceptance.start_cost[~accepted])
    error = []
    for state in (fit.start, fit.state):
        seen = fit.observation.keypoints
        found = state.camera.project(free_body().points(COCO17).pose(state.params).points)
        error.append(reprojection_error(found, seen.xy, seen.confidence, fit.observation.box_size).mean())
    assert error[1] < 0.7 * error[0]


def test_in_3d_it_is_better_than_its_start(crowd):
    """On poses of the prior, whose range is wider than motion's."""
    truth, (_, fit) = people(COUNT, "coco17", noise=0.01, missing=0.1), crowd
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


def test_few_keypoints_get_the_priors_answer(fitter):
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


def test_people_beside_others_of_other_cameras(fitter, crowd):
    """A person's camera is the person's own."""
    keypoints, _ = crowd
    cameras = Camera.cat([photograph(1), Camera.from_size(1024, 768, focal=3000.0)])
    both = fitter.fit(keypoints[torch.tensor([3, 3])], cameras)
    alone = fitter.fit(keypoints[3], Camera.from_size(1024, 768, focal=3000.0))
    a, b = joints_of(both.state.params)[1], joints_of(alone.state.params)[0]
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_more_people_than_a_batch_holds(fitter, crowd, monkeypatch):
    """In pieces of 100: the same answers, in order, each with its own hypotheses."""
    keypoints, whole = crowd
    monkeypatch.setattr(fitter, "chunk", (100, 100))
    found = fitter.fit(keypoints, photograph(COUNT))
    torch.testing.assert_close(joints_of(found.state.params), joints_of(whole.state.params), rtol=0, atol=1e-6)
    assert torch.equal(found.hypothesis_cost.isfinite().sum(1), whole.hypothesis_cost.isfinite().sum(1))
    assert len(found.observation.noise) == len(found.acceptance.reason) == len(found.start) == COUNT

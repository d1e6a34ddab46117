"""SMPLify's and SPIN's ways of going about a fit: their starts, their stages, and which outcome stays."""

from copy import copy
from dataclasses import replace
from functools import cache

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import gmm, people, photograph

from hmrfit.build import build_fitter
from hmrfit.config import ConfigError, load_config
from hmrfit.evaluate.metrics import facing_wrong, pa_mpjpe
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.staged import CLOSE_SHOULDERS, StagedFitter, ambiguous, misses, torso_depth, turned_about
from hmrfit.fitting.uncertainty import GAUSSIAN, joint_scale
from hmrfit.keypoints import SMPL24, resolve_set
from hmrfit.types import Keypoints


@cache
def preset(name: str) -> StagedFitter:
    return build_fitter(load_config(f"fit_{name}"))


@cache
def fitted(name: str) -> Fit:
    return preset(name).fit(people(8, "coco17", 0.005).keypoints, photograph(8))


def test_smplifys_stages_are_its_numbers():
    """Weights are squares; the angle's residual is 0.317 times the pose prior's weight (times alpha, in the prior)."""
    stages = [stage for stage, _ in preset("smplify").schedule.rounds]
    assert stages[0].free == ("transl", "global_orient")
    assert dict(stages[0].weights) == {"smplify_torso": 1.0, "smplify_depth": 100.0**2}
    for stage, w, shape in zip(stages[1:], (404, 404, 57.4, 4.78), (100, 50, 10, 5), strict=True):
        assert stage.free == ("global_orient", "body_pose", "betas")
        expected = {"smplify_keypoints": 1.0, "smplify_pose": w**2, "smplify_shape": shape**2,
                    "bending": (0.317 * w) ** 2, "interpenetration": 1e6}  # fmt: skip
        assert dict(stage.weights) == pytest.approx(expected, rel=1e-6)


def test_spins_stages_are_its_numbers():
    first, second = (stage for stage, _ in preset("spin").schedule.rounds)
    assert first.free == ("transl", "global_orient")
    assert dict(first.weights) == {"spin_torso": 1.0, "spin_depth": 100.0**2}
    assert second.free == ("global_orient", "body_pose", "betas")
    expected = {"spin_keypoints": 1.0, "smplify_pose": 4.78**2, "smplify_shape": 25.0, "bending": (15.2 / 10) ** 2}
    assert dict(second.weights) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["smplify", "spin"])
def test_it_meets_the_keypoints_and_says_what_it_cost(name: str):
    fit, crowd = fitted(name), people(8, "coco17", 0.005)
    points = free_body().points(resolve_set("coco17")).pose(fit.state.params).points
    off = (fit.state.camera.project(points) - crowd.keypoints.xy).norm(dim=-1).mean(1) / crowd.keypoints.box_size()
    assert off.median() < 0.02
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost)
    assert fit.hypothesis_cost.shape == (8, 1) and len(fit.hypotheses) == 1


def test_spin_starts_from_the_initial_estimate_and_keeps_near_its_depth():
    fit, crowd, spin = fitted("spin"), people(8, "coco17", 0.005), preset("spin")
    guess = spin.initial_estimate.predict(crowd.keypoints, photograph(8)).params
    torch.testing.assert_close(fit.state.params.transl[:, 2], guess.transl[:, 2], rtol=0.02, atol=0)
    truth = crowd.joints
    found = free_body().points(()).pose(fit.state.params).joints
    assert pa_mpjpe(found, truth).median() < 0.1


def test_the_camera_is_frozen_after_its_stage():
    """The later stages leave the translation alone: the fit has that of a fit which ends after the first."""
    spin = preset("spin")
    camera_only = spin.with_schedule(type(spin.schedule)(rounds=spin.schedule.rounds[:1]))
    assert isinstance(camera_only, StagedFitter)
    first = camera_only.fit(people(8, "coco17", 0.005).keypoints, photograph(8))
    assert torch.equal(first.state.params.transl, fitted("spin").state.params.transl)


def test_smplify_starts_from_the_mixtures_mean_before_the_camera():
    smplify = preset("smplify")
    torch.testing.assert_close(smplify.start_pose, (gmm().weights[:, None] * gmm().means).sum(0))
    crowd = people(8, "coco17", 0.005)
    state = smplify._start(Observation.of(crowd.keypoints), photograph(8))
    assert (state.params.transl[:, :2] == 0).all() and (state.params.transl[:, 2] > 0.5).all()


def test_depth_from_the_torso():
    """A torso of 0.5 m that is 100 px long under a focal length of 1,280 px is 6.4 m away."""
    names = resolve_set("coco17")
    points, xy = torch.zeros(1, 17, 3).double(), torch.zeros(1, 17, 2).double()
    points[0, 5:7, 1], xy[0, 5:7, 1] = -0.5, -100.0
    both, one = torch.ones(1, 17).double(), torch.ones(1, 17).double()
    one[0, 5] = 0
    for confidence in (both, one):
        seen = Observation.of(Keypoints(xy, confidence, names))
        assert torso_depth(points, seen, photograph(1)).item() == pytest.approx(6.4)


def test_the_two_orientations():
    """Who has both shoulders at one place may face either way; the turned body has its front where the back was."""
    xy = torch.zeros(3, 17, 2).double()
    xy[:, 15, 1] = 300.0
    xy[:, 5, 0] = torch.tensor([300 * CLOSE_SHOULDERS - 1, 300 * CLOSE_SHOULDERS + 1, 200.0])
    confidence = torch.ones(3, 17).double()
    confidence[2, 6] = 0
    observation = Observation.of(Keypoints(xy, confidence, resolve_set("coco17")))
    assert ambiguous(observation).tolist() == [True, False, True]
    crowd = people(8)
    state = State(crowd.params, crowd.camera)
    assert facing_wrong(turned_about(state).params.global_orient, crowd.params.global_orient).all()


def test_both_orientations_find_who_turns_the_back():
    """Seen from the side, front and back: as many as from any other way come out facing right."""
    fit, crowd = fitted("smplify"), people(8, "coco17", 0.005)
    assert facing_wrong(fit.state.params.global_orient, crowd.params.global_orient).sum() <= 1


def test_the_company_changes_nothing():
    crowd, together = people(8, "coco17", 0.005), fitted("smplify")
    for i in (0, 5):
        alone = preset("smplify").fit(crowd.keypoints[i], photograph(1))
        joints = [free_body().points(()).pose(x.params).joints for x in (alone.state, together.state[i])]
        torch.testing.assert_close(joints[0], joints[1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["smplify", "spin"])
def test_a_crowd_is_fitted_in_pieces(name: str, monkeypatch):
    """So that memory stays bounded; nobody notices."""
    sizes, fitter, whole = [], preset(name), fitted(name)
    piece = StagedFitter._fit_piece
    monkeypatch.setattr(StagedFitter, "chunk", 3)
    monkeypatch.setattr(StagedFitter, "_fit_piece", lambda self, given: sizes.append(len(given)) or piece(self, given))  # fmt: skip  # noqa: E501
    found = fitter.fit(people(8, "coco17", 0.005).keypoints, photograph(8))
    assert sorted(sizes) == [2, 3, 3]
    torch.testing.assert_close(found.cost, whole.cost, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.start.params.transl, whole.start.params.transl, rtol=0, atol=1e-12)


def test_a_start_that_is_given_is_the_only_one():
    crowd = people(8, "coco17", 0.005)
    fit = preset("smplify").fit(crowd.keypoints, photograph(8), init=crowd.params)
    torch.testing.assert_close(fit.state.params.transl[:, 2], crowd.params.transl[:, 2], rtol=0.05, atol=0)


def test_nothing_seen_still_ends():
    names = resolve_set("coco17")
    nobody = Keypoints(torch.zeros(2, 17, 2).double(), torch.zeros(2, 17).double(), names)
    for name in ("smplify", "spin"):
        fit = preset(name).fit(nobody, photograph(2))
        for value in (fit.state.params.transl, fit.state.params.body_pose, fit.state.params.betas, fit.cost):
            assert value.isfinite().all()


def test_without_a_initial_estimate_there_is_no_start_from_it():
    with pytest.raises(ValueError, match=r"FIT\.START: initial_estimate needs a network"):
        build_fitter(load_config("fit_spin", ["PRIORS.INITIAL_ESTIMATE="]))


@pytest.mark.parametrize("name", ["smplify", "spin"])
def test_how_sure_it_is_was_measured(name: str):
    """Its energy's own word is far too sure: a third of what was measured, or less."""
    body, fit = free_body().points(SMPL24), fitted(name)
    own = copy(preset(name))
    own.calibration = None
    said = [f.posterior(fit) for f in (preset(name), own)]
    assert said[0].nu < 10 < GAUSSIAN == said[1].nu
    std = [
        joint_scale(body, fit.state.params, s.covariance[:, 0]).diagonal(dim1=2, dim2=3).sum(-1).sqrt() for s in said
    ]
    assert (std[0][:, 1:] > 2 * std[1][:, 1:]).double().mean() > 0.9


def test_misses_are_what_the_keypoints_were_moved_by():
    """Three pixels along x and four along y are 5/sqrt(2) a coordinate; who is not seen does not count."""
    fit = fitted("spin")
    points = free_body().points(resolve_set("coco17"))
    exact = fit.state.camera.project(points.pose(fit.state.params).points)
    moved = exact + torch.tensor([3.0, 4.0]).double()
    confidence = torch.ones_like(moved[..., 0])
    moved[:, 5], confidence[:, 5] = 1e4, 0
    keypoints = Keypoints(moved, confidence, points.names)
    found = misses(points, replace(fit, observation=replace(fit.observation, keypoints=keypoints)))
    expected = 5 / 2**0.5 / fit.observation.box_size
    torch.testing.assert_close(found, expected[:, None].expand_as(found))


def test_a_calibration_of_another_length_is_refused():
    config = load_config("fit_spin").clone()
    config.defrost()
    config.FIT.CALIBRATION.OTHERS = [1.0, 0.0]
    with pytest.raises(ConfigError, match=r"three numbers each: \[factor, hidden, noise\]"):
        build_fitter(config)

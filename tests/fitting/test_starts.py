"""The starts of a fit: where each begins, and what the observation then holds."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, gmm, joints_of, people, photograph, shipped

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import facing_wrong, pa_mpjpe
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.gaussian_prior import INIT_STD_DEGREES
from hmrfit.fitting.parameters import UPRIGHT, Observation, State
from hmrfit.fitting.route import Begun
from hmrfit.fitting.schedule import FROM_SCRATCH, from_initial_estimate, from_library
from hmrfit.fitting.starts import (
    CLOSE_SHOULDERS,
    Given,
    GivenStart,
    Library,
    MeanPose,
    about_face,
    ambiguous,
    turn_ambiguous,
)
from hmrfit.keypoints import COCO17, SMPL24, resolve_set
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import People
from hmrfit.types import Keypoints, Regression

FIELDS = ("global_orient", "body_pose", "betas", "transl")


def begun(start, truth: People, **more) -> Begun:
    """Where a start begins, for noisy people under the assumed camera."""
    given = Given(truth.keypoints, photograph(len(truth.keypoints)), **more)
    return start(given, free_body().points(truth.keypoints.names))


def noisy(count: int = 8) -> People:
    return people(count, "coco17", noise=0.005)


# ---- the initial estimate


def test_the_initial_estimate_is_the_networks_answer():
    start = shipped().schedule.start
    found, expected = begun(start, noisy()), start.network.predict(noisy().keypoints, photograph(8)).params
    for field in FIELDS:
        torch.testing.assert_close(getattr(found.state.params, field), getattr(expected, field))
    assert found.single and found.person.tolist() == list(range(8))
    assert found.observation.anchor is not None and found.observation.noise.shape == (8, 17)
    torch.testing.assert_close(found.observation.start_depth, expected.transl[:, 2])


def test_without_an_error_model_the_initial_estimate_alone_is_the_start():
    start = replace(shipped().schedule.start, error_model=None)
    found, expected = begun(start, noisy()), start.network.predict(noisy().keypoints, photograph(8)).params
    assert torch.equal(found.state.params.transl, expected.transl)
    assert found.observation.anchor is None and found.observation.noise is None
    assert torch.equal(found.observation.start_depth, expected.transl[:, 2])


def test_the_error_model_predicts_noise_and_hidden_limbs():
    """Noisier keypoints have more noise, hidden limbs a wider anchor."""
    clean, noisy = (people(128, "coco17", noise=n, missing=0.1) for n in (0.005, 0.03))
    start = shipped().schedule.start
    noise = [begun(start, p).observation.noise.median() for p in (clean, noisy)]
    assert noise[1] > 1.5 * noise[0]
    hidden = clean.keypoints.map(torch.clone)
    hidden.confidence[:, [COCO17.index("left_knee_coco"), COCO17.index("left_ankle")]] = 0
    std = []
    for truth in (clean, replace(clean, keypoints=hidden)):
        anchor = begun(start, truth).observation.anchor
        leg = torch.tensor([3 * SMPL24.index(j) + axis for j in ("left_hip", "left_knee") for axis in range(3)])
        std.append(torch.linalg.det(anchor.covariance(leg)) ** (1 / 12))
    assert std[1].median() > 1.15 * std[0].median()  # the geometric mean of six directions; a knee bends one way only


def test_a_body_of_others_is_fitted_in_its_own_shapes():
    """The free body with its shapes in another order and fewer of them: the initial estimate's betas mean nothing to
    it."""
    with np.load(locate("free_body"), allow_pickle=False) as data:
        arrays = dict(data)
    arrays["shapedirs"] = arrays["shapedirs"][..., [3, 0, 1, 2]]
    body, default = SmplBody(arrays), shipped()
    start = replace(default.schedule.start, own_shapes=False)
    other = Fitter(body, default.terms, from_initial_estimate(start, fitter().schedule.start))
    keypoints = people(256, "coco17", noise=0.01, missing=0.1).keypoints[:64]
    found, fit = (f.fit(keypoints, photograph(64)) for f in (other, default))
    assert (found.start.params.betas == 0).all() and found.state.params.betas.shape == (64, 4)
    assert found.acceptance.accepted.double().mean() > 0.9
    a, b = body.points(SMPL24).pose(found.state.params).joints, joints_of(fit)
    away = ((a - a[:, :1]) - (b - b[:, :1])).norm(dim=-1).mean()
    assert away < 0.04  # metres: the same pose, a little otherwise shaped


# ---- the library


class Oracle:
    """A network that knows the truth."""

    def __init__(self, truth: People) -> None:
        self.truth = truth

    def predict(self, keypoints: Keypoints, camera: Camera) -> Regression:
        return Regression(self.truth.params, torch.ones(len(keypoints), 3).double())


def test_a_library_alone_gives_every_person_so_many_hypotheses():
    start = Library(fitter().schedule.start.poses, 4)
    found = begun(start, noisy())
    assert len(found.state) == 32 and found.person.tolist() == sorted([*range(8)] * 4)
    assert not found.single and found.observation.anchor is None


def test_the_initial_estimate_is_the_first_of_the_hypotheses():
    truth, library = people(40, "coco17"), fitter().schedule.start
    with_network = replace(library, network=Oracle(truth), count=3)
    given = Given(truth.clean, truth.camera)
    found = with_network(given, fitter().point_body(COCO17))
    assert len(found.state) == 40 * 3
    for field in FIELDS:
        assert torch.equal(getattr(found.state.params, field)[::3], getattr(truth.params, field))
    alone = fitter().fit(truth.clean, truth.camera)
    # the estimate, and all starts that the library alone has
    more = replace(library, network=Oracle(truth), count=FROM_SCRATCH + 1)
    helped = fitter().with_schedule(from_library(more)).fit(truth.clean, truth.camera)
    assert helped.cost.mean() <= alone.cost.mean() + 1e-6
    # the truth is in the valley of the best answer, or near it: 14 and more millimetres are what the noise model allows
    error = [pa_mpjpe(joints_of(fit), truth.joints).median() for fit in (helped, alone)]
    assert error[0] < error[1] + 0.002


def test_one_hypothesis_beside_a_network_is_the_initial_estimate():
    truth = people(6, "coco17")
    start = replace(fitter().schedule.start, network=Oracle(truth), count=1)
    found = start(Given(truth.clean, truth.camera), fitter().point_body(COCO17))
    assert torch.equal(found.state.params.rotations, truth.params.rotations)


# ---- the mean pose


@cache
def smplify() -> MeanPose:
    return shipped("fit_smplify").schedule.start


def test_the_mean_pose_stands_upright_before_the_camera():
    assert isinstance(smplify(), MeanPose)
    torch.testing.assert_close(smplify().pose, (gmm().weights[:, None] * gmm().means).sum(0))
    found = begun(smplify(), noisy())
    params = found.state.params
    assert (params.transl[:, :2] == 0).all() and (params.transl[:, 2] > 0.5).all() and not params.betas.any()
    torch.testing.assert_close(params.global_orient, torch.tensor(UPRIGHT).double().expand(8, 3, 3))
    assert torch.equal(found.observation.start_depth, params.transl[:, 2])


# ---- a given start


def test_a_given_start_is_the_only_one_with_an_anchor_as_wide_as_its_error():
    truth = noisy()
    found = begun(GivenStart(), truth, init=truth.params, init_std=torch.full((8, 24), 4.0).double())
    assert torch.equal(found.state.params.rotations, truth.params.rotations) and found.single
    scale = torch.rad2deg(found.observation.anchor.scale[:, :72])
    torch.testing.assert_close(scale, torch.full((8, 72), 4.0).double())
    default = begun(GivenStart(), truth, init=truth.params).observation.anchor
    torch.testing.assert_close(torch.rad2deg(default.scale[:, :72]), torch.full((8, 72), INIT_STD_DEGREES).double())
    assert torch.equal(found.observation.start_depth, truth.params.transl[:, 2])


def test_a_schedule_from_a_given_start_needs_one():
    with pytest.raises(ValueError, match="begins at a given start, and there is none: give init="):
        begun(GivenStart(), noisy())


# ---- front and back


def test_close_or_unseen_shoulders_leave_both_facings_open():
    """People with both shoulders at one place may face either way; the turned body has its front where the back was."""
    xy = torch.zeros(3, 17, 2).double()
    xy[:, 15, 1] = 300.0
    xy[:, 5, 0] = torch.tensor([300 * CLOSE_SHOULDERS - 1, 300 * CLOSE_SHOULDERS + 1, 200.0])
    confidence = torch.ones(3, 17).double()
    confidence[2, 6] = 0
    observation = Observation.of(Keypoints(xy, confidence, resolve_set("coco17")))
    assert ambiguous(observation).tolist() == [True, False, True]
    state = State(people(8).params, people(8).camera)
    turned = about_face(state)
    assert facing_wrong(turned.params.global_orient, state.params.global_orient).all()
    person, more = turn_ambiguous(state[:3], observation)
    assert person.tolist() == [0, 2]
    assert torch.equal(more.params.global_orient, turned.params.global_orient[[0, 2]])


def test_a_set_without_hips_and_shoulders_leaves_both_facings_open():
    keypoints = Keypoints(torch.rand(2, 2, 2).double(), torch.ones(2, 2).double(), ("nose", "left_knee"))
    assert ambiguous(Observation.of(keypoints)).tolist() == [True, True]


def test_a_turn_about_the_own_y_axis_leaves_the_head_up():
    state = State(people(8).params, people(8).camera)
    up = torch.tensor([0.0, 1.0, 0.0]).double()
    torch.testing.assert_close(about_face(state).params.global_orient @ up, state.params.global_orient @ up)
    half = rotvec_to_matrix(torch.pi * up[None])[0]
    torch.testing.assert_close(about_face(state).params.global_orient, state.params.global_orient @ half)

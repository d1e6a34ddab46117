"""The fit of a batch of people from scratch: what it recovers, that people do not depend on the batch, and that nothing
breaks it."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, joints_of, people, photograph, reweighted, with_terms
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.evaluate.metrics import facing_wrong, pa_mpjpe, reprojection_error
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.solver import STATUS
from hmrfit.fitting.starts import Given, GivenStart
from hmrfit.fitting.terms.base import Staged, as_term
from hmrfit.keypoints import COCO17, SMPL24
from hmrfit.synthetic.people import People
from hmrfit.types import Keypoints

FIELDS = ("global_orient", "body_pose", "betas", "transl")


def seen_error(fit: Fit, truth: People) -> Tensor:
    """(B,) mean distance to the true keypoints, as a fraction of the box."""
    clean = truth.clean
    found = fit.state.camera.project(free_body().points(clean.names).pose(fit.state.params).points)
    return reprojection_error(found, clean.xy, clean.confidence, clean.box_size())


@pytest.fixture(scope="module")
def clean_fit() -> tuple[People, Fit]:
    truth = people(24)
    return truth, fitter().fit(truth.clean, truth.camera)


@pytest.fixture(scope="module")
def noisy_fit() -> tuple[People, Fit]:
    truth = people(12, "coco17", noise=0.01, missing=0.1)
    return truth, fitter().fit(truth.keypoints, photograph(12))


def test_clean_keypoints_are_met(clean_fit):
    """With the shipped weights to within what they take for noise; exactly where keypoints weigh far more."""
    truth, fit = clean_fit
    assert seen_error(fit, truth).median() < 0.012  # the priors pull by less than the noise they allow for
    trusting = fitter().with_schedule(fitter().schedule, reweighted(fitter().from_given, reprojection=5000.0))
    error = seen_error(trusting.fit(truth.clean, truth.camera, init=fit.state.params), truth)
    assert error.median() < 0.003 and (error < 0.03).double().mean() > 0.9  # fractions of the box


def test_the_pose_is_recovered(clean_fit):
    """In 3D, half the people to within a few centimetres: one picture leaves depth to the priors."""
    truth, fit = clean_fit
    assert pa_mpjpe(joints_of(fit), truth.joints).median() < 0.05
    wrong = facing_wrong(fit.state.params.global_orient, truth.params.global_orient)
    assert wrong.double().mean() < 0.15


def test_the_answer_is_a_body_in_front_of_the_camera(noisy_fit):
    _, fit = noisy_fit
    R = fit.state.params.rotations
    torch.testing.assert_close(R @ R.mT, torch.eye(3).double().expand_as(R), rtol=0, atol=1e-10)
    assert (joints_of(fit)[..., 2] > 0).all()
    assert fit.state.params.betas.abs().max() < 5
    assert set(fit.status.tolist()) <= set(STATUS) and (fit.steps > 0).all()


def test_costs_add_up_and_the_best_hypothesis_comes_first(noisy_fit):
    _, fit = noisy_fit
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost, rtol=1e-3, atol=0)  # joints filled in afterwards
    assert (fit.hypothesis_cost.diff(dim=1) >= 0).all()
    assert torch.equal(fit.hypothesis_cost[:, 0], fit.cost)
    for field in FIELDS:
        assert torch.equal(getattr(fit.hypotheses[0].params, field), getattr(fit.state.params, field))


def test_the_same_twice_to_the_last_bit(noisy_fit):
    truth, fit = noisy_fit
    again = fitter().fit(truth.keypoints, photograph(12))
    for field in FIELDS:
        assert torch.equal(getattr(fit.state.params, field), getattr(again.state.params, field))
    assert torch.equal(fit.cost, again.cost)


def test_people_do_not_depend_on_the_batch(noisy_fit):
    """Alone, in another order, or beside someone without a single keypoint."""
    truth, fit = noisy_fit
    expected = joints_of(fit)
    order = torch.tensor([5, 0, 11, 3])
    joints = joints_of(fitter().fit(truth.keypoints[order], photograph(4)))
    torch.testing.assert_close(joints, expected[order], rtol=0, atol=1e-6)  # metres: rounding through flat valleys
    pair = truth.keypoints[torch.tensor([7, 2])]
    pair.confidence[1] = 0
    torch.testing.assert_close(joints_of(fitter().fit(pair, photograph(2)))[0], expected[7], rtol=0, atol=1e-6)
    alone = joints_of(fitter().fit(truth.keypoints[7:8], photograph(1)))
    torch.testing.assert_close(alone[0], expected[7], rtol=0, atol=1e-6)


def test_inputs_stay():
    truth = people(3, "coco17", noise=0.01)
    before = truth.map(torch.clone)
    fitter().fit(truth.keypoints, truth.camera, init=truth.params)
    for record in ("keypoints", "camera", "params"):
        for name, value in vars(getattr(truth, record)).items():
            same = not isinstance(value, Tensor) or torch.equal(value, getattr(getattr(before, record), name))
            assert same, (record, name)


def test_a_given_start_is_where_it_starts():
    """From the truth and clean keypoints the fit stays at the truth's picture."""
    truth = people(6)
    fit = fitter().fit(truth.clean, truth.camera, init=truth.params)
    assert seen_error(fit, truth).max() < 0.01 and len(fit.hypotheses) == 1


@pytest.mark.parametrize("seen", [0, 1, 2, 3])
def test_hardly_anything_seen_is_answered_finitely(seen):
    truth = people(4, "coco17")
    confidence = torch.zeros(4, 17, dtype=torch.float64)
    confidence[:, 5 : 5 + seen] = 1
    fit = fitter().fit(Keypoints(truth.clean.xy, confidence, COCO17), photograph(4))
    assert joints_of(fit).isfinite().all() and fit.cost.isfinite().all()
    assert (joints_of(fit)[:, 0, 2] > 0).all()


coordinates = st.one_of(st.floats(-100, 1200), st.floats(-1e7, 1e7), st.sampled_from([0.0, 512.0]))
places = arrays(np.float64, (8, 17, 2), elements=coordinates, fill=coordinates)
confidences = arrays(np.float64, (8, 17), elements=st.sampled_from([0.0, 1e-9, 0.5, 1.0]))


@settings(max_examples=13)
@given(places, confidences, st.sampled_from([50.0, 1280.0, 1e5]))
def test_no_nan_comes_out_of_any_numbers(xy, confidence, focal):
    """8 people a time, 104 in all: points anywhere, on one place, far outside, with any confidence, any lens."""
    keypoints = Keypoints(torch.from_numpy(xy), torch.from_numpy(confidence), COCO17)
    schedule = fitter().schedule
    quick = fitter().with_schedule(replace(schedule, start=replace(schedule.start, count=2)))
    fit = quick.fit(keypoints, Camera.from_size(1024, 768, focal, count=8))
    for field in FIELDS:
        assert getattr(fit.state.params, field).isfinite().all(), field
    assert fit.cost.isfinite().all() and set(fit.status.tolist()) <= set(STATUS)


def test_any_function_is_a_term():
    """Pulling the left wrist to where it is not takes it there."""
    truth = people(2, "coco17", noise=0.01, missing=0.1)
    free = fitter().fit(truth.keypoints, truth.camera)
    wrist = SMPL24.index("left_wrist")
    target = joints_of(free)[:, wrist].mean(0) + torch.tensor([0.0, -0.3, 0.0])

    def reach(state, output, observation):
        return 10 * (output.joints[:, wrist] - target.to(output.joints))

    far = []
    for weight in (0.0, 100.0):
        own = reweighted(fitter().from_given, reach=weight)
        pulled = fitter().with_schedule(fitter().schedule, own, fitter().terms | {"reach": as_term(reach)})
        fit = pulled.fit(truth.keypoints, truth.camera, init=free.state.params)
        far.append((joints_of(fit)[:, wrist] - target).norm(dim=-1).mean().item())
        assert "reach" in fit.term_cost
    assert far[1] < 0.15 < far[0]


def test_a_weight_for_no_term_gets_the_nearest_name():
    base = fitter()
    other = base.with_schedule(reweighted(base.schedule, reprojektion=1.0))
    with pytest.raises(ValueError, match=r"Unknown term 'reprojektion' in a stage\. Did you mean 'reprojection"):
        other.fit(people(1).clean, people(1).camera)


def test_points_that_the_body_lacks_are_refused_by_name():
    truth = people(1)
    names = ("left_wing", *SMPL24[1:])
    with pytest.raises(ValueError, match="defines no point 'left_wing'"):
        fitter().fit(Keypoints(truth.clean.xy, truth.clean.confidence, names), truth.camera)


def test_another_schedule_leaves_the_first_alone():
    base = fitter()
    start = replace(base.schedule.start, count=2)
    fewer = base.with_schedule(replace(base.schedule, start=start))
    assert base.schedule.start.count != 2 and fewer.schedule.start.count == 2
    assert fewer.from_given is base.from_given and fewer.terms is base.terms
    assert fewer.point_body(COCO17) is base.point_body(COCO17)
    body = base.point_body(COCO17)
    assert fewer.schedule.start.seen_through(body) is base.schedule.start.seen_through(body)


def test_more_terms_reach_every_stage_of_a_fit():
    """In the last stage with one weight, before it with another."""
    costs = []

    def counted(state, output, observation):
        return 0 * state.params.betas + 1.0

    crowd = people(2, "coco17", noise=0.01)
    own = with_terms(fitter(), Staged(as_term(counted), 3.0, 2.0))
    for stage in own.schedule.stages:
        route, begun = own.route(COCO17), own.begin(Given(crowd.keypoints, crowd.camera))
        costs.append(route.run(begun, (stage,)).term_cost["counted"])
    assert (costs[0] == 2.0 * 5).all() and (costs[1] == 3.0 * 5).all()  # half of ten ones
    assert torch.equal(own.fit(crowd.keypoints, crowd.camera).term_cost["counted"], costs[1])


def test_without_a_schedule_for_given_starts_the_same_stages_run_from_them():
    own = Fitter(free_body(), fitter().terms, fitter().schedule)
    assert isinstance(own.from_given.start, GivenStart) and own.from_given.stages == fitter().schedule.stages
    truth = people(2, "coco17", noise=0.01)
    fit = own.fit(truth.keypoints, truth.camera, init=truth.params)
    assert len(fit.hypotheses) == 1 and torch.equal(fit.start.params.transl, truth.params.transl)


def test_how_wrong_a_given_start_is_may_be_said_in_three_ways():
    """One number, one for each joint, or those of each person."""
    truth = people(2, "coco17", noise=0.01)
    each = torch.full((24,), 9.0).double()
    fits = [fitter().fit(truth.keypoints, truth.camera, truth.params, std) for std in (9.0, each, each.expand(2, 24))]
    for fit in fits[1:]:
        assert torch.equal(fit.observation.anchor.scale, fits[0].observation.anchor.scale)
        assert torch.equal(fit.cost, fits[0].cost)
    other = fitter().fit(truth.keypoints, truth.camera, truth.params, torch.tensor([[3.0], [30.0]]).double())
    assert (other.observation.anchor.scale[0, :72] < other.observation.anchor.scale[1, :72]).all()

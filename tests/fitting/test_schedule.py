"""Schedules: what each is made of, that all of its stages run, and what SMPLify's and SPIN's do."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, joints_of, people, photograph, reweighted, shipped

from hmrfit.build import build_fitter
from hmrfit.config import ConfigError, load_config
from hmrfit.evaluate.metrics import facing_wrong, pa_mpjpe
from hmrfit.fitting.acceptance import Accept
from hmrfit.fitting.anchor_inflation import InflateAnchor
from hmrfit.fitting.answers import OtherAnswers
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mend_labels import MendLabels
from hmrfit.fitting.retry import Retry
from hmrfit.fitting.route import Route
from hmrfit.fitting.schedule import ANCHORED, FINAL, FIRST_STEPS, FROM_SCRATCH, LAST_STEPS, WIDE, Schedule
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import GivenStart, InitialEstimate, Library, MeanPose, turn_ambiguous
from hmrfit.fitting.terms.base import FunctionTerm, Staged
from hmrfit.fitting.uncertainty import GAUSSIAN, GIVEN, MEASURED, joint_scale
from hmrfit.keypoints import SMPL24, resolve_set
from hmrfit.types import Keypoints


def of(name: str) -> Schedule:
    """Of the shipped settings of SMPLify or SPIN."""
    return preset(name).schedule


def preset(name: str) -> Fitter:
    return shipped(f"fit_{name}")


@cache
def fitted(name: str) -> Fit:
    return preset(name).fit(people(8, "coco17", 0.005).keypoints, photograph(8))


# ---- schedules as data


def test_the_default_is_one_stage_from_the_initial_estimate():
    schedule = shipped().schedule
    assert isinstance(schedule.start, InitialEstimate) and schedule.stages == (ANCHORED,)
    again = next(step for step in schedule.after if isinstance(step, Retry))
    assert again.start is schedule.start and again.stages == (WIDE, FINAL)
    assert again.library.count == FROM_SCRATCH and again.library.network is None
    mend, *rest = schedule.after
    assert isinstance(mend, MendLabels) and mend.start is schedule.start
    assert rest == [InflateAnchor(), again, Accept()] and schedule.calibration is MEASURED
    assert schedule.with_names_as_given().after == tuple(rest)
    assert isinstance(schedule.seeker, OtherAnswers)
    given = shipped().from_given
    assert isinstance(given.start, GivenStart) and given.stages == (ANCHORED,)
    assert given.after == (Accept(),) and given.calibration is GIVEN


def test_from_scratch_are_two_stages_from_a_library():
    schedule = shipped({"PRIORS.INITIAL_ESTIMATE": ""}).schedule
    assert isinstance(schedule.start, Library) and schedule.stages == (WIDE, FINAL) and schedule.after == ()


def test_a_schedule_is_one_list_of_stages():
    """No stage of it waits for another kind of call: what a changed stage does is seen in the fit."""
    crowd, count = people(3, "coco17", noise=0.01), []
    for many in (1, 3):
        stages = tuple(replace(FINAL, options=Options(max_steps=2, ftol=0, gtol=0)) for _ in range(many))
        still = Schedule(GivenStart(), stages)
        fit = fitter().with_schedule(still, still).fit(crowd.keypoints, crowd.camera, init=crowd.params)
        assert fit.stage is stages[-1]
        count.append(fit.steps)
    assert (count[0] == 2).all() and (count[1] == 6).all()


@pytest.mark.parametrize("settings", [None, {"PRIORS.INITIAL_ESTIMATE": ""}, "fit_spin", "fit_smplify"])
def test_every_stage_of_the_shipped_schedules_runs(settings, monkeypatch):
    ran, real = [], Route.problem
    monkeypatch.setattr(Route, "problem", lambda self, o, stage: ran.append(stage) or real(self, o, stage))
    own = shipped(settings)
    own.fit(people(8, "coco17", 0.005).keypoints[:2], photograph(2))
    assert all(any(stage is one for one in ran) for stage in own.schedule.stages)
    ran.clear()
    own.fit(people(8, "coco17", 0.005).keypoints[:2], photograph(2), init=people(8, "coco17", 0.005).params[:2])
    assert all(any(stage is one for one in ran) for stage in own.from_given.stages)


@pytest.mark.parametrize("settings", [None, {"PRIORS.INITIAL_ESTIMATE": ""}, "fit_spin"])
def test_the_weight_of_every_used_term_changes_the_fit(settings):
    """A knob is tested by what it changes. A limit that nobody is beyond costs nothing, whatever its weight."""
    own, crowd = shipped(settings), people(8, "coco17", 0.02)[:3]
    fit = own.fit(crowd.keypoints, photograph(3))
    for name in own.schedule.term_names:
        weight = max(stage.weights.get(name, 0.0) for stage in own.schedule.stages)
        other = own.with_schedule(with_weight(own.schedule, name, 3 * weight)).fit(crowd.keypoints, photograph(3))
        unused = name == "joint_limits" and not fit.term_cost[name].any()
        assert unused or not torch.equal(other.state.params.body_pose, fit.state.params.body_pose), name


def with_weight(schedule: Schedule, name: str, weight: float) -> Schedule:
    """Another weight of a term, in the stages that have it."""
    known = lambda stage: {name: weight} if name in stage.weights else {}  # noqa: E731
    return schedule.with_stages(lambda stage: replace(stage, weights={**stage.weights, **known(stage)}))


def test_reweighting_changes_one_term_in_every_stage():
    schedule = reweighted(fitter().schedule, shape=7.0)
    for stage, old in zip(schedule.stages, fitter().schedule.stages, strict=True):
        assert stage.weights["shape"] == 7.0 and stage.keep == old.keep
        without = [{k: v for k, v in s.weights.items() if k != "shape"} for s in (stage, old)]
        assert without[0] == without[1]


def test_term_names_are_those_of_the_stages_and_used_terms_those_of_the_warm_up_too():
    assert shipped().schedule.term_names == ("anchor", "joint_limits", "keypoints")
    assert shipped().schedule.used_terms == {"anchor", "joint_limits", "keypoints", "keypoints_gaussian"}
    assert "reprojection_wide" in fitter().schedule.term_names  # of its first stage alone


# ---- with more terms


def some_term(name: str) -> FunctionTerm:
    return FunctionTerm(lambda state, output, observation: state.params.betas, name)


def test_more_terms_come_with_their_weights_and_steps_enough():
    both, last = Staged(some_term("both"), 3.0, 2.0), Staged(some_term("last"), 5.0)
    wide = Staged(some_term("wide"), 0.0, 4.0)
    before, final = fitter().schedule.with_terms([both, last, wide]).stages
    assert dict(before.weights) == {**WIDE.weights, "both": 2.0, "wide": 4.0}
    assert dict(final.weights) == {**FINAL.weights, "both": 3.0, "last": 5.0}
    assert WIDE.options.max_steps < FIRST_STEPS == before.options.max_steps
    assert final.options.max_steps == max(LAST_STEPS, FINAL.options.max_steps)
    assert (before.keep, before.free, before.options.ftol) == (WIDE.keep, WIDE.free, WIDE.options.ftol)


def test_more_terms_in_a_schedule_of_one_stage_are_those_of_the_last():
    (only,) = (
        shipped().schedule.with_terms([Staged(some_term("last"), 5.0, 2.0), Staged(some_term("wide"), 0.0, 4.0)]).stages
    )
    assert dict(only.weights) == {**ANCHORED.weights, "last": 5.0}
    assert only.options.max_steps == LAST_STEPS and only.warm_up == ANCHORED.warm_up


def test_no_more_terms_is_the_same_schedule():
    assert fitter().schedule.with_terms([]) is fitter().schedule


def test_a_schedule_without_a_stage_is_refused():
    with pytest.raises(ValueError, match="needs at least one stage"):
        replace(fitter().schedule, stages=())


def test_the_same_stage_twice_has_one_last():
    """Terms of the last stage are in none before it, also where both are one object."""
    twice = replace(fitter().schedule, stages=(FINAL, FINAL))
    before, last = twice.with_terms([Staged(some_term("more"), 5.0, 1.0)]).stages
    assert before.weights["more"] == 1.0 and last.weights["more"] == 5.0


# ---- SMPLify's and SPIN's


def test_smplifys_stages_are_its_numbers():
    """Weights are squares; the angle's residual is 0.317 times the pose prior's weight (times alpha, in the prior)."""
    schedule = of("smplify")
    assert isinstance(schedule.start, MeanPose)
    stages = schedule.stages
    assert stages[0].free == ("transl", "global_orient")
    assert dict(stages[0].weights) == {"smplify_torso": 1.0, "smplify_depth": 100.0**2}
    for stage, w, shape in zip(stages[1:], (404, 404, 57.4, 4.78), (100, 50, 10, 5), strict=True):
        assert stage.free == ("global_orient", "body_pose", "betas")
        expected = {
            "smplify_keypoints": 1.0,
            "smplify_pose": w**2,
            "smplify_shape": shape**2,
            "bending": (0.317 * w) ** 2,
            "interpenetration": 1e6,
        }
        assert dict(stage.weights) == pytest.approx(expected, rel=1e-6)
    # people whose front and back look alike go on turned about too; the one nearer to its keypoints stays
    assert [stage.branch for stage in stages] == [turn_ambiguous, *[None] * 4]
    assert [stage.keep for stage in stages] == [2, 2, 2, 2, 1] and stages[-1].rank_by == ("smplify_keypoints",)


def test_spins_stages_are_its_numbers():
    schedule = of("spin")
    assert isinstance(schedule.start, InitialEstimate) and schedule.start.error_model is None
    first, second = schedule.stages
    assert first.free == ("transl", "global_orient")
    assert dict(first.weights) == {"spin_torso": 1.0, "spin_depth": 100.0**2}
    assert second.free == ("global_orient", "body_pose", "betas")
    expected = {"spin_keypoints": 1.0, "smplify_pose": 4.78**2, "smplify_shape": 25.0, "bending": (15.2 / 10) ** 2}
    assert dict(second.weights) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["smplify", "spin"])
def test_it_meets_the_keypoints_and_its_costs_add_up(name: str):
    fit, crowd = fitted(name), people(8, "coco17", 0.005)
    points = free_body().points(resolve_set("coco17")).pose(fit.state.params).points
    off = (fit.state.camera.project(points) - crowd.keypoints.xy).norm(dim=-1).mean(1) / crowd.keypoints.box_size()
    assert off.median() < 0.02
    torch.testing.assert_close(sum(fit.term_cost.values()), fit.cost)
    assert fit.hypothesis_cost.shape == (8, 1) and len(fit.hypotheses) == 1


def test_spin_starts_from_the_initial_estimate_and_keeps_near_its_depth():
    fit, crowd, spin = fitted("spin"), people(8, "coco17", 0.005), preset("spin")
    estimate = spin.network.predict(crowd.keypoints, photograph(8)).params
    torch.testing.assert_close(fit.state.params.transl[:, 2], estimate.transl[:, 2], rtol=0.02, atol=0)
    assert pa_mpjpe(joints_of(fit), crowd.joints).median() < 0.1


def test_the_camera_is_frozen_after_its_stage():
    """The later stages leave the translation alone: the fit has that of a fit which ends after the first."""
    spin = preset("spin")
    camera_only = spin.with_schedule(replace(spin.schedule, stages=spin.schedule.stages[:1]))
    first = camera_only.fit(people(8, "coco17", 0.005).keypoints, photograph(8))
    assert torch.equal(first.state.params.transl, fitted("spin").state.params.transl)


def test_both_facings_find_people_who_turn_their_back():
    """Seen from the side, front and back: as many as from any other way come out facing right."""
    fit, crowd = fitted("smplify"), people(8, "coco17", 0.005)
    assert facing_wrong(fit.state.params.global_orient, crowd.params.global_orient).sum() <= 1


def test_smplify_is_independent_of_the_batch():
    crowd, together = people(8, "coco17", 0.005), fitted("smplify")
    for i in (0, 5):
        alone = preset("smplify").fit(crowd.keypoints[i], photograph(1))
        torch.testing.assert_close(joints_of(alone)[0], joints_of(together)[i], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["smplify", "spin"])
def test_a_crowd_is_fitted_in_pieces(name: str, monkeypatch):
    """So that memory stays bounded; the answers are the same."""
    sizes, own, whole = [], preset(name), fitted(name)
    piece = Fitter._fit_piece
    monkeypatch.setattr(own, "chunk", (3, 1))
    monkeypatch.setattr(Fitter, "_fit_piece", lambda self, given: sizes.append(len(given)) or piece(self, given))
    found = own.fit(people(8, "coco17", 0.005).keypoints, photograph(8))
    assert sorted(sizes) == [2, 3, 3]
    torch.testing.assert_close(found.cost, whole.cost, rtol=1e-9, atol=0)
    torch.testing.assert_close(found.start.params.transl, whole.start.params.transl, rtol=0, atol=1e-12)


def test_smplify_from_a_given_start_keeps_near_its_depth():
    """There is no other start, and none of the branches."""
    crowd = people(8, "coco17", 0.005)
    fit = preset("smplify").fit(crowd.keypoints, photograph(8), init=crowd.params)
    torch.testing.assert_close(fit.state.params.transl[:, 2], crowd.params.transl[:, 2], rtol=0.05, atol=0)
    assert len(fit.hypotheses) == 1 and not any(stage.branch for stage in preset("smplify").from_given.stages)


def test_nothing_seen_still_ends():
    names = resolve_set("coco17")
    nobody = Keypoints(torch.zeros(2, 17, 2).double(), torch.zeros(2, 17).double(), names)
    for name in ("smplify", "spin"):
        fit = preset(name).fit(nobody, photograph(2))
        for value in (fit.state.params.transl, fit.state.params.body_pose, fit.state.params.betas, fit.cost):
            assert value.isfinite().all()


def test_without_a_network_there_is_no_start_from_an_initial_estimate():
    with pytest.raises(ValueError, match=r"FIT\.START: initial_estimate needs a network"):
        build_fitter(load_config("fit_spin", ["PRIORS.INITIAL_ESTIMATE="]))


@pytest.mark.parametrize("name", ["smplify", "spin"])
def test_how_sure_it_is_was_measured(name: str):
    """The energy taken at its word is far too sure: a third of what was measured, or less."""
    body, fit = free_body().points(SMPL24), fitted(name)
    assert fit.calibration is of(name).calibration is not None
    found = [preset(name).posterior(f) for f in (fit, replace(fit, calibration=None))]
    assert found[0].nu < 10 < GAUSSIAN == found[1].nu
    std = [
        joint_scale(body, fit.state.params, s.covariance[:, 0]).diagonal(dim1=2, dim2=3).sum(-1).sqrt() for s in found
    ]
    assert (std[0][:, 1:] > 2 * std[1][:, 1:]).double().mean() > 0.9


def test_a_calibration_of_another_length_is_refused():
    config = load_config("fit_spin").clone()
    config.defrost()
    config.FIT.CALIBRATION.OTHERS = [1.0, 0.0]
    with pytest.raises(ConfigError, match=r"three numbers each: \[factor, hidden, noise\]"):
        build_fitter(config)


def test_a_users_stages_are_data_for_the_same_route():
    """From settings: one stage from the library, two hypotheses kept."""
    own = shipped({"FIT.START": "library", "FIT.STAGES": [{"weights": {"reprojection": 24.0, "gmm": 1.0}, "keep": 2}]})
    assert isinstance(own.schedule.start, Library)
    (stage,) = own.schedule.stages
    assert dict(stage.weights) == {"reprojection": 24.0, "gmm": 1.0} and stage.keep == 2
    fit = own.fit(people(8, "coco17", 0.005).keypoints[:3], photograph(3))
    assert len(fit.hypotheses) == 2 and set(fit.term_cost) == {"reprojection", "gmm"}
    assert isinstance(fit.stage, Stage) and fit.start is None

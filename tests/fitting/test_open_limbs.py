"""Limbs whose depth is open: other answers show them the other way, the rest stays as it was."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.answers import OtherAnswers
from hmrfit.fitting.fit import FITTED_AGAIN, Acceptance, Fit
from hmrfit.fitting.limb_depths import limb_depths, other_side
from hmrfit.fitting.open_limbs import FILLED, OPEN, with_open_limbs
from hmrfit.fitting.terms.keypoints_3d import Keypoints3D
from hmrfit.fitting.uncertainty import Answers, Posterior
from hmrfit.keypoints import COCO17
from hmrfit.types import RecordTable
from tests.helpers.fits import joints_of, people, photograph, shipped

COUNT = 8


def body() -> PointBody:
    return shipped().point_body(COCO17)


@cache
def fit() -> Fit:
    return shipped().fit(people(COUNT, "coco17", noise=0.01, missing=0.1).keypoints, photograph(COUNT))


@cache
def alone() -> Answers:
    """The fit's own answer, nothing beside it."""
    return Answers([fit().state], fit().cost[:, None], shipped().posterior(fit()))


@cache
def several() -> Answers:
    return with_open_limbs(alone(), body())


def probability(answers: Answers) -> Tensor:
    assert answers.posterior is not None
    return answers.posterior.probability


def open_limbs(answers: Answers) -> Tensor:
    """(B, 8) bones of the first answer that are on the other side with OPEN or more."""
    posterior = answers.posterior
    assert posterior is not None and len(answers.hypotheses) == 1
    own = limb_depths(body(), answers.hypotheses[0])
    scale = ((own.rows @ posterior.covariance[:, 0]) * own.rows).sum(-1).sqrt()
    return other_side(own.depth.abs(), scale, posterior.nu)[0] > OPEN


def shown(answers: Answers) -> Tensor:
    """(B, 8) bones that a probable other answer shows the other way."""
    depth = torch.stack([limb_depths(body(), state).depth for state in answers.hypotheses], 1)
    other = depth[:, 1:] * depth[:, :1] < 0
    return (other & (probability(answers) > 0)[:, 1:, None]).any(1)


def test_nearly_every_open_limb_is_shown_the_other_way() -> None:
    """One step of a linear rule: a few are turned too little."""
    wanted = open_limbs(alone())
    assert wanted.sum() > COUNT and (shown(several()) & wanted).sum() > 0.9 * wanted.sum()


def test_whoever_has_an_open_limb_has_another_answer() -> None:
    some = open_limbs(alone()).any(1)
    assert some.any() and ((probability(several()) > 0).sum(1) > 1)[some].all()
    assert ((probability(several()) > 0).sum(1) <= 1 + FILLED).all()


def test_the_answer_itself_stays_and_is_the_likeliest() -> None:
    first = several().hypotheses[0].params
    assert torch.equal(first.rotations, fit().state.params.rotations)
    assert torch.equal(first.transl, fit().state.params.transl)
    p = probability(several())
    assert (p[:, :1] >= p).all()
    torch.testing.assert_close(p.sum(1), torch.ones(COUNT).double())


def test_bodies_that_show_another_side_meet_the_keypoints_nearly_as_well() -> None:
    keypoints = fit().observation.keypoints
    for h, state in enumerate(several().hypotheses):
        away = (state.camera.project(body().pose(state.params).points) - keypoints.xy).norm(dim=-1)
        mean = (away * keypoints.presence).sum(1) / keypoints.presence.sum(1) / fit().observation.box_size
        assert (mean[probability(several())[:, h] > 0] < 0.03).all()


def test_a_farther_side_is_less_probable() -> None:
    """The same limbs, of which the posterior is surer: whoever is still offered something is offered it with less."""
    surer = alone().posterior
    assert surer is not None
    tight = replace(alone(), posterior=replace(surer, covariance=0.5 * surer.covariance))
    assert open_limbs(tight).sum() < open_limbs(alone()).sum()
    assert probability(with_open_limbs(tight, body()))[:, 0].mean() > probability(several())[:, 0].mean()


def test_nothing_is_offered_where_every_depth_is_sure() -> None:
    posterior = alone().posterior
    assert posterior is not None
    sure = replace(alone(), posterior=replace(posterior, covariance=1e-9 * posterior.covariance))
    found = with_open_limbs(sure, body())
    assert found.hypotheses is sure.hypotheses and (probability(found) == 1).all()


def test_a_covariance_of_nothing_and_one_that_is_not_finite_raise_nothing() -> None:
    posterior = alone().posterior
    assert posterior is not None
    for factor in (0.0, torch.nan, torch.inf):
        broken = replace(alone(), posterior=replace(posterior, covariance=factor * posterior.covariance))
        with_open_limbs(broken, body())


def test_the_likeliest_of_several_answers_stays() -> None:
    """The second answer of four has most of the weight."""
    own = alone().posterior
    assert own is not None
    p = torch.tensor([[0.2, 0.6, 0.2]]).double().expand(COUNT, 3)
    three = Answers(
        [fit().state] * 3, fit().cost[:, None].expand(-1, 3), Posterior(p, own.covariance.expand(-1, 3, -1, -1), own.nu)
    )
    found = with_open_limbs(three, body())
    assert torch.equal(found.hypotheses[1].params.rotations, fit().state.params.rotations)
    moved = (joints_of(found.hypotheses[2]) - joints_of(fit().state)).norm(dim=-1).amax(1)
    assert (moved[open_limbs(alone()).any(1)] > 0).any()


def test_people_are_independent_of_their_batch() -> None:
    for i in (1, 6):
        one = with_open_limbs(alone()[[i]], body())
        H = len(one.hypotheses)
        torch.testing.assert_close(probability(one)[0], probability(several())[i, :H], atol=1e-9, rtol=0)
        for own, all_of in zip(one.hypotheses, several().hypotheses, strict=False):
            torch.testing.assert_close(joints_of(own)[0], joints_of(all_of)[i], atol=1e-6, rtol=0)


def test_people_who_were_fitted_again_have_other_answers_too() -> None:
    tested = fit().acceptance
    assert tested is not None
    again = Acceptance(torch.full_like(tested.reason, FITTED_AGAIN), *(tested.start_cost,) * 3)
    found = shipped().answers(replace(fit(), acceptance=again))
    several_of = (probability(found) > 0).sum(1) > 1
    assert several_of.sum() >= COUNT - 2
    assert torch.equal(found.cost.isfinite(), probability(found) > 0)


@pytest.mark.parametrize("known", [False, True])
def test_measured_depths_are_not_open(known: bool) -> None:
    """The answers of a fit with 3D keypoints are those of its energy alone."""
    seeker = shipped().schedule.seeker
    assert isinstance(seeker, OtherAnswers)
    measured = RecordTable({Keypoints3D.name: fit().observation.keypoints}) if known else RecordTable()
    own = replace(fit(), observation=replace(fit().observation, measurements=measured))
    found = seeker.beside(alone(), own, body(), shipped().terms)
    assert (len(found.hypotheses) == 1) == known

"""People who are fitted again: who they are, that what is returned is better, and that nobody else notices."""

from dataclasses import replace
from functools import cache

import torch
from helpers.bodies import free_body
from helpers.fits import gmm, joints_of, people, photograph, shipped

from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.fitting.fit import FITTED_AGAIN, Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import State
from hmrfit.fitting.retry import Retry, mean_distance, unknown_about
from hmrfit.keypoints import COCO17
from hmrfit.synthetic.people import Corruption, People, Views, make_people

B = 96


@cache
def tumbled() -> People:
    """In any orientation, upside down too, in poses farther from the mixture's mean than it draws them."""
    generator = torch.Generator().manual_seed(0)
    theta = 1.25 * gmm().sample(B, generator).unflatten(1, (-1, 3))
    poses = torch.cat([torch.zeros(B, 1, 3, dtype=torch.float64), theta], 1)
    return make_people(free_body(), poses, COCO17, generator, Views(tumbled=1.0), Corruption(0.01, 0.1))


def step() -> Retry:
    return next(step for step in shipped().schedule.after if isinstance(step, Retry))


def changed(step: Retry | None) -> Fitter:
    """The shipped fitter with another step in its place, or without one."""
    after = [step if isinstance(one, Retry) else one for one in shipped().schedule.after]
    return shipped().with_schedule(replace(shipped().schedule, after=tuple(one for one in after if one is not None)))


@cache
def fits() -> tuple[Fit, Fit]:
    """Without and with the step."""
    return tuple(f.fit(tumbled().keypoints, photograph(B)) for f in (changed(None), shipped()))


def retried() -> torch.Tensor:
    return fits()[1].acceptance.reason == FITTED_AGAIN


def route():
    return shipped().route(COCO17)


def error(fit: Fit) -> torch.Tensor:
    return 1e3 * pa_mpjpe(joints_of(fit), joints_of(tumbled().params))


def test_those_who_stayed_poor_are_fitted_again_and_come_nearer_to_keypoints_and_truth():
    before, after = fits()
    rows = retried()
    assert 5 <= rows.sum() < B / 2
    poor = (mean_distance(before, route()) > step().far) | (before.acceptance.implausible > step().bent)
    assert (poor | ~before.acceptance.accepted)[rows].all()
    assert after.acceptance.accepted[rows].all()
    assert (mean_distance(after, route())[rows] < mean_distance(before, route())[rows]).double().mean() > 0.8
    assert error(after)[rows].mean() < error(before)[rows].mean() - 5.0


def test_everybody_else_keeps_their_fit_to_the_last_bit():
    before, after = fits()
    rest = ~retried()
    for name in ("cost", "steps", "status"):
        assert torch.equal(getattr(before, name)[rest], getattr(after, name)[rest])
    assert torch.equal(before.state.params.rotations[rest], after.state.params.rotations[rest])
    assert torch.equal(before.hypothesis_cost[rest, 0], after.hypothesis_cost[rest, 0])


def test_alone_they_are_fitted_as_in_a_batch():
    _, after = fits()
    for i in retried().nonzero()[:3, 0].tolist():
        alone = shipped().fit(tumbled().keypoints[[i]], photograph(1))
        torch.testing.assert_close(joints_of(alone), joints_of(after[[i]]), rtol=0, atol=1e-6)
        assert int(alone.acceptance.reason) == FITTED_AGAIN


def test_what_is_returned_is_a_fit_like_any_other():
    """Costs are those of its own anchor, the start is the network's estimate, and the posterior is one."""
    before, after = fits()
    rows = retried().nonzero()[:, 0]
    found = after.of(rows)
    parts = route().term_costs(found.state, found.observation, found.stage)
    torch.testing.assert_close(found.cost, sum(parts.values()))
    torch.testing.assert_close(found.hypothesis_cost[:, 0], found.cost)
    assert torch.equal(found.start.params.rotations, before.start.params.rotations[rows])
    at_start = route().term_costs(found.start, found.observation, found.stage)
    torch.testing.assert_close(found.acceptance.start_cost, sum(at_start.values()))
    posterior = shipped().posterior(found)
    torch.testing.assert_close(posterior.probability.sum(1), torch.ones(len(rows)).double())
    assert posterior.covariance.isfinite().all()


def test_no_start_is_returned_where_something_is_better():
    """All fits are rejected here: none may be bent at all."""
    strict = replace(step(), bent=-1.0, far=-1.0)
    keypoints, rows = tumbled().keypoints[:6], torch.arange(6)
    fit = changed(strict).fit(keypoints, photograph(6))
    assert fit.acceptance.accepted.all()
    base = changed(None).fit(keypoints, photograph(6))
    rejected = replace(base, acceptance=replace(base.acceptance, reason=torch.ones_like(rows)))
    answer = step()(rejected, route())
    assert (answer.acceptance.reason == FITTED_AGAIN).all()
    assert (mean_distance(answer, route()) < mean_distance(replace(base, state=base.start), route())).all()


def test_where_nothing_comes_near_the_keypoints_an_accepted_fit_stays():
    """Arms and legs of other people: another fit would have to follow them."""
    truth = people(24, "coco17", noise=0.01)
    limbs = [i for i, name in enumerate(COCO17) if name in ("left_wrist", "left_elbow", "right_knee", "right_ankle")]
    xy = truth.keypoints.xy.clone()
    xy[:, limbs] = truth.clean.xy.roll(1, 0)[:, limbs]
    wrong = replace(truth.keypoints, xy=xy)
    before, after = (f.fit(wrong, photograph(24)) for f in (changed(None), shipped()))
    stayed = before.acceptance.accepted & (mean_distance(after, route()) > step().near)
    assert stayed.sum() > 12
    assert torch.equal(before.state.params.rotations[stayed], after.state.params.rotations[stayed])


def test_from_scratch_nothing_is_known_but_what_is_seen():
    """The anchor of a body from the library is as wide as people are."""
    fit = fits()[0]
    anchor = unknown_about(State(fit.state.params, fit.state.camera), route().body.parents, fit.observation.anchor)
    assert not anchor.factors.any() and torch.equal(anchor.betas, fit.state.params.betas)
    assert (anchor.energy(fit.state.params) < 1e-9).all()
    few = torch.arange(4)
    found = step()._from_scratch(fit.with_hypotheses(1).of(few), route())
    assert (mean_distance(found, route()) < step().lost).all()
    assert (found.observation.anchor.scale[:, 3:6] > 0.5).all()

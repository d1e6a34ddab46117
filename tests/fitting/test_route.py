"""The one route: several hypotheses of several people, the best few after each stage, branches, and their order."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from helpers.fits import fitter, people
from torch import Tensor

from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Begun, Route, best_of
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import about_face
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix

B = 3
FEW = replace(FINAL, options=Options(max_steps=3))
STILL = replace(FINAL, options=Options(max_steps=0))
"""A stage that only counts: its fit is what it begins at."""


@cache
def route() -> Route:
    return fitter().route(COCO17)


@cache
def observation() -> Observation:
    return Observation.of(people(B, "coco17", noise=0.01).keypoints)


def truth() -> State:
    return State(people(B, "coco17", noise=0.01).params, people(B, "coco17", noise=0.01).camera)


def turned(state: State, radians: float) -> State:
    """Every joint turned by as much about its three axes, and betas by which the state is known again: joints that no
    keypoint shows are filled in by the route."""
    change = rotvec_to_matrix(radians * torch.ones(3).double())
    p = state.params
    return State(replace(p, body_pose=p.body_pose @ change, betas=p.betas + radians), state.camera)


def several(*angles: float) -> Begun:
    """For every person as many hypotheses as angles, in this order."""
    states = [turned(truth(), angle) for angle in angles]
    rows = torch.arange(B * len(angles)).view(len(angles), B).T.flatten()
    return Begun(State.cat(states)[rows], observation(), torch.arange(B).repeat_interleave(len(angles)), False)


def is_like(found: State, *expected: State) -> list[bool]:
    """Of each person: the body that began as this one?"""
    other = State.cat(expected) if len(expected) > 1 else expected[0]
    same = (found.params.betas == other.params.betas).all(1)
    return (same & (found.params.global_orient == other.params.global_orient).all((1, 2))).tolist()


def costs_of(state: State, stage: Stage = FINAL) -> Tensor:
    return total(route().term_costs(state, observation(), stage))


def test_hypotheses_are_kept_by_rising_cost():
    """The fourth is the best one, the second the next; the others go."""
    fit = route().run(several(0.3, 0.1, 0.4, 0.02), (replace(STILL, keep=2),))
    assert len(fit.hypotheses) == 2 and fit.hypothesis_cost.shape == (B, 2)
    for found, angle in zip(fit.hypotheses, (0.02, 0.1), strict=True):
        assert all(is_like(found, turned(truth(), angle)))
    assert (fit.hypothesis_cost.diff(dim=1) >= 0).all()
    assert all(is_like(fit.state, fit.hypotheses[0]))
    torch.testing.assert_close(fit.cost, costs_of(fit.state))
    torch.testing.assert_close(fit.hypothesis_cost[:, 1], costs_of(fit.hypotheses[1]))


def test_a_stage_goes_on_with_what_the_one_before_kept():
    """Of four hypotheses two come through the first stage; the second stage's own best one comes first."""
    fit = route().run(several(0.3, 0.1, 0.4, 0.02), (replace(STILL, keep=2), replace(FEW, keep=2)))
    second = route().run(several(0.1, 0.02), (replace(FEW, keep=2),))
    torch.testing.assert_close(fit.cost, second.cost, rtol=1e-9, atol=0)
    torch.testing.assert_close(fit.hypothesis_cost, second.hypothesis_cost, rtol=1e-9, atol=0)


def test_each_person_keeps_their_own_best():
    """What is best for one is worst for another: the rows of a person never mix with another's."""
    good, bad = truth(), turned(truth(), 0.4)
    first = good.with_rows(torch.tensor([1]), bad)
    second = bad.with_rows(torch.tensor([1]), good)
    rows = torch.tensor([0, 3, 1, 4, 2, 5])
    begun = Begun(State.cat([first, second])[rows], observation(), torch.arange(B).repeat_interleave(2), False)
    fit = route().run(begun, (replace(STILL, keep=1),))
    assert all(is_like(fit.state, good)) and len(fit.hypotheses) == 1


def test_people_may_have_different_numbers_of_hypotheses():
    """One, three and two; a person with fewer has copies of the best one at an infinite cost."""
    person = torch.tensor([0, 1, 1, 1, 2, 2])
    angles = (0.2, 0.3, 0.1, 0.02, 0.05, 0.2)
    state = State.cat([turned(truth(), angle)[p] for p, angle in zip(person.tolist(), angles, strict=True)])
    fit = route().run(Begun(state, observation(), person, False), (replace(STILL, keep=3),))
    assert fit.hypothesis_cost.isfinite().sum(1).tolist() == [1, 3, 2] and len(fit.hypotheses) == 3
    for p, angle in enumerate((0.2, 0.02, 0.05)):
        assert is_like(fit.state, turned(truth(), angle))[p]
    assert is_like(fit.hypotheses[2], fit.state) == [True, False, True]
    torch.testing.assert_close(fit.cost, costs_of(fit.state))


def test_a_branch_adds_hypotheses_of_some_people():
    """The second person is turned about after the first stage; the next stage has both, and keeps the better one."""
    asked = []

    def second(state: State, seen: Observation) -> tuple[Tensor, State]:
        asked.append((len(state), seen is observation()))
        return torch.tensor([1]), about_face(state[[1]])

    begun = Begun.at(truth(), observation())
    fit = route().run(begun, (replace(STILL, keep=2, branch=second), replace(STILL, keep=2)))
    assert asked == [(B, True)]
    assert fit.hypothesis_cost.isfinite().sum(1).tolist() == [1, 2, 1]
    assert all(is_like(fit.state, truth()))
    assert is_like(fit.hypotheses[1], about_face(truth())) == [False, True, False]
    turned_about = Begun.at(about_face(truth()), observation())
    best = route().run(turned_about, (replace(STILL, keep=2, branch=second), STILL))
    assert is_like(best.state, truth()) == [False, True, False]  # turned about twice
    assert is_like(best.state, about_face(truth())) == [True, False, True]


@pytest.mark.parametrize("keep", [1, 2])
def test_a_branch_of_the_last_stage_is_judged_by_its_own_cost(keep):
    """Not by that of the hypothesis that it was made from."""
    second = lambda state, seen: (torch.arange(B), truth())  # noqa: E731
    fit = route().run(Begun.at(turned(truth(), 0.3), observation()), (replace(STILL, keep=keep, branch=second),))
    torch.testing.assert_close(fit.hypothesis_cost[:, 0], fit.cost)
    assert all(is_like(fit.state, truth())) and len(fit.hypotheses) == keep


def test_only_the_terms_of_rank_by_order_hypotheses():
    """One hypothesis is nearer to its keypoints, the other has the lower energy by a wide margin."""
    stage = Stage({"shape": 1e4, "reprojection": 24.0}, options=Options(max_steps=0))
    near, far = truth(), State(replace(turned(truth(), 0.2).params, betas=0 * truth().params.betas), truth().camera)
    cost = [route().term_costs(state, observation(), stage) for state in (near, far)]
    assert (cost[0]["reprojection"] < cost[1]["reprojection"]).all() and (total(cost[0]) > total(cost[1])).all()
    rows = torch.tensor([3, 0, 4, 1, 5, 2])
    begun = Begun(State.cat([near, far])[rows], observation(), torch.arange(B).repeat_interleave(2), False)
    ranked = route().run(begun, (replace(stage, rank_by=("reprojection",)),))
    assert all(is_like(ranked.state, near))
    torch.testing.assert_close(ranked.cost, total(cost[0]))  # the whole energy, whatever they were ranked by
    assert all(is_like(route().run(begun, (stage,)).state, far))


def test_hypotheses_whose_cost_is_no_number_come_last():
    cost = torch.tensor([2.0, torch.nan, 1.0, torch.nan, 3.0, 2.0])
    person = torch.tensor([0, 0, 0, 1, 1, 1])
    assert best_of(cost, person, 2).tolist() == [2, 0, 5, 4]
    assert best_of(cost, person, 9).tolist() == [2, 0, 1, 5, 4, 3]
    assert best_of(torch.zeros(6), person, 1).tolist() == [0, 3]  # of equal ones the first


def test_steps_add_up_over_stages_along_the_winner():
    """Of every person the steps of the hypothesis that won, in all stages."""
    one = replace(FINAL, options=Options(max_steps=2, ftol=0, gtol=0), keep=2)
    fit = route().run(several(0.3, 0.05), (one, one, one))
    assert (fit.steps == 6).all()


def test_one_start_for_each_person_is_kept_to_compare_with():
    begun = Begun.at(turned(truth(), 0.1), observation())
    assert route().run(begun, (FEW,)).start is begun.state
    assert route().run(several(0.1, 0.2), (FEW,)).start is None
    assert route().run(begun, (FEW,)).observation is observation()


def test_hypotheses_are_independent_of_the_batch():
    """Two people with three hypotheses each, and one of them alone."""
    both = route().run(several(0.3, 0.1, 0.02), (replace(FEW, keep=2), FEW))
    alone = several(0.3, 0.1, 0.02)
    own = Begun(alone.state[3:6], observation()[1], torch.zeros(3).long(), False)
    found = route().run(own, (replace(FEW, keep=2), FEW))
    assert_same(found, both[1])


def assert_same(found: Fit, expected: Fit) -> None:
    for field in ("global_orient", "body_pose", "betas", "transl"):
        a, b = (getattr(fit.state.params, field) for fit in (found, expected))
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.hypothesis_cost, expected.hypothesis_cost, rtol=1e-9, atol=0)

"""Other modes: what depth flips lead to, each at its own minimum, kept once, ranked by the fit's own energy."""

from dataclasses import replace

import pytest
import torch
from helpers.fits import joints_of, people, photograph, shipped
from helpers.measured import anchored
from helpers.stick_hand import stick_hand

from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.check_term import sample_evaluation
from hmrfit.fitting.energy import Stage, term_costs, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.modes import CALIBRATED, LATE, SAME, Modes, costs_of_several, merge
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.route import Route
from hmrfit.fitting.schedule import Schedule
from hmrfit.fitting.solver import Solution
from hmrfit.fitting.starts import GivenStart
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import Keypoints

COUNT = 48


def with_steps(*after) -> Fitter:
    """As shipped, with these steps after the stage."""
    return shipped().with_schedule(replace(shipped().schedule, after=after))


def route() -> Route:
    return shipped().route(COCO17)


@pytest.fixture(scope="module")
def plain() -> Fit:
    """The stage alone."""
    return with_steps().fit(people(COUNT, "coco17", noise=0.02).keypoints, photograph(COUNT))


@pytest.fixture(scope="module")
def fit(plain: Fit) -> Fit:
    return Modes()(plain, route())


def test_some_people_have_other_modes_and_no_one_more_than_asked_for(fit: Fit):
    count = fit.hypothesis_cost.isfinite().sum(1)
    assert (count > 1).any() and (count == 1).any() and len(fit.hypotheses) == 3


def test_hypotheses_rise_in_energy_and_the_answer_is_the_first(fit: Fit):
    assert (fit.hypothesis_cost[:, 1:] >= fit.hypothesis_cost[:, :-1]).all()
    torch.testing.assert_close(fit.hypothesis_cost[:, 0], fit.cost)
    for h, state in enumerate(fit.hypotheses):
        cost, there = total(route().term_costs(state, fit.observation, fit.stage)), fit.hypothesis_cost[:, h].isfinite()
        torch.testing.assert_close(fit.hypothesis_cost[there, h], cost[there])
    torch.testing.assert_close(total(fit.term_cost), fit.cost)


def test_modes_are_not_the_same_answer_twice(fit: Fit):
    """Some joint of any two is elsewhere, the pelvises together; where there is none, the best one stands again."""
    first, *others = (joints_of(state) - joints_of(state)[:, :1] for state in fit.hypotheses)
    for h, joints in enumerate(others, 1):
        there = fit.hypothesis_cost[:, h].isfinite()
        away = (joints - first).norm(dim=-1).amax(1)
        assert (away[there] > SAME).all() and (away[~there] == 0).all()


def test_no_person_is_worse_off(plain: Fit, fit: Fit):
    assert (fit.cost <= plain.cost + 1e-9).all()
    best = fit.hypothesis_cost.isfinite().sum(1) == 1
    assert torch.equal(fit.state.params.rotations[best], plain.state.params.rotations[best])


def test_every_mode_costs_little_more_than_the_answer_by_the_calibrated_energy(fit: Fit):
    there = fit.hypothesis_cost.isfinite()
    assert torch.equal(there, fit.calibrated_cost.isfinite())
    least = fit.calibrated_cost.amin(1, keepdim=True)
    assert ((fit.calibrated_cost - least)[there] < 2 * LATE).all()


def test_a_mode_stands_at_its_own_minimum_of_the_calibrated_energy(fit: Fit):
    """A few more steps from there gain next to nothing."""
    rows = fit.hypothesis_cost[:, 1].isfinite().nonzero()[:, 0]
    mode = route().problem(fit.observation[rows], CALIBRATED).solve(fit.hypotheses[1][rows])
    assert (fit.calibrated_cost[rows, 1] - mode.cost).abs().median() < 0.05  # nats


def test_other_modes_are_independent_of_the_batch(plain: Fit, fit: Fit):
    rows = (fit.hypothesis_cost.isfinite().sum(1) > 1).nonzero()[:2, 0]
    for i in rows.tolist():
        alone = Modes()(plain.of(torch.tensor([i])), route())
        expected = fit.of(torch.tensor([i]))
        assert alone.hypothesis_cost.isfinite().sum() == expected.hypothesis_cost.isfinite().sum()
        torch.testing.assert_close(joints_of(alone), joints_of(expected), rtol=0, atol=1e-6)


def test_flips_are_made_for_some_people_at_a_time(plain: Fit, fit: Fit):
    pieces = Modes(chunk=7)(plain, route())
    torch.testing.assert_close(pieces.hypothesis_cost, fit.hypothesis_cost, rtol=1e-9, atol=1e-9)


def test_none_to_keep_or_no_anchor_changes_nothing(plain: Fit):
    assert Modes(keep=0)(plain, route()) is plain
    for missing in ("anchor", "noise"):
        bare = replace(plain, observation=replace(plain.observation, **{missing: None}))
        assert Modes()(bare, route()) is bare


def test_a_body_without_limbs_that_flip_has_one_mode():
    """A hand: its fit comes back as it is."""
    body = SmplBody(stick_hand())
    params, camera = body.neutral(2), photograph(2)
    params = replace(params, transl=torch.tensor([[0.0, 0.0, 0.6]]).double().expand(2, 3))
    points = body.points(body.landmark_names)
    keypoints = Keypoints(camera.project(points.pose(params).points), torch.ones(2, 5).double(), points.names)
    terms = {"anchor": AnchorPrior(), "keypoints": StudentReprojection()}
    schedule = Schedule(GivenStart(), (Stage({"anchor": 7.0, "keypoints": 0.7}),))
    fit = Fitter(body, terms, schedule).fit(keypoints, camera, init=params)
    known = replace(fit, observation=replace(fit.observation, noise=torch.full((2, 5), 0.01).double()))
    assert Modes()(known, Route(points, terms)) is known


def test_a_narrow_window_leaves_fewer(plain: Fit, fit: Fit):
    narrow = Modes(window=0.1)(plain, route())
    assert COUNT <= narrow.hypothesis_cost.isfinite().sum() < fit.hypothesis_cost.isfinite().sum()


def bent(state: State, radians: float) -> State:
    turn = rotvec_to_matrix(radians * torch.ones(3).double())
    return State(replace(state.params, body_pose=state.params.body_pose @ turn), state.camera)


def test_merging_sorts_by_energy_and_keeps_the_same_answer_once(plain: Fit):
    """Person 0 gets a better answer, person 1 a worse one, person 2 its own again."""
    three = torch.arange(3)
    fit = replace(plain.of(three), calibrated_cost=torch.tensor([[1.0], [2.0], [3.0]]).double())
    found = State.cat([bent(fit.state[:2], 0.3), fit.state[2:]])
    cost = torch.stack([fit.cost[0] - 5, fit.cost[1] + 5, fit.cost[2] + 5])
    more = Solution(found, cost, fit.status, fit.steps + 10)
    calibrated = torch.tensor([7.0, 8.0, 9.0]).double()
    merged = merge(fit, route().body, more, calibrated, torch.ones(3).long(), three, 1)
    assert merged.hypothesis_cost.isfinite().tolist() == [[True, True], [True, True], [True, False]]
    assert merged.calibrated_cost.tolist() == [[7.0, 1.0], [2.0, 8.0], [3.0, torch.inf]]
    expected = [[fit.cost[0] - 5, fit.cost[0]], [fit.cost[1], fit.cost[1] + 5]]
    torch.testing.assert_close(merged.hypothesis_cost[:2], torch.tensor(expected).double())
    assert torch.equal(merged.state.params.body_pose[0], found.params.body_pose[0])
    assert torch.equal(merged.state.params.body_pose[1:], fit.state.params.body_pose[1:])
    assert merged.steps.tolist() == [fit.steps[0] + 10, *fit.steps[1:].tolist()]


def test_several_states_of_a_person_cost_what_each_costs_alone():
    """Their common factors are taken into account once a person, not once a state."""
    e, stage = anchored(), Stage({"anchor": 1.2, "keypoints": 0.6})
    terms = {"anchor": AnchorPrior(), "keypoints": StudentReprojection()}
    states = [e.state, State(sample_evaluation(seed=3).state.params, e.state.camera)]
    alone = [sum(term_costs(Linearization(e.body, s, e.observation), terms, stage).values()) for s in states]
    together = costs_of_several(Route(e.body, terms), State.cat(states), e.observation, 2, stage)
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-12, atol=0)

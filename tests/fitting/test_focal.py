"""The focal length: a refit with a wrong one does what the theorem says; a free one is found where it can be."""

import math
from dataclasses import replace
from functools import cache

import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people, photograph

from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.focal import FittedEnergy, FocalProblem, focal_sensitivity, free_focal
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.solver import Options, solve

TIGHT = replace(FINAL, options=Options(max_steps=100, ftol=1e-11))


@cache
def fitted(count: int = 12) -> tuple[State, Observation]:
    """People fitted to the end with the camera that is assumed."""
    keypoints = people(count, "coco17", noise=0.01).keypoints
    observation = Observation.of(keypoints)
    problem = StageProblem(free_body().points(keypoints.names), observation, fitter().terms, TIGHT)
    start = fitter().fit(keypoints, photograph(count)).state
    return solve(problem, start, TIGHT.options).x, observation


def problem() -> FocalProblem:
    _, observation = fitted()
    return FocalProblem(free_body().points(observation.keypoints.names), observation, fitter().terms, TIGHT)


def test_a_refocused_body_has_its_pelvis_where_it_was():
    """In the image; as much farther away as the focal length is longer."""
    state, _ = fitted()
    other = problem().refocused(state, math.log(1.3))
    before, after = (problem().body.pose(s.params).joints[:, :1] for s in (state, other))
    torch.testing.assert_close(other.camera.project(after), state.camera.project(before), rtol=0, atol=1e-9)
    torch.testing.assert_close(after[..., 2], 1.3 * before[..., 2])


def test_products_are_those_of_the_hessian():
    """Symmetric, and the slope of the gradient along any direction."""
    state, _ = fitted()
    a, b = torch.randn(2, len(state), problem().problem.layout.columns, dtype=torch.float64)
    Ha, Hb = problem().product(state, a), problem().product(state, b)
    size = (Ha.norm(dim=-1) * b.norm(dim=-1)).clamp_min(1e-9)
    assert (((b * Ha).sum(-1) - (a * Hb).sum(-1)) / size).abs().median() < 1e-3


def test_two_fits_side_by_side_do_what_the_theorem_says():
    """At 0.8 and 1.25 of the focal length: depth to 3 %, joints to a third of what they move, in the median."""
    state, observation = fitted()
    body, energy = problem().body, FittedEnergy(fitter().terms, TIGHT, observation)
    _, _, _, mixed = problem().derivatives(state)
    answer = problem().answer(state, problem().problem.linearize(state), mixed)
    for factor in (0.8, 1.25):
        found, s = focal_sensitivity(body, energy, state, factor), math.log(factor)
        there = problem().problem.retract(problem().refocused(state, s), s * answer)
        moved = body.pose(there.params).joints - body.pose(state.params).joints
        about = moved - moved[:, :1]
        assert (found.depth / moved[:, 0, 2] - 1).abs().median() < 0.03
        off = (found.moved - about).norm(dim=-1).mean(1) / about.norm(dim=-1).mean(1)
        assert off.median() < 0.33
        torch.testing.assert_close(found.joints, found.moved.norm(dim=-1))


def test_people_whose_answer_is_fixed_only_stand_farther_away():
    """A fifth longer is a fifth farther away; nothing else moves. The others move as if alone."""
    state, observation = fitted()
    body, energy = problem().body, FittedEnergy(fitter().terms, TIGHT, observation)
    fixed = torch.arange(len(state)) == 2
    some, free = (focal_sensitivity(body, energy, state, 1.2, rows) for rows in (fixed, None))
    pelvis = body.pose(state.params).joints[:, 0, 2]
    torch.testing.assert_close(some.depth[2], 0.2 * pelvis[2])
    assert some.joints[2].max() < 1e-12 < free.joints[2].max()
    torch.testing.assert_close(some.joints[~fixed], free.joints[~fixed])


def test_another_factor_to_first_order():
    state, observation = fitted()
    body, energy = problem().body, FittedEnergy(fitter().terms, TIGHT, observation)
    pelvis = body.pose(state.params).joints[:, 0, 2]
    at, other = (focal_sensitivity(body, energy, state, factor) for factor in (1.2, 1.4))
    near = at.at(1.4, pelvis)
    assert (near.depth / other.depth - 1).abs().median() < 0.02
    assert ((near.joints - other.joints).abs().mean(1) / other.joints.mean(1)).median() < 0.15
    assert near.factor == 1.4 and "m farther away" in near.summary() and "m nearer" in at.at(0.9, pelvis).summary(0)


def test_a_free_focal_length_lowers_the_energy_and_knows_its_prior():
    state, observation = fitted()
    body, terms = problem().body, fitter().terms
    free = free_focal(body, terms, FINAL, state, observation)
    start = problem().problem.linearize(state).cost
    assert (free.cost <= start + 1e-9).all() and (free.cost < start - 1e-3).any()
    narrow = free_focal(body, terms, FINAL, state, observation, std=1e-3)
    assert narrow.log_factor.abs().max() < 1e-2 and (narrow.std <= 1e-3).all()
    ratio = free.state.camera.focal[:, 0] / state.camera.focal[:, 0]
    torch.testing.assert_close(ratio.log(), free.log_factor)
    assert (free.std > 0).all() and (free.std <= 0.35 + 1e-9).all()


def test_the_effect_is_independent_of_the_batch():
    state, observation = fitted()
    body, terms = problem().body, fitter().terms
    together = focal_sensitivity(body, FittedEnergy(terms, TIGHT, observation), state)
    alone = focal_sensitivity(body, FittedEnergy(terms, TIGHT, observation[3:4]), state[3:4])
    torch.testing.assert_close(together.joints[3:4], alone.joints, rtol=0, atol=1e-6)
    nobody = focal_sensitivity(body, FittedEnergy(terms, TIGHT, observation[:0]), state[:0])
    assert nobody.joints.shape == (0, 24)

"""With frames last in memory, the terms of hands say what they say frame by frame."""

from dataclasses import replace

import pytest
import torch
from helpers.hand_scenes import hand_scene

from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.frames_last import FramesLast
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.people_last import PeopleLast
from hmrfit.hand import hand_pipeline
from hmrfit.types import BodyParams

T = 6
PART = slice(1, 6)


def crooked(side: str) -> tuple[StageProblem, State]:
    """Frames of a hand whose fingers are turned at random: outside of their limits, and some in each other."""
    scene, pipeline = hand_scene(side, T), hand_pipeline(side)
    turns = 0.7 * torch.randn(T, 48, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    betas = scene.params.betas[:1].expand(T, -1)
    params = BodyParams.from_rotvecs(turns[:, :3], turns[:, 3:], betas, scene.params.transl)
    stage = pipeline.fitter.schedule.stages[-1]
    body, terms = pipeline.fitter.point_body(scene.names), pipeline.fitter.terms
    return StageProblem(body, Observation.of(scene.keypoints), terms, stage), State(params, scene.camera)


@pytest.mark.parametrize("side", ["right", "left"])
def test_equations_are_those_of_the_frames(side):
    problem, state = crooked(side)
    fast = FramesLast.of(problem, None)
    assert fast is not None and fast.others is None
    (found, _), expected = fast.linearize(state, PART), problem.select(PART).linearize(state[PART])
    for name in ("cost", "gradient", "hessian"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11 * b.abs().max().item())
    assert fast.cost(state, PART) == pytest.approx(float(expected.cost.sum()), rel=1e-11)
    parts = problem.select(PART).term_costs(state[PART])
    assert min(float(parts[name].sum()) for name in ("biomechanics", "fingers_apart")) > 0


def test_equations_are_those_of_hands_of_many_shapes():
    problem, state = crooked("right")
    betas = state.params.betas + 0.8 * torch.randn(T, 10, generator=torch.Generator().manual_seed(4)).double()
    state = State(replace(state.params, betas=betas), state.camera)
    fast = PeopleLast.of(problem.body, problem.layout, problem.terms, problem.stage.weights)
    assert fast is not None and not fast.others
    found, expected = fast.linearize(state, problem.observation), problem.linearize(state)
    for name in ("cost", "gradient", "hessian"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11 * b.abs().max().item())


def test_single_numbers_have_seven_digits():
    problem, state = crooked("right")
    fast = FramesLast.of(problem, None)
    assert fast is not None
    exact, single = (fast.linearize(state, PART, kind)[0] for kind in (torch.float64, torch.float32))
    assert single.hessian.dtype == torch.float32 and (single.cost == exact.cost).all()
    for a, b in ((single.gradient, exact.gradient), (single.hessian.double(), exact.hessian)):
        assert (a - b).abs().max() < 1e-6 * b.abs().max()


def test_a_mixture_of_poses_is_computed_as_ever():
    problem, _ = crooked("right")
    gmm = problem.terms["gmm"]
    two = replace(gmm, gmm=type(gmm.gmm)(*(t[[0, 0]] for t in (gmm.gmm.means, gmm.gmm.covariances)), torch.ones(2)))
    other = StageProblem(problem.body, problem.observation, {**problem.terms, "gmm": two}, problem.stage)
    fast = FramesLast.of(other, None)
    assert fast is not None and fast.others is not None and set(fast.others.weights) == {"gmm"}

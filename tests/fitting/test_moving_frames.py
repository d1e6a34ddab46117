"""Frames that still move are gone on with alone: the others stay to the bit, and the energy is that of all."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from helpers.hand_scenes import hand_scene

from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.moving_frames import Moving, Windows, settle, windows_of, with_frames
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.sequence import SequenceProblem, solve_sequence
from hmrfit.fitting.smoothness import Smoothness
from hmrfit.fitting.solver import Options, solve
from hmrfit.hand import hand_pipeline
from hmrfit.types import BodyParams

T = 31
OPTIONS = Options(max_steps=2, ftol=1e-3, gtol=0.0, damping=1e-5, shorten=True)


def still_hand() -> tuple[SequenceProblem, State]:
    """T frames of a hand that stands still, from the true pose but for two frames whose fingers are turned."""
    one, pipeline = hand_scene("right", 1), hand_pipeline("right")
    scene = replace(one, keypoints=one.keypoints[[0] * T], params=one.params[[0] * T], camera=one.camera[[0] * T])
    fitter = pipeline.fitter
    body, stage = fitter.point_body(scene.names), fitter.schedule.stages[-1]
    frames = StageProblem(body, Observation.of(scene.keypoints), fitter.terms, stage)
    problem = SequenceProblem(frames, Smoothness.of(fitter.body, 30.0, 0.5, 0.3))
    state = State(BodyParams(*(t.contiguous() for t in vars(scene.params).values())), scene.camera)
    found = solve_sequence(problem, state, replace(OPTIONS, max_steps=20, ftol=1e-9)).x
    turned = found.params.to_rotvecs()[1]
    turned[14:16] += 0.3
    return problem, State(BodyParams.from_rotvecs(*_same(found, turned)), found.camera)


def _same(state: State, turned: torch.Tensor) -> tuple[torch.Tensor, ...]:
    first, _ = state.params.to_rotvecs()[:2]
    return first, turned.flatten(1), state.params.betas, state.params.transl


def test_windows_hold_what_moves_and_end_with_fixed_frames():
    generator = torch.Generator().manual_seed(0)
    for count in (5, 30, 31):
        for share in (0.02, 0.1, 0.5, 1.0):
            moving = torch.rand(count, generator=generator) < share
            moving[int(torch.randint(count, (1,), generator=generator))] = True
            rows, fixed, begins = windows_of(moving, 2)
            assert set(moving.nonzero()[:, 0].tolist()) <= set(rows[~fixed].tolist())
            edges = [0, *begins, len(rows)]
            for first, stop in pairwise(edges):
                own, held = rows[first:stop], fixed[first:stop]
                assert (own.diff() == 1).all() and first % 2 == 0
                assert int(own[0]) == 0 or held[:2].all()
                assert int(own[-1]) == count - 1 or held[-2:].all()


def test_the_fall_is_that_of_all_frames_and_the_others_stay():
    problem, state = still_hand()
    moving = torch.zeros(T, dtype=torch.bool)
    moving[14:16] = True
    rows, fixed, cuts = windows_of(moving, 4)
    part = Windows(problem, rows, fixed, cuts)
    found = solve(part, state[rows], OPTIONS)
    after = with_frames(state, rows, found.x)
    assert problem.cost(state) - problem.cost(after) == pytest.approx(found.fall, rel=1e-9)
    assert found.fall > 0 and 0 < fixed.sum() < len(rows)
    for name in ("global_orient", "body_pose", "transl"):
        held = getattr(found.x.params, name)[fixed], getattr(state.params, name)[rows[fixed]]
        assert (held[0] - held[1]).abs().max() < 1e-12, name  # a turn by nothing rounds
    assert (found.x.params.betas == state.params.betas[rows]).all()


def test_a_solution_that_stands_still_is_the_same():
    problem, state = still_hand()
    found = solve(problem, state, replace(OPTIONS, max_steps=1))
    assert settle(problem, found, OPTIONS, Moving(turn=180.0)).x is found.x
    on = settle(problem, found, OPTIONS, Moving(turn=0.5))
    assert on.cost < found.cost and on.cost == pytest.approx(problem.cost(on.x), rel=1e-9)

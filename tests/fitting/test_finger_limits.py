"""Limits of fingers as a term of the fit: what it measures, and its derivatives."""

import numpy as np
import pytest
import torch
from helpers.hand_scenes import hand_scene

from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyProblem
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.terms.finger_limits import FingerLimits
from hmrfit.hand import hand_pipeline
from hmrfit.types import BodyParams


def bent(side: str, size: float, count: int = 6) -> tuple[FingerLimits, Linearization]:
    """Hands whose joints are turned at random, by so many radians."""
    scene, fitter = hand_scene(side, count), hand_pipeline(side).fitter
    generator = torch.Generator().manual_seed(0)
    turns = size * torch.randn(count, 48, generator=generator, dtype=torch.float64)
    params = BodyParams.from_rotvecs(turns[:, :3], turns[:, 3:], scene.params.betas, scene.params.transl)
    term = fitter.terms["biomechanics"]
    assert isinstance(term, FingerLimits)
    body = fitter.point_body(scene.names)
    return term, Linearization(body, State(params, scene.camera), Observation.of(scene.keypoints))


@pytest.mark.parametrize("side", ["right", "left"])
def test_derivatives_are_those_of_finite_differences(side):
    term, e = bent(side, 0.8)
    J, h = term.jacobian(e), 1e-6
    for column in range(J.shape[-1]):
        step = torch.zeros(J.shape[-1], dtype=torch.float64)
        step[column] = h
        ahead, behind = (e.state.retract(s * step, e.body.parents, e.layout) for s in (1, -1))
        r = [term.residuals(Linearization(e.body, state, e.observation, e.layout)) for state in (ahead, behind)]
        torch.testing.assert_close(J[..., column], (r[0] - r[1]) / (2 * h), rtol=1e-5, atol=1e-6)
    assert (term.residuals(e) > 0).sum() > 30


def test_both_forms_of_the_residuals_are_the_same():
    term, e = bent("left", 0.8)
    sums = NormalEquations(e)
    term.add(e, sums, 2.0)
    own = 0.5 * term.residuals(e).square().sum(1)
    torch.testing.assert_close(sums.cost, 2.0 * own)
    torch.testing.assert_close(term.cost(e), own)


def test_one_hand_in_numpy_is_the_batch():
    term, e = bent("right", 0.8, 2)
    sums = NormalEquations(e)
    term.add(e, sums, 3.0)
    _, gradient, hessian = sums.finish(e)
    for row in range(2):
        form = term.numpy_form(e.observation, row, e.layout)
        problem = NumpyProblem(e.body, e.layout, (e.state, e.observation, row), [(form, 3.0)], [])
        system = problem.linearize(problem.start)
        assert system.cost == pytest.approx(float(sums.cost[row]))
        np.testing.assert_allclose(system.gradient, gradient[row], atol=1e-10)
        np.testing.assert_allclose(system.hessian, hessian[row], atol=1e-9)


@pytest.mark.parametrize("side", ["right", "left"])
def test_real_poses_are_within_and_overbent_fingers_are_not(side):
    """A finger bent back by 60 degrees at its second joint."""
    fitter, scene = hand_pipeline(side).fitter, hand_scene(side, 1)
    body, term = fitter.point_body(scene.names), fitter.terms["biomechanics"]
    flat = BodyParams.from_rotvecs(*(torch.zeros(1, n).double() for n in (3, 45, 10)), scene.params.transl)
    assert not term.residuals(Linearization(body, State(flat, scene.camera), Observation.of(scene.keypoints))).any()
    theta = torch.zeros(1, 15, 3, dtype=torch.float64)
    theta[0, body.skeleton.index(f"{side}_index2") - 1, 2] = -1.05 if side == "right" else 1.05
    back = BodyParams.from_rotvecs(torch.zeros(1, 3).double(), theta.flatten(1), flat.betas, flat.transl)
    r = term.residuals(Linearization(body, State(back, scene.camera), Observation.of(scene.keypoints)))[0]
    assert r[4] > 0.5 and r.count_nonzero() == 1

"""Fingers keep apart: known distances, derivatives, real hands at rest and bent, and the other hand."""

import numpy as np
import pytest
import torch
from helpers.people_with_hands import some_people
from torch import Tensor

from hmrfit.body.finger_capsules import finger_capsules
from hmrfit.body.skeleton import SMPLH
from hmrfit.build import load_body
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyProblem
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.terms.fingers_apart import FingersApart, _nearest
from hmrfit.hand import hand_pipeline
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.pipeline import Pipeline
from hmrfit.types import BodyParams


def linearized(turns: Tensor) -> Linearization:
    """Two people whose fingers are bent by more (2, 30, 3), radians."""
    people = some_people(2)
    f = Pipeline.of({"BODY.PATH": "free_body_h"}).fitter
    rotations = people.params.rotations.clone()
    fingers = [j for joints in SMPLH.fingers.values() for j in joints]
    rotations[:, fingers] = rotations[:, fingers] @ rotvec_to_matrix(turns)
    params = BodyParams(rotations[:, 0], rotations[:, 1:], people.params.betas, people.params.transl)
    body = f.point_body(people.keypoints.names)
    return Linearization(body, State(params, people.camera), Observation.of(people.keypoints))


def random_turns(scale: float) -> Tensor:
    return scale * torch.randn(2, 30, 3, generator=torch.Generator().manual_seed(1)).double()


def test_the_nearest_points_of_segments_are_those_of_a_fine_grid() -> None:
    rng = np.random.default_rng(0)
    p, d, q, f = rng.standard_normal((4, 40, 3))
    A, B = (found.T for found in _nearest(p.T, d.T, q.T, f.T))
    u = np.linspace(0, 1, 201)
    first, second = (x[:, None] + u[:, None] * v[:, None] for x, v in ((p, d), (q, f)))
    least = np.linalg.norm(first[:, :, None] - second[:, None], axis=-1).min((1, 2))
    np.testing.assert_allclose(np.linalg.norm(A - B, axis=-1), least, atol=0.01)


def test_derivatives_are_those_of_finite_differences() -> None:
    e = linearized(random_turns(0.5))
    term = FingersApart(load_body("free_body_h"))
    J, r = term.jacobian(e), term.residuals(e)
    assert (r > 1e-3).sum() > 10
    inside = r > 1e-4
    for j in range(3 + 3, J.shape[-1] - 20, 7):
        step = torch.zeros(J.shape[-1]).double()
        step[j] = 1e-6
        ahead, behind = (e.state.retract(s * step, e.body.parents, e.layout) for s in (1, -1))
        each = [term.residuals(Linearization(e.body, s, e.observation)) for s in (ahead, behind)]
        slope = (each[0] - each[1]) / 2e-6
        torch.testing.assert_close(J[..., j][inside], slope[inside], rtol=1e-3, atol=1e-5)
    sums = NormalEquations(e)
    term.add(e, sums, 3.0)
    cost, gradient, hessian = sums.finish(e)
    torch.testing.assert_close(cost, 3.0 * term.cost(e))
    torch.testing.assert_close(gradient, 3.0 * (r[:, None] @ J).squeeze(1))
    torch.testing.assert_close(hessian, 3.0 * J.mT @ J)
    problem = NumpyProblem(
        e.body, e.layout, (e.state, e.observation, 1), [(term.numpy_form(e.observation, 1, e.layout), 3.0)], []
    )
    alone = problem.linearize(problem.start)
    np.testing.assert_allclose(alone.gradient, gradient[1], atol=1e-10)
    np.testing.assert_allclose(alone.hessian, hessian[1], atol=1e-10)


def test_no_finger_is_in_another_at_rest_and_mirrored_hands_are_alike() -> None:
    for side in ("right", "left"):
        body = hand_pipeline(side).fitter.body
        term, points = FingersApart(body), body.points((f"{side}_thumb_tip",))
        posed = points.pose(body.neutral())
        assert not len(term.pairs.met(posed.joints.numpy(), posed.world.numpy(), np.zeros((1, body.shape_count))).depth)
    right, left = (finger_capsules(hand_pipeline(side).fitter.body) for side in ("right", "left"))
    np.testing.assert_allclose(right.radius, left.radius, atol=1e-9)


def test_hands_of_one_person_keep_apart_too() -> None:
    body = load_body("free_body_h")
    term, points = FingersApart(body), body.points(("left_thumb_tip",))
    rotations = torch.eye(3).double().repeat(1, 52, 1, 1)
    for side, sign in (("left", -1.0), ("right", 1.0)):  # the arms forward: the hands side by side, then in each other
        rotations[0, SMPLH.index(f"{side}_shoulder")] = rotvec_to_matrix(torch.tensor([0.0, sign * 1.9, 0.0]).double())

    def depth(inward: float) -> float:
        moved = rotations.clone()
        for side, sign in (("left", -1.0), ("right", 1.0)):
            moved[0, SMPLH.index(f"{side}_shoulder")] = rotvec_to_matrix(
                torch.tensor([0.0, sign * inward, 0.0]).double()
            )
        zeros = torch.zeros(1, body.shape_count).double()
        posed = points.pose(BodyParams(moved[:, 0], moved[:, 1:], zeros, torch.zeros(1, 3).double()))
        met = term.pairs.met(posed.joints.numpy(), posed.world.numpy(), zeros.numpy())
        return float(met.depth.max(initial=0.0))

    assert depth(1.5) == 0.0
    assert max(depth(x) for x in (1.75, 1.8, 1.85, 1.9, 1.95)) > 0.005


def test_a_body_without_hands_is_refused() -> None:
    with pytest.raises(ValueError, match="Capsules of fingers are of hands"):
        finger_capsules(load_body("free_body"))

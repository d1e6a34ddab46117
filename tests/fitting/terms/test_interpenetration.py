"""Interpenetration as a term: its derivatives three ways, shape kept out of them, and what it does to a fit."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter

from hmrfit.body.capsules import capsules_of
from hmrfit.camera import Camera
from hmrfit.fitting.check_term import check_term, finite_difference_jacobian, normal_equations
from hmrfit.fitting.energy import Stage, StageProblem
from hmrfit.fitting.parameters import UPRIGHT, Layout, Linearization, Observation, State
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.solver import Options, solve
from hmrfit.fitting.terms.interpenetration import Interpenetration
from hmrfit.keypoints import SMPL24
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints

RIGID = ("transl", "global_orient", "body_pose")


def turn(*rotvec: float) -> torch.Tensor:
    return rotvec_to_matrix(torch.tensor(rotvec, dtype=torch.float64))


def bent_arm(side: str, down: float, bend: float) -> dict[str, torch.Tensor]:
    """An arm lowered by `down` and bent by `bend` so that the hand comes to the side of the body."""
    sign = 1.0 if side == "left" else -1.0
    shoulder = turn(0, 0, -sign * down) @ turn(math.pi / 2, 0, 0)
    return {f"{side}_shoulder": shoulder, f"{side}_elbow": turn(0, -sign * bend, 0)}


POSES = {
    "legs crossed": {"left_hip": turn(0, 0, -0.35), "right_hip": turn(0, 0, 0.35)},
    "forearms in the torso": bent_arm("left", 1.25, 1.9) | bent_arm("right", 1.25, 1.5),
    "hands in the hips": bent_arm("left", 0.75, 1.55) | bent_arm("right", 0.75, 1.55),
}


def standing(names: list[str]) -> BodyParams:
    """People of the mean shape 4 m away, facing the camera, in these poses."""
    p = free_body().neutral(len(names))
    pose = p.body_pose.clone()
    for person, name in enumerate(names):
        for joint, rotation in POSES[name].items():
            pose[person, SMPL24.index(joint) - 1] = rotation
    away = torch.tensor([0.0, 0.0, 4.0]).double().expand(len(names), 3)
    return BodyParams(torch.tensor(UPRIGHT).double().expand(len(names), 3, 3), pose, p.betas, away)


def seen(params: BodyParams) -> tuple[State, Observation]:
    """They and their keypoints, without noise."""
    body, camera = fitter().point_body(SMPL24), Camera.from_size(1024, 768, count=len(params))
    xy = camera.project(body.pose(params).points)
    keypoints = Keypoints(xy, torch.ones(xy.shape[:2]).double(), SMPL24)
    return State(params, camera), Observation.of(keypoints)


def evaluation(layout: Layout | None = None) -> Linearization:
    """The three poses, which all overlap."""
    state, observation = seen(standing(list(POSES)))
    return Linearization(fitter().point_body(SMPL24), state, observation, layout)


def test_derivatives_and_sums():
    """In all columns but the betas', which have none: there differences see what the term leaves out."""
    e, term = evaluation(Layout(RIGID, 24, 10)), Interpenetration(free_body())
    assert (term.residuals(e).amax(1) > 0.3).all()
    check_term(term, e)


def test_shape_has_no_part_in_the_gradient():
    e, term = evaluation(), Interpenetration(free_body())
    assert not term.jacobian(e)[..., e.layout.slice("betas")].any()
    _, gradient, hessian = normal_equations(term, e)
    assert not gradient[:, e.layout.slice("betas")].any() and not hessian[:, e.layout.slice("betas")].any()
    thick = State(replace(e.state.params, betas=e.state.params.betas + 2.0), e.state.camera)
    assert not torch.equal(term.residuals(Linearization(e.body, thick, e.observation)), term.residuals(e))


def test_where_all_turn_and_where_they_stand_does_not_enter():
    e, term = evaluation(), Interpenetration(free_body())
    for group in ("transl", "global_orient"):
        assert not term.jacobian(e)[..., e.layout.slice(group)].any()


def test_jacobian_of_some_joints_only():
    few, term = evaluation(Layout(("body_pose",), 24, 10, (1, 4, 16))), Interpenetration(free_body())
    expected = finite_difference_jacobian(term, few)
    torch.testing.assert_close(term.jacobian(few), expected, rtol=0, atol=1e-6 * expected.abs().max().item())
    _, gradient, hessian = normal_equations(term, few)
    r, J = term.residuals(few), term.jacobian(few)
    torch.testing.assert_close(gradient, (r[:, None] @ J).squeeze(1), rtol=0, atol=1e-9)
    torch.testing.assert_close(hessian, J.mT @ J, rtol=0, atol=1e-7)


def test_a_stage_where_no_joint_moves_has_the_cost_alone():
    e, term = evaluation(Layout(("transl", "betas"), 24, 10)), Interpenetration(free_body())
    cost, gradient, hessian = normal_equations(term, e, 3.0)
    torch.testing.assert_close(cost, 1.5 * term.residuals(e).square().sum(1), rtol=1e-9, atol=1e-9)
    assert not gradient.any() and not hessian.any()


def test_the_term_is_independent_of_the_batch():
    """The pairs that are left out are each person's own."""
    e, term = evaluation(), Interpenetration(free_body())
    together = normal_equations(term, e)
    for i in range(len(e.state)):
        alone = normal_equations(term, Linearization(e.body, e.state[i], e.observation[i]))
        for whole, part in zip(together, alone, strict=True):
            torch.testing.assert_close(whole[i : i + 1], part, rtol=1e-12, atol=1e-12)


def test_no_vertices_are_touched():
    """The capsules are regressed once; after that the mesh may be gone."""
    body = free_body().to()
    term = Interpenetration(body)
    term.overlap  # noqa: B018
    expected = term.residuals(evaluation())
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        setattr(body, name, None)
    assert torch.equal(term.residuals(evaluation()), expected)


@pytest.fixture(scope="module")
def fitted() -> dict[float, tuple[State, torch.Tensor]]:
    """weight -> (the three poses fitted to their own keypoints, the largest overlap of each)."""
    state, observation = seen(standing(list(POSES)))
    body, term = fitter().point_body(SMPL24), Interpenetration(free_body())
    found = {}
    for weight in (0.0, 1e3):
        stage = Stage({**FINAL.weights, term.name: weight}, options=Options(max_steps=40))
        problem = StageProblem(body, observation, {**fitter().terms, term.name: term}, stage)
        x = problem.fill(solve(problem, state, stage.options).x)
        found[weight] = x, term.residuals(Linearization(body, x, observation)).amax(1)
    return found


def test_limbs_come_apart(fitted):
    """Legs that run through each other, forearms that run through the torso."""
    assert (Interpenetration(free_body()).residuals(evaluation()).amax(1) > 0.3).all()
    assert (fitted[1e3][1] < 0.05).all()
    assert fitted[0.0][1][0] > 0.3  # the keypoints alone leave the legs as they are


def test_the_bodies_stay_near_their_keypoints_and_poses(fitted):
    """The keypoints are still met within 1 % of the person's size, and no joint turns by more than a right angle more
    than it does without the term."""
    state, observation = seen(standing(list(POSES)))
    with_term, without = fitted[1e3][0], fitted[0.0][0]
    xy = state.camera.project(fitter().point_body(SMPL24).pose(with_term.params).points)
    off = (xy - observation.keypoints.xy).norm(dim=-1).mean(1) / observation.box_size
    assert (off < 0.01).all()
    turned = lambda x: matrix_to_rotvec(state.params.body_pose.mT @ x.params.body_pose).norm(dim=-1).amax(1)  # noqa: E731
    assert (turned(with_term) < turned(without) + math.pi / 2).all()


def test_capsules_are_made_when_first_asked():
    """A body with no such parts can be fitted, as long as no stage asks."""
    term = Interpenetration(free_body())
    assert term._overlap is None
    assert term.overlap.capsules is capsules_of(free_body())

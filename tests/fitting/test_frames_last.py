"""With frames last in memory the numbers are those of the frames one by one."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import people, shipped

from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.frames_last import FramesLast
from hmrfit.fitting.parameters import State
from hmrfit.fitting.schedule import ANCHORED, FINAL
from hmrfit.fitting.smoothness import Poses, Smoothness
from hmrfit.fitting.starts import Given
from hmrfit.fitting.terms.base import FunctionTerm
from hmrfit.ops import rotation
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.ops.rotation_last import cross, first, last, log, product, right_jacobian_inverse

T = 7
PART = slice(1, 6)


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@cache
def frames(weights: tuple[str, ...] = ()) -> tuple[StageProblem, State]:
    """Frames of one shape in poses that break limits, with the anchors of the initial estimate; more terms by name."""
    many = people(2, "coco17")
    begun = shipped().begin(Given(many.clean[[0] * T], many.camera[[0] * T]))
    params = begun.state.params
    turned = params.body_pose @ rotvec_to_matrix(0.4 * draw(T, 23, 3))
    params = replace(params, body_pose=turned, betas=params.betas[:1].expand(T, -1).contiguous())
    stage = replace(ANCHORED, weights={**ANCHORED.weights, **dict.fromkeys(weights, 0.5)})
    terms = {**shipped().terms, "far": FunctionTerm(lambda state, output, seen: state.params.transl[:, 2:] - 3, "far")}
    problem = StageProblem(free_body().points(many.clean.names), begun.observation, terms, stage)
    return problem, State(params, begun.state.camera)


def moving_camera() -> Poses:
    return Poses(rotvec_to_matrix(0.3 * draw(T, 3)), draw(T, 3))


@pytest.mark.parametrize("more", [(), ("far", "shape")], ids=["default", "more terms"])
@pytest.mark.parametrize("moves", [False, True], ids=["still", "moving camera"])
def test_equations_are_those_of_the_frames(more, moves):
    problem, state = frames(more)
    motion = Smoothness.of(free_body(), 10.0, 4.0, 1.0, moving_camera() if moves else None)
    fast = FramesLast.of(problem, motion)
    assert fast is not None
    expected, smooth = problem.select(PART).linearize(state[PART]), motion.around(state.params, problem.layout, PART)
    found, around = fast.linearize(state, PART)
    for name in ("cost", "gradient", "hessian"):
        a, b = getattr(found, name), getattr(expected, name)
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-11 * b.abs().max().item())
    assert around is not None and around.cost == pytest.approx(smooth.cost, rel=1e-11)
    torch.testing.assert_close(around.gradient, smooth.gradient, rtol=1e-9, atol=1e-9)
    factors = [draw(5), draw(5), draw(4)]
    for a, b in zip(around.products(factors), smooth.products(factors), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item())
    costs = problem.select(PART).cost_at(state[PART]).sum().item() + motion.cost(state.params, PART)
    assert fast.cost(state, PART) == pytest.approx(costs, rel=1e-11)


def test_single_numbers_have_seven_digits_in_the_hessian_and_the_gradient():
    problem, state = frames()
    motion = Smoothness.of(free_body(), 10.0, 4.0)
    fast = FramesLast.of(problem, motion)
    assert fast is not None
    (exact, around), (single, rounded) = (fast.linearize(state, PART, kind) for kind in (torch.float64, torch.float32))
    assert single.hessian.dtype == torch.float32 and (single.cost == exact.cost).all()
    for a, b in ((single.gradient, exact.gradient), (single.hessian.double(), exact.hessian)):
        assert (a - b).abs().max() < 1e-6 * b.abs().max()
    assert around is not None and rounded is not None and (around.gradient == rounded.gradient).all()


def test_other_stages_have_no_such_form():
    problem, _ = frames()
    stage = StageProblem(problem.body, problem.observation, problem.terms, FINAL)
    assert FramesLast.of(stage, None) is None


def test_operations_are_those_of_single_matrices():
    v = torch.cat([draw(5, 4, 3), 1e-5 * draw(1, 4, 3), torch.zeros(1, 4, 3).double()])
    v[0] *= (torch.pi - 1e-3) / v[0].norm(dim=-1, keepdim=True)  # nearly half a turn
    v[1] *= 3 / v[1].norm(dim=-1, keepdim=True)
    A, B = rotvec_to_matrix(v), rotvec_to_matrix(draw(7, 4, 3))
    torch.testing.assert_close(first(product(last(A), last(B))), A @ B)
    found, angle = log(last(A))
    torch.testing.assert_close(first(found), rotation.matrix_to_rotvec(A), rtol=1e-9, atol=1e-12)
    expected = rotation.right_jacobian_inverse(rotation.matrix_to_rotvec(A))
    torch.testing.assert_close(first(right_jacobian_inverse(found, angle)), expected, rtol=1e-8, atol=1e-9)
    torch.testing.assert_close(first(cross(last(v), last(A[..., 0]))), torch.linalg.cross(v, A[..., 0]))

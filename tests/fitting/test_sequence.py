"""Frames that share a shape and move smoothly: the equations are the derivative, the answer
is smooth and nearer to the truth."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people

from hmrfit.body.rigid import turned
from hmrfit.fitting.banded import Bordered, step_of
from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.sequence import SequenceProblem, add_smoothness, one_shape, solve_sequence
from hmrfit.fitting.smoothness import Poses, Smoothness, banded_product, bone_points, stencil
from hmrfit.fitting.solver import Options, added_to_diagonal
from hmrfit.keypoints import COCO17
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def test_the_stencil_is_that_of_second_differences():
    D = torch.eye(9).double().diff(n=2, dim=0)
    x = draw(9, 2)
    torch.testing.assert_close(banded_product(stencil(9), x), D.T @ D @ x)
    assert stencil(9).shape == (3, 9)


@cache
def clip(T: int = 6) -> tuple[State, Observation]:
    """A person who turns the joints evenly, and keypoints with noise."""
    body = free_body()
    time = torch.arange(T).double()[:, None, None] / 10
    p = people(2, "coco17").params[:1]
    rotations = p.rotations @ rotvec_to_matrix(0.5 * time * draw(1, 24, 3))
    transl = p.transl + time[:, 0] * torch.tensor([0.3, 0.0, 0.2])
    params = BodyParams(rotations[:, 0], rotations[:, 1:], p.betas.expand(T, -1), transl)
    camera = people(2, "coco17").camera[[0] * T]
    xy = camera.project(body.points(COCO17).pose(params).points)
    noisy = Keypoints(xy + 6 * draw(T, 17, 2), torch.ones(T, 17).double(), COCO17)
    return State(params, camera), Observation.of(noisy)


@cache
def moving_camera(T: int) -> Poses:
    """A camera that turns and walks."""
    return Poses(rotvec_to_matrix(0.3 * draw(T, 3)), draw(T, 3))


def problem(T: int, smooth: float = 1.0, poses: Poses | None = None) -> tuple[SequenceProblem, State]:
    state, observation = clip(T)
    motion = Smoothness.of(free_body(), 10.0, 4.0, smooth, poses) if smooth else None
    frames = StageProblem(free_body().points(COCO17), observation, fitter().terms, FINAL)
    return SequenceProblem(frames, motion), state


@pytest.mark.parametrize("smooth", [0.0, 1.0], ids=["shape only", "smooth"])
@pytest.mark.parametrize("T", [1, 2, 3, 6])
def test_the_equations_are_the_derivative(T, smooth):
    """g by central differences of the cost, along random directions."""
    whole, state = problem(T, smooth)
    cost = lambda x, y: whole.linearize(whole.retract(state, (x, y))).cost  # noqa: E731
    system = whole.equations(state)
    for _ in range(4):
        x, y = draw(*system.gradient.shape), draw(*system.shared_gradient.shape)
        h = 1e-5
        slope = (cost(h * x, h * y) - cost(-h * x, -h * y)) / (2 * h)
        expected = (x * system.gradient).sum() + (y * system.shared_gradient).sum()
        assert slope == pytest.approx(expected.item(), rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("moves", [False, True], ids=["still", "moving camera"])
def test_the_smoothness_hessian_is_gauss_newton(moves):
    """J^T J of the twice differenced points, J by autodiff through all frames at once."""
    whole, state = problem(4, poses=moving_camera(4) if moves else None)
    T, layout = 4, whole.frames.layout
    n, S = whole.width, 10
    sums = Bordered.zeros(T, n, S, 2)
    part = slice(0, T)
    add_smoothness(whole.motion.around(state.params, layout, part), whole.motion, T, sums, part)
    found, gradient = sums.dense()

    def residuals(delta: torch.Tensor) -> torch.Tensor:
        moved = whole.retract(state, (delta[: T * n].view(T, n), delta[T * n :]))
        return whole.motion.scaled(*whole.motion._posed(moved.params)).diff(n=2, dim=0).flatten()

    zero = torch.zeros(T * n + S, dtype=torch.float64)
    J, r = torch.func.jacfwd(residuals)(zero), residuals(zero)
    torch.testing.assert_close(found, J.T @ J, rtol=1e-9, atol=1e-9 * found.abs().max().item())
    torch.testing.assert_close(gradient, J.T @ r, rtol=1e-9, atol=1e-9 * gradient.abs().max().item())


def test_the_smoothness_does_not_know_the_scale():
    """Twice as far and of any shape costs the same: nothing is gained by making the body small."""
    whole, state = problem(6)
    p, pelvis = state.params, free_body().rest_joints[0]
    far = replace(p, betas=p.betas + 1, transl=2 * (p.transl + pelvis) - pelvis)
    assert whole.motion.cost(far) == pytest.approx(whole.motion.cost(p))


def test_the_motion_is_smooth_in_the_world_of_a_moving_camera():
    """What the smoothness costs is what a camera that stands in that world's origin would say, in metres: the same for
    any motion of the camera, and another than if the camera stood still."""
    poses, p, pelvis = moving_camera(6), clip(6)[0].params, free_body().rest_joints[0]
    still = Poses(torch.eye(3).double().expand(6, 3, 3), torch.zeros(6, 3).double())
    shapes = free_body().joint_shapes[0]
    cost = lambda params, of: float(Smoothness.of(free_body(), 10.0, 4.0, 1.0, of).cost(params))  # noqa: E731
    about = replace(p, betas=torch.zeros_like(p.betas))
    seen = turned(about, pelvis, shapes, poses.rotation, poses.translation)
    assert cost(seen, poses) == pytest.approx(cost(about, still), rel=1e-9)
    assert cost(seen, None) > 2 * cost(about, still)


def test_points_of_the_bones_turn_with_them():
    body, state = free_body(), clip()[0]
    points = bone_points(body).pose(state.params).points.unflatten(1, (24, 3))
    joints = body.points(("nose",)).pose(state.params).joints
    torch.testing.assert_close(points[:, :, 0], joints)
    arms = (points[:, :, 1:] - points[:, :, :1]).norm(dim=-1)
    torch.testing.assert_close(arms, torch.full_like(arms, 0.1))


def test_a_sequence_is_fitted():
    """The cost falls until it stands, the shape is one, joints accelerate far less than frame by frame and as they
    look from the pelvis are about as near to the truth: of six such clips, whose joints turn as no person's do, three
    come nearer by a tenth and three go farther away by up to a twentieth."""
    truth, observation = clip(12)
    alone = fitter().fit(observation.keypoints, truth.camera)
    whole, _ = problem(12)
    start = one_shape(alone.state)
    found = solve_sequence(whole, start, Options(max_steps=80, ftol=1e-5))
    assert found.cost < whole.linearize(start).cost and found.status in (1, 3)
    assert (found.x.params.betas == found.x.params.betas[:1]).all()
    joints = [free_body().points(COCO17).pose(s.params).joints for s in (truth, alone.state, found.x)]
    jitter = [j.diff(n=2, dim=0).norm(dim=-1).mean() for j in joints]
    assert jitter[2] < 0.3 * jitter[1]
    right, first, last = (j - j[:, :1] for j in joints)
    assert (last - right).norm(dim=-1).mean() < 1.05 * (first - right).norm(dim=-1).mean()


def test_one_frame_is_the_fit_itself():
    """Without neighbours a sequence of one is the ordinary problem: from its own answer nothing moves far."""
    whole, _ = problem(1)
    _, observation = clip(1)
    alone = fitter().fit(observation.keypoints, clip(1)[0].camera)
    found = solve_sequence(whole, alone.state, Options(max_steps=30, ftol=1e-9))
    assert found.cost <= alone.cost.item() + 1e-9 and found.cost > 0.99 * alone.cost.item()


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_frames_are_taken_in_pieces(smooth, monkeypatch: pytest.MonkeyPatch):
    """However many at a time, the equations are the same, and so are those that are solved where they lie."""
    whole, state = problem(7, smooth)
    system = whole.equations(state)
    (dense, gradient), cost = system.dense(), whole.cost(state)
    for count in (1, 2, 3, 6):
        monkeypatch.setattr("hmrfit.fitting.sequence.FRAMES", count)
        parts = whole.equations(state)
        assert parts.cost == pytest.approx(cost, rel=1e-12) and whole.cost(state) == pytest.approx(cost, rel=1e-12)
        torch.testing.assert_close(parts.dense()[0], dense, rtol=1e-12, atol=1e-12 * dense.abs().max().item())
        torch.testing.assert_close(parts.dense()[1], gradient, rtol=1e-12, atol=1e-10)
    step, _ = whole.equations(state).step(0.1)
    added = torch.diag(added_to_diagonal(dense.diagonal(), dense.diagonal().max().item(), 0.1))
    found = torch.cat([part.flatten() for part in step])
    torch.testing.assert_close(found, -torch.linalg.solve(dense + added, gradient), rtol=1e-6, atol=1e-9)


def windowed(whole: SequenceProblem, window: int) -> SequenceProblem:
    return SequenceProblem(whole.frames, whole.motion, window=window)


def test_windows_give_the_step_of_all_frames():
    """Of two windows but for a floor of the diagonal, each window's own; of more, what is beyond the next one fades."""
    whole, state = problem(12)
    (x, y), fall = step_of(whole.windows(state), 0.1)
    for window in (4, 6, 8):
        parts = windowed(whole, window)
        assert parts.cost(state) == pytest.approx(whole.cost(state), rel=1e-12)
        assert sum(part.cost for part in parts.windows(state)) == pytest.approx(whole.cost(state), rel=1e-12)
        (x_of_parts, y_of_parts), fall_of_parts = step_of(parts.windows(state), 0.1)
        torch.testing.assert_close(y_of_parts, y, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(x_of_parts, x, rtol=0, atol=(1e-5 if window > 4 else 0.05) * x.abs().max().item())
        assert fall_of_parts == pytest.approx(fall, rel=1e-5 if window > 4 else 0.01)


def test_windows_end_where_all_frames_at_once_end():
    """What a step leaves out at the end of a window, the next ones make good."""
    whole, state = problem(12)
    options = Options(max_steps=40, ftol=1e-10)
    found, expected = (solve_sequence(p, one_shape(state), options) for p in (windowed(whole, 4), whole))
    assert found.cost == pytest.approx(expected.cost, rel=1e-5)
    torch.testing.assert_close(found.x.params.transl, expected.x.params.transl, rtol=0, atol=2e-3)


def test_a_rejected_step_costs_nothing_but_time():
    """From a start so far off that steps are rejected, the cost never rises, and the end is a minimum: but for
    the joints that no keypoint shows, which are filled in afterwards and gain up to a thousandth."""
    whole, state = problem(5)
    p = state.params
    far = State(replace(p, betas=p.betas * 0 + 3.0, transl=p.transl * 1.5), state.camera)
    found = solve_sequence(whole, one_shape(far), Options(max_steps=60, ftol=1e-9, damping=1e-9))
    assert found.cost < whole.linearize(one_shape(far)).cost and found.status in (1, 3)
    again = solve_sequence(whole, found.x, Options(max_steps=60, ftol=1e-9))
    assert again.cost >= found.cost * (1 - 1e-3)

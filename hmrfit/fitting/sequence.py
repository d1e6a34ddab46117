"""Many frames of one person: a pose for each, one shape for all, and a motion that real bodies could make.

    E = sum_t E_t(pose_t, beta)  +  1/2 sum_t |a_t / s|²,      a_t = (x_(t-1) - 2 x_t + x_(t+1)) / dt²

E_t is the fit's own energy of frame t, whatever its terms. x are points carried by every bone (the joint and two more,
so that twists count), s how fast the bodies of real motion accelerate there.

The shape's prior is in every frame: what the pose prior gets wrong is the same in all frames of a movement, and its 150
pulls on the shape against one prior put walking people half a metre off in depth (81 mm with the prior in every frame,
144 frame by frame). And x does not know the scale: a small near body would move less than the large far one that looks
the same. So the points are those of the mean shape about the pelvis, which moves by z0 (X/Z, Y/Z, log Z), z0 constant.
Where the cameras' poses in the world are known (`Poses`), the motion is smooth there, and the pelvis moves in metres:
x_world = Rᵀ (x − t).
All frames are one problem of `hmrfit.fitting.solver`, its equations those of `hmrfit.fitting.banded`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import MIN_DEPTH
from hmrfit.fitting.banded import Bordered
from hmrfit.fitting.energy import Stage, StageProblem
from hmrfit.fitting.parameters import Layout, Observation, State
from hmrfit.fitting.solver import OneSolution, Options, solve
from hmrfit.fitting.terms.base import Term
from hmrfit.types import BodyParams, TensorRecord

ACCELERATION = {
    "knee": 7.0,
    "ankle": 9.0,
    "foot": 12.0,
    "elbow": 5.0,
    "wrist": 7.0,
    "hand": 10.0,
}
"""m/s², root mean square over 94 recorded movements of the training split at 30 frames a second, in a typical one."""

TRUNK_ACCELERATION = 3.0

FRAMES = 128
"""Whose Jacobians are in memory at a time: 100 kB each, before they are summed up."""

MARKER = 0.1
"""Metres from the joint, where the two further points of each bone are."""


@dataclass(frozen=True)
class Poses(TensorRecord):
    """Of the camera in T frames: x_camera = rotation x_world + translation."""

    rotation: Tensor  # (T, 3, 3)
    translation: Tensor  # (T, 3) metres


class Smoothness:
    """The smoothness residuals: points of every bone, twice differenced in time.

    Args:
        points: three of every bone, as `bone_points` makes them.
        scale: (M,) 1/(s dt²), s the points' acceleration.
        depth: z0, metres. poses: of the T frames' camera; None where it stands still somewhere.
    """

    def __init__(self, points: PointBody, scale: Tensor, depth: float, poses: Poses | None = None) -> None:
        self.points, self.scale, self.depth, self.poses = points, scale, depth, poses

    @classmethod
    def of(
        cls, body: SmplBody, fps: float, depth: float, smooth: float = 1.0, poses: Poses | None = None
    ) -> "Smoothness":
        """For frames 1/fps seconds apart. smooth: multiplies the residuals' weight."""
        fingers = {body.joint_names[j] for joints in body.skeleton.fingers.values() for j in joints}
        names = ["hand" if name in fingers else name for name in body.joint_names]
        limit = [next((v for part, v in ACCELERATION.items() if part in n), TRUNK_ACCELERATION) for n in names]
        scale = torch.tensor(limit).to(body.v_template).reciprocal().repeat_interleave(3) * fps**2
        return cls(bone_points(body), scale * (smooth / 3) ** 0.5, depth, poses)

    def __getitem__(self, part: slice) -> "Smoothness":
        """Of some of the frames."""
        poses = None if self.poses is None else self.poses[part]
        return Smoothness(self.points, self.scale, self.depth, poses)

    def cost(self, params: BodyParams) -> Tensor:
        """E of the smoothness, one number."""
        return 0.5 * self.scaled(*self._posed(params)).diff(n=2, dim=0).square().sum()

    def _posed(self, params: BodyParams) -> tuple[PosedPoints, Tensor]:
        """The mean shape's points about the pelvis, and where the pelvis is (T, 3), metres."""
        still = torch.zeros_like(params.transl) - self.points.rest_joints[0]
        posed = self.points.pose(replace(params, betas=torch.zeros_like(params.betas), transl=still))
        return posed, params.transl + self.points.rest_joints[0]

    def scaled(self, posed: PosedPoints, pelvis: Tensor) -> Tensor:
        """x / (s dt²) (T, M, 3)."""
        if self.poses is not None:
            about = posed.points + (pelvis - self.poses.translation)[:, None]
            return (about @ self.poses.rotation) * self.scale[:, None]
        z = pelvis[:, 2:].clamp_min(MIN_DEPTH)
        path = self.depth * torch.cat([pelvis[:, :2] / z, z.log()], -1)
        return (posed.points + path[:, None]) * self.scale[:, None]

    def rows(self, posed: PosedPoints, pelvis: Tensor, layout: Layout) -> Tensor:
        """d x / (s dt²) (T, 3 M, n), n without the betas' columns, which do nothing."""
        T, eye = len(pelvis), torch.eye(3).to(pelvis)
        axes = (self.scale[:, None, None] * eye).expand(T, -1, 3, 3)
        if self.poses is not None:
            axes = axes @ self.poses.rotation[:, None].mT
        turning = self.points.rows(posed, axes, layout.rotating, False, False)  # (T, M, 3, 3 j)
        if not layout.moves("transl"):
            return turning.flatten(1, 2)
        if self.poses is not None:
            return torch.cat([axes, turning], -1).flatten(1, 2)
        z = pelvis[:, 2, None, None].clamp_min(MIN_DEPTH)
        path = eye - eye[2] * (pelvis / z[:, 0])[..., None] * (1 - eye[2])[:, None]
        moving = (self.depth / z * path)[:, None] * self.scale[:, None, None]
        return torch.cat([moving, turning], -1).flatten(1, 2)

    def add(self, params: BodyParams, layout: Layout, sums: Bordered) -> None:
        """Adds this term to the equations: G = D^T D couples frames t and t + 1, t + 2, of Jacobians J_t."""
        T = len(sums.gradient)
        sums.cost += float(self.cost(params))
        if T < 3:
            return
        G = stencil(T).to(sums.gradient)
        pull = banded_product(G, self.scaled(*self._posed(params))).flatten(1)
        for part in pieces(T):
            some = slice(part.start, part.stop + 2)
            J = self[some].rows(*self._posed(params[some]), layout)
            for k in range(3):
                count = min(part.stop, T - k) - part.start
                if count > 0:
                    between = G[k, part.start : part.start + count, None, None]
                    sums.add_block(k, part.start, between * (J[:count].mT @ J[k : k + count]))
            sums.gradient[part] += (pull[part, None] @ J[: part.stop - part.start]).squeeze(1)


def bone_points(body: SmplBody) -> PointBody:
    """Three points of every bone (3 J): its joint, and MARKER away along the bone's own x and z."""
    J, S = len(body.parents), body.shape_count
    bone = torch.arange(J).repeat_interleave(3)
    offset = MARKER * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]).repeat(J, 1).to(body.v_template)
    zeros = offset.new_zeros
    return PointBody(
        [f"{name}_{i}" for name in body.joint_names for i in range(3)],
        body.skeleton,
        body.rest_joints,
        body.joint_shapes,
        torch.arange(3 * J),
        bone,
        torch.ones_like(offset[:, 0]),
        offset,
        zeros(3 * J, 3, S),
        zeros(3 * J, 3, 9 * (J - 1)),
    )


def stencil(count: int) -> Tensor:
    """(3, T): the diagonals of D^T D, D the second differences of T frames; (k, t) is between t and t + k."""
    D = torch.zeros(3, count, dtype=torch.float64)
    for place, coefficient in enumerate((1.0, -2.0, 1.0)):
        for other, second in enumerate((1.0, -2.0, 1.0)):
            if other >= place:
                k = other - place
                D[k, place : count - 2 + place] += coefficient * second
    return D


def banded_product(G: Tensor, x: Tensor) -> Tensor:
    """The symmetric banded matrix of `stencil` times x (T, ...)."""
    shape = (-1, *[1] * (x.ndim - 1))
    total = G[0].view(shape) * x
    for k in (1, 2):
        between = G[k, : len(x) - k].view(shape)
        total[:-k] += between * x[k:]
        total[k:] += between * x[:-k]
    return total


def pieces(count: int) -> list[slice]:
    """The frames, FRAMES at a time."""
    return [slice(i, min(i + FRAMES, count)) for i in range(0, count, FRAMES)]


class SequenceProblem:
    """All frames of one person, as equations with a border.

    Args:
        stage: the energy of a frame.
        motion: None shares the shape and nothing else.
    """

    def __init__(
        self,
        points: PointBody,
        observation: Observation,
        terms: Mapping[str, Term],
        stage: Stage,
        motion: Smoothness | None,
    ) -> None:
        self.frames = StageProblem(points, observation, terms, stage)
        self.motion = motion
        self.width = self.frames.layout.slice("betas").start  # n

    def linearize(self, state: State, warm_up: bool = False) -> Bordered:
        """E and its equations."""
        n, S = self.width, state.params.betas.shape[1] if self.frames.layout.moves("betas") else 0
        sums = Bordered.zeros(len(state), n, S, 0 if self.motion is None else 2)
        for part in pieces(len(state)):
            system = self.frames.select(part).linearize(state[part], warm_up)
            H, g = system.hessian, system.gradient
            sums.add_block(0, part.start, H[:, :n, :n])
            sums.border[part], sums.gradient[part] = H[:, :n, n:], g[:, :n]
            sums.corner.add_(H[:, n:, n:].sum(0))
            sums.shared_gradient.add_(g[:, n:].sum(0))
            sums.cost += float(system.cost.sum())
        if self.motion is not None:
            self.motion.add(state.params, self.frames.layout, sums)
        return sums

    def retract(self, state: State, delta: tuple[Tensor, Tensor]) -> State:
        """Move every frame by its own x (T, n) and the shape of all by y (S,)."""
        x, y = delta
        return self.frames.retract(state, torch.cat([x, y.expand(len(x), -1)], 1))


def one_shape(state: State) -> State:
    """Every frame with the mean of the frames' shapes, at a depth that keeps its size in the image."""
    betas = state.params.betas.mean(0, keepdim=True).expand_as(state.params.betas).contiguous()
    return State(replace(state.params, betas=betas), state.camera)


def solve_sequence(problem: SequenceProblem, state: State, options: Options) -> OneSolution[State]:
    """The solution for all frames together; joints that no term moves are filled in.

    There is room in memory for one set of equations: each is solved where it lies, and made anew if its step is
    rejected.
    """
    solution = solve(problem, state, options)
    filled = problem.frames.fill(solution.x)
    # to the last digit the same shape in all frames
    filled = State(replace(filled.params, betas=solution.x.params.betas), filled.camera)
    return replace(solution, x=filled)

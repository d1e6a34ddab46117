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

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeVar

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
from hmrfit.ops.threads import own_threads, set_own_threads
from hmrfit.types import BodyParams, TensorRecord

T_co = TypeVar("T_co")

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

FRAMES = 64
"""Whose Jacobians are in memory at a time: 200 kB each, before they are summed up."""

MARKER = 0.1
"""Metres from the joint, where the two further points of each bone are."""


@dataclass(frozen=True)
class Poses(TensorRecord):
    """Of the camera in T frames: x_camera = rotation x_world + translation."""

    rotation: Tensor  # (T, 3, 3)
    translation: Tensor  # (T, 3) metres


@dataclass(frozen=True)
class Smoothness:
    """The smoothness residuals: points of every bone, twice differenced in time.

    points: three of every bone, as `bone_points` makes them. scale: (M,) 1/(s dt²), s the points' acceleration.
    depth: z0, metres. poses: of the T frames' camera; None where it stands still somewhere. cuts: the frames,
    ascending, that do not follow on the one before them.
    """

    points: PointBody
    scale: Tensor
    depth: float
    poses: Poses | None = None
    cuts: Sequence[int] = ()

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
        """Of some of the frames, which follow on each other."""
        return replace(self, poses=None if self.poses is None else self.poses[part], cuts=())

    def cost(self, params: BodyParams) -> Tensor:
        """E of the smoothness, one number."""
        return 0.5 * second_differences(self.scaled(*self._posed(params)), self.cuts).square().sum()

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

    def rows_of(self, params: BodyParams, layout: Layout) -> Tensor:
        """`rows` of these frames."""
        return self.rows(*self._posed(params), layout)

    def rows(self, posed: PosedPoints, pelvis: Tensor, layout: Layout) -> Tensor:
        """d x / (s dt²) (T, 3 M, n), n without the betas' columns, which do nothing.

        A turn of joint j moves a point d = x - x_j away, where j carries it, by omega x d: no product is needed.
        """
        T, M, first = len(pelvis), len(self.scale), 3 if layout.moves("transl") else 0
        index, carries = layout.rotating_index, self.points.above[self.points.pair_bone]
        size = (carries[:, layout.rotating_index] * self.scale[:, None])[..., None]
        d = (posed.points[:, :, None] - posed.joints[:, None, index]) * size  # (T, M, j, 3)
        J = pelvis.new_zeros(T, M, 3, first + 3 * len(index))
        turning = J[..., first:].unflatten(-1, (-1, 3))
        for axis in range(3):
            b, c = (axis + 1) % 3, (axis + 2) % 3
            turning[:, :, axis, :, b], turning[:, :, axis, :, c] = d[..., c], -d[..., b]
        eye = torch.eye(3).to(pelvis)
        if first and self.poses is not None:
            J[..., :3] = self.scale[:, None, None] * eye
        elif first:
            z = pelvis[:, 2, None, None].clamp_min(MIN_DEPTH)
            path = eye - eye[2] * (pelvis / z[:, 0])[..., None] * (1 - eye[2])[:, None]
            J[..., :3] = (self.depth / z * path)[:, None] * self.scale[:, None, None]
        if self.poses is not None:
            J = self.poses.rotation[:, None].mT @ J
        return J.flatten(1, 2)

    def add(self, params: BodyParams, layout: Layout, sums: Bordered, threads: int = 1) -> None:
        """Adds this term to the equations: G = D^T D couples frames t and t + 1, t + 2, of Jacobians J_t."""
        T = len(sums)
        posed, pelvis = self._posed(params)
        x = self.scaled(posed, pelvis)
        sums.cost += 0.5 * float(second_differences(x, self.cuts).square().sum())
        if T < 3:
            return
        G = stencil(T, self.cuts).to(x)
        pull = banded_product(G, x).flatten(1)

        def add_part(part: slice) -> None:
            own = slice(part.start, part.stop + 2)
            J = self[own].rows(_rows_of(posed, own), pelvis[own], layout)
            for k in range(3):
                count = min(part.stop, T - k) - part.start
                if count > 0:
                    between = G[k, part.start : part.start + count, None, None]
                    sums.add_block(k, part.start, between * (J[:count].mT @ J[k : k + count]))
            sums.gradient[part] += (pull[part, None] @ J[: part.stop - part.start]).squeeze(1)

        each_piece(add_part, T, threads)


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


def _rows_of(posed: PosedPoints, rows: slice) -> PosedPoints:
    return PosedPoints(*(part[rows] for part in vars(posed).values()))


def second_differences(x: Tensor, cuts: Sequence[int] = ()) -> Tensor:
    """D x of frames (T, ...): x_(t-1) - 2 x_t + x_(t+1), without those across a cut."""
    found = x.diff(n=2, dim=0)
    return found[_within(len(x), cuts)] if cuts else found


def _within(count: int, cuts: Sequence[int]) -> Tensor:
    """(T - 2,) bool: are frames t, t + 1, t + 2 consecutive?"""
    kept = torch.ones(max(count - 2, 0), dtype=torch.bool)
    for cut in cuts:
        kept[max(cut - 2, 0) : cut] = False
    return kept


def stencil(count: int, cuts: Sequence[int] = ()) -> Tensor:
    """(3, T): the diagonals of D^T D, D the second differences of T frames; (k, t) is between t and t + k."""
    D, kept = torch.zeros(3, count, dtype=torch.float64), _within(count, cuts).double()
    for place, coefficient in enumerate((1.0, -2.0, 1.0)):
        for other, second in enumerate((1.0, -2.0, 1.0)):
            if other >= place:
                D[other - place, place : count - 2 + place] += coefficient * second * kept
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


def each_piece(work: Callable[[slice], T_co], count: int, threads: int = 1) -> list[T_co]:
    """What `work` makes of every piece of the frames, in order; so many pieces side by side, each with one thread."""
    parts = pieces(count)
    if threads == 1 or len(parts) == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads, initializer=set_own_threads, initargs=(1,)) as pool:
        return list(pool.map(work, parts))


class SequenceProblem:
    """All frames of one person, as equations with a border.

    Args:
        stage: the energy of a frame.
        motion: None shares the shape and nothing else.
        threads: so many pieces of the frames are linearized side by side.
        shape_moves: False: the shape stays as it is.
    """

    def __init__(
        self,
        points: PointBody,
        observation: Observation,
        terms: Mapping[str, Term],
        stage: Stage,
        motion: Smoothness | None,
        threads: int = 1,
        shape_moves: bool = True,
    ) -> None:
        self.frames = StageProblem(points, observation, terms, stage)
        self.motion, self.threads = motion, threads
        self.width = self.frames.layout.slice("betas").start  # n
        self.shapes = self.frames.layout.columns - self.width if shape_moves else 0  # S

    def linearize(self, state: State, warm_up: bool = False) -> Bordered:
        """E and its equations."""
        n, all_of_it = self.width, self.width + self.shapes
        sums = Bordered.zeros(len(state), n, self.shapes, 0 if self.motion is None else 2)

        def add_part(part: slice) -> tuple[float, Tensor, Tensor]:
            system = self.frames.select(part).linearize(state[part], warm_up)
            H, g = system.hessian, system.gradient
            sums.add_block(0, part.start, H[:, :n, :n])
            sums.border[part], sums.gradient[part] = H[:, :n, n:all_of_it], g[:, :n]
            return float(system.cost.sum()), H[:, n:all_of_it, n:all_of_it].sum(0), g[:, n:all_of_it].sum(0)

        for cost, corner, gradient in each_piece(add_part, len(state), self.threads):
            sums.cost += cost
            sums.corner += corner
            sums.shared_gradient += gradient
        if self.motion is not None:
            self.motion.add(state.params, self.frames.layout, sums, self.threads)
        return sums

    def retract(self, state: State, delta: tuple[Tensor, Tensor]) -> State:
        """Move every frame by its own x (T, n) and the shape of all by y (S,)."""
        x, y = delta
        still = x.new_zeros(len(x), self.frames.layout.columns - self.width - self.shapes)
        return self.frames.retract(state, torch.cat([x, y.expand(len(x), -1), still], 1))


def one_shape(state: State) -> State:
    """Every frame with the mean of the frames' shapes."""
    betas = state.params.betas.mean(0, keepdim=True).expand_as(state.params.betas).contiguous()
    return State(replace(state.params, betas=betas), state.camera)


def solve_sequence(problem: SequenceProblem, state: State, options: Options) -> OneSolution[State]:
    """The solution for all frames together; joints that no term moves are filled in.

    There is room in memory for one set of equations: each is solved where it lies, and made anew if its step is
    rejected.
    """
    with own_threads(1):  # the equations are solved frame after frame
        solution = solve(problem, state, options)
    filled = problem.frames.fill(solution.x)
    # to the last digit the same shape in all frames
    filled = State(replace(filled.params, betas=solution.x.params.betas), filled.camera)
    return replace(solution, x=filled)

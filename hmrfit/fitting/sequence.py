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

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.banded import Bordered
from hmrfit.fitting.energy import Stage, StageProblem
from hmrfit.fitting.parameters import Layout, Observation, State
from hmrfit.fitting.smoothness import BANDS, Smoothness, banded_product, second_differences, stencil
from hmrfit.fitting.solver import OneSolution, Options, solve
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.threads import own_threads, set_own_threads
from hmrfit.types import BodyParams

T_co = TypeVar("T_co")

FRAMES = 64
"""Whose Jacobians are in memory at a time: 200 kB each, before they are summed up."""


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


def add_smoothness(motion: Smoothness, params: BodyParams, layout: Layout, sums: Bordered, threads: int = 1) -> None:
    """Adds the smoothness to the equations: G = D^T D couples frames t and t + 1, t + 2, of Jacobians J_t."""
    T = len(sums)
    carried, x = motion.carried(params, layout)
    sums.cost += 0.5 * float(second_differences(x, motion.cuts).square().sum())
    if T <= BANDS:
        return
    G = stencil(T, motion.cuts).to(x)
    pull = banded_product(G, x)

    def add_part(part: slice) -> None:
        for k in range(BANDS + 1):
            own = slice(part.start, min(part.stop, T - k))
            if own.start < own.stop:
                later = carried[own.start + k : own.stop + k]
                sums.add_block(k, own.start, carried[own].product(later, G[k, own]))
        sums.gradient[part] += carried[part].pulled(pull[part])

    each_piece(add_part, T, threads)


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
        self._room: Bordered | None = None
        self.width = self.frames.layout.slice("betas").start  # n
        self.shapes = self.frames.layout.columns - self.width if shape_moves else 0  # S

    def of_every(self, frames: Tensor) -> "SequenceProblem":
        """That of some of the frames (n,), at least two."""
        other = object.__new__(SequenceProblem)
        motion = None if self.motion is None else self.motion.of_every(frames)
        other.__dict__ = self.__dict__ | {"frames": self.frames.select(frames), "motion": motion, "_room": None}
        return other

    def _with_shape(self) -> "SequenceProblem":
        """The same where the shape moves."""
        other = object.__new__(SequenceProblem)
        other.__dict__ = self.__dict__ | {"shapes": self.frames.layout.columns - self.width, "_room": None}
        return other

    def linearize(self, state: State, warm_up: bool = False) -> "SequenceSystem":
        """E there; its equations when a step is asked for."""
        return SequenceSystem(self, state, self.cost(state))

    def cost(self, state: State) -> float:
        """E."""

        def of(part: slice) -> float:
            return float(self.frames.select(part).cost(state[part]).sum())

        smoothness = 0.0 if self.motion is None else float(self.motion.cost(state.params))
        return sum(each_piece(of, len(state), self.threads)) + smoothness

    def equations(self, state: State) -> Bordered:
        """E and its equations, where those lay that were made before."""
        n, all_of_it = self.width, self.width + self.shapes
        sums = Bordered.zeros(len(state), n, self.shapes, 0 if self.motion is None else BANDS, self._room)
        self._room = sums

        def add_part(part: slice) -> tuple[float, Tensor, Tensor]:
            system = self.frames.select(part).linearize(state[part])
            H, g = system.hessian, system.gradient
            sums.add_block(0, part.start, H[:, :n, :n])
            sums.border[part], sums.gradient[part] = H[:, :n, n:all_of_it], g[:, :n]
            return float(system.cost.sum()), H[:, n:all_of_it, n:all_of_it].sum(0), g[:, n:all_of_it].sum(0)

        for cost, corner, gradient in each_piece(add_part, len(state), self.threads):
            sums.cost += cost
            sums.corner += corner
            sums.shared_gradient += gradient
        if self.motion is not None:
            add_smoothness(self.motion, state.params, self.frames.layout, sums, self.threads)
        return sums

    def begun(self, state: State) -> State:
        """The joints that no term moves at rest: carried by others in the same way in all frames, they weigh in the
        smoothness, and where each frame began does not."""
        still = torch.ones(state.params.body_pose.shape[1], dtype=torch.bool)
        still[self.frames.layout.body_index - 1] = False
        pose = torch.where(still[:, None, None], torch.eye(3).to(state.params.body_pose), state.params.body_pose)
        return State(replace(state.params, body_pose=pose), state.camera)

    def shape_equations(self, state: State, counted: slice) -> tuple[Tensor, Tensor]:
        """(matrix, gradient) of the shape (S, S), (S,), for `counted` of these frames: the frames of `state`, a
        solution, follow it as they like best, so that their own gradients are none."""

        def of(part: slice) -> Tensor:
            own = slice(counted.start + part.start, counted.start + part.stop)
            return self.frames.select(own).linearize(state[own]).gradient[:, self.width :].sum(0)

        matrix = self._with_shape().equations(state).of_shared()
        count = counted.stop - counted.start
        gradient = torch.stack(each_piece(of, count, self.threads)).sum(0)
        return matrix * (count / len(state)), gradient

    def retract(self, state: State, delta: tuple[Tensor, Tensor]) -> State:
        """Move every frame by its own x (T, n) and the shape of all by y (S,)."""
        x, y = delta
        still = x.new_zeros(len(x), self.frames.layout.columns - self.width - self.shapes)
        return self.frames.retract(state, torch.cat([x, y.expand(len(x), -1), still], 1))


@dataclass(frozen=True)
class SequenceSystem:
    """A `solver.LinearSystem` whose equations are made when they are needed: at the last point, only E is."""

    problem: SequenceProblem
    state: State
    cost: float
    spent: ClassVar[bool] = False

    def step(self, damping: float) -> tuple[tuple[Tensor, Tensor], float]:
        """As of `Bordered`."""
        return self.problem.equations(self.state).step(damping)

    def scaled_gradient(self) -> float:
        """As of `Bordered`."""
        return self.problem.equations(self.state).scaled_gradient()


def one_shape(state: State) -> State:
    """Every frame with the mean of the frames' shapes."""
    betas = state.params.betas.mean(0, keepdim=True).expand_as(state.params.betas).contiguous()
    return State(replace(state.params, betas=betas), state.camera)


def solve_sequence(problem: SequenceProblem, state: State, options: Options) -> OneSolution[State]:
    """The solution for all frames together; joints that no term moves are at rest meanwhile, and then filled in.

    There is room in memory for one set of equations: each is solved where it lies, and made anew if its step is
    rejected. options.gtol: 0, or they are made for every point that is tried.
    """
    with own_threads(1):  # the equations are solved frame after frame
        solution = solve(problem, problem.begun(state), options)
    filled = problem.frames.fill(solution.x)
    # to the last digit the same shape in all frames
    filled = State(replace(filled.params, betas=solution.x.params.betas), filled.camera)
    return replace(solution, x=filled)

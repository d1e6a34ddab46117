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

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from hmrfit.fitting.banded import Bordered, step_of
from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.parameters import Layout, State
from hmrfit.fitting.smoothness import BANDS, Smoothness, banded_product, stencil
from hmrfit.fitting.solver import OneSolution, Options, solve
from hmrfit.ops.threads import own_threads, set_own_threads
from hmrfit.types import BodyParams

T_co = TypeVar("T_co")

FRAMES = 64
"""Whose Jacobians are in memory at a time: 200 kB each, before they are summed up."""


WINDOW = 512
"""Whose equations are in memory at a time, and those of as many before: 88 kB each. `hmrfit.fitting.banded` wants three
seconds."""


def pieces(count: int, size: int = 0) -> list[slice]:
    """The frames, FRAMES or `size` at a time."""
    size = size or FRAMES
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def each_piece(work: Callable[[slice], T_co], count: int, threads: int = 1) -> list[T_co]:
    """What `work` makes of every piece of the frames, in order; so many pieces side by side, each with one thread."""
    parts = pieces(count)
    if threads == 1 or len(parts) == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads, initializer=set_own_threads, initargs=(1,)) as pool:
        return list(pool.map(work, parts))


def add_smoothness(
    motion: Smoothness, params: BodyParams, layout: Layout, sums: Bordered, threads: int = 1, first: int = 0
) -> None:
    """Adds the smoothness to the equations of the frames from `first` on: G = D^T D couples frames t and t + 1, t + 2,
    of Jacobians J_t."""
    T, m = len(params), len(sums)
    if T <= BANDS:
        return
    wide = slice(max(first - BANDS, 0), min(first + m + BANDS, T))
    before = first - wide.start
    G = stencil(T, motion.cuts)
    carried, x = motion[wide].carried(params[wide], layout)
    pull = banded_product(G[:, wide].to(x), x)[before : before + m]

    def add_part(part: slice) -> None:
        for k in range(BANDS + 1):
            start, stop = part.start, min(part.stop, T - k - first)
            if start < stop:
                own = slice(before + start, before + stop)
                later = carried[own.start + k : own.stop + k]
                sums.add_block(k, start, carried[own].product(later, G[k, first + start : first + stop]))
        sums.gradient[part] += carried[before + part.start : before + part.stop].pulled(pull[part])

    each_piece(add_part, m, threads)


class SequenceProblem:
    """All frames of one person, as equations with a border.

    Args:
        frames: of all frames, each alone: a `StageProblem`, or one whose frames are known when they are asked for.
        motion: None shares the shape and nothing else.
        threads: so many pieces of the frames are linearized side by side.
        window: frames whose equations are in memory at a time, and as many again.
    """

    def __init__(
        self,
        frames: StageProblem,
        motion: Smoothness | None,
        threads: int = 1,
        window: int = WINDOW,
    ) -> None:
        self.frames, self.motion, self.threads = frames, motion, threads
        self.window = -(-window // BANDS) * BANDS
        self._rooms: list[Bordered | None] = [None, None]
        self.width = self.frames.layout.slice("betas").start  # n
        self.shapes = self.frames.layout.columns - self.width  # S

    def of_every(self, frames: Tensor) -> "SequenceProblem":
        """That of some of the frames (n,), at least two."""
        motion = None if self.motion is None else self.motion.of_every(frames)
        return SequenceProblem(self.frames.select(frames), motion, self.threads, self.window)

    def linearize(self, state: State, warm_up: bool = False) -> "SequenceSystem":
        """E there; its equations when a step is asked for."""
        return SequenceSystem(self, state, self.cost(state))

    def cost(self, state: State) -> float:
        """E."""

        return sum(self._cost(state, part) for part in pieces(len(state), self.window))

    def _cost(self, state: State, part: slice) -> float:
        """E of a window."""
        frames, own = self.frames.select(part), state[part]
        found = each_piece(lambda piece: float(frames.select(piece).cost_at(own[piece]).sum()), len(own), self.threads)
        return sum(found) + (0.0 if self.motion is None else self.motion.cost(state.params, part))

    def windows(self, state: State) -> Iterator[Bordered]:
        """The equations of `window` frames after the other, where those lay that were made before the last."""
        for i, part in enumerate(pieces(len(state), self.window)):
            yield self.equations(state, part, i % 2)

    def equations(self, state: State, part: slice | None = None, room: int = 0) -> Bordered:
        """E and its equations, of all frames or of those of a window. room: which of two they lie in."""
        part = part or slice(0, len(state))
        n, S, count = self.width, self.shapes, part.stop - part.start
        before = self._rooms[room]
        sums = Bordered.zeros(count, n, S, 0 if self.motion is None else BANDS, before)
        self._rooms[room] = sums if before is None or len(before) < count else before

        frames, own = self.frames.select(part), state[part]

        def add_piece(piece: slice) -> tuple[float, Tensor, Tensor]:
            system = frames.select(piece).linearize(own[piece])
            H, g = system.hessian, system.gradient
            sums.add_block(0, piece.start, H[:, :n, :n])
            sums.border[piece], sums.gradient[piece] = H[:, :n, n:], g[:, :n]
            return float(system.cost.sum()), H[:, n:, n:].sum(0), g[:, n:].sum(0)

        for cost, corner, gradient in each_piece(add_piece, count, self.threads):
            sums.cost += cost
            sums.corner += corner
            sums.shared_gradient += gradient
        if self.motion is not None:
            sums.cost += self.motion.cost(state.params, part)
            add_smoothness(self.motion, state.params, self.frames.layout, sums, self.threads, part.start)
        return sums

    def begun(self, state: State) -> State:
        """The joints that no term moves at rest: carried by others in the same way in all frames, they weigh in the
        smoothness, and where each frame began does not."""
        still = torch.ones(state.params.body_pose.shape[1], dtype=torch.bool)
        still[self.frames.layout.body_index - 1] = False
        pose = torch.where(still[:, None, None], torch.eye(3).to(state.params.body_pose), state.params.body_pose)
        return State(replace(state.params, body_pose=pose), state.camera)

    def retract(self, state: State, delta: tuple[Tensor, Tensor]) -> State:
        """Move every frame by its own x (T, n) and the shape of all by y (S,)."""
        x, y = delta
        return self.frames.retract(state, torch.cat([x, y.expand(len(x), -1)], 1))


@dataclass(frozen=True)
class SequenceSystem:
    """A `solver.LinearSystem` whose equations are made when they are needed: at the last point, only E is."""

    problem: SequenceProblem
    state: State
    cost: float
    spent: ClassVar[bool] = False

    def step(self, damping: float) -> tuple[tuple[Tensor, Tensor], float]:
        """As of `Bordered`."""
        return step_of(self.problem.windows(self.state), damping)

    def scaled_gradient(self) -> float:
        """As of `Bordered`, at the price of a memory for all frames."""
        return self.problem.equations(self.state).scaled_gradient()


def one_shape(state: State) -> State:
    """Every frame with the mean of the frames' shapes."""
    betas = state.params.betas.mean(0, keepdim=True).expand_as(state.params.betas).contiguous()
    return State(replace(state.params, betas=betas), state.camera)


def solve_sequence(problem: SequenceProblem, state: State, options: Options) -> OneSolution[State]:
    """The solution for all frames together; joints that no term moves are at rest meanwhile, and then filled in.

    There is room in memory for the equations of two windows: each is solved where it lies, and made anew if its step is
    rejected. options.gtol: 0, or they are made for every point that is tried, those of all frames.
    """
    with own_threads(1):  # the equations are solved frame after frame
        solution = solve(problem, problem.begun(state), options)
    x = solution.x
    filled = State.cat([problem.frames.select(part).fill(x[part]) for part in pieces(len(x), problem.window)])
    # to the last digit the same shape in all frames
    filled = State(replace(filled.params, betas=x.params.betas), filled.camera)
    return replace(solution, x=filled)

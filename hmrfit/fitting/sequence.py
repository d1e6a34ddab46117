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

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from hmrfit.fitting.banded import Bordered, step_of
from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.frames_last import FramesLast
from hmrfit.fitting.parameters import State
from hmrfit.fitting.smoothness import BANDS, Around, Smoothness, stencil
from hmrfit.fitting.solver import BatchedSystem, OneSolution, Options, solve
from hmrfit.ops.threads import own_threads, set_own_threads

T_co = TypeVar("T_co")

FRAMES = 384
"""Whose Jacobians are in memory at a time, at most: 100 kB each, before they are summed up. Of fewer, torch's calls
take as long as what they compute."""

FEWEST, PARTS = 60, 3
"""Of so many frames at least, there are so many pieces, so that two threads have something to do and the first frames
are eliminated while the last ones are linearized."""

WINDOW = 512
"""Whose equations are in memory at least, those of twice as many at most: 88 kB each. `hmrfit.fitting.banded` wants
three seconds."""


def pieces(count: int, size: int) -> list[slice]:
    """The frames, `size` at a time."""
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]


def even_pieces(count: int, threads: int, most: int = 0, each: int = 1) -> list[slice]:
    """The frames in pieces of nearly one size, FRAMES or `most` at most, and blocks of `each`; the same pieces for any
    number of threads but one, which wants no more than it must have."""
    least = 1 if threads == 1 else min(PARTS, count // FEWEST)
    number = max(-(-count // min(most or FRAMES, FRAMES)), least, 1)
    return pieces(count, -(-count // (number * each)) * each)


def each_piece(work: Callable[[slice], T_co], parts: Sequence[slice], threads: int = 1) -> list[T_co]:
    """What `work` makes of every part, in order; so many side by side, each with one thread."""
    return list(in_order(work, parts, threads))


def in_order(work: Callable[[slice], T_co], parts: Sequence[slice], threads: int) -> Iterator[T_co]:
    """What `work` makes of every part, one after the other; where there are several threads, the next ones, one more
    than there are threads, are made meanwhile."""
    if threads == 1 or len(parts) == 1:
        yield from map(work, parts)
        return
    with ThreadPoolExecutor(threads, initializer=set_own_threads, initargs=(1,)) as pool:
        begun = deque(pool.submit(work, part) for part in parts[: threads + 1])
        for part in parts[threads + 1 :]:
            found = begun.popleft().result()
            begun.append(pool.submit(work, part))
            yield found
        while begun:
            yield begun.popleft().result()


def add_smoothness(around: Around, motion: Smoothness, T: int, sums: Bordered, part: slice, first: int = 0) -> None:
    """Adds the smoothness of T frames to the equations of a part of them, the first in `sums` being `first`; G = D^T D
    couples frames t and t + 1, t + 2, of Jacobians J_t."""
    G = stencil(T, motion.cuts)
    factors = [G[k, part.start : max(min(part.stop, T - k), part.start)] for k in range(BANDS + 1)]
    for k, block in enumerate(around.products(factors)):
        sums.add_block(k, part.start - first, block)
    assert around.gradient is not None
    sums.gradient[part.start - first : part.stop - first] += around.gradient
    sums.cost += around.cost


class SequenceProblem:
    """All frames of one person, as equations with a border.

    Args:
        frames: of all frames, each alone: a `StageProblem`, or one whose frames are known when they are asked for.
        motion: None shares the shape and nothing else.
        threads: so many pieces of the frames are linearized side by side.
        single: whether the steps' equations are of single numbers. E is of doubles, and the gradient nearly so, so that
            rounding costs steps and not digits.
        window: frames that are solved for at a time, once the equations of as many after them are there.
    """

    def __init__(
        self,
        frames: StageProblem,
        motion: Smoothness | None,
        threads: int = 1,
        window: int = WINDOW,
        single: bool = False,
    ) -> None:
        self.frames, self.motion, self.threads = frames, motion, threads
        self.window = -(-window // BANDS) * BANDS
        self._rooms: list[Bordered] = []
        self.kind = torch.float32 if single else torch.float64
        self.frames_last = FramesLast.of(frames, motion)
        self.bands = 0 if motion is None else BANDS
        self.each = max(self.bands, 1)  # frames in a block
        self.width = self.frames.layout.slice("betas").start  # n
        self.shapes = self.frames.layout.columns - self.width  # S

    def of_every(self, frames: Tensor) -> "SequenceProblem":
        """That of some of the frames (n,), at least two."""
        motion = None if self.motion is None else self.motion.of_every(frames)
        single = self.kind == torch.float32
        return SequenceProblem(self.frames.select(frames), motion, self.threads, self.window, single)

    def linearize(self, state: State, warm_up: bool = False) -> "SequenceSystem":
        """E there; its equations when a step is asked for."""
        return SequenceSystem(self, state, self.cost(state))

    def cost(self, state: State) -> float:
        """E."""

        fast = self._fast(state)

        def of_piece(piece: slice) -> float:
            if fast is not None:
                return fast.cost(state, piece)
            own = float(self.frames.select(piece).cost_at(state[piece]).sum())
            return own if self.motion is None else own + self.motion.cost(state.params, piece)

        return sum(each_piece(of_piece, even_pieces(len(state), self.threads), self.threads))

    def windows(self, state: State) -> Iterator[Bordered]:
        """The equations of some frames after the other, made while those before them are looked at; they are given
        back by `release`."""
        parts = even_pieces(len(state), self.threads, self.window, self.each)
        yield from in_order(lambda piece: self.equations(state, piece), parts, self.threads)

    def release(self, spent: Bordered) -> None:
        """Others may lie where these equations lay."""
        self._rooms.append(spent)

    def equations(self, state: State, part: slice | None = None) -> Bordered:
        """E and its equations, of all frames or of those of a part."""
        part, n = part or slice(0, len(state)), self.width
        try:
            room = self._rooms.pop()
        except IndexError:
            room = None
        sums = Bordered.zeros(part.stop - part.start, n, self.shapes, self.bands, room, self.kind)
        for piece in [slice(part.start + p.start, part.start + p.stop) for p in pieces(len(sums), FRAMES)]:
            there = slice(piece.start - part.start, piece.stop - part.start)
            system, around = self._linearized(state, piece)
            H, g = system.hessian, system.gradient
            sums.add_block(0, there.start, H[:, :n, :n])
            sums.border[there], sums.gradient[there] = H[:, :n, n:], g[:, :n]
            sums.cost += float(system.cost.sum())
            sums.corner += H[:, n:, n:].sum(0)
            sums.shared_gradient += g[:, n:].sum(0)
            if self.motion is not None and around is not None:
                add_smoothness(around, self.motion, len(state), sums, piece, part.start)
        return sums

    def _linearized(self, state: State, piece: slice) -> tuple[BatchedSystem, Around | None]:
        """(each frame's own equations, what those of the smoothness are made of)."""
        fast = self._fast(state)
        if fast is not None:
            return fast.linearize(state, piece, self.kind)
        system = self.frames.select(piece).linearize(state[piece])
        smooth = self.motion is not None and len(state) > BANDS
        return system, self.motion.around(state.params, self.frames.layout, piece) if smooth and self.motion else None

    def _fast(self, state: State) -> FramesLast | None:
        """What knows these frames, where there is such a thing and they have one shape."""
        betas = state.params.betas
        return self.frames_last if self.frames_last is not None and bool((betas == betas[:1]).all()) else None

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
        """As of `Bordered`; of doubles once single numbers have not enough digits."""
        problem = self.problem
        delta, fall = step_of(problem.windows(self.state), damping, problem.window, problem.release)
        if math.isnan(fall) and problem.kind == torch.float32:
            problem.kind = torch.float64
            return self.step(damping)
        return delta, fall

    def scaled_gradient(self) -> float:
        """As of `Bordered`, at the price of a memory for all frames."""
        return self.problem.equations(self.state).scaled_gradient()


def one_shape(state: State) -> State:
    """Every frame with the mean of the frames' shapes."""
    betas = state.params.betas.mean(0, keepdim=True).expand_as(state.params.betas).contiguous()
    return State(replace(state.params, betas=betas), state.camera)


Then = Callable[[SequenceProblem, OneSolution[State]], OneSolution[State]]
"""Goes on with a solution."""


def solve_sequence(
    problem: SequenceProblem, state: State, options: Options, then: Then | None = None
) -> OneSolution[State]:
    """The solution for all frames together; joints that no term moves are at rest meanwhile, and then filled in.

    Equations are solved where they lie, and made anew if their step is rejected. options.gtol: 0, or they are made for
    every point that is tried, those of all frames.
    """
    with own_threads(1):  # the equations are solved frame after frame
        solution = solve(problem, problem.begun(state), options)
        if then is not None:
            solution = then(problem, solution)
    x = solution.x
    filled = State.cat([problem.frames.select(part).fill(x[part]) for part in pieces(len(x), problem.window)])
    # to the last digit the same shape in all frames
    filled = State(replace(filled.params, betas=x.params.betas), filled.camera)
    return replace(solution, x=filled)

"""The last steps of a sequence, of those frames alone that still move.

After a few steps of all frames most of them stand still, and some creep on: a finger that is nearly edge-on comes from
the wrong side to the right one, three to five frames of it at a time. So what follows is solved in windows about such
frames, the others fixed, and the shape too:

    E(x_w) of the frames of all windows,     the two frames before and after each of them as they are

round after round, the windows being those of the round's last step, until no frame moves.
"""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from hmrfit.fitting.banded import Bordered
from hmrfit.fitting.parameters import State
from hmrfit.fitting.sequence import SequenceProblem
from hmrfit.fitting.smoothness import BANDS
from hmrfit.fitting.solver import OneSolution, Options, solve
from hmrfit.ops.rotation import matrix_to_rotvec
from hmrfit.types import BodyParams


@dataclass(frozen=True)
class Moving:
    """Which frames are solved for on their own, and how long.

    turn: degrees by which a joint turned in the last step. beside: frames on both sides that move with it. rounds: at
    most, of `steps` steps each.
    """

    turn: float = 3.5
    beside: int = 2
    rounds: int = 6
    steps: int = 2


class Windows(SequenceProblem):
    """Some frames of a problem, window after window, of which the fixed ones and the shape do not move.

    Args:
        rows: (m,) the frames. fixed: (m,) bool, in pairs, as `banded` has frames in its blocks. cuts: where windows
            begin, among the rows.
    """

    def __init__(self, whole: SequenceProblem, rows: Tensor, fixed: Tensor, cuts: list[int]) -> None:
        motion = whole.motion
        if motion is not None:
            poses = None if motion.poses is None else motion.poses[rows]
            motion = replace(motion, poses=poses, cuts=tuple(cuts))
        single = whole.kind == torch.float32
        super().__init__(whole.frames.select(rows), motion, whole.threads, whole.window, single)
        self.fixed = torch.nn.functional.pad(fixed, (0, -len(fixed) % BANDS)).view(-1, BANDS).all(1)  # of each block

    def equations(self, state: State, part: slice | None = None) -> Bordered:
        sums = super().equations(state, part)
        first, m = (0 if part is None else part.start) // BANDS, sums.bands * sums.width
        fixed = self.fixed[first : first + len(sums.right) + 1]
        own, after = fixed[: len(sums.right)], torch.zeros(len(sums.right), dtype=torch.bool)
        after[: len(fixed) - 1] = fixed[1:]
        sums.right[own] = 0.0
        sums.right[after, :, :m] = 0.0
        sums.border.zero_()
        sums.shared_gradient = torch.zeros_like(sums.shared_gradient)
        return sums


def windows_of(moving: Tensor, beside: int, cuts: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, list[int]]:
    """(rows (m,), whether each is fixed (m,), where windows begin) of frames (T,) that move, with those beside them.

    Windows are of even length and have two fixed frames at each end but those of the sequence.
    """
    T = len(moving)
    wide = torch.nn.functional.max_pool1d(moving.double()[None], 2 * beside + 1, 1, beside)[0] > 0
    pairs = torch.nn.functional.pad(wide, (0, -T % BANDS)).view(-1, BANDS).any(1)  # blocks of two frames
    if T % BANDS and len(pairs) > 1:  # a single frame at the end is no fixed pair
        pairs[-1] |= pairs[-2]
    edge = torch.nn.functional.pad(pairs, (1, 1)).int().diff().nonzero()[:, 0].view(-1, 2).tolist()
    rows: list[Tensor] = []
    fixed: list[Tensor] = []
    begins: list[int] = []
    for start, stop in edge:
        own = torch.arange(max(start - 1, 0) * BANDS, min((stop + 1) * BANDS, T))
        begins.append(sum(map(len, rows)))
        rows.append(own)
        fixed.append((own < start * BANDS) | (own >= stop * BANDS))
    return torch.cat(rows), torch.cat(fixed), begins[1:]


def settle(problem: SequenceProblem, found: OneSolution[State], options: Options, how: Moving) -> OneSolution[State]:
    """The solution gone on with where frames still move, by the options of all frames."""
    if problem.motion is None or problem.motion.cuts:
        return found
    x, before, cost, steps = found.x, found.before, found.cost, found.steps
    for _ in range(how.rounds):
        turn = matrix_to_rotvec(before.params.rotations.mT @ x.params.rotations).norm(dim=-1).amax(1)
        moving = torch.rad2deg(turn) > how.turn
        if not bool(moving.any()):
            break
        rows, fixed, cuts = windows_of(moving, how.beside)
        part = Windows(problem, rows, fixed, cuts)
        few = replace(options, max_steps=how.steps, ftol=options.ftol * len(x) / len(rows))
        end = solve(part, x[rows], few)
        steps, cost = steps + end.steps, cost - end.fall
        before, x = with_frames(x, rows, end.before), with_frames(x, rows, end.x)
        if end.status == 1 and end.steps == 1:
            break
    return replace(found, x=x, cost=cost, steps=steps)


def with_frames(x: State, rows: Tensor, part: State) -> State:
    """The frames x with some of them (m,) as they are in `part`."""
    both = ((getattr(x.params, f.name), getattr(part.params, f.name)) for f in fields(BodyParams))
    return State(BodyParams(*(mine.index_copy(0, rows, theirs) for mine, theirs in both)), x.camera)

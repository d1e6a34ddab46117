"""Normal equations of many frames with a shared border: block-banded for the frames, arrowhead for what they share.

    [ A   B ] [ x ]     [ g ]          A (T n, T n) with blocks A_ts for |t - s| <= w, B (T n, S), C (S, S)
    [ B^T C ] [ y ] = - [ h ]

w frames together are a block that is coupled to the next one only. One block b after the other is eliminated, z_b =
(x_(b+1), y) being what it is coupled to:

    L L^T = A_bb,   V = L⁻¹ [A_b,b+1 | B_b | g_b]                 the equations of z_b lose V^T V
    x_b = -L⁻ᵀ (V_z z_b + V_g)                                    then from the last block to the first

The time is linear in T, and the factors lie where the equations lay: 80 kB a frame of 51 columns. Long sequences are
solved window after window (`step_of`): once as many frames after them are eliminated, the first ones in memory are
solved for, as x = x_0 + X y, y being known in the end. What lies beyond is left out there: an error of one frame fades
to 1/e within half a second, and those are more than three. `dense` is the slow obvious way.

torch does it with the thread that it is called in: LAPACK's banded Cholesky takes as long, and the threads of the
library that scipy brings cannot be told to stay away (two of them beside other programs: 5 to 19 times as long). Frame
by frame instead of by twos, the calls of torch would take as long again as what they compute.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.fitting.solver import TINY, added_to_diagonal


def eliminate(diagonal: Tensor, right: Tensor, count: int, ahead: int) -> Tensor | None:
    """Eliminates the first `count` blocks in place. What they take from the equations of the p shared columns (p, p);
    None where a block is not positive definite.

    Args:
        diagonal: (N, m, m) A_bb, of which the upper triangle counts; afterwards Lᵀ, as LAPACK has L.
        right: (N, m, ahead + p) what couples each block to the next, and to what is shared; afterwards V. What the
            eliminated blocks take from the one behind them is taken there, if there is one.
        ahead: m, or 0 where blocks are not coupled.
    """
    N = len(diagonal)
    fine = torch.zeros(count, dtype=torch.int32)
    A, A_next, info = diagonal.mT.unbind(0), right[:, :, :ahead].unbind(0), fine.unbind(0)
    shared, V = right[:, :, ahead:].unbind(0), right.unbind(0)
    double = diagonal.dtype == torch.float64
    buffer = torch.empty_like(A[0], dtype=torch.float64)
    for b in range(count):
        if double:
            torch.linalg.cholesky_ex(A[b], out=(A[b], info[b]))
        else:  # of this size, LAPACK factors single numbers more slowly
            A[b].copy_(torch.linalg.cholesky_ex(A[b].double(), out=(buffer, info[b]))[0])
        turned = V[b].mT  # as LAPACK has it: solved in place, in half of the time
        torch.linalg.solve_triangular(A[b].mT, turned, upper=True, left=False, out=turned)
        if ahead and b + 1 < N:
            A[b + 1].addmm_(A_next[b].mT, A_next[b], alpha=-1)
            shared[b + 1].addmm_(A_next[b].mT, shared[b], alpha=-1)
    alone = right[:count, :, ahead:].flatten(0, 1)
    taken = alone.T @ alone
    return taken if not fine.any() and bool(taken.isfinite().all()) else None


def add_between(diagonal: Tensor, right: Tensor, each: int, k: int, first: int, block: Tensor) -> None:
    """Adds blocks (count, n, n) to A_(t, t+k) of the frames t from `first` on, `each` frames being one block of
    `eliminate`'s; k is at most `each`."""
    n = block.shape[1]
    within = diagonal.view(len(diagonal), each, n, each, n)
    for start in range(min(each, len(block))):
        t = first + start
        own, rows = block[start::each], slice(t // each, None)
        place, later = t % each, (t % each + k)
        if later < each:
            within[rows][: len(own), place, :, later] += own
        else:
            columns = slice((later - each) * n, (later - each + 1) * n)
            right.view(len(right), each, n, -1)[rows][: len(own), place, :, columns] += own


@dataclass
class Bordered:
    """Cost, gradient and Hessian at a point, a `solver.LinearSystem`. T frames of n columns each, S shared ones.

    diagonal_blocks, right: of blocks of w frames as `eliminate` takes them, what is shared being B and g. Frames that
    fill up the last block have ones on the diagonal.
    """

    diagonal_blocks: Tensor  # (N, w n, w n)
    right: Tensor  # (N, w n, w n + S + 1), without w n where w = 0
    corner: Tensor  # (S, S)
    shared_gradient: Tensor  # (S,)
    count: int  # T
    bands: int  # w
    cost: float = 0.0
    spent: bool = False  # has a step been solved for, where the equations lay?

    @classmethod
    def zeros(
        cls,
        T: int,
        n: int,
        S: int,
        bands: int,
        room: "Bordered | None" = None,
        kind: torch.dtype = torch.float64,
    ) -> "Bordered":
        """Nothing yet; blocks A_ts for |t - s| <= bands. room: equations that are no longer needed. kind: of the
        frames' numbers; what is shared is double."""
        zeros = lambda *shape, kind=torch.float64: torch.zeros(shape, dtype=kind)  # noqa: E731
        each = max(bands, 1)
        N, m = -(-T // each), each * n
        if room is None or len(room.right) < N or room.right.dtype != kind:
            large = zeros(N, m, m, kind=kind), zeros(N, m, bands * n + S + 1, kind=kind)
        else:
            large = room.diagonal_blocks[:N].zero_(), room.right[:N].zero_()
        whole = cls(*large, zeros(S, S), zeros(S), T, bands)
        whole.diagonal_blocks[N - 1 :].diagonal(dim1=1, dim2=2)[:, m - (N * each - T) * n :] = 1.0
        return whole

    @classmethod
    def of(
        cls, blocks: Sequence[Tensor], border: Tensor, corner: Tensor, gradient: Tensor, shared_gradient: Tensor
    ) -> "Bordered":
        """From blocks, k = 0 .. w: A_(t, t+k), (T - k, n, n)."""
        T, n, S = border.shape
        system = cls.zeros(T, n, S, len(blocks) - 1)
        for k, block in enumerate(blocks):
            system.add_block(k, 0, block)
        system.border[:], system.gradient[:] = border, gradient
        system.corner, system.shared_gradient = corner, shared_gradient
        return system

    def __len__(self) -> int:
        return self.count

    @property
    def each(self) -> int:
        """Frames in a block."""
        return max(self.bands, 1)

    @property
    def width(self) -> int:
        """n."""
        return self.diagonal_blocks.shape[1] // self.each

    @property
    def _of_frames(self) -> Tensor:
        """(T, n, ...) of what is right of the blocks, a view."""
        return self.right.view(-1, self.width, self.right.shape[2])[: len(self)]

    @property
    def border(self) -> Tensor:
        """(T, n, S), a view."""
        return self._of_frames[:, :, self.bands * self.width : -1]

    @property
    def gradient(self) -> Tensor:
        """(T, n), a view."""
        return self._of_frames[:, :, -1]

    def add_block(self, k: int, first: int, block: Tensor) -> None:
        """Adds blocks (m, n, n) to A_(t, t+k) of the frames t from `first` on."""
        add_between(self.diagonal_blocks, self.right, self.each, k, first, block)

    @property
    def diagonal(self) -> tuple[Tensor, Tensor]:
        """Of A (T, n) and of C (S,)."""
        own = self.diagonal_blocks.diagonal(dim1=1, dim2=2).reshape(-1, self.width)
        return own[: len(self)], self.corner.diagonal()

    def step(self, damping: float) -> tuple[tuple[Tensor, Tensor], float]:
        """((x (T, n), y (S,)), predicted fall of the cost) of the damped equations; zeros and NaN where they are not
        positive definite. They are solved where they lie, and then spent."""
        return step_of([self], damping)

    def damped(self, damping: float) -> tuple[Tensor, float]:
        """(what is added to the diagonal of A (T, n), of which the largest entry is known of A and C); adds it."""
        largest = max(TINY, *(float(d.max()) for d in self.diagonal if d.numel()))
        added = added_to_diagonal(self.diagonal[0], largest, damping)
        own = self.diagonal_blocks.diagonal(dim1=1, dim2=2)
        own += torch.nn.functional.pad(added.flatten(), (0, own.numel() - added.numel())).view_as(own)
        return added, largest

    def eliminated(self, behind: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]] | None:
        """(what the frames take from the equations of what is shared (S + 1, S + 1), what they take from the diagonal
        of the block after them and from what is right of it); None where a block is not positive definite.

        behind: what was taken by the frames before. The equations are spent afterwards.
        """
        m = self.bands * self.width
        self.spent = True
        if behind is not None:
            self.diagonal_blocks[0] -= behind[0]
            self.right[0, :, m:] -= behind[1]
        taken = eliminate(self.diagonal_blocks, self.right, len(self.right), m)
        last = self.right[-1]
        return None if taken is None else (taken.double(), (last[:, :m].T @ last[:, :m], last[:, :m].T @ last[:, m:]))

    def solved(self, after: Tensor | None = None) -> Tensor:
        """[X x_0] (N, w n, S + 1) of the blocks, once they are eliminated: x = x_0 + X y. after: that of the block
        behind them."""
        m, N = self.bands * self.width, len(self.right)
        z = self.right.new_zeros(N, *self.right[0, :, m:].shape)
        for b in reversed(range(N)):
            ahead, own = (z[b + 1] if b + 1 < N else after), self.right[b, :, m:]
            own = own if ahead is None or not m else torch.addmm(own, self.right[b, :, :m], ahead)
            z[b] = torch.linalg.solve_triangular(self.diagonal_blocks[b], own, upper=True).neg_()
        return z

    def scaled_gradient(self) -> float:
        """max |g_i| / sqrt(H_ii) over all columns; not finite where the gradient is not."""
        gradients = self.gradient, self.shared_gradient
        scaled = (g.abs() / d.clamp_min(TINY).sqrt() for g, d in zip(gradients, self.diagonal, strict=True))
        return float(torch.cat([part.flatten() for part in scaled]).max())

    def dense(self) -> tuple[Tensor, Tensor]:
        """The whole matrix (T n + S, T n + S) and gradient."""
        T, n, S = len(self), self.width, len(self.shared_gradient)
        whole = self.corner.new_zeros(T * n + S, T * n + S)
        m, N = self.each * n, len(self.right)
        frames = whole.new_zeros(N * m, N * m)
        for b in range(N):
            own = slice(b * m, (b + 1) * m)
            upper = self.diagonal_blocks[b].triu()
            frames[own, own] = upper + upper.triu(1).T
            if self.bands and b + 1 < N:
                block = self.right[b, :, :m]
                after = slice(own.stop, own.stop + m)
                frames[own, after], frames[after, own] = block, block.T
        whole[: T * n, : T * n] = frames[: T * n, : T * n]
        whole[: T * n, T * n :] = self.border.reshape(T * n, S)
        whole[T * n :, : T * n] = self.border.reshape(T * n, S).T
        whole[T * n :, T * n :] = self.corner
        return whole, torch.cat([self.gradient.flatten(), self.shared_gradient])


def step_of(
    windows: Iterable[Bordered], damping: float, ahead: int = 0, release: Callable[[Bordered], None] | None = None
) -> tuple[tuple[Tensor, Tensor], float]:
    """As `Bordered.step`, of windows of frames that follow on each other, all but the last of whole blocks. Each is
    asked for when the one before it was eliminated.

    Args:
        ahead: so many frames are solved for at a time, once as many after them are eliminated; 0: all in the end.
        release: takes the windows that are no longer needed.
    """
    parts: list[_Part] = []
    held: list[Bordered] = []
    behind: tuple[Tensor, Tensor] | None = None
    corner = shared = taken = torch.zeros(())
    largest, fine = TINY, True

    def solve(least: int) -> None:
        """The first ones that are held, so many frames; the others say what comes after them."""
        count = 0
        while count < len(held) and least > 0:
            least -= len(held[count])
            count += 1
        first, after = len(parts) - len(held), None
        for i in reversed(range(len(held))):
            solved = held[i].solved(after)
            after = solved[0]
            if i < count:
                parts[first + i].answer = _of_frames(held[i], solved)
                if release is not None:
                    release(held[i])
        del held[:count]

    for window in windows:
        gradient = window.gradient.double()
        gradient = gradient.clone() if gradient.data_ptr() == window.gradient.data_ptr() else gradient
        added, greatest = window.damped(damping)
        largest = max(largest, greatest)
        found = window.eliminated(behind) if fine else None
        parts.append(_Part(gradient, added))
        corner, shared = corner + window.corner, shared + window.shared_gradient
        if found is None:
            fine = False
            continue
        behind, taken = found[1], taken + found[0]
        held.append(window)
        if ahead and sum(map(len, held)) >= 2 * ahead:
            solve(ahead)
    nothing = [torch.zeros_like(part.gradient) for part in parts]
    failed = (torch.cat(nothing), torch.zeros_like(shared)), math.nan
    if not fine:
        return failed
    solve(sum(map(len, held)))
    more = added_to_diagonal(corner.diagonal(), max(largest, *corner.diagonal().tolist(), TINY), damping)
    S = len(shared)
    lower, info = torch.linalg.cholesky_ex(corner + torch.diag(more) - taken[:S, :S])
    if info:
        return failed
    y = -torch.cholesky_solve((shared - taken[:S, S])[:, None], lower)[:, 0]
    fall, steps = float(y @ (more * y - shared)), []
    for part in parts:
        assert part.answer is not None
        x = (part.answer[..., -1] + part.answer[..., :-1] @ y.to(part.answer)).double()
        fall += float((x * (part.added * x - part.gradient)).sum())
        steps.append(x)
    x = torch.cat(steps)
    return ((x, y), 0.5 * fall) if bool(x.isfinite().all() & y.isfinite().all()) else failed


@dataclass
class _Part:
    """What is kept of a window: its gradient (m, n), what was added to the diagonal, and [X x_0] (m, n, S + 1)."""

    gradient: Tensor
    added: Tensor
    answer: Tensor | None = None


def _of_frames(window: Bordered, solved: Tensor) -> Tensor:
    """[X x_0] (m, n, S + 1) of a window's frames, from that of its blocks."""
    return solved.view(-1, window.width, solved.shape[2])[: len(window)]

"""Normal equations of many frames with a shared border: block-banded for the frames, arrowhead for what they share.

    [ A   B ] [ x ]     [ g ]          A (T n, T n) with blocks A_ts for |t - s| <= w, B (T n, S), C (S, S)
    [ B^T C ] [ y ] = - [ h ]

w frames together are a block that is coupled to the next one only. One block b after the other is eliminated, z_b =
(x_(b+1), y) being what it is coupled to:

    L L^T = A_bb,   V = L⁻¹ [A_b,b+1 | B_b | g_b]                 the equations of z_b lose V^T V
    x_b = -L⁻ᵀ (V_z z_b + V_g)                                    then from the last block to the first

The time is linear in T, and the factors lie where the equations lay: 80 kB a frame of 51 columns. `dense` is the slow
obvious way. torch does it with the thread that it is called in: LAPACK's banded Cholesky takes as long, and the threads
of the library that scipy brings cannot be told to stay away (two of them beside other programs: 5 to 19 times as long).
Frame by frame instead of by twos, the calls of torch would take as long again as what they compute.
"""

import math
from collections.abc import Sequence
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
    for b in range(count):
        torch.linalg.cholesky_ex(A[b], out=(A[b], info[b]))
        V[b].copy_(torch.linalg.solve_triangular(A[b], V[b], upper=False))
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
    def zeros(cls, T: int, n: int, S: int, bands: int, room: "Bordered | None" = None) -> "Bordered":
        """Nothing yet; blocks A_ts for |t - s| <= bands. room: equations of the same size that are no longer needed."""
        zeros = lambda *shape: torch.zeros(shape, dtype=torch.float64)  # noqa: E731
        each = max(bands, 1)
        N, m = -(-T // each), each * n
        if room is None:
            large = zeros(N, m, m), zeros(N, m, bands * n + S + 1)
        else:
            large = room.diagonal_blocks.zero_(), room.right.zero_()
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
        largest = max(TINY, *(float(d.max()) for d in self.diagonal if d.numel()))
        added = tuple(added_to_diagonal(d, largest, damping) for d in self.diagonal)
        gradients = self.gradient.clone(), self.shared_gradient
        own = self.diagonal_blocks.diagonal(dim1=1, dim2=2)
        own += torch.nn.functional.pad(added[0].flatten(), (0, own.numel() - added[0].numel())).view_as(own)
        self.corner = self.corner + torch.diag(added[1])
        step = self._solve()
        if step is None:
            return (torch.zeros_like(gradients[0]), torch.zeros_like(gradients[1])), math.nan
        return step, 0.5 * float(sum((d * (a * d - g)).sum() for d, a, g in zip(step, added, gradients, strict=True)))

    def _solve(self) -> tuple[Tensor, Tensor] | None:
        """x (T, n) and y (S,); None where the matrix is not positive definite. The equations are gone afterwards."""
        T, n, S, N = len(self), self.width, len(self.shared_gradient), len(self.right)
        m = self.bands * n
        self.spent = True
        diagonal, right = self.diagonal_blocks, self.right
        taken = eliminate(diagonal, right, N, m)
        if taken is None:
            return None
        lower, info = torch.linalg.cholesky_ex(self.corner - taken[:S, :S])
        if info:
            return None
        y = -torch.cholesky_solve((self.shared_gradient - taken[:S, S])[:, None], lower)[:, 0]
        pull = right[:, :, -1] + right[:, :, m:-1] @ y
        z = pull.new_zeros(N + 1, self.each * n)
        for b in reversed(range(N)):
            ahead = torch.addmv(pull[b], right[b, :, :m], z[b + 1]) if self.bands else pull[b]
            z[b] = torch.linalg.solve_triangular(diagonal[b], ahead[:, None], upper=True)[:, 0].neg_()
        x = z[:N].view(-1, n)[:T]
        return (x, y) if bool(x.isfinite().all() & y.isfinite().all()) else None

    def of_shared(self) -> Tensor:
        """The Hessian (S, S) of what is shared, the frames following it as they like best; zeros where that is not
        defined. The equations are gone afterwards."""
        largest = max(TINY, *(float(d.max()) for d in self.diagonal if d.numel()))
        self.diagonal_blocks.diagonal(dim1=1, dim2=2).add_(1e-9 * largest)
        self.spent, S = True, len(self.shared_gradient)
        taken = eliminate(self.diagonal_blocks, self.right, len(self.right), self.bands * self.width)
        return torch.zeros_like(self.corner) if taken is None else self.corner - taken[:S, :S]

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

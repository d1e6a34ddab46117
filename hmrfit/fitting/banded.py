"""Normal equations of many frames with a shared border: block-banded for the frames, arrowhead for what they share.

    [ A   B ] [ x ]     [ g ]          A (T n, T n) with blocks A_ts for |t - s| <= w, B (T n, S), C (S, S)
    [ B^T C ] [ y ] = - [ h ]

One frame after the other is eliminated, z_t = (x_(t+1) .. x_(t+w), y) being what it is coupled to:

    L L^T = A_tt,   V = L⁻¹ [A_t,t+1 .. A_t,t+w | B_t | g_t]      the equations of z_t lose V^T V
    x_t = -L⁻ᵀ (V_z z_t + V_g)                                    then from the last frame to the first

The time is linear in T, and the factors lie where the equations lay: 75 kB a frame of 54 columns. `dense` is the slow
obvious way. torch does it with the thread that it is called in: LAPACK's banded Cholesky takes as long, and the threads
of the library that scipy brings cannot be told to stay away (two of them beside other programs: 5 to 19 times as long).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.fitting.solver import TINY, added_to_diagonal


def eliminate(diagonal: Tensor, right: Tensor, bands: int, count: int) -> Tensor | None:
    """Eliminates the first `count` frames in place. What they take from the equations of the m shared columns (m, m);
    None where a frame is not positive definite.

    Args:
        diagonal: (T + w, n, n) A_tt; afterwards L. right: (T + w, n, w n + m) the couplings of each frame to the next
            w = `bands`, and to what is shared; afterwards V. What the eliminated frames take from those behind them is
            taken there: there are always w rows behind.
    """
    n, width = diagonal.shape[1], right.shape[2]
    taken = right.new_zeros(width - bands * n, width - bands * n)
    fine = torch.zeros(count, dtype=torch.int32)
    for t in range(count):
        torch.linalg.cholesky_ex(diagonal[t], out=(diagonal[t], fine[t]))
        V = torch.linalg.solve_triangular(diagonal[t], right[t], upper=False)
        right[t] = V
        product = V.mT @ V
        for k in range(bands):
            own = product[k * n : (k + 1) * n]
            diagonal[t + 1 + k] -= own[:, k * n : (k + 1) * n]
            if k + 1 < bands:  # to the frames that both are coupled to
                right[t + 1 + k, :, : (bands - 1 - k) * n] -= own[:, (k + 1) * n : bands * n]
            right[t + 1 + k, :, bands * n :] -= own[:, bands * n :]
        taken += product[bands * n :, bands * n :]
    return taken if not fine.any() and bool(taken.isfinite().all()) else None


@dataclass
class Bordered:
    """Cost, gradient and Hessian at a point, a `solver.LinearSystem`. T frames of n columns each, S shared ones."""

    diagonal_blocks: Tensor  # (T + w, n, n) A_tt, then zeros
    right: Tensor  # (T + w, n, w n + S + 1): A_(t, t+1) .. A_(t, t+w), B_t and g_t, then zeros
    corner: Tensor  # (S, S)
    shared_gradient: Tensor  # (S,)
    bands: int  # w
    cost: float = 0.0
    spent: bool = False  # has a step been solved for, where the equations lay?

    @classmethod
    def zeros(cls, T: int, n: int, S: int, bands: int) -> "Bordered":
        """Nothing yet; blocks A_ts for |t - s| <= bands."""
        zeros = lambda *shape: torch.zeros(shape, dtype=torch.float64)  # noqa: E731
        right = zeros(T + bands, n, bands * n + S + 1)
        return cls(zeros(T + bands, n, n), right, zeros(S, S), zeros(S), bands)

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
        return len(self.right) - self.bands

    @property
    def width(self) -> int:
        """n."""
        return self.right.shape[1]

    @property
    def border(self) -> Tensor:
        """(T, n, S), a view."""
        return self.right[: len(self), :, self.bands * self.width : -1]

    @property
    def gradient(self) -> Tensor:
        """(T, n), a view."""
        return self.right[: len(self), :, -1]

    def add_block(self, k: int, first: int, block: Tensor) -> None:
        """Adds blocks (m, n, n) to A_(t, t+k) of the frames t from `first` on."""
        rows = slice(first, first + len(block))
        if k == 0:
            self.diagonal_blocks[rows] += block
        else:
            self.right[rows, :, (k - 1) * self.width : k * self.width] += block

    @property
    def diagonal(self) -> tuple[Tensor, Tensor]:
        """Of A (T, n) and of C (S,)."""
        return self.diagonal_blocks[: len(self)].diagonal(dim1=1, dim2=2), self.corner.diagonal()

    def step(self, damping: float) -> tuple[tuple[Tensor, Tensor], float]:
        """((x (T, n), y (S,)), predicted fall of the cost) of the damped equations; zeros and NaN where they are not
        positive definite. They are solved where they lie, and then spent."""
        largest = max(TINY, *(float(d.max()) for d in self.diagonal if d.numel()))
        added = tuple(added_to_diagonal(d, largest, damping) for d in self.diagonal)
        gradients = self.gradient.clone(), self.shared_gradient
        self.diagonal[0].add_(added[0])
        self.corner = self.corner + torch.diag(added[1])
        step = self._solve()
        if step is None:
            return (torch.zeros_like(gradients[0]), torch.zeros_like(gradients[1])), math.nan
        return step, 0.5 * float(sum((d * (a * d - g)).sum() for d, a, g in zip(step, added, gradients, strict=True)))

    def _solve(self) -> tuple[Tensor, Tensor] | None:
        """x (T, n) and y (S,); None where the matrix is not positive definite. The equations are gone afterwards."""
        T, n, w, S = len(self), self.width, self.bands, len(self.shared_gradient)
        self.spent = True
        diagonal, right = self.diagonal_blocks, self.right
        self.diagonal_blocks = self.right = right[:0]  # room for the next equations
        taken = eliminate(diagonal, right, w, T)
        if taken is None:
            return None
        lower, info = torch.linalg.cholesky_ex(self.corner - taken[:S, :S])
        if info:
            return None
        y = -torch.cholesky_solve((self.shared_gradient - taken[:S, S])[:, None], lower)[:, 0]
        pull = right[:T, :, -1] + right[:T, :, w * n : -1] @ y
        z = pull.new_zeros(T + w, n)
        for t in reversed(range(T)):
            ahead = pull[t] + right[t, :, : w * n] @ z[t + 1 : t + 1 + w].flatten()
            z[t] = torch.linalg.solve_triangular(diagonal[t].mT, -ahead[:, None], upper=True)[:, 0]
        x = z[:T]
        return (x, y) if bool(x.isfinite().all() & y.isfinite().all()) else None

    def scaled_gradient(self) -> float:
        """max |g_i| / sqrt(H_ii) over all columns; not finite where the gradient is not."""
        gradients = self.gradient, self.shared_gradient
        scaled = (g.abs() / d.clamp_min(TINY).sqrt() for g, d in zip(gradients, self.diagonal, strict=True))
        return float(torch.cat([part.flatten() for part in scaled]).max())

    def dense(self) -> tuple[Tensor, Tensor]:
        """The whole matrix (T n + S, T n + S) and gradient."""
        T, n, S = len(self), self.width, len(self.shared_gradient)
        whole = self.corner.new_zeros(T * n + S, T * n + S)
        for t in range(T):
            own = slice(t * n, (t + 1) * n)
            whole[own, own] = self.diagonal_blocks[t]
            for s in range(t + 1, min(T, t + 1 + self.bands)):
                block = self.right[t, :, (s - t - 1) * n : (s - t) * n]
                whole[own, s * n : (s + 1) * n], whole[s * n : (s + 1) * n, own] = block, block.T
        whole[: T * n, T * n :] = self.border.reshape(T * n, S)
        whole[T * n :, : T * n] = self.border.reshape(T * n, S).T
        whole[T * n :, T * n :] = self.corner
        return whole, torch.cat([self.gradient.flatten(), self.shared_gradient])

"""Normal equations of many frames with a shared border: block-banded for the frames, arrowhead for what they share.

    [ A   B ] [ x ]     [ g ]          A (T n, T n) with blocks A_ts for |t - s| <= w, B (T n, S), C (S, S)
    [ B^T C ] [ y ] = - [ h ]          y = -(C - B^T A⁻¹ B)⁻¹ (h - B^T A⁻¹ g),    x = -A⁻¹ (g + B y)

One banded Cholesky factorisation (LAPACK's, through scipy) and a Schur complement of the border: the time is linear in
T. `dense` is the slow obvious way. A lies in memory once, as LAPACK wants it, and is factorised where it lies: for
three thousand frames it is 400 MB.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded
from torch import Tensor

from hmrfit.fitting.solver import TINY, added_to_diagonal


@dataclass
class Bordered:
    """Cost, gradient and Hessian at a point, a `solver.LinearSystem`. T frames of n columns each, S shared ones."""

    band: Tensor  # (T, n, (w+1) n): entry (t, b, i) is A in column b of frame t, i rows below the diagonal
    border: Tensor  # (T, n, S)
    corner: Tensor  # (S, S)
    gradient: Tensor  # (T, n)
    shared_gradient: Tensor  # (S,)
    cost: float = 0.0
    spent: bool = False  # has a step been solved for, in the memory of the band?

    @classmethod
    def zeros(cls, T: int, n: int, S: int, bands: int) -> "Bordered":
        """Nothing yet; blocks A_ts for |t - s| <= bands."""
        zeros = lambda *shape: torch.zeros(shape, dtype=torch.float64)  # noqa: E731
        return cls(zeros(T, n, (bands + 1) * n), zeros(T, n, S), zeros(S, S), zeros(T, n), zeros(S))

    @classmethod
    def of(
        cls, blocks: Sequence[Tensor], border: Tensor, corner: Tensor, gradient: Tensor, shared_gradient: Tensor
    ) -> "Bordered":
        """From blocks, k = 0 .. w: A_(t, t+k), (T - k, n, n)."""
        T, n, S = border.shape
        band = cls.zeros(T, n, S, len(blocks) - 1).band
        system = cls(band, border, corner, gradient, shared_gradient)
        for k, block in enumerate(blocks):
            system.add_block(k, 0, block)
        return system

    def add_block(self, k: int, first: int, block: Tensor) -> None:
        """Adds blocks (m, n, n) to A_(t, t+k) of the frames t from `first` on."""
        n = self.gradient.shape[1]
        b, a = torch.meshgrid(torch.arange(n), torch.arange(n), indexing="ij")
        below = k * n + a - b  # A_(t+k, t) = A_(t, t+k)^T: its entry (a, b) is the block's (b, a)
        kept = below >= 0
        self.band[first : first + len(block), b[kept], below[kept]] += block[:, b[kept], a[kept]]

    @property
    def diagonal(self) -> tuple[Tensor, Tensor]:
        """Of A (T, n) and of C (S,)."""
        return self.band[..., 0], self.corner.diagonal()

    def step(self, damping: float) -> tuple[tuple[Tensor, Tensor], float]:
        """((x (T, n), y (S,)), predicted fall of the cost) of the damped equations; zeros and NaN where they are not
        positive definite. They are solved where they lie, and then spent."""
        largest = max(TINY, *(float(d.max()) for d in self.diagonal if d.numel()))
        added = tuple(added_to_diagonal(d, largest, damping) for d in self.diagonal)
        gradients = self.gradient, self.shared_gradient
        self.band[..., 0] += added[0]
        self.corner = self.corner + torch.diag(added[1])
        step = self._solve()
        if step is None:
            return (torch.zeros_like(gradients[0]), torch.zeros_like(gradients[1])), math.nan
        return step, 0.5 * float(sum((d * (a * d - g)).sum() for d, a, g in zip(step, added, gradients, strict=True)))

    def _solve(self) -> tuple[Tensor, Tensor] | None:
        """x (T, n) and y (S,); None where the matrix is not positive definite. The band is gone afterwards."""
        T, n = self.gradient.shape
        right = torch.cat([self.gradient[..., None], self.border], -1).reshape(T * n, -1)
        band = self.band.reshape(T * n, -1).numpy().T
        self.band, self.spent = self.band.new_empty(0), True
        try:
            factor = cholesky_banded(band, overwrite_ab=True, lower=True, check_finite=False)
            solved = torch.as_tensor(cho_solve_banded((factor, True), right.numpy(), check_finite=False))
            inner, border = solved[:, 0], self.border.reshape(T * n, -1)
            schur = self.corner - border.T @ solved[:, 1:]
            lower = torch.linalg.cholesky((schur + schur.T) / 2)
        except (LinAlgError, torch.linalg.LinAlgError):
            return None
        y = -torch.cholesky_solve((self.shared_gradient - border.T @ inner)[:, None], lower)[:, 0]
        x = -(inner + solved[:, 1:] @ y).view(T, n)
        return (x, y) if bool(x.isfinite().all() & y.isfinite().all()) else None

    def scaled_gradient(self) -> float:
        """max |g_i| / sqrt(H_ii) over all columns; not finite where the gradient is not."""
        gradients = self.gradient, self.shared_gradient
        scaled = (g.abs() / d.clamp_min(TINY).sqrt() for g, d in zip(gradients, self.diagonal, strict=True))
        return float(torch.cat([part.flatten() for part in scaled]).max())

    def dense(self) -> tuple[Tensor, Tensor]:
        """The whole matrix (T n + S, T n + S) and gradient."""
        T, n = self.gradient.shape
        S = len(self.shared_gradient)
        whole = self.corner.new_zeros(T * n + S, T * n + S)
        for column, entries in enumerate(self.band.reshape(T * n, -1)):
            rows = torch.arange(column, min(column + len(entries), T * n))
            whole[rows, column] = whole[column, rows] = entries[: len(rows)]
        whole[: T * n, T * n :] = self.border.reshape(T * n, S)
        whole[T * n :, : T * n] = self.border.reshape(T * n, S).T
        whole[T * n :, T * n :] = self.corner
        return whole, torch.cat([self.gradient.flatten(), self.shared_gradient])

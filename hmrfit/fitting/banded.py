"""Normal equations of many frames with a shared border: block-banded for the frames, arrowhead for what they share.

    [ A   B ] [ x ]     [ g ]          A (T n, T n) with blocks A_ts for |t - s| <= w, B (T n, S), C (S, S)
    [ B^T C ] [ y ] = - [ h ]          y = -(C - B^T A⁻¹ B)⁻¹ (h - B^T A⁻¹ g),    x = -A⁻¹ (g + B y)

One banded Cholesky factorisation (LAPACK's, through scipy) and a Schur complement of the border: the cost is linear in
T. `dense` is the slow obvious twin. A lies in memory once, as LAPACK wants it, and may be factorised where it lies: for
three thousand frames it is 400 MB.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded
from torch import Tensor


@dataclass(frozen=True)
class Bordered:
    """Gradient and Hessian at a point. T frames of n columns each, S shared ones."""

    band: Tensor  # (T, n, (w+1) n): entry (t, b, i) is A in column b of frame t, i rows below the diagonal
    border: Tensor  # (T, n, S)
    corner: Tensor  # (S, S)
    gradient: Tensor  # (T, n)
    shared_gradient: Tensor  # (S,)

    @classmethod
    def zeros(cls, T: int, n: int, S: int, bands: int) -> "Bordered":
        """Nothing yet; blocks A_ts for |t - s| <= bands."""
        zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float64)  # noqa: E731
        return cls(zeros(T, n, (bands + 1) * n), zeros(T, n, S), zeros(S, S), zeros(T, n), zeros(S))

    @classmethod
    def of(
        cls, blocks: Sequence[Tensor], border: Tensor, corner: Tensor, gradient: Tensor, shared_gradient: Tensor
    ) -> "Bordered":
        """From blocks, k = 0 .. w: A_(t, t+k), (T - k, n, n)."""
        band = cls.zeros(*border.shape, len(blocks) - 1).band
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

    def damped(self, damping: float, overwrite: bool = False) -> tuple["Bordered", tuple[Tensor, Tensor]]:
        """With damping times the diagonal, at least 1e-9 of its largest, added to it; and what was added.

        overwrite: in the same memory; these equations are then no more.
        """
        floor = 1e-9 * max(float(d.max()) for d in self.diagonal)
        added = tuple(damping * d.clamp_min(floor) + floor for d in self.diagonal)
        band = self.band if overwrite else self.band.clone()
        band[..., 0] += added[0]
        return replace(self, band=band, corner=self.corner + torch.diag(added[1])), added

    def step(self, overwrite: bool = False) -> tuple[Tensor, Tensor] | None:
        """x (T, n) and y (S,); None where the equations are not positive definite. overwrite: as in `damped`."""
        T, n = self.gradient.shape
        right = torch.cat([self.gradient[..., None], self.border], -1).reshape(T * n, -1)
        band = (self.band if overwrite else self.band.clone()).reshape(T * n, -1).numpy().T
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

"""Normal equations of many frames with a shared border: block-banded for the frames, arrowhead for what they share.

    [ A   B ] [ x ]     [ g ]          A (T n, T n) with blocks A_ts for |t - s| <= w, B (T n, S), C (S, S)
    [ B^T C ] [ y ] = - [ h ]          y = -(C - B^T A⁻¹ B)⁻¹ (h - B^T A⁻¹ g),    x = -A⁻¹ (g + B y)

One banded Cholesky factorisation (LAPACK's, through scipy) and a Schur complement of the border: the cost is linear in
T. `dense` is the slow obvious twin.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import LinAlgError, cho_solve_banded, cholesky_banded
from torch import Tensor


@dataclass(frozen=True)
class Bordered:
    """Gradient and Hessian at a point. T frames of n columns each, S shared ones."""

    blocks: tuple[Tensor, ...]  # k = 0 .. w: A_(t, t+k), (T - k, n, n)
    border: Tensor  # (T, n, S)
    corner: Tensor  # (S, S)
    gradient: Tensor  # (T, n)
    shared_gradient: Tensor  # (S,)

    @property
    def diagonal(self) -> tuple[Tensor, Tensor]:
        """Of A (T, n) and of C (S,)."""
        return self.blocks[0].diagonal(dim1=1, dim2=2), self.corner.diagonal()

    def damped(self, damping: float) -> tuple["Bordered", tuple[Tensor, Tensor]]:
        """With damping times the diagonal, at least 1e-9 of its largest, added to it; and what was added."""
        floor = 1e-9 * max(float(d.max()) for d in self.diagonal)
        added = tuple(damping * d.clamp_min(floor) + floor for d in self.diagonal)
        first = self.blocks[0] + torch.diag_embed(added[0])
        return replace(self, blocks=(first, *self.blocks[1:]), corner=self.corner + torch.diag(added[1])), added

    def step(self) -> tuple[Tensor, Tensor] | None:
        """x (T, n) and y (S,) of the equations above; None where they are not positive definite."""
        T, n = self.gradient.shape
        right = torch.cat([self.gradient[..., None], self.border], -1).reshape(T * n, -1)
        try:
            factor = cholesky_banded(_band(self.blocks), overwrite_ab=True, lower=True, check_finite=False)
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
        grid = whole[: T * n, : T * n].view(T, n, T, n)
        for k, block in enumerate(self.blocks):
            for t in range(T - k):
                grid[t, :, t + k] = block[t]
                grid[t + k, :, t] = block[t].T
        whole[: T * n, T * n :] = self.border.reshape(T * n, S)
        whole[T * n :, : T * n] = self.border.reshape(T * n, S).T
        whole[T * n :, T * n :] = self.corner
        return whole, torch.cat([self.gradient.flatten(), self.shared_gradient])


def _band(blocks: tuple[Tensor, ...]) -> np.ndarray:
    """LAPACK's lower band storage (rows, T n): row i - j of column j holds A_ij, for the blocks below the diagonal."""
    T, n = blocks[0].shape[:2]
    band = np.zeros((len(blocks) * n, T, n))
    a, b = np.indices((n, n))
    for k, block in enumerate(blocks):
        row, kept = k * n + a - b, k * n + a - b >= 0
        # A_(t+k, t) = A_(t, t+k)^T: its entry (a, b) lies in column (t, b)
        values = block.numpy().transpose(0, 2, 1)[:, a[kept], b[kept]]  # (T - k, entries)
        band[row[kept], : T - k, b[kept]] = values.T
    return band.reshape(len(blocks) * n, T * n)

"""Damped normal equations with a dense Hessian: of a batch in torch, and of one person in NumPy.

    (H + lambda max(diag H, floor) + floor) delta = -g,       floor = 1e-9 max diag H
    predicted fall = -g·delta - 1/2 delta·H delta = 1/2 delta·((lambda max(diag H, floor) + floor) delta - g)

The floor keeps columns that nothing depends on solvable. Both classes are a `solver.LinearSystem`; that of many frames
with a shared border is `hmrfit.fitting.banded.Bordered`.
"""

from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor

Array = NDArray[np.float64]
A = TypeVar("A", Array, Tensor)

TINY = 1e-30
"""Below it the diagonal of a Hessian counts as 0."""


def added_to_diagonal(diagonal: A, largest: A | float, damping: A | float) -> A:
    """lambda max(diag H, floor) + floor. largest: of the diagonal, at least TINY."""
    floor = 1e-9 * largest
    return damping * diagonal.clip(floor) + floor


@dataclass
class BatchedSystem:
    """B separate problems at a point; P free columns."""

    cost: Tensor  # (B,)
    gradient: Tensor  # (B, P)
    hessian: Tensor  # (B, P, P), Gauss-Newton
    spent: ClassVar[bool] = False

    @property
    def diagonal(self) -> Tensor:
        """(B, P) of the Hessian."""
        return self.hessian.diagonal(dim1=-2, dim2=-1)

    def step(self, damping: Tensor) -> tuple[Tensor, Tensor]:
        """(delta (B, P), predicted fall of the cost (B,)); where the equations have no solution, zeros and NaN."""
        diagonal = self.diagonal
        added = added_to_diagonal(diagonal, diagonal.amax(-1, keepdim=True).clamp_min(TINY), damping[:, None])
        damped = self.hessian.clone()
        damped.diagonal(dim1=-2, dim2=-1).add_(added)
        factor, info = torch.linalg.cholesky_ex(damped)
        delta = -torch.cholesky_solve(self.gradient[..., None], factor).squeeze(-1)
        solved = (info == 0) & delta.isfinite().all(-1)
        delta = torch.where(solved[:, None], delta, 0.0)
        predicted = 0.5 * (delta * (added * delta - self.gradient)).sum(-1)
        return delta, torch.where(solved, predicted, torch.nan)

    def scaled_gradient(self) -> Tensor:
        """max |g_i| / sqrt(H_ii) (B,); not finite where the gradient is not."""
        return (self.gradient.abs() / self.diagonal.clamp_min(TINY).sqrt()).amax(-1)

    def with_rows(self, rows: Tensor, source: "BatchedSystem") -> "BatchedSystem":
        """These equations, in place, with some samples' taken from others."""
        for mine, theirs in zip(self._tensors, source._tensors, strict=True):
            mine[rows] = theirs[rows]
        return self

    def select(self, rows: Tensor) -> "BatchedSystem":
        """Some of the samples."""
        return BatchedSystem(*(part[rows] for part in self._tensors))

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.cost, self.gradient, self.hessian


@dataclass
class NumpySystem:
    """One problem at a point."""

    cost: float
    gradient: Array  # (P,)
    hessian: Array  # (P, P)
    rows: list[Array] = field(default_factory=list)
    spent: ClassVar[bool] = False

    @classmethod
    def zeros(cls, columns: int) -> "NumpySystem":
        """Nothing yet."""
        return cls(0.0, np.zeros(columns), np.zeros((columns, columns)))

    def add_rows(self, residuals: Array, rows: Array, weight: float) -> None:
        """Add weight times 1/2 |r|² of residuals (M,) and their Jacobian (M, P), whose memory is used up. The Hessian
        follows when `finish` is called."""
        self.cost += weight * (0.5 * float(residuals @ residuals))
        self.gradient += weight * (residuals @ rows)
        rows *= weight**0.5
        self.rows.append(rows)

    def finish(self) -> "NumpySystem":
        """With the Hessian of the rows, all in one product."""
        if self.rows:
            rows = self.rows[0] if len(self.rows) == 1 else np.concatenate(self.rows)
            self.hessian += rows.T @ rows
            self.rows = []
        return self

    def step(self, damping: float) -> tuple[Array, float]:
        """(delta (P,), predicted fall of the cost); zeros and NaN where the equations have no solution."""
        diagonal = self.hessian.diagonal()
        added = added_to_diagonal(diagonal, max(diagonal.max(), TINY), damping)
        damped = self.hessian.copy()
        damped.ravel()[:: len(damped) + 1] += added
        # .T: the same symmetric matrix in LAPACK's order, which spares a copy
        _, delta, info = lapack.dposv(damped.T, -self.gradient, lower=1, overwrite_a=1)
        if info != 0 or not np.isfinite(delta).all():
            return np.zeros_like(self.gradient), np.nan
        return delta, 0.5 * float(delta @ (added * delta - self.gradient))

    def scaled_gradient(self) -> float:
        """max |g_i| / sqrt(H_ii); not finite where the gradient is not."""
        return float((np.abs(self.gradient) / np.sqrt(np.maximum(self.hessian.diagonal(), TINY))).max())

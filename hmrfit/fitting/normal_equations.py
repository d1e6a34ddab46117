"""The sums that the terms of the energy add to: cost, gradient and Gauss-Newton Hessian of a batch of people.

E = sum_i w_i 1/2 |r_i|²,    g = sum_i w_i J_iᵀ r_i,    H = sum_i w_i J_iᵀ J_i
"""

import torch
from torch import Tensor

from hmrfit.fitting.parameters import Layout, Linearization


class NormalEquations:
    """The sums that the terms add to. Rows are stacked and multiplied once, at the end; pose terms meet in
    theta = log R and are brought to the columns once, by T = d theta / d omega."""

    def __init__(self, e: Linearization) -> None:
        like = e.state.params.transl
        self.layout: Layout = e.layout
        self.cost = like.new_zeros(len(like))
        self.gradient = like.new_zeros(len(like), e.layout.columns)
        self.rows: list[tuple[Tensor, float]] = []
        self.diagonals: list[tuple[slice, Tensor]] = []
        self.blocks: list[tuple[slice, Tensor]] = []
        self.turned: list[tuple[slice, Tensor, Tensor, Tensor, float]] = []
        self.pose_gradient: Tensor | None = None
        self.pose_hessian: Tensor | None = None
        self.pose_diagonal: Tensor | None = None
        self.pose_factors: list[tuple[Tensor, float]] = []

    def add_rows(self, residuals: Tensor, jacobian: Tensor, weight: float) -> None:
        """Residuals (B, M) and Jacobian (B, M, P)."""
        self.cost += 0.5 * weight * residuals.square().sum(-1)
        self.gradient += weight * (residuals[:, None] @ jacobian).squeeze(1)
        self.rows.append((jacobian, weight))

    def add_diagonal(self, group: str, cost: Tensor, gradient: Tensor, curvature: Tensor, weight: float) -> None:
        """A separable cost of one group of columns: gradient and curvature (B, n)."""
        columns = self.layout.slice(group)
        self.cost += weight * cost
        if self.layout.moves(group):
            self.gradient[:, columns] += weight * gradient
            self.diagonals.append((columns, weight * curvature))

    def add_block(self, group: str, residuals: Tensor, jacobian: Tensor, weight: float) -> None:
        """Residuals (B, M) that only one group moves, and their Jacobian (B, M, n) in its columns."""
        self.cost += 0.5 * weight * residuals.square().sum(-1)
        if self.layout.moves(group):
            columns = self.layout.slice(group)
            self.gradient[:, columns] += weight * (residuals[:, None] @ jacobian).squeeze(1)
            self.blocks.append((columns, weight * (jacobian.mT @ jacobian)))

    def add_turned(
        self, cost: Tensor, gradient: Tensor, diagonal: Tensor, common: Tensor, turns: Tensor, weight: float
    ) -> None:
        """A cost of coordinates that the turning joints' columns move by 3×3 blocks, the betas' as they are. Its
        Hessian there is diag(d) − A Aᵀ, brought to the columns without a product of their full size.

        Args:
            gradient, diagonal: (B, d) in those coordinates, three for each of n joints, then the betas'.
            common: (B, d, r) A. turns: (B, n, 3, 3) T_j, the coordinates' derivative along joint j's columns.
        """
        self.cost += weight * cost
        n = turns.shape[1]
        own = slice(first := self.layout.slice("global_orient").start, first + gradient.shape[1])
        back, moved = turns.mT, torch.cat([gradient[..., None], common], -1)
        turned = (back @ moved[:, : 3 * n].unflatten(1, (n, 3))).flatten(1, 2)
        moved[:, : 3 * n] = turned
        self.gradient[:, own] += weight * moved[..., 0]
        blocks = back @ (diagonal[:, : 3 * n].unflatten(1, (n, 3, 1)) * turns)
        self.turned.append((own, blocks, diagonal[:, 3 * n :], moved[..., 1:], weight))

    def add_pose(self, cost: Tensor, gradient: Tensor, hessian: Tensor, weight: float) -> None:
        """A cost of the moving joints' theta: gradient (B, D), Hessian (B, D, D), or (B, D) when it is diagonal."""
        self.cost += weight * cost
        if not self.layout.body_joints:
            return
        self.pose_gradient = _sum(self.pose_gradient, weight * gradient)
        if hessian.ndim == 2:
            self.pose_diagonal = _sum(self.pose_diagonal, weight * hessian)
        else:
            self.pose_hessian = _sum(self.pose_hessian, weight * hessian)

    def add_pose_factor(self, cost: Tensor, gradient: Tensor, factor: Tensor, weight: float) -> None:
        """As `add_pose`, whose Hessian is F Fᵀ, F (D, D), the same for everybody."""
        self.cost += weight * cost
        if self.layout.body_joints:
            self.pose_gradient = _sum(self.pose_gradient, weight * gradient)
            self.pose_factors.append((factor, weight))

    def finish(self, e: Linearization) -> tuple[Tensor, Tensor, Tensor]:
        """(cost (B,), gradient (B, P), Gauss-Newton Hessian (B, P, P))."""
        B, P = self.gradient.shape
        stacked, weight = self._stacked()
        hessian = self.gradient.new_empty(B, P, P).baddbmm_(stacked.mT, stacked, beta=0, alpha=weight)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        for columns, curvature in self.diagonals:
            diagonal[:, columns] += curvature
        for columns, block in self.blocks:
            hessian[:, columns, columns] += block
        for columns, turns, others, common, weight in self.turned:
            hessian[:, columns, columns].baddbmm_(common, common.mT, alpha=-weight)
            _add_blocks(hessian, columns.start, weight * turns)
            diagonal[:, columns.stop - others.shape[1] : columns.stop] += weight * others
        if self.pose_gradient is not None:
            self._map_pose(e, hessian)
        return self.cost, self.gradient, hessian

    def _stacked(self) -> tuple[Tensor, float]:
        """(all rows (B, M, P), what their squares weigh): each copied at most once, with its own weight."""
        if len(self.rows) == 1:
            return self.rows[0]
        B, P = self.gradient.shape
        stacked, first = self.gradient.new_empty(B, sum(rows.shape[1] for rows, _ in self.rows), P), 0
        for rows, weight in self.rows:
            last = first + rows.shape[1]
            torch.mul(rows.detach(), weight**0.5, out=stacked[:, first:last])  # out= knows no gradients
            first = last
        return stacked, 1.0

    def _map_pose(self, e: Linearization, hessian: Tensor) -> None:
        """Add T^T g and T^T H T. H is symmetric, so mapping its rows, transposing and mapping again maps both sides; of
        H = F Fᵀ, T^T F is mapped and squared."""
        T = e.theta_jacobian  # (B, j, 3, 3)
        B, n = T.shape[:2]
        columns = self.layout.slice("body_pose")
        assert self.pose_gradient is not None
        self.gradient[:, columns] += (self.pose_gradient.unflatten(1, (n, 1, 3)) @ T).reshape(B, -1)
        for factor, weight in self.pose_factors:
            by_joint = T.permute(1, 0, 3, 2).reshape(n, 3 * B, 3) @ factor.view(n, 3, 3 * n)
            mapped = by_joint.view(n, B, 3, 3 * n).transpose(0, 1).reshape(B, 3 * n, 3 * n)
            hessian[:, columns, columns].baddbmm_(mapped, mapped.mT, alpha=weight)
        if self.pose_hessian is None:
            if self.pose_diagonal is not None:
                _add_blocks(hessian, columns.start, T.mT @ (self.pose_diagonal.unflatten(1, (n, 3, 1)) * T))
            return
        if self.pose_diagonal is not None:
            self.pose_hessian.diagonal(dim1=1, dim2=2).add_(self.pose_diagonal)
        half = (T.mT @ self.pose_hessian.view(B, n, 3, 3 * n)).view(B, 3 * n, 3 * n)
        hessian[:, columns, columns] += (T.mT @ half.mT.reshape(B, n, 3, 3 * n)).view(B, 3 * n, 3 * n)


def _add_blocks(hessian: Tensor, first: int, blocks: Tensor) -> None:
    """Blocks (B, n, 3, 3) onto the diagonal of the Hessian (B, P, P), from column `first` on."""
    one, row, column = hessian.stride()
    own = hessian[:, first:, first:].as_strided(blocks.shape, (one, 3 * (row + column), row, column))
    own += blocks


def _sum(total: Tensor | None, part: Tensor) -> Tensor:
    """total + part, where the total may not have begun."""
    return part if total is None else total.add_(part)

"""Levenberg-Marquardt for a batch of separate problems.

    minimise F(x) = 1/2 |r(x)|²:   (H + lambda diag H) delta = -g,   g = J^T r,  H = J^T J,   x <- retract(x, delta)

Every sample has its own damping lambda, its own acceptance, its own stop; finished samples leave the batch. The gain
ratio and the damping rule are Nielsen's (Damping parameter in Marquardt's method, IMM-REP-1999-05). A step whose cost
is not finite counts as rejected, so a sample that goes wrong ends at its best iterate and nobody else notices.

The solver knows no body: it sees `linearize`, `retract` and `select` of a problem.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

STATUS = {
    0: "The maximum number of steps was reached; more steps may lower the cost a little further.",
    1: "The cost fell by less than ftol of itself in an accepted step.",
    2: "The gradient vanished (scaled by the Hessian's diagonal, below gtol).",
    3: "No step lowers the cost any more, however small.",
    4: "The cost at the start is not finite; the start is returned.",
}
"""What the status codes of a solution mean."""

MAX_DAMPING = 1e12
NU_MAX = 2.0**20


@dataclass
class Linear:
    """A problem at a point: cost (B,), gradient (B, P) and Gauss-Newton Hessian (B, P, P) of the free columns."""

    cost: Tensor
    gradient: Tensor
    hessian: Tensor

    def keep(self, old: "Linear", rejected: Tensor) -> None:
        """Put the old values back where the step was rejected."""
        if len(rejected):
            for name in ("cost", "gradient", "hessian"):
                getattr(self, name)[rejected] = getattr(old, name)[rejected]

    def select(self, index: Tensor) -> "Linear":
        """Some of the samples."""
        return Linear(self.cost[index], self.gradient[index], self.hessian[index])


class Problem(Protocol):
    """What the solver asks of a problem; a point x is a `TensorRecord` of its own kind."""

    def linearize(self, x: Any, opening: bool = False) -> Linear: ...

    def retract(self, x: Any, delta: Tensor) -> Any: ...

    def select(self, index: Tensor) -> "Problem": ...


@dataclass(frozen=True)
class Options:
    """When to stop. ftol: relative fall of the cost; gtol: the largest |g_i| / sqrt(H_ii), a cost per unit step.

    opening: so many first steps lower the problem's opening energy, `linearize(x, opening=True)`, which it has to lead
    into the right valley. The last of them is taken as it is; from there on its own energy counts.
    """

    max_steps: int = 30
    ftol: float = 1e-6
    gtol: float = 1e-6
    damping: float = 1e-2
    opening: int = 0


@dataclass
class Solution:
    """The best point found for each sample."""

    x: Any
    cost: Tensor  # (B,)
    status: Tensor  # (B,) int64, see STATUS
    steps: Tensor  # (B,) int64, steps tried


def damped_step(linear: Linear, damping: Tensor) -> tuple[Tensor, Tensor]:
    """(delta (B, P), predicted fall of the cost (B,)) of the damped normal equations; NaN where they fail."""
    diagonal = linear.hessian.diagonal(dim1=-2, dim2=-1)
    floor = 1e-9 * diagonal.amax(-1, keepdim=True).clamp_min(1e-30)
    scaled = damping[:, None] * diagonal.clamp_min(floor) + floor
    damped = linear.hessian.clone()
    damped.diagonal(dim1=-2, dim2=-1).add_(scaled)
    factor, info = torch.linalg.cholesky_ex(damped)
    delta = -torch.cholesky_solve(linear.gradient[..., None], factor).squeeze(-1)
    delta = torch.where((info == 0)[:, None], delta, torch.nan)
    return delta, 0.5 * (delta * (scaled * delta - linear.gradient)).sum(-1)


def scaled_gradient(linear: Linear) -> Tensor:
    """max |g_i| / sqrt(H_ii) (B,): how much the cost would fall along one column at best, as a square root."""
    diagonal = linear.hessian.diagonal(dim1=-2, dim2=-1)
    return (linear.gradient.abs() / diagonal.clamp_min(1e-30).sqrt()).nan_to_num(0).amax(-1)


def solve(problem: Problem, x: Any, options: Options | None = None) -> Solution:
    """Minimise every sample's cost from x. Never raises for numbers; the status says how each sample ended."""
    options = options or Options()
    linear = problem.linearize(x, opening=True) if options.opening else problem.linearize(x)
    B = len(linear.cost)
    device = linear.cost.device
    none = torch.zeros(B, dtype=torch.int64, device=device)
    best = Solution(x, linear.cost.clone(), none, none.clone())
    best.status[~linear.cost.isfinite()] = 4
    parts: list[tuple[Tensor, Any]] = []
    ids = torch.arange(B, device=device)
    damping = torch.full_like(linear.cost, options.damping)
    nu = torch.full_like(linear.cost, 2.0)
    done = ~linear.cost.isfinite()
    if not options.opening:
        done |= scaled_gradient(linear) < options.gtol
    best.status[done & linear.cost.isfinite()] = 2
    for step in range(options.max_steps + 1):
        if done.any() or step == options.max_steps:
            leave = done if step < options.max_steps else torch.ones_like(done)
            parts.append((ids[leave], x[leave]))
            best.cost[ids[leave]] = linear.cost[leave]
            stay = (~leave).nonzero()[:, 0]
            if not len(stay):
                break
            x, ids, damping, nu = x[stay], ids[stay], damping[stay], nu[stay]
            problem, linear = problem.select(stay), linear.select(stay)
        if step < options.opening:
            moved = _open(problem, x, linear, damping, nu, last=step + 1 == options.opening)
        else:
            moved = _step(problem, x, linear, damping, nu, options)
        x, linear, damping, nu, status = moved
        best.steps[ids] = step + 1
        best.status[ids] = status
        done = status > 0
    order = torch.cat([i for i, _ in parts]).argsort()
    best.x = type(x).cat([part for _, part in parts])[order]
    return best


def _open(problem: Problem, x: Any, linear: Linear, damping: Tensor, nu: Tensor, last: bool) -> tuple:
    """A step of the opening; nobody is done with it. The last one arrives at the problem's own energy."""
    delta, predicted = damped_step(linear, damping)
    trial = problem.retract(x, delta.nan_to_num(0))
    new = problem.linearize(trial) if last else problem.linearize(trial, opening=True)
    accept = _finite(delta, new) & (last | (linear.cost >= new.cost)) & (predicted > 0)
    rejected = (~accept).nonzero()[:, 0]
    if len(rejected):
        trial = trial.with_rows(rejected, x)
        new.keep(problem.linearize(trial) if last else linear, rejected)
    damping = torch.where(accept, damping, damping * nu)
    return trial, new, damping, torch.where(accept, 2.0, nu * 2), torch.zeros_like(accept, dtype=torch.int64)


def _finite(delta: Tensor, new: Linear) -> Tensor:
    """(B,) is the step a step, and the cost there a number?"""
    return delta.isfinite().all(-1) & new.cost.isfinite() & new.gradient.isfinite().all(-1)


def _step(problem: Problem, x: Any, linear: Linear, damping: Tensor, nu: Tensor, options: Options) -> tuple:
    """One trial step for every sample, accepted or not: (x, linear, damping, nu, status)."""
    delta, predicted = damped_step(linear, damping)
    trial = problem.retract(x, delta.nan_to_num(0))
    new = problem.linearize(trial)
    fall = linear.cost - new.cost
    accept = (fall >= 0) & _finite(delta, new) & (predicted > 0)
    gain = (fall / predicted.clamp_min(1e-300)).clamp(-1.0, 2.0)
    shrink = (1 - (2 * gain - 1) ** 3).clamp_min(0.1)
    damping = torch.where(accept, damping * shrink, damping * nu).clamp(1e-9, MAX_DAMPING)
    status = torch.zeros_like(accept, dtype=torch.int64)
    status[(~accept) & (nu >= NU_MAX)] = 3
    status[accept & (fall <= options.ftol * new.cost) & (predicted <= options.ftol * new.cost)] = 1
    nu = torch.where(accept, 2.0, nu * 2)
    rejected = (~accept).nonzero()[:, 0]
    new.keep(linear, rejected)
    status[accept & (scaled_gradient(new) < options.gtol)] = 2
    if len(rejected):
        trial = trial.with_rows(rejected, x)
    return trial, new, damping, nu, status

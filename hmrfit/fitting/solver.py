"""Levenberg-Marquardt: one loop for a batch, for one person and for the frames of a sequence.

    minimise F(x) = 1/2 |r(x)|²:   (H + lambda diag H) delta = -g,   g = J^T r,  H = J^T J,   x <- retract(x, delta)

The loop knows neither bodies nor matrices. It sees a problem's `linearize` and `retract`, and of the equations at a
point what `LinearSystem` says: the cost, the step that a damping gives, and how steep it is. The numbers that steer it
are floats for one problem and tensors (B,) for a batch of separate problems, where every sample has a damping, an
acceptance and a stop of its own, and finished samples leave (`_One`, `_Batch`).

The gain ratio and the damping rule are Nielsen's (Damping parameter in Marquardt's method, IMM-REP-1999-05):

    gain = fall of F / predicted fall;   accepted: lambda <- lambda max(0.1, 1 - (2 gain - 1)³), nu <- 2
                                         rejected: lambda <- lambda nu, nu <- 2 nu

A step is accepted where F does not rise. A step whose cost or gradient is not finite is rejected, so a problem that
goes wrong ends at its best iterate, and in a batch the others are not affected.

A step whose predicted fall is as small as what ends the descent is its last one, nearly always. At its end only F is
computed, a fifth of the work of the equations; they are made afterwards where it was not the last.

The equations with a dense Hessian, of a batch in torch and of one problem in NumPy, are here too (those of frames with
a shared border: `hmrfit.fitting.banded`). Columns that nothing depends on are kept solvable by a floor:

    (H + lambda max(diag H, floor) + floor) delta = -g,       floor = 1e-9 max diag H
    predicted fall = -g·delta - 1/2 delta·H delta = 1/2 delta·((lambda max(diag H, floor) + floor) delta - g)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar, overload

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import lapack
from torch import Tensor

from hmrfit.types import TensorRecord

STATUS = {
    0: "The maximum number of steps was reached; more steps may lower the cost a little further.",
    1: "The cost fell by less than ftol of itself in an accepted step.",
    2: "The gradient vanished (scaled by the Hessian's diagonal, below gtol).",
    3: "No step lowers the cost any more, however small.",
    4: "The cost at the start is not finite; the start is returned.",
}
"""What the status codes of a solution mean."""

MIN_DAMPING, MAX_DAMPING = 1e-9, 1e12
NU_MAX = 2.0**20
"""After so many rejections in a row that nu has grown to this, no step lowers the cost."""

FALLING = 0.1
"""Of the fall before: falls that become smaller so fast go on like that."""

Array = NDArray[np.float64]
A = TypeVar("A", Array, Tensor)
X = TypeVar("X")
N = TypeVar("N", float, Tensor)
D = TypeVar("D")
D_co = TypeVar("D_co", covariant=True)
R = TypeVar("R", bound=TensorRecord)


class LinearSystem(Protocol[N, D_co]):
    """The normal equations at a point. The numbers N are floats, or tensors (B,) for a batch."""

    @property
    def cost(self) -> N:
        """F(x)."""

    @property
    def spent(self) -> bool:
        """Has a step used these equations up? Then only the cost is left, and after a rejection they are made anew."""

    def step(self, damping: N) -> tuple[D_co, N]:
        """(delta, predicted fall of the cost) of the damped equations; where they have no solution, no step and NaN."""

    def scaled_gradient(self) -> N:
        """max |g_i| / sqrt(H_ii): the root of how much the cost could fall along one column; NaN if g is not finite."""


class Problem(Protocol[X, N, D]):
    """What the loop asks of a problem."""

    def linearize(self, x: X, warm_up: bool = False) -> LinearSystem[N, D]:
        """The equations at x; those of the energy that stands in during the warm-up steps if `warm_up`."""

    def retract(self, x: X, delta: D) -> X:
        """x moved by delta."""

    # A problem that knows a cheaper way to F alone may have `cost_at(x, warm_up=False)` too; its equations then have
    # `with_cost(F)`, a batch's `updated` as well.


class BatchedProblem(Problem[R, Tensor, Tensor], Protocol[R]):
    """Separate problems side by side; x is a `TensorRecord` with one row each, delta (B, P)."""

    def select(self, index: Tensor) -> Self:
        """Some of the problems. Their equations have a `select` too, and `with_rows` as records have."""


@dataclass(frozen=True)
class Options:
    """When to stop. ftol: relative fall of the cost; gtol: the largest |g_i| / sqrt(H_ii), a root of cost, or 0, where
    nothing but the cost is asked for at the end of a step. Where both would end it, ftol does.

    extrapolate: stop too where the next fall would be that small, falls going on as they went.
    warm_up_steps: the first steps lower the energy of `linearize(x, warm_up=True)`, which has to lead into the right
    valley. The last of them is taken as it is; from there on the problem's own energy counts.
    rejected_damping: the least after a step that was rejected. From a damping that good steps made small, Nielsen's nu
    takes several rejections to one that bends the step.
    shorten: of one problem, try a part of a step that falls far less than predicted, where a parabola through what is
    known has its least; if even that falls by no more than what ends the descent, it ends.
    """

    max_steps: int = 30
    ftol: float = 1e-6
    gtol: float = 1e-6
    damping: float = 1e-2
    warm_up_steps: int = 0
    extrapolate: bool = False
    rejected_damping: float = 0.0
    shorten: bool = False


@dataclass(frozen=True)
class OneSolution(Generic[X]):
    """The best point found for one problem."""

    x: X
    cost: float
    status: int  # see STATUS
    steps: int  # steps tried
    before: X  # where the last step that was taken began
    fall: float  # of the cost, in all


@dataclass(frozen=True)
class Solution(TensorRecord, Generic[R]):
    """The best points found for a batch."""

    x: R
    cost: Tensor  # (B,)
    status: Tensor  # (B,) int64, see STATUS
    steps: Tensor  # (B,) int64, steps tried


@overload
def solve(problem: BatchedProblem[R], x: R, options: Options | None = None) -> Solution[R]: ...
@overload
def solve(problem: Problem[X, float, D], x: X, options: Options | None = None) -> OneSolution[X]: ...
def solve(problem: Any, x: Any, options: Options | None = None) -> Any:
    """Minimise from x. Never raises for numbers; the status says how it ended, for every sample of a batch."""
    descent = _begin(problem, x, options or Options())
    for _ in range(descent.options.max_steps):
        if not descent.goes_on():
            break
        descent.advance()
    return descent.solution()


def _begin(problem: Any, x: Any, options: Options) -> "_Descent":
    """At x; of a batch where the cost is a tensor."""
    system = problem.linearize(x, options.warm_up_steps > 0)
    return (_Batch if isinstance(system.cost, Tensor) else _One)(problem, x, system, options)


class _Descent(Generic[X, N, D]):
    """A problem on its way down: every rule of the method. `_One` and `_Batch` add what differs between floats and
    tensors."""

    where: ClassVar[Callable[..., Any]]  # (condition, first, second)
    clip: ClassVar[Callable[..., Any]]  # (value, low, high)
    isfinite: ClassVar[Callable[..., Any]]
    all: ClassVar[Callable[..., Any]]
    choose: ClassVar[Callable[..., Any]]  # (accepted, (x, system) there, (x, system) here)

    def __init__(self, problem: Any, x: X, system: LinearSystem[N, D], options: Options) -> None:
        self.problem, self.x, self.options, self.before = problem, x, options, x
        self.first: N = system.cost
        self.system: LinearSystem[N, D] = system
        self.damping: N = self.full(options.damping)
        self.nu: N = self.full(2.0)
        self.fall: N = self.full(0.0)  # of the last step that was accepted
        self.steps = 0
        flat = 0
        if options.gtol and not options.warm_up_steps:
            flat = self.where(system.scaled_gradient() < options.gtol, 2, 0)
        self.status = self.where(self.isfinite(system.cost), flat, 4)

    def full(self, value: float) -> N:
        """A number for every problem."""
        raise NotImplementedError

    def goes_on(self) -> bool:
        """Is another step to be tried?"""
        raise NotImplementedError

    def solution(self) -> Any:
        """Where it stands."""
        raise NotImplementedError

    def arrive(self, trial: X, system: Any, last: Any, warm_up: bool) -> tuple[Any, Any]:
        """(the equations at the end of a step, of which are those from before, with the new cost: of a `last` one)."""
        raise NotImplementedError

    def renew(self, old: Any) -> None:
        """Make the equations of problems that have `old` ones."""
        raise NotImplementedError

    def shortened(self, delta: D, end: tuple[X, Any], predicted: N, warm_up: bool) -> tuple[X, Any, N, bool]:
        """(where a step ends and the equations there, its predicted fall, whether a part of it was tried), of the best
        part of a step. end: where the whole one does."""
        return *end, predicted, False

    def advance(self) -> None:
        """Try a step and take it, where it is good."""
        options, x, system = self.options, self.x, self.system
        warm_up = self.steps < options.warm_up_steps
        self.steps += 1
        arriving = self.steps == options.warm_up_steps  # at the problem's own energy
        if system.spent:
            system = self.problem.linearize(x, warm_up)
        delta, predicted = system.step(self.damping)
        trial = self.problem.retract(x, delta)
        ends = self.steps == options.max_steps and not options.gtol
        last = predicted <= (math.inf if ends else 0.0 if warm_up else options.ftol * system.cost)
        new, old = self.arrive(trial, system, last, warm_up and not arriving)
        searched = False
        if options.shorten and not arriving:
            trial, new, predicted, searched = self.shortened(delta, (trial, new), predicted, warm_up)
        fall, slope = system.cost - new.cost, new.scaled_gradient() if options.gtol else new.cost
        accepted = (self.isfinite(fall) if arriving else fall >= 0) & (predicted > 0) & self.isfinite(slope)
        gain = self.clip(fall / self.clip(predicted, 1e-300, math.inf), -1.0, 2.0)
        shrink = 1.0 if warm_up else self.clip(1 - (2 * gain - 1) ** 3, 0.1, math.inf)
        more = self.clip(self.damping * self.nu, options.rejected_damping, math.inf)
        self.damping = self.clip(self.where(accepted, self.damping * shrink, more), MIN_DAMPING, MAX_DAMPING)
        if not warm_up:
            enough = options.ftol * new.cost
            small = (fall <= enough) & ((predicted <= enough) | searched)
            if options.extrapolate:
                small = small | ((fall * fall <= enough * self.fall) & (fall <= FALLING * self.fall))
                self.fall = self.where(accepted, fall, self.fall)
            flat = self.where(slope < options.gtol, 2, 0)
            status = self.where(small, 1, flat)
            self.status = self.where(accepted, status, self.where(self.nu >= NU_MAX, 3, 0))
        self.nu = self.where(accepted, 2.0, self.nu * 2)
        if arriving and not self.all(accepted):
            system = self.problem.linearize(x)
        self.x, self.system = self.choose(accepted, (trial, new), (x, system))
        self.before = x if self.x is trial else self.before
        if self.steps < options.max_steps:
            self.renew(old & accepted & (self.status == 0))


class _One(_Descent[X, float, D]):
    """One problem: the numbers are floats."""

    isfinite, all = staticmethod(math.isfinite), bool

    def full(self, value: float) -> float:
        return value

    @staticmethod
    def where(condition: bool, first: Any, second: Any) -> Any:
        """One of the two."""
        return first if condition else second

    choose = where

    @staticmethod
    def clip(value: float, low: float, high: float) -> float:
        """The value between its bounds; NaN stays."""
        return min(max(value, low), high)

    def goes_on(self) -> bool:
        return self.status == 0

    def arrive(self, trial: X, system: Any, last: bool, warm_up: bool) -> tuple[Any, bool]:
        if not last or not hasattr(self.problem, "cost_at"):
            return self.problem.linearize(trial, warm_up), False
        return system.with_cost(self.problem.cost_at(trial, warm_up)), True

    def renew(self, old: bool) -> None:
        if old:
            self.system = self.problem.linearize(self.x)

    def shortened(self, delta: D, end: tuple[X, Any], predicted: float, warm_up: bool) -> tuple[X, Any, float, bool]:
        gain = (self.system.cost - end[1].cost) / predicted if predicted > 0 else 1.0
        if not gain < POOR_GAIN:
            return *end, predicted, False
        share = self.clip(1 / (2 - gain), 0.1, 1.0)  # E(s) = E - 2 p s + (2 p - fall) s²
        parts: Any = delta
        part = tuple(share * p for p in parts) if isinstance(delta, tuple) else share * parts
        trial = self.problem.retract(self.x, part)
        new = self.problem.linearize(trial, warm_up)
        if not new.cost < end[1].cost:
            return *end, predicted, True
        return trial, new, (2 - share) * share * predicted, True

    def solution(self) -> OneSolution[X]:
        return OneSolution(
            self.x, self.system.cost, self.status, self.steps, self.before, self.first - self.system.cost
        )


class _Batch(_Descent[R, Tensor, Tensor]):
    """Separate problems side by side: the numbers are tensors (B,)."""

    system: Any  # with `select` and `with_rows`

    where, clip = staticmethod(torch.where), staticmethod(torch.clamp)
    isfinite, all = staticmethod(torch.isfinite), staticmethod(torch.all)

    def __init__(
        self, problem: BatchedProblem[R], x: R, system: LinearSystem[Tensor, Tensor], options: Options
    ) -> None:
        super().__init__(problem, x, system, options)
        self.rows = torch.arange(len(self.status), device=self.status.device)  # in the batch that was given
        self.left: list[tuple[Tensor, Solution[R]]] = []

    def full(self, value: float) -> Tensor:
        return torch.full_like(self.system.cost, value)

    @staticmethod
    def choose(accepted: Tensor, new: tuple[Any, Any], old: tuple[Any, Any]) -> tuple[Any, Any]:
        """What belongs to the new points where the step was accepted, to the old ones elsewhere."""
        rejected = (~accepted).nonzero()[:, 0]
        if not len(rejected):
            return new
        return new[0].with_rows(rejected, old[0]), new[1].with_rows(rejected, old[1])

    def goes_on(self) -> bool:
        """Finished samples leave; is another step to be tried for the others?"""
        done = self.status > 0
        if done.any():
            self._leave(done.nonzero()[:, 0])
            self._select((~done).nonzero()[:, 0])
        return len(self.rows) > 0

    def arrive(self, trial: R, system: Any, last: Tensor, warm_up: bool) -> tuple[Any, Tensor]:
        there, going = (which.nonzero()[:, 0] for which in (last, ~last))
        few = len(there) < min(FEW_LAST, len(last))
        if few or not hasattr(self.problem, "cost_at"):
            return self.problem.linearize(trial, warm_up), torch.zeros_like(last)
        if not len(going):
            return system.with_cost(self.problem.cost_at(trial, warm_up)), last
        cost = self.problem.select(there).cost_at(trial[there], warm_up)
        equations = self.problem.select(going).linearize(trial[going], warm_up)
        return system.with_cost(system.cost.index_copy(0, there, cost)).updated(going, equations), last

    def renew(self, old: Tensor) -> None:
        rows = old.nonzero()[:, 0]
        if len(rows):
            self.system = self.system.updated(rows, self.problem.select(rows).linearize(self.x[rows]))

    def _leave(self, rows: Tensor) -> None:
        """Put the solutions of some samples aside."""
        status = self.status[rows]
        ended = Solution(self.x[rows], self.system.cost[rows], status, torch.full_like(status, self.steps))
        self.left.append((self.rows[rows], ended))

    def _select(self, rows: Tensor) -> None:
        """Go on with some samples only."""
        self.rows, self.x, self.status = self.rows[rows], self.x[rows], self.status[rows]
        self.damping, self.nu, self.fall = self.damping[rows], self.nu[rows], self.fall[rows]
        self.problem, self.system = self.problem.select(rows), self.system.select(rows)

    def solution(self) -> Solution[R]:
        """Where all of them ended, in the order of the batch that was given."""
        self._leave(torch.arange(len(self.rows), device=self.rows.device))
        rows, ended = zip(*self.left, strict=True)
        return Solution.cat(ended)[torch.cat(rows).argsort()]


POOR_GAIN = 0.25
"""Of the predicted fall: steps that fall by less are shortened, where that is asked for."""

FEW_LAST = 16
"""Fewer problems of a batch that take their last step are not worth a computation of their own."""

TINY = 1e-30
"""Below it the diagonal of a Hessian counts as 0."""


def added_to_diagonal(diagonal: A, largest: A | float, damping: A | float) -> A:
    """lambda max(diag H, floor) + floor. largest: of the diagonal, at least TINY."""
    floor = 1e-9 * largest
    return damping * diagonal.clip(floor) + floor


@dataclass
class BatchedSystem:
    """The equations of B separate problems with a dense Hessian each; P free columns."""

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
        undamped = diagonal.clone()
        diagonal.add_(added)  # for as long as the factors take: a copy of all equations takes longer than they do
        factor, info = torch.linalg.cholesky_ex(self.hessian)
        diagonal.copy_(undamped)
        # two substitutions: for one right-hand side cholesky_solve takes twice as long
        half = torch.linalg.solve_triangular(factor, -self.gradient[..., None], upper=False)
        delta = torch.linalg.solve_triangular(factor.mT, half, upper=True).squeeze(-1)
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

    def updated(self, rows: Tensor, new: "BatchedSystem") -> "BatchedSystem":
        """A copy with new equations of some samples."""
        both = zip(self._tensors, new._tensors, strict=True)
        return BatchedSystem(*(mine.index_copy(0, rows, theirs) for mine, theirs in both))

    def with_cost(self, cost: Tensor) -> "BatchedSystem":
        """These equations with another cost, (B,)."""
        return replace(self, cost=cost)

    def select(self, rows: Tensor) -> "BatchedSystem":
        """Some of the samples."""
        return BatchedSystem(*(part[rows] for part in self._tensors))

    @property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.cost, self.gradient, self.hessian


@dataclass
class NumpySystem:
    """The equations of one problem with a dense Hessian, in NumPy."""

    cost: float
    gradient: Array  # (P,)
    hessian: Array  # (P, P)
    spent: ClassVar[bool] = False

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

    def with_cost(self, cost: float) -> "NumpySystem":
        """These equations with another cost."""
        return replace(self, cost=cost)

"""Levenberg-Marquardt for one person, in NumPy: the plain loop that `hmrfit.fitting.solver` runs for a batch.

    (H + lambda diag H) delta = -g,   x <- retract(x, delta)

The same damping, acceptance and stops, so the same steps; the batch's bookkeeping and torch's call for each small
operation are what is spared.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from hmrfit.fitting.solver import MAX_DAMPING, NU_MAX, Options

Array = NDArray[np.float64]


@dataclass
class OneLinear:
    """A person's problem at a point: cost, gradient (P,) and Gauss-Newton Hessian (P, P)."""

    cost: float
    gradient: Array
    hessian: Array


class OneProblem(Protocol):
    """What the loop asks of a problem."""

    def linearize(self, x: Any, opening: bool = False) -> OneLinear: ...

    def retract(self, x: Any, delta: Array) -> Any: ...


def damped_step(linear: OneLinear, damping: float) -> tuple[Array | None, float]:
    """(delta (P,), predicted fall of the cost), None where the equations have no solution."""
    diagonal = linear.hessian.diagonal()
    floor = 1e-9 * max(diagonal.max(), 1e-30)
    scaled = damping * np.maximum(diagonal, floor) + floor
    damped = linear.hessian.copy()
    damped.ravel()[:: len(damped) + 1] += scaled
    # .T: the same symmetric matrix in LAPACK's order, which spares a copy
    _, delta, info = lapack.dposv(damped.T, -linear.gradient, lower=1, overwrite_a=1)
    if info != 0 or not np.isfinite(delta).all():
        return None, np.nan
    return delta, 0.5 * float(delta @ (scaled * delta - linear.gradient))


def scaled_gradient(linear: OneLinear) -> float:
    """max |g_i| / sqrt(H_ii)."""
    return float(np.nan_to_num(np.abs(linear.gradient) / np.sqrt(np.maximum(linear.hessian.diagonal(), 1e-30))).max())


def solve_one(problem: OneProblem, x: Any, options: Options) -> tuple[Any, float, int, int]:
    """Minimise from x: (best point, its cost, status (see `solver.STATUS`), steps tried). Never raises for numbers."""
    linear = problem.linearize(x, options.opening > 0)
    if not np.isfinite(linear.cost):
        return x, linear.cost, 4, 0
    if not options.opening and scaled_gradient(linear) < options.gtol:
        return x, linear.cost, 2, 0
    damping, nu = options.damping, 2.0
    for step in range(options.max_steps):
        opening, last = step < options.opening, step + 1 == options.opening
        delta, predicted = damped_step(linear, damping)
        trial, new, fall = x, linear, np.nan
        if delta is not None and predicted > 0:
            trial = problem.retract(x, delta)
            new = problem.linearize(trial, opening and not last)
            fall = linear.cost - new.cost
        accept = np.isfinite(fall) and (fall >= 0 or last) and bool(np.isfinite(new.gradient).all())
        if accept:
            x, linear = trial, new
        elif last:
            linear = problem.linearize(x)
        if opening:
            damping, nu = (damping, 2.0) if accept else (damping * nu, nu * 2)
            continue
        if not accept:
            if nu >= NU_MAX:
                return x, linear.cost, 3, step + 1
            damping, nu = min(damping * nu, MAX_DAMPING), nu * 2
            continue
        if scaled_gradient(linear) < options.gtol:
            return x, linear.cost, 2, step + 1
        if max(fall, predicted) <= options.ftol * linear.cost:
            return x, linear.cost, 1, step + 1
        gain = min(max(fall / max(predicted, 1e-300), -1.0), 2.0)
        damping, nu = min(max(damping * max(1 - (2 * gain - 1) ** 3, 0.1), 1e-9), MAX_DAMPING), 2.0
    return x, linear.cost, 0, options.max_steps

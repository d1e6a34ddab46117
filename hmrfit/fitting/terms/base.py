"""The terms of the energy: each a function from a posed body to residuals, its cost half their sum of squares.

    E = sum_i  weight_i · 1/2 |r_i|²

A term is anything with a `name` and `residuals(e: Linearization) -> (B, M)`. Its Jacobian comes from `jacobian(e)` if
it has one, else from forward-mode autodiff. Any Python function (state, output, observation) -> (B, M) becomes a term
with `FunctionTerm(fn)`, or by just being put into `Fitter(terms=[fn])`; its name is the function's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.types import BodyOutput

ResidualFunction = Callable[[State, BodyOutput, Observation], Tensor]


class Term:
    """A term of the energy. Subclasses give `residuals`, and `jacobian` or `add` where they can do better."""

    name: str = "term"
    points_only: bool = False
    """True for a term that needs only those joints whose rotation moves a keypoint: the fit may then leave the others
    out and let the pose prior fill them in."""

    def prepare(self, observation: Observation, layout: Layout) -> Observation:
        """What does not change during a stage, put beside the observation once."""
        return observation

    def fill(self, state: State, observation: Observation, layout: Layout) -> State:
        """The state with the joints that the stage left out where this term would have them; most terms cannot say."""
        return state

    def residuals(self, e: Linearization) -> Tensor:
        """(B, M)."""
        raise NotImplementedError(f"{type(self).__name__} must define residuals(e) -> (B, M).")

    def cost(self, e: Linearization) -> Tensor:
        """(B,) half the residuals' sum of squares."""
        return 0.5 * self.residuals(e).square().sum(-1)

    def jacobian(self, e: Linearization) -> Tensor:
        """(B, M, P), by forward-mode autodiff: one step shared by the whole batch keeps the cost at P passes."""

        def moved(delta: Tensor) -> Tensor:
            state = e.state.retract(delta, e.body.parents, e.layout)
            return self.residuals(Linearization(e.body, state, e.observation, e.layout))

        return torch.func.jacfwd(moved)(e.state.params.transl.new_zeros(e.layout.columns))

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Add cost, gradient and Hessian to the sums."""
        sums.add_rows(self.residuals(e), self.jacobian(e), weight)


class FunctionTerm(Term):
    """A plain Python function as a term."""

    def __init__(self, function: ResidualFunction, name: str | None = None) -> None:
        self.function, self.name = function, name or getattr(function, "__name__", type(function).__name__)

    def residuals(self, e: Linearization) -> Tensor:
        return self.function(e.state, e.output, e.observation)


class PointTerm(Term):
    """A term that looks at named points of its own, and their derivatives."""

    points: PointBody

    def posed(self, e: Linearization) -> PosedPoints:
        """Its points in the camera frame."""
        return self.points.pose(e.state.params, e.state.world)

    def rows(self, e: Linearization, posed: PosedPoints, covectors: Tensor) -> Tensor:
        """Covectors (B, K, R, 3) on its points -> (B, K, R, P)."""
        wanted = [e.layout.moves(group) for group in ("transl", "betas")]
        return self.points.rows(posed, covectors, e.layout.turning, *wanted)


def part_of(e: Linearization, name: str, argument: str) -> Any:
    """The part of the evidence that a term needs, or a letter."""
    part = None if e.observation.evidence is None else getattr(e.observation.evidence, name)
    if part is None:
        raise ValueError(f"This term needs {argument}: give it to fit(), or Evidence({name}=...) to a Fitter.")
    return part


def as_term(term: Term | ResidualFunction) -> Term:
    """Terms stay, functions are wrapped."""
    return term if isinstance(term, Term) else FunctionTerm(term)


def terms_by_name(terms: Sequence[Term | ResidualFunction]) -> dict[str, Term]:
    """name -> term; two terms of one name are refused."""
    found: dict[str, Term] = {}
    for term in map(as_term, terms):
        if term.name in found:
            raise ValueError(f"Two terms are named '{term.name}'. Give one of them another name.")
        found[term.name] = term
    return found

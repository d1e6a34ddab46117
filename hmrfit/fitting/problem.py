"""A stage of the fit as a problem for the solver: which groups move, which terms count, and how much."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.solver import Linear, Options
from hmrfit.fitting.state import GROUPS, Evaluation, Layout, Observation, State
from hmrfit.fitting.terms import NormalEquations, Term
from hmrfit.ops.check import did_you_mean


@dataclass(frozen=True)
class Stage:
    """One stage: the free groups, the weight of each term by name, and when to stop."""

    weights: Mapping[str, float]
    free: tuple[str, ...] = GROUPS
    options: Options = field(default_factory=Options)


class StageProblem:
    """Implements the solver's `Problem` for states."""

    def __init__(self, body: PointBody, observation: Observation, terms: Mapping[str, Term], stage: Stage) -> None:
        self.body, self.observation, self.stage = body, observation, stage
        for name in stage.weights:
            if name not in terms:
                raise ValueError(f"Unknown term '{name}' in a stage.{did_you_mean(name, terms)}")
        self.terms = terms
        layout = Layout(len(body.parents), body.joint_shapes.shape[-1])
        self.columns = layout.columns
        self.free = layout.free_columns(stage.free)

    def linearize(self, state: State) -> Linear:
        """Cost, gradient and Hessian of the free columns."""
        e = Evaluation(self.body, state, self.observation)
        sums = NormalEquations(e)
        for name, weight in self.stage.weights.items():
            if weight:
                self.terms[name].add(e, sums, weight)
        cost, gradient, hessian = sums.finish(e)
        if len(self.free) < self.columns:
            gradient, hessian = gradient[:, self.free], hessian[:, self.free][:, :, self.free]
        return Linear(cost, gradient, hessian)

    def term_costs(self, state: State) -> dict[str, Tensor]:
        """name -> weighted cost (B,) of every term of the stage."""
        e = Evaluation(self.body, state, self.observation)
        return {
            name: 0.5 * weight * self.terms[name].residuals(e).square().sum(-1)
            for name, weight in self.stage.weights.items()
        }

    def retract(self, state: State, delta: Tensor) -> State:
        """Move the free columns."""
        if len(self.free) < self.columns:
            full = delta.new_zeros(len(delta), self.columns)
            full[:, self.free] = delta
            delta = full
        return state.retract(delta, self.body.parents)

    def select(self, index: Tensor) -> "StageProblem":
        """The problem of some of the people."""
        other = object.__new__(StageProblem)
        other.__dict__ = self.__dict__ | {"observation": self.observation[index]}
        return other

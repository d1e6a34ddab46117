"""A stage of the fit as a problem for the solver: which groups move, which terms count, and how much."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain

import torch
from torch import Tensor

from hmrfit.body.mirrored import side_of
from hmrfit.body.points import PointBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyProblem, NumpyTerm, TorchTerm, as_state, fits_here
from hmrfit.fitting.parameters import GROUPS, Layout, Linearization, Observation, State, layout_of
from hmrfit.fitting.people_last import PeopleLast
from hmrfit.fitting.reverse_mode import ReverseTerm
from hmrfit.fitting.solver import BatchedSystem, Options, Solution, solve
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.check import did_you_mean

FEW = 7
"""Up to this many people, NumPy with one after the other is quicker than torch with all side by side: of two people it
takes 0.41 of the time, of four 0.64, of six 0.83, of eight as long, of twelve 1.4 times as long."""

FEW_HANDS = 5
"""The same of hands: of two 0.63 of the time, of four 0.83, of five 0.92, of six 1.03, of seven 1.11."""

MANY = 24
"""People from which on they are last in memory: of 48 that takes 0.63 of the time, of 24 0.82, of 16 0.9."""


@dataclass(frozen=True)
class Stage:
    """One stage: the free groups, the weight of each term by name, and when to stop.

    warm_up: terms that others stand in for during the first `options.warm_up_steps` steps, with their weights.
    keep: how many hypotheses of a person are left after the stage, the cheapest; by these terms alone where `rank_by`
    names some. branch: more hypotheses to go on with, made from those of the stage: (whose each is, their states).
    """

    weights: Mapping[str, float]
    free: tuple[str, ...] = GROUPS
    options: Options = field(default_factory=Options)
    warm_up: Mapping[str, str] = field(default_factory=dict)
    keep: int = 1
    rank_by: tuple[str, ...] = ()
    branch: Callable[[State, Observation], tuple[Tensor, State]] | None = None

    def __post_init__(self) -> None:
        if self.keep < 1:
            raise ValueError(f"A stage keeps at least one hypothesis of a person, not {self.keep}.")
        for name in self.rank_by:
            if name not in self.weights:
                near = did_you_mean(name, self.weights)
                raise ValueError(f"rank_by names '{name}', which is no term of the stage.{near}")

    def warm_up_weights(self) -> Mapping[str, float]:
        """name -> weight of the terms that count during the warm-up steps."""
        return {self.warm_up.get(name, name): weight for name, weight in self.weights.items()}


class StageProblem:
    """Implements the solver's `Problem` for states."""

    def __init__(self, body: PointBody, observation: Observation, terms: Mapping[str, Term], stage: Stage) -> None:
        self.body, self.stage = body, stage
        self.few = FEW if side_of(body.skeleton) is None else FEW_HANDS
        for name in (*stage.weights, *stage.warm_up_weights()):
            if name not in terms:
                raise ValueError(f"Unknown term '{name}' in a stage.{did_you_mean(name, terms)}")
        self.terms = terms
        few = all(terms[name].points_only for name, weight in stage.weights.items() if weight)
        joints = tuple(j for j in body.seen_joints if j > 0) if few else body.driven_joints
        shapes = body.joint_shapes
        self.layout = layout_of(tuple(stage.free), len(body.parents), shapes.shape[-1], joints, shapes.device)
        self.observation = observed(observation, terms, stage)
        for name, weight in stage.weights.items():
            if weight:
                self.observation = terms[name].prepare(self.observation, self.layout)

    def solve(self, state: State, options: Options | None = None) -> Solution[State]:
        """The stage solved from `state`; a few people one by one in NumPy, where the stage's terms allow that.
        Without people, no term is evaluated."""
        count = len(state)
        if not count:
            nothing = state.params.transl.new_zeros(0)
            return Solution(state, nothing, nothing.long(), nothing.long())
        options = options or self.stage.options
        alone = self.one_by_one(state) if count <= self.few else None
        if alone is None:
            return solve(self, state, options)
        found = [solve(problem, problem.start, options) for problem in alone]
        cost = torch.tensor([one.cost for one in found], dtype=torch.float64)
        status, steps = (torch.tensor([getattr(one, name) for one in found]) for name in ("status", "steps"))
        return Solution(as_state([one.x for one in found], state.camera), cost, status, steps)

    def one_by_one(self, state: State) -> list[NumpyProblem] | None:
        """Each person as a problem in NumPy; None where that cannot be, and for several people if a term has no NumPy
        form: in torch they are then quicker side by side."""
        if not fits_here(state, self.layout):
            return None
        stages = [[(n, w) for n, w in of.items() if w] for of in (self.stage.weights, self.stage.warm_up_weights())]
        problems, count = [], len(state)
        for i in range(count):
            terms: dict[str, NumpyTerm] = {}
            for name, _ in chain(*stages):
                if name in terms:
                    continue
                form = numpy_term(self.terms[name], self.observation, i, self.layout)
                if form is None and count > 1:
                    return None
                terms[name] = TorchTerm(self.terms[name]) if form is None else form
            weighted = [[(terms[name], weight) for name, weight in stage] for stage in stages]
            problems.append(NumpyProblem(self.body, self.layout, (state, self.observation, i), *weighted))
        return problems

    def linearize(self, state: State, warm_up: bool = False) -> BatchedSystem:
        """Cost, gradient and Hessian of the free columns."""
        if (many := self._people_last(state, warm_up)) is not None:
            return many.linearize(state, self.observation)
        e = Linearization(self.body, state, self.observation, self.layout)
        sums = NormalEquations(e)
        for name, weight in (self.stage.warm_up_weights() if warm_up else self.stage.weights).items():
            if weight:
                self.terms[name].add(e, sums, weight)
        return BatchedSystem(*sums.finish(e))

    def cost_at(self, state: State, warm_up: bool = False) -> Tensor:
        """(B,) the cost alone: the least over the joints that the stage leaves out, as in `linearize`."""
        if (many := self._people_last(state, warm_up)) is not None:
            return many.cost(state, self.observation)
        e = Linearization(self.body, state, self.observation, self.layout)
        weights = self.stage.warm_up_weights() if warm_up else self.stage.weights
        return total({name: weight * self.terms[name].cost(e) for name, weight in weights.items() if weight})

    def _people_last(self, state: State, warm_up: bool) -> PeopleLast | None:
        """What takes half of the time for many people, where it knows all terms and nothing has a gradient."""
        params = state.params
        if len(state) < MANY or any(part.requires_grad for part in (params.transl, params.body_pose, params.betas)):
            return None
        weights = self.stage.warm_up_weights() if warm_up else self.stage.weights
        found = PeopleLast.of(self.body, self.layout, self.terms, weights)
        return None if found is None or found.others else found

    def fill(self, state: State) -> State:
        """The joints that the stage left out, at their likeliest values given the others, by the first of its terms
        that can say: the anchor or the pose prior."""
        if len(self.layout.body_joints) in (0, len(self.body.driven) - 1):
            return state
        for name, weight in self.stage.weights.items():
            if weight and (filled := self.terms[name].fill(state, self.observation, self.layout)) is not state:
                return filled
        return state

    def term_costs(self, state: State) -> dict[str, Tensor]:
        """name -> weighted cost (B,) of every term of the stage; of few people in NumPy, where all terms allow that."""
        alone = self._in_numpy(state) if 0 < len(state) <= self.few else None
        if alone is None:
            return term_costs(Linearization(self.body, state, self.observation), self.terms, self.stage)
        each = torch.tensor([problem.term_costs(problem.start) for problem in alone], dtype=torch.float64)
        return dict(zip(self.stage.weights, each.unbind(1), strict=True))

    def _in_numpy(self, state: State) -> list[NumpyProblem] | None:
        """Each person with the stage's terms in NumPy; None where one of them has no form of its own there, or where
        joints do not move: priors would speak of their likeliest values instead of what they are."""
        every = self.body.driven_joints or range(1, len(self.body.parents))
        if self.layout.body_joints != tuple(j for j in every if j) or not fits_here(state, self.layout):
            return None
        problems = []
        for i in range(len(state)):
            terms: list[tuple[NumpyTerm, float]] = []
            for name, weight in self.stage.weights.items():
                term = self.terms[name]
                form = term.numpy_form(self.observation, i, self.layout) if term.has_numpy_form else None
                if form is None:
                    return None
                terms.append((form, weight))
            problems.append(NumpyProblem(self.body, self.layout, (state, self.observation, i), terms, ()))
        return problems

    def retract(self, state: State, delta: Tensor) -> State:
        """Move the free columns."""
        return state.retract(delta, self.body.parents, self.layout)

    def with_stage(self, stage: Stage) -> "StageProblem":
        """The same people and columns with some of the stage's terms."""
        other = object.__new__(StageProblem)
        other.__dict__ = self.__dict__ | {"stage": stage}
        return other

    def select(self, index: Tensor | slice) -> "StageProblem":
        """The problem of some of the people."""
        other = object.__new__(StageProblem)
        other.__dict__ = self.__dict__ | {"observation": self.observation[index]}
        return other


def numpy_term(term: Term, observation: Observation, row: int, layout: Layout) -> NumpyTerm | None:
    """The term of one person in NumPy: its own form, or its residuals derived in reverse mode. None where it has only
    derivatives of its own in torch."""
    if term.has_numpy_form and (form := term.numpy_form(observation, row, layout)) is not None:
        return form
    automatic = type(term).jacobian is Term.jacobian and type(term).add is Term.add
    return ReverseTerm(term) if automatic else None


def observed(observation: Observation, terms: Mapping[str, Term], stage: Stage) -> Observation:
    """The observation as the terms of a stage see it, each beside the others (`Term.beside`)."""
    for name, weight in stage.weights.items():
        if weight:
            observation = terms[name].beside(observation)
    return observation


def term_costs(e: Linearization, terms: Mapping[str, Term], stage: Stage) -> dict[str, Tensor]:
    """name -> weighted cost (B,) of every term of a stage."""
    return {name: weight * terms[name].cost(e) for name, weight in stage.weights.items()}


def total(costs: Mapping[str, Tensor]) -> Tensor:
    """The sum (B,) of the costs by name."""
    first, *others = costs.values()
    return sum(others, start=first)

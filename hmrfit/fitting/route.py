"""The one route through the fit: hypotheses from a start, stage after stage, the best of every person's kept.

    start  ->  stage 1  ->  the best few  ->  stage 2  ->  ...  ->  the best  ->  after 1  ->  after 2  ->  ...

All hypotheses of all people run side by side in one batch of the solver. Which start, which stages and what comes after
is a `Schedule`; the default fit, SMPLify's, SPIN's and a user's are data for this route.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.energy import Stage, StageProblem, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.terms.base import Term


@dataclass(frozen=True)
class Begun:
    """Where a route begins: R hypotheses of B people."""

    state: State  # (R,)
    observation: Observation  # (B,)
    person: Tensor  # (R,) whose each hypothesis is, ascending
    single: bool = True  # whether everybody has one start, which the fit can be compared with

    @classmethod
    def at(cls, state: State, observation: Observation) -> "Begun":
        """One start for each person."""
        return cls(state, observation, torch.arange(len(state), device=observation.box_size.device))


@dataclass(frozen=True)
class Route:
    """What the steps of a fit share: the body seen through the keypoint set, and the terms by name."""

    body: PointBody
    terms: Mapping[str, Term]

    def run(self, begun: Begun, stages: Sequence[Stage]) -> Fit:
        """The stages from where the route begins."""
        state, person, observation = begun.state, begun.person, begun.observation
        B, steps = len(observation.box_size), torch.zeros_like(person)
        for stage in stages:
            problem = self._of(observation, person, stage)
            solution = problem.solve(state)
            state, cost, status = problem.fill(solution.x), solution.cost, solution.status
            steps = steps + solution.steps
            if stage.branch is not None:
                whose, more = stage.branch(state, observation)
                state, person = State.cat([state, more]), torch.cat([person, whose])
                cost, status, steps = (torch.cat([t, t[whose]]) for t in (cost, status, steps))
                problem = self._of(observation, person, stage)
                if len(whose) and int(person.bincount().max()) > stage.keep:  # each is judged by its own cost
                    cost = total(problem.term_costs(state))
            if len(person) > B:
                parts = problem.term_costs(state) if stage.rank_by else {}
                merit = total({name: parts[name] for name in stage.rank_by}) if parts else cost
                rows = best_of(merit, person, stage.keep)
                problem, state, person = problem.select(rows), state[rows], person[rows]
                status, steps = status[rows], steps[rows]
        return self._assembled(begun, problem, state, person, status, steps)

    def problem(self, observation: Observation, stage: Stage) -> StageProblem:
        """A stage for the solver."""
        return StageProblem(self.body, observation, self.terms, stage)

    def term_costs(self, state: State, observation: Observation, stage: Stage) -> dict[str, Tensor]:
        """name -> weighted cost (B,) of every term of a stage, to the bit as the stage itself computes them."""
        return self.problem(observation, stage).term_costs(state)

    def _of(self, observation: Observation, person: Tensor, stage: Stage) -> StageProblem:
        """The stage for every hypothesis."""
        return self.problem(observation if len(person) == len(observation.box_size) else observation[person], stage)

    def _assembled(
        self, begun: Begun, problem: StageProblem, state: State, person: Tensor, status: Tensor, steps: Tensor
    ) -> Fit:
        """The outcome, every person's hypotheses by rising cost. The costs are taken once more with the joints filled
        in, which the solver's own costs have at their start."""
        B = len(begun.observation.box_size)
        term_cost = problem.term_costs(state)
        cost = total(term_cost)
        if len(person) == B:
            table = person[:, None]
        else:
            rows = best_of(cost, person, len(person))
            table = _table(rows, person[rows], B)
        first, there = table[:, 0], table >= 0
        filled = torch.where(there, table, first[:, None])
        return Fit(
            state=state[first],
            cost=cost[first],
            term_cost={name: value[first] for name, value in term_cost.items()},
            status=status[first],
            steps=steps[first],
            hypotheses=[state[column] for column in filled.T],
            hypothesis_cost=torch.where(there, cost[filled], torch.inf),
            observation=begun.observation,
            stage=problem.stage,
            start=begun.state if begun.single else None,
        )


def best_of(cost: Tensor, person: Tensor, keep: int) -> Tensor:
    """Rows of the `keep` cheapest hypotheses of every person, person by person, the cheapest first; NaN comes last."""
    order = cost.nan_to_num(torch.inf).argsort(stable=True)
    order = order[person[order].argsort(stable=True)]
    return order[_place(person[order]) < keep]


def _place(person: Tensor) -> Tensor:
    """Which of its person's rows each row is, from 0. person: (R,) ascending."""
    first = torch.searchsorted(person, person)
    return torch.arange(len(person), device=person.device) - first


def _table(rows: Tensor, person: Tensor, people: int) -> Tensor:
    """(B, H) the rows of every person, -1 where there is none. person: (R,) ascending, whose the rows are."""
    place = _place(person)
    table = rows.new_full((people, int(place.max()) + 1 if len(place) else 1), -1)
    table[person, place] = rows
    return table

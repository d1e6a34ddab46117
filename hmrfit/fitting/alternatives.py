"""Other answers that the energy finds nearly as good: the flips of an answer, fitted, those that are the same once.

    the fit  ->  its flips  ->  those within `window` nats of it  ->  a few steps  ->  those that went elsewhere and
    cost at most `LATE` nats more  ->  to the end  ->  the cheapest of all is the answer

A flip that slides back into the answer's own valley, as most do, is dropped after the few steps.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.hypotheses import flips
from hmrfit.fitting.outcome import Fit
from hmrfit.fitting.problem import Stage, StageProblem, term_costs
from hmrfit.fitting.solver import Solution, solve
from hmrfit.fitting.state import Evaluation, State
from hmrfit.fitting.terms import Term
from hmrfit.types import BodyParams

FEW_STEPS = 3
LATE = 4.0
"""Nats. What still costs so much more after a few steps ends with a probability of less than two in a hundred."""

SAME = 0.03
"""Metres. Answers none of whose joints are farther apart, the pelvises together, are one."""


def with_flips(
    fit: Fit, body: PointBody, terms: Mapping[str, Term], stage: Stage, keep: int, window: float, chunk: int = 64
) -> Fit:
    """The fit beside what its flips lead to, the best of all in its place.

    Args:
        keep: flips of a person that are tried at most. window: nats. chunk: people whose flips are made at a time.
    """
    parts = torch.arange(len(fit.cost)).split(chunk)
    begun = [_promising(fit, part, body, terms, stage, keep, window) for part in parts]
    place, people = (torch.cat(column) for column in list(zip(*begun, strict=True))[:2])
    state = State.cat([state for *_, state in begun])
    if not len(people):
        return fit
    problem = StageProblem(body, fit.observation[people], terms, stage)
    tried = solve(problem, state, replace(stage.options, max_steps=FEW_STEPS))
    own, found = (_about_pelvis(body, params) for params in (fit.state.params[people], tried.x.params))
    elsewhere = (found - own).norm(dim=-1).amax(-1) > SAME
    alive = (elsewhere & (tried.cost < fit.cost[people] + LATE)).nonzero()[:, 0]
    if not len(alive):
        return fit
    problem = problem.select(alive)
    solution = solve(problem, tried.x[alive], stage.options)
    found = problem.fill(solution.x)
    more = replace(solution, x=found, cost=sum(problem.term_costs(found).values()))
    merged = merge(fit, body, more, place[alive] + 1, people[alive], keep)
    costs = term_costs(Evaluation(body, merged.state, fit.observation), terms, stage)
    return replace(merged, cost=sum(costs.values()), term_cost=costs)


def _promising(
    fit: Fit, people: Tensor, body: PointBody, terms: Mapping[str, Term], stage: Stage, keep: int, window: float
) -> tuple[Tensor, Tensor, State]:
    """(rank, person, state) of the flips of some people, their cheapest, that cost at most `window` more."""
    params, camera, observation = fit.state.params[people], fit.state.camera[people], fit.observation[people]
    flipped = flips(params, body.pose(params).joints, body.parents)
    many = torch.arange(len(people)).repeat(len(flipped))
    state = State(BodyParams.cat(flipped), camera[many])
    costs = sum(term_costs(Evaluation(body, state, observation[many]), terms, stage).values())
    costs, order = costs.view(len(flipped), -1).nan_to_num(torch.inf).sort(dim=0, stable=True)
    rank, person = (costs[:keep] < fit.cost[people] + window).nonzero().unbind(1)
    return rank, people[person], state[order[rank, person] * len(people) + person]


def _about_pelvis(body: PointBody, params: BodyParams) -> Tensor:
    """Joints (B, J, 3) about the first."""
    joints = body.pose(params).joints
    return joints - joints[:, :1]


def merge(fit: Fit, body: PointBody, more: Solution, place: Tensor, people: Tensor, keep: int) -> Fit:
    """The fit with more hypotheses, those of `people`, to stand in their `place` (1 .. keep). Answers that are the same
    are kept once; whoever has fewer has copies of the best, at an infinite cost."""
    B, one = len(fit.cost), torch.arange(len(fit.cost))
    rows = one.repeat(keep + 1, 1)  # (H, B) of everyone: the best, then `more`
    rows[place, people] = B + torch.arange(len(people))
    costs = torch.full((B, keep + 1), torch.inf).to(fit.cost)
    costs[:, 0] = fit.cost
    costs[people, place] = more.cost.nan_to_num(torch.inf)
    everyone = State.cat([fit.state, more.x])
    joints = _about_pelvis(body, everyone.params)[rows]  # (H, B, J, 3)
    order = costs.argsort(dim=1, stable=True)
    for i in range(1, keep + 1):
        for j in range(i):
            again = (joints[order[:, i], one] - joints[order[:, j], one]).norm(dim=-1).amax(-1) < SAME
            costs[one[again], order[again, i]] = torch.inf
    order = costs.argsort(dim=1, stable=True)
    costs = costs.gather(1, order)
    rows = rows.T.gather(1, order)
    rows = torch.where(costs.isfinite(), rows, rows[:, :1]).T
    steps, status = torch.cat([fit.steps, more.steps]), torch.cat([fit.status, more.status])
    return replace(
        fit,
        state=everyone[rows[0]],
        status=status[rows[0]],
        steps=steps[rows[0]],
        hypotheses=[everyone[row] for row in rows],
        hypothesis_cost=costs,
    )

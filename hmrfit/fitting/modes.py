"""What else the picture may show: the flips of an answer, fitted, those that lead to the same kept once.

    the fit  ->  its flips  ->  those within `window` nats of it  ->  a few steps  ->  those that went elsewhere and
    cost at most `LATE` nats more  ->  to the end

Nats of the energy with the measured weights (`uncertainty.MEASURED`): it says what is likely. The fit's own energy
holds on to its start ten times as hard as to the keypoints and would call all but one of them impossible; by it the
answers are ranked, so an alternative takes the first place only where the cautious energy agrees.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.depth_flips import flips
from hmrfit.fitting.energy import Stage, StageProblem, term_costs
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.solver import Solution
from hmrfit.fitting.terms.base import Term
from hmrfit.types import BodyParams

FEW_STEPS = 2
LATE = 3.0
"""Nats. What still costs so much more after a few steps ends with a probability of less than five in a hundred."""

SAME = 0.03
"""Metres. Answers none of whose joints are farther apart, the pelvises together, are one."""


def with_flips(
    fit: Fit,
    body: PointBody,
    terms: Mapping[str, Term],
    stage: Stage,
    likely: Stage,
    keep: int,
    window: float,
    chunk: int = 64,
) -> Fit:
    """The fit beside what its flips lead to.

    Args:
        stage: the fit's own, which ranks. likely: what the flips are fitted by. keep: flips of a person that are tried
            at most. window: nats. chunk: people whose flips are made at a time.
    """
    few = replace(likely.options, max_steps=FEW_STEPS)
    mode = StageProblem(body, fit.observation, terms, likely).solve(fit.state, few)
    here = mode.cost
    fit = replace(fit, likely_cost=here[:, None])
    parts = torch.arange(len(fit.cost), device=here.device).split(chunk)
    begun = [_promising(fit, part, body, terms, likely, keep, here[part] + window) for part in parts]
    place, people = (torch.cat(column) for column in list(zip(*begun, strict=True))[:2])
    state = State.cat([state for *_, state in begun])
    if not len(people):
        return fit
    problem = StageProblem(body, fit.observation[people], terms, likely)
    tried = problem.solve(state, few)
    alive = (_apart(body, tried.x, mode.x[people]) & (tried.cost < here[people] + LATE)).nonzero()[:, 0]
    if not len(alive):
        return fit
    solution = problem.select(alive).solve(tried.x[alive], likely.options)
    new = (_apart(body, solution.x, mode.x[people[alive]])).nonzero()[:, 0]
    if not len(new):
        return fit
    alive, solution = alive[new], Solution(*(getattr(solution, f)[new] for f in ("x", "cost", "status", "steps")))
    problem = problem.select(alive)
    found = problem.fill(solution.x)
    cost = sum(term_costs(Linearization(body, found, fit.observation[people[alive]]), terms, stage).values())
    more = replace(solution, x=found, cost=cost)
    merged = merge(fit, body, more, solution.cost, place[alive] + 1, people[alive], keep)
    costs = term_costs(Linearization(body, merged.state, fit.observation), terms, stage)
    return replace(merged, cost=sum(costs.values()), term_cost=costs)


def _promising(
    fit: Fit, people: Tensor, body: PointBody, terms: Mapping[str, Term], stage: Stage, keep: int, most: Tensor
) -> tuple[Tensor, Tensor, State]:
    """(rank, person, state) of the flips of some people, their cheapest, that cost at most `most` (b,)."""
    params, camera, observation = fit.state.params[people], fit.state.camera[people], fit.observation[people]
    flipped = flips(params, body.pose(params).joints, body.skeleton)
    many = torch.arange(len(people)).repeat(len(flipped))
    state = State(BodyParams.cat(flipped), camera[many])
    costs = sum(term_costs(Linearization(body, state, observation[many]), terms, stage).values())
    costs, order = costs.view(len(flipped), -1).nan_to_num(torch.inf).sort(dim=0, stable=True)
    rank, person = (costs[:keep] < most).nonzero().unbind(1)
    return rank, people[person], state[order[rank, person] * len(people) + person]


def _apart(body: PointBody, a: State, b: State) -> Tensor:
    """(B,) has some joint another place, the pelvises together?"""
    return (_about_pelvis(body, a.params) - _about_pelvis(body, b.params)).norm(dim=-1).amax(-1) > SAME


def _about_pelvis(body: PointBody, params: BodyParams) -> Tensor:
    """Joints (B, J, 3) about the first."""
    joints = body.pose(params).joints
    return joints - joints[:, :1]


def merge(fit: Fit, body: PointBody, more: Solution, likely: Tensor, place: Tensor, people: Tensor, keep: int) -> Fit:
    """The fit with more hypotheses, those of `people`, to stand in their `place` (1 .. keep). Answers that are the same
    are kept once; whoever has fewer has copies of the best, at an infinite cost.

    Args:
        likely: (n,) what `more` costs by the energy that says what is likely.
    """
    B, one = len(fit.cost), torch.arange(len(fit.cost), device=fit.cost.device)
    rows = one.repeat(keep + 1, 1)  # (H, B) of everyone: the best, then `more`
    rows[place, people] = B + torch.arange(len(people), device=people.device)
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
    likely_costs = torch.full_like(costs, torch.inf)
    likely_costs[:, 0], likely_costs[people, place] = fit.likely_cost[:, 0], likely
    likely_costs = likely_costs.gather(1, order).where(costs.isfinite(), torch.inf)
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
        likely_cost=likely_costs,
    )

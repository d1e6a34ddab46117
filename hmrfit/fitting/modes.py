"""What else the picture may show: the flips of an answer, fitted, those that lead to the same kept once.

    the fit  ->  its flips  ->  those within `window` nats of it  ->  a few steps  ->  those that went elsewhere and
    cost at most `LATE` nats more  ->  to the end

Nats of the energy with the measured weights (`uncertainty.MEASURED`): it says what is likely. The fit's own energy
holds on to its start ten times as hard as to the keypoints and would call all but one of them impossible; by it the
answers are ranked, so an alternative takes the first place only where the cautious energy agrees.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.depth_flips import flip_names, flips
from hmrfit.fitting.energy import Stage, term_costs, total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.route import Route
from hmrfit.fitting.solver import Options, Solution
from hmrfit.types import BodyParams

CALIBRATED = Stage({"anchor": 1.2, "joint_limits": 0.1, "keypoints": 0.6}, options=Options(max_steps=8, ftol=1e-3))
"""The energy with the weights of the calibrated posterior (`uncertainty.MEASURED`): what other answers are found by."""

FEW_STEPS = 2
LATE = 3.0
"""Nats. What still costs so much more after a few steps ends with a probability of less than five in a hundred."""

SAME = 0.03
"""Metres. Answers none of whose joints are farther apart, the pelvises together, are one."""


@dataclass(frozen=True)
class Modes:
    """The fit beside what its depth flips lead to. A step of a schedule, for fits from the initial estimate.

    keep: flips of a person that are tried at most. window: nats. calibrated: the energy that says what is likely.
    chunk: people whose flips are made at a time.
    """

    keep: int = 2
    window: float = 4.0
    calibrated: Stage = CALIBRATED
    chunk: int = 64

    def __call__(self, fit: Fit, route: Route) -> Fit:
        if not self.keep or fit.observation.anchor is None or fit.observation.noise is None:
            return fit
        if not flip_names(route.body.skeleton):
            return fit
        few = replace(self.calibrated.options, max_steps=FEW_STEPS)
        mode = route.problem(fit.observation, self.calibrated).solve(fit.state, few)
        fit = replace(fit, calibrated_cost=mode.cost[:, None])
        people, place, state = self._begun(fit, route, mode.cost)
        if not len(people):
            return fit
        body, here = route.body, mode.cost[people]
        problem = route.problem(fit.observation[people], self.calibrated)
        tried = problem.solve(state, few)
        alive = (_apart(body, tried.x, mode.x[people]) & (tried.cost < here + LATE)).nonzero()[:, 0]
        if not len(alive):
            return fit
        solution = problem.select(alive).solve(tried.x[alive], self.calibrated.options)
        new = (_apart(body, solution.x, mode.x[people[alive]])).nonzero()[:, 0]
        if not len(new):
            return fit
        alive, solution = alive[new], solution[new]
        problem = problem.select(alive)
        found = problem.fill(solution.x)
        cost = total(route.term_costs(found, fit.observation[people[alive]], fit.stage))
        more = replace(solution, x=found, cost=cost)
        merged = merge(fit, body, more, solution.cost, place[alive] + 1, people[alive], self.keep)
        costs = route.term_costs(merged.state, fit.observation, fit.stage)
        return replace(merged, cost=total(costs), term_cost=costs)

    def _begun(self, fit: Fit, route: Route, here: Tensor) -> tuple[Tensor, Tensor, State]:
        """(person, rank, state) of the flips that cost at most `window` more than `here` (B,)."""
        parts = torch.arange(len(fit), device=here.device).split(self.chunk)
        begun = [self._promising(fit, part, route, here[part] + self.window) for part in parts]
        place, people, states = zip(*begun, strict=True)
        return torch.cat(people), torch.cat(place), State.cat(states)

    def _promising(self, fit: Fit, people: Tensor, route: Route, most: Tensor) -> tuple[Tensor, Tensor, State]:
        """(rank, person, state) of the flips of some people, their cheapest, that cost at most `most` (b,)."""
        params, camera, observation = fit.state.params[people], fit.state.camera[people], fit.observation[people]
        flipped = flips(params, route.body.pose(params).joints, route.body.skeleton)
        many = torch.arange(len(people)).repeat(len(flipped))
        state = State(BodyParams.cat(flipped), camera[many])
        costs = costs_of_several(route, state, observation, len(flipped), self.calibrated)
        costs, order = costs.nan_to_num(torch.inf).sort(dim=0, stable=True)
        rank, person = (costs[: self.keep] < most).nonzero().unbind(1)
        return rank, people[person], state[order[rank, person] * len(people) + person]


def costs_of_several(route: Route, state: State, observation: Observation, n: int, stage: Stage) -> Tensor:
    """(n, B) what n states of each of B people cost: n batches of everyone, one after the other.

    How errors go together, most of what is known of a person, is neither copied nor factorised for every state.
    """
    B, anchor, weight = len(observation.box_size), observation.anchor, stage.weights.get("anchor")
    many = torch.arange(B).repeat(n)
    if anchor is None or not weight:
        return total(route.term_costs(state, observation[many], stage)).view(n, B)
    alone = replace(observation, anchor=anchor.uncorrelated())[many]
    e = Linearization(route.body, state, alone)
    costs = total(term_costs(e, route.terms, stage)).view(n, B)
    assert alone.anchor is not None
    white = alone.anchor.error_of(e.start_turn, state.params.betas) / alone.anchor.scale
    return costs - weight * anchor.correlated(white.unflatten(0, (n, B)).transpose(0, 1)).T


def _apart(body: PointBody, a: State, b: State) -> Tensor:
    """(B,) has some joint another place, the pelvises together?"""
    return (_about_pelvis(body, a.params) - _about_pelvis(body, b.params)).norm(dim=-1).amax(-1) > SAME


def _about_pelvis(body: PointBody, params: BodyParams) -> Tensor:
    """Joints (B, J, 3) about the first."""
    joints = body.pose(params).joints
    return joints - joints[:, :1]


def merge(
    fit: Fit, body: PointBody, more: Solution, calibrated: Tensor, place: Tensor, people: Tensor, keep: int
) -> Fit:
    """The fit with more hypotheses, those of `people`, to stand in their `place` (1 .. keep). Answers that are the same
    are kept once; a person with fewer has copies of the best, at an infinite cost.

    Args:
        calibrated: (n,) what `more` costs by the calibrated energy.
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
    calibrated_costs = torch.full_like(costs, torch.inf)
    own = costs[:, 0] if fit.calibrated_cost is None else fit.calibrated_cost[:, 0]
    calibrated_costs[:, 0], calibrated_costs[people, place] = own, calibrated
    calibrated_costs = calibrated_costs.gather(1, order).where(costs.isfinite(), torch.inf)
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
        calibrated_cost=calibrated_costs,
    )

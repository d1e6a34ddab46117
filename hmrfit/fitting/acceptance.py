"""The acceptance test: is the fit better than its start? If not, the start is the answer.

    accepted  <=>  E(fit) < E(start)  and  ( P(fit) <= P(start)  or  P(fit) <= LIMIT ),      P = E_gmm + E_limits

E is the whole energy, anchor included; P how unlikely the pose is by itself, in nats, whatever the picture shows. Of
the poses in motion that the prior was not fitted on, 99 % have P below LIMIT: a fit beyond it that is also less likely
than its start has bent the body to please the keypoints.

Of 12,000 people in validation motion (1 and 3 % noise, half hidden) 12 are rejected. Before the start is their answer,
they are fitted again from other starts (`hmrfit.fitting.retry`).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.fitting.energy import Stage, total
from hmrfit.fitting.fit import Acceptance, Fit
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Route

LIMIT = 116.0
"""Nats. The 99 % quantile of P over validation motion, its classes weighted as wherever people are drawn from it (every
frame alike: 82; training motion: 80)."""

PLAUSIBILITY = ("gmm", "joint_limits")
"""The terms that P adds up, those of them that there are."""


def implausibility(route: Route, state: State, observation: Observation) -> Tensor:
    """P (B,), nats; 0 where the energy has neither of its terms."""
    known = {name: 1.0 for name in PLAUSIBILITY if name in route.terms}
    costs = route.term_costs(state, observation, Stage(known))
    return sum(costs.values(), start=state.params.transl.new_zeros(len(state)))


def too_implausible(P: Tensor, start: Tensor) -> Tensor:
    """Bool: is a pose with P less plausible than the start's, and than real ones?"""
    return (start < P) & (P > LIMIT)


def compare(
    route: Route, start: State, start_cost: Tensor, found: State, cost: Tensor, observation: Observation
) -> Acceptance:
    """The test of what was found against the start. start_cost, cost: (B,) the energy at both."""
    twice = torch.arange(len(cost), device=cost.device).repeat(2)
    without = replace(observation, anchor=None)[twice]  # which P does not know
    both = implausibility(route, State.cat([start, found]), without)
    before, after = both[: len(cost)], both[len(cost) :]
    reason = torch.zeros(len(cost), dtype=torch.int64, device=cost.device)
    reason[too_implausible(after, before)] = 2
    reason[~(cost < start_cost)] = 1
    reason[~start_cost.isfinite()] = 3
    return Acceptance(reason, start_cost, after, before)


def tested(fit: Fit, route: Route) -> Fit:
    """The fit with the outcome of the test against its start, if it has none yet."""
    if fit.start is None or fit.acceptance is not None:
        return fit
    begun = route.term_costs(fit.start, fit.observation, fit.stage)
    outcome = compare(route, fit.start, total(begun), fit.state, fit.cost, fit.observation)
    return replace(fit, acceptance=outcome, start_term_cost=begun)


@dataclass(frozen=True)
class Accept:
    """The fit where it is better than its start, elsewhere the start. A step of a schedule."""

    def __call__(self, fit: Fit, route: Route) -> Fit:
        if fit.start is None:
            return fit
        fit = tested(fit, route)
        assert fit.start is not None and fit.acceptance is not None
        rejected = ~fit.acceptance.accepted
        if not rejected.any():
            return fit
        kept, back = (chosen.nonzero()[:, 0] for chosen in (~rejected, rejected))
        both = Fit.cat([fit.of(kept), at_start(fit.of(back))])
        return both.of(torch.cat([kept, back]).argsort())


def at_start(fit: Fit) -> Fit:
    """The outcome with the start as the answer."""
    start = fit.start
    assert start is not None and fit.acceptance is not None
    before = fit.acceptance.start_cost
    return replace(
        fit,
        state=start,
        cost=before,
        term_cost={name: fit.start_term_cost[name] for name in fit.term_cost},
        hypotheses=[start],
        hypothesis_cost=before[:, None],
    )

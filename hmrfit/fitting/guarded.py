"""What becomes of those whose fit the guard refuses (`guard`): their other hypotheses are asked, then their start.

    the fit, if it is accepted; else the cheapest of { the start, other hypotheses that are plausible }

Whichever it is, the hypotheses are those that may be the answer, by rising energy, the answer first; each has what it
costs, at its own minimum, by the energy that says what is likely. The refused answer is none of them.

Of 12,000 people in validation motion (1 and 3 % noise, half hidden) 12 are refused, 4 of them with other hypotheses,
none of which is plausible: the flips of a bent body are bent.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.acceptance import implausibility, judge, too_implausible
from hmrfit.fitting.energy import Stage, StageProblem, term_costs
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.modes import merge
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.fitting.solver import Solution
from hmrfit.fitting.terms.base import Term


def guarded(fit: Fit, body: PointBody, terms: Mapping[str, Term], stage: Stage, likely: Stage) -> Fit:
    """The fit where it is better than its start, elsewhere what else is (see the module).

    Args:
        stage: the fit's own, which ranks. likely: the one that says what is likely.
    """
    begun = term_costs(Linearization(body, fit.start, fit.observation), terms, stage)
    before = sum(begun.values())
    verdict = judge(body, terms, fit.start, before, fit.state, fit.cost, fit.observation)
    fit = replace(fit, verdict=verdict, start_term_cost=begun)
    refused = ~verdict.accepted
    if not refused.any():
        return fit
    kept, back = (chosen.nonzero()[:, 0] for chosen in (~refused, refused))
    both = Fit.cat([fit.of(kept), _back(fit.of(back), body, terms, stage, likely)])
    return both.of(torch.cat([kept, back]).argsort())


def _back(fit: Fit, body: PointBody, terms: Mapping[str, Term], stage: Stage, likely: Stage) -> Fit:
    """Of people whose fit was refused."""
    before = fit.verdict.start_cost
    found = replace(
        fit,
        state=fit.start,
        cost=before,
        term_cost={name: fit.start_term_cost[name] for name in fit.term_cost},
        hypotheses=[fit.start],
        hypothesis_cost=before[:, None],
    )
    if fit.likely_cost is None:
        return found
    mode = StageProblem(body, fit.observation, terms, likely).solve(fit.start)
    found = replace(found, likely_cost=mode.cost[:, None])
    people, place = _plausible_others(fit, body, terms)
    if not len(people):
        return found
    rows = (people, place)
    others = State.cat(fit.hypotheses)[place * len(before) + people]
    more = Solution(others, fit.hypothesis_cost[rows], fit.status[people], fit.steps[people])
    found = merge(found, body, more, fit.likely_cost[rows], place, people, len(fit.hypotheses) - 1)
    cost = found.hypothesis_cost[:, 0]
    again = judge(body, terms, fit.start, before, found.state, cost, fit.observation)
    verdict = fit.verdict.with_rows(again.accepted.nonzero()[:, 0], again)
    parts = term_costs(Linearization(body, found.state, fit.observation), terms, stage)
    return replace(found, cost=cost, term_cost=parts, verdict=verdict)


def _plausible_others(fit: Fit, body: PointBody, terms: Mapping[str, Term]) -> tuple[Tensor, Tensor]:
    """(whose, which) of the other hypotheses may stand beside a start of finite energy."""
    there = fit.hypothesis_cost[:, 1:].isfinite() & fit.verdict.start_cost.isfinite()[:, None]
    people, place = there.nonzero().T
    states = State.cat(fit.hypotheses)[(place + 1) * len(fit.cost) + people]
    P = implausibility(body, terms, states, fit.observation[people])
    fine = ~too_implausible(P, fit.verdict.start_implausible[people])
    return people[fine], place[fine] + 1

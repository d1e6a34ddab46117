"""Is the fit better than its start? If not, the start is the answer, and the reason is said.

    accepted  <=>  E(fit) < E(start)  and  ( P(fit) <= P(start)  or  P(fit) <= LIMIT ),      P = E_gmm + E_limits

E is the whole energy, anchor included; P how unlikely the pose is by itself, in nats, whatever the picture shows. Of
the poses in motion that the prior was not fitted on, 99 % have P below LIMIT: a fit beyond it that is also less likely
than its start has bent the body to please the keypoints. What becomes of it: `hmrfit.fitting.guarded`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.fitting.energy import Stage, term_costs
from hmrfit.fitting.parameters import Linearization, Observation, State
from hmrfit.fitting.terms.base import Term
from hmrfit.types import TensorRecord

LIMIT = 116.0
"""Nats. The 99 % quantile of P over validation motion, its classes weighted as wherever people are drawn from it (every
frame alike: 82; training motion: 80)."""

PLAUSIBILITY = Stage({"gmm": 1.0, "joint_limits": 1.0})
"""The terms that P adds up, those of them that there are."""

REASONS = {
    0: "The fit has a lower energy than its start and is a plausible pose.",
    1: "No lower energy than the start's was found; the start is returned.",
    2: "The fit is a less plausible pose than its start, and than 99 % of real ones; the start is returned.",
    3: "The energy at the start is not finite; the start is returned.",
}
"""What the codes of a verdict mean."""


@dataclass(frozen=True)
class Verdict(TensorRecord):
    """For B people."""

    reason: Tensor  # (B,) int64, see REASONS
    start_cost: Tensor  # (B,) E(start)
    implausible: Tensor  # (B,) P(fit) as it was found
    start_implausible: Tensor  # (B,) P(start)

    @property
    def accepted(self) -> Tensor:
        """(B,) bool."""
        return self.reason == 0


def implausibility(body: PointBody, terms: Mapping[str, Term], state: State, observation: Observation) -> Tensor:
    """P (B,), nats; 0 where the energy has neither of its terms."""
    known = {name: weight for name, weight in PLAUSIBILITY.weights.items() if name in terms}
    costs = term_costs(Linearization(body, state, observation), terms, Stage(known))
    return sum(costs.values(), start=state.params.transl.new_zeros(len(state)))


def too_implausible(P: Tensor, start: Tensor) -> Tensor:
    """Bool: is a pose with P less plausible than the start's, and than real ones?"""
    return (start < P) & (P > LIMIT)


def judge(
    body: PointBody,
    terms: Mapping[str, Term],
    start: State,
    start_cost: Tensor,
    found: State,
    cost: Tensor,
    observation: Observation,
) -> Verdict:
    """Whether what was found is accepted.

    Args:
        start_cost, cost: (B,) the energy at both.
    """
    before, after = (implausibility(body, terms, state, observation) for state in (start, found))
    reason = torch.zeros(len(cost), dtype=torch.int64, device=cost.device)
    reason[too_implausible(after, before)] = 2
    reason[~(cost < start_cost)] = 1
    reason[~start_cost.isfinite()] = 3
    return Verdict(reason, start_cost, after, before)

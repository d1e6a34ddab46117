"""What a fit found, for B people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from hmrfit.body.points import PointBody
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.uncertainty import Answers, Calibration, KeypointNoise
from hmrfit.types import TensorRecord

FITTED_AGAIN = 4

REASONS = {
    0: "The fit has a lower energy than its start and is a plausible pose.",
    1: "No lower energy than the start's was found; the start is returned.",
    2: "The fit is a less plausible pose than its start, and than 99 % of real ones; the start is returned.",
    3: "The energy at the start is not finite; the start is returned.",
    FITTED_AGAIN: "The first fit was poor; the best of several, from other starts too, is returned. See the overlay.",
}
"""What the codes of an acceptance test mean (`hmrfit.fitting.acceptance`)."""


@dataclass(frozen=True)
class Acceptance(TensorRecord):
    """The outcome of the acceptance test for B people."""

    reason: Tensor  # (B,) int64, see REASONS
    start_cost: Tensor  # (B,) E(start)
    implausible: Tensor  # (B,) P(fit) as it was found
    start_implausible: Tensor  # (B,) P(start)

    @property
    def accepted(self) -> Tensor:
        """(B,) bool. A fit from another start is better than the start, or it would not be the answer."""
        return (self.reason == 0) | (self.reason == FITTED_AGAIN)


@dataclass(frozen=True)
class Mended(TensorRecord):
    """What was changed of the names of B people's keypoints before they were fitted (`hmrfit.fitting.mend_labels`); 0
    nothing, else one more than a place in these tables of `hmrfit.network.label_model`."""

    exchanged: Tensor  # (B,) of EXCHANGES: left and right of that
    left_out: Tensor  # (B,) of `keypoints.LIMBS`: another person's


class Seeker(Protocol):
    """What finds other answers beside those of a fit, for the body and the terms of its route.

    needs_anchor: whether only fits about an anchor have any. How sure the answers are is the fitter's to say where
    their posterior is None.
    """

    needs_anchor: ClassVar[bool]

    def __call__(self, fit: "Fit", body: PointBody, terms: Mapping[str, Term]) -> Answers: ...

    def beside(self, found: Answers, fit: "Fit", body: PointBody, terms: Mapping[str, Term]) -> Answers:
        """What to offer of people of whom `__call__` knows nothing more than the fit: `found`, or more than that."""
        ...


@dataclass(frozen=True)
class Fit(TensorRecord):
    """The outcome for B people: H hypotheses each, the best first."""

    state: State  # (B,) the best
    cost: Tensor  # (B,)
    term_cost: dict[str, Tensor]  # name -> (B,) weighted
    status: Tensor  # (B,) see solver.STATUS
    steps: Tensor  # (B,) solver steps of the winner, all stages
    hypotheses: list[State]  # H entries of (B,), by rising cost
    hypothesis_cost: Tensor  # (B, H), infinite where a person has fewer
    observation: Observation  # what was fitted, the start's anchor in it
    stage: Stage  # the last one: `cost` is its energy
    start: State | None = None  # (B,) the initial estimate or the given start, where there was one
    acceptance: Acceptance | None = None  # whether it is better than its start; where not, `state` is the start
    start_term_cost: dict[str, Tensor] = field(default_factory=dict)  # name -> (B,) weighted, at the start
    calibration: Calibration | None = None  # of its schedule
    keypoint_noise: KeypointNoise | None = None  # what is known of it beside the prediction; None: they are exact
    seeker: Seeker | None = None  # of its schedule: what finds other answers, once they are asked for
    mended: Mended | None = None  # of which people the keypoints that were fitted are not those that were given

    def __len__(self) -> int:
        return len(self.cost)

    def of(self, rows: Tensor) -> Self:
        """The outcome for some of the people, with as many hypotheses as one of them has."""
        everybody = len(rows) == len(self) and torch.equal(rows, torch.arange(len(self)).to(rows))
        chosen = self if everybody else self[rows]
        count = max(1, int(chosen.hypothesis_cost.isfinite().sum(1).max())) if len(rows) else 1
        return chosen.with_hypotheses(count)

    def replaced(self, people: Tensor, others: Self) -> Self:
        """The outcome with that of some `people` (n,) from another fit of them (n,), to the same keypoints unless that
        says otherwise."""
        if others.mended is None and self.mended is not None:
            others = replace(others, mended=self.mended[people])
        rows = torch.arange(len(self), device=people.device)
        rows[people] = len(self) + torch.arange(len(people), device=people.device)
        return type(self).cat([self, others]).of(rows)

    def with_hypotheses(self, count: int) -> Self:
        """The same with H = count: the first ones, or more that are not there (the best again, of infinite cost)."""
        if not (more := count - len(self.hypotheses)):
            return self
        cut = lambda cost: F.pad(cost[:, :count], (0, max(more, 0)), value=torch.inf)  # noqa: E731
        return replace(
            self,
            hypotheses=self.hypotheses[:count] + [self.state] * more,
            hypothesis_cost=cut(self.hypothesis_cost),
        )

    @classmethod
    def cat(cls, records: Sequence[Self]) -> Self:
        """The outcomes of several batches as one, fitted by the same fitter."""
        count = max(len(fit.hypotheses) for fit in records)
        return super().cat([fit.with_hypotheses(count) for fit in records])

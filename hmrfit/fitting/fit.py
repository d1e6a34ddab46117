"""What a fit found, for B people."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from hmrfit.fitting.acceptance import Verdict
from hmrfit.fitting.parameters import Observation, State
from hmrfit.types import TensorRecord


@dataclass
class Fit:
    """The outcome for B people; `kept` hypotheses each, the best first."""

    state: State  # (B,) the best
    cost: Tensor  # (B,)
    term_cost: dict[str, Tensor]  # name -> (B,) weighted
    status: Tensor  # (B,) see solver.STATUS
    steps: Tensor  # (B,) solver steps of the winner, all rounds
    hypotheses: list[State] = field(default_factory=list)  # kept entries of (B,), by rising cost
    hypothesis_cost: Tensor | None = None  # (B, kept)
    likely_cost: Tensor | None = None  # (B, kept) by the energy that says what is likely, each at its own minimum
    start: State | None = None  # (B,) the initial estimate or the given start, where there was one
    observation: Observation | None = None  # what was fitted, the start's anchor in it
    verdict: Verdict | None = None  # whether it is better than its start; where not, `state` is the start
    start_term_cost: dict[str, Tensor] = field(default_factory=dict)  # name -> (B,) weighted, at the start

    def of(self, rows: Tensor) -> "Fit":
        """The outcome for some of the people, with as many hypotheses as one of them has."""
        count = max(1, int(self.hypothesis_cost[rows].isfinite().sum(1).max())) if len(rows) else 1
        pick = lambda value: None if value is None else value[rows]  # noqa: E731
        return Fit(
            self.state[rows],
            self.cost[rows],
            {name: value[rows] for name, value in self.term_cost.items()},
            self.status[rows],
            self.steps[rows],
            [state[rows] for state in self.hypotheses[:count]],
            self.hypothesis_cost[rows, :count],
            None if self.likely_cost is None else self.likely_cost[rows, :count],
            pick(self.start),
            pick(self.observation),
            pick(self.verdict),
            {name: value[rows] for name, value in self.start_term_cost.items()},
        )

    @classmethod
    def cat(cls, fits: Sequence["Fit"]) -> "Fit":
        """The outcomes of several batches as one, fitted by the same fitter."""
        count = max(len(fit.hypotheses) for fit in fits)
        wide = [fit.hypotheses + [fit.state] * (count - len(fit.hypotheses)) for fit in fits]
        return cls(
            State.cat([fit.state for fit in fits]),
            torch.cat([fit.cost for fit in fits]),
            _joined_tables([fit.term_cost for fit in fits]),
            torch.cat([fit.status for fit in fits]),
            torch.cat([fit.steps for fit in fits]),
            [State.cat([states[h] for states in wide]) for h in range(count)],
            _joined_costs([fit.hypothesis_cost for fit in fits], count),
            _joined_costs([fit.likely_cost for fit in fits], count),
            _joined([fit.start for fit in fits]),
            _joined([fit.observation for fit in fits]),
            _joined([fit.verdict for fit in fits]),
            _joined_tables([fit.start_term_cost for fit in fits]),
        )


def _joined(records: Sequence[TensorRecord | None]) -> TensorRecord | None:
    """Records of the same kind as one, where they are there."""
    return None if records[0] is None else type(records[0]).cat(records)


def _joined_tables(tables: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tables of tensors with the same names as one."""
    return {name: torch.cat([table[name] for table in tables]) for name in tables[0]}


def _joined_costs(costs: Sequence[Tensor | None], count: int) -> Tensor | None:
    """(B, kept) each -> (sum of B, count), infinite where there is nothing."""
    if costs[0] is None:
        return None
    return torch.cat([F.pad(cost, (0, count - cost.shape[1]), value=torch.inf) for cost in costs])

"""What a fit found, for B people."""

from dataclasses import dataclass, field

from torch import Tensor

from hmrfit.fitting.guard import Verdict
from hmrfit.fitting.state import Observation, State


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
    start: State | None = None  # (B,) the first guess or the given start, where there was one
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

"""What is done with the hypotheses of a person, stage by stage, and with which weights."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from hmrfit.fitting.anchor_inflation import Loosening
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.solver import Options

PRIOR_WEIGHTS = {"gmm": 1.0, "joint_limits": 1.0, "shape": 1.0, "upright": 8.0}

WIDE = Stage({**PRIOR_WEIGHTS, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3))
"""First the robust scale is so wide (0.3 of the box) that no keypoint counts as an outlier: a raised arm that the start
has hanging must pull. Starting at the final scale left it behind: 58.0 instead of 53.9 mm on validation motion."""

FINAL = Stage({**PRIOR_WEIGHTS, "reprojection": 24.0}, options=Options(max_steps=30, ftol=1e-4))
"""Then 0.06: near the truth the cost is that of a Gaussian of 0.06/sqrt(24) = 1.2 % of the box, and no keypoint can
cost more than 12."""


ANCHOR_WEIGHTS = {"anchor": 7.0, "joint_limits": 1.0}

KEYPOINTS = 0.7
"""Beside an anchor of 7. The error model's own word, 1 to 1, is the better one on average (validation motion, PA-MPJPE
57.5 -> 48.2 mm), but leaves 8 to 16 % of the people more than 5 mm worse than their start; 10 to 1: 49.7 mm and 3 %."""

ANCHORED = Stage(
    {**ANCHOR_WEIGHTS, "keypoints": KEYPOINTS},
    options=Options(max_steps=14, ftol=3e-4, damping=1e-3, warm_up_steps=1),
    warm_up={"keypoints": "keypoints_gaussian"},
)
"""From a start whose error is known: its own prior, keypoints with their own noise, and what no joint can do. The first
step knows no outliers: what is far off must pull. Without it a tenth of the people took twenty steps; with two of them
the ends are the same."""

LIKELY = Stage({"anchor": 1.2, "joint_limits": 0.1, "keypoints": 0.6}, options=Options(max_steps=8, ftol=1e-3))
"""The energy that says what is likely, as measured (`uncertainty.MEASURED`): what other answers are found by."""


LOOSENING = Loosening()
"""Whom the anchor holds too hard is fitted again."""

Rounds = tuple[tuple[Stage, int], ...]


@dataclass(frozen=True)
class Schedule:
    """What to do with the hypotheses. Each round: (stage, how many hypotheses a person keeps after it).

    hypotheses: starts a person, all from the library. with_estimate: as many where an initial estimate is one of them;
    more gain nothing then (validation motion, PA-MPJPE in mm: 51.7 from the guess alone, 51.9 with one to three beside
    it; the second best heading stays as an insurance). Without a guess: 57.2 with four, 53.8 with six, 53.2 with eight.

    anchored: the stages for a start whose error is known, in place of all of the above; empty: there are none.
    loosening: after them, whom the anchor holds too hard, and how much less it then does; None: nobody.
    flips, window, likely: so many flips of its answer (see `alternatives`) are tried too, those that cost at most so
    many nats of `likely` more than the answer itself. guarded: a fit that is no better than its start is not taken.
    """

    hypotheses: int = 6
    rounds: Rounds = ((WIDE, 2), (FINAL, 2))
    with_estimate: int = 3
    anchored: tuple[Stage, ...] = (ANCHORED,)
    loosening: Loosening | None = LOOSENING
    flips: int = 2
    window: float = 4.0
    likely: Stage = LIKELY
    guarded: bool = True


def reweighted(schedule: Schedule, **weights: float) -> Schedule:
    """The schedule with some weights of every stage changed."""
    return restaged(schedule, lambda stage: replace(stage, weights={**stage.weights, **weights}))


def restaged(schedule: Schedule, change: Callable[[Stage], Stage]) -> Schedule:
    """The schedule with every stage changed."""
    rounds = tuple((change(stage), keep) for stage, keep in schedule.rounds)
    return replace(schedule, rounds=rounds, anchored=tuple(map(change, schedule.anchored)))

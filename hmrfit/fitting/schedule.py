"""What is done with a person: a start, stages, and what comes after them. All as data for one route.

initial_estimate   the default: the network's answer, fitted in one stage anchored at it; inflate, modes, retry, accept
library            from scratch: poses of a library, first with a wide robust scale, then with the final one
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hmrfit.fitting.acceptance import Accept
from hmrfit.fitting.anchor_inflation import InflateAnchor
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.fit import Fit, Seeker
from hmrfit.fitting.mend_labels import MendLabels
from hmrfit.fitting.moving_frames import Moving
from hmrfit.fitting.retry import Retry
from hmrfit.fitting.route import Route
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import GivenStart, InitialEstimate, Library, Start
from hmrfit.fitting.terms.base import Staged
from hmrfit.fitting.uncertainty import GIVEN, MEASURED, Calibration

PRIOR_WEIGHTS = {"gmm": 1.0, "joint_limits": 1.0, "shape": 1.0, "upright": 8.0}

WIDE = Stage({**PRIOR_WEIGHTS, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3), keep=2)
"""First the robust scale is so wide (0.3 of the box) that no keypoint counts as an outlier: a raised arm that the start
has hanging must pull. Starting at the final scale left it behind: 58.0 instead of 53.9 mm on validation motion."""

FINAL = Stage({**PRIOR_WEIGHTS, "reprojection": 24.0}, options=Options(max_steps=30, ftol=1e-4), keep=2)
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

FROM_SCRATCH, BESIDE_ESTIMATE = 6, 3
"""Hypotheses a person, from a library alone and with the initial estimate as one of them. More gain nothing (validation
motion, PA-MPJPE in mm: 51.7 from the estimate alone, 51.9 with one to three beside it; the second best heading stays as
an insurance). Without an estimate: 57.2 with four, 53.8 with six, 53.2 with eight."""

FIRST_STEPS, LAST_STEPS = 10, 30
"""At most, with measurements. A start that keypoints alone need two steps from may be metres away from what else is
known."""


class After(Protocol):
    """A step after the stages: a fit -> the fit with it.

    One that has an attribute `for_few`, true, concerns few people: of a crowd that is fitted in pieces it is taken,
    with the steps behind it, when all pieces are there.
    """

    def __call__(self, fit: Fit, route: Route) -> Fit: ...


@dataclass(frozen=True)
class Frames:
    """How frames of one person are solved together.

    together: the steps of all frames. coarse: of the coarse ones before (`hmrfit.fitting.key_frames`), those that are
        `far` from their keypoints between two key frames, a fraction of the box, being fitted alone.
    moving: which frames are gone on with alone; None: all of them.
    """

    together: Options
    coarse: Options
    far: float
    moving: Moving | None = None


@dataclass(frozen=True)
class Schedule:
    """start: where the route begins. stages: one after the other. after: steps on the fit that they leave.

    calibration: what was measured of the covariance of such fits; None: nothing, the energy is taken at its word.
    seeker: what finds other answers, once they are asked for; None: those that the fit kept are all.
    hands: of a body with hands, the stage after all that in which body and hands are fitted together to all keypoints
        (`hmrfit.fitting.body_with_hands`), where there are points of hands. None: such points are the body's own.
    frames: how those of one person are solved together; None: as those of bodies.
    """

    start: Start
    stages: tuple[Stage, ...]
    after: tuple[After, ...] = ()
    calibration: Calibration | None = None
    seeker: Seeker | None = None
    hands: Stage | None = None
    frames: Frames | None = None

    def __post_init__(self) -> None:
        if not self.stages:
            raise ValueError("A schedule needs at least one stage: Schedule(start, (FINAL,)).")

    def with_stages(self, change: Callable[[Stage], Stage]) -> "Schedule":
        """The schedule with every stage changed."""
        hands = None if self.hands is None else change(self.hands)
        return replace(self, stages=tuple(map(change, self.stages)), hands=hands)

    def with_terms(self, terms: Sequence[Staged]) -> "Schedule":
        """The schedule with the weights of more terms, and steps enough for what they say."""
        if not terms:
            return self

        def change(stage: Stage, final: bool) -> Stage:
            more = {staged.term.name: staged.last if final else staged.before for staged in terms}
            weights = {**stage.weights, **{name: weight for name, weight in more.items() if weight}}
            steps = max(stage.options.max_steps, LAST_STEPS if final else FIRST_STEPS)
            return replace(stage, weights=weights, options=replace(stage.options, max_steps=steps))

        *before, last = self.stages
        hands = None if self.hands is None else change(self.hands, True)
        return replace(self, stages=(*(change(stage, False) for stage in before), change(last, True)), hands=hands)

    def divided(self) -> tuple["Schedule", tuple[After, ...]]:
        """(the schedule of each piece of a crowd, the steps after it that are taken with all people together)."""
        first = next((i for i, step in enumerate(self.after) if getattr(step, "for_few", False)), len(self.after))
        return replace(self, after=self.after[:first]), self.after[first:]

    def with_names_as_given(self) -> "Schedule":
        """The same for keypoints whose names are taken at their word: those of frames and views that belong together,
        since the others know better."""
        return replace(self, after=tuple(step for step in self.after if not isinstance(step, MendLabels)))

    @property
    def term_names(self) -> tuple[str, ...]:
        """The terms that a weight can be given of: those of the stages."""
        return tuple(dict.fromkeys(name for stage in self._every_stage for name in stage.weights))

    @property
    def _every_stage(self) -> tuple[Stage, ...]:
        return self.stages if self.hands is None else (*self.stages, self.hands)

    @property
    def used_terms(self) -> frozenset[str]:
        """All terms that the stages compute, those of their warm-up steps too."""
        return frozenset(name for s in self._every_stage for name in (*s.weights, *s.warm_up_weights()))


def from_initial_estimate(
    start: InitialEstimate, library: Library, seeker: Seeker | None = None, mend: MendLabels | None = None
) -> Schedule:
    """The default fit. library: where a fit from scratch begins, for the few people who need one. mend: what looks for
    wrong names of keypoints; None: they are taken at their word."""
    alone = replace(library, count=FROM_SCRATCH, network=None)
    again = Retry(start, alone, (WIDE, FINAL))
    first = () if mend is None else (mend,)
    return Schedule(start, (ANCHORED,), (*first, InflateAnchor(), again, Accept()), MEASURED, seeker)


def from_given() -> Schedule:
    """The default fit from a start that the caller gives."""
    return Schedule(GivenStart(), (ANCHORED,), (Accept(),), GIVEN)


def from_library(start: Library) -> Schedule:
    """From scratch."""
    return Schedule(start, (WIDE, FINAL))

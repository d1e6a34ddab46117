"""How a hand is fitted: from a library of poses seen from all sides, as a body without an initial estimate is.

    similarity of 21 keypoints with poses × views   ->   a few starts from different sides   ->   wide   ->   final

A palm that is tilted towards the camera looks nearly like one that is tilted away, so starts differ in the side from
which they are seen, and the second best at the end stays a hypothesis, with its probability.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.moving_frames import Moving
from hmrfit.fitting.other_sides import HandEstimate, OtherSides, SeekOtherSides, TryOtherSides
from hmrfit.fitting.schedule import Frames, Schedule
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import Library
from hmrfit.fitting.uncertainty import Calibration, Weight

HAND_VIEWS = 100
"""From how many sides each pose of the library is seen: the nearest is at most 14 degrees away."""

HAND_POSES = 24
"""Drawn from the pose prior, beside its mean, where FIT.LIBRARY does not say how many."""

HAND_STARTS = 4
"""Hypotheses a hand begins with. PA-MPJPE of hands as below, without limits in the first stage: two 7.03 mm, three
6.87, four 6.65; with limits in the last stage four 6.49, six (three of them kept) 6.31, for half as much time again."""

HAND_PRIORS = {"gmm": 1.0, "shape": 1.0}

BIOMECHANICS = 100.0
"""Of the hulls' distances in radians: a standard deviation of six degrees. PA-MPJPE of 384 hands in poses of sources
left out (`benchmarks/hand_accuracy.py`): 6.65 mm without, 6.63 with 1, 6.51 with 30, 6.38 with 100; in the last stage
only 6.49, and 6.48 with 400."""

FINGERS_APART = 2.5e5
"""Of how deep fingers are in each other, in metres: a standard deviation of two millimetres."""

KEYPOINTS = 0.4
"""Their σ of 1.2 % of the box is 1.9 % then. 0.3 and 0.55 are 0.02 mm apart."""

FROM_ESTIMATE = Options(max_steps=8, ftol=5e-2, gtol=0.0, damping=1e-3, warm_up_steps=1, rejected_damping=0.1)
"""From the network's answer. 750 hands of sources left out: 4.5 steps and 6.60 mm; with ftol 3e-2 and no least damping
after a rejection 5.1 steps and 6.60 mm; ftol 0.1 takes 4.2 steps, and 6.62 mm. Few hands are left after eight steps, of
which each takes as long as four hands' in a batch; ten end 0.01 mm nearer."""

OTHER_SIDES = Options(max_steps=2, ftol=1e-3, gtol=0.0)
"""Of the first stage from other sides, which only has to lead into a valley: with three steps, 1,500 hands end 0.005 mm
nearer; five end at the same as three."""

_TOGETHER = Options(max_steps=3, ftol=1e-3, gtol=0.0, damping=1e-5, extrapolate=True, shorten=True)

HAND_FRAMES = Frames(_TOGETHER, replace(_TOGETHER, max_steps=4), far=0.06, moving=Moving())
"""Twelve sequences of 300 frames between poses of sources left out (`benchmarks/hand_sequences.py`): all frames until
nothing falls any more took 15.0 steps, 5.022 mm and E 6,264; with shortened steps and ftol 1e-3 instead of 3e-4 7.8
steps, 5.034 mm and 6,263; three steps of all frames and four of those that move end at 5.043 mm and 6,262. ftol 2e-3
alone is 0.05 mm worse, one coarse step 0.02. Nearly all frames between key frames are 0.03 from their keypoints."""

DOUBTFUL = 40.0
"""Nats of a hand's own terms from which other sides are tried. With 2 % noise, 95 % of the hands that are where they
should be have less, of every source left out."""

KEYPOINTS_FACTOR, PRIORS_FACTOR, NU = 0.95, 0.87, 11.0
"""What the weights are multiplied by in the inverse covariance, and Student's ν, so that the stated coverage is the
measured one: `benchmarks/hand_accuracy.py --calibrate` has 0.87 twice for the best answer alone; with draws of the
mixture, points that are seen were then covered 3 points too often. The keypoints' noise is the fit's residual.
"""


def constraints(terms: Collection[str]) -> dict[str, float]:
    """The weights of what fingers cannot do, of the terms that there are."""
    weights = {"biomechanics": BIOMECHANICS, "fingers_apart": FINGERS_APART}
    return {name: weight for name, weight in weights.items() if name in terms}


def hand_stages(more: Mapping[str, float]) -> tuple[Stage, ...]:
    """The stages from a library. more: weights of further terms."""
    wide = Stage({**HAND_PRIORS, **more, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3), keep=2)
    final = Stage({**HAND_PRIORS, **more, "keypoints": KEYPOINTS}, options=Options(max_steps=30, ftol=1e-4), keep=2)
    return wide, final


def from_hand_library(start: Library, more: Mapping[str, float]) -> Schedule:
    """The fit of a hand from scratch. more: weights of further terms."""
    stages = hand_stages(more)
    return Schedule(start, stages, (DropDuplicates(),), _calibration(stages[-1]), frames=HAND_FRAMES)


def from_hand_estimate(start: HandEstimate, library: Library, more: Mapping[str, float]) -> Schedule:
    """The fit of a hand from the network's answer. library: where it looks for other sides. more: of further terms."""
    wide, final = hand_stages(more)
    stage = replace(final, options=FROM_ESTIMATE, warm_up={"keypoints": "keypoints_gaussian"}, keep=1)
    others = OtherSides(library, replace(wide, keep=1, options=OTHER_SIDES))
    again = TryOtherSides(others, ("keypoints", *more, *HAND_PRIORS), DOUBTFUL)
    seek = SeekOtherSides(others)
    return Schedule(start, (stage,), (again,), _calibration(stage), seek, frames=HAND_FRAMES)


def _calibration(stage: Stage) -> Calibration:
    """As measured, of fits that end with this stage."""
    priors = {
        name: Weight(PRIORS_FACTOR * w)
        for name, w in stage.weights.items()
        if name not in ("keypoints", "fingers_apart")
    }
    return Calibration({"keypoints": Weight(KEYPOINTS_FACTOR * KEYPOINTS), **priors}, NU, "residuals")

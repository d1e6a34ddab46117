"""How a hand is fitted: from a library of poses seen from all sides, as a body without an initial estimate is.

    similarity of 21 keypoints with poses × views   ->   a few starts from different sides   ->   wide   ->   final

A palm that is tilted towards the camera looks nearly like one that is tilted away, so starts differ in the side from
which they are seen, and the second best at the end stays a hypothesis, with its probability.
"""

from collections.abc import Mapping

from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.schedule import Schedule
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

KEYPOINTS = 0.4
"""Their σ of 1.2 % of the box is 1.9 % then. 0.3 and 0.55 are 0.02 mm apart."""

KEYPOINTS_FACTOR, PRIORS_FACTOR, NU = 0.87, 0.87, 11.0
"""What the weights are multiplied by in the inverse covariance, and Student's ν, so that the stated coverage is the
measured one: `benchmarks/hand_accuracy.py --calibrate`, 840 hands with 2 % noise in poses of sources left out. The gap
is 2.3 points there and 2.0 on 900 others; (1.19, 0.87, 6) has 1.9 and 3.4. The keypoints' noise is the fit's residual.
"""


def hand_stages(biomechanics: bool) -> tuple[Stage, ...]:
    """The stages. biomechanics: with the limits of the fingers' joints, as a term of that name."""
    more: Mapping[str, float] = {"biomechanics": BIOMECHANICS} if biomechanics else {}
    wide = Stage({**HAND_PRIORS, **more, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3), keep=2)
    final = Stage({**HAND_PRIORS, **more, "keypoints": KEYPOINTS}, options=Options(max_steps=30, ftol=1e-4), keep=2)
    return wide, final


def from_hand_library(start: Library, biomechanics: bool) -> Schedule:
    """The fit of a hand from scratch."""
    stages = hand_stages(biomechanics)
    priors = {name: Weight(PRIORS_FACTOR * w) for name, w in stages[-1].weights.items() if name != "keypoints"}
    known = {"keypoints": Weight(KEYPOINTS_FACTOR * KEYPOINTS), **priors}
    return Schedule(start, stages, (DropDuplicates(),), Calibration(known, NU, "residuals"))

"""How a hand is fitted: from a library of poses seen from all sides, as a body without an initial estimate is.

    similarity of 21 keypoints with poses × views   ->   a few starts from different sides   ->   wide   ->   final

A palm that is tilted towards the camera looks nearly like one that is tilted away, so starts differ in the side from
which they are seen, and the second best at the end stays a hypothesis, with its probability.
"""

from collections.abc import Mapping
from dataclasses import replace

from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.other_sides import HandEstimate, OtherSides, SeekOtherSides, TryOtherSides
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

FROM_ESTIMATE = Options(max_steps=10, ftol=1e-2, damping=1e-3, warm_up_steps=1)
"""From the network's answer. With ftol 1e-3 hands take 7.2 steps instead of 5.8, and end at the same PA-MPJPE (256
hands of a source left out: 7.07 and 7.04 mm)."""

DOUBTFUL = 40.0
"""Nats of a hand's own terms from which other sides are tried. With 2 % noise, 95 % of the hands that are where they
should be have less, of every source left out."""

KEYPOINTS_FACTOR, PRIORS_FACTOR, NU = 0.87, 0.87, 11.0
"""What the weights are multiplied by in the inverse covariance, and Student's ν, so that the stated coverage is the
measured one: `benchmarks/hand_accuracy.py --calibrate`, 840 hands with 2 % noise in poses of sources left out. The gap
is 2.3 points there and 2.0 on 900 others; (1.19, 0.87, 6) has 1.9 and 3.4. The keypoints' noise is the fit's residual.
"""


def hand_stages(biomechanics: bool) -> tuple[Stage, ...]:
    """The stages from a library. biomechanics: with the limits of the fingers' joints, as a term of that name."""
    more: Mapping[str, float] = {"biomechanics": BIOMECHANICS} if biomechanics else {}
    wide = Stage({**HAND_PRIORS, **more, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3), keep=2)
    final = Stage({**HAND_PRIORS, **more, "keypoints": KEYPOINTS}, options=Options(max_steps=30, ftol=1e-4), keep=2)
    return wide, final


def from_hand_library(start: Library, biomechanics: bool) -> Schedule:
    """The fit of a hand from scratch."""
    stages = hand_stages(biomechanics)
    return Schedule(start, stages, (DropDuplicates(),), _calibration(stages[-1]))


def from_hand_estimate(start: HandEstimate, library: Library, biomechanics: bool) -> Schedule:
    """The fit of a hand from the network's answer. library: where it looks for other sides."""
    wide, final = hand_stages(biomechanics)
    stage = replace(final, options=FROM_ESTIMATE, warm_up={"keypoints": "keypoints_gaussian"}, keep=1)
    others = OtherSides(library, replace(wide, keep=1))
    again = TryOtherSides(others, ("keypoints", "biomechanics", *HAND_PRIORS), DOUBTFUL)
    return Schedule(start, (stage,), (again,), _calibration(stage), SeekOtherSides(others))


def _calibration(stage: Stage) -> Calibration:
    """As measured, of fits that end with this stage."""
    priors = {name: Weight(PRIORS_FACTOR * w) for name, w in stage.weights.items() if name != "keypoints"}
    return Calibration({"keypoints": Weight(KEYPOINTS_FACTOR * KEYPOINTS), **priors}, NU, "residuals")

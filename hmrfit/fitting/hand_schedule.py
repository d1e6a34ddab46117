"""How a hand is fitted: from a library of poses seen from all sides, as a body without an initial estimate is.

    similarity of 21 keypoints with poses × views   ->   a few starts from different sides   ->   wide   ->   final

A flat hand seen from its palm and from its back is nearly the same picture, so starts differ in their side, and the
second best at the end stays a hypothesis, with its probability.
"""

from collections.abc import Mapping

from hmrfit.fitting.distinct import DropDuplicates
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.schedule import Schedule
from hmrfit.fitting.solver import Options
from hmrfit.fitting.starts import Library

HAND_VIEWS = 100
"""From how many sides each pose of the library is seen: the nearest is at most 14 degrees away."""

HAND_STARTS = 4
"""Hypotheses a hand begins with."""

HAND_PRIORS = {"gmm": 1.0, "shape": 1.0}

BIOMECHANICS = 1.0


def hand_stages(biomechanics: bool) -> tuple[Stage, ...]:
    """The stages. biomechanics: with the limits of the fingers' joints, as a term of that name."""
    more: Mapping[str, float] = {"biomechanics": BIOMECHANICS} if biomechanics else {}
    wide = Stage({**HAND_PRIORS, **more, "reprojection_wide": 200.0}, options=Options(max_steps=5, ftol=1e-3), keep=2)
    final = Stage({**HAND_PRIORS, **more, "keypoints": 0.4}, options=Options(max_steps=30, ftol=1e-4), keep=2)
    return wide, final


def from_hand_library(start: Library, biomechanics: bool) -> Schedule:
    """The fit of a hand from scratch."""
    return Schedule(start, hand_stages(biomechanics), (DropDuplicates(),))

"""Is a left hand given as a right one? The energies of both sides, compared.

    d = E(x) − E(M x)        M x the keypoints in the picture mirrored, fitted as the same side's: as the other hand's

The keypoints of a left hand are nearly those of a right hand flipped over, so one hand says little: of hands with 2 %
noise in poses of sources left out, d is some six nats in the middle, no more than it varies by. One hand is doubted
where its own energy is high and d large (one wrong side in seven, one right one in 250); many hands of one call, which
have the same side, by the mean of their d, cut off at ± GAIN.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.mirrored import side_of
from hmrfit.fitting.energy import total
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.other_sides import TryOtherSides
from hmrfit.keypoints import mirrored_name
from hmrfit.network.hand_estimate import mirrored_picture

POOR, GAIN = 30.0, 10.0
"""Nats: of one hand that is asked about, and d from which it is doubted."""

MANY, SAMPLE, SURE = 8, 16, 3.0
"""Hands of a call from which they are asked about together, how many are fitted then, and how many of its own standard
errors the mean of d must lie above 0."""


def other_hands(fitter: Fitter, fit: Fit, of_one: bool = False) -> list[bool]:
    """(B,) whether each hand looks like the other one of its owner; False of bodies, and of other schedules. of_one:
    they are frames of one hand, which are doubted together or not at all, where there are many."""
    own = next((step.own for step in fitter.schedule.after if isinstance(step, TryOtherSides)), None)
    doubted = [False] * len(fit)
    if own is None or side_of(fitter.body.skeleton) is None or not len(fit) or fit.observation.measurements:
        return doubted
    energy = _energy(fit, own)
    many = len(fit) >= MANY
    asked = (energy > POOR) & (not (of_one and many))
    if many:
        asked[torch.linspace(0, len(fit) - 1, SAMPLE).round().long()] = True
    rows = asked.nonzero()[:, 0]
    if not len(rows):
        return doubted
    mirrored = mirrored_picture(fit.observation.keypoints[rows], fit.state.camera[rows])
    mirrored = replace(mirrored, names=fit.observation.keypoints.names)
    # from the network's answer alone: other sides took most of the time, of 600 hands on the wrong side 127 are doubted
    # instead of 129, and as many on the right side
    direct = fitter.with_schedule(replace(fitter.schedule, after=()))
    gain = energy[rows] - _energy(direct.fit(mirrored, fit.state.camera[rows]), own)
    each = gain.clamp(-GAIN, GAIN)  # one hand that is like nothing does not decide
    if many and float(each.mean()) > SURE * float(each.std()) / len(each) ** 0.5:
        return [True] * len(fit)
    if of_one and many:
        return doubted
    for row, doubt in zip(rows.tolist(), ((gain > GAIN) & (energy[rows] > POOR)).tolist(), strict=True):
        doubted[row] = doubt
    return doubted


def warning_of_side(fitter: Fitter) -> str:
    """What is said of a hand that is doubted."""
    side = side_of(fitter.body.skeleton) or ""
    other = mirrored_name(f"{side}_hand").removesuffix("_hand")
    return (
        f"As a {other} hand it would be likelier. side= is the person's own hand, whatever a mirror shows: look at the "
        f"thumb in the picture, and give side='{other}' if it is one."
    )


def _energy(fit: Fit, own: tuple[str, ...]) -> Tensor:
    """(B,) of a hand's own terms."""
    return total({name: fit.term_cost[name] for name in own if name in fit.term_cost})

"""Whether the people of a call are fitted with their hands, and what that needs beside the fit of a body.

PRIORS.HANDS   "auto"   a body with hands whose keypoints have points of fingers; the default body then gives way to
                        `free_body_h`, which is the same with the free hand on both arms
               name     the same, with another pose prior of a right hand's fingers
               ""       never: points of hands are ignored, and fingers stay at rest
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from yacs.config import CfgNode

from hmrfit.assets import locate
from hmrfit.body.skeleton import SIDES, SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.config import ConfigError, default_of
from hmrfit.fitting.body_with_hands import HAND_TERMS, BodyWithHands
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.finger_limits import FingerLimits
from hmrfit.fitting.terms.fingers_apart import fingers_apart
from hmrfit.fitting.terms.gender_age import Age, Gender
from hmrfit.fitting.terms.hand_pose import HandPosePrior
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.biomechanics import HandLimits
from hmrfit.priors.gmm import PoseGmm

AUTO = "auto"
BODY, BODY_WITH_HANDS = "free_body", "free_body_h"
HAND_GMM, HAND_LIMITS = "hand_pose_gmm", "hand_limits"

STARTS = ("auto", "initial_estimate")
"""FIT.START of fits that hands can follow."""

POSES = 24
"""Of the library that hands begin with, beside the mean: drawn from the pose prior."""


@dataclass(frozen=True)
class HandParts:
    """What the fit of a body with hands has beside that of the body."""

    terms: Sequence[Term]
    join: BodyWithHands

    def stage(self, last: Stage) -> Stage:
        """The stage of body and hands together, after one of the body alone."""
        names = {term.name for term in self.terms}
        return replace(last, weights={**last.weights, **{n: w for n, w in HAND_TERMS.items() if n in names}})


def hand_parts(config: CfgNode, body: SmplBody) -> HandParts | None:
    """Of a body that has both hands, unless the settings leave them out.

    Raises:
        ConfigError: the pose prior is not of this body's fingers. Errors of `locate` and of reading.
    """
    name = config.PRIORS.HANDS
    if not name or body.skeleton.root != SMPL.root or set(body.skeleton.fingers) != {side[:-1] for side in SIDES}:
        return None
    gmm = PoseGmm.from_file(locate(HAND_GMM if name == AUTO else name))
    try:
        prior = HandPosePrior(body.skeleton, gmm)
    except ValueError as error:
        raise ConfigError(f"PRIORS.HANDS: '{name}' does not go with the body {config.BODY.PATH}. {error}") from None
    limits = HandLimits.from_file(locate(config.PRIORS.HAND_LIMITS or HAND_LIMITS))
    of_hands: list[Term] = [prior, *(FingerLimits(body, limits, side[:-1]) for side in SIDES), *fingers_apart(body)]
    drawn = gmm.sample(POSES, torch.Generator().manual_seed(config.SEED))
    poses = rotvec_to_matrix(torch.cat([gmm.means, drawn]).unflatten(1, (-1, 3)))
    return HandParts(of_hands, BodyWithHands(body.skeleton, poses))


@cache
def config_with_hands(settings: str) -> CfgNode | None:
    """The settings for people whose hands are seen, where these (as YAML) are of the default body; else None."""
    config = CfgNode.load_cfg(settings).clone()
    default = config.BODY.PATH == BODY and config.PRIORS.HANDS == AUTO and default_of("BODY.KIND") == config.BODY.KIND
    if not default or config.FIT.START not in STARTS or config.FIT.STAGES:
        return None
    config.BODY.PATH = BODY_WITH_HANDS
    config.freeze()
    return config


@cache
def _settings_without_hands(settings: str) -> str:
    """Why people whose hands are seen are fitted without them by these settings (as YAML), of the default body, which
    could; empty where the settings say that they should be, or are of another body."""
    config = CfgNode.load_cfg(settings)
    if config.BODY.PATH != BODY or config.PRIORS.HANDS != AUTO:
        return ""
    if config.FIT.STAGES:
        return "FIT.STAGES are stages of a body alone"
    if config.FIT.START not in STARTS:
        return f"hands are fitted from the initial estimate, and FIT.START is {config.FIT.START}"
    return ""


def why_without_hands(settings: str, measurements: Sequence[object], started: bool) -> str:
    """Why the hands of a call's people are left out although the default body's could be fitted; empty where that is
    what the settings say. started: a start without hands is given."""
    if why := _settings_without_hands(settings):
        return why
    if config_with_hands(settings) is None:
        return ""
    if about_shapes_of_one_body(measurements):
        return "Age and Gender are known of the body without hands"
    return "init= is a body without hands" if started else ""


def about_shapes_of_one_body(measurements: Sequence[object]) -> bool:
    """Whether sex or age is measured, which are about the betas of the free body alone: hands are then left out."""
    return any(isinstance(one, Age | Gender) for one in measurements)

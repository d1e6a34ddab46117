"""The focal length of a photograph from the people in it, fit(..., focal="free"); and `hmrfit.focal_effect`.

All people of a photograph share its focal length: each says log f_i ± s_i beside the prior, and their product is

    1/s² = 1/s0² + sum_i (1/s_i² - 1/s0²),        log f - log f0 = s² sum_i (log f_i - log f0)/s_i²
"""

import math
from dataclasses import replace

import torch

from hmrfit.build import Engine
from hmrfit.fitting.evidence import Evidence
from hmrfit.fitting.focal import LENS_STD, WRONG, FocalSensitivity, checked_factor, free_focal, last_stage
from hmrfit.io.photo import Photo
from hmrfit.ops.check import brief_repr
from hmrfit.result import FitResult

MEASURED = 3.0
"""How many times its own standard deviation a found log f is off (root mean square over 100 people in motion set aside,
one photograph each, 20-110 mm lenses): the pose prior is surer of a pose than poses are."""


def with_free_focal(photo: Photo, engine: Engine, evidence: Evidence | None) -> Photo:
    """The photograph with the focal length that its people speak for, from the camera it has as the prior's middle."""
    fitter = engine.fitter
    fit = fitter.fit(photo.keypoints, photo.camera, evidence=evidence)
    body, stage = fitter.point_body(photo.keypoints.names), last_stage(fitter.schedule, fit)
    found = free_focal(body, fitter.terms, stage, fit.state, fit.observation)
    # a person whose energy has lost its numbers says nothing
    said = torch.where(found.log_factor.isfinite(), found.std**-2, 0.0).nan_to_num(0.0, 0.0, 0.0)
    precision = LENS_STD**-2 + (said - LENS_STD**-2).clamp_min(0).sum()
    away = float((found.log_factor.nan_to_num(0.0) * said).sum() / precision)
    spread = min(MEASURED / math.sqrt(float(precision)), LENS_STD)
    focal, unknown = photo.camera.focal * math.exp(away), torch.zeros_like(photo.camera.focal_known)
    camera = replace(photo.camera, focal=focal, focal_known=unknown)
    source = f"fitted beside the people, about {photo.focal_source.split(',')[0]}: right to about {100 * spread:.0f} %"
    return replace(photo, camera=camera, focal_source=source)


def focal_effect(result: FitResult, factor: float = WRONG) -> FocalSensitivity:
    """What another focal length, `factor` times the one that was used, would have changed.

    Args:
        result: of `hmrfit.fit`; of a loaded one, factors other than 1.2 are answered to first order. See
            `FitResult.focal_effect`, which is this for 1.2.

    Returns: metres: `depth` (N,) of the pelvis, `joints` (N, J) how far each moves relative to it, `moved` (N, J, 3)
        the same as vectors.

    Raises:
        ValueError, TypeError: factor is no number above 0, or the result was saved without what is needed.
    """
    if not isinstance(result, FitResult):
        raise TypeError(f"focal_effect is about a result of hmrfit.fit, not {brief_repr(result)}.")
    factor = checked_factor(factor)
    return result.focal_effect if factor == WRONG else result.with_other_focal(factor)

"""The focal length of a photograph from the people in it, fit(..., focal="free").

All people of a photograph share its focal length: each says log f_i ± s_i beside the prior, and their product is

    1/s² = 1/s0² + sum_i (1/s_i² - 1/s0²),        log f - log f0 = s² sum_i (log f_i - log f0)/s_i²

The frames of a sequence say nearly the same as each other, so that they count as one person: the mean in place of the
sum. Each view of a person has a focal length of its own; but the size of the body holds them together, so that what one
view says beside the others is mostly what those were begun with. All of them by one factor e^s come first, from fits
with s and s ± h,

    s <- s - E'(s)/E''(s),       E(s) = min over bodies of the energy of all views + C/2 (s/s0)²

and then each beside the others.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.focal import FARTHEST, LENS_STD, LONGEST_STEP, free_focal
from hmrfit.io.photo import Photo
from hmrfit.types import BodyParams, RecordTable

MEASURED = 3.0
"""How many times its own standard deviation a found log f is off (root mean square over 100 people of held-out motion,
one photograph each, 20-110 mm lenses): the pose prior is surer of a pose than poses are."""

H, SHARED_STEPS = 0.05, 3
"""Of the factor that all views share: the differences' step of its logarithm, and the Newton steps."""

FRAMES = 32
"""Of a sequence, at most: evenly spaced."""


@dataclass(frozen=True)
class Spoken:
    """What B people say of the focal length of their camera."""

    log_factor: Tensor  # (B,) log of the focal length over the one begun with
    precision: Tensor  # (B,) 1/s_i², the prior's in it; 0 for a person whose energy has no numbers

    def together(self, count_as: Literal["people", "frames"]) -> tuple[float, float]:
        """(log f - log f0, s) of all of them."""
        prior = LENS_STD**-2
        more = (self.precision - prior).clamp_min(0)
        one = max(int((self.precision > 0).sum()), 1) if count_as == "frames" else 1
        precision = prior + float(more.sum()) / one
        return float((self.log_factor * self.precision).sum()) / one / precision, _honest(precision)


def _honest(precision: float) -> float:
    """The standard deviation of log f that was measured where the energy says 1/s²."""
    return min(MEASURED / math.sqrt(precision), LENS_STD)


def spoken(fitter: Fitter, fit: Fit) -> Spoken:
    """What the people of a fit say."""
    body = fitter.point_body(fit.observation.keypoints.names)
    found = free_focal(body, fitter.terms, fit.stage, fit.state, fit.observation)
    precision = torch.where(found.log_factor.isfinite(), found.std**-2, 0.0).nan_to_num(0.0, 0.0, 0.0)
    return Spoken(found.log_factor.nan_to_num(0.0), precision)


def with_free_focal(
    photo: Photo,
    fitter: Fitter,
    measurements: RecordTable,
    start: tuple[BodyParams | None, Tensor | None],
    rows: Literal["people", "frames"] = "people",
) -> Photo:
    """The photograph with the focal length that its people speak for, from the camera it has as the prior's middle.

    start: the caller's for each person, and how wrong it is, degrees, one number or (J,); None where not given.
    """
    chosen = torch.arange(len(photo))
    if rows == "frames" and len(photo) > FRAMES:
        chosen = torch.linspace(0, len(photo) - 1, FRAMES).round().long()
    init, std = start
    begun = None if init is None else init[chosen]
    fit = fitter.fit(photo.keypoints[chosen], photo.camera[chosen], begun, std, measurements[chosen])
    away, of_focal = spoken(fitter, fit).together(rows)
    return _refocused(photo, away, of_focal)


FocalLike = float | Sequence[float] | Literal["free"] | None
"""Pixels, one number or (fx, fy); "free": fitted beside the people."""


def split_focal(focal: FocalLike) -> tuple[bool, float | Sequence[float] | None]:
    """(whether it is fitted too, pixels). Another text than "free" is refused where pixels are read."""
    return (True, None) if isinstance(focal, str) and focal == "free" else (False, focal)


def is_free(setting: str, photo: Photo) -> bool:
    """Whether the focal length is fitted by FIT.FOCAL, since nothing says what it is."""
    return setting == "free" and not bool(photo.camera.focal_known.any())


def each_with_free_focal(
    setting: str, photos: Sequence[Photo], rows: Sequence[Tensor], fitter: Fitter, measurements: RecordTable
) -> list[Photo]:
    """Each photograph with its own people's focal length, where nothing says what it is.

    setting: FIT.FOCAL. rows: of each photograph's people among all. measurements: of all people.
    """
    return [
        with_free_focal(photo, fitter, measurements[row], (None, None)) if is_free(setting, photo) else photo
        for photo, row in zip(photos, rows, strict=True)
    ]


FitEachView = Callable[[list[Photo]], tuple[Fitter, Fit]]
"""The fit of a person in each view beside the others, and the fitter that made it."""


def views_with_free_focal(photos: list[Photo], fit_each_view: FitEachView, sweeps: int = 2) -> list[Photo]:
    """The views of one person, each with the focal length that the pictures speak for."""
    begun, (shared, shared_std) = photos, _of_all_views(photos, fit_each_view)
    away, std = torch.full((len(photos),), shared, dtype=torch.float64), [shared_std] * len(photos)
    for sweep in range(sweeps + 1):
        photos = [_refocused(p, a, s) for p, a, s in zip(begun, away.tolist(), std, strict=True)]
        if sweep < sweeps:
            spoke = spoken(*fit_each_view(photos))
            away = (away + spoke.log_factor).clamp(-FARTHEST, FARTHEST)
            own = [1 / max(p, LENS_STD**-2) for p in spoke.precision.tolist()]
            std = [_honest(1 / (shared_std**2 + variance)) for variance in own]
    return photos


def _of_all_views(photos: list[Photo], fit_each_view: FitEachView) -> tuple[float, float]:
    """(s, its standard deviation by the energy) of the factor e^s that all focal lengths of the views are multiplied
    with. The energy of a person is the same in the frame of each view: the best of their fits counts."""

    def energy(s: float) -> float:
        cost = fit_each_view([_refocused(photo, s, LENS_STD) for photo in photos])[1].cost
        return float(cost.nan_to_num(torch.inf).min()) + 0.5 * len(photos) * (s / LENS_STD) ** 2

    s, here, curvature = 0.0, energy(0.0), 0.0
    for _ in range(SHARED_STEPS):
        up, down = energy(s + H), energy(s - H)
        slope, curvature = (up - down) / (2 * H), (up + down - 2 * here) / H**2
        newton = -slope / curvature if curvature > 0 else -math.copysign(LONGEST_STEP, slope)
        trial = min(max(s + min(max(newton, -LONGEST_STEP), LONGEST_STEP), -FARTHEST), FARTHEST)
        there = energy(trial)
        if not there < here:
            break
        s, here = trial, there
    return s, max(curvature, len(photos) * LENS_STD**-2) ** -0.5


def _refocused(photo: Photo, away: float, std: float) -> Photo:
    """The photograph with e^away times its focal length, right to about std."""
    focal, unknown = photo.camera.focal * math.exp(away), torch.zeros_like(photo.camera.focal_known)
    camera = replace(photo.camera, focal=focal, focal_known=unknown)
    source = f"fitted beside the people, about {photo.focal_source.split(',')[0]}: right to about {100 * std:.0f} %"
    return replace(photo, camera=camera, focal_source=source)

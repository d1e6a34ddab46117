"""What a caller says of the keypoints' noise: who made them, or how far off they are.

keypoint_source    "labelled" by people, by a "detector", or "exact": they mean the body's own points
keypoint_std       standard deviation along each coordinate, a fraction of the person's box, of a keypoint about the
                   place where the body's own point is seen

Both are about how sure a fit is (`hmrfit.fitting.uncertainty`), not about the fit.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.io.photo import Photo
from hmrfit.keypoints import SOURCES, KeypointsFrom, body_places
from hmrfit.ops.check import brief_repr, did_you_mean, numbers

STDS = (1e-4, 0.5)
"""What `keypoint_std` may be: a box of ten thousand pixels is no photograph's, and half of it no keypoint's noise."""

UNITS = "fractions of the person's box (pixels divided by its longer side)"


def with_known_noise(photo: Photo, source: KeypointsFrom | None, std: ArrayLike | None) -> Photo:
    """The photograph whose people's keypoints are noted as such; where nothing is said, as their file says.

    Args:
        std: one number, (K,) one a keypoint, (N, 1) one a person, or (N, K), for the N people given.

    Raises:
        ValueError, TypeError: an unknown source, numbers that are no such fractions, or both.
    """
    if source is not None and (not isinstance(source, str) or source not in SOURCES):
        near = did_you_mean(source, SOURCES) if isinstance(source, str) else ""
        raise ValueError(f"keypoint_source should be one of {', '.join(SOURCES)}, not {brief_repr(source)}.{near}")
    if std is None:
        people = [person if source is None else replace(person, made_by=source) for person in photo.people]
        return replace(photo, people=tuple(people))
    if source is not None:
        raise ValueError(
            "keypoint_source says how large the keypoints' noise usually is, and keypoint_std how large it is. Give "
            "one of them."
        )
    stds = _stds(std, photo)
    people = [replace(person, std=own) for person, own in zip(photo.people, stds, strict=True)]
    return replace(photo, people=tuple(people))


def with_known_noise_in_views(
    photos: Sequence[Photo], source: KeypointsFrom | None, std: ArrayLike | None
) -> list[Photo]:
    """The same for C views of one person, each one of the N people."""
    if std is None:
        return [with_known_noise(photo, source, None) for photo in photos]
    one = replace(photos[0], people=tuple(p.people[0] for p in photos), rows=tuple(range(len(photos))), left_out={})
    people = with_known_noise(one, source, std).people
    return [replace(photo, people=(person,)) for photo, person in zip(photos, people, strict=True)]


def _stds(std: ArrayLike, photo: Photo) -> NDArray[np.float64]:
    """(n, K) of the people who are fitted."""
    N, K = photo.given, len(photo.people[0])
    what = f"{UNITS}, one number, ({K},) one for each keypoint, ({N}, 1) one for each person, or ({N}, {K})"
    found = numbers(std, "keypoint_std", what, None, *STDS)
    body = list(body_places(photo.people[0].names))
    if found.ndim and found.shape[-1] == len(body) < K:  # nothing is said of the hands
        every = np.full((*found.shape[:-1], K), np.nan)
        every[..., body] = found
        found = every
    if found.shape not in ((), (1,), (K,), (N, 1), (N, K)):
        raise ValueError(f"keypoint_std should be {what}, but has the shape {found.shape}.")
    return np.broadcast_to(found, (N, K))[list(photo.rows)]

"""What geometry shows of keypoints before a fit: another frame, another set, left and right swapped.

Warnings, not errors: a person may really stand on their hands. The first cause that explains what one sees is named:
a wrong frame before wrong names, wrong names before exchanged axes, those before exchanged sides.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.io.keypoint_checks.body import CONFIDENT, SeenBody
from hmrfit.io.keypoint_checks.order import wrong_order
from hmrfit.io.keypoint_checks.sides import side_warnings
from hmrfit.keypoints import base_name, part_of, resolve_set
from hmrfit.ops.check import check_shape
from hmrfit.ops.how_many import how_many

FEWEST = 6
"""Fewer seen keypoints than this leave most of the body to the prior."""

SMALLEST_BOX = 16.0
"""Pixels. In a smaller person, rounding alone turns a forearm by ten degrees."""

FLAT = 0.01
"""Of the longest extent. Keypoints that lie nearer than this to one line show no body: from the side, shoulders, hips
and feet are still several times as far."""

STRAY, CORE = 20.0, 0.75
"""A keypoint so many boxes away from the box of the nearest three quarters is not one of the same person's. Of hundreds
of points on a face those are the face alone, and feet lie ten times its size away."""

HEAPED = 3
"""So many different parts of the body at exactly one place are no picture of it."""


def check_keypoints(
    names: Sequence[str] | str,
    xy: ArrayLike,
    confidence: ArrayLike | None = None,
    image_size: tuple[int, int] | None = None,
    detector: str | None = None,
) -> list[str]:
    """What looks wrong with one person's keypoints, a sentence each with what to do; an empty list where all is well.

    Args:
        names: K keypoint names, or a set's name. xy: (K, 2) pixels of the full image. confidence: (K,), 1 where absent.
        image_size: (width, height), pixels. detector: which one found them, if that is known (`PersonKeypoints`).
    Raises:
        ValueError: as many names as keypoints are needed.
    """
    names = resolve_set(names)
    xy = np.asarray(xy, np.float64)
    confidence = np.ones(len(xy)) if confidence is None else np.asarray(confidence, np.float64)
    check_shape(xy, f"{len(names)} 2", "xy", hint="One row for each name of the keypoint set.")
    check_shape(confidence, f"{len(names)}", "confidence")
    seen = (confidence > 0) & np.isfinite(xy).all(1)
    if not seen.any():
        return ["No keypoint has a confidence above 0: no person is seen."]
    frame = _frame_warnings(xy, seen, image_size)
    if frame:
        return frame  # sides and bones mean nothing in a wrong frame
    with np.errstate(over="ignore", invalid="ignore"):
        return _body_warnings(names, xy, np.where(seen, confidence, 0.0), image_size, detector)


def _body_warnings(
    names: tuple[str, ...],
    xy: NDArray,
    confidence: NDArray,
    image_size: tuple[int, int] | None,
    detector: str | None,
) -> list[str]:
    """Coordinates that make no body, or not the one that the names say. confidence: 0 where nothing is seen."""
    seen = confidence > 0
    unlike_a_body = _stray(names, xy, seen) or _degenerate(names, xy, seen)
    if unlike_a_body:
        return [unlike_a_body]  # no names and no sides in it
    sure = SeenBody(names, xy, seen & (confidence >= CONFIDENT * confidence[seen].max()))
    other_order = wrong_order(sure)
    if other_order:
        return [other_order]  # sides mean nothing under wrong names
    count = int(seen.sum())
    few = (
        f"Only {count} of {how_many(len(xy), 'keypoints')} {'is' if count == 1 else 'are'} seen: most of the body "
        "will come from "
    )
    few += "the prior alone."
    return [few] * (count < FEWEST) + side_warnings(sure, confidence, image_size, detector)


def _frame_warnings(xy: NDArray, seen: NDArray, size: tuple[int, int] | None) -> list[str]:
    """Coordinates that cannot be pixels of this image."""
    points = xy[seen]
    extent = float((points.max(0) - points.min(0)).max())
    if len(points) > 2 and extent == 0:
        x, y = points[0]
        return [
            f"All {len(points)} keypoints lie at one spot, ({x:g}, {y:g}): they show no body. Were they "
            "filled in for "
            "a person who was not found? Give unseen keypoints the confidence 0."
        ]
    if len(points) > 1 and np.abs(points).max() <= 2.0:
        return ["All coordinates lie within ±2: they look normalised. Multiply them to pixels of the full image."]
    if len(points) >= FEWEST and extent < SMALLEST_BOX:
        return [f"The person spans only {extent:.1f} pixels. Are these pixels of the full image?"]
    if (zeros := int((points == 0).all(1).sum())) and zeros < len(points):
        return [
            f"{how_many(zeros, 'keypoints lie', 'keypoint lies')} at exactly (0, 0) with confidence above 0. If they "
            "are unseen, give "
            "them 0."
        ]
    return _outside(points, size) if size is not None else []


def _stray(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> str | None:
    """Keypoints that lie so far from all others that nothing but them would be fitted."""
    far, times = stray_places(xy, seen)
    if not len(far):
        return None
    return f"{far_away(names, far, times)}. If they are unseen or another person's, give them the confidence 0."


def far_away(names: Sequence[str], far: NDArray[np.int64], times: float) -> str:
    """Which keypoints `stray_places` found, in words."""
    shown = ", ".join(names[i] for i in far[:3]) + (", ..." if len(far) > 3 else "")
    return f"Far from the person's other keypoints, up to {times:.0f} times their box, lie {shown}"


def stray_places(xy: NDArray, seen: NDArray) -> tuple[NDArray[np.int64], float]:
    """(the places of keypoints beyond `STRAY` boxes of the others, how many boxes the farthest is away)."""
    indices, nothing = np.flatnonzero(seen), (np.zeros(0, np.int64), 0.0)
    core = math.ceil(CORE * len(indices))
    if core < FEWEST or core == len(indices):
        return nothing
    points = xy[indices]
    ranked = np.sort(points, 0)  # of which all but the outermost lie within the box of any `core` of them
    if ((ranked[-1] - ranked[0]) <= STRAY * (ranked[core - 1] - ranked[-core])).all():
        return nothing
    nearest = np.argsort(np.abs(points - np.median(points, 0)).max(1), kind="stable")[:core]
    low, high = points[nearest].min(0), points[nearest].max(0)
    box = float((high - low).max())
    away = np.maximum(low - points, points - high).max(1)
    return (indices[away > STRAY * box], float(away.max()) / box) if box > 0 else nothing


def _share_outside(points: NDArray, size: NDArray) -> float:
    """Of the points, those more than a tenth of the image outside of it."""
    return float(((points < -0.1 * size) | (points > 1.1 * size)).any(1).mean())


def _outside(points: NDArray, size: tuple[int, int]) -> list[str]:
    limits = np.asarray(size, np.float64)
    outside = _share_outside(points, limits)
    if outside < 0.3:
        return []
    low, high = points.min(0), points.max(0)
    swapped = _share_outside(points[:, ::-1], limits) == 0
    hint = "With x and y exchanged they would fit." if swapped else "Are they of another image, crop or scale?"
    return [
        f"{outside:.0%} of the keypoints lie far outside of the image of {size[0]} × {size[1]} pixels "
        f"(x {low[0]:.0f} to {high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f}). {hint}"
    ]


def _degenerate(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> str | None:
    """All on one line, or several parts of the body at one place."""
    points = xy[seen]
    if len(points) >= FEWEST and _thickness(points) < FLAT:
        return (
            f"All {len(points)} keypoints lie on one line: they show no body. Look whether x and y are "
            "two columns "
            "of the same numbers, or were filled in for a person who was not found."
        )
    return _heaped(names, xy, seen)


def _thickness(points: NDArray[np.float64]) -> float:
    """The farthest from the line of least squares, over the length along it."""
    centred = points - points.mean(0)
    (a, b), (_, c) = (centred.T @ centred).tolist()
    angle = 0.5 * math.atan2(2 * b, a - c)
    along, off = (centred @ np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])).T
    length = float(along.max() - along.min())
    return float(np.abs(off).max()) / length if length > 0 else 0.0


def _heaped(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> str | None:
    """Different parts of the body at exactly one place; those of one head, hand or foot may share a pixel."""
    here: dict[tuple[float, float], list[str]] = {}
    for name, place, is_seen in zip(names, map(tuple, xy.tolist()), seen.tolist(), strict=True):
        if is_seen:
            here.setdefault(place, []).append(name)
    if len(here) > seen.sum() - HEAPED + 1:
        return None
    for (x, y), there in here.items():
        if len(there) >= HEAPED and len({_region(name) for name in there}) >= HEAPED:
            return (
                f"{len(there)} keypoints lie at exactly one spot, ({x:g}, {y:g}), "
                f"{', '.join(there[:3])} among them: "
                "they cannot all be there. If they are unseen, give them the confidence 0."
            )
    return None


def _region(name: str) -> str:
    """The part of the body within which several keypoints may share a pixel of a small person."""
    part = part_of(name)
    return "hips" if part in ("hip", "left_hip", "right_hip") else part or base_name(name)

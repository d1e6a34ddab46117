"""What the JSON formats have in common: how one is recognised, flat lists, boxes, sizes, tracks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.keypoint_files.numbers import numbers_of
from hmrfit.io.keypoint_files.person import Box, Found


@dataclass(frozen=True)
class JsonFormat:
    """How one format is recognised in a parsed file, and read."""

    name: str
    recognises: Callable[[Any], bool]
    read: Callable[[Any, str], Iterator[Found]]


def has(*keys: str) -> Callable[[Any], bool]:
    """A dictionary with these keys."""
    return lambda content: isinstance(content, Mapping) and all(key in content for key in keys)


def list_of(*keys: str) -> Callable[[Any], bool]:
    """A list of dictionaries with these keys."""
    return lambda content: isinstance(content, list | tuple) and len(content) > 0 and all(map(has(*keys), content))


def lists_of(*keys: str) -> Callable[[Any], bool]:
    """A list of such lists."""
    return lambda content: isinstance(content, list | tuple) and len(content) > 0 and all(map(list_of(*keys), content))


def person_of(make: Callable[[], Found], what: str, person_id: Any, image: Any = None) -> Found:
    """One of the people of a file; one who is broken is noted as such, and the others are read."""
    try:
        return make()
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
        known = isinstance(error, ValueError)
        problem = str(error) if known else f"{what} is built differently ({type(error).__name__}: {error})."
        return Found(np.zeros((0, 2)), None, what, str(person_id), image=image, problem=problem)


def triples(values: Any, what: str) -> NDArray:
    """A flat list x, y, c, x, y, c, ... -> (K, 3)."""
    flat = numbers_of(values, what)
    if flat.ndim == 2 and flat.shape[1] == 3:
        return flat
    if flat.ndim != 1 or flat.size % 3 or not flat.size:
        raise ValueError(f"{what}: expected x, y, confidence for each keypoint, but there are {flat.size} numbers.")
    return flat.reshape(-1, 3)


def joined_scores(xy: Any, scores: Any, what: str, called: str) -> NDArray:
    """[[x, y], ...] and its list of scores (or None) -> (K, 3), or (K, 2) without scores."""
    points = numbers_of(xy, what)
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"{what}: 'keypoints' should be a list of [x, y], but has the shape {points.shape}.")
    if scores is None:
        return points
    confidence = numbers_of(scores, what)
    if confidence.shape != points.shape[:1]:
        raise ValueError(f"{what}: {len(points)} keypoints, but {called} has the shape {confidence.shape}.")
    return np.concatenate([points[:, :2], confidence[:, None]], 1)


def box_of(values: Any, what: str, corners: bool = False) -> Box | None:
    """[x, y, width, height], or two corners; None where there is none."""
    if values is None:
        return None
    box = numbers_of(values, f"{what}, bbox").ravel()
    if box.size < 4 or not np.isfinite(box[:4]).all():
        raise ValueError(f"{what}: a box should be four numbers, but is {values}.")
    x, y, width, height = box[:4] - (np.array([0, 0, *box[:2]]) if corners else 0)
    if width < 0 or height < 0:
        raise ValueError(f"{what}: the box has the negative size {width:g} × {height:g}. Expected x, y, width, height.")
    return float(x), float(y), float(width), float(height)


def size_of(values: Any, what: str) -> tuple[int, int] | None:
    """(width, height) in pixels; None where there is none."""
    if values is None or None in tuple(values):
        return None
    size = numbers_of(values, f"{what}, size")
    if size.shape != (2,) or not (size >= 1).all() or not np.isfinite(size).all():
        raise ValueError(f"{what}: an image's size should be a positive width and height, but is {values}.")
    return int(size[0]), int(size[1])


def track_of(value: Any) -> str | None:
    """The number of a track, as trackers write it: 3, 3.0, [3.0]; None and −1 are none."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) == 1 else None
    if value is None or value == -1 or isinstance(value, Mapping):
        return None
    return f"{value:g}" if isinstance(value, int | float) else str(value)

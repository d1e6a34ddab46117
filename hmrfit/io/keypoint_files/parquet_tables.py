"""Keypoints of many people as a Parquet table, a person a row: what large collections are kept in.

column         type            meaning
photograph     text            the image's name or path; `image` and `id` are understood too
keypoints      numbers 3 K     x, y, confidence of each, pixels of the full image, (0, 0) the top-left pixel's corner
keypoint_set   text            the set's name, unless it is given otherwise
person         text            whose they are; by default the row's number
image_size     numbers 2       width, height, pixels; optional
box            numbers 4       x, y, width, height; optional
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmrfit.io.keypoint_files.person import Box, Found
from hmrfit.io.parquet import read_rows

PHOTOGRAPH = ("photograph", "image", "id")
COLUMNS = (*PHOTOGRAPH, "keypoints", "keypoint_set", "person", "image_size", "box")


def read_parquet(path: Path) -> Iterator[Found]:
    """The people of a table. Errors: those of `parquet.read_rows`; ValueError: the numbers are no keypoints."""
    for i, row in enumerate(read_rows(path, COLUMNS)):
        yield found_in(row, i, f"'{path}'")


def found_in(row: Mapping[str, Any], number: int, name: str) -> Found:
    """The person of a row."""
    what = f"row {number} of {name}"
    named = next((row[column] for column in PHOTOGRAPH if row.get(column) is not None), None)
    size = row.get("image_size")
    return Found(
        _numbers(row.get("keypoints"), what),
        row.get("keypoint_set"),
        what,
        person_id=str(number if row.get("person") is None else row["person"]),
        shift=0.0,
        image=None if named is None else str(named),
        image_size=None if size is None else (int(size[0]), int(size[1])),
        box=_box(row.get("box"), what),
    )


def _box(values: object, what: str) -> Box | None:
    if values is None:
        return None
    numbers = np.asarray(values, np.float64)
    if numbers.shape != (4,):
        raise ValueError(f"{what}: `box` should be x, y, width, height.")
    x, y, width, height = numbers.tolist()
    return x, y, width, height


def _numbers(values: object, what: str) -> np.ndarray:
    """(K, 3)."""
    try:
        points = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim == 2 and points.shape[1] == 3:
        return points
    if points.ndim != 1 or not len(points) or len(points) % 3:
        raise ValueError(f"{what}: `keypoints` should be a list of x, y, confidence of each keypoint, 3 K numbers.")
    return points.reshape(-1, 3)

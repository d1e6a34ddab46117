"""Plain arrays as npy, npz and csv: (K, 2), (K, 3) or several people (N, K, 2 or 3), in our own pixels."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.bounded import csv_rows, read_text
from hmrfit.bounded_arrays import PythonObjects, read_numpy
from hmrfit.budget import TooLarge, check_bytes
from hmrfit.data.keypoint_files.json_formats import AskedSet, set_of_names
from hmrfit.data.keypoint_files.person import PersonKeypoints, clean, names_for

PERSON = 6000
"""Bytes that a person of a file may take in memory; 200,000 of them are made in ten seconds."""


def read_npy(path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """One array."""
    yield from _people(_load(path), None, path, asked)


def read_npz(path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """An array `keypoints` (or `xy` with `confidence`, or the only one), beside it `names` or `keypoint_set`."""
    arrays = _load(path)
    check_bytes(PERSON * arrays.get("names", np.empty(0)).size, f"'{path}'")
    said = [str(name) for name in arrays["names"].ravel()] if "names" in arrays else None
    said = str(arrays["keypoint_set"]) if "keypoint_set" in arrays else said
    yield from _people(_main_array(arrays, path), said, path, asked)


def _load(path: Path) -> NDArray | dict[str, NDArray]:
    """numpy's file, without executing what it says: arrays of Python objects are refused."""
    try:
        return read_numpy(path)
    except TooLarge:
        raise
    except PythonObjects as error:
        raise ValueError(f"{error} Save plain numbers: numpy.save(path, array.astype(float)).") from error
    except ValueError as error:
        raise ValueError(f"{error} Write or copy it again.") from error


def _main_array(arrays: Mapping[str, NDArray], path: Path) -> NDArray:
    if "keypoints" in arrays:
        return arrays["keypoints"]
    if "xy" in arrays and "confidence" in arrays:
        xy, confidence = arrays["xy"], arrays["confidence"]
        if xy.shape[:-1] != confidence.shape:
            raise ValueError(f"'{path}': xy has the shape {xy.shape}, but confidence {confidence.shape}.")
        return np.concatenate([xy, confidence[..., None]], -1)
    others = [key for key in arrays if key not in ("names", "keypoint_set")]
    if len(others) != 1:
        raise ValueError(
            f"'{path}' holds {', '.join(arrays) or 'nothing'}; expected one array called 'keypoints', (K, 3), "
            "or 'xy' (K, 2) and 'confidence' (K,)."
        )
    return arrays[others[0]]


def _people(points: NDArray, said: AskedSet, path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    what = f"'{path}'"
    if not np.issubdtype(points.dtype, np.number) or np.iscomplexobj(points):
        raise ValueError(f"{what} holds {points.dtype}, expected numbers.")
    if points.ndim not in (2, 3) or points.shape[-1] not in (2, 3):
        raise ValueError(
            f"{what} has the shape {points.shape}; expected (K, 3) with x, y, confidence, (K, 2) with x, y, "
            "or (N, K, 3) for N people."
        )
    people = points[None] if points.ndim == 2 else points
    check_bytes(PERSON * len(people), what)
    names = names_for(people.shape[1], said, asked, what)
    for i, person in enumerate(people):
        confidence = person[:, 2] if person.shape[1] == 3 else None
        xy, confidence = clean(person[:, :2], confidence, 0.0, f"{what}, person {i}")
        yield PersonKeypoints(names, xy, confidence, path, str(i))


def read_csv(path: Path, asked: AskedSet) -> Iterator[PersonKeypoints]:
    """One keypoint a line: [name,] x, y[, confidence]; a heading is optional; commas, semicolons or tabs between."""
    rows = _csv_rows(path)
    named = bool(rows) and not _is_number(rows[0][0])
    names = [row[0] for row in rows] if named else None
    try:
        points = np.array([[float(cell or "nan") for cell in row[named:]] for row in rows], np.float64)
    except ValueError as error:
        raise ValueError(f"'{path}': expected x, y and confidence as numbers in each line ({error}).") from error
    if points.ndim != 2:
        raise ValueError(f"'{path}' holds no keypoints. Expected a line x, y, confidence for each.")
    said = (set_of_names(names) or names) if names else None
    yield from _people(points, said, path, asked)


def _csv_rows(path: Path) -> list[list[str]]:
    """The lines that are keypoints: not empty, and not the heading."""
    try:
        text = read_text(path)
    except TooLarge:
        raise
    except ValueError as error:
        raise ValueError(f"'{path}' is not a text file, although it is called csv.") from error
    between = next((mark for mark in ";\t" if mark in text), ",")
    rows = list(csv_rows(text, between, f"'{path}'"))
    return rows[1:] if rows and not any(map(_is_number, rows[0])) else rows


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True

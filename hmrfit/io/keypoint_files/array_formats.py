"""Plain arrays as npy and npz: (K, 2), (K, 3) or several people (N, K, 2 or 3), in our own pixels; SPIN's datasets."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.camera import PIXEL_CENTER
from hmrfit.io.bounded import advising, read_numpy
from hmrfit.io.budget import check_bytes
from hmrfit.io.keypoint_files.names import DeclaredSet
from hmrfit.io.keypoint_files.person import Found
from hmrfit.keypoints import KeypointsFrom

SPIN_FIELDS = {"openpose": "openpose25", "part": "spin24"}
"""Keypoints of SPIN's npz, in the order of the set spin49."""

CONFIDENCES = ("confidence", "conf", "scores", "score")
"""What stands beside `xy`."""

SPIN_BOX = 200.0
"""Pixels: what `scale` is multiplied by."""

PERSON = 6000
"""Bytes that a person of a file may take in memory; 200,000 of them are made in ten seconds."""


def read_numpy_file(path: Path) -> Iterator[Found]:
    """An npy's array; or an npz's `keypoints` (or `xy` with `confidence`, or the only one), beside it `names` or
    `keypoint_set`."""
    yield from people_of_arrays(_load(path), f"'{path}'")


def people_of_arrays(arrays: NDArray | Mapping[str, NDArray], what: str) -> Iterator[Found]:
    """The people of an npz file's arrays."""
    if not isinstance(arrays, Mapping):
        yield from people_of_array(arrays, None, what)
        return
    check_bytes(PERSON * sum(np.size(arrays[key]) for key in ("names", "imgname") if key in arrays), what)
    if "imgname" in arrays and any(field in arrays for field in SPIN_FIELDS):
        yield from _spin(arrays, what)
        return
    declared: DeclaredSet = [str(name) for name in np.ravel(arrays["names"])] if "names" in arrays else None
    declared = str(arrays["keypoint_set"]) if "keypoint_set" in arrays else declared
    yield from people_of_array(_main_array(arrays, what), declared, what)


def _load(path: Path) -> NDArray | dict[str, NDArray]:
    """numpy's file, without executing what it says: arrays of Python objects are refused."""
    with advising("Write or copy it again.", "Save plain numbers: numpy.save(path, array.astype(float))."):
        return read_numpy(path)


def _main_array(arrays: Mapping[str, NDArray], what: str) -> NDArray:
    if "keypoints" in arrays:
        return np.asarray(arrays["keypoints"])
    scores = next((key for key in CONFIDENCES if key in arrays), None)
    if "xy" in arrays and scores is not None:
        xy, confidence = np.asarray(arrays["xy"]), np.asarray(arrays[scores])
        if xy.shape[:-1] != confidence.shape:
            raise ValueError(f"{what}: xy has the shape {xy.shape}, but confidence {confidence.shape}.")
        return np.concatenate([xy, confidence[..., None]], -1)
    others = [key for key in arrays if key not in ("names", "keypoint_set")]
    if len(others) != 1:
        raise ValueError(
            f"{what} holds {', '.join(arrays) or 'nothing'}; expected one array called 'keypoints', (K, 3), "
            "or 'xy' (K, 2) and 'confidence' (K,)."
        )
    return np.asarray(arrays[others[0]])


def people_of_array(points: NDArray, declared: DeclaredSet, what: str) -> Iterator[Found]:
    """(K, 2), (K, 3), (N, K, 2) or (N, K, 3) -> people; a row without keypoints is a person without any."""
    if not np.issubdtype(points.dtype, np.number) or np.iscomplexobj(points):
        raise ValueError(f"{what} holds {points.dtype}, expected numbers.")
    while points.ndim > 3 and 1 in points.shape[:-2]:  # a network's batch of one
        points = points.squeeze(points.shape.index(1))
    if points.ndim not in (2, 3) or points.shape[-1] not in (2, 3):
        raise ValueError(
            f"{what} should have the shape (K, 3) with x, y, confidence, (K, 2) with x, y, or (N, K, 3) for N people; "
            f"the shape is {points.shape}.{_shape_hint(points.shape)}"
        )
    people = points[None] if points.ndim == 2 else points
    check_bytes(PERSON * len(people), what)
    people = people.astype(np.float64)
    for i, person in enumerate(people):
        yield Found(person, declared, f"{what}, person {i}" if len(people) > 1 else what, str(i), shift=0.0, kept=True)


def _shape_hint(shape: tuple[int, ...]) -> str:
    """What to do with another shape that is often met."""
    if len(shape) == 2 and shape[0] in (2, 3):
        return " Give its transpose, `keypoints.T`."
    if len(shape) in (2, 3) and shape[-1] == 4:
        return " If these are x, y, z, confidence: take `keypoints[..., [0, 1, 3]]`."
    return ""


def _spin(arrays: Mapping[str, NDArray], what: str) -> Iterator[Found]:
    """SPIN's dataset (see `hmrfit.datasets.spin_npz`): the fields that any person has, pixel centres at integers."""
    images = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(arrays["imgname"])]
    fields = {field: np.asarray(arrays[field], np.float64) for field in SPIN_FIELDS if field in arrays}
    for field, points in fields.items():
        if points.ndim != 3 or points.shape[0] != len(images) or points.shape[-1] != 3:
            raise ValueError(f"{what}: '{field}' has the shape {points.shape}, expected ({len(images)}, K, 3).")
    used = {field: points for field, points in fields.items() if (points[..., 2] > 0).any()} or fields
    declared = "spin49" if len(used) == 2 else SPIN_FIELDS[next(iter(used))]
    points = np.concatenate(list(used.values()), 1)
    made_by: KeypointsFrom = "labelled" if list(used) == ["part"] else "detector"
    for i, (image, person) in enumerate(zip(images, points, strict=True)):
        box = _spin_box(arrays, i)
        yield Found(person, declared, f"{what}, row {i}", str(i), PIXEL_CENTER, image=image, box=box, made_by=made_by)


def _spin_box(arrays: Mapping[str, NDArray], row: int) -> tuple[float, float, float, float] | None:
    if "center" not in arrays or "scale" not in arrays:
        return None
    side = SPIN_BOX * float(np.ravel(arrays["scale"])[row])
    x, y = (float(value) - side / 2 for value in np.reshape(arrays["center"], (-1, 2))[row])
    return (x, y, side, side) if np.isfinite([x, y, side]).all() and side >= 0 else None

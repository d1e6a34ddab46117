"""From a keypoint file of any known format, or from keypoints in memory in any form that users have, to people."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.io import bounded
from hmrfit.io.budget import brief
from hmrfit.io.keypoint_files.array_formats import people_of_array, people_of_arrays, read_numpy_file
from hmrfit.io.keypoint_files.json_formats import JSON_FORMATS
from hmrfit.io.keypoint_files.names import AskedSet, asked_set
from hmrfit.io.keypoint_files.parquet_tables import read_parquet
from hmrfit.io.keypoint_files.person import Found, PersonKeypoints, finish
from hmrfit.io.keypoint_files.tables import read_csv, read_txt
from hmrfit.types import Keypoints

NAME = "keypoints"
"""What they are called in errors."""

NPY, ZIP = b"\x93NUMPY", b"PK\x03\x04"
"""How numpy's files begin."""

DEEPEST = 8
"""Lists and dictionaries within one another, in any known format."""


def read_keypoints(
    path: str | os.PathLike,
    keypoint_set: AskedSet = None,
    image_size: tuple[int, int] | None = None,
) -> list[PersonKeypoints]:
    """The people of a keypoint file; an empty list where it is in order but holds no people.

    Args:
        keypoint_set: a set's name or its names; needed where the file does not say it, and stronger where it does, but
            for the order: a file that names the same points in another order is believed.
        image_size: (width, height) of the image, pixels, kept with the people where the file says none. Formats that
            write fractions of it are read as such without it (`PersonKeypoints.fractions`); `at_size` makes pixels.
    Raises:
        FileNotFoundError: there is no such file. ValueError: it cannot be read, or its set is unknown; says what to do.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"'{path}' is a folder. Give one keypoint file, or use find_keypoint_file(image, folder)."
        )
    if not path.exists():
        bounded.refuse_url(path, "the keypoint file")
        raise FileNotFoundError(f"There is no keypoint file '{path}'.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"'{path}': unknown kind of file. Keypoints are read from {', '.join(READERS)}.")
    bounded.check_regular(path)
    return list(finish(reader(path), path, keypoint_set, image_size))


def _read_json(path: Path) -> Iterator[Found]:
    yield from parse_json(bounded.read_text(path, latin=True), f"'{path}'")


def parse_json(text: str, name: str) -> Iterator[Found]:
    """The people of a JSON text, or of one with a JSON text in every line."""
    if not text.strip():
        raise ValueError(f"{name} is empty. Was its download or copy cut off?")
    try:
        content = bounded.parse_json(text, name)
    except ValueError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if "Extra data" not in str(error) or len(lines) < 2:
            raise
        content = [bounded.parse_json(line, f"{name}, line {i + 1}") for i, line in enumerate(lines)]
    yield from people_of_json(content, name)


def people_of_json(content: Any, name: str) -> Iterator[Found]:
    """The people of what a JSON file of any known format held.

    Raises:
        ValueError: it is none of the formats, or built differently.
    """
    if content == []:
        return
    for form in JSON_FORMATS:
        if form.recognises(content):
            try:
                for found in form.read(content, name):
                    yield found if form.made_by is None else replace(found, made_by=form.made_by)
            except (KeyError, TypeError, AttributeError, IndexError, OverflowError) as error:
                reason = f"{type(error).__name__}: {brief(str(error))}"
                raise ValueError(f"{name} looks like {form.name}, but is built differently ({reason}).") from error
            return
    known = ", ".join(dict.fromkeys(form.name for form in JSON_FORMATS))
    raise ValueError(f"{name} is JSON, but none of the keypoint formats that are known: {known}.")


READERS: dict[str, Callable[[Path], Iterator[Found]]] = {
    ".json": _read_json,
    ".npy": read_numpy_file,
    ".npz": read_numpy_file,
    ".csv": read_csv,
    ".tsv": read_csv,
    ".txt": read_txt,
    ".parquet": read_parquet,
    ".jsonl": _read_json,
}
"""By suffix."""


# ---- in memory


def people_in_memory(keypoints: Any, keypoint_set: AskedSet = None) -> list[PersonKeypoints]:
    """Keypoints in any accepted form -> people.

    (K, 3) x, y, confidence, (K, 2), (N, K, 3), as arrays, tensors or lists; flat lists x, y, c, ... of a known set;
    (xy, scores); what `read_keypoints` returns; `hmrfit.Keypoints`; what any supported JSON file holds, loaded, as
    bytes, or as an open file; MediaPipe's landmarks.

    Raises:
        TypeError, ValueError: another form, another shape, or no keypoints of a person.
    """
    found: Iterable[Found]
    if isinstance(keypoints, PersonKeypoints):
        return [keypoints]
    if isinstance(keypoints, Sequence) and all(isinstance(p, PersonKeypoints) for p in keypoints):
        return list(keypoints)
    if isinstance(keypoints, Keypoints):
        points = torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1)
        found, keypoint_set = people_of_array(_plain(points), None, NAME), keypoints.names
    elif callable(getattr(keypoints, "read", None)):
        data = keypoints.read()
        found = parse_json(data, NAME) if isinstance(data, str) else _of_bytes(data)
    elif isinstance(keypoints, bytes | bytearray):
        found = _of_bytes(bytes(keypoints))
    elif _is_json(keypoints):
        found = _of_json(keypoints)
    elif (landmarks := _landmarks(keypoints)) is not None:
        found = people_of_json(landmarks, NAME)
    elif (results := _results(keypoints)) is not None:
        found = people_of_json(results, NAME)
    else:
        found = people_of_array(_unflattened(_joined(keypoints), keypoint_set), None, NAME)
    return list(finish(found, Path("array"), keypoint_set))


def _of_bytes(data: bytes) -> Iterator[Found]:
    """A JSON file's bytes."""
    if data.startswith((NPY, ZIP)):
        raise TypeError("These are the bytes of an npy or npz file: give its path, or numpy.load(file).")
    return parse_json(bounded.decode(data, NAME), NAME)


def _results(keypoints: Any) -> list[dict[str, NDArray[np.float64]]] | None:
    """What detectors return, as dictionaries: ultralytics' Results or Keypoints, supervision's KeyPoints, MMPose's
    samples. None for anything else."""
    if isinstance(keypoints, list | tuple) and len(keypoints) == 1:
        keypoints = keypoints[0]
    for held in (keypoints, getattr(keypoints, "keypoints", None), getattr(keypoints, "pred_instances", None)):
        for xy, scores in (("xy", "conf"), ("xy", "confidence"), ("keypoints", "keypoint_scores")):
            points, scored = getattr(held, xy, None), getattr(held, scores, None)
            if points is not None and scored is not None:
                return [{"keypoints": _plain(points), "scores": _plain(scored)}]
    return None


def _is_json(keypoints: Any) -> bool:
    """Dictionaries, or lists of them, as JSON files hold them."""
    for _ in range(DEEPEST):
        if not isinstance(keypoints, list | tuple) or not len(keypoints):
            break
        keypoints = keypoints[0]
    return isinstance(keypoints, Mapping)


def _of_json(content: Any) -> Iterator[Found]:
    content = _without_tensors(content)
    if isinstance(content, Mapping) and ("xy" in content or "imgname" in content):  # an npz file's arrays
        yield from people_of_arrays(content, NAME)
        return
    try:
        yield from people_of_json(content, NAME)
    except ValueError as error:
        if "none of the keypoint formats" in str(error):
            raise _another_form(content, str(error).split(", but ")[-1]) from None
        raise


def _without_tensors(content: Any, deep: int = DEEPEST) -> Any:
    """The same with arrays in the place of tensors."""
    if isinstance(content, torch.Tensor):
        return _plain(content)
    if isinstance(content, Mapping) and deep:
        return {key: _without_tensors(value, deep - 1) for key, value in content.items()}
    if isinstance(content, list | tuple) and deep and content and not isinstance(content[0], int | float | str):
        return [_without_tensors(value, deep - 1) for value in content]
    return content


def _plain(values: Any) -> NDArray[np.float64]:
    """Numbers -> float64; tensors of any device and kind, with gradients too."""
    if isinstance(values, torch.Tensor):
        if values.is_meta or values.is_complex():
            raise _another_form(values, "no real numbers in it")
        dense = values.detach() if values.layout == torch.strided else values.detach().to_dense()
        return dense.to("cpu", torch.float64).numpy()
    if isinstance(values, list | tuple) and any(isinstance(value, torch.Tensor) for value in values):
        values = [_plain(value) for value in values]
    try:
        if np.iscomplexobj(values):
            raise TypeError("complex numbers")
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise _another_form(values, "rows of unequal length" if "inhomogeneous" in str(error) else "") from None


def _another_form(values: Any, why: str = "") -> TypeError:
    return TypeError(
        "keypoints should be numbers (K, 3) or (N, K, 3), the path of a keypoint file, what such a file holds, or what "
        f"read_keypoints returns, not {type(values).__name__}" + (f" with {why}" if why else ".")
    )


def _joined(keypoints: Any) -> NDArray[np.float64]:
    """(xy, scores), as rtmlib and others return it, as one array; anything else as it is."""
    if isinstance(keypoints, list | tuple) and len(keypoints) == 2 and _are_pair(*keypoints):
        xy, scores = map(_plain, keypoints)
        return np.concatenate([xy[..., :2], scores.reshape(*xy.shape[:-1], 1)], -1)
    return _plain(keypoints)


def _are_pair(xy: Any, scores: Any) -> bool:
    """Whether they are coordinates (..., K, 2) and a score of each."""
    if np.ndim(xy) not in (2, 3):
        return False
    shape, scored = tuple(np.shape(xy)), tuple(np.shape(scores))
    return shape[-1] in (2, 3) and scored in (shape[:-1], (*shape[:-1], 1))


def _unflattened(points: NDArray[np.float64], keypoint_set: AskedSet) -> NDArray[np.float64]:
    """x, y, c, x, y, c, ... of one person (3K,) or of several (N, 3K); x, y alone where the set has so many points."""
    if points.ndim not in (1, 2) or points.shape[-1] in (2, 3):
        return points
    numbers = points.shape[-1]
    count = 0 if keypoint_set is None else len(asked_set(keypoint_set).layout)
    if numbers == 2 * count:
        return points.reshape(*points.shape[:-1], count, 2)
    if numbers == 3 * count or (keypoint_set is None and points.ndim == 1 and numbers % 3 == 0 and numbers):
        return points.reshape(*points.shape[:-1], numbers // 3, 3)
    return points


def _landmarks(keypoints: Any) -> list[Any] | None:
    """MediaPipe's objects (one person's, or a list of people) as dictionaries; None for anything else."""
    marks = getattr(keypoints, "pose_landmarks", keypoints)
    marks = getattr(marks, "landmark", marks)
    if isinstance(marks, np.ndarray | torch.Tensor) or not hasattr(marks, "__len__") or not len(marks):
        return None
    first = marks[0] if isinstance(marks, Sequence) or hasattr(marks, "__getitem__") else None
    if hasattr(first, "landmark") or (isinstance(first, Sequence) and first and hasattr(first[0], "x")):
        return [_marks(getattr(person, "landmark", person)) for person in marks]
    return _marks(marks) if hasattr(first, "x") and hasattr(first, "y") else None


def _marks(landmarks: Sequence[Any]) -> list[dict[str, float | None]]:
    return [{"x": m.x, "y": m.y, "visibility": getattr(m, "visibility", None)} for m in landmarks]

"""Calibrations that OpenCV's FileStorage wrote (yml, xml, json): of its samples, and EasyMocap's pair of files.

    calibrate    image_width image_height camera_matrix distortion_coefficients       one camera, the world its frame
    stereo       M1 D1 M2 D2 [imageSize] R T             x_2 = R x_1 + T, the world is camera 1's frame
                 (also camera_matrix_1, cameraMatrix1, K1, dist_coeffs_1, ...)
    EasyMocap    intri.yml: names K_01 dist_01 ...       extri.yml: names Rot_01 (or R_01, Rodrigues) T_01 ...

A pair of files is given as their folder, or as one of the two (intri and extri, intrinsics and extrinsics). Pixel
centres are at integers. The unit of T is whatever the board's squares were measured in: taken for metres, else give
`scale=`. Where no file says the image's size, it is taken for twice the principal point.
"""

import re
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.bounded import read_text
from hmrfit.io.budget import brief, check_bytes
from hmrfit.io.calibration.rig import CameraCalibration, CameraRead, assembled
from hmrfit.io.opencv import cv2
from hmrfit.ops.how_many import how_many
from hmrfit.ops.rotation_numpy import exp

MATRIX = ("cameramatrix", "k", "m", "intrinsic", "intrinsicmatrix")
LENS = ("distortioncoefficients", "distcoeffs", "distortion", "dist", "d")
TURN = ("rot", "r", "rotation", "rotationmatrix", "rvec")
SHIFT = ("t", "translation", "translationvector", "tvec")
KEYS = {"matrix": MATRIX, "lens": LENS, "turn": TURN, "shift": SHIFT}
"""What each part is called, in small letters without underscores; the first name that a file has counts."""

PAIRS = (("intri", "extri"), ("intrinsics", "extrinsics"), ("intrinsic", "extrinsic"))
ENDINGS = (".yml", ".yaml", ".xml", ".json")
BYTES_PER_CHARACTER = 40
MOST_KEYS = 10_000

NO_SIZE = "No file says how large the images are: they were taken for twice the principal point. Give image_size=."
UNIT = "OpenCV's unit of length is that of the board that was filmed; it was taken for metres. Else give scale=."


def read_opencv(path: str | PathLike[str]) -> CameraCalibration:
    """The cameras of one file, or of a pair. Errors: OSError, ValueError, saying what was expected."""
    entries: dict[str, Any] = {}
    for file in pair_of(Path(path)):
        entries |= _entries(file)
    own = _by_camera(entries)
    cameras = {name: parts for name, parts in own.items() if "matrix" in parts}
    if not cameras:
        raise ValueError(
            f"'{path}' holds no camera: expected camera_matrix (or K, M1, K_01 ...), found "
            f"{brief(', '.join(entries)) or 'nothing'}."
        )
    notes = [] if len(cameras) == 1 else [UNIT]
    read, sized = [], True
    shared = {part: value for part, value in own.get("", {}).items() if "" not in cameras}
    for place, (name, parts) in enumerate(cameras.items()):
        size = _size(parts, entries, name)
        sized &= size is not None
        pose = shared if shared and place == 1 else {} if shared else parts  # a stereo pair has one pose, the second's
        if len(cameras) > 1 and not shared and "turn" not in parts:
            raise ValueError(
                f"'{path}': camera '{name}' has no rotation. Expected R_{name} and T_{name}, or one R and T of "
                "a pair of cameras."
            )
        read.append(_camera(name or Path(path).stem, parts, pose, size, f"'{path}'"))
    if shared and len(cameras) != 2:
        raise ValueError(f"'{path}' has one R and T, which are of a pair, but {how_many(len(cameras), 'cameras')}.")
    return assembled(read, str(path), notes=notes if sized else [*notes, NO_SIZE])


def pair_of(path: Path) -> list[Path]:
    """The file, and the one of the intrinsics or extrinsics that belongs to it; of a folder both."""
    folder = path if path.is_dir() else path.parent
    for pair in PAIRS:
        for ending in ENDINGS:
            both = [folder / f"{name}{ending}" for name in pair]
            if (path in both or path.is_dir()) and all(file.is_file() for file in both):
                return both
    return [path]


def _entries(path: Path) -> dict[str, Any]:
    """Name -> matrix, number, text or list of texts of a file's top level."""
    text = read_text(path)
    check_bytes(BYTES_PER_CHARACTER * len(text), f"'{path}'")
    try:
        storage = cv2.FileStorage(text, cv2.FILE_STORAGE_READ | cv2.FILE_STORAGE_MEMORY)
        root = storage.root()
        return {key: _value(root.getNode(key), f"'{path}': {key}") for key in list(root.keys())[:MOST_KEYS]}
    except (cv2.error, SystemError, UnicodeDecodeError) as error:
        raise ValueError(f"'{path}' is no file of OpenCV's FileStorage: {brief(str(error), 200)}") from None


def _value(node: Any, what: str) -> Any:
    if node.isInt() or node.isReal():
        return float(node.real())
    if node.isString():
        return str(node.string())
    if node.isMap() and not node.getNode("data").empty():
        return _matrix(node, what)
    if node.isSeq():
        items = [node.at(i) for i in range(node.size())]
        if all(item.isInt() or item.isReal() for item in items):
            return np.array([item.real() for item in items])
        return [str(item.string()) for item in items if item.isString()]
    return None


def _matrix(node: Any, what: str) -> NDArray[np.float64]:
    """Its numbers, counted against what its header says: that alone can name any size."""
    data = node.getNode("data")
    rows, columns = (int(node.getNode(key).real()) for key in ("rows", "cols"))
    if rows * columns != data.size():
        raise ValueError(f"{what} should hold {rows} × {how_many(columns, 'numbers')}, but has {data.size()}.")
    return np.array([data.at(i).real() for i in range(data.size())]).reshape(rows, columns)


def _by_camera(entries: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Name of a camera -> part -> value; of a file's only camera, and of a pair's R and T, the name is empty."""
    listed = [name for name in _texts(entries.get("names")) if name]
    found: dict[str, dict[str, Any]] = {}
    for key, value in entries.items():
        name, part = _named(key, listed)
        if part and isinstance(value, np.ndarray):
            found.setdefault(name, {}).setdefault(part, value)
    order = [name for name in listed if name in found] or sorted(found)
    return {name: found[name] for name in dict.fromkeys([*order, *found])}


def _named(key: str, listed: Iterable[str]) -> tuple[str, str | None]:
    """(camera, part) of a key: K_01, camera_matrix_1, M1, camera_matrix."""
    for name in listed:
        if key.endswith(f"_{name}") and (part := _part(key[: -len(name) - 1])):
            return name, part
    if whole := _part(key):
        return "", whole
    split = re.fullmatch(r"(.*?)_?(\d+|left|right)", key)
    return (split[2], _part(split[1])) if split else ("", None)


def _part(key: str) -> str | None:
    small = key.replace("_", "").lower()
    return next((part for part, names in KEYS.items() if small in names), None)


def _texts(value: Any) -> list[str]:
    return value if isinstance(value, list) else []


def _size(parts: Mapping[str, Any], entries: Mapping[str, Any], name: str) -> tuple[float, float] | None:
    """Width and height, where a file says them."""
    small = {key.replace("_", "").lower(): value for key, value in entries.items()}
    for width, height in ((f"w{name}", f"h{name}"), ("imagewidth", "imageheight"), ("width", "height")):
        if isinstance(small.get(width), float) and isinstance(small.get(height), float):
            return small[width], small[height]
    pair = small.get("imagesize")
    return (float(pair.flat[0]), float(pair.flat[1])) if isinstance(pair, np.ndarray) and pair.size == 2 else None


def _camera(
    name: str, parts: Mapping[str, Any], pose: Mapping[str, Any], size: tuple[float, float] | None, what: str
) -> CameraRead:
    matrix, turn = parts["matrix"], pose.get("turn")
    if matrix.shape != (3, 3):
        raise ValueError(f"{what}: camera '{name}' has a matrix of the shape {matrix.shape}; expected (3, 3).")
    if turn is not None and turn.size == 3:
        turn = exp(turn.ravel()[None])[0]
    if turn is not None and turn.shape != (3, 3):
        raise ValueError(
            f"{what}: camera '{name}' has a rotation of the shape {turn.shape}; expected (3, 3), or (3, 1)."
        )
    size = size or (round(2 * matrix[0, 2] + 1), round(2 * matrix[1, 2] + 1))
    return CameraRead(name, matrix, size, parts.get("lens", np.zeros(0)), turn, pose.get("shift"))

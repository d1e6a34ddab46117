"""Pose2Sim's and anipose's calibration file, `Calib.toml`: one table a camera.

    [cam_01]
    name = "cam_01"                       size = [width, height]              pixels
    matrix = [[fx, 0, cx], ...]           distortions = [k1, k2, p1, p2]      OpenCV's; pixel centres at integers
    rotation = [rx, ry, rz]               translation = [tx, ty, tz]          Rodrigues; metres
    fisheye = false

x_camera = R x_world + t. Pose2Sim's world has z up; anipose does not say (its board's axes), so `up` is taken for known
only where the cameras stand upright by it.
"""

import tomllib
from collections.abc import Mapping
from os import PathLike
from typing import Any

from hmrfit.io.bounded import read_text
from hmrfit.io.budget import brief, check_bytes
from hmrfit.io.calibration.rig import CameraCalibration, CameraRead, assembled, stands_upright
from hmrfit.ops.check import numbers
from hmrfit.ops.rotation_numpy import exp

KEYS = ("size", "matrix", "distortions", "rotation", "translation")
BYTES_PER_CHARACTER = 110
"""Of Python's objects, at most, for each character that names them ("[]," is a list of 104)."""

Z_UP = (0.0, 0.0, 1.0)


def read_pose2sim(path: str | PathLike[str]) -> CameraCalibration:
    """The cameras of a file. Errors: OSError, ValueError, saying what was expected."""
    text = read_text(path)
    check_bytes(BYTES_PER_CHARACTER * text.count("[") + 64 * len(text) // 2, f"'{path}'")
    try:
        tables = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ValueError(f"'{path}' is no TOML: {error}.") from None
    cameras = {key: table for key, table in tables.items() if isinstance(table, Mapping) and "matrix" in table}
    if not cameras:
        raise ValueError(
            f"'{path}' holds no camera: expected tables such as [cam_01] with {', '.join(KEYS)}, found "
            f"{', '.join(list(tables)[:5]) or 'nothing'}."
        )
    read = [_camera(key, table, str(path)) for key, table in cameras.items()]
    calibration = assembled(read, str(path))
    return calibration.with_up(Z_UP) if stands_upright(calibration.extrinsics, Z_UP) else calibration


def _camera(key: str, table: Mapping[str, Any], source: str) -> CameraRead:
    missing = [name for name in KEYS if name not in table]
    if missing:
        raise ValueError(f"'{source}': [{key}] has no {missing[0]}. Expected {', '.join(KEYS)}.")
    if table.get("fisheye"):
        raise ValueError(
            f"'{source}': [{key}] is a fisheye lens, whose distortion OpenCV's pinhole model has not. Undistort "
            "its keypoints, and set fisheye to false."
        )
    what = f"'{source}': [{key}]"
    size = numbers(table["size"], f"{what} size", "width and height, pixels")
    turn = numbers(table["rotation"], f"{what} rotation", "a rotation vector of three numbers")
    if size.shape != (2,) or turn.shape != (3,):
        raise ValueError(
            f"{what}: size should be two numbers and rotation three, but they are {brief(table['size'])} and "
            f"{brief(table['rotation'])}."
        )
    rotation = exp(turn[None])[0]
    return CameraRead(
        str(table.get("name", key)),
        table["matrix"],
        (float(size[0]), float(size[1])),
        table["distortions"],
        rotation,
        table["translation"],
    )

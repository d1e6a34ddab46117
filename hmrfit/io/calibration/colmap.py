"""COLMAP's text model, a folder with `cameras.txt` and `images.txt`: every image has its own pose.

    cameras.txt   CAMERA_ID MODEL WIDTH HEIGHT PARAMS...
    images.txt    IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME            and a second line of points for each image

x_camera = R(q) x_world + t. Pixels are ours: (0, 0) is the corner of the top-left pixel. The views are the images in
the natural order of their names, so the frames of a moving camera are in order. A reconstruction from images has no
scale: its unit is said to be unknown, and `scale=` (metres of one unit) makes metres of it.
"""

import re
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from hmrfit.io.bounded import read_text, words
from hmrfit.io.calibration.rig import CameraCalibration, CameraRead, assembled

LENSES = {
    "SIMPLE_PINHOLE": "f cx cy",
    "PINHOLE": "fx fy cx cy",
    "SIMPLE_RADIAL": "f cx cy k1",
    "RADIAL": "f cx cy k1 k2",
    "OPENCV": "fx fy cx cy k1 k2 p1 p2",
    "FULL_OPENCV": "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6",
}
"""COLMAP's models that OpenCV's pinhole has, and their parameters."""

DISTORTION = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")
NO_SCALE = "COLMAP's unit of length is not known; it was taken for metres. Give scale=, the metres of one unit."


def read_colmap(path: str | PathLike[str]) -> CameraCalibration:
    """The images of a model. path: its folder, or one of the two files. Errors: OSError, ValueError."""
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    lenses = dict(_lenses(folder / "cameras.txt"))
    views = sorted(_images(folder / "images.txt", lenses), key=lambda one: natural_key(one.name))
    return assembled(views, str(folder), notes=[NO_SCALE])


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts frame_2 before frame_10."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d{1,18})", name)]


def _lines(path: Path) -> list[str]:
    return [line for line in read_text(path).splitlines() if not line.startswith("#")]


def _lenses(path: Path) -> Iterator[tuple[str, CameraRead]]:
    for line in _lines(path):
        if not line.strip():
            continue
        number, model, *rest = [*words(line, f"'{path}'"), "", ""]
        rest = rest[: len(rest) - 2] if model else rest
        names = LENSES.get(model, "").split()
        if not names:
            known = ", ".join(LENSES)
            raise ValueError(
                f"'{path}': camera {number} has the model '{model}', which is not read (fisheye lenses have "
                f"another projection). Expected one of {known}: run colmap's image_undistorter."
            )
        values = _floats(
            rest, len(names) + 2, f"'{path}': camera {number}: expected {model} WIDTH HEIGHT {' '.join(names)}"
        )
        p = dict(zip(names, values[2:], strict=True))
        fx, fy = p.get("fx", p.get("f", 0.0)), p.get("fy", p.get("f", 0.0))
        matrix = np.array([[fx, 0.0, p["cx"]], [0.0, fy, p["cy"]], [0.0, 0.0, 1.0]])
        lens = [p.get(name, 0.0) for name in DISTORTION]
        yield number, CameraRead(number, matrix, (values[0], values[1]), lens, centers_at_integers=False)


def _images(path: Path, lenses: dict[str, CameraRead]) -> Iterator[CameraRead]:
    from scipy.spatial.transform import Rotation  # 0.1 s to import, and a fit needs none of it

    lines = _lines(path)
    while lines and not lines[-1].strip():
        lines.pop()
    for line in lines[::2]:  # every second line lists points, and may be empty
        parts = line.split(maxsplit=9)
        what = f"'{path}': expected IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, found '{line[:60]}'"
        if len(parts) < 10:
            raise ValueError(f"{what}.")
        w, x, y, z, *shift = _floats(parts[1:8], 7, what)
        if not w * w + x * x + y * y + z * z > 0:
            raise ValueError(f"{what}: a quaternion of zeros.")
        if parts[8] not in lenses:
            raise ValueError(
                f"'{path}': the image '{parts[9][:60]}' is of camera {parts[8]}, which cameras.txt does not have."
            )
        lens = lenses[parts[8]]
        rotation = Rotation.from_quat([x, y, z, w]).as_matrix()
        yield CameraRead(parts[9].strip(), lens.matrix, lens.size, lens.distortion, rotation, shift, False)


def _floats(texts: list[str], count: int, what: str) -> list[float]:
    try:
        values = [float(text) for text in texts]
    except ValueError:
        raise ValueError(f"{what}.") from None
    if len(values) != count or not np.isfinite(values).all():
        raise ValueError(f"{what}.")
    return values

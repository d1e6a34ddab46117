"""Calibration files of several formats, read into one `CameraCalibration`; each format is a file of this folder.

What a format's axes, units and pixels are, and how they become ours, is said where it is read. Nothing in a file is
run, entities are refused, and all obey the budget.
"""

from collections.abc import Callable
from os import PathLike
from pathlib import Path

from hmrfit.io.bounded import check_regular, refuse_url
from hmrfit.io.calibration.colmap import read_colmap
from hmrfit.io.calibration.opencv_storage import ENDINGS, PAIRS, read_opencv
from hmrfit.io.calibration.pose2sim import read_pose2sim
from hmrfit.io.calibration.qualisys import read_qualisys
from hmrfit.io.calibration.rig import CameraCalibration

EXPECTED = """\
expected Qualisys' *.qca.txt, Pose2Sim's or anipose's Calib.toml, OpenCV's .yml, .xml or .json (EasyMocap's folder of \
intri.yml and extri.yml), or a folder with COLMAP's cameras.txt and images.txt"""


def read_calibration(path: str | PathLike[str], scale: float | None = None) -> CameraCalibration:
    """Reads calibrated cameras: one of several that stand still, or COLMAP's poses of every image.

    Args:
        path: Qualisys' `*.qca.txt`, Pose2Sim's or anipose's `Calib.toml`, OpenCV's `.yml` (EasyMocap's pair of files by
            their folder, or one of them), or the folder of COLMAP's `cameras.txt` and `images.txt`.
        scale: metres of one unit of the file, where that is not metres: COLMAP's unit is arbitrary, and OpenCV's is
            that of the board. Qualisys' millimetres are known.

    Returns: `names`, `camera` (C,) pinholes in our pixels, `distortion` of each in OpenCV's coefficients, `extrinsics`
        (C, 3, 4) with x_camera = R x_world + t in metres, `up` in the world where the format says it. Pass it to
        `fit_views`, `fit_views_sequence` or, for a camera that moves, to `fit_sequence`.

    Raises:
        FileNotFoundError: there is no such file. ValueError: it is none of these, or damaged; says what was expected.
    """
    refuse_url(path, "the calibration")
    path = Path(path)
    calibration = _reader(path)(path)
    return calibration if scale is None else calibration.scaled(scale)


def _reader(path: Path) -> Callable[[Path], CameraCalibration]:
    """Which of the readers, by name and, of a folder, by what lies in it."""
    if path.is_dir():
        if (path / "images.txt").is_file() and (path / "cameras.txt").is_file():
            return read_colmap
        if any((path / f"{pair[0]}{ending}").is_file() for pair in PAIRS for ending in ENDINGS):
            return read_opencv
        raise ValueError(f"'{path}' holds no calibration: {EXPECTED}.")
    check_regular(path, "a calibration file")
    name = path.name.lower()
    if name in ("cameras.txt", "images.txt"):
        return read_colmap
    if name.endswith((".qca.txt", ".qca", "_qca.txt")):
        return read_qualisys
    if path.suffix.lower() == ".toml":
        return read_pose2sim
    if path.suffix.lower() in (".yml", ".yaml", ".json"):
        return read_opencv
    if path.suffix.lower() in (".xml", ".txt"):
        with path.open("rb") as file:
            return read_opencv if b"opencv_storage" in file.read(4096) else read_qualisys
    raise ValueError(f"'{path}' is no calibration that is read: {EXPECTED}.")

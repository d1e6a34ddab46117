"""Qualisys Track Manager's calibration file, `*.qca.txt`: XML, millimetres, the world with z up.

    <camera serial="..."> <fov_video left="" top="" right="" bottom=""/>     pixels, the last one counted: width =
                                                                             right − left + 1
        <transform x="" y="" z="" r11="" ... r33=""/>                        c where the camera is, mm; rows of M
        <intrinsic focalLengthU="" centerPointU="" radialDistortion1="" .../>  sub-pixels, 64 to a pixel; fov's left and
                                                                             top are taken off the centre

    R = diag(1, −1, −1) M,   t = −R c / 1000

since Qualisys' cameras look along −z with y up. Pixel centres are at integers, as in OpenCV, whose four coefficients of
lens distortion are radial 1, 2 and tangential 1, 2 as they stand (radial 3 is OpenCV's fifth). Pose2Sim divides them by
64 as well, which makes them vanish; see `benchmarks/results.md` for what the residuals of real cameras say.
"""

from collections.abc import Mapping
from os import PathLike
from xml.etree import ElementTree

import numpy as np

from hmrfit.io.bounded import read_text
from hmrfit.io.budget import check_bytes
from hmrfit.io.calibration.rig import CameraCalibration, CameraRead, assembled

SUBPIXELS = 64.0
AXES = np.diag([1.0, -1.0, -1.0])
BYTES_PER_CHARACTER = 20
"""Of XML's elements in memory, at most, for each character that names them."""


def read_qualisys(path: str | PathLike[str]) -> CameraCalibration:
    """The video cameras of a file. Errors: OSError, ValueError, saying what was expected."""
    root = xml_root(path)
    cameras = [one for one in root.iter("camera") if one.get("active", "1") != "0"]
    if not cameras:
        raise ValueError(
            f"'{path}' is no Qualisys calibration: expected <calibration><cameras><camera ...>, found <{root.tag}>."
        )
    return assembled([_camera(one, i, str(path)) for i, one in enumerate(cameras)], str(path), up=(0, 0, 1))


def xml_root(path: str | PathLike[str]) -> ElementTree.Element:
    """The root of an XML file without definitions of its own: entities can grow a kilobyte to gigabytes.

    Raises:
        OSError: as the system says. ValueError: it defines entities, or is no XML. TooLarge: more than the budget.
    """
    text = read_text(path)
    check_bytes(BYTES_PER_CHARACTER * len(text), f"'{path}'")
    if "<!" in text.replace("<!--", "").replace("<![CDATA[", ""):
        raise ValueError(
            f"'{path}' defines entities or a document type of its own (<!...), which are not read. Export it again."
        )
    try:
        return ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError, RecursionError) as error:
        raise ValueError(f"'{path}' is no XML: {error}. Export the calibration again.") from None


def _camera(element: ElementTree.Element, place: int, source: str) -> CameraRead:
    name = element.get("serial") or f"camera {place}"
    parts: dict[str, Mapping[str, str]] = {}
    for part in ("transform", "intrinsic", "fov_video"):
        found = element.find(part)
        if found is None:
            raise ValueError(
                f"'{source}': camera '{name}' has no <{part}>. Expected the file that Qualisys exports, *.qca.txt."
            )
        parts[part] = found.attrib
    value = lambda part, key, default=None: _number(parts[part], key, f"'{source}': camera '{name}', <{part}>", default)  # noqa: E731
    view = {side: value("fov_video", side) for side in ("left", "top", "right", "bottom")}
    lens = lambda key, default=None: value("intrinsic", key, default)  # noqa: E731
    matrix = np.array(
        [
            [
                lens("focalLengthU") / SUBPIXELS,
                lens("skew", 0.0) / SUBPIXELS,
                lens("centerPointU") / SUBPIXELS - view["left"],
            ],
            [0.0, lens("focalLengthV") / SUBPIXELS, lens("centerPointV") / SUBPIXELS - view["top"]],
            [0.0, 0.0, 1.0],
        ]
    )
    radial = [lens(f"radialDistortion{i}", 0.0) for i in (1, 2, 3)]
    tangential = [lens(f"tangentalDistortion{i}", 0.0) for i in (1, 2)]  # their spelling
    rotation = AXES @ [[value("transform", f"r{i}{j}") for j in (1, 2, 3)] for i in (1, 2, 3)]
    place_mm = np.array([value("transform", axis) for axis in "xyz"])
    return CameraRead(
        name,
        matrix,
        (view["right"] - view["left"] + 1, view["bottom"] - view["top"] + 1),
        [*radial[:2], *tangential, radial[2]],
        rotation,
        -(rotation @ place_mm) / 1000,
    )


def _number(attributes: Mapping[str, str], key: str, what: str, default: float | None) -> float:
    text = attributes.get(key)
    if text is None and default is not None:
        return default
    try:
        return float(text or "")
    except ValueError:
        raise ValueError(f'{what}: expected a number {key}="...", found {text!r}.') from None

"""What looks wrong with a camera before a fit: its field of view, its unit, and where the person is in it.

field of view along a side of L pixels, principal point c:   atan((L − c)/f) + atan(c/f)
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hmrfit.camera import Camera, focal_from_35mm
from hmrfit.io.image import exif_focal_35mm

WIDEST, NARROWEST = 120.0, 0.6
"""Degrees, along the wider side. Lenses that draw straight lines see up to 115; the longest of superzooms see 0.66."""

OFF_AXIS = 70.0
"""Degrees between the camera's axis and a person, beyond which no photograph without distortion shows people."""

LENSES_MM = (7.0, 3200.0)
"""The 35 mm-equivalent focal lengths that cameras have, from action cameras to superzooms."""

LIKELY_MM = (4.0, 400.0)
"""What people have in mind who take millimetres for pixels."""

ASSUMED = "assumed, the image's diagonal; depth and lean depend on it"


@dataclass(frozen=True)
class FocalSource:
    """Where a focal length comes from."""

    words: str
    given_in: Literal["pixels", "millimetres"] | None = None  # by the caller, as a number
    ignored: str = ""  # why the photograph's EXIF is not used


def focal_from_exif(photograph: str | os.PathLike | bytes, size: tuple[int, int]) -> tuple[float | None, FocalSource]:
    """(pixels, where they are from); None where the photograph does not say it, or says what no camera has."""
    millimetres = exif_focal_35mm(photograph)
    if millimetres is None:
        return None, FocalSource(ASSUMED)
    if not LENSES_MM[0] <= millimetres <= LENSES_MM[1]:
        why = f"the photograph's EXIF is ignored: no camera has the {millimetres:g} mm (35 mm) that it says"
        return None, FocalSource(f"{ASSUMED}; {why}", ignored=why)
    return focal_from_35mm(millimetres, *size), FocalSource(f"the photograph's EXIF: {millimetres:g} mm (35 mm)")


def camera_warnings(
    camera: Camera, source: FocalSource, points: Sequence[NDArray[np.float64]]
) -> list[tuple[str, ...]]:
    """For each person, what looks wrong with the camera, a sentence each with what to do.

    Args:
        camera: (N,). source: of its focal length. points: (K, 2) pixels of each person's seen keypoints.
    """
    rows = torch.stack([camera.focal, camera.center, camera.size], 1).tolist()
    return [tuple(_of_one(row, source, xy)) for row, xy in zip(rows, points, strict=True)]


def _of_one(row: list[list[float]], source: FocalSource, xy: NDArray[np.float64]) -> list[str]:
    focal, center, size = row
    found = []
    if source.ignored:
        found.append(f"The focal length is assumed: {source.ignored}. Give focal= (pixels) or focal_35mm=.")
    view = max(
        math.degrees(math.atan((length - c) / f) + math.atan(c / f))
        for f, c, length in zip(focal, center, size, strict=True)
    )
    if view > WIDEST:
        found.append(_too_wide(view, focal[0], size, source))
    if view < NARROWEST:
        found.append(_too_narrow(view, focal[0], source))
    off = _off_axis(xy, focal, center)
    if off > OFF_AXIS and view <= WIDEST:
        found.append(
            f"The person lies {off:.0f}° off the camera's axis, where no ordinary photograph shows people. Look "
            "whether keypoints and the camera's principal point are pixels of the same image."
        )
    return found


def _off_axis(xy: NDArray[np.float64], focal: list[float], center: list[float]) -> float:
    """Degrees between the camera's axis and the middle of the points; 0 where not even the farthest is so far away."""
    rays = np.abs(xy - center) / focal
    if not rays.max(initial=0.0) > math.tan(math.radians(OFF_AXIS)) / math.sqrt(2):
        return 0.0
    return math.degrees(math.atan(math.hypot(*np.median(rays, 0).tolist())))


def _too_wide(view: float, focal: float, size: list[float], source: FocalSource) -> str:
    seen = f"With a focal length of {focal:.4g} pixels the camera would see {view:.0f}°"
    if source.given_in == "pixels" and LIKELY_MM[0] <= focal <= LIKELY_MM[1]:
        return (
            f"{seen}: {focal:g} looks like millimetres. Give focal_35mm={focal:g} where it is the 35 mm equivalent, or "
            f"focal= in pixels of the image of {size[0]:.0f} × {size[1]:.0f}."
        )
    return (
        f"{seen}, wider than lenses that keep lines straight: bodies and their distance will be wrong if it is not so. "
        "Give the focal length in pixels of this image, or leave it out."
    )


def _too_narrow(view: float, focal: float, source: FocalSource) -> str:
    hint = "Give the focal length in pixels of this image, or leave it out."
    if source.given_in == "millimetres":
        hint = "Were pixels given as millimetres? Then give them as focal=."
    return (
        f"With a focal length of {focal:.4g} pixels the camera would see only {view:.2g}°, less than any lens. {hint}"
    )

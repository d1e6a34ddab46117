"""A video written frame by frame, whole or not at all, over nothing of the user's.

By PyAV it is h264, yuv420p, with even sides and its index in front: every browser plays it. Without PyAV OpenCV writes
MPEG-4 part 2, which players show and browsers do not.
"""

import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.io.own_files import own_file
from hmrfit.video.pyav import encode_h264
from hmrfit.video.source import has_pyav

OPENCV_CODEC = "mp4v"


def write_video(
    path: str | os.PathLike, frames: Iterable[Image], fps: float, kind: str = "drawing", by: str | None = None
) -> str:
    """Writes an .mp4 of frames that are made one by one.

    Args:
        frames: (H, W, 3) RGB uint8, all of one size. fps: frames a second.
        by: "pyav" or "opencv"; by default PyAV where it is installed.
    Returns: a remark, empty where every browser plays the file.
    Raises:
        ValueError: there is no frame, they differ in size, or the suffix is not .mp4. FileExistsError: something that
            hmrfit did not write stands there. OSError: see `atomic.atomic_write`.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"'{path}': videos are written as .mp4.")
    iterator = iter(frames)
    with own_file(path, kind) as temporary:
        first = next(iterator, None)
        if first is None:
            raise ValueError(f"There is no frame to write into '{path}'.")
        shape = first.shape
        pictures = (_even(_checked(one, shape, path)) for one in chain([first], iterator))
        if by == "pyav" or (by is None and has_pyav()):
            encode_h264(temporary, next(pictures), pictures, fps)
            return ""
        _by_opencv(temporary, pictures, fps, path)
    return (
        f"'{path.name}' was written by OpenCV (MPEG-4 part 2): players show it, browsers do not. For h264: "
        "pip install 'hmrfit[video]'."
    )


def _checked(image: Image, shape: tuple[int, ...], path: Path) -> Image:
    if image.shape != shape or image.dtype != np.uint8 or image.ndim != 3:
        raise ValueError(f"'{path}': all frames should be {shape[1]} × {shape[0]} RGB uint8, not {image.shape}.")
    return image


def _even(image: Image) -> Image:
    """With its last column and row twice where their number is odd: yuv420p has a colour for four pixels."""
    height, width = image.shape[:2]
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _by_opencv(temporary: Path, pictures: Iterator[Image], fps: float, path: Path) -> None:
    first = next(pictures)
    size = first.shape[1], first.shape[0]
    writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*OPENCV_CODEC), fps, size)
    try:
        if not writer.isOpened():
            raise ValueError(f"OpenCV cannot write '{path}' here. Install PyAV: pip install 'hmrfit[video]'.")
        for picture in chain([first], pictures):
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    finally:
        writer.release()

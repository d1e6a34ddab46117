"""The frames of a video, one by one, upright, with their times: memory does not grow with the video.

    frame n at t_n seconds        t_n from the file (PyAV)        or n / fps (OpenCV, folders of frames, fps=)

PyAV (`pip install 'hmrfit[video]'`) is taken where it is installed: it knows the exact time of every frame, so that
videos of variable frame rate (phones) are right. OpenCV reads the same frames without it. Both turn the frames upright
as the file's rotation says. A video that breaks off gives the frames before; `Video.problem` says so afterwards.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hmrfit.io.bounded import check_regular, refuse_url
from hmrfit.io.image import Image, image_size, read_image
from hmrfit.io.keypoint_files.find import PHOTO_SUFFIXES
from hmrfit.io.keypoint_files.frames import frame_number
from hmrfit.io.opencv import cv2
from hmrfit.ops.check import numbers
from hmrfit.ops.how_many import how_many
from hmrfit.video.pyav import probe
from hmrfit.video.source import (
    NO_PIXELS,
    RATES,
    IsWanted,
    Video,
    VideoFrame,
    check_size,
    ended_early,
    has_pyav,
    known_rate,
)

VIDEO_SUFFIXES = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".3gp", ".mts", ".ts")
"""How videos end."""


def is_video(path: str | os.PathLike) -> bool:
    """Whether the name is a video's."""
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def open_video(path: str | os.PathLike, fps: float | None = None, reader: str | None = None) -> Video:
    """A video, or a folder with one photograph for each frame.

    Args:
        fps: frames a second, instead of what the file says (slow motion); a folder needs it.
        reader: "pyav" or "opencv"; by default PyAV where it is installed.
    Raises:
        FileNotFoundError, IsADirectoryError: there is no such file. ValueError: it is no video, holds no frame, or its
            rate is not known. TooLarge: its frames have more pixels than `hmrfit.file_limits` allows.
        ImportError: PyAV is asked for and missing.
    """
    path = Path(path)
    given = None if fps is None else float(numbers(fps, "fps", "frames a second, one number", (), *RATES))
    if path.is_dir():
        return _folder(path, given)
    refuse_url(path, "the video")
    if check_regular(path, "a video") == 0:
        raise ValueError(f"'{path}' is empty: it holds no video.")
    if reader not in (None, "pyav", "opencv"):
        raise ValueError(f"reader should be 'pyav' or 'opencv', not {reader!r}.")
    if reader == "opencv" or (reader is None and not has_pyav()):
        return _by_opencv(path, given)
    return probe(path, given)


# ---- OpenCV


@dataclass(frozen=True)
class OpenCvSource:
    """cv2.VideoCapture, which turns frames upright itself and knows no exact times."""

    name: str = "opencv"

    def frames(self, video: Video, wanted: IsWanted, pixels: bool) -> Iterator[VideoFrame]:
        """See `Source`."""
        capture = cv2.VideoCapture(str(video.path))
        try:
            place = 0
            while capture.grab():
                time = place / video.fps
                if wanted(place, time) and not pixels:
                    yield VideoFrame(place, time, NO_PIXELS)
                elif wanted(place, time):
                    good, picture = capture.retrieve()
                    if not good or picture is None:
                        break
                    if picture.shape[1::-1] != video.size:
                        video.problem = _other_size(video, place, picture.shape[1::-1])
                        return
                    yield VideoFrame(place, time, _rgb(picture))
                place += 1
            video.problem = ended_early(video, place)
        finally:
            capture.release()


def _rgb(picture: np.ndarray) -> Image:
    if picture.ndim == 2:
        return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def _other_size(video: Video, place: int, size: Sequence[int]) -> str:
    return (
        f"From frame {place} on, the frames of '{video.path.name}' are {size[0]} × {size[1]} pixels instead of "
        f"{video.size[0]} × {video.size[1]}: only those before were used. Cut the video there."
    )


def _by_opencv(path: Path, fps: float | None) -> Video:
    capture = cv2.VideoCapture(str(path))
    try:
        opened = capture.isOpened()
        width, height = (int(capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if not opened or width < 1:
            raise ValueError(f"'{path}' cannot be read as a video: it is damaged, cut off, or of an unknown kind.")
        check_size(width, height, path)
        stated, length = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rotation = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 360
        good, first = capture.read()
        if not good or first is None:
            raise ValueError(f"'{path}' holds no frame that can be read: it is damaged or cut off.")
        size = int(first.shape[1]), int(first.shape[0])
    finally:
        capture.release()
    rate = known_rate(stated, fps, path)
    return Video(path, size, rate, length if length > 0 else None, OpenCvSource(), rotation)


# ---- folders


@dataclass(frozen=True)
class FolderSource:
    """Photographs, one for each frame."""

    files: Sequence[Path]
    name: str = "folder"

    def frames(self, video: Video, wanted: IsWanted, pixels: bool) -> Iterator[VideoFrame]:
        """See `Source`. A file that cannot be read is a frame that is left out."""
        lost = []
        for place, (number, file) in enumerate(zip(video.numbers, self.files, strict=True)):
            time = (number - video.numbers[0]) / video.fps
            if not wanted(place, time):
                continue
            if not pixels:
                yield VideoFrame(number, time, NO_PIXELS)
                continue
            try:
                image = read_image(file)
                if image.shape[1::-1] != video.size:
                    raise ValueError(f"it has {image.shape[1]} × {image.shape[0]} pixels")
            except (ValueError, OSError) as error:
                lost.append(f"'{file.name}': {error}")
                continue
            yield VideoFrame(number, time, image)
        if lost:
            video.problem = (
                f"{how_many(len(lost), 'frames')} of '{video.path.name}' were left out, the first one {lost[0]}"
            )


def _folder(path: Path, fps: float | None) -> Video:
    """Frames in the order of the numbers in their names; by name where these are none or not unique."""
    files = sorted(f for f in path.iterdir() if f.suffix.lower() in PHOTO_SUFFIXES and not f.name.startswith("."))
    if not files:
        raise ValueError(f"'{path}' holds no frames ({', '.join(PHOTO_SUFFIXES)}), nor is it a video.")
    if fps is None:
        raise ValueError(f"'{path}' is a folder of frames: say how many there are a second, fps= (--fps).")
    found = [frame_number(file.name) for file in files]
    named = [n for n in found if n is not None]
    if len(set(named)) == len(files) and max(named) - min(named) < 10 * len(files) + 10:
        ordered = sorted(zip(named, files, strict=True))
        numbered, files = [n for n, _ in ordered], [file for _, file in ordered]
    else:
        numbered = list(range(len(files)))
    size = image_size(files[0])
    return Video(path, check_size(*size, path), fps, len(files), FolderSource(files), numbers=numbered)

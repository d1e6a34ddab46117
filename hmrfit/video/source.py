"""What a video is to the rest: its size, rate and frames; and what every way of reading one checks and says."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from hmrfit.io.budget import check_bytes, check_pixels
from hmrfit.io.image import Image
from hmrfit.ops.how_many import how_many

RATES = (0.1, 10_000.0)
"""Frames a second that a video may have; files with other rates do not know theirs."""

FRAMES_IN_MEMORY = 40
"""Decoded frames that a decoder may hold (its references, its threads), for the memory budget."""

UNEVEN = 0.2
"""Fraction of the typical time between two frames; where a tenth of the times differ by more, the rate is variable."""


NO_PIXELS: Image = np.zeros((0, 0, 3), np.uint8)


class VideoFrame(NamedTuple):
    """One frame."""

    number: int  # from 0 in a video; in a folder, the number in its name
    time: float  # seconds from the video's first frame
    image: Image  # (H, W, 3) RGB, upright


@dataclass
class Video:
    """A video file or a folder of frames, ready to be read, as often as needed."""

    path: Path
    size: tuple[int, int]  # width, height, upright
    fps: float
    length: int | None  # frames, as the file says; None where it does not
    source: "Source"
    rotation: int = 0  # degrees clockwise, by which the stored frames are turned to be upright
    problem: str = ""  # where reading ended early, a sentence; known once the frames were read
    numbers: Sequence[int] = field(default=(), repr=False)  # of a folder's frames

    def frames(
        self, start: float = 0.0, end: float | None = None, every: int = 1, pixels: bool = True
    ) -> Iterator[VideoFrame]:
        """The frames from `start` to `end` seconds, both included; only every n-th one of the video.

        Args:
            pixels: False for numbers and times alone, which is faster.
        """
        last = math.inf if end is None else end + 1e-6
        wanted = lambda place, time: place % every == 0 and time >= start - 1e-6  # noqa: E731
        for frame in self.source.frames(self, wanted, pixels):
            if frame.time > last:
                return
            yield frame


class IsWanted(Protocol):
    """Whether the frame at this place, counted from 0, at this time is to be made into pixels."""

    def __call__(self, place: int, time: float) -> bool: ...


class Source(Protocol):
    """What decodes."""

    @property
    def name(self) -> str:
        """Of the package that reads."""

    def frames(self, video: Video, wanted: IsWanted, pixels: bool) -> Iterator[VideoFrame]:
        """The wanted frames, in order, `NO_PIXELS` where they are not asked for; an early end is noted in
        `video.problem`."""


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def check_size(width: int, height: int, path: Path) -> tuple[int, int]:
    """That frames of this size may be decoded. Raises: ValueError, TooLarge."""
    if width < 1 or height < 1:
        raise ValueError(f"'{path}' holds no picture: its size is {width} × {height}.")
    check_pixels(width, height, f"'{path}'")
    check_bytes(3 * width * height * FRAMES_IN_MEMORY, f"'{path}'")
    return int(width), int(height)


def known_rate(stated: float | None, given: float | None, path: Path) -> float:
    """Frames a second. Raises ValueError where nobody says it."""
    if given is not None:
        return given
    if stated is None or not RATES[0] <= stated <= RATES[1]:
        raise ValueError(f"'{path}' does not say how many frames a second it has. Give fps= (--fps).")
    return float(stated)


def ended_early(video: Video, read: int, reason: str = "") -> str:
    """The sentence for a video of which only the first frames could be read; empty for a whole one."""
    missing = video.length is not None and read < video.length
    if not (missing or reason):
        return ""
    frames = f"{read} of {how_many(video.length, 'frames')}" if video.length else how_many(read, "frames")
    why = f" ({reason})" if reason else ""
    return f"'{video.path.name}' breaks off after {frames}{why}: it is damaged or cut off, and those were used."


def uneven(times: Sequence[float]) -> bool:
    """Whether the frame rate is variable: a tenth of the times between frames differ from the typical one."""
    steps = np.diff(np.asarray(times, np.float64))
    if len(steps) < 2:
        return False
    typical = float(np.median(steps))
    return bool((np.abs(steps - typical) > UNEVEN * typical).mean() > 0.1)

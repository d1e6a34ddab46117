"""PyAV (FFmpeg's libraries): exact times and rotation of a video's frames, and h264 that browsers play."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from hmrfit.io.image import Image
from hmrfit.video.source import NO_PIXELS, IsWanted, Video, VideoFrame, check_size, ended_early, known_rate

INSTALL = "PyAV is not installed: pip install 'hmrfit[video]'."

QUALITY, PRESET = "20", "veryfast"
"""x264's constant rate factor (18 looks like the original, 28 is poor), and how long it looks for a smaller file."""


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise ImportError(INSTALL) from None
    return av


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    """(container, its first video stream)."""
    av = _av()
    try:
        container = av.open(str(path), metadata_errors="ignore")
    except (av.error.FFmpegError, ValueError) as error:
        raise ValueError(f"'{path}' cannot be read as a video ({_reason(error)}): it is damaged or cut off.") from None
    with container:
        if not container.streams.video:
            raise ValueError(f"'{path}' holds no pictures (sound only, or no video at all).")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield container, stream


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split("; last error log")[0]


def probe(path: Path, fps: float | None) -> Video:
    """What the file says of itself, and the rotation of its first frame. Errors: as `reader.open_video`."""
    av = _av()
    with _opened(path) as (container, stream):
        check_size(stream.codec_context.width, stream.codec_context.height, path)
        try:
            first = next(iter(container.decode(stream)), None)
        except av.error.FFmpegError as error:
            raise ValueError(f"'{path}' holds no frame that can be read ({_reason(error)}).") from None
        if first is None:
            raise ValueError(f"'{path}' holds no frame that can be read: it is damaged or cut off.")
        stated = stream.average_rate or stream.guessed_rate or stream.base_rate
        turns = _turns(first)
        size = (first.height, first.width) if turns % 2 else (first.width, first.height)
        rate = known_rate(None if stated is None else float(stated), fps, path)
        source = PyavSource(exact=fps is None)
        return Video(path, size, rate, stream.frames or None, source, rotation=(-90 * turns) % 360)


def _turns(frame: Any) -> int:
    """Quarter turns counterclockwise that make the frame upright."""
    return round(getattr(frame, "rotation", 0) / 90) % 4


class PyavSource:
    """Decodes by PyAV.

    Args:
        exact: the frames' own times are used, else their number by the rate.
    """

    name: str = "pyav"

    def __init__(self, exact: bool) -> None:
        self.exact = exact

    def frames(self, video: Video, wanted: IsWanted, pixels: bool) -> Iterator[VideoFrame]:
        """See `source.Source`."""
        av = _av()
        place, began, reason = 0, None, ""
        with _opened(video.path) as (container, stream):
            decoded = container.decode(stream)
            while True:
                try:
                    frame = next(decoded, None)
                except av.error.FFmpegError as error:
                    reason = _reason(error)
                    break
                if frame is None:
                    break
                turns = _turns(frame)
                size = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
                if size != video.size:
                    reason = f"frames of {size[0]} × {size[1]} pixels follow those of {video.size[0]} × {video.size[1]}"
                    break
                began = frame.time if began is None else began
                known = self.exact and frame.time is not None and began is not None
                time = float(frame.time - began) if known else place / video.fps
                if wanted(place, time):
                    image = np.rot90(frame.to_ndarray(format="rgb24"), turns) if pixels else NO_PIXELS
                    yield VideoFrame(place, time, np.ascontiguousarray(image))
                place += 1
        video.problem = ended_early(video, place, reason)


def encode_h264(path: Path, first: Image, others: Iterable[Image], fps: float) -> int:
    """Writes an mp4 that browsers play (h264, yuv420p, its index in front); the number of frames.

    Args:
        first, others: (H, W, 3) RGB, of one size, both sides even.
    """
    av = _av()
    count = 0
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(60_000))
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": QUALITY, "preset": PRESET}
        for picture in _one_by_one(first, others):
            for packet in stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")):
                container.mux(packet)
            count += 1
        for packet in stream.encode():
            container.mux(packet)
    return count


def _one_by_one(first: Image, others: Iterable[Image]) -> Iterator[Image]:
    yield first
    yield from others

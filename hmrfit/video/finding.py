"""The people of all frames of a video, found frame by frame and written down as they are found.

The log is a text, a line of JSON for each frame, so that a run that was stopped goes on with the next one:

    {"log": "hmrfit detections", "of": FINGERPRINT, "names": [...]}
    {"frame": 0, "time": 0.0, "thumbnail": "base64", "people": [[x, y, c, ...], ...], "looks": [[...], null, ...]}

A last line that is cut off is dropped.
"""

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.bounded import check_regular
from hmrfit.io.budget import Meter
from hmrfit.io.image import Image
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.video.cuts import THUMBNAIL, find_cuts, thumbnail_of
from hmrfit.video.looks import LENGTH, looks_of
from hmrfit.video.seen import PeopleSeen
from hmrfit.video.source import Video, VideoFrame

Detect = Callable[[Image], Sequence[PersonKeypoints]]
"""From one picture to its people."""

LOG = "hmrfit detections"

DECIMALS, CONFIDENCE_DECIMALS = 2, 4
"""Of pixels and of confidences, in what is kept: the same fit comes out of a file as out of memory."""

LOOKS_SCALE = 255


@dataclass(frozen=True)
class Window:
    """Which frames of a video are looked at."""

    start: float = 0.0  # seconds
    end: float | None = None  # seconds
    every: int = 1  # every n-th frame


@dataclass
class Detections:
    """The people of the frames that were looked at."""

    names: tuple[str, ...] = ()
    numbers: list[int] = field(default_factory=list)  # of the frames, rising
    times: list[float] = field(default_factory=list)  # seconds
    thumbnails: list[NDArray[np.uint8]] = field(default_factory=list)
    people: list[NDArray[np.float64]] = field(default_factory=list)  # of each frame (P, K, 3) pixels, confidence
    looks: list[NDArray[np.float32]] = field(default_factory=list)  # of each frame (P, LENGTH)

    def add(self, number: int, time: float, thumbnail: NDArray, people: NDArray, looks: NDArray) -> None:
        """The next frame."""
        self.numbers.append(number)
        self.times.append(time)
        self.thumbnails.append(thumbnail)
        self.people.append(people)
        self.looks.append(looks)

    def seen(self) -> PeopleSeen:
        """All people, `frame` being the frames' numbers."""
        counts = [len(people) for people in self.people]
        frame = np.repeat(np.array(self.numbers, np.intp), counts)
        points = np.concatenate(self.people) if sum(counts) else np.zeros((0, len(self.names), 3))
        looks = np.concatenate(self.looks) if sum(counts) else np.zeros((0, LENGTH), np.float32)
        return PeopleSeen(frame, points[..., :2], points[..., 2], self.names, looks)

    def cuts(self) -> list[int]:
        """The numbers of the first frames after a cut."""
        return [self.numbers[place] for place in find_cuts(self.thumbnails)]


def find_people(
    video: Video,
    detect: Detect,
    window: Window,
    log: "DetectionLog | None" = None,
    each: Callable[[VideoFrame], None] | None = None,
) -> Detections:
    """Looks at the frames of a video one by one; those that the log has already are not looked at again.

    Args:
        each: called with every frame, for a progress bar.
    """
    found = Detections() if log is None else log.read()
    done = set(found.numbers)
    with _writing(log) as file:
        for frame in video.frames(window.start, window.end, window.every):
            if each is not None:
                each(frame)
            if frame.number not in done:
                _look(found, frame, detect, log, file)
    return found


@contextmanager
def _writing(log: "DetectionLog | None") -> Iterator[TextIO | None]:
    if log is None:
        yield None
        return
    with log.path.open("a", encoding="utf-8") as file:
        yield file


def _look(
    found: Detections, frame: VideoFrame, detect: Detect, log: "DetectionLog | None", file: TextIO | None
) -> None:
    people = [person for person in detect(frame.image) if (person.confidence > 0).any()]
    names = found.names or next((person.names for person in people), ())
    other = next((person for person in people if person.names != names), None)
    if other is not None:
        raise ValueError(f"Frame {frame.number} has other keypoints ({len(other)}) than those before ({len(names)}).")
    if names and not found.names:
        found.names = names
        if log is not None and file is not None:
            log.write_line(file, {"names": list(names)})
    points = np.zeros((len(people), len(names), 3))
    for row, person in zip(points, people, strict=True):
        row[:, :2], row[:, 2] = person.xy.round(DECIMALS), person.confidence.round(CONFIDENCE_DECIMALS)
    alone = PeopleSeen(np.zeros(len(people), np.intp), points[..., :2], points[..., 2], tuple(names))
    looks = np.round(looks_of(frame.image, alone) * LOOKS_SCALE) / LOOKS_SCALE
    found.add(frame.number, frame.time, thumbnail_of(frame.image), points, looks.astype(np.float32))
    if log is not None and file is not None:
        log.write_frame(file, found)


@dataclass(frozen=True)
class DetectionLog:
    """The file in which people are written down as they are found. fingerprint: of video, frames and detector."""

    path: Path
    fingerprint: str

    def read(self) -> Detections:
        """What is there already. Another fingerprint: nothing, and the log begins anew.

        Raises:
            FileExistsError: it is somebody else's file. TooLarge: see `hmrfit.file_limits`.
        """
        if not os.path.lexists(self.path):
            self._begin()
            return Detections()
        meter = Meter(f"'{self.path}'")
        meter.add(3 * check_regular(self.path))
        lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        head = _parsed(lines[0])
        if head is None or head.get("log") != LOG:
            raise FileExistsError(f"'{self.path}' is not hmrfit's, so it is not overwritten. Move it away.")
        if head.get("of") != self.fingerprint:
            self._begin()
            return Detections()
        found = Detections()
        whole = [lines[0]]
        for line in lines[1:-1]:  # what follows the last line's end was cut off
            record = _parsed(line)
            if record is None or not _restore(record, found):
                break
            whole.append(line)
        if len(whole) < len(lines) - 1 or lines[-1]:
            self.path.write_text("\n".join(whole) + "\n", encoding="utf-8")
        return found

    def remove(self) -> None:
        """Takes the file away, if it is a log of ours."""
        try:
            with self.path.open(encoding="utf-8", errors="replace") as file:
                head = _parsed(file.readline())
        except OSError:
            return
        if head is not None and head.get("log") == LOG and not self.path.is_symlink():
            self.path.unlink()

    def _begin(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("w", encoding="utf-8") as file:
            self.write_line(file, {"log": LOG, "of": self.fingerprint})

    def write_line(self, file: TextIO, record: dict[str, Any]) -> None:
        """One line, on the disk."""
        file.write(json.dumps(record, separators=(",", ":")) + "\n")
        file.flush()

    def write_frame(self, file: TextIO, found: Detections) -> None:
        """The last frame."""
        self.write_line(
            file,
            {
                "frame": found.numbers[-1],
                "time": found.times[-1],
                "thumbnail": base64.b64encode(found.thumbnails[-1].tobytes()).decode(),
                "people": [person.ravel().tolist() for person in found.people[-1]],
                "looks": [_whole(person) for person in found.looks[-1]],
            },
        )


def _whole(looks: NDArray[np.float32]) -> list[int | None]:
    return [None if np.isnan(v) else round(float(v) * LOOKS_SCALE) for v in looks]


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _restore(record: dict[str, Any], found: Detections) -> bool:
    """Adds a line to what was found; False where it is damaged."""
    try:
        if "names" in record:
            found.names = tuple(map(str, record["names"]))
            return True
        count = len(record["people"])
        people = np.array(record["people"], np.float64).reshape(count, len(found.names), 3)
        looks = np.array(record["looks"], np.float32).reshape(count, LENGTH) / LOOKS_SCALE
        pixels = np.frombuffer(base64.b64decode(record["thumbnail"], validate=True), np.uint8)
        thumbnail = pixels.reshape(THUMBNAIL[1], THUMBNAIL[0], 3)
        found.add(int(record["frame"]), float(record["time"]), thumbnail, people, looks.astype(np.float32))
    except (KeyError, ValueError, TypeError):
        return False
    return True

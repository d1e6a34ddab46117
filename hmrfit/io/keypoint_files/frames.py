"""One person's keypoints frame after frame, from a file of a video, a folder with a file a frame, or a list.

Frames stand in the order of their numbers, not of their names as text ("10.jpg" comes after "2.jpg"). A frame that a
file or folder leaves out is one in which nothing is seen. Two people in one frame are refused: which of them is meant?
"""

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from hmrfit.io.keypoint_files.names import AskedSet
from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.io.keypoint_files.readers import READERS, read_keypoints

HOW_TO_TRACK = (
    "hmrfit.read_tracks(path) makes one track of each person: [hmrfit.fit_sequence(track, fps=..., image_size=...) for "
    "track in hmrfit.read_tracks(path)]. Or choose the same person in every frame: a list of one PersonKeypoints a "
    "frame."
)
"""What to do with several people."""

MOST_BLANK = 10
"""Frames that are left out for each that is there; more, and the numbers are no frame numbers."""


def read_frames(path: str | os.PathLike, keypoint_set: AskedSet = None) -> list[PersonKeypoints]:
    """One `PersonKeypoints` a frame, from the first frame of the file (or the first that shows the person) to the last.

    Args:
        path: a file of a whole video, or a folder with one keypoint file for each frame.
    Raises:
        ValueError: there are two people in a frame, or nobody in any.
    """
    return in_frame_order(read_people_of_frames(path, keypoint_set), f"'{path}'", filled=True)


def read_people_of_frames(path: str | os.PathLike, keypoint_set: AskedSet = None) -> list[PersonKeypoints]:
    """Everybody in a video's file, or in a folder with a file for each frame; `image` is the frame as far as they say.

    A file of a folder that cannot be read is a frame with somebody who cannot (`PersonKeypoints.problem`).

    Errors: those of `read_keypoints`; ValueError: the folder holds files of several kinds, or none can be read.
    """
    path = Path(path)
    if not path.is_dir():
        return read_keypoints(path, keypoint_set)
    files = keypoint_files_of(path)
    kinds = Counter(file.suffix.lower() for file in files)
    if len(kinds) > 1:
        raise ValueError(f"'{path}' holds keypoint files of several kinds ({', '.join(kinds)}). Expected one a frame.")
    numbers = [frame_number(file.name) for file in files]
    named = len(set(numbers)) == len(numbers) and None not in numbers
    frames = [n for n in numbers if n is not None] if named else list(range(len(files)))
    every = (min(frames), max(frames)) if frames and max(frames) - min(frames) == len(frames) - 1 else None
    people: list[PersonKeypoints] = []
    broken: list[tuple[int, Path, ValueError]] = []
    for frame, file in zip(frames, files, strict=True):
        try:
            found = read_keypoints(file, keypoint_set)
        except ValueError as error:
            broken.append((frame, file, error))
            continue
        people += [replace(person, image=str(frame), frames=every) for person in found]
    if broken and not people:
        raise broken[0][2]
    people += [
        replace(blank_frame(people[0], frame), source=file, person_id="0", problem=str(error))
        for frame, file, error in broken
    ]
    return people


def keypoint_files_of(path: str | os.PathLike) -> list[Path]:
    """The file itself, or a folder's keypoint files in the order of the numbers in their names; files without a number,
    a readme or a calibration, are none where two or more have one."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    files = sorted((f for f in path.iterdir() if f.suffix.lower() in READERS and f.is_file()), key=_natural)
    files = [file for file in files if not file.name.startswith(".")]
    numbered = [file for file in files if frame_number(file.name) is not None]
    return numbered if len(numbered) > 1 else files


def in_frame_order(people: Sequence[PersonKeypoints], what: str, filled: bool = False) -> list[PersonKeypoints]:
    """People whose file says in which frame they are, in the order of the frames; others as they stand.

    Args:
        filled: frames that are left out between the first and the last become people of whom nothing is seen. Else
            those around a gap are warned of.
    Raises:
        ValueError: there is nobody, or several people are in one frame.
    """
    people = list(people)
    if not people:
        raise ValueError(f"{what} holds no people, so no frame shows anything to fit to.")
    if not all(p.image for p in people):
        _refuse_mixed(people, what)
        return people
    _refuse_several(people, what)
    numbered = [(number, p) for p in people if p.image and (number := frame_number(p.image)) is not None]
    if len({number for number, _ in numbered}) < len(people):
        return people
    ordered = sorted(numbered, key=lambda pair: pair[0])
    numbers, people = [number for number, _ in ordered], _with_switches([person for _, person in ordered])
    step = math.gcd(*(b - a for a, b in pairwise(numbers))) or 1
    if not filled:
        return _with_gaps(people, numbers, step)
    listed = next((p.frames for p in people if p.frames), None)  # every frame, those without people too
    first, last, step = (*listed, 1) if listed else (numbers[0], numbers[-1], step)
    if (last - first) // step > MOST_BLANK * len(numbers):
        return people
    there = dict(zip(numbers, people, strict=True))
    return [there.get(n) or blank_frame(people[0], n) for n in range(first, last + 1, step)]


def frame_number(name: str) -> int | None:
    """The last number in an image's or a file's name: `video_000000000012_keypoints.json` -> 12; None without one."""
    stem = re.sub(r"\.[A-Za-z]\w*$", "", re.split(r"[/\\]", name)[-1]).removesuffix("_keypoints")
    found = re.findall(r"\d+", stem)
    return int(found[-1]) if found else None


def _natural(path: Path) -> tuple[tuple[int, int | str], ...]:
    """Names with their numbers as numbers."""
    return tuple((0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", path.name) if part)


def blank_frame(person: PersonKeypoints, frame: int) -> PersonKeypoints:
    """A frame in which nothing is seen."""
    unseen = np.zeros_like(person.confidence)
    return replace(person, xy=np.zeros_like(person.xy), confidence=unseen, image=str(frame), box=None, mask=None)


def _refuse_several(people: Sequence[PersonKeypoints], what: str) -> None:
    frame, count = Counter(p.image for p in people).most_common(1)[0]
    if count == 1:
        return
    tracks = list(dict.fromkeys(p.track for p in people if p.track is not None))
    own = len(tracks) > 1 and all(p.track is not None for p in people)
    known = f"Its tracks are {', '.join(tracks[:8])}. " if own else ""
    raise ValueError(
        f"{what}: there are {count} people in frame {frame}, but fit_sequence is about one. {known}{HOW_TO_TRACK}"
    )


def _refuse_mixed(people: Sequence[PersonKeypoints], what: str) -> None:
    """Raises ValueError where there are several tracks and the file does not say their frames."""
    tracks = {p.track for p in people if p.track is not None}
    if len(tracks) > 1 and len({str(p.source) for p in people}) < len(people):
        raise ValueError(
            f"{what}: there are {len(tracks)} tracks ({', '.join(sorted(tracks)[:8])}), but "
            "fit_sequence is about one "
            f"person. {HOW_TO_TRACK}"
        )


def _with_switches(people: list[PersonKeypoints]) -> list[PersonKeypoints]:
    """The same, with a warning where the tracker gives the person another name from one frame to the next."""
    for i in range(1, len(people)):
        before, now = people[i - 1].track, people[i].track
        if before is not None and now is not None and before != now:
            warning = f"The file calls this person '{now}' from here on, and '{before}' before: is it the same one?"
            people[i] = replace(people[i], warnings=(*people[i].warnings, warning))
    return people


def _with_gaps(people: list[PersonKeypoints], numbers: list[int], step: int) -> list[PersonKeypoints]:
    """The same, with a warning where frames are left out."""
    ends = [i for i in range(1, len(numbers)) if numbers[i] - numbers[i - 1] > step]
    for i in ends:
        warning = f"Frames between {numbers[i - 1]} and {numbers[i]} are left out; these two were taken as consecutive."
        people[i] = replace(people[i], warnings=(*people[i].warnings, warning))
    return people

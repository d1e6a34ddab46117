"""Tracks of persons from the keypoint files of a whole video, whatever detector wrote them.

    one file       COCO results and AlphaPose (image_id), MMPose (frame_id), COCO annotations (file names), easy_ViTPose
    a folder       a file for each frame, as OpenPose writes them: video_000000000012_keypoints.json
    tracks.json    hmrfit's own, see `write_tracks`

Frames are known by their numbers ("10.jpg" comes after "2.jpg"), people by the file's own track numbers where everybody
has one, and by `hmrfit.video.tracking` where not: the order of the people within a frame means nothing.
"""

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.bounded import read_json
from hmrfit.io.keypoint_files.find import path_parts
from hmrfit.io.keypoint_files.frames import MOST_BLANK, blank_frame, frame_number, read_people_of_frames
from hmrfit.io.keypoint_files.names import AskedSet
from hmrfit.io.keypoint_files.person import PersonKeypoints
from hmrfit.io.own_files import own_file
from hmrfit.ops.how_many import how_many
from hmrfit.video.seen import PeopleSeen, Rows
from hmrfit.video.tracking import TrackingOptions, track_people

FORMAT = "hmrfit tracks"

FRACTIONS = 1000.0
"""Pixels of an image whose size is not known, for coordinates that are fractions of it."""

USUAL_RATE = 30.0
"""Frames a second that are assumed where nobody says it: how far people move from one to the next."""


@dataclass(frozen=True, eq=False)
class KeypointTrack(Sequence[PersonKeypoints]):
    """One person's keypoints, frame after frame, without gaps: nothing is seen where the person is not.

    `hmrfit.fit_sequence(track, fps=30, image_size=...)` takes it as it is.
    """

    id: str
    frames: NDArray[np.intp]  # (T,) numbers of the frames, evenly spaced
    people: list[PersonKeypoints]  # T

    def __len__(self) -> int:
        return len(self.people)

    @overload
    def __getitem__(self, index: int) -> PersonKeypoints: ...
    @overload
    def __getitem__(self, index: slice) -> list[PersonKeypoints]: ...
    def __getitem__(self, index: int | slice) -> PersonKeypoints | list[PersonKeypoints]:
        return self.people[index]

    @property
    def seen(self) -> NDArray[np.bool_]:
        """(T,) whether the person was found in the frame."""
        return np.array([bool((person.confidence > 0).any()) for person in self.people])

    def __repr__(self) -> str:
        return f"KeypointTrack('{self.id}', frames {self.frames[0]} to {self.frames[-1]}, seen in {self.seen.sum()})"


@dataclass(frozen=True, eq=False)
class KeypointTracks(Sequence[KeypointTrack]):
    """The persons of a video, and what had to be assumed to tell them apart."""

    tracks: list[KeypointTrack]
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.tracks)

    @overload
    def __getitem__(self, index: int) -> KeypointTrack: ...
    @overload
    def __getitem__(self, index: slice) -> list[KeypointTrack]: ...
    def __getitem__(self, index: int | slice) -> KeypointTrack | list[KeypointTrack]:
        return self.tracks[index]

    def __repr__(self) -> str:
        return "\n".join([how_many(len(self), "tracks"), *map(repr, self.tracks), *self.notes])


def read_tracks(
    path: str | os.PathLike,
    keypoint_set: AskedSet = None,
    *,
    fps: float | None = None,
    retrack: bool = False,
    max_people: int | None = None,
    min_confidence: float = 0.0,
) -> KeypointTracks:
    """The persons of a video's keypoint file, or of a folder with a file for each frame.

        for track in hmrfit.read_tracks("alphapose-results.json"):
            result = hmrfit.fit_sequence(track, fps=30, image_size=(1920, 1080))

    Args:
        keypoint_set: a set's name or its names, where the file does not say it.
        fps: frames a second, for how far people move between frames; 30 where it is not given.
        retrack: who is who is found anew, although the file says it.
        max_people: only so many persons, those who are large and long in the picture.
        min_confidence: people of less mean confidence are left out where tracks are found anew.
    Returns: a list of tracks, in the order of their first frames. `.notes` says what was assumed.
    Raises:
        FileNotFoundError, ValueError: the file cannot be read, holds nobody, or does not say in which frame people are.
    """
    people = read_people_of_frames(path, keypoint_set)
    options = TrackingOptions(most=max_people, least_confidence=min_confidence)
    return tracks_of_people(people, f"'{path}'", fps or USUAL_RATE, retrack, options)


def tracks_of_people(
    people: Sequence[PersonKeypoints], what: str, fps: float, retrack: bool, options: TrackingOptions
) -> KeypointTracks:
    """The persons among the people of all frames; `image` says in which frame each is."""
    if not people:
        raise ValueError(f"{what} holds no people, so there is no track.")
    readable = [person for person in people if person.problem is None]
    notes = _unreadable([person for person in people if person.problem is not None])
    numbers, remark = frame_numbers(readable, what)
    notes += [remark] if remark else []
    named = [person.track for person in readable]
    own = None not in named and not retrack
    if own and len(set(zip(numbers, named, strict=True))) < len(readable):
        own = False
        notes.append(f"{what} has one track number for several people of a frame: who is who was found anew.")
    if not own:
        if None in named and set(named) != {None}:
            notes.append(f"{what} gives track numbers to some people only: who is who was found anew.")
        rows, found = _tracked(readable, numbers, fps, options)
        notes += found
        groups = {str(i + 1): track for i, track in enumerate(rows)}
    else:
        groups = _of_the_file(named, numbers)
        groups, fewer = _most(groups, readable, options.most)
        notes += fewer
    step = _step(numbers)
    every = next((person.frames for person in readable if person.frames), None)
    tracks = [_track(name, [readable[i] for i in rows], numbers[rows], step) for name, rows in groups.items()]
    if every is not None and len(tracks) == 0:
        notes.append(f"No track in frames {every[0]} to {every[1]}.")
    return KeypointTracks(tracks, notes)


def frame_numbers(people: Sequence[PersonKeypoints], what: str) -> tuple[Rows, str]:
    """(N,) the frame of each, and a remark.

    Raises:
        ValueError: the file does not say it, or is about several videos.
    """
    if not people:
        raise ValueError(f"{what} holds nobody whose keypoints can be read.")
    names = [person.image for person in people]
    if any(name is None for name in names):
        raise ValueError(
            f"{what} does not say in which frame its people are. Give a file that does (image_id, frame_id), a folder "
            "with a file for each frame, or one person's frames, (T, K, 3), to hmrfit.fit_sequence."
        )
    folders = Counter(path_parts(str(name))[:-1] for name in names)
    if len(folders) > 1:
        several = ", ".join("/".join(parts) or "no folder" for parts in list(folders)[:4])
        raise ValueError(f"{what} is about the frames of several folders ({several}). Give each video's own file.")
    found = {name: frame_number(str(name)) for name in dict.fromkeys(names)}
    values = [number for number in found.values() if number is not None]
    unique = len(set(values)) == len(found)
    if unique and max(values) - min(values) <= (MOST_BLANK + 1) * len(values) * _step(np.array(values)):
        return np.array([found[name] for name in names], np.intp), ""
    order = sorted(found, key=lambda n: (found[n] if unique else 0, str(n))) if unique else list(found)
    places = {name: place for place, name in enumerate(order)}
    by = "their numbers" if unique else "the file"
    remark = (
        f"{what} does not number its frames one after the other: they were taken as consecutive, in the order of {by}."
    )
    return np.array([places[name] for name in names], np.intp), remark


def seen_of(people: Sequence[PersonKeypoints], numbers: Rows) -> PeopleSeen:
    """People in columns; keypoints that only some of them have are unseen for the others."""
    names = tuple(dict.fromkeys(name for person in people for name in person.names))
    xy, confidence = np.zeros((len(people), len(names), 2)), np.zeros((len(people), len(names)))
    place = {name: k for k, name in enumerate(names)}
    for i, person in enumerate(people):
        rows = [place[name] for name in person.names]
        scale = 1 if person.fractions is None else FRACTIONS
        xy[i, rows], confidence[i, rows] = scale * person.xy, person.confidence
    return PeopleSeen(np.asarray(numbers, np.intp), xy, confidence, names)


def _tracked(
    people: Sequence[PersonKeypoints], numbers: Rows, fps: float, options: TrackingOptions
) -> tuple[list[Rows], list[str]]:
    found = track_people(seen_of(people, numbers), fps, (), options)
    return found.tracks, found.notes


def _of_the_file(named: Sequence[str | None], numbers: Rows) -> dict[str, Rows]:
    """Track -> its rows in the order of frames; tracks in the order of their first frames."""
    order = sorted(range(len(named)), key=lambda i: (str(named[i]), numbers[i]))
    groups = {str(name): np.array(list(rows), np.intp) for name, rows in groupby(order, key=lambda i: named[i])}
    return dict(sorted(groups.items(), key=lambda item: (numbers[item[1][0]], len(item[0]), item[0])))


def _most(
    groups: dict[str, Rows], people: Sequence[PersonKeypoints], most: int | None
) -> tuple[dict[str, Rows], list[str]]:
    if most is None or len(groups) <= most:
        return groups, []
    size = seen_of(people, np.zeros(len(people), np.intp)).size()
    best = sorted(groups, key=lambda name: -float(size[groups[name]].sum()))[:most]
    note = (
        f"{how_many(len(groups) - most, f'of {len(groups)} tracks were', f'of {len(groups)} tracks was')} left out: "
        f"at most {most} were asked for."
    )
    return {name: rows for name, rows in groups.items() if name in best}, [note]


def _unreadable(people: Sequence[PersonKeypoints]) -> list[str]:
    if not people:
        return []
    return [f"{how_many(len(people), 'people')} could not be read; the first one: {people[0].problem}"]


def _step(numbers: NDArray) -> int:
    """The distance between the frames of a video of which only every n-th was looked at."""
    steps = np.diff(np.unique(numbers))
    return max(int(np.gcd.reduce(steps)), 1) if len(steps) else 1


def _track(name: str, people: list[PersonKeypoints], numbers: Rows, step: int) -> KeypointTrack:
    """With people of whom nothing is seen in the frames between."""
    frames = np.arange(numbers[0], numbers[-1] + 1, step)
    there = {int(number): person for number, person in zip(numbers, people, strict=True)}
    every = [there.get(int(n)) or blank_frame(people[0], int(n)) for n in frames]
    whole = [replace(p, track=name, image=str(n)) for n, p in zip(frames, every, strict=True)]
    return KeypointTrack(name, frames, whole)


# ---- our own file


@dataclass(frozen=True, eq=False)
class TracksFile:
    """What tracks.json holds."""

    video: str
    fps: float
    size: tuple[int, int]
    numbers: list[int]  # of all frames that were looked at
    times: list[float]
    cuts: list[int]
    notes: list[str]
    fingerprint: str
    seen: PeopleSeen
    tracks: list[str | None]  # of each person seen; None: nobody


def write_tracks(path: str | os.PathLike, content: TracksFile) -> None:
    """Everybody who was found, and who is who, as JSON to be corrected by hand: change a "track", or make it null.

    {"format": "hmrfit tracks", "fps", "size": [w, h], "keypoint_names", "frames": [[number, seconds], ...], "cuts",
    "notes", "people": [{"frame", "track", "keypoints": [x, y, c, ...]}, ...]}; pixels, (0, 0) the corner of the image.
    """
    seen = content.seen
    rows = np.concatenate([seen.xy, seen.confidence[..., None]], -1).reshape(len(seen), -1)
    people = [
        json.dumps({"frame": int(frame), "track": track, "keypoints": np.round(row, 4).tolist()})
        for frame, track, row in zip(seen.frame, content.tracks, rows, strict=True)
    ]
    head = {
        "format": FORMAT,
        "video": content.video,
        "fps": content.fps,
        "size": list(content.size),
        "fingerprint": content.fingerprint,
        "keypoint_names": list(seen.names),
        "cuts": content.cuts,
        "notes": content.notes,
        "frames": [[n, round(t, 6)] for n, t in zip(content.numbers, content.times, strict=True)],
    }
    text = json.dumps(head)[:-1] + ',\n"people": [\n' + ",\n".join(people) + "\n]}\n"
    with own_file(path, "tracks") as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_tracks_file(path: str | os.PathLike) -> TracksFile:
    """What `write_tracks` wrote, corrected by hand or not. Raises ValueError: it is another file, or damaged."""
    content = read_json(path)
    if not (isinstance(content, Mapping) and content.get("format") == FORMAT):
        raise ValueError(f"'{path}' is no file of tracks that hmrfit wrote.")
    try:
        return _parsed(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"'{path}' was changed in a way that cannot be read ({type(error).__name__}: {error}). Change only the "
            '"track" of people.'
        ) from None


def _parsed(content: Mapping[str, Any]) -> TracksFile:
    names = tuple(map(str, content["keypoint_names"]))
    people = content["people"]
    rows = np.array([person["keypoints"] for person in people], np.float64).reshape(len(people), len(names), 3)
    frame = np.array([int(person["frame"]) for person in people], np.intp)
    tracks = [None if (name := person["track"]) is None else str(name) for person in people]
    known = {number for number, _ in content["frames"]}
    if not set(frame.tolist()) <= known:
        raise ValueError("a person is in a frame that is not listed")
    if not np.isfinite(rows).all():
        raise ValueError("a keypoint is no number")
    width, height = content["size"]
    return TracksFile(
        str(content["video"]),
        float(content["fps"]),
        (int(width), int(height)),
        [int(number) for number, _ in content["frames"]],
        [float(time) for _, time in content["frames"]],
        [int(number) for number in content["cuts"]],
        [str(note) for note in content["notes"]],
        str(content["fingerprint"]),
        PeopleSeen(frame, rows[..., :2], rows[..., 2], names),
        tracks,
    )


def rows_of_tracks(content: TracksFile) -> Iterator[tuple[str, Rows]]:
    """Each track and its rows, in the order of first frames. Raises ValueError: one is twice in a frame."""
    named = np.array([name is not None for name in content.tracks], bool)
    rows = np.flatnonzero(named)
    names = [str(content.tracks[row]) for row in rows]
    for name, own in _of_the_file(names, content.seen.frame[rows]).items():
        frames = content.seen.frame[rows[own]]
        if len(np.unique(frames)) < len(frames):
            twice = int(frames[np.flatnonzero(np.diff(frames) == 0)[0]])
            raise ValueError(f"Track '{name}' has two people in frame {twice}: a person can be in one place only.")
        yield name, rows[own]

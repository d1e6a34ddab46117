"""fit_video: from a video to the motions of its persons.

    read the frames  ->  find their people  ->  who is who  ->  fit_sequence for each person  ->  VideoResult

Frames are read one by one and not kept. Each person is fitted alone, in the camera's frame.
"""

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hmrfit.camera import Camera
from hmrfit.config import Config
from hmrfit.detectors.detect import DetectionRequest, load_detector, people_in
from hmrfit.detectors.detector import Detector, NoDetector
from hmrfit.fitting.terms.base import Measurement
from hmrfit.free_focal import FocalLike
from hmrfit.groups import SMOOTH
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_files.find import number_shift
from hmrfit.io.keypoint_files.frames import read_people_of_frames
from hmrfit.io.photo import KeypointsLike
from hmrfit.keypoints import KeypointsFrom
from hmrfit.likely_up import UpLike, likely_up_of
from hmrfit.ops.how_many import how_many
from hmrfit.ops.level import upright_in_words
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import known_up
from hmrfit.result import FitResult
from hmrfit.several import ExtrinsicsLike, count_of_views
from hmrfit.version import __version__
from hmrfit.video.finding import Detect, DetectionLog, Detections, Window, find_people
from hmrfit.video.reader import open_video
from hmrfit.video.seen import PeopleSeen, Rows
from hmrfit.video.source import Video, VideoFrame, uneven
from hmrfit.video.track_files import (
    KeypointTrack,
    KeypointTracks,
    TracksFile,
    rows_of_tracks,
    seen_of,
    tracks_of_people,
)
from hmrfit.video.tracking import TrackingOptions, track_people
from hmrfit.video_result import Track, VideoResult

SHORT_GAP = 0.5
"""Seconds without a person for which the person is still drawn; longer gaps are a guess."""

CAMERA_FRAME = (
    "The motions are in the camera's frame, as if it stood still: where it moves, so do the people. Give extrinsics= "
    "for a camera whose motion is known."
)


@dataclass(frozen=True)
class VideoOptions:
    """Which frames are looked at, and who is a person."""

    window: Window
    max_people: int | None = None
    min_confidence: float | None = None
    reentry: float = TrackingOptions.reentry

    def tracking(self, least_confidence: float = 0.0) -> TrackingOptions:
        """As the tracker takes them."""
        return TrackingOptions(self.reentry, least_confidence=least_confidence, most=self.max_people)


def fit_video(
    video: str | os.PathLike,
    keypoints: KeypointsLike | KeypointTracks = None,
    *,
    detector: str | Detector | Detect | None = None,
    fps: float | None = None,
    start: float = 0.0,
    end: float | None = None,
    every: int = 1,
    max_people: int | None = None,
    min_confidence: float | None = None,
    reentry: float = TrackingOptions.reentry,
    keypoint_set: str | Sequence[str] | None = None,
    focal: FocalLike = None,
    focal_35mm: float | None = None,
    camera: Camera | None = None,
    smooth: float = SMOOTH,
    measurements: Sequence[Measurement] = (),
    up: UpLike = None,
    extrinsics: ExtrinsicsLike | None = None,
    keypoint_source: KeypointsFrom | None = None,
    config: Config = None,
    progress: bool = False,
) -> VideoResult:
    """Fits every person of a video: who is who is found, and each has one shape and a smooth motion.

    Args:
        video: a file, or a folder with one photograph for each frame (with `fps`).
        keypoints: of the whole video, where they are known: a detector's file, a folder with a file for each frame,
            what `read_tracks` returns, or hmrfit's tracks.json. By default they are found by `detector`.
        detector: its name, as for `hmrfit.detect`, a `Detector`, or a function from a picture (H, W, 3) RGB to a list
            of PersonKeypoints; by default the first detector that is installed.
        fps: frames a second, instead of what the file says.
        start, end: seconds, the part that is looked at. every: only every n-th frame.
        max_people: only so many persons, those who are large and long in the picture.
        min_confidence: of a person, on the detector's scale; of a file's people, the mean of their keypoints'.
        reentry: seconds for which somebody who left is looked for.
        smooth, focal, focal_35mm, camera, keypoint_set, keypoint_source, config: as for `hmrfit.fit_sequence`; the
            camera is the same for all persons and frames. measurements: of everybody. up: as for `fit_sequence`.
        extrinsics: of a camera that moves, [R | t] (F, 3, 4) of each of the F frames that are looked at, or what
            `read_calibration` returns for them; the motions are in its world then. Else in the camera's frame.
        progress: shows bars with the time that is left.
    Returns:
        The persons, `result.tracks`, each with the `FitResult` of its frames; `result.overlay("overlay.mp4")` draws
        them. A person who cannot be fitted is left out, `result.left_out` says why; `result.notes` what was assumed.
    Raises:
        ValueError, TypeError, FileNotFoundError, ImportError: what was expected, what came, what to do.
    """
    if isinstance(up, str):
        known_up(up, (), None if extrinsics is not None else Camera.from_size(1, 1))
    opened = open_video(video, fps)
    options = VideoOptions(checked_window(start, end, every), max_people, min_confidence, reentry)
    bars, pipeline = Bars(progress), Pipeline.of(config)
    with pipeline.reading_hands_of(measurements):
        if keypoints is None:
            chosen = resolve_detector(detector, min_confidence)
            found = found_people(opened, chosen.detect, options, bars=bars)
        else:
            found = given_people(opened, keypoints, keypoint_set, options)
    asked: dict[str, Any] = {"keypoint_set": keypoint_set, "focal": focal, "focal_35mm": focal_35mm, "camera": camera}
    asked |= {"smooth": smooth, "measurements": measurements, "up": up, "keypoint_source": keypoint_source}
    asked["extrinsics"] = checked_extrinsics(extrinsics, len(found.numbers))
    return fit_tracks(opened, found, pipeline, asked, bars)


def checked_window(start: float, end: float | None, every: int) -> Window:
    """Raises ValueError: it holds no frame."""
    if not 0 <= start < math.inf or (end is not None and not end >= start):
        raise ValueError(f"start and end are seconds of the video, 0 <= start <= end, not {start} and {end}.")
    if int(every) != every or every < 1:
        raise ValueError(f"every= should be a whole number above 0: 2 is every second frame. It is {every}.")
    return Window(float(start), None if end is None else float(end), int(every))


def checked_extrinsics(extrinsics: ExtrinsicsLike | None, count: int) -> ExtrinsicsLike | None:
    """Raises ValueError: they are not one for each of the frames that are looked at."""
    if extrinsics is not None and count_of_views(extrinsics, "extrinsics") != count:
        raise ValueError(
            f"extrinsics should be [R | t] of each of the {how_many(count, 'frames')} that are looked at, but there "
            "are "
            f"{count_of_views(extrinsics, 'extrinsics')}."
        )
    return extrinsics


@dataclass(frozen=True)
class NamedDetect:
    """A way to find people, and what it is: results made by another one are not gone on with."""

    detect: Detect
    fingerprint: str


def resolve_detector(detector: str | Detector | Detect | None, min_confidence: float | None) -> NamedDetect:
    """From a detector, its name, a function, or None for the first detector that is installed.

    Raises:
        NoDetector (a ValueError): none can run; names the command that brings one.
    """
    if callable(detector) and not isinstance(detector, Detector):
        return NamedDetect(detector, getattr(detector, "__qualname__", type(detector).__name__))
    try:
        chosen = load_detector(detector)
    except NoDetector as error:
        raise NoDetector(
            f"{error}\nOr give the keypoints of the whole video, keypoints= (-k): a detector's file."
        ) from None
    asked = DetectionRequest.of(None, None, min_confidence)
    return NamedDetect(lambda image: people_in(image, chosen, asked), f"{chosen.fingerprint} {min_confidence}")


class Bars:
    """Progress bars with the time that is left. shown: None for terminals only."""

    def __init__(self, shown: bool | None = False) -> None:
        self.disable = None if shown is None else not shown

    def over(self, what: str, total: int | None, unit: str = "frame") -> "tqdm[Any]":
        """A bar."""
        return tqdm(total=total, desc=what, unit=unit, disable=self.disable, leave=False)


# ---- who is where


def found_people(
    video: Video, detect: Detect, options: VideoOptions, log: DetectionLog | None = None, bars: Bars | None = None
) -> TracksFile:
    """The people that a detector finds, and who is who."""
    with (bars or Bars()).over("finding people", frames_of(video, options.window)) as bar:

        def advance(frame: VideoFrame) -> None:
            bar.update()

        found = find_people(video, detect, options.window, log, advance)
    if not found.numbers:
        raise ValueError(
            f"'{video.path}' has no frame from {options.window.start:g} s on"
            + (f" to {options.window.end:g} s." if options.window.end is not None else ".")
        )
    return tracked(video, found, options)


def tracked(video: Video, found: Detections, options: VideoOptions) -> TracksFile:
    """Who is who among the people found."""
    seen, cuts = found.seen(), found.cuts()
    tracking = track_people(seen, video.fps, cuts, options.tracking())
    names: list[str | None] = [None] * len(seen)
    for number, rows in enumerate(tracking.tracks):
        for row in rows:
            names[row] = str(number + 1)
    notes = [*([video.problem] if video.problem else []), *_cut_notes(cuts), *tracking.notes]
    if uneven(found.times):
        notes.append(
            f"The video's frame rate varies; the motions were smoothed as if it were {video.fps:.3g} a second always."
        )
    return TracksFile(str(video.path), video.fps, video.size, found.numbers, found.times, cuts, notes, "", seen, names)


def _cut_notes(cuts: Sequence[int]) -> list[str]:
    if not cuts:
        return []
    where = ", ".join(map(str, cuts[:10])) + (" ..." if len(cuts) > 10 else "")
    return [f"The video is cut at frame {where}: tracks end there, and nobody is known again after a cut."]


def frames_of(video: Video, window: Window) -> int | None:
    """How many frames there will be, for a bar."""
    if video.length is None:
        return None
    first, last = window.start * video.fps, video.length if window.end is None else window.end * video.fps + 1
    return max(0, int((min(last, video.length) - first) // window.every))


def given_people(
    video: Video, keypoints: Any, keypoint_set: str | Sequence[str] | None, options: VideoOptions
) -> TracksFile:
    """The people of a file of the whole video, by the video's own frame numbers."""
    window = options.window
    if isinstance(keypoints, KeypointTracks):
        tracks = keypoints
    else:
        if not isinstance(keypoints, str | os.PathLike):
            raise TypeError(
                "keypoints of a video should be a detector's file, a folder with a file for each frame, or what "
                f"hmrfit.read_tracks returns, not {type(keypoints).__name__}."
            )
        people = read_people_of_frames(keypoints, keypoint_set)
        people = [person.at_size(video.size) for person in people]
        tracks = tracks_of_people(
            people, f"'{keypoints}'", video.fps, False, options.tracking(options.min_confidence or 0.0)
        )
    frames = [(f.number, f.time) for f in video.frames(window.start, window.end, window.every, pixels=False)]
    if not frames:
        raise ValueError(f"'{video.path}' has no frame in that part of it.")
    shift, remark = _shift_of(video, tracks)
    known = {number for number, _ in frames}
    people, numbers, names = [], [], []
    for track in tracks:
        for number, person in zip(track.frames, track.people, strict=True):
            if int(number) + shift in known and (person.confidence > 0).any():
                people.append(person)
                numbers.append(int(number) + shift)
                names.append(track.id)
    notes = [*([video.problem] if video.problem else []), *([remark] if remark else []), *tracks.notes]
    seen = seen_of(people, np.array(numbers, np.intp)) if people else PeopleSeen(*_nobody())
    return TracksFile(
        str(video.path),
        video.fps,
        video.size,
        [n for n, _ in frames],
        [t for _, t in frames],
        [],
        notes,
        "",
        seen,
        list(names),
    )


def _nobody() -> tuple[Rows, np.ndarray, np.ndarray, tuple[str, ...]]:
    return np.zeros(0, np.intp), np.zeros((0, 0, 2)), np.zeros((0, 0)), ()


def _shift_of(video: Video, tracks: KeypointTracks) -> tuple[int, str]:
    """What to add to the file's frame numbers to have the video's, and a remark."""
    if not len(tracks):
        return 0, ""
    listed = next((p.frames for track in tracks for p in track.people if p.frames), None)
    low = min(int(track.frames[0]) for track in tracks) if listed is None else listed[0]
    high = max(int(track.frames[-1]) for track in tracks) if listed is None else listed[1]
    numbers = list(video.numbers) or list(range(video.length or high + 1))
    return number_shift((low, high), listed is not None, numbers, f"the frames of '{video.path.name}'")


# ---- the fits


def fit_tracks(
    video: Video, found: TracksFile, pipeline: Pipeline, asked: Mapping[str, Any], bars: Bars | None = None
) -> VideoResult:
    """Fits each track; one that cannot be fitted is left out."""
    tracks: list[Track] = []
    left_out: dict[str, str] = {}
    named = list(rows_of_tracks(found))
    with (bars or Bars()).over("fitting", len(found.seen)) as bar:
        for name, rows in named:
            try:
                tracks.append(fit_track(video, found, name, rows, pipeline, asked))
            except ValueError as error:
                if len(named) == 1:
                    raise
                left_out[name] = str(error)
            bar.update(len(rows))
    notes = notes_of(video, found, len(named), asked.get("extrinsics") is not None)
    tracks = levelled(tracks) if isinstance(asked.get("up"), str) else tracks
    notes += remarks_on_up(tracks)
    return VideoResult(tracks, video.path, video.fps, video.size, found, notes, left_out)


def levelled(tracks: Sequence[Track]) -> list[Track]:
    """The tracks of one camera, which know what points up by all of them together, where no measurement says it."""
    if any(track.result.up is not None and track.result.up_std is None for track in tracks):
        return list(tracks)
    found = likely_up_of([track.result for track in tracks])
    return [replace(track, result=track.result.with_likely_up(found)) for track in tracks]


def remarks_on_up(tracks: Sequence[Track]) -> list[str]:
    """What is to be said where what points up is an estimate."""
    known = [track.result.up_std for track in tracks if track.result.up_std is not None]
    return [f"{upright_in_words('The motions', True, known[0])}."] if known else []


def notes_of(video: Video, found: TracksFile, persons: int, moving: bool) -> list[str]:
    """What is to be said of a video's result. moving: the camera's motion is known."""
    nobody = f"Nobody was found in the {how_many(len(found.numbers), 'frames')} of '{video.path.name}'."
    return [*([] if persons else [nobody]), *found.notes, *([] if moving or not persons else [CAMERA_FRAME])]


def fit_track(
    video: Video, found: TracksFile, name: str, rows: Rows, pipeline: Pipeline, asked: Mapping[str, Any]
) -> Track:
    """The motion of one person, from the first frame to the last."""
    numbers = np.array(found.numbers, np.intp)
    step = step_of(found)
    track = keypoint_track(found, name, rows, step, video.path)
    size = None if asked.get("camera") is not None else video.size
    given = {key: value for key, value in asked.items() if value is not None and key != "keypoint_set"}
    if "extrinsics" in given:
        given["extrinsics"] = _of_frames(given["extrinsics"], _rows_of(numbers, track.frames))
    result = pipeline.fit_sequence(track.people, fps=video.fps / step, image_size=size, **given)
    result = replace(result, origin=replace(result.origin, person_ids=[str(n) for n in track.frames]))
    return track_of_result(found, name, rows, result)


def track_of_result(found: TracksFile, name: str, rows: Rows, result: FitResult) -> Track:
    """The track of a result that is there."""
    numbers, seen_in = np.array(found.numbers, np.intp), found.seen.frame[rows]
    step = step_of(found)
    frames = np.arange(seen_in[0], seen_in[-1] + 1, step)
    times = np.interp(frames, numbers, np.array(found.times))
    seen = np.isin(frames, seen_in)
    return Track(name, frames, times, seen, shown(seen, SHORT_GAP * found.fps / step), result)


def step_of(found: TracksFile) -> int:
    """The distance between two frames that were looked at."""
    return int(np.gcd.reduce(np.diff(found.numbers))) if len(found.numbers) > 1 else 1


def _of_frames(extrinsics: Any, rows: slice) -> Any:
    """Those of some frames."""
    if isinstance(extrinsics, CameraCalibration):
        return extrinsics.select(list(range(len(extrinsics)))[rows])
    return np.asarray(extrinsics)[rows]


def _rows_of(numbers: Rows, frames: Rows) -> slice:
    """The frames of a track among those that were looked at. Raises ValueError where the video left some out."""
    first, last = (int(np.searchsorted(numbers, frame)) for frame in (frames[0], frames[-1]))
    if last - first + 1 != len(frames):
        raise ValueError("extrinsics= needs every frame of the video, but some could not be read.")
    return slice(first, last + 1)


def keypoint_track(found: TracksFile, name: str, rows: Rows, step: int, source: Path) -> KeypointTrack:
    """One person's keypoints, frame after frame, blank where the person is not seen."""
    seen = found.seen
    frames = np.arange(seen.frame[rows[0]], seen.frame[rows[-1]] + 1, step)
    xy, confidence = np.zeros((len(frames), len(seen.names), 2)), np.zeros((len(frames), len(seen.names)))
    places = (seen.frame[rows] - frames[0]) // step
    xy[places], confidence[places] = seen.xy[rows], seen.confidence[rows]
    people = [
        PersonKeypoints(seen.names, xy[t], confidence[t], source, name, str(n), track=name, made_by="detector")
        for t, n in enumerate(frames)
    ]
    return KeypointTrack(name, frames, people)


def shown(seen: np.ndarray, gap: float) -> np.ndarray:
    """(T,) seen, or between two frames where it is that are at most `gap` frames apart."""
    there = np.flatnonzero(seen)
    result = seen.copy()
    for a, b in pairwise(there):
        if b - a - 1 <= gap:
            result[a:b] = True
    return result


def fingerprint_of_video(video: Video, *parts: object) -> str:
    """A checksum of what the people found depend on: the file, how it was read, and what else is named."""
    known = os.stat(video.path)
    digest = hashlib.sha256(repr((video.size, video.fps, video.source.name, __version__, parts)).encode())
    digest.update(repr((known.st_size, known.st_mtime_ns, list(video.numbers))).encode())
    return digest.hexdigest()

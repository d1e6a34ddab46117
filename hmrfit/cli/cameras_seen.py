"""What each calibrated camera saw: its pictures, straightened to look at, and the people in them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from hmrfit.cli.detections import FOLDER as DETECTIONS
from hmrfit.cli.fit_flags import FitFlags
from hmrfit.cli.outputs import safe_name
from hmrfit.cli.photographs import Collection, collect
from hmrfit.cli.tracks_of_video import tracks_of_video
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.image import read_image, undistort_image
from hmrfit.io.photo import NoPeople
from hmrfit.video.finding import Window
from hmrfit.video.source import NO_PIXELS, IsWanted, Source, Video, VideoFrame
from hmrfit.video.track_files import KeypointTrack, TracksFile, rows_of_tracks
from hmrfit.video.tracking import TrackingOptions
from hmrfit.video_fit import Bars, VideoOptions, keypoint_track, step_of
from hmrfit.views_sequence import TrackInView


@dataclass(frozen=True, eq=False)
class CameraSeen:
    """One camera's video, or photograph, and who is in it. Frames are counted from the first that is looked at."""

    name: str
    video: Video
    numbers: Sequence[int]  # of the frames that are looked at, as the video counts them
    times: Sequence[float]  # seconds
    tracks: Sequence[KeypointTrack | TrackInView]
    rate: float | None = None  # frames a second of those that are looked at; None: it is a photograph
    notes: Sequence[str] = ()

    def straightened(self, calibration: CameraCalibration) -> Video:
        """The video as the pinhole camera would have made it, on which the bodies lie."""
        place = calibration.index(self.name)
        lens = calibration.distortion[place]
        if not lens.any():
            return self.video
        return replace(self.video, source=Straightened(self.video.source, calibration.intrinsics(place), lens))


@dataclass(frozen=True, eq=False)
class Straightened:
    """The frames of another source, their lens distortion taken out."""

    source: Source
    matrix: np.ndarray  # (3, 3) cv2's K
    lens: np.ndarray  # cv2's coefficients

    @property
    def name(self) -> str:
        return self.source.name

    def frames(self, video: Video, wanted: IsWanted, pixels: bool) -> Iterator[VideoFrame]:
        """See `Source`."""
        for frame in self.source.frames(video, wanted, pixels):
            yield frame._replace(image=undistort_image(frame.image, self.matrix, self.lens)) if pixels else frame


@dataclass(frozen=True)
class OnePicture:
    """A photograph as a video of one frame."""

    path: Path
    name: str = "photograph"

    def frames(self, video: Video, wanted: IsWanted, pixels: bool) -> Iterator[VideoFrame]:
        """See `Source`."""
        if wanted(0, 0.0):
            yield VideoFrame(0, 0.0, read_image(self.path) if pixels else NO_PIXELS)


# ---- videos


def seen_in_videos(
    videos: Mapping[str, Video], folder: Path, flags: Mapping[str, FitFlags], window: Window, reentry: float | None
) -> list[CameraSeen]:
    """The people of each camera's video, of the frames that all have. flags: of each camera, with its own keypoints."""
    # How many people there are is known when the cameras' are matched, not in one of them.
    options = VideoOptions(window, None, None, TrackingOptions.reentry if reentry is None else reentry)
    found = {}
    for name, video in videos.items():
        own = folder / safe_name(Path(name + ".x"))
        own.mkdir(exist_ok=True)
        asked = replace(options, min_confidence=flags[name].min_confidence)
        found[name] = tracks_of_video(video, own, flags[name], asked, Bars(None))
    count = min(len(one.numbers) for one in found.values())
    step = max(step_of(one) for one in found.values())
    first = next(iter(found.values()))
    return [
        CameraSeen(
            name,
            videos[name],
            first.numbers[:count],
            first.times[:count],
            [_from_first(track, one.numbers[0], step, count) for track in _tracks(one, step)],
            videos[name].fps / step,
            one.notes,
        )
        for name, one in found.items()
    ]


def _tracks(found: TracksFile, step: int) -> list[KeypointTrack]:
    return [keypoint_track(found, name, rows, step, Path(found.video)) for name, rows in rows_of_tracks(found)]


def _from_first(track: KeypointTrack, first: int, step: int, count: int) -> KeypointTrack:
    """Its frames by their places among those that are looked at."""
    places = (track.frames - first) // step
    kept = places < count
    return replace(track, frames=places[kept], people=[p for p, k in zip(track.people, kept, strict=True) if k])


# ---- photographs


def _same(file: Path, _: Path) -> Path:
    return file


def collections_of(
    cameras: Mapping[str, str], keypoints: Mapping[str, str | None], flags: FitFlags
) -> dict[str, Collection]:
    """The keypoints of each camera's photograph. Errors: see `collect`."""
    asked = replace(flags, max_people=None)
    return {
        name: collect([file], given := keypoints[file], flags.keypoint_set, None if given else asked.detecting)
        for name, file in cameras.items()
    }


def seen_in_photographs(
    cameras: Mapping[str, str], sizes: Sequence[tuple[int, int]], collections: Mapping[str, Collection], folder: Path
) -> list[CameraSeen]:
    """The people of each camera's photograph: everybody is a track of one frame."""
    seen = []
    for (name, file), size in zip(cameras.items(), sizes, strict=True):
        path = Path(file)
        found = folder / DETECTIONS / f"{safe_name(Path(name + '.x'))}.json"
        kept = collections[name].kept_in(partial(_same, found))
        notes = []
        try:
            people = kept.people(path)
        except NoPeople as nobody:
            people, notes = [], [str(nobody)]
        readable = [person.at_size(size) for person in people if person.problem is None]
        tracks = [TrackInView(np.zeros(1, np.int64), (person,)) for person in readable]
        seen.append(CameraSeen(name, Video(path, size, 1.0, 1, OnePicture(path)), [0], [0.0], tracks, None, notes))
    return seen

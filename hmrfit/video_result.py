"""VideoResult: the persons of a video and their motions, to look at, to save, to hand on."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.ops.how_many import how_many
from hmrfit.result import FitResult
from hmrfit.video.drawing import DrawnPerson, color_of, draw_people, drawn_size
from hmrfit.video.reader import open_video
from hmrfit.video.source import Video, VideoFrame
from hmrfit.video.track_files import TracksFile
from hmrfit.video.writer import write_video


@dataclass(frozen=True, eq=False)
class Track:
    """One person of a video."""

    id: str
    frames: NDArray[np.intp]  # (T,) numbers of the video's frames, evenly spaced, from the first to the last
    times: NDArray[np.float64]  # (T,) seconds from the video's begin
    seen: NDArray[np.bool_]  # (T,) whether the person was found in the frame; else the pose is filled in
    shown: NDArray[np.bool_]  # (T,) seen, or in a short gap: where it is drawn. In longer ones the pose is a guess
    result: FitResult  # its T rows are the frames; camera frame

    def __len__(self) -> int:
        return len(self.frames)

    def __repr__(self) -> str:
        return f"Track('{self.id}', frames {self.frames[0]} to {self.frames[-1]}, seen in {self.seen.sum()})"

    def row(self, number: int) -> int | None:
        """The row of a frame's number; None where the person is not fitted."""
        place = int(np.searchsorted(self.frames, number))
        return place if place < len(self.frames) and self.frames[place] == number else None


@dataclass(frozen=True, eq=False)
class VideoResult:
    """The persons of a video, each with one shape and a smooth motion. Made by `hmrfit.fit_video`.

    Everything is in the camera's frame (x right, y down, z forward, metres), unless extrinsics were given.
    """

    tracks: list[Track]
    path: Path  # of the video, or of the folder of its frames
    fps: float  # of the video
    size: tuple[int, int]  # width, height, pixels
    found: TracksFile  # all people of all frames, and who is who
    notes: list[str] = field(default_factory=list)  # what was assumed, joined or left out: sentences
    left_out: dict[str, str] = field(default_factory=dict)  # tracks that could not be fitted -> why

    def __len__(self) -> int:
        return len(self.tracks)

    def __getitem__(self, name: int | str) -> Track:
        """A track by its place, or by its id."""
        if isinstance(name, str):
            found = next((track for track in self.tracks if track.id == name), None)
            if found is None:
                raise KeyError(f"There is no track '{name}'. There are {', '.join(t.id for t in self.tracks)}.")
            return found
        return self.tracks[name]

    def __iter__(self) -> Iterator[Track]:
        return iter(self.tracks)

    def __str__(self) -> str:
        frames = (
            f"{how_many(len(self.found.numbers), 'frames')}, {self.fps:g} a second, {self.size[0]} × {self.size[1]}"
        )
        lost = [f"track {name} is left out: {reason}" for name, reason in self.left_out.items()]
        return "\n".join([f"VideoResult of {self.path.name}: {frames}", *map(repr, self.tracks), *lost, *self.notes])

    @property
    def rate(self) -> float:
        """Frames a second of those that were looked at: the tracks' own."""
        steps = np.diff(self.found.numbers)
        return self.fps / (float(np.gcd.reduce(steps)) if len(steps) else 1.0)

    def overlay(
        self,
        path: str | os.PathLike,
        keypoints: bool = False,
        each: Callable[[VideoFrame], None] | None = None,
        video: Video | None = None,
        kept: Callable[[int, VideoFrame, Image], None] | None = None,
    ) -> str:
        """Writes an .mp4 of the video with every person drawn over it, frame by frame.

        Args:
            keypoints: also draws what was fitted, as rings. each: called with every frame, for a progress bar.
            video: if it was moved since, or opened otherwise. kept: called with each drawn frame and its place.
        Returns: a remark, empty where every browser plays the file.
        """
        return write_video(path, self.drawn(keypoints, each, video, kept), self.rate)

    def drawn(
        self,
        keypoints: bool = False,
        each: Callable[[VideoFrame], None] | None = None,
        video: Video | None = None,
        kept: Callable[[int, VideoFrame, Image], None] | None = None,
    ) -> Iterator[Image]:
        """The frames of the overlay, one by one; see `overlay`."""
        video = open_video(self.path, self.fps if self.path.is_dir() else None) if video is None else video
        wanted = set(self.found.numbers)
        last, place = max(self.found.numbers, default=-1), 0
        for frame in video.frames():
            if frame.number > last:
                return
            if frame.number not in wanted:
                continue
            if each is not None:
                each(frame)
            picture = self.draw(frame, keypoints)
            if kept is not None:
                kept(place, frame, picture)
            place += 1
            yield picture

    def draw(self, frame: VideoFrame, keypoints: bool = False) -> Image:
        """One frame with the people in it."""
        people = [
            _drawn(track, row, number, keypoints)
            for number, track in enumerate(self.tracks)
            if (row := track.row(frame.number)) is not None and track.shown[row]
        ]
        text = f"frame {frame.number}   {frame.time:.2f} s"
        if not self.tracks:
            picture = np.asarray(cv2.resize(frame.image, drawn_size(self.size), interpolation=cv2.INTER_AREA), np.uint8)
            return picture
        return draw_people(frame.image, people, self.tracks[0].result.body_model.faces, text)


def _drawn(track: Track, row: int, number: int, keypoints: bool) -> DrawnPerson:
    one = track.result[row]
    given = one.keypoints if keypoints else None
    return DrawnPerson(track.id, color_of(number), one.mesh_vertices[0], one.camera, given, bool(track.seen[row]))

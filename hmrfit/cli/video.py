"""hmrfit fit VIDEO: who is who, each person's motion, and a video with everybody drawn over it.

    OUT/tracks.json      everybody who was found, and who is who; correct a "track" in it, and run again
        person_1.npz     the result of one person, all frames         person_1.glb    an animated mesh with skeleton
        person_1_amass.npz   the motion for readers of AMASS          person_1.bvh    skeleton and angles
        overlay.mp4      the people over the video                    index.html      all of it to look at

A run that was stopped goes on: frames that were looked at are in detections.jsonl until all of them were, and a person
is fitted again only if keypoints, settings or parameter files changed. Nothing that hmrfit did not write is replaced:
a tracks.json that was corrected is the user's, and is taken as it is.
"""

import hashlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hmrfit.build import load_body
from hmrfit.cli.batches import finished
from hmrfit.cli.fit_flags import FitFlags
from hmrfit.cli.messages import print_json
from hmrfit.cli.motions_beside import AMASS, remove_motions, write_missing_motions
from hmrfit.cli.outputs import safe_name, write_own
from hmrfit.cli.tracks_of_video import TRACKS, tracks_of_video
from hmrfit.config import load_config
from hmrfit.io.atomic import check_writable, sweep
from hmrfit.io.image import Image
from hmrfit.io.own_files import check_own, kind_of, refuse_others, remove_own
from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.report.page import Entry, Html, write_page
from hmrfit.report.viewer import ViewPerson, ViewScene, view_html, write_beside, write_view
from hmrfit.result import FitResult
from hmrfit.version import __version__
from hmrfit.video.drawing import color_of
from hmrfit.video.reader import is_video, open_video
from hmrfit.video.seen import Rows
from hmrfit.video.source import Video, VideoFrame
from hmrfit.video.track_files import TracksFile, rows_of_tracks
from hmrfit.video.tracking import TrackingOptions
from hmrfit.video_fit import (
    Bars,
    VideoOptions,
    checked_window,
    fit_track,
    levelled,
    notes_of,
    remarks_on_up,
    track_of_result,
)
from hmrfit.video_result import Track, VideoResult

OVERLAY, PAGE, VIEW = "overlay.mp4", "index.html", "view.js"

MOTIONS = (AMASS, ".glb", ".bvh")
"""The motion files of each person."""

STILLS = 6
"""Frames of the overlay that the page shows."""


WITHOUT = ("mesh", "shard", "engine", "format", "full_size", "workers")
"""Flags of photographs that have no meaning with videos: a person's motion is written as GLB and BVH anyway."""


@dataclass(frozen=True)
class VideoFlags:
    """What the command line gives for videos, beside `FitFlags`."""

    fps: float | None = None
    start: float | None = None
    end: float | None = None
    every: int | None = None
    reentry: float | None = None


def asks_for_video(images: Sequence[str], flags: VideoFlags) -> bool:
    """Whether the arguments name videos, or a folder of frames with --fps.

    Raises:
        ValueError: videos and photographs in one call, or flags of videos without one.
    """
    videos = [is_video(name) or (flags.fps is not None and os.path.isdir(name)) for name in images]
    if any(videos) and not all(videos):
        raise ValueError("Name either videos or photographs in one call, not both.")
    given = [f"--{name}" for name, value in vars(flags).items() if value is not None]
    if given and not any(videos):
        verb = "is" if len(given) == 1 else "are"
        raise ValueError(f"{', '.join(given)} {verb} about videos, but {', '.join(images)} is none.")
    return any(videos)


def video_command(flags: FitFlags, video: VideoFlags) -> int:
    """Fits the people of every video; 0 if there is a person in at least one, else 1."""
    flags.refuse(WITHOUT, "videos")
    for name in images_of(flags):
        if not os.path.lexists(name):
            raise FileNotFoundError(f"There is no video or folder '{name}'.")
    pipeline = Pipeline.of(load_config(flags.config, flags.overrides))
    use_threads(pipeline.threads)
    flags.check_values(pipeline)
    names = _folders(images_of(flags), Path(flags.out))
    done = 0
    for path, folder in names.items():
        try:
            done += VideoRun(Path(path), folder, pipeline, flags, video).run()
        except (ValueError, OSError, ImportError) as error:
            if len(names) == 1:
                raise
            if flags.debug:
                traceback.print_exc()
            print(f"{printable(path)}: {printable(str(error), keep=chr(10))}", file=sys.stderr)
    return 0 if done else 1


def images_of(flags: FitFlags) -> list[str]:
    """The videos, each once."""
    return list(dict.fromkeys(flags.images))


def _folders(videos: Sequence[str], out: Path) -> dict[str, Path]:
    """One video: the folder itself; several: a folder in it for each."""
    if len(videos) == 1:
        return {videos[0]: out}
    taken: set[str] = set()
    folders = {}
    for video in videos:
        plain = name = safe_name(Path(video))
        for number in range(2, len(videos) + 2):
            if name.casefold() not in taken:
                break
            name = f"{plain}_{number}"
        taken.add(name.casefold())
        folders[video] = out / name
    return folders


class VideoRun:
    """One video and its folder."""

    def __init__(self, path: Path, folder: Path, pipeline: Pipeline, flags: FitFlags, video: VideoFlags) -> None:
        self.path, self.folder, self.pipeline, self.flags = path, folder, pipeline, flags
        self.given = video
        window = checked_window(video.start or 0.0, video.end, 1 if video.every is None else video.every)
        reentry = TrackingOptions.reentry if video.reentry is None else video.reentry
        self.options = VideoOptions(window, flags.max_people, flags.min_confidence, reentry)
        self.bars = Bars(None)

    def run(self) -> int:
        """Everything; the number of people with a motion."""
        if self.flags.boxes is not None:
            raise ValueError("--boxes is about photographs; of a video, people are found in whole frames.")
        if self.folder.resolve() == (self.path if self.path.is_dir() else self.path.parent / "?").resolve():
            raise ValueError(f"'{self.folder}' holds the frames of the video. Choose another folder with --out.")
        video = open_video(self.path, self.given.fps)
        self._prepare()
        with self.pipeline.reading_hands_of(self.flags.measurements):
            found = tracks_of_video(video, self.folder, self.flags, self.options, self.bars)
        tracks, left_out, made = self._tracks(video, found)
        tracks = self._levelled(tracks)
        self._remove_gone({track.id for track in tracks})
        notes = notes_of(video, found, len(tracks) + len(left_out), moving=False)
        notes += remarks_on_up(tracks)
        result = VideoResult(tracks, video.path, video.fps, video.size, found, notes, left_out)
        remark = self._overlay(result, video, made)
        self._page(result, [*notes, *([remark] if remark else [])])
        if self.flags.as_json:
            print_json(video_facts(result, self.folder))
        else:
            print(described(result, self.folder))
        return len(tracks)

    def _prepare(self) -> None:
        there = [self.folder / name for name in (OVERLAY, PAGE, VIEW)]
        refuse_others(there)
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        check_writable(self.folder)

    # ---- the fits

    def _tracks(self, video: Video, found: TracksFile) -> tuple[list[Track], dict[str, str], bool]:
        """(tracks, those that cannot be fitted and why, whether any was fitted now)."""
        tracks: list[Track] = []
        left_out: dict[str, str] = {}
        made = False
        named = list(rows_of_tracks(found))
        with self.bars.over("fitting", sum(len(rows) for _, rows in named)) as bar:
            for name, rows in named:
                try:
                    track, new = self._track(video, found, name, rows)
                except ValueError as error:
                    left_out[name] = str(error)
                    bar.write(printable(f"person {name}: {error}"))
                else:
                    tracks.append(track)
                    made |= new
                bar.update(len(rows))
        return tracks, left_out, made

    def _track(self, video: Video, found: TracksFile, name: str, rows: Rows) -> tuple[Track, bool]:
        file = self._file(name)
        fingerprint = self._fingerprint(found, rows)
        old = None if self.flags.overwrite else finished(file, fingerprint)
        if old is not None:
            track, new = track_of_result(found, name, rows, old), False
        else:
            check_own(file)
            track, new = fit_track(video, found, name, rows, self.pipeline, self._asked()), True
            result = replace(track.result, origin=replace(track.result.origin, fingerprint=fingerprint))
            track = self._written(track, result)
        return track, new

    def _written(self, track: Track, result: FitResult) -> Track:
        """The track with a result that is on the disk, and no motions of a former one beside it."""
        file = self._file(track.id)
        remove_motions(file, MOTIONS, FitResult.load)
        write_own(file, "result", result.save)
        return replace(track, result=FitResult.load(file))

    def _levelled(self, tracks: Sequence[Track]) -> list[Track]:
        """The tracks, which know what points up by all of them together, with their motions beside them."""
        known = list(tracks) if self.flags.up is None else levelled(tracks)
        for i, (before, after) in enumerate(zip(tracks, known, strict=True)):
            if not same_up(before.result, after.result):
                known[i] = self._written(before, after.result)
            write_missing_motions(self._file(before.id), MOTIONS, known[i].result)
        return known

    def _file(self, track: str) -> Path:
        """Of a person's result."""
        return self.folder / f"{file_name(track)}.npz"

    def _asked(self) -> dict[str, Any]:
        flags = self.flags
        return {
            "focal": flags.focal,
            "focal_35mm": flags.focal_35mm,
            "measurements": flags.measurements,
            "keypoint_source": flags.keypoint_source,
            "keypoint_std": flags.keypoint_std,
        }

    def _fingerprint(self, found: TracksFile, rows: Rows) -> str:
        """Of what a person's motion depends on."""
        seen = found.seen[rows]
        digest = hashlib.sha256()
        for array in (seen.frame, seen.xy, seen.confidence):
            digest.update(np.ascontiguousarray(array).tobytes())
        asked = {k: v for k, v in self._asked().items() if k != "measurements"} | {"up": self.flags.up}
        known = "".join(f"{type(one).__name__}{vars(one)}" for one in self.flags.measurements)
        about = [
            seen.names,
            found.fps,
            found.size,
            found.numbers[:2],
            self.pipeline.for_keypoints(list(seen.names)).fingerprint,
            asked,
            known,
            __version__,
        ]
        digest.update(json.dumps(about, default=str).encode())
        return digest.hexdigest()

    def _remove_gone(self, ids: set[str]) -> None:
        """The files of persons who are none any more."""
        for result in self.folder.glob("person_*.npz"):
            if kind_of(result) == "result" and result.stem not in {file_name(name) for name in ids}:
                with suppress(OSError):
                    remove_motions(result, MOTIONS, FitResult.load)
                    remove_own(result)

    # ---- what there is to look at

    def _overlay(self, result: VideoResult, video: Video, made: bool) -> str:
        """overlay.mp4 and the stills of the page. Returns: a remark."""
        path = self.folder / OVERLAY
        self.stills: dict[str, Image] = {}
        if self.flags.no_pictures:
            remove_own(path)
            return ""
        if os.path.lexists(path) and not made and not self.flags.overwrite:
            self._stills_of(path)
            return ""
        wanted = set(np.linspace(0, len(result.found.numbers) - 1, STILLS).round().astype(int).tolist())
        with self.bars.over("drawing", len(result.found.numbers)) as bar:
            return result.overlay(path, each=partial(_advance, bar), video=video, kept=partial(self._keep, wanted))

    def _keep(self, wanted: set[int], place: int, frame: VideoFrame, picture: Image) -> None:
        if place in wanted:
            self.stills[f"frame {frame.number}, {frame.time:.2f} s"] = picture

    def _stills_of(self, path: Path) -> None:
        """From an overlay that is there."""
        drawn = open_video(path)
        count = drawn.length or 1
        wanted = set(np.linspace(0, count - 1, STILLS).round().astype(int).tolist())
        for frame in drawn.frames():
            if frame.number in wanted:
                self.stills[f"frame {frame.number} of the overlay"] = frame.image

    def _page(self, result: VideoResult, notes: Sequence[str]) -> None:
        entries = []
        if not self.flags.no_pictures:
            shown = Html(f"<video src='{OVERLAY}' controls muted loop style='max-width:100%;max-height:80vh'></video>")
            entries.append(Entry("overlay", {}, text="", links={OVERLAY: OVERLAY, TRACKS: TRACKS}, view=shown))
            entries.append(Entry("frames", self.stills))
        if result.tracks:
            write_view(self.folder / VIEW, view_scene(result, None if self.flags.no_pictures else OVERLAY))
            write_beside(self.folder, load_body(result.tracks[0].result.origin.body))
            entries.append(Entry("bodies that can be turned", view=view_html(VIEW)))
        entries.append(
            Entry("persons", rows=[table_row(track) for track in result.tracks], warnings=[*notes, *lost(result)])
        )
        for track in result.tracks:
            files = [f"{file_name(track.id)}{suffix}" for suffix in (".npz", *MOTIONS)]
            entries.append(Entry(f"person {track.id}", text=facts(track), links={file: file for file in files}))
        write = partial(write_page, entries=entries, title=f"hmrfit: {self.path.name}")
        write_own(self.folder / PAGE, "page", write)


def _advance(bar: "tqdm[Any]", frame: VideoFrame) -> None:
    bar.update()


def same_up(one: FitResult, other: FitResult) -> bool:
    """Whether both take the same direction as up, to what a file keeps."""
    if one.up is None or other.up is None:
        return one.up is other.up
    return bool(np.allclose(one.up, other.up, rtol=0, atol=1e-9)) and (one.up_std is None) == (other.up_std is None)


def file_name(track: str) -> str:
    """Of a person's files, without suffix."""
    return f"person_{safe_name(Path(track + '.x'))}"


def view_scene(result: VideoResult, backdrop: str | None) -> ViewScene:
    """Everybody over the frames that were looked at."""
    numbers = result.found.numbers
    place = {number: i for i, number in enumerate(numbers)}
    people = []
    for i, track in enumerate(result.tracks):
        rows = [row for row in range(len(track)) if track.shown[row] and int(track.frames[row]) in place]
        moments = [place[int(track.frames[row])] for row in rows]
        params = track.result.params[rows]
        people.append(ViewPerson(f"person {track.id}", params, moments, color=color_of(i)))
    first = result.tracks[0].result
    labels = [str(number) for number in numbers]
    return ViewScene(
        load_body(first.origin.body), people, first.camera[:1], first.up, None, backdrop, result.rate, labels
    )


def table_row(track: Track) -> dict[str, str]:
    """One line of the page's table."""
    error = track.result.reprojection_error[track.seen]
    return {
        "person": track.id,
        "frames": f"{track.frames[0]} to {track.frames[-1]}",
        "seconds": f"{track.times[0]:.2f} to {track.times[-1]:.2f}",
        "seen in": f"{int(track.seen.sum())} of {len(track)}",
        "off by": f"{100 * float(np.nanmean(error)):.1f} % of the box" if len(error) else "",
        "distance": f"{float(np.median(track.result.joints[:, 0, 2])):.1f} m",
    }


def facts(track: Track) -> str:
    """A person in sentences."""
    guessed = int((~track.shown).sum())
    text = f"Seen in {int(track.seen.sum())} of {how_many(len(track), 'frames')}"
    if guessed:
        text += f"; in {guessed} the person is out of sight for longer, and the pose there is a guess that is not drawn"
    warnings = [warning for of_one in track.result.warnings for warning in of_one]
    said = list(dict.fromkeys(w for w in warnings if not w.startswith("Filled in")))[:3]
    return f"{text}. {' '.join(said)}".strip()


def lost(result: VideoResult) -> list[str]:
    """Why persons have no motion."""
    return [f"Person {name} could not be fitted: {reason}" for name, reason in result.left_out.items()]


def described(result: VideoResult, folder: Path) -> str:
    """What the command prints."""
    lines = [
        f"{result.path.name}: {how_many(len(result), 'people')} in {how_many(len(result.found.numbers), 'frames')}"
    ]
    for row in map(table_row, result.tracks):
        lines.append("  " + "   ".join(f"{name} {value}" for name, value in row.items()))
    lines += [f"  {sentence}" for sentence in [*lost(result), *result.notes]]
    return printable("\n".join([*lines, f"Look at {folder / PAGE}"]), keep="\n")


def video_facts(result: VideoResult, folder: Path) -> dict[str, Any]:
    """For `--json`: one video and the files of its people."""
    return {
        "video": str(result.path),
        "state": "done" if len(result) else "nobody",
        "frames": len(result.found.numbers),
        "people": [track.id for track in result.tracks],
        "results": [str(folder / f"{file_name(track.id)}.npz") for track in result.tracks],
        "remarks": [*lost(result), *result.notes],
        "page": str(folder / PAGE),
    }

"""What there is to look at of people whom several cameras see: an overlay for each camera, a page, a 3D view.

The bodies are drawn as the pinhole cameras see them, so the pictures beneath have no lens distortion either.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from hmrfit.build import load_body
from hmrfit.cli.cameras_seen import CameraSeen
from hmrfit.cli.motions_beside import motions_beside
from hmrfit.cli.outputs import safe_name, write_own, write_picture
from hmrfit.cli.video import file_name
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.image import Image
from hmrfit.io.own_files import remove_own
from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many
from hmrfit.report.page import Entry, Html, reduced, write_page
from hmrfit.report.viewer import ViewPerson, ViewScene, view_html, write_beside, write_view
from hmrfit.result import WorldResult
from hmrfit.video.drawing import DrawnPerson, color_of, draw_people
from hmrfit.video.reader import open_video
from hmrfit.video.seen import PeopleSeen
from hmrfit.video.source import VideoFrame
from hmrfit.video.track_files import TracksFile
from hmrfit.video_fit import SHORT_GAP, Bars, shown
from hmrfit.video_result import Track, VideoResult

PAGE, VIEW = "index.html", "view.js"

STILLS = 3
"""Frames of each camera's overlay that the page shows."""

STILL_SIDE = 640
"""Pixels of their longer side."""


def overlay_name(camera: str, of_video: bool) -> str:
    """The file of a camera's overlay."""
    return f"overlay_{safe_name(Path(camera + '.x'))}.{'mp4' if of_video else 'jpg'}"


@dataclass(eq=False)
class Shown:
    """The people of a run, and the folder in which they are shown."""

    folder: Path
    calibration: CameraCalibration
    seen: Sequence[CameraSeen]  # of each camera
    people: Sequence[WorldResult]
    endings: Sequence[str]  # of each person's motion files
    pictures: bool = True
    stills: dict[str, dict[str, Image]] = field(default_factory=dict)  # camera -> caption -> frame

    @property
    def of_videos(self) -> bool:
        return self.seen[0].rate is not None

    # ---- overlays

    def draw(self, again: bool) -> list[str]:
        """Each camera's overlay, where it is missing or asked for again. Returns remarks."""
        remarks = []
        for camera in self.seen:
            remark = ""
            path = self.folder / overlay_name(camera.name, self.of_videos)
            if not self.pictures:
                remove_own(path)
            elif again or not os.path.lexists(path):
                remark = self._drawn(camera, path)
            elif self.of_videos:
                self._stills_of(camera, path)
            remarks += [f"{camera.name}: {remark}"] if remark else []
        return remarks

    def _drawn(self, camera: CameraSeen, path: Path) -> str:
        """Draws a camera's video, or photograph. Returns a remark."""
        video, result = camera.straightened(self.calibration), self._in_camera(camera)
        if not self.of_videos:
            write_picture(path, _picture(next(video.frames()).image, result))
            return ""
        with Bars(None).over(f"drawing {camera.name}", len(camera.numbers)) as bar:
            keep = partial(self._keep, camera, _spread(len(camera.numbers)))
            return result.overlay(path, each=partial(_advance, bar), video=video, kept=keep)

    def _keep(self, camera: CameraSeen, wanted: set[int], place: int, frame: VideoFrame, picture: Image) -> None:
        if place in wanted:
            small = reduced(picture, STILL_SIDE)
            self.stills.setdefault(camera.name, {})[f"frame {frame.number}, {frame.time:.2f} s"] = small

    def _stills_of(self, camera: CameraSeen, path: Path) -> None:
        """From an overlay that is there."""
        drawn = open_video(path)
        wanted = _spread(drawn.length or 1)
        for frame in drawn.frames():
            if frame.number in wanted:
                self._keep(camera, wanted, frame.number, frame, frame.image)

    def _in_camera(self, camera: CameraSeen) -> VideoResult:
        """Everybody in a camera's frame. Who is not seen by it is not drawn, and keeps the colour of the others."""
        tracks = [self._track(camera, one) for one in self.people]
        nobody = PeopleSeen(np.zeros(0, np.intp), np.zeros((0, 0, 2)), np.zeros((0, 0)), ())
        rate, size = camera.rate or 1.0, camera.video.size
        numbers, times = list(camera.numbers), list(camera.times)
        found = TracksFile(str(camera.video.path), rate, size, numbers, times, [], [], "", nobody, [])
        return VideoResult(tracks, camera.video.path, camera.video.fps, size, found)

    def _track(self, camera: CameraSeen, one: WorldResult) -> Track:
        frames = np.array([int(number) for number in one.frames], np.intp)
        place = _view_of(one, camera.name)
        there = np.zeros(len(one), bool) if place is None else (one.seen[place].confidence > 0).any(1).numpy()
        drawn = shown(there, SHORT_GAP * (camera.rate or 1.0))
        times = np.interp(frames, camera.numbers, camera.times)
        return Track(one.person, frames, times, there, drawn, one.base if place is None else one.views[place])

    # ---- the page

    def write_page(self, notes: Sequence[str]) -> None:
        """The page and the scene of its 3D view."""
        rows = [self.table_row(one) for one in self.people]
        entries = [Entry("persons", rows=rows, warnings=list(notes))]
        if self.people:
            write_view(self.folder / VIEW, self.scene())
            write_beside(self.folder, load_body(self.people[0].base.origin.body))
            entries.append(Entry("bodies that can be turned", view=view_html(VIEW)))
        entries += [self._camera_entry(camera) for camera in self.seen] if self.pictures else []
        for one in self.people:
            file = self.folder / f"{file_name(one.person)}.npz"
            files = [path.name for path in (file, *motions_beside(file, self.endings))]
            said = dict.fromkeys(w for of_one in one.base.warnings for w in of_one if not w.startswith("Filled in"))
            entries.append(
                Entry(f"person {one.person}", text=" ".join(list(said)[:3]), links={name: name for name in files})
            )
        title = f"hmrfit: {how_many(len(self.seen), 'cameras')}, {', '.join(camera.name for camera in self.seen)}"
        write_own(self.folder / PAGE, "page", partial(write_page, entries=entries, title=title))

    def _camera_entry(self, camera: CameraSeen) -> Entry:
        name = overlay_name(camera.name, self.of_videos)
        title, source = f"camera {camera.name}", camera.video.path.name
        if not self.of_videos:
            return Entry(title, {source: name}, links={name: name}, full={source: name})
        style = "display:block;max-width:100%;max-height:min(60vh,640px)"
        view = Html(f"<video src='{escape(name, quote=True)}' controls muted loop style='{style}'></video>")
        return Entry(title, self.stills.get(camera.name, {}), text=source, links={name: name}, view=view)

    def scene(self) -> ViewScene:
        """Everybody in the world, first seen from the camera that sees most of the first person."""
        first = self.people[0]
        name = _cameras_of(first)[first.base_view]
        camera = next(one for one in self.seen if one.name == name)
        place = {number: i for i, number in enumerate(camera.numbers)}
        people = [
            ViewPerson(
                f"person {one.person}",
                one.params,
                [place[int(n)] for n in one.frames],
                color=color_of(int(one.person) - 1),
            )
            for one in self.people
        ]
        at = self.calibration.index(name)
        poses = np.broadcast_to(self.calibration.extrinsics[at], (len(camera.numbers), 3, 4))
        backdrop = overlay_name(name, self.of_videos) if self.pictures else None
        labels = [str(number) for number in camera.numbers] if self.of_videos else []
        floor = "" if first.up is not None else "The floor is level with the world's y axis: up is not known (--up). "
        return ViewScene(
            load_body(first.base.origin.body),
            people,
            self.calibration.camera[[at]],
            first.up,
            poses,
            backdrop,
            camera.rate,
            labels,
            f"{floor}Seen from the camera {name}.",
        )

    # ---- in words

    def table_row(self, one: WorldResult) -> dict[str, str]:
        """One line of the page's table."""
        frames = {"frames": f"{one.frames[0]} to {one.frames[-1]}"} if self.of_videos else {}
        errors = dict(zip(_cameras_of(one), _means(one), strict=True))
        off = {f"off by, {name}": _percent(error) for name, error in errors.items()}
        return {"person": one.person, **frames, "cameras": str(len(off)), **off}

    def described(self, notes: Sequence[str]) -> str:
        """What the command prints."""
        frames = f" in {how_many(len(self.seen[0].numbers), 'frames')}" if self.of_videos else ""
        lines = [f"{how_many(len(self.people), 'people')}{frames} of {how_many(len(self.seen), 'cameras')}"]
        for one in self.people:
            row = self.table_row(one)
            lines.append("  " + "   ".join(f"{name} {value}" for name, value in row.items()))
            warned = dict.fromkeys(w for of_one in one.base.warnings for w in of_one if "do not agree" in w)
            lines += [f"    {warning}" for warning in warned]
        lines += [f"  {note}" for note in notes]
        return printable("\n".join([*lines, f"Look at {self.folder / PAGE}"]), keep="\n")

    def facts(self, notes: Sequence[str]) -> dict[str, Any]:
        """For `--json`: the cameras, and the files of each person."""
        off = [dict(zip(_cameras_of(one), _means(one), strict=True)) for one in self.people]
        return {
            "cameras": {camera.name: str(camera.video.path) for camera in self.seen},
            "state": "done",
            "frames": len(self.seen[0].numbers),
            "people": [one.person for one in self.people],
            "reprojection_error": off,
            "results": [str(self.folder / f"{file_name(one.person)}.npz") for one in self.people],
            "remarks": list(notes),
            "page": str(self.folder / PAGE),
        }


def _picture(image: Image, result: VideoResult) -> Image:
    """The photograph with the people whom the camera sees."""
    people = [
        DrawnPerson(track.id, color_of(i), track.result.mesh_vertices[0], track.result.camera[[0]])
        for i, track in enumerate(result.tracks)
        if track.shown[0]
    ]
    return draw_people(image, people, result.tracks[0].result.body_model.faces)


def _advance(bar: "tqdm[Any]", frame: VideoFrame) -> None:
    bar.update()


def _spread(count: int) -> set[int]:
    """Places of the frames that the page shows."""
    return set(np.linspace(0, count - 1, STILLS).round().astype(int).tolist())


def _cameras_of(one: WorldResult) -> Sequence[str]:
    """The names of those that saw a person."""
    assert one.calibration is not None
    return one.calibration.names


def _view_of(one: WorldResult, name: str) -> int | None:
    names = _cameras_of(one)
    return names.index(name) if name in names else None


def _means(one: WorldResult) -> list[float]:
    """Of each camera, over the frames in which it sees the person; NaN where in none."""
    return [float(np.nanmean(error)) if np.isfinite(error).any() else float("nan") for error in one.reprojection_error]


def _percent(error: float) -> str:
    return "" if np.isnan(error) else f"{100 * error:.1f} % of the box"

"""hmrfit fit FILE FILE ... --calibration RIG: the people whom several calibrated cameras see, in the rig's world.

    videos, synchronous           each person's motion          photographs of one instant      each person's pose

    OUT/person_1.npz              the result in the world, metres (`hmrfit.WorldResult.load`)
        person_1.trc              points as OpenSim's markers        person_1.mot    clinical joint angles
        person_1_amass.npz        for readers of AMASS               person_1.glb, .bvh (videos)    with skeleton
        overlay_CAMERA.mp4, .jpg  what each camera sees, without its lens distortion, the people over it
        CAMERA/tracks.json        who was found in a video, to be corrected; keypoints/ what was found in photographs
        index.html                all of it to look at

A second run does what is left: a camera's people are found again, and the people fitted again, only if files, settings
or keypoints changed. Nothing that hmrfit did not write is replaced.
"""

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hmrfit.cli.batches import finished
from hmrfit.cli.camera_files import (
    FEWEST,
    at_sizes,
    calibration_for,
    check_synchronous,
    keypoints_of,
    notes_of_calibration,
)
from hmrfit.cli.cameras_seen import CameraSeen, collections_of, seen_in_photographs, seen_in_videos
from hmrfit.cli.cameras_shown import PAGE, VIEW, Shown, overlay_name
from hmrfit.cli.fit_flags import FitFlags
from hmrfit.cli.messages import print_json
from hmrfit.cli.motions_beside import AMASS, remove_motions, write_missing_motions
from hmrfit.cli.outputs import write_own
from hmrfit.cli.video import VideoFlags, asks_for_video, file_name
from hmrfit.config import load_config
from hmrfit.io.atomic import check_writable, sweep
from hmrfit.io.calibration.rig import CameraCalibration
from hmrfit.io.image import image_size
from hmrfit.io.own_files import check_own, kind_of, refuse_others, remove_own
from hmrfit.io.printable import printable
from hmrfit.likely_up import UpLike, refuse_in_world
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.result import WorldResult
from hmrfit.version import __version__
from hmrfit.video.reader import open_video
from hmrfit.video_fit import checked_window, resolve_detector

MOTIONS, POSES = (".trc", ".mot", AMASS, ".glb", ".bvh"), (".trc", ".mot", AMASS, ".glb")
"""The motion files of each person: of videos, and of photographs."""

INSTANT = 30.0
"""Frames a second, in place of those that photographs of one instant have not."""

WITHOUT = ("focal", "focal_35mm", "pitch", "roll", "boxes", "mesh", "shard", "engine", "format", "full_size", "workers")
"""Flags that have no meaning with a calibration."""


@dataclass(frozen=True)
class CameraFlags:
    """What the command line gives for several calibrated cameras, beside `FitFlags` and `VideoFlags`."""

    calibration: str | None = None
    cameras: Sequence[str] | None = None
    unit: float | None = None
    up: UpLike = None


def check_camera_flags(flags: CameraFlags) -> None:
    """Raises ValueError: flags of calibrated cameras without a calibration."""
    given = [name for name in ("cameras", "unit", "up") if getattr(flags, name) is not None]
    if given and flags.calibration is None:
        raise ValueError(f"--{given[0]} is about calibrated cameras. Name their file with --calibration.")


def cameras_command(flags: FitFlags, video: VideoFlags, rig: CameraFlags, keypoints: Sequence[str] | None) -> int:
    """Fits everybody whom two cameras see, and returns 0. keypoints: the files that -k names.

    Raises:
        ValueError, OSError: what was expected, what came, what to do; nobody is seen by two cameras.
    """
    flags.refuse(WITHOUT, "--calibration")
    files = list(dict.fromkeys(flags.images))
    for file in files:
        if not os.path.lexists(file):
            raise FileNotFoundError(f"There is no photograph, video or folder '{file}'.")
    of_videos = asks_for_video(files, video)
    assert rig.calibration is not None
    calibration, cameras = calibration_for(rig.calibration, rig.unit, files, rig.cameras)
    if rig.up is not None:
        refuse_in_world(rig.up)
        calibration = calibration.with_up(rig.up)
    given = keypoints_of(files, keypoints, of_videos)
    return CamerasRun(calibration, cameras, given, flags, video, of_videos).run()


@dataclass(frozen=True)
class CamerasRun:
    """Some calibrated cameras, a file of each, and the folder of what comes out."""

    calibration: CameraCalibration
    cameras: dict[str, str]  # camera -> its file, in the calibration's order
    keypoints: dict[str, str | None]  # file -> its keypoints
    flags: FitFlags
    given: VideoFlags
    of_videos: bool

    @property
    def folder(self) -> Path:
        return Path(self.flags.out)

    @property
    def endings(self) -> tuple[str, ...]:
        return MOTIONS if self.of_videos else POSES

    def run(self) -> int:
        """Everything; the exit code."""
        pipeline = Pipeline.of(load_config(self.flags.config, self.flags.overrides))
        use_threads(pipeline.threads)
        with pipeline.reading_hands_of(self.flags.measurements):
            calibration, seen = self._seen_in_videos() if self.of_videos else self._seen_in_photographs()
        people, made = self._people(calibration, seen, pipeline)
        self._remove_gone(len(people))
        notes = [*notes_of_calibration(calibration), *(f"{c.name}: {note}" for c in seen for note in c.notes)]
        shown = Shown(self.folder, calibration, seen, people, self.endings, not self.flags.no_pictures)
        notes += shown.draw(made or self.flags.overwrite)
        shown.write_page(notes)
        if self.flags.as_json:
            print_json(shown.facts(notes))
        else:
            print(shown.described(notes))
        return 0

    # ---- what the cameras see; what can be wrong is known before the first picture is looked at

    def _seen_in_photographs(self) -> tuple[CameraCalibration, list[CameraSeen]]:
        sizes = [image_size(Path(file)) for file in self.cameras.values()]
        calibration = at_sizes(self.calibration, sizes)
        collections = collections_of(self.cameras, self.keypoints, self.flags)
        self._prepare()
        return calibration, seen_in_photographs(self.cameras, sizes, collections, self.folder)

    def _seen_in_videos(self) -> tuple[CameraCalibration, list[CameraSeen]]:
        window = checked_window(
            self.given.start or 0.0, self.given.end, 1 if self.given.every is None else self.given.every
        )
        videos = {name: open_video(file, self.given.fps) for name, file in self.cameras.items()}
        calibration = at_sizes(self.calibration, [video.size for video in videos.values()])
        check_synchronous(videos, window.end)
        if None in self.keypoints.values():
            resolve_detector(self.flags.detector, self.flags.min_confidence)  # without one, nothing is begun
        self._prepare()
        flags = {name: replace(self.flags, keypoints=self.keypoints[file]) for name, file in self.cameras.items()}
        return calibration, seen_in_videos(videos, self.folder, flags, window, self.given.reentry)

    def _prepare(self) -> None:
        """Raises FileExistsError: a file of the user's is in the way. OSError: the folder cannot be written."""
        overlays = [self.folder / overlay_name(camera, self.of_videos) for camera in self.cameras]
        refuse_others([self.folder / PAGE, self.folder / VIEW, *overlays])
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        check_writable(self.folder)

    # ---- the fits

    def _people(
        self, calibration: CameraCalibration, seen: Sequence[CameraSeen], pipeline: Pipeline
    ) -> tuple[list[WorldResult], bool]:
        """(each person in the world, whether they were fitted now)."""
        fingerprint = self._fingerprint(calibration, seen, pipeline)
        files = [self._file(i) for i, _ in enumerate(self._results())]
        whole = f"{fingerprint} {len(files)}"  # a run that was stopped while it wrote them has fewer
        if files and not self.flags.overwrite and all(finished(file, whole) for file in files):
            people, made = [WorldResult.load(file) for file in files], False
        else:
            people, made = self._fitted(calibration, seen, pipeline), True
            people = [self._written(i, one, f"{fingerprint} {len(people)}") for i, one in enumerate(people)]
        for i, one in enumerate(people):
            write_missing_motions(self._file(i), self.endings, one)
        return people, made

    def _fitted(
        self, calibration: CameraCalibration, seen: Sequence[CameraSeen], pipeline: Pipeline
    ) -> list[WorldResult]:
        """Those who are seen most first, at most --max-people of them."""
        for camera in seen:
            if not camera.tracks:
                print(printable(f"{camera.name}: nobody is seen."), file=sys.stderr)
        views = {camera.name: camera.tracks for camera in seen if camera.tracks}
        if len(views) < FEWEST:
            raise ValueError(
                f"People are seen by {len(views)} of the {how_many(len(seen), 'cameras')}; two have to see a person."
            )
        found = pipeline.fit_views_sequence(
            views,
            calibration,
            fps=seen[0].rate or INSTANT,
            measurements=self.flags.measurements,
            keypoint_source=self.flags.keypoint_source,
            keypoint_std=self.flags.keypoint_std,
        )
        return [self._named(i, one, seen[0]) for i, one in enumerate(found[: self.flags.max_people])]

    def _named(self, place: int, one: WorldResult, seen: CameraSeen) -> WorldResult:
        """The person counted from 1, the frames by the videos' own numbers."""
        ids = [str(seen.numbers[int(number)]) for number in one.base.origin.person_ids]
        origin = replace(one.base.origin, person_ids=ids, fps=seen.rate)
        return replace(one, base=replace(one.base, origin=origin), person=str(place + 1))

    def _written(self, place: int, one: WorldResult, fingerprint: str) -> WorldResult:
        file = self._file(place)
        check_own(file)
        remove_motions(file, MOTIONS, WorldResult.load)
        one = replace(one, base=replace(one.base, origin=replace(one.base.origin, fingerprint=fingerprint)))
        write_own(file, "result", one.save)
        return WorldResult.load(file)  # as a second run reads it

    def _fingerprint(self, calibration: CameraCalibration, seen: Sequence[CameraSeen], pipeline: Pipeline) -> str:
        """Of what the people in the world depend on."""
        digest = hashlib.sha256()
        for camera in seen:
            for track in camera.tracks:
                digest.update(np.asarray(track.frames, np.int64).tobytes())
                for person in track.people:
                    noise = [person.names, person.made_by, person.detector]
                    digest.update(repr(noise).encode() + person.xy.tobytes() + person.confidence.tobytes())
        rig = [calibration.extrinsics, calibration.up, *calibration.distortion]
        rig += [calibration.camera.focal.numpy(), calibration.camera.center.numpy(), calibration.camera.size.numpy()]
        for array in rig:
            digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        flags = self.flags
        known = "".join(f"{type(one).__name__}{vars(one)}" for one in flags.measurements)
        asked = [flags.keypoint_source, flags.keypoint_std, flags.max_people, known]
        names = next((p.names for c in seen for track in c.tracks for p in track.people), ())
        used = pipeline.for_keypoints(list(names))
        about = [calibration.names, seen[0].rate, seen[0].numbers[:2], asked, used.fingerprint, __version__]
        digest.update(json.dumps(about, default=str).encode())
        return digest.hexdigest()

    def _file(self, place: int) -> Path:
        """Of a person's result, counted from 0."""
        return self.folder / f"{file_name(str(place + 1))}.npz"

    def _results(self) -> list[Path]:
        return [path for path in self.folder.glob("person_*.npz") if kind_of(path) == "result"]

    def _remove_gone(self, count: int) -> None:
        """The files of persons who are none any more."""
        for file in set(self._results()) - {self._file(i) for i in range(count)}:
            with suppress(OSError):
                remove_motions(file, MOTIONS, WorldResult.load)
                remove_own(file)

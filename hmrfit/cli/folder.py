"""hmrfit fit: many photographs, their people fitted side by side, results as they come.

For each photograph a result, pictures and on request a mesh, and one page for all; `hmrfit.cli.outputs` gives the names
of the files. A run that was stopped goes on: a result that was made from the same photograph, keypoints, settings and
parameter files is left unchanged, and what is missing beside it is made from it. An error with one photograph is
reported, and the others are fitted; so it is with one person among several.
"""

import hashlib
import json
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from tqdm import tqdm

from hmrfit.cli.detections import FOLDER as DETECTIONS
from hmrfit.cli.detections import Detecting, asked_of
from hmrfit.cli.folder_report import FolderReport, Line
from hmrfit.cli.outputs import Outputs, Wanted, image_of, output_names, outputs_in
from hmrfit.cli.photographs import Collection, collect
from hmrfit.config import load_config
from hmrfit.fitting.terms.base import Measurement
from hmrfit.fitting.terms.gender_age import Age, Gender
from hmrfit.fitting.terms.height import Height
from hmrfit.fitting.terms.up import Up
from hmrfit.io.bounded import check_regular
from hmrfit.io.image import image_size
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_noise import with_known_noise
from hmrfit.io.photo import NoPeople, Photo, read_photo
from hmrfit.io.printable import printable
from hmrfit.keypoints import KeypointsFrom
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import check_noise
from hmrfit.result import FitResult
from hmrfit.result_file import read_fingerprint
from hmrfit.version import __version__

PEOPLE_AT_ONCE = 64
"""With more, little speed is gained: the solver's work is matrices of one person each."""

EXPECTED = (ValueError, TypeError, OSError)
"""What the library raises for an error in a file; any other error is named by its type."""

T = TypeVar("T")


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM, SIGHUP)."""


@dataclass(frozen=True)
class FitFlags:
    """What the command line gives."""

    images: Sequence[str]
    out: str
    keypoints: str | None = None
    keypoint_set: str | None = None
    focal: float | None = None
    focal_35mm: float | None = None
    keypoint_source: KeypointsFrom | None = None
    keypoint_std: float | None = None
    gender: str | None = None
    age: float | None = None
    height: float | None = None
    pitch: float | None = None
    roll: float | None = None
    detector: str | None = None
    boxes: str | None = None
    max_people: int | None = None
    min_confidence: float | None = None
    mesh: str | None = None
    no_pictures: bool = False
    overwrite: bool = False
    config: str | None = None
    overrides: Sequence[str] = ()
    debug: bool = False

    @property
    def measurements(self) -> list[Measurement]:
        """What is known of everybody, and of every camera."""
        known: list[Measurement | None] = [
            None if self.gender is None else Gender(self.gender),
            None if self.age is None else Age(self.age),
            None if self.height is None else Height(self.height),
            None if self.pitch is None and self.roll is None else Up(pitch=self.pitch, roll=self.roll),
        ]
        return [one for one in known if one is not None]

    @property
    def detecting(self) -> Detecting | None:
        """How photographs without keypoints get theirs; None where a file or folder of keypoints is given.

        Raises:
            ValueError, OSError: flags that do not belong together, or a file of boxes that cannot be read.
        """
        return asked_of(self.keypoints, self.detector, self.boxes, self.max_people, self.min_confidence)

    @property
    def wanted(self) -> Wanted:
        """What is to be there beside each result."""
        return Wanted(not self.no_pictures, self.mesh)


@dataclass(frozen=True)
class Waiting:
    """A photograph that is to be fitted, without its pixels."""

    photo: Photo
    path: Path
    label: str  # in the table
    name: str  # of its files, without suffix
    fingerprint: str


def fit_command(flags: FitFlags) -> int:
    """Fits every photograph; 0 if there is a result for at least one, else 1."""
    collection = collect(flags.images, flags.keypoints, flags.keypoint_set, flags.detecting)
    pipeline = Pipeline.of(load_config(flags.config, flags.overrides))
    use_threads(pipeline.threads)
    asked = [flag for flag in ("keypoint_source", "keypoint_std") if getattr(flags, flag) is not None]
    for flag in asked:
        check_noise(pipeline.schedules.fit, pipeline.fitter.terms, f"--{flag.replace('_', '-')}")
    names = output_names(list(collection.places))
    outputs = outputs_in(Path(flags.out), collection.places, set(collection.places.values()))
    outputs.prepare(names.values(), flags.wanted)
    collection = collection.kept_in(lambda path: outputs.folder / DETECTIONS / f"{names[path]}.json")
    report = FolderReport(outputs, len(names))
    try:
        with _stopped_by_signals():
            for line in FolderRun(collection, names, outputs, pipeline, flags).lines():
                report.add(line)
    finally:
        _print_report(report)
    return 0 if report.done or report.nobody else 1


def _print_report(report: FolderReport) -> None:
    """Prints the table and where the page is."""
    report.print_table()
    try:
        page = f"Look at {printable(report.write_page())}"
    except OSError as error:
        page = f"There is no page: {printable(error)}"
    print(f"{report.done} of {report.planned} photographs have a result. {page}")


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """A request to end is treated as Ctrl-C, so that the run reports what it did."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    requests = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {request: signal.signal(request, _terminate) for request in requests}
    try:
        yield
    finally:
        for request, handler in before.items():
            signal.signal(request, handler)


def _terminate(*_: object) -> None:
    raise Terminated


class FolderRun:
    """One run over a collection of photographs."""

    def __init__(
        self, collection: Collection, names: dict[Path, str], outputs: Outputs, pipeline: Pipeline, flags: FitFlags
    ) -> None:
        self.collection, self.names, self.outputs = collection, names, outputs
        self.pipeline, self.flags = pipeline, flags
        self.bar = tqdm(total=len(names), unit="photo", disable=None)

    def lines(self) -> Iterator[Line]:
        """A line per photograph, in order of completion: those already there, those that failed, those fitted now."""
        waiting: list[Waiting] = []
        with self.bar:
            for path, name in self.names.items():
                self.bar.set_postfix_str(printable(path.name)[-30:])
                found = self._attempted(path, name, partial(self._open, path))
                if isinstance(found, Line):
                    yield self._finished(found)
                    continue
                waiting.append(found)
                if sum(len(one.photo) for one in waiting) >= PEOPLE_AT_ONCE:
                    yield from map(self._finished, self._fit(waiting))
                    waiting = []
            yield from map(self._finished, self._fit(waiting))

    def _finished(self, line: Line) -> Line:
        self.bar.update()
        if line.error:
            self.bar.write(printable(f"{line.image}: {line.error}"))
        return line

    def _attempted(self, path: Path, name: str, work: Callable[[], T]) -> T | Line:
        """The outcome of the work; any error becomes the line of this photograph and stops no other."""
        try:
            return work()
        except NoPeople as nobody:
            return Line(self._label(path), name, state=str(nobody), nobody=True)
        except Exception as error:
            return Line(self._label(path), name, error=self._described(error))

    def _described(self, error: Exception) -> str:
        """In one sentence; an error that is not the file's, with its type."""
        if self.flags.debug:
            self.bar.write("".join(traceback.format_exception(error)), file=sys.stderr)
        if isinstance(error, OSError) and error.strerror:
            return error.strerror if error.filename is None else f"'{error.filename}': {error.strerror}."
        if isinstance(error, EXPECTED) and str(error):
            return str(error)
        described = f"{type(error).__name__}: {error}".rstrip(". ")
        return f"{described}. This is an error of hmrfit; --debug shows where it comes from."

    def _label(self, path: Path) -> str:
        """The photograph in the table: its name, with its folder where there are two of that name."""
        return f"{path.absolute().parent.name}/{path.name}" if path.stem in self.collection.doubled else path.name

    def _open(self, path: Path) -> Line | Waiting:
        """The line of a result that is there, or the photograph, ready to be fitted."""
        name, label = self.names[path], self._label(path)
        check_regular(path, "a photograph")
        photo = open_photo(path, self.collection, self.flags)
        fingerprint = fingerprint_of(path, photo, self.pipeline, self.flags.measurements)
        old = None if self.flags.overwrite else finished(self.outputs.file(name, ".npz"), fingerprint)
        if old is not None:
            old = replace(old, origin=replace(old.origin, image_path=path.resolve()))
            made = self.outputs.draw(old, name, self.flags.wanted)
            old.image = None
            line = Line.of(label, name, old, self.outputs, skipped=True)
            return replace(line, state=f"{line.state}, what was missing is drawn") if made else line
        self.outputs.check(name, self.flags.wanted)
        if not self.flags.overwrite:
            self._check_owner(self.outputs.file(name, ".npz"), path)
        return Waiting(photo, path, label, name, fingerprint)

    def _check_owner(self, file: Path, path: Path) -> None:
        """Raises where a result in the way is another photograph's."""
        before = image_of(file)
        if before is not None and before.is_file() and not before.samefile(path):
            raise FileExistsError(
                f"'{file}' is the result of '{before}'. Choose another folder with --out, name both photographs in one "
                "call, or replace it with --overwrite."
            )

    def _fit(self, waiting: Sequence[Waiting]) -> Iterator[Line]:
        """Fits a batch and writes it; where that fails, one photograph at a time, then one person at a time."""
        if not waiting:
            return
        try:
            results = self._fit_photos([one.photo for one in waiting])
        except Exception as error:  # such as keypoints that the body does not define
            if len(waiting) > 1:
                for one in waiting:
                    yield from self._fit([one])
            else:
                yield self._without_failing_people(waiting[0], error)
            return
        for one, result in zip(waiting, results, strict=True):
            yield self._attempted(one.path, one.name, partial(self._written, one, result))

    def _fit_photos(self, photos: Sequence[Photo]) -> list[FitResult]:
        known = self.flags.measurements
        return self.pipeline.fit_photos(photos, known) if known else self.pipeline.fit_photos(photos)

    def _written(self, one: Waiting, result: FitResult) -> Line:
        result = replace(result, origin=replace(result.origin, fingerprint=one.fingerprint))
        self.outputs.write(result, one.name, self.flags.wanted)
        return Line.of(one.label, one.name, result, self.outputs)

    def _without_failing_people(self, one: Waiting, error: Exception) -> Line:
        """A photograph whose fit fails, fitted without the people whose fit fails alone too."""
        photo = one.photo
        lost: dict[int, str] = {}
        for i in range(len(photo)) if len(photo) > 1 else ():
            try:
                self._fit_photos([_only(photo, [i])])
            except Exception as reason:
                lost[i] = self._described(reason)
        kept = [i for i in range(len(photo)) if i not in lost]
        if not lost or not kept:
            return Line(one.label, one.name, error=self._described(error))
        fewer = with_remarks(_only(photo, kept), [_left_out(photo.people[i].person_id, r) for i, r in lost.items()])
        return next(self._fit([replace(one, photo=fewer)]))


def _only(photo: Photo, rows: Sequence[int]) -> Photo:
    """Some of a photograph's people."""
    return replace(
        photo,
        people=tuple(photo.people[i] for i in rows),
        camera=photo.camera[list(rows)],
        warnings=tuple(photo.warnings[i] for i in rows),
        rows=tuple(photo.rows[i] for i in rows),
    )


def with_remarks(photo: Photo, remarks: Sequence[str]) -> Photo:
    """The photograph with more warnings, at its first person."""
    first, *others = photo.warnings
    return replace(photo, warnings=((*first, *remarks), *others))


def _left_out(person: str, reason: str) -> str:
    return f"Person '{person}' was left out: {reason}"


def open_photo(path: Path, collection: Collection, flags: FitFlags) -> Photo:
    """A photograph read and checked, without its pixels.

    People who cannot be fitted are left out if there are others: `read_photo` does so for the errors it knows, this
    function for any other error that one person raises.
    """

    def read(people: Sequence[PersonKeypoints]) -> Photo:
        photo = read_photo(path, people, focal=flags.focal, focal_35mm=flags.focal_35mm)
        return with_known_noise(photo, flags.keypoint_source, flags.keypoint_std)

    people = collection.people(path)
    try:
        return read(people).without_image()
    except Exception:
        if len(people) < 2:
            raise
        image_size(path)  # raises where the image is the cause, not a person
        kept, remarks = [], []
        for person in people:
            try:
                read([person])
            except Exception as error:
                remarks.append(_left_out(person.person_id, str(error) or type(error).__name__))
            else:
                kept.append(person)
        if not kept or not remarks:
            raise
        return with_remarks(read(kept).without_image(), remarks)


def fingerprint_of(path: Path, photo: Photo, pipeline: Pipeline, known: Sequence[Measurement] = ()) -> str:
    """A checksum of what the result depends on: photograph, keypoints, camera, what else is known, settings, parameter
    files, version."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    keypoints, camera = photo.keypoints, photo.camera
    for tensor in (keypoints.xy, keypoints.confidence, *(getattr(camera, field.name) for field in fields(camera))):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    noise = [[p.made_by, p.detector, None if p.std is None else p.std.tolist()] for p in photo.people]
    digest.update(json.dumps([keypoints.names, noise, pipeline.fingerprint, __version__]).encode())
    digest.update("".join(f"{type(one).__name__}{vars(one)}" for one in known).encode())
    return digest.hexdigest()


def finished(path: Path, fingerprint: str) -> FitResult | None:
    """The result that is already there, if it has this fingerprint and can be read."""
    if not path.is_file() or read_fingerprint(path) != fingerprint:
        return None
    try:
        return FitResult.load(path)
    except (ValueError, OSError):
        return None

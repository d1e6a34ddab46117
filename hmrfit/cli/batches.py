"""What one process does with some photographs of a folder: read, fit side by side, write, and a line for each.

Whatever fails is one photograph's: its line says why, and the others are fitted; so it is with one person among
several. Which photographs share a batch changes no number (to 1e-6 m), so it does not matter which process has them.
"""

import hashlib
import json
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from hmrfit.cli.fit_flags import FitFlags
from hmrfit.cli.folder_report import Line
from hmrfit.cli.outputs import Outputs, image_of
from hmrfit.engines.rows import empty_row, rows_of
from hmrfit.fitting.terms.base import Measurement
from hmrfit.io.image import image_size
from hmrfit.io.keypoint_files import PersonKeypoints
from hmrfit.io.keypoint_noise import with_known_noise
from hmrfit.io.photo import NoPeople, Photo, read_photo
from hmrfit.likely_up import UpLike
from hmrfit.make_result import compute_together
from hmrfit.ops.threads import own_threads
from hmrfit.pipeline import Pipeline
from hmrfit.result import FitResult
from hmrfit.result_file import read_fingerprint
from hmrfit.version import __version__

EXPECTED = (ValueError, TypeError, OSError)
"""What the library raises for an error in a file; any other error is named by its type."""

T = TypeVar("T")


@dataclass(frozen=True)
class Task:
    """A photograph of a run."""

    index: int  # its place in the run
    path: Path
    label: str  # in the table
    name: str  # of its files, without suffix
    people: Sequence[PersonKeypoints] = ()
    error: str = ""  # why it cannot be fitted
    nobody: str = ""  # why there is nobody to fit


@dataclass(frozen=True)
class Waiting:
    """A photograph that is to be fitted, without its pixels."""

    task: Task
    photo: Photo
    fingerprint: str


class BatchFitter:
    """Fits photographs of a run, a batch at a time."""

    def __init__(self, outputs: Outputs, flags: FitFlags) -> None:
        self.outputs, self.flags = outputs, flags
        self.pipeline = flags.pipeline()

    def lines(self, tasks: Sequence[Task]) -> Iterator[Line]:
        """A line for each, in their order: of a result that is there, of an error, of what is fitted now."""
        found = [self._attempted(task, partial(self._open, task)) for task in tasks]
        fitted = self._fit([one for one in found if isinstance(one, Waiting)])
        for task, one in zip(tasks, found, strict=True):
            line = one if isinstance(one, Line) else next(fitted)
            if self.flags.format is not None and not line.rows:
                line = replace(line, rows=(empty_row(task.name, str(task.path), line.error or line.state),))
            yield line

    def _attempted(self, task: Task, work: Callable[[], T]) -> T | Line:
        """The outcome of the work; any error becomes the line of this photograph and stops no other."""
        try:
            return work()
        except NoPeople as nobody:
            return Line(task.label, task.name, state=str(nobody), nobody=True)
        except Exception as error:
            return Line(task.label, task.name, error=described(error, self.flags.debug))

    def _open(self, task: Task) -> Line | Waiting:
        """The line of a result that is there, or the photograph, ready to be fitted."""
        name, path = task.name, task.path
        if task.error or task.nobody:
            return Line(task.label, name, error=task.error, state=task.nobody, nobody=bool(task.nobody))
        photo = open_photo(path, task.people, self.flags)
        fingerprint = fingerprint_of(
            path, photo, self.pipeline.for_people_of(photo), self.flags.measurements, self.flags.up
        )
        old = None if self.flags.overwrite else finished(self.outputs.file(name, ".npz"), fingerprint)
        if old is not None:
            old = replace(old, origin=replace(old.origin, image_path=path.resolve()))
            made = self.outputs.draw(old, name, self.flags.wanted)
            old.image = None
            line = self._line(task, old, skipped=True)
            return replace(line, state=f"{line.state}, what was missing is drawn") if made else line
        self.outputs.check(name, self.flags.wanted)
        if not self.flags.overwrite:
            self._check_owner(self.outputs.file(name, ".npz"), path)
        return Waiting(task, photo, fingerprint)

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
            yield self._attempted(one.task, partial(self._written, one, result))

    def _fit_photos(self, photos: Sequence[Photo]) -> list[FitResult]:
        """In one thread, as in every worker: the bits are the same wherever it is done."""
        with own_threads(min(torch.get_num_threads(), self.pipeline.threads or 1)):
            results = self.pipeline.fit_photos(photos, self.flags.measurements, self.flags.up)
            with suppress(Exception):  # of which one photograph is the cause: each computes its own when it is saved
                compute_together(results)
        return results

    def _written(self, one: Waiting, result: FitResult) -> Line:
        result.origin = replace(result.origin, fingerprint=one.fingerprint)  # a copy would forget what it has computed
        self.outputs.write(result, one.task.name, self.flags.wanted)
        return self._line(one.task, result)

    def _line(self, task: Task, result: FitResult, skipped: bool = False) -> Line:
        line = Line.of(task.label, task.name, result, self.outputs, skipped)
        return replace(line, rows=tuple(rows_of(result, task.name, str(task.path)))) if self.flags.format else line

    def _without_failing_people(self, one: Waiting, error: Exception) -> Line:
        """A photograph whose fit fails, fitted without the people whose fit fails alone too."""
        photo = one.photo
        lost: dict[int, str] = {}
        for i in range(len(photo)) if len(photo) > 1 else ():
            try:
                self._fit_photos([_only(photo, [i])])
            except Exception as reason:
                lost[i] = described(reason, self.flags.debug)
        kept = [i for i in range(len(photo)) if i not in lost]
        if not lost or not kept:
            return Line(one.task.label, one.task.name, error=described(error, self.flags.debug))
        fewer = with_remarks(_only(photo, kept), [_left_out(photo.people[i].person_id, r) for i, r in lost.items()])
        return next(self._fit([replace(one, photo=fewer)]))


def described(error: Exception, debug: bool = False) -> str:
    """In one sentence; an error that is not the file's, with its type. debug: its traceback on stderr."""
    if debug:
        print("".join(traceback.format_exception(error)), file=sys.stderr)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror if error.filename is None else f"'{error.filename}': {error.strerror}."
    if isinstance(error, EXPECTED) and str(error):
        return str(error)
    said = f"{type(error).__name__}: {error}".rstrip(". ")
    return f"{said}. This is an error of hmrfit; --debug shows where it comes from."


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


def open_photo(path: Path, people: Sequence[PersonKeypoints], flags: FitFlags) -> Photo:
    """A photograph read and checked, without its pixels.

    People who cannot be fitted are left out if there are others: `read_photo` does so for the errors it knows, this
    function for any other error that one person raises.
    """

    def read(people: Sequence[PersonKeypoints]) -> Photo:
        photo = read_photo(path, people, focal=flags.focal, focal_35mm=flags.focal_35mm, decode=not flags.no_pictures)
        return with_known_noise(photo, flags.keypoint_source, flags.keypoint_std)

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


def fingerprint_of(
    path: Path, photo: Photo, pipeline: Pipeline, known: Sequence[Measurement] = (), up: UpLike = None
) -> str:
    """A checksum of what the result depends on: photograph, keypoints, camera, what else is known, settings, parameter
    files, version."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    keypoints, camera = photo.keypoints, photo.camera
    for tensor in (keypoints.xy, keypoints.confidence, *(getattr(camera, field.name) for field in fields(camera))):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    noise = [[p.made_by, p.detector, None if p.std is None else p.std.tolist()] for p in photo.people]
    digest.update(json.dumps([keypoints.names, noise, pipeline.fingerprint, __version__, up]).encode())
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

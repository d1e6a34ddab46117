"""hmrfit fit: many photographs, their people fitted side by side, results as they come.

For each photograph a result, pictures and on request a mesh, and one page for all; `hmrfit.cli.outputs` says how they
are called. A run that was stopped goes on: a result that was made from the same photograph, keypoints, settings, and
parameter files is left as it is, and what is missing beside it is made from it. Whatever is wrong with one photograph,
it is named and skipped, and so is a person who cannot be fitted.
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
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hmrfit.cli.outputs import Outputs, Wanted, image_of, output_names, outputs_in
from hmrfit.cli.photographs import Collection, collect, photographs
from hmrfit.cli.report import Line, Report
from hmrfit.config import load_config
from hmrfit.io.bounded import check_regular
from hmrfit.io.image import image_size
from hmrfit.io.photo import Photo, read_photo
from hmrfit.io.printable import printable
from hmrfit.ops.threads import use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.result import FitResult
from hmrfit.result_file import read_fingerprint
from hmrfit.version import __version__

__all__ = ["fit_command", "output_names", "photographs"]

PEOPLE_AT_ONCE = 64
"""More gain little speed: the solver's work is matrices of one person each."""

EXPECTED = (ValueError, TypeError, OSError)
"""What the library raises for what is wrong with a file; anything else is named by its type."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM, SIGHUP)."""


@dataclass(frozen=True)
class Options:
    """What the flags say."""

    focal: float | None = None
    focal_35mm: float | None = None
    mesh: str | None = None
    pictures: bool = True
    overwrite: bool = False
    debug: bool = False

    @property
    def wanted(self) -> Wanted:
        """What is to be there beside each result."""
        return Wanted(self.pictures, self.mesh)


@dataclass(frozen=True)
class Waiting:
    """A photograph that is to be fitted, without its pixels."""

    photo: Photo
    label: str
    name: str
    stamp: str


def fit_command(
    images: Sequence[str],
    out: str,
    keypoints: str | None = None,
    keypoint_set: str | None = None,
    config: str | None = None,
    overrides: Sequence[str] = (),
    no_pictures: bool = False,
    **flags: object,
) -> int:
    """Fits every photograph; 0 if there is a result for at least one, else 1."""
    options = Options(pictures=not no_pictures, **flags)
    collection = collect(images, keypoints, keypoint_set)
    pipeline = Pipeline.of(load_config(config, overrides))
    use_threads(pipeline.threads)
    names = output_names(list(collection.places))
    outputs = outputs_in(Path(out), collection.places, set(collection.places.values()))
    outputs.prepare(names.values(), options.wanted)
    report = Report(outputs, len(names))
    try:
        with _stopped_by_signals():
            for line in Run(collection, names, outputs, pipeline, options).lines():
                report.add(line)
    finally:
        _say(report)
    return 0 if report.done else 1


def _say(report: Report) -> None:
    """The table, the page, and where it is."""
    report.print_table()
    try:
        look = f"Look at {printable(report.write_page())}"
    except OSError as error:
        look = f"There is no page: {printable(error)}"
    print(f"{report.done} of {report.planned} photographs have a result. {look}")


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """A request to end is as Ctrl-C, so that what was done is reported on."""
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


class Run:
    """One run over a collection of photographs."""

    def __init__(
        self, collection: Collection, names: dict[Path, str], outputs: Outputs, pipeline: Pipeline, options: Options
    ) -> None:
        self.collection, self.names, self.outputs = collection, names, outputs
        self.pipeline, self.options = pipeline, options
        self.bar = tqdm(total=len(names), unit="photo", disable=None)

    def lines(self) -> Iterator[Line]:
        """A line per photograph, in order of completion: those already there, those that failed, those fitted now."""
        waiting: list[Waiting] = []
        with self.bar:
            for path, name in self.names.items():
                self.bar.set_postfix_str(printable(path.name)[-30:])
                found = self._guarded(path, name, lambda path=path: self._open(path))
                if isinstance(found, Line):
                    yield self._counted(found)
                    continue
                waiting.append(found)
                if sum(len(one.photo) for one in waiting) >= PEOPLE_AT_ONCE:
                    yield from map(self._counted, self._fit(waiting))
                    waiting = []
            yield from map(self._counted, self._fit(waiting))

    def _counted(self, line: Line) -> Line:
        self.bar.update()
        if line.error:
            self.bar.write(printable(f"{line.image}: {line.error}"))
        return line

    def _guarded(self, path: Path, name: str, work: Callable[[], Line | Waiting]) -> Line | Waiting:
        """What the work gives; whatever it raises is this photograph's failure and no other's."""
        try:
            return work()
        except Exception as error:
            return Line(self._label(path), name, error=self._described(error))

    def _described(self, error: Exception) -> str:
        """In one sentence; an error that is not the file's, with its type."""
        if self.options.debug:
            self.bar.write("".join(traceback.format_exception(error)), file=sys.stderr)
        if isinstance(error, OSError) and error.strerror:
            return error.strerror if error.filename is None else f"'{error.filename}': {error.strerror}."
        if isinstance(error, EXPECTED) and str(error):
            return str(error)
        said = f"{type(error).__name__}: {error}".rstrip(". ")
        return f"{said}. This is an error of hmrfit; --debug shows where it comes from."

    def _label(self, path: Path) -> str:
        """What the photograph is called in the table: its name, with its folder where there are two of that name."""
        return f"{path.absolute().parent.name}/{path.name}" if path.stem in self.collection.doubled else path.name

    def _open(self, path: Path) -> Line | Waiting:
        """The line of a result that is there, or the photograph, ready to be fitted."""
        name, label = self.names[path], self._label(path)
        check_regular(path, "a photograph")
        photo = open_photo(path, self.collection, self.options)
        stamp = stamp_of(photo, self.pipeline)
        old = None if self.options.overwrite else finished(self.outputs.file(name, ".npz"), stamp)
        if old is not None:
            old.image_path = path.resolve()
            made = self.outputs.draw(old, name, self.options.wanted)
            old.image = None
            line = Line.of(label, name, old, self.outputs, skipped=True)
            return replace(line, state=f"{line.state}, what was missing is drawn") if made else line
        self.outputs.check(name, self.options.wanted)
        if not self.options.overwrite:
            self._check_whose(self.outputs.file(name, ".npz"), path)
        return Waiting(photo, label, name, stamp)

    def _check_whose(self, file: Path, path: Path) -> None:
        """That a result in the way is not another photograph's."""
        before = image_of(file)
        if before is not None and before.is_file() and not before.samefile(path):
            raise FileExistsError(
                f"'{file}' is the result of '{before}'. Choose another folder with --out, name both photographs in one "
                "call, or replace it with --overwrite."
            )

    def _fit(self, waiting: Sequence[Waiting]) -> Iterator[Line]:
        """Fits a batch and writes it; where that fails, one photograph after the other, one person after the other."""
        if not waiting:
            return
        try:
            results = self.pipeline.fit_photos([one.photo for one in waiting])
        except Exception as error:  # such as keypoints that the body does not define
            if len(waiting) > 1:
                for one in waiting:
                    yield from self._fit([one])
            else:
                yield self._without_the_hopeless(waiting[0], error)
            return
        for one, result in zip(waiting, results, strict=True):
            path = one.photo.path
            yield self._guarded(path, one.name, lambda one=one, result=result: self._written(one, result))

    def _written(self, one: Waiting, result: FitResult) -> Line:
        result = replace(result, origin=replace(result.origin, fingerprint=one.stamp))
        self.outputs.write(result, one.name, self.options.wanted)
        return Line.of(one.label, one.name, result, self.outputs)

    def _without_the_hopeless(self, one: Waiting, error: Exception) -> Line:
        """A photograph that cannot be fitted as it is, fitted without the people who cannot be fitted alone either."""
        photo = one.photo
        lost: dict[int, str] = {}
        for i in range(len(photo)) if len(photo) > 1 else ():
            try:
                self.pipeline.fit_photos([_only(photo, [i])])
            except Exception as reason:
                lost[i] = self._described(reason)
        kept = [i for i in range(len(photo)) if i not in lost]
        if not lost or not kept:
            return Line(one.label, one.name, error=self._described(error))
        fewer = with_remarks(_only(photo, kept), [_left_out(photo.people[i].person_id, r) for i, r in lost.items()])
        return next(self._fit([replace(one, photo=fewer)]))


def _only(photo: Photo, rows: Sequence[int]) -> Photo:
    """Some of a photograph's people."""
    people, warnings, places = (tuple(values[i] for i in rows) for values in (photo.people, photo.warnings, photo.rows))
    return replace(photo, people=people, camera=photo.camera[list(rows)], warnings=warnings, rows=places)


def with_remarks(photo: Photo, remarks: Sequence[str]) -> Photo:
    """The photograph with more to say; its first person says it."""
    first, *others = photo.warnings
    return replace(photo, warnings=((*first, *remarks), *others))


def _left_out(person: str, reason: str) -> str:
    return f"Person '{person}' was left out: {reason}"


def open_photo(path: Path, collection: Collection, options: Options) -> Photo:
    """Read and checked, without its pixels. People who cannot be fitted are left out if there are others: `read_photo`
    does so for what it knows, this for whatever else one person raises."""
    people = collection.people(path)
    given = {"focal": options.focal, "focal_35mm": options.focal_35mm}
    try:
        return read_photo(path, people, **given).without_image()
    except Exception:
        if len(people) < 2:
            raise
        image_size(path)  # where this is what is wrong, no person is to blame
        kept, remarks = [], []
        for person in people:
            try:
                read_photo(path, [person], **given)
            except Exception as error:
                remarks.append(_left_out(person.person_id, str(error) or type(error).__name__))
            else:
                kept.append(person)
        if not kept or not remarks:
            raise
        return with_remarks(read_photo(path, kept, **given).without_image(), remarks)


def stamp_of(photo: Photo, pipeline: Pipeline) -> str:
    """What the result depends on, as a checksum: photograph, keypoints, camera, settings, parameter files, version."""
    with photo.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    keypoints, camera = photo.keypoints, photo.camera
    for tensor in (keypoints.xy, keypoints.confidence, *(getattr(camera, field.name) for field in fields(camera))):
        digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    digest.update(json.dumps([keypoints.names, pipeline.fingerprint, __version__]).encode())
    return digest.hexdigest()


def finished(path: Path, stamp: str) -> FitResult | None:
    """The result that is already there, if it was made from the same and can be read."""
    if not path.is_file() or read_fingerprint(path) != stamp:
        return None
    try:
        return FitResult.load(path)
    except (ValueError, OSError):
        return None

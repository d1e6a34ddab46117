"""hmrfit fit: many photographs, their people fitted side by side, results as they come.

For each photograph a result, pictures and on request a mesh, and one page for all; `hmrfit.cli.outputs` gives the names
of the files. A run that was stopped goes on: a result that was made from the same photograph, keypoints, settings and
parameter files is left unchanged, and what is missing beside it is made from it. An error with one photograph is
reported, and the others are fitted; so it is with one person among several.

    this process:   keypoints of the next photographs  ->  batches          lines in their order  ->  table and page
    workers:                                   read  ->  fit  ->  draw  ->  write

Several machines: with --shard i/n each fits its own photographs into the same folder and writes a page of its own. The
same command without --shard takes what is there, fits what is missing, and writes the page of all.
"""

import signal
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from tqdm import tqdm

from hmrfit.cli.batches import BatchFitter, Task, described
from hmrfit.cli.detections import FOLDER as DETECTIONS
from hmrfit.cli.fit_flags import BOTH, FitFlags
from hmrfit.cli.folder_report import FolderReport, Line
from hmrfit.cli.messages import print_json
from hmrfit.cli.outputs import Outputs, output_names, outputs_in
from hmrfit.cli.photographs import Collection, collect, inner_folders
from hmrfit.cli.ray_command import ray_command
from hmrfit.cli.workers import spread
from hmrfit.engines.rows import COLUMNS, empty_row, metadata
from hmrfit.hand_keypoints import HAND_SIDES
from hmrfit.io.bounded import check_regular
from hmrfit.io.own_files import refuse_others
from hmrfit.io.parquet import ParquetWriter, pyarrow
from hmrfit.io.photo import NoPeople
from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import cores, use_threads
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import check_noise

PEOPLE_AT_ONCE, PHOTOGRAPHS_AT_ONCE = 64, 32
"""In one batch, with the photographs' pixels in memory."""

WITHOUT_PIXELS = 2
"""So many times as large where no pixels are wanted: a person then takes 0.87 of the time, and no less in still larger
ones."""

WORTH_A_WORKER, WORTH_WITHOUT_PICTURES = 8, 48
"""Photographs for each process beside this one, at least: it takes a second or two to begin."""

MOST_NAMED = 3
"""Folders that a note lists."""

MOST_WORKERS = 32
"""Unless --workers asks for more."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end (SIGTERM, SIGHUP)."""


def fit_command(flags: FitFlags) -> int:
    """Fits every photograph; 0 if there is a result for at least one, else 1."""
    if flags.hand == BOTH:
        each = [replace(flags, hand=side, out=str(Path(flags.out) / side)) for side in HAND_SIDES]
        return min([fit_command(one) for one in each])
    if flags.engine is not None:
        if flags.as_json:
            raise ValueError("--json is for fits in this process; --engine writes its rows as Parquet. Leave one out.")
        return ray_command(flags)
    if flags.format is not None:
        pyarrow()  # where it is missing, that is known before any work
    source = None if flags.hand is None else flags.source
    collection = collect(flags.images, flags.keypoints, flags.keypoint_set, flags.detecting, source)
    pipeline = flags.pipeline()
    use_threads(pipeline.threads)
    flags.check_values(pipeline)
    asked = [flag for flag in ("keypoint_source", "keypoint_std") if getattr(flags, flag) is not None]
    for flag in asked:
        check_noise(pipeline.schedules.fit, pipeline.fitter.terms, f"--{flag.replace('_', '-')}")
    names = every = output_names(list(collection.places))
    outputs = outputs_in(Path(flags.out), collection.places, set(collection.places.values()))
    if (part := flags.part) is not None:
        names = {path: name for path, name in every.items() if part.holds(path)}
        outputs = outputs.of_shard(str(part))
    if flags.format is not None:
        refuse_others([outputs.people])
    outputs.prepare(names.values(), flags.wanted)
    collection = collection.kept_in(lambda path: outputs.folder / DETECTIONS / f"{every[path]}.json")
    report = FolderReport(outputs, len(names))
    try:
        with _stopped_by_signals(), _table(outputs, flags, pipeline) as add:
            run = FolderRun(collection, names, outputs, flags, worker_count(flags, pipeline, len(names)))
            with closing(run.lines()) as lines:
                for line in lines:
                    report.add(line)
                    add(line)
                    if flags.as_json:
                        print_json(line.facts(outputs))
    finally:
        _print_report(report, flags.as_json)
        if not flags.as_json and (inner := inner_folders(flags.images, outputs.folder)):
            named = ", ".join(map(str, inner[:MOST_NAMED])) + " and more" * (len(inner) > MOST_NAMED)
            print(printable(f"Not looked into, although photographs lie there: {named}. Name these folders too."))
    return 0 if report.done or report.nobody or not names else 1


@contextmanager
def _table(outputs: Outputs, flags: FitFlags, pipeline: Pipeline) -> Iterator[Callable[[Line], None]]:
    """Takes the lines for the table of people, if one is asked for; it is there when the block ends, stopped or not."""
    if flags.format is None:
        yield lambda line: None
        return
    with ParquetWriter(outputs.people, COLUMNS, metadata(pipeline.body_name)) as table:
        yield lambda line: table.add(line.rows or [empty_row(line.name, line.image, line.error or line.state)])


def _print_report(report: FolderReport, as_json: bool) -> None:
    """Prints the table and where the page is, or all of the run as one line of JSON."""
    if as_json:
        page_file: str | None = None
        with suppress(OSError):
            page_file = str(report.write_page())
        print_json({**report.facts(), "page": page_file})
        return
    report.print_table()
    try:
        page = f"Look at {printable(report.write_page())}"
    except OSError as error:
        page = f"There is no page: {printable(error)}"
    print(f"{report.done} of {how_many(report.planned, 'photographs have', 'photograph has')} a result. {page}")


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


def worker_count(flags: FitFlags, pipeline: Pipeline, photographs: int) -> int:
    """Processes that fit beside this one; 0: this one does it. Asked for, or as many as there are cores and work for;
    a GPU is one process's."""
    if flags.workers is not None:
        return flags.workers
    if pipeline.fitter.device is not None:
        return 0
    worth = photographs // (WORTH_WITHOUT_PICTURES if flags.no_pictures else WORTH_A_WORKER)
    count = min(pipeline.threads or cores(), worth, MOST_WORKERS)
    return count if count > 1 else 0


class FolderRun:
    """One run over a collection of photographs."""

    def __init__(
        self, collection: Collection, names: dict[Path, str], outputs: Outputs, flags: FitFlags, workers: int = 0
    ) -> None:
        self.collection, self.names, self.outputs, self.flags = collection, names, outputs, flags
        self.workers = workers
        self.pipeline = flags.pipeline()
        self.bar = tqdm(total=len(names), unit="photo", disable=None)

    def lines(self) -> Generator[Line, None, None]:
        """A line per photograph, in their order: those already there, those that failed, those fitted now."""
        begin = partial(BatchFitter, self.outputs, self.flags)
        with self.bar, closing(spread(self.batches(), begin, self.workers)) as lines:
            for line in lines:
                self.bar.set_postfix_str(printable(line.image)[-30:], refresh=False)
                self.bar.update()
                if line.error and not self.flags.as_json:
                    self.bar.write(printable(f"{line.image}: {line.error}"))
                yield line

    def batches(self) -> Iterator[list[Task]]:
        """The photographs with their people, some at a time."""
        more = WITHOUT_PIXELS if self.flags.no_pictures else 1
        batch: list[Task] = []
        for index, (path, name) in enumerate(self.names.items()):
            batch.append(self._task(index, path, name))
            people = sum(len(one.people) for one in batch)
            if len(batch) == more * PHOTOGRAPHS_AT_ONCE or people >= more * PEOPLE_AT_ONCE:
                yield batch
                batch = []
        if batch:
            yield batch

    def _task(self, index: int, path: Path, name: str) -> Task:
        task = Task(index, path, self._label(path), name)
        try:
            check_regular(path, "a photograph")
            with self.pipeline.reading_hands_of(self.flags.measurements):
                return replace(task, people=self.collection.people(path))
        except NoPeople as nobody:
            return replace(task, nobody=str(nobody))
        except Exception as error:
            return replace(task, error=described(error, self.flags.debug))

    def _label(self, path: Path) -> str:
        """The photograph in the table: its name, with its folder where there are two of that name."""
        return f"{path.absolute().parent.name}/{path.name}" if path.stem in self.collection.doubled else path.name

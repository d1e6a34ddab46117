"""One try after the other in a process of its own, which its parent ends where it takes too long.

A try is "call:N" or "file:N". The seed (the run's, and N) decides everything about it. What came of it is one of
    ok         it returned                    refused   a ValueError, TypeError or one of the system's own errors
    foreign    any other exception, or the process died          nan   it returned, with NaN in it          hang
"""

import json
import multiprocessing as mp
import os
import re
import resource
import shutil
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

PATIENCE, WAITING = 10.0, 100.0
"""Seconds that a try may take: of the processor's time, which other programs do not lengthen; and of the clock."""

START = 600.0
"""Seconds of the clock until a process has loaded the library and built what a fit needs, or has made a file."""

ADDRESS_SPACE = 10 << 30
"""Bytes beyond what a process has at its start: so that a try takes down itself and not the machine."""


@dataclass(frozen=True)
class Outcome:
    """What came of one try."""

    name: str  # "call:17"
    what: str  # the function or the kind of file
    result: str  # "ok", "refused", "foreign", "nan", "hang"
    detail: str = ""
    seconds: float = 0.0
    peak_gb: float = 0.0


def attempt(name: str, seed: int, folder: Path, begins: Callable[[], object] = lambda: None) -> Outcome:
    """One try, in this process. begins: called when a file is made, and its reader begins."""
    from fuzzing import calls, files

    kind, _, number = name.partition(":")
    rng = np.random.default_rng([seed, int(number), kind == "file"])
    what = (calls if kind == "call" else files).draw(rng)
    forget_peak()
    begun = time.monotonic()
    result, detail = "ok", ""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "call":
                value = calls.call(what, rng, folder)
            else:
                path = files.make(what, rng, folder)
                begins()
                forget_peak()
                begun = time.monotonic()
                value = files.read(what, path)
            found = {k: v for k, v in calls.numbers(value).items() if v.dtype.kind in "fc" and np.isnan(v).any()}
        if found:
            result, detail = "nan", f"NaN in {', '.join(list(found)[:5])}"
    except BaseException as error:
        result = "refused" if is_refusal(error) else "foreign"
        detail = f"{type(error).__name__}: {str(error)[:200]}" + ("" if result == "refused" else f"  {_where(error)}")
    return Outcome(name, what, result, detail.replace("\n", " "), round(time.monotonic() - begun, 2), peak())


def is_refusal(error: BaseException) -> bool:
    """Whether the exception is one that the library's documentation names: its own, or Python's plain ones for bad
    input and for files that are not there; not a relative of these from numpy or a decoder, such as LinAlgError."""
    kind = type(error)
    plain = (ValueError, TypeError, FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError, OSError)
    return kind in plain or (
        isinstance(error, ValueError | TypeError | OSError) and kind.__module__.startswith("hmrfit")
    )


def _where(error: BaseException) -> str:
    """The last lines of the library that it passed through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "hmrfit/" in f.filename]
    return " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in frames[:-4:-1])


def forget_peak() -> None:
    """Let the system count the largest memory anew."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """The largest memory since `forget_peak`, GB; where the system cannot say that, since the process's start."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
        return int(found[1]) * 1024 / 1e9
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def processor_seconds(pid: int) -> float:
    """What a process has used; where the system cannot say, or it is gone, the clock."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError, ValueError):
        return time.monotonic()


def _serve(pipe: Connection, seed: int) -> None:
    """A process: tells that it is ready, then answers each name with its outcome."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders write to it what they think of such files
    import torch

    from fuzzing import calls, files

    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        calls.saved_result(folder / "first.npz")
        files.prepare(folder)
        here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (here + ADDRESS_SPACE, here + ADDRESS_SPACE))
        pipe.send("ready")
        while (name := pipe.recv()) is not None:
            pipe.send(json.dumps(asdict(attempt(name, seed, folder, lambda: pipe.send("made")))))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Worker:
    """A process, the pipe to it, and what it does."""

    process: mp.Process
    pipe: Connection
    name: str | None = None  # None: it starts
    since: float = 0.0
    busy: float = 0.0  # seconds of the processor's time at `since`
    made: bool = False  # whether the file of its try is there, so that its time counts

    @classmethod
    def begin(cls, seed: int) -> "_Worker":
        context = mp.get_context("spawn")
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(there, seed), daemon=True)
        process.start()
        there.close()
        return cls(process, here, since=time.monotonic())

    def restart_clock(self) -> None:
        self.since, self.busy = time.monotonic(), processor_seconds(self.process.pid)

    def late(self) -> bool:
        """Does it take too long?"""
        waited = time.monotonic() - self.since
        if not (self.name and self.made):
            return waited > START
        return waited > PATIENCE and (waited > WAITING or processor_seconds(self.process.pid) - self.busy > PATIENCE)

    def end(self) -> None:
        self.process.kill()
        self.process.join()


def outcomes(names: Sequence[str], seed: int, processes: int) -> Iterator[Outcome]:
    """What comes of each try, in order of completion."""
    waiting, workers = list(names)[::-1], [_Worker.begin(seed) for _ in range(processes)]
    while workers:
        for worker in list(workers):
            try:
                if worker.pipe.poll(0.005):
                    said = worker.pipe.recv()
                    if said == "made":
                        worker.restart_clock()
                        worker.made = True
                        continue
                    if said != "ready":
                        yield Outcome(**json.loads(said))
                    worker.name = waiting.pop() if waiting else None
                    worker.restart_clock()
                    worker.made = worker.name is None or worker.name.startswith("call")
                    worker.pipe.send(worker.name)
                    if worker.name is None:
                        worker.process.join(5)
                        worker.end()
                        workers.remove(worker)
                    continue
                if not worker.late():
                    continue
                lost, why = "hang", f"not answered within {PATIENCE:g} s of the processor's time, or {WAITING:g} s"
            except (EOFError, OSError):
                lost, why = "foreign", f"the process died (exit code {worker.process.exitcode})"
            worker.end()
            workers.remove(worker)
            if worker.name is None:
                raise SystemExit(f"A process of the fuzz could not start ({why}).")
            yield Outcome(worker.name, "?", lost, why, round(time.monotonic() - worker.since, 2))
            workers.append(_Worker.begin(seed))

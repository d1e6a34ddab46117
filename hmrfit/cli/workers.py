"""Batches spread over processes, their lines in the order of the photographs.

    this process  --batch-->  worker  --(index, line)-->  this process          one pipe for each worker

On Unix workers are forked: what was read before, bodies, networks and settings, is shared and takes no time. Elsewhere
they begin anew. A worker has one thread, so that as many of them as there are cores use all of them. At most two
batches wait at each, and lines that are ahead of their turn are few, so memory does not grow with the run.

A worker that dies, killed by the system or by a broken file in a decoder, takes nobody with it: its photographs are
done again one at a time, and the one that it dies of again is the one that fails.
"""

import multiprocessing
import signal
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch

from hmrfit.cli.batches import Task
from hmrfit.cli.folder_report import Line
from hmrfit.io.opencv import cv2

AT_EACH = 2
"""Batches that a worker has at most: one that it does, and the next."""

AHEAD = 4
"""Batches for each worker that may be begun before the first of them is done."""

MOST_DEATHS = 8
"""Workers that may die one after the other without a photograph done between."""


class LinesOf(Protocol):
    """Does batches."""

    def lines(self, tasks: Sequence[Task]) -> Iterator[Line]: ...


def spread(batches: Iterator[list[Task]], begin: Callable[[], LinesOf], workers: int) -> Generator[Line, None, None]:
    """The lines of all tasks, in their order. The iterator's `close` ends the workers.

    Args:
        batches: of tasks numbered from 0, without gaps. begin: makes what does them, in each worker.
        workers: processes; 0: this one alone.
    Raises:
        RuntimeError: workers die and nothing is done.
    """
    if workers == 0:
        here = begin()
        for batch in batches:
            yield from here.lines(batch)
        return
    pool = _Pool(batches, begin, workers)
    try:
        yield from pool.lines()
    finally:
        pool.stop()


class _Worker:
    """A process and what it has to do."""

    def __init__(self, begin: Callable[[], LinesOf]) -> None:
        self.connection, there = multiprocessing.Pipe()
        self.process = _process(_work, (there, begin))
        with _no_threads_of_opencv():
            self.process.start()
        there.close()
        self.batches: deque[dict[int, Task]] = deque()  # what is not done yet, by index

    def give(self, batch: Sequence[Task]) -> None:
        """Hands it a batch; where it is dead already, `_Pool` finds out."""
        self.batches.append({task.index: task for task in batch})
        with suppress(OSError):
            self.connection.send(list(batch))

    def done(self, index: int) -> None:
        """Strikes a task out."""
        for batch in self.batches:
            batch.pop(index, None)
        while self.batches and not self.batches[0]:
            self.batches.popleft()


def _process(target: Callable[..., None], arguments: tuple[object, ...]) -> BaseProcess:
    """Forked where that is safe: on macOS the system's own libraries may crash in forked processes."""
    if sys.platform in ("darwin", "win32"):
        return multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    return multiprocessing.get_context("fork").Process(target=target, args=arguments, daemon=True)


@contextmanager
def _no_threads_of_opencv() -> Iterator[None]:
    """A forked process has none of the first one's threads, and OpenCV would wait for them for ever."""
    found = cv2.getNumThreads()
    cv2.setNumThreads(1)  # ends them
    try:
        yield
    finally:
        cv2.setNumThreads(found)


class _Pool:
    """The workers, and what is to be done."""

    def __init__(self, batches: Iterator[list[Task]], begin: Callable[[], LinesOf], workers: int) -> None:
        self.batches, self.begin, self.count = batches, begin, workers
        self.workers: list[_Worker] = []
        self.again: deque[list[Task]] = deque()  # of workers that died
        self.ready: dict[int, Line] = {}  # ahead of their turn
        self.suspects: set[int] = set()  # tasks during which a worker died
        self.turn = self.begun = self.deaths = self.largest = 0
        self.ended = False

    def lines(self) -> Iterator[Line]:
        """In order."""
        for _ in range(self.count):  # forked before the first process has threads of torch's, which it has to detect
            self.workers.append(_Worker(self.begin))
        while True:
            self._give_out()
            if not any(worker.batches for worker in self.workers):
                return
            for worker in self._those_that_say_something():
                self._hear(worker)
            while self.turn in self.ready:
                yield self.ready.pop(self.turn)
                self.turn += 1

    def stop(self) -> None:
        """Ends all workers; every file that they wrote is whole."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()
        self.workers = []

    def _give_out(self) -> None:
        """Batches for those who have room."""
        while batch := self._next():
            if len(self.workers) < self.count:  # one has died
                self.workers.append(_Worker(self.begin))
            min(self.workers, key=lambda worker: len(worker.batches)).give(batch)

    def _next(self) -> list[Task] | None:
        """The next batch, if a worker has room for it and it is not too far ahead."""
        room = len(self.workers) < self.count or any(len(w.batches) < AT_EACH for w in self.workers)
        if not room:
            return None
        if self.again:
            return self.again.popleft()
        if self.ended or self.begun - self.turn > AHEAD * self.count * max(1, self.largest):
            return None
        batch = next(self.batches, None)
        if batch is None:
            self.ended = True
            return None
        self.largest = max(self.largest, len(batch))
        self.begun = batch[-1].index + 1
        return batch

    def _those_that_say_something(self) -> list[_Worker]:
        ready = set(wait([worker.connection for worker in self.workers]))
        return [worker for worker in self.workers if worker.connection in ready]

    def _hear(self, worker: _Worker) -> None:
        try:
            index, line = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker)
            return
        worker.done(index)
        self.ready[index], self.deaths = line, 0

    def _bury(self, worker: _Worker) -> None:
        """What a dead worker had begun is done again, one photograph at a time; what waited at it, as it was."""
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        self.deaths += 1
        how = _described_end(worker.process.exitcode)
        if self.deaths > MOST_DEATHS:
            raise RuntimeError(f"The processes that fit end before they have done anything: {how}.")
        for number, batch in enumerate(worker.batches):
            tasks = list(batch.values())
            if number == 0 and len(tasks) == 1 and tasks[0].index in self.suspects:
                only = tasks[0]
                self.ready[only.index] = Line(only.label, only.name, error=f"The process that fitted it ended: {how}.")
            elif number == 0:
                self.suspects |= batch.keys()
                self.again.extend([task] for task in tasks)
            else:
                self.again.append(tasks)


def _described_end(code: int | None) -> str:
    """Of a process."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"killed by {signal.Signals(-code).name}, as the system does when memory runs out"
    return f"status {code}"


def _work(connection: Connection, begin: Callable[[], LinesOf]) -> None:
    """A worker's life: until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the first process's to answer
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    torch.set_num_threads(1)  # also where the settings ask for more: THREADS is the number of workers
    cv2.setNumThreads(1)  # where it was not forked
    here = begin()
    with suppress(EOFError, OSError):
        while True:
            tasks = connection.recv()
            for task, line in zip(tasks, here.lines(tasks), strict=True):
                connection.send((task.index, line))

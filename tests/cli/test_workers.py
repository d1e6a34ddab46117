"""Batches over processes: every photograph once and in order, whatever the workers do."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from hmrfit.cli.batches import Task
from hmrfit.cli.folder_report import Line
from hmrfit.cli.workers import AHEAD, spread
from hmrfit.io.opencv import cv2


def task(index: int) -> Task:
    return Task(index, Path(f"{index}.jpg"), f"{index}.jpg", str(index))


def batches(count: int, each: int = 3) -> Iterator[list[Task]]:
    for first in range(0, count, each):
        yield [task(i) for i in range(first, min(first + each, count))]


@dataclass(frozen=True)
class Fake:
    """Answers with the photograph's name; dies of some of them, is slow with others."""

    dies_of: frozenset[int] = frozenset()
    slow: frozenset[int] = frozenset()

    def lines(self, tasks: Sequence[Task]) -> Iterator[Line]:
        for one in tasks:
            if one.index in self.dies_of:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.05 * (one.index in self.slow))
            yield Line(one.label, one.name, state=str(os.getpid()))


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_lines_come_once_and_in_order(workers: int) -> None:
    fake = Fake(slow=frozenset({0, 7}))
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (0, 0), 3)  # OpenCV has threads now
    lines = list(spread(batches(20), lambda: fake, workers))
    assert [line.name for line in lines] == [str(i) for i in range(20)]
    assert len({line.state for line in lines}) == max(workers, 1)
    assert (str(os.getpid()) in {line.state for line in lines}) == (workers == 0)


def test_a_photograph_that_kills_its_process_loses_only_itself() -> None:
    lines = list(spread(batches(14), lambda: Fake(frozenset({1, 9})), 2))
    assert [line.name for line in lines] == [str(i) for i in range(14)]
    failed = {line.name: line.error for line in lines if line.error}
    assert set(failed) == {"1", "9"} and all("SIGKILL" in error for error in failed.values())


def test_workers_that_cannot_begin_are_an_error(capfd: pytest.CaptureFixture) -> None:
    def broken() -> Fake:
        raise OSError("no such body")

    with pytest.raises(RuntimeError, match="before they have done anything"):
        list(spread(batches(40), broken, 2))


def test_no_more_is_read_than_is_soon_done() -> None:
    read = 0

    def counted() -> Iterator[list[Task]]:
        nonlocal read
        for batch in batches(300):
            read += len(batch)
            yield batch

    for done, _ in enumerate(spread(counted(), Fake, 2)):
        assert read <= done + 3 * (2 * AHEAD + 2)


def test_a_run_that_is_left_leaves_no_process() -> None:
    lines = spread(batches(40), lambda: Fake(slow=frozenset(range(40))), 2)
    process = int(next(lines).state)
    lines.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)

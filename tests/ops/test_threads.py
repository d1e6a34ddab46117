"""torch's number of threads is what it was: in this thread, in others, in those that begin meanwhile, after errors."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

import hmrfit
from hmrfit.config import load_config
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.pieces import in_pieces
from hmrfit.ops.threads import FEW, one_thread_each, one_thread_for_few, own_threads, workers
from hmrfit.pipeline import Pipeline


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    """A number that no test has by chance."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def elsewhere(what: Callable[[], Any]) -> Any:
    """In a thread that has not used torch before."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(what).result()


def test_inside_and_afterwards() -> None:
    for count in (1, 2, 3, 4):
        with own_threads(count):
            assert torch.get_num_threads() == count and elsewhere(torch.get_num_threads) == 3
        assert torch.get_num_threads() == 3 == elsewhere(torch.get_num_threads)
    with own_threads(0):
        assert torch.get_num_threads() == 3


def test_few_get_one_and_many_what_is_asked_for() -> None:
    for people, most, expected in ((1, 0, 1), (FEW, 2, 1), (FEW + 1, 0, 3), (FEW + 1, 2, 2)):
        with one_thread_for_few(people, most):
            assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == 3


def test_after_an_error() -> None:
    with pytest.raises(KeyError), own_threads(1):
        raise KeyError
    assert torch.get_num_threads() == 3 == elsewhere(torch.get_num_threads)


def test_each_thread_keeps_its_own_and_new_ones_begin_as_they_would() -> None:
    """Another thread has asked for 2, and so threads that begin later have 2; this one has 3."""
    asked, done, found = threading.Event(), threading.Event(), []

    def other() -> None:
        torch.set_num_threads(2)
        asked.set()
        done.wait()
        found.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    torch.get_num_threads()
    thread.start()
    asked.wait()
    with own_threads(1):
        assert torch.get_num_threads() == 1 and elsewhere(torch.get_num_threads) == 2
    assert torch.get_num_threads() == 3 and elsewhere(torch.get_num_threads) == 2
    done.set()
    thread.join()
    assert found == [2]


def test_threads_that_overlap() -> None:
    """The first to enter leaves first; the last one inside finds and leaves three as well."""
    inside, out = threading.Barrier(3), threading.Barrier(3)

    def one(_: int) -> tuple[int, int]:
        with own_threads(1):
            inside.wait()
            within = torch.get_num_threads()
            out.wait()
        return within, torch.get_num_threads()

    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(one, range(3))) == [(1, 3)] * 3
    assert torch.get_num_threads() == 3 == elsewhere(torch.get_num_threads)


def test_pieces_are_fitted_in_one_thread_each() -> None:
    seen = []

    def fit(part: slice) -> Fit:
        seen.append(torch.get_num_threads())
        raise KeyError

    with pytest.raises(KeyError):
        in_pieces(fit, 300, Fit, 100)
    assert set(seen) == {1} and torch.get_num_threads() == 3 == elsewhere(torch.get_num_threads)


def test_calls_from_many_threads_leave_everything_as_it_was() -> None:
    """Fits, sequences and refused calls side by side, from threads that never used torch."""
    points = np.random.default_rng(0).uniform(50, 200, (9, 17, 3)) * [1, 1, 0] + [0, 0, 1]
    asked = {"keypoint_set": "coco17", "image_size": (320, 240)}
    alone = hmrfit.fit(None, points[0], **asked)

    def one(i: int) -> tuple[int, Any]:
        if i % 3 == 0:
            return torch.get_num_threads(), hmrfit.fit(None, points[0], **asked)
        if i % 3 == 1:
            hmrfit.fit(None, points, **asked)
        else:
            with pytest.raises(ValueError, match="focal"):
                hmrfit.fit(None, points, focal=-1, **asked)
        return torch.get_num_threads(), None

    with ThreadPoolExecutor(3) as pool:
        ends = list(pool.map(one, range(4)))
    assert {count for count, _ in ends} == {3} and torch.get_num_threads() == 3 == elsewhere(torch.get_num_threads)
    assert all(np.array_equal(r.poses, alone.poses) for _, r in ends if r is not None)


def test_the_settings_number_is_for_the_fit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmrfit.pipeline.build_parts", lambda config: (torch.get_num_threads(), None))
    pipeline = Pipeline(load_config(None, ["THREADS=2"]))
    assert pipeline.threads == pipeline.fitter == 2 and torch.get_num_threads() == 3 == elsewhere(torch.get_num_threads)


def test_pieces_run_side_by_side_where_no_operation_is_divided():
    """Within the block torch has one thread, and as many pieces run side by side as it had before."""
    with own_threads(3):
        with one_thread_each():
            assert (torch.get_num_threads(), workers()) == (1, 3)
            with one_thread_each():
                assert workers() == 3
        assert (torch.get_num_threads(), workers()) == (3, 3)

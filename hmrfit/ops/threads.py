"""How many threads torch gets, and that the caller's own number of them stays as it was.

torch keeps it twice: every Python thread has its own number, and there is one that a thread begins with when it first
uses torch. `torch.set_num_threads` sets both. So a number that is only meant for a moment, in one thread, would be what
threads that begin in that moment keep for good; here the other number is put back at once, from a thread of its own.
"""

import os
from _thread import allocate_lock, start_new_thread
from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import torch

FEW = 8
"""With so many people or fewer, one thread is as fast as two."""

_ONE_AT_A_TIME = allocate_lock()
"""Held through both halves of a change, so that no other thread reads the number between them."""


def _new_lock() -> None:
    """For a forked process, where the thread that holds the old lock may not exist."""
    global _ONE_AT_A_TIME
    _ONE_AT_A_TIME = allocate_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


def cores() -> int:
    """Processor cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def know_own_threads() -> None:
    """Initialises the number of a Python thread that has not used torch yet, while no other thread is changing it.

    Public functions call it first: the moment in which new threads begin with another number is short, not zero.
    """
    with _ONE_AT_A_TIME:
        torch.get_num_threads()


@contextmanager
def one_thread_for_few(people: int, most: int = 0) -> Iterator[None]:
    """One thread for a few people, whose matrices are too small to divide. Where other programs occupy the cores,
    threads that wait for each other cost dearly: 1.9 s instead of 0.07 s for one person on two busy cores.

    most: threads for many people; 0: as many as there are.
    """
    with own_threads(1 if people <= FEW else most):
        yield


_SIDE_BY_SIDE = local()
"""Of each Python thread, how many pieces of a batch it has done side by side, where that is not torch's own number."""


def workers() -> int:
    """How many pieces of a batch this Python thread has done side by side."""
    return getattr(_SIDE_BY_SIDE, "count", 0) or torch.get_num_threads()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Within the block no operation is divided among threads, and as many pieces of a batch are done side by side as
    there were threads before. Threads that divide an operation wait for each other; where other programs occupy the
    cores, most of their time."""
    before = getattr(_SIDE_BY_SIDE, "count", 0)
    _SIDE_BY_SIDE.count = workers()
    try:
        with own_threads(1):
            yield
    finally:
        _SIDE_BY_SIDE.count = before


@contextmanager
def own_threads(count: int) -> Iterator[None]:
    """`count` threads for what this Python thread does with torch inside, 0: as many as it has. Other threads, those
    that begin meanwhile too, keep theirs, and so does this one afterwards."""
    with _ONE_AT_A_TIME:
        found = torch.get_num_threads()
        first = found if count in (0, found) else _set_own(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != found:
            with _ONE_AT_A_TIME:
                # this also sets what threads begin with, to what that was in all but the rarest cases
                torch.set_num_threads(found) if first == found else _set_own(found)


def set_own_threads(count: int) -> None:
    """This Python thread's number, for good; what threads begin with stays as it is."""
    with _ONE_AT_A_TIME:
        _set_own(count)


def _set_own(count: int) -> int:
    """`set_own_threads` while the lock is held; returns the number that new threads begin with."""
    torch.get_num_threads()  # a thread that never asked would forget what it is set to
    known, changed, done = (allocate_lock() for _ in range(3))
    for lock in (known, changed, done):
        lock.acquire()
    first: list[int] = []

    def keep() -> None:
        try:
            first.append(torch.get_num_threads())
            known.release()
            changed.acquire()
            torch.set_num_threads(first[0])
        finally:
            done.release()

    try:
        start_new_thread(keep, ())
    except RuntimeError:  # the system has no thread left: the computation matters more
        torch.set_num_threads(count)
        return count
    known.acquire()
    torch.set_num_threads(count)
    changed.release()
    done.acquire()
    return first[0]


def use_threads(count: int) -> None:
    """`count` threads for the rest of the process, as commands have them in their settings; 0 changes nothing."""
    if count > 0:
        torch.set_num_threads(count)

"""Batches in pieces, as many of them side by side as torch has threads.

The matrices of a piece are too small for several threads to share, so every piece has one. The pieces are the same on
any number of cores, and so are the answers. Terms are called from these threads: they must not keep notes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hmrfit.ops.threads import set_own_threads, workers
from hmrfit.types import TensorRecord

P = TypeVar("P")
T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=TensorRecord)

CHUNK = 128
"""People in one batch of the solver: more are no faster, and memory stays bounded."""

FEW_POOR = 16
"""The same of people who need several fits each: there are few of them, and all cores shall have some."""


def slices(people: int, chunk: int = CHUNK) -> list[slice]:
    """The pieces of so many people, at least one."""
    return [slice(i, i + chunk) for i in range(0, max(people, 1), chunk)]


def side_by_side(work: Callable[[P], T], pieces: Sequence[P]) -> list[T]:
    """What `work` returns of each piece, in order; a single one is done in the caller's own thread."""
    if len(pieces) == 1:
        return [work(pieces[0])]
    with ThreadPoolExecutor(workers(), initializer=set_own_threads, initargs=(1,)) as pool:
        return list(pool.map(work, pieces))


def in_pieces(fit: Callable[[slice], RecordT], people: int, kind: type[RecordT], chunk: int = CHUNK) -> RecordT:
    """Fits of `chunk` people each as one. kind: of record."""
    parts = side_by_side(fit, slices(people, chunk))
    return parts[0] if len(parts) == 1 else kind.cat(parts)

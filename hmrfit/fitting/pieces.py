"""Batches in pieces, as many of them side by side as torch has threads.

The matrices of a piece are too small for several threads to share, so every piece has one. Pieces are as large as
memory allows, since the few people who are not done yet take longer each; there are as many as threads, unless they
are small then. Answers are the same to rounding, 1e-11 radians. Terms are called from these threads: they must not
keep notes.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from hmrfit.ops.threads import set_own_threads, workers
from hmrfit.types import TensorRecord

P = TypeVar("P")
T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=TensorRecord)

CHUNK, LEAST = 512, 128
"""People in one batch of the solver at most, so that memory stays bounded, and at least, if there are several."""

POOR, FEW_POOR = 64, 16
"""The same of people who need several fits each."""


def slices(people: int, most: int = CHUNK, least: int = LEAST) -> list[slice]:
    """The pieces of so many people, even ones, at least one."""
    count = max(-(-people // most), min(workers(), people // least), 1)
    each = max(-(-people // count), 1)
    return [slice(i, i + each) for i in range(0, max(people, 1), each)]


def side_by_side(work: Callable[[P], T], pieces: Sequence[P]) -> list[T]:
    """What `work` returns of each piece, in order; a single one is done in the caller's own thread."""
    if len(pieces) == 1:
        return [work(pieces[0])]
    with ThreadPoolExecutor(workers(), initializer=set_own_threads, initargs=(1,)) as pool:
        return list(pool.map(work, pieces))


def in_pieces(
    fit: Callable[[slice], RecordT], people: int, kind: type[RecordT], most: int = CHUNK, least: int = LEAST
) -> RecordT:
    """Fits of at most `most` people as one, and at least `least` where there are several. kind: of record."""
    parts = side_by_side(fit, slices(people, most, least))
    return parts[0] if len(parts) == 1 else kind.cat(parts)

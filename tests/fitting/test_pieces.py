"""Pieces of a batch: even, neither too large nor, where they are several, too small."""

import pytest

from hmrfit.fitting.pieces import CHUNK, LEAST, slices
from hmrfit.ops.threads import own_threads


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("people", [0, 1, 127, 128, 255, 256, 1000, 1024, 5000])
def test_pieces_are_even_and_hold_everybody_once(people: int, threads: int) -> None:
    with own_threads(threads):
        pieces = slices(people)
    sizes = [len(range(people)[piece]) for piece in pieces]
    assert [i for piece in pieces for i in range(people)[piece]] == list(range(people))
    assert max(sizes) <= CHUNK and max(sizes) - min(sizes) < len(sizes)
    assert len(sizes) == 1 or min(sizes) >= LEAST
    assert len(sizes) >= min(threads, max(people // LEAST, 1))  # every thread has one

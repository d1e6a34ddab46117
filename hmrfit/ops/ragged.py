"""Loops of different lengths as one flat loop: 2 pixels of the first triangle, 3 of the second, ..."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor


def flat_steps(counts: Tensor) -> tuple[Tensor, Tensor]:
    """For counts (2, 3): which item (0 0 1 1 1) and how far into it (0 1 0 1 2)."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    item = torch.repeat_interleave(counts, output_size=total)
    step = torch.arange(total, device=counts.device) - (ends - counts)[item]
    return item, step


def chunks(counts: Tensor, most: int) -> Iterator[slice]:
    """Slices of consecutive items that hold about `most` in all (one item more at most)."""
    ends = counts.cumsum(0)
    total = int(ends[-1]) if len(ends) else 0
    limits = torch.arange(0, total, most, device=counts.device)
    bounds = [*torch.searchsorted(ends, limits, right=True).tolist(), len(counts)]
    for start, stop in pairwise(bounds):
        if start < stop:
            yield slice(start, stop)

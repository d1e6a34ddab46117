"""Several datasets as one endless one, whose n-th batch is the same whatever was drawn before, by however many workers.

    batch n:   (seed, n) -> for each of its people a dataset by its share, one of its people, and what happens to it

So the position in the data is one number, and a run that was stopped goes on with the very people it would have had.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from hmrfit.synthetic.dataset import scene_generator
from hmrfit.train.images import PersonSample

TRIES = 20
"""How many people in a row may be unreadable before the run ends."""


class PersonSource(Protocol):
    """A dataset that can be mixed: `PersonImages` or `ScenePeople`."""

    def __len__(self) -> int: ...

    def take(self, index: int, chance: int) -> PersonSample:
        """Person `index`, as a batch of one, changed as the number `chance` decides."""


Place = tuple[int, int, int]
"""Which dataset, which of its people, and the number that decides what happens to the picture."""


class _Places(Sampler[list[Place]]):
    """Batch after batch from `position` on, without end."""

    def __init__(self, sizes: Sequence[int], shares: torch.Tensor, count: int, seed: int, position: int) -> None:
        self.sizes, self.shares, self.count, self.seed, self.position = sizes, shares, count, seed, position

    def __iter__(self) -> Iterator[list[Place]]:
        position = self.position
        while True:
            generator = scene_generator(self.seed, position)
            which = torch.multinomial(self.shares, self.count, True, generator=generator).tolist()
            chance = torch.randint(2**31, (2, self.count), generator=generator).tolist()
            yield [(d, first % self.sizes[d], second) for d, first, second in zip(which, *chance, strict=True)]
            position += 1


class _Taken(Dataset):
    """People by their places; who cannot be read is replaced by the next one of the same dataset."""

    def __init__(self, sources: Sequence[PersonSource]) -> None:
        self.sources = sources

    def __getitem__(self, place: Place) -> PersonSample:
        which, index, chance = place
        source = self.sources[which]
        for attempt in range(TRIES):
            try:
                return source.take((index + attempt) % len(source), chance)
            except (OSError, ValueError) as error:
                lost = error
                warnings.warn(f"Person {index + attempt} of dataset {which} is left out: {error}", stacklevel=2)
        raise lost


class MixedPeople:
    """Endless batches of people from several sources."""

    def __init__(
        self, sources: Sequence[PersonSource], shares: Sequence[float], seed: int = 0, workers: int = 0
    ) -> None:
        """
        Args:
            shares: of the draws, one for each source; they need not add up to 1.
            seed: another one for each process of several.
            workers: processes that make the people; 0 for none beside this one. They change nothing but the time.
        Raises:
            ValueError: not one share for each, a negative one, or a share for an empty source.
        """
        sizes = [len(source) for source in sources]
        if len(shares) != len(sizes) or not sizes or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(f"Expected a share ≥ 0 for each of {len(sizes)} datasets, got {list(shares)}.")
        if any(share > 0 and not size for share, size in zip(shares, sizes, strict=True)):
            raise ValueError(f"A dataset without people cannot have a share: sizes {sizes}, shares {list(shares)}.")
        self.sources, self.shares = list(sources), torch.tensor(shares, dtype=torch.float64)
        self.seed, self.workers, self.position = seed, workers, 0
        self._sizes, self._batches, self._count = sizes, None, 0

    def batch(self, count: int) -> PersonSample:
        """The next `count` people."""
        if self._batches is None or count != self._count:
            self._batches, self._count = self._loader(count), count
        self.position += 1
        return next(self._batches)

    def go_to(self, position: int) -> None:
        """The next batch will be the one that comes after `position` batches."""
        self.position, self._batches = position, None

    def _loader(self, count: int) -> Iterator[PersonSample]:
        places = _Places(self._sizes, self.shares, count, self.seed, self.position)
        return iter(
            DataLoader(
                _Taken(self.sources),
                batch_sampler=places,
                num_workers=self.workers,
                collate_fn=PersonSample.collate,
                persistent_workers=self.workers > 0,
                generator=torch.Generator(),  # its own, so that beginning anew leaves the run's chance as it is
            )
        )

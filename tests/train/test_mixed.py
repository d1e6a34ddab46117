"""Mixed datasets: the n-th batch is a matter of n alone, shares are kept, who cannot be read is replaced."""

from dataclasses import fields

import pytest
import torch

from hmrfit.train.images import PersonSample
from hmrfit.train.mixed import MixedPeople
from hmrfit.types import BodyParams, TensorRecord


class Numbers:
    """A source whose people say in their pictures who they are and what happened to them."""

    def __init__(self, name: int, size: int, broken: tuple[int, ...] = ()) -> None:
        self.name, self.size, self.broken = name, size, broken

    def __len__(self) -> int:
        return self.size

    def take(self, index: int, chance: int) -> PersonSample:
        if index in self.broken:
            raise OSError(f"cannot read {index}")
        said = torch.tensor([[self.name, index, chance]], dtype=torch.float64)
        empty = torch.zeros(1, 1)
        params = BodyParams(empty, empty, empty, empty)
        return PersonSample(said, empty, empty, empty, empty, empty, params, empty)


def said(batches: list[PersonSample]) -> torch.Tensor:
    return torch.cat([batch.images for batch in batches])


def mixed(seed: int = 0, workers: int = 0, **sources) -> MixedPeople:
    return MixedPeople([Numbers(0, 5), Numbers(1, 50)], [1.0, 3.0], seed, workers)


def test_the_same_seed_gives_the_same_people_and_another_gives_others():
    a, b, c = (mixed(seed) for seed in (0, 0, 1))
    first = said([a.batch(8) for _ in range(3)])
    assert torch.equal(first, said([b.batch(8) for _ in range(3)]))
    assert not torch.equal(first, said([c.batch(8) for _ in range(3)]))


def test_the_position_is_all_that_the_next_batch_depends_on():
    whole = mixed()
    batches = [whole.batch(4) for _ in range(5)]
    other = mixed()
    other.batch(4)
    other.go_to(3)
    assert torch.equal(said([other.batch(4), other.batch(4)]), said(batches[3:]))
    assert other.position == whole.position == 5


def test_workers_change_nothing():
    alone, together = mixed(), mixed(workers=2)
    assert torch.equal(said([alone.batch(6) for _ in range(3)]), said([together.batch(6) for _ in range(3)]))


def test_shares_are_kept_and_everybody_comes():
    people = said([mixed().batch(4000)])
    assert people[:, 0].mean().item() == pytest.approx(0.75, abs=0.03)  # four deviations of 4,000 draws
    for name, size in ((0, 5), (1, 50)):
        assert len(people[people[:, 0] == name, 1].unique()) == size
    assert len(people[:, 2].unique()) > 3990  # everybody is changed in another way


def test_who_cannot_be_read_is_replaced_by_the_next():
    people = MixedPeople([Numbers(0, 6, broken=(2, 3))], [1.0])
    with pytest.warns(UserWarning, match="left out: cannot read 2"):
        found = said([people.batch(60)])[:, 1]
    assert set(found.tolist()) == {0, 1, 4, 5} and (found == 4).sum() > (found == 5).sum()


def test_nothing_that_can_be_read_ends_the_run():
    with pytest.warns(UserWarning), pytest.raises(OSError, match="cannot read"):
        MixedPeople([Numbers(0, 3, broken=(0, 1, 2))], [1.0]).batch(1)


@pytest.mark.parametrize("shares", [[1.0], [0.5, -0.5], [0.0, 0.0], []])
def test_shares_that_make_no_sense_are_refused(shares):
    with pytest.raises(ValueError, match="share"):
        MixedPeople([Numbers(0, 5), Numbers(1, 5)], shares)


def test_an_empty_dataset_cannot_have_a_share():
    with pytest.raises(ValueError, match="without people"):
        MixedPeople([Numbers(0, 5), Numbers(1, 0)], [1.0, 1.0])


def test_a_batch_has_everything_of_everybody():
    batch = mixed().batch(7)
    assert len(batch) == 7
    for field in fields(PersonSample):
        value = getattr(batch, field.name)
        assert isinstance(value, TensorRecord) or len(value) == 7

"""Numbers of a row: whichever rows are beside it, uniform, normal, independent by name and by row."""

import pytest
import torch
from scipy import stats

from hmrfit.ops.row_random import RowRandom


def numbers(count: int = 2000, seed: int = 3) -> RowRandom:
    return RowRandom(seed, torch.arange(count))


def test_a_row_is_the_same_beside_any_others():
    everyone = numbers(50)
    some = RowRandom(3, torch.tensor([41, 7]))
    for draw in (RowRandom.uniform, RowRandom.normal, RowRandom.student):
        assert torch.equal(draw(everyone, "a", 4, 3)[[41, 7]], draw(some, "a", 4, 3))
    assert torch.equal(everyone.uniform("a", 5)[:, :3], everyone.uniform("a", 3))


def test_it_is_splitmix():
    """Of a key, the numbers are that generator's; Vigna's first outputs for the seed 1234567 are published."""
    from hmrfit.ops.row_random import INCREMENT, _mix

    x = _mix(1234567 + torch.arange(1, 4) * INCREMENT)
    assert [v % (1 << 64) for v in x.tolist()] == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_the_distributions_are_those_asked_for():
    draws = numbers()
    assert stats.kstest(draws.uniform("a", 10).flatten().numpy(), "uniform").pvalue > 0.01
    assert stats.kstest(draws.normal("a", 11).flatten().numpy(), "norm").pvalue > 0.01
    assert stats.kstest((draws.student("a", 10) * 2**0.5).flatten().numpy(), stats.t(4).cdf).pvalue > 0.01
    assert draws.chance("a", 0.2).double().mean() == pytest.approx(0.2, abs=0.03)
    counts = draws.integer("a", 4).bincount(minlength=4) / len(draws)
    assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.04)
    within = draws.uniform("a", low=-2.0, high=5.0)
    assert within.min() > -2 and within.max() < 5


@pytest.mark.parametrize("other", ["another name", "another seed", "the next row"])
def test_numbers_are_independent(other):
    one = numbers().uniform("a")
    changed = {
        "another name": numbers().uniform("b"),
        "another seed": numbers(seed=4).uniform("a"),
        "the next row": one.roll(1),
    }
    assert abs(torch.corrcoef(torch.stack([one, changed[other]]))[0, 1]) < 0.08  # 3.5 standard errors

"""How far a keypoint counts as seen: continuous, monotone, of any scale; and the extremes that are expected."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.ops.presence import NOTHING, SHOWN, SURE, expected_extremes, presence, shown

confidences = st.lists(st.floats(0, 1), min_size=2, max_size=8).map(lambda c: torch.tensor([c], dtype=torch.float64))


@pytest.mark.parametrize(("ramp", "end"), [(presence, SURE), (shown, SHOWN)])
def test_nothing_up_to_the_first_bound_and_all_from_the_second_on(ramp, end):
    c = torch.tensor([[1.0, end, NOTHING, 0.0, (NOTHING + end) / 2]], dtype=torch.float64)
    torch.testing.assert_close(ramp(c), torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.5]]).double())


@pytest.mark.parametrize("ramp", [presence, shown])
def test_without_a_jump_and_rising(ramp):
    c = torch.linspace(0, 1, 20001, dtype=torch.float64)
    p = ramp(torch.stack([c, torch.ones_like(c)], 1))[:, 0]
    assert (p.diff() >= 0).all() and p.diff().max() < 1e-3


@given(confidences, st.floats(1e-6, 1e6))
def test_the_scale_of_the_confidences_does_not_matter(c, scale):
    torch.testing.assert_close(presence(scale * c), presence(c), rtol=1e-9, atol=1e-9)


@given(confidences)
def test_keypoints_that_are_added_and_not_seen_change_nothing(c):
    padded = torch.cat([c, torch.zeros(1, 3).double()], 1)
    assert torch.equal(presence(padded)[:, : c.shape[1]], presence(c))


def test_none_seen():
    assert not presence(torch.zeros(2, 5)).any() and not shown(torch.zeros(2, 5)).any()


def test_extremes_are_the_mean_over_who_is_there():
    """Against the sum over all subsets; one keypoint is surely there."""
    rng = np.random.default_rng(0)
    values, p = rng.normal(size=(1, 5, 2)), rng.uniform(size=(1, 5))
    p[0, 2] = 1.0
    low, high = np.zeros(2), np.zeros(2)
    for there in itertools.product([False, True], repeat=5):
        chance = np.prod(np.where(there, p[0], 1 - p[0]))
        if chance > 0:
            chosen = values[0, list(there)]
            low, high = low + chance * chosen.min(0), high + chance * chosen.max(0)
    found = expected_extremes(torch.tensor(values), torch.tensor(p))
    np.testing.assert_allclose(found[0][0], low, atol=1e-12)
    np.testing.assert_allclose(found[1][0], high, atol=1e-12)


def test_plain_extremes_of_what_is_seen():
    values = torch.randn(3, 6, 2, generator=torch.Generator().manual_seed(0))
    p = torch.tensor([[1.0, 0, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0]])
    low, high = expected_extremes(values, p)
    assert torch.equal(low[0], values[0, [0, 2, 3, 5]].amin(0)) and torch.equal(
        high[0], values[0, [0, 2, 3, 5]].amax(0)
    )
    assert not low[1].any() and not high[1].any()
    assert torch.equal(low[2], values[2, 1]) and torch.equal(high[2], values[2, 1])

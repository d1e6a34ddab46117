"""Pairs of least cost: all of the shorter side, and cheaper together than others."""

from itertools import permutations

import numpy as np

from hmrfit.ops.assignment import least_cost_pairs


def test_no_other_pairs_cost_less_together(rng: np.random.Generator) -> None:
    cost = rng.normal(size=(4, 6))
    rows, columns = least_cost_pairs(cost)
    assert sorted(rows) == [0, 1, 2, 3] and len(set(columns)) == 4
    least = min(cost[range(4), list(chosen)].sum() for chosen in permutations(range(6), 4))
    assert np.isclose(cost[rows, columns].sum(), least)

"""A known height: the term, its derivative, what it does to a fit, and what of it is read."""

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import people
from helpers.measured import at, check_measured, draw, knowing, refitted

from hmrfit.fitting.terms.base import Staged
from hmrfit.fitting.terms.height import Height, HeightTerm, KnownNumber


def known(*metres: float, std: float = 0.05) -> KnownNumber:
    return KnownNumber(torch.tensor(metres).double(), torch.full((len(metres),), std).double())


def test_derivatives_and_sums():
    check_measured(HeightTerm(free_body()), at(height=known(1.6, 1.7, 1.9)))


def test_without_a_height_there_is_an_error_message():
    with pytest.raises(ValueError, match="The term 'height' looks at a measurement that was not given"):
        HeightTerm(free_body()).residuals(knowing(at(height=known(1.6, 1.7, 1.9))))


def test_the_height_is_that_of_the_mesh():
    body, term = free_body(), HeightTerm(free_body())
    betas = draw(20, 10)
    y = body.shaped(betas)[..., 1]
    # the highest vertex is not the same one for everybody, but nearly
    torch.testing.assert_close(term.of(betas), y.amax(1) - y.amin(1), rtol=0, atol=5e-3)


def test_an_unknown_height_costs_nothing():
    term, heights = HeightTerm(free_body()), known(1.6, 1.7, 1.9)
    heights.std[1] = torch.inf
    residuals = term.residuals(at(height=heights))
    assert residuals[1] == 0 and residuals[[0, 2]].all()


def test_the_height_brings_the_depth():
    """People who are known to be tall stand farther away: the true height lowers the error of absolute positions."""
    count = 40  # of 12 it depends on who is among them
    term = HeightTerm(free_body())
    heights = term.of(people(count, "coco17", noise=0.01).params.betas)
    record = KnownNumber(heights, torch.full((count,), 0.02).double())
    without, better = refitted(count, (Height.name, record), Staged(term, 1.0, 1.0))
    assert better < 0.8 * without


def test_a_height_is_the_same_in_every_view_and_frame():
    height, record = Height(1.8), known(1.8)
    assert height.in_view(1, 3) is height
    assert height.seen_from(record, torch.eye(3).double()[None], torch.ones(1, 3).double()) is record

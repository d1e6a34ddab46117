"""The shape prior, and betas that are known from elsewhere."""

import pytest
import torch
from helpers.measured import at, check_measured, draw, knowing

from hmrfit.fitting.check_term import normal_equations, sample_evaluation
from hmrfit.fitting.terms.height import KnownNumber
from hmrfit.fitting.terms.shape import Shape, ShapePrior, ShapeTerm


def known() -> KnownNumber:
    """The tenth beta is not known."""
    return KnownNumber(draw(3, 10), torch.tensor([0.3] * 9 + [torch.inf]).double().expand(3, 10))


def test_the_prior_is_minus_the_log_density_of_unit_betas():
    e = sample_evaluation()
    normal = torch.distributions.Normal(0.0, 1.0)
    betas = e.state.params.betas
    expected = (normal.log_prob(torch.zeros_like(betas)) - normal.log_prob(betas)).sum(1)
    torch.testing.assert_close(normal_equations(ShapePrior(), e)[0], expected)


def test_derivatives_and_sums_of_a_known_shape():
    check_measured(ShapeTerm(), at(known_shape=known()))


def test_without_a_shape_there_is_an_error_message():
    with pytest.raises(ValueError, match="The term 'known_shape' looks at a measurement that was not given"):
        ShapeTerm().residuals(knowing(at(known_shape=known())))


def test_the_cost_is_that_of_a_gaussian_about_the_known_betas():
    record = known()
    e = at(known_shape=record)
    away = (e.state.params.betas - record.value)[:, :9] / 0.3
    torch.testing.assert_close(normal_equations(ShapeTerm(), e)[0], 0.5 * away.square().sum(1))


def test_a_shape_is_the_same_in_every_view_and_frame():
    shape, record = Shape([0.5]), known()
    assert shape.in_view(0, 2) is shape
    assert shape.seen_from(record, torch.eye(3).double().expand(3, 3, 3), draw(3, 3)) is record

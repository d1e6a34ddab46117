"""A prior about a start: its density is a Gaussian, and joints that nothing shows have their conditional mean."""

import numpy as np
import pytest
import torch
from helpers.measured import anchored
from scipy.stats import multivariate_normal

from hmrfit.body.skeleton import SMPL, SMPLH, SMPLX
from hmrfit.body.transfer import transferred
from hmrfit.fitting.check_term import sample_evaluation
from hmrfit.fitting.gaussian_prior import Anchor
from hmrfit.ops.rotation import matrix_to_rotvec


def test_its_energy_is_scipys_gaussian():
    """Up to the constant: differences of log densities between two poses."""
    e, other = anchored(), sample_evaluation(seed=3).state.params
    anchor, index = e.observation.anchor, torch.arange(82)
    for params in (e.state.params, other):
        error = anchor.error(params)[0]
        for i in range(len(error)):
            density = multivariate_normal(np.zeros(82), anchor.covariance(index)[i].numpy())
            expected = density.logpdf(np.zeros(82)) - density.logpdf(error[i].numpy())
            away = ((params.transl - anchor.transl) / anchor.transl_std)[i]
            found = anchor.energy(params)[i] - 0.5 * away.square().sum()
            assert found.item() == pytest.approx(expected, rel=1e-8)


def test_the_chart_goes_there_and_back():
    e = anchored()
    anchor = e.observation.anchor
    error, _ = anchor.error(e.state.params)
    again = anchor.moved(error, e.state.params.transl)
    torch.testing.assert_close(again.rotations, e.state.params.rotations, rtol=0, atol=1e-12)
    torch.testing.assert_close(again.betas, e.state.params.betas)


def test_what_nothing_shows_is_the_conditional_mean():
    """Against the textbook's Σ_uo Σ_oo⁻¹ e_o."""
    e = anchored()
    anchor = e.observation.anchor
    known = torch.cat([torch.arange(0, 45), torch.arange(72, 82)])
    rest = torch.arange(45, 72)
    error, _ = anchor.error(e.state.params)
    covariance = anchor.covariance(torch.arange(82))
    gain = torch.linalg.solve(covariance[:, known][:, :, known], covariance[:, known][:, :, rest]).mT
    filled, _ = anchor.error(anchor.fill(e.state.params, known))
    torch.testing.assert_close(filled[:, known], error[:, known], rtol=0, atol=1e-9)
    torch.testing.assert_close(filled[:, rest], (gain @ error[:, known, None]).squeeze(-1), rtol=0, atol=1e-9)


def test_a_users_start_has_independent_errors():
    params = sample_evaluation().state.params
    anchor = Anchor.around(params, sample_evaluation().body.parents, degrees=5.0, betas=0.5)
    covariance = anchor.covariance(torch.arange(82))
    expected = torch.cat([torch.full((72,), np.deg2rad(5.0) ** 2), torch.full((10,), 0.25)]).double()
    torch.testing.assert_close(covariance, torch.diag(expected).expand(4, -1, -1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("other", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_on_a_body_with_fingers_it_is_the_same_about_the_shared_joints(other):
    """Σ over the joints of both bodies, the place and the energy are as they were; fingers are at rest and unknown."""
    e = anchored()
    own, moved = e.observation.anchor, e.observation.anchor.transferred(SMPL, other)
    here, there = (torch.tensor([*range(66), *range(J, J + 10)]) for J in (SMPL.pose_size, other.pose_size))
    torch.testing.assert_close(moved.covariance(there), own.covariance(here))
    assert not matrix_to_rotvec(moved.rotations[:, 22:]).any() and not moved.factors[:, 66 : other.pose_size].any()
    people, fingered = e.state.params, transferred(e.state.params, SMPL, other)
    torch.testing.assert_close(moved.prepared(there).energy(fingered), own.prepared(here).energy(people))
    assert own.transferred(SMPL, SMPL) is own

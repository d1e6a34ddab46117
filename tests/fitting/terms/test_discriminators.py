"""The discriminators as a term: its derivatives three ways, its columns, and what a fit does with it."""

import math
from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people, photograph, with_terms

from hmrfit.fitting.check_term import check_term, finite_difference_jacobian, normal_equations, sample_evaluation
from hmrfit.fitting.energy import Stage
from hmrfit.fitting.parameters import GROUPS, Layout, Linearization, Observation, State
from hmrfit.fitting.schedule import FINAL
from hmrfit.fitting.solver import Options
from hmrfit.fitting.terms.base import Staged
from hmrfit.fitting.terms.discriminators import DiscriminatorTerm, axis
from hmrfit.keypoints import COCO17
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.ops.rotation import hat, rotvec_to_matrix
from hmrfit.priors.discriminator_prior import DiscriminatorPrior
from hmrfit.types import BodyParams


def term() -> DiscriminatorTerm:
    network = FactorizedDiscriminator(hidden=64)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return DiscriminatorTerm(DiscriminatorPrior(network))


def test_derivatives_and_sums_at_random_poses():
    check_term(term())


@pytest.mark.parametrize("angle", [0.0, 1e-4, math.pi], ids=["rest", "nearly rest", "half turns"])
def test_derivatives_at_the_hard_poses(angle: float):
    """Matrices know no hard poses: a half turn is as smooth as any."""
    e = sample_evaluation(count=2)
    turns = torch.nn.functional.normalize(torch.randn(2, 23, 3).double(), dim=-1) * angle
    p = e.state.params
    params = BodyParams(p.global_orient, rotvec_to_matrix(turns), p.betas, p.transl)
    check_term(term(), at=Linearization(e.body, State(params, e.state.camera), e.observation))


def test_derivatives_on_the_free_body():
    check_term(term(), at=sample_evaluation(free_body().points(COCO17), count=2))


@pytest.mark.parametrize("free", [("transl",), ("betas",), ("body_pose",), GROUPS[1:]])
def test_a_stage_has_the_columns_of_its_free_groups(free):
    e, prior = sample_evaluation(count=2), term()
    few = Linearization(e.body, e.state, e.observation, Layout(free, 24, 10))
    full, part = normal_equations(prior, e), normal_equations(prior, few)
    columns = torch.cat([torch.arange(e.layout.columns)[e.layout.slice(g)] for g in GROUPS if g in free])
    torch.testing.assert_close(part[1], full[1][:, columns], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(part[2], full[2][:, columns][:, :, columns], rtol=1e-12, atol=1e-12)


def test_jacobian_of_some_joints_only():
    e, prior = sample_evaluation(count=2), term()
    few = Linearization(e.body, e.state, e.observation, Layout(GROUPS, 24, 10, (1, 4, 16)))
    expected = finite_difference_jacobian(prior, few)
    torch.testing.assert_close(prior.jacobian(few), expected, rtol=0, atol=1e-6 * expected.abs().max().item())


def test_the_orientation_and_the_place_do_not_enter():
    e = sample_evaluation(count=2)
    jacobian = term().jacobian(e)
    for group in ("transl", "global_orient"):
        assert not jacobian[..., e.layout.slice(group)].any()


def test_axis_is_the_adjoint_of_hat():
    M, u = torch.randn(5, 3, 3).double(), torch.randn(5, 3).double()
    torch.testing.assert_close((axis(M) * u).sum(-1), (M * hat(u)).sum((-2, -1)))


def test_a_fit_with_it_lowers_it():
    """The same people from the same starts, without and with it: the discriminators are better pleased with it."""
    someone, prior = people(6), term()
    both = with_terms(fitter(), Staged(prior, 20.0))
    two = replace(both.schedule.start, count=2)
    stages = [Stage({**FINAL.weights, prior.name: weight}, options=Options(max_steps=10)) for weight in (0.0, 20.0)]
    fits = [
        both.with_schedule(replace(both.schedule, start=two, stages=(stage,))).fit(someone.keypoints, photograph(6))
        for stage in stages
    ]
    route, observation = both.route(someone.keypoints.names), Observation.of(someone.keypoints)
    without, found = (route.term_costs(fit.state, observation, stages[1])[prior.name] for fit in fits)
    assert (found < without).all()


def test_nothing_is_read_before_it_is_needed():
    read = []

    def source() -> DiscriminatorPrior:
        read.append(1)
        return term().prior

    lazy = DiscriminatorTerm(source)
    assert not read
    e = sample_evaluation(count=2)
    lazy.residuals(e)
    lazy.jacobian(e)
    assert len(read) == 1

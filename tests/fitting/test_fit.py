"""The outcome of a fit: parts of it, several as one, and that of nobody, which has all that others have."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people, photograph, shipped, with_terms

from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.terms.base import Staged
from hmrfit.fitting.terms.mask import MASK_WEIGHT, MaskTerm, mask_map
from hmrfit.fitting.uncertainty import mixed_joint_covariance, sample_steps
from hmrfit.keypoints import SMPL24
from hmrfit.types import RecordTable

COUNT = 3
WAYS = ("initial estimate", "given start", "library", "masks", "fit_spin", "fit_smplify")


def fitter_of(way: str) -> Fitter:
    if way == "library":
        return shipped({"PRIORS.INITIAL_ESTIMATE": ""})
    found = shipped(way if way.startswith("fit_") else None)
    mask = Staged(MaskTerm(free_body()), MASK_WEIGHT, MASK_WEIGHT)
    return with_terms(found, mask) if way == "masks" else found


def fitted(way: str, rows: slice) -> Fit:
    crowd = people(COUNT, "coco17", noise=0.01)
    known = {"init": crowd.params[rows]} if way == "given start" else {}
    if way == "masks":
        box = np.zeros((768, 1024), bool)
        box[200:600, 300:700] = True
        known = {"measurements": RecordTable({"mask": mask_map([box] * COUNT, crowd.keypoints)})[rows]}
    return fitter_of(way).fit(crowd.keypoints[rows], photograph(COUNT)[rows], **known)


@pytest.mark.parametrize("way", WAYS)
def test_of_nobody_the_outcome_is_empty(way: str) -> None:
    nobody, some = fitted(way, slice(0)), fitted(way, slice(None))
    assert len(nobody.cost) == len(nobody.state) == len(nobody.hypothesis_cost) == 0
    assert nobody.term_cost.keys() == some.term_cost.keys()
    assert nobody.start_term_cost.keys() == some.start_term_cost.keys()
    for one in ("start", "acceptance", "observation", "calibration"):
        assert (getattr(nobody, one) is None) == (getattr(some, one) is None), one
    for order in ([nobody, some], [some, nobody]):
        both = Fit.cat(order)
        assert torch.equal(both.cost, some.cost)
        assert torch.equal(both.state.params.rotations, some.state.params.rotations)
    assert len(some.of(torch.arange(0)).cost) == 0


@pytest.mark.parametrize("way", ["initial estimate", "library", "fit_spin"])
def test_of_nobody_nothing_is_uncertain(way: str) -> None:
    own, fit = fitter_of(way), fitted(way, slice(0))
    posterior = own.posterior(fit)
    assert posterior.probability.shape == fit.hypothesis_cost.shape and posterior.covariance.shape[0] == 0
    which, steps = sample_steps(posterior, 5, np.random.default_rng(0))
    assert which.shape == (5, 0) and steps.shape == (5, 0, posterior.covariance.shape[-1])
    joints = mixed_joint_covariance(own.point_body(SMPL24), [s.params for s in fit.hypotheses], posterior)
    assert joints.shape == (0, len(SMPL24), 3, 3)


@pytest.fixture(scope="module")
def two_each() -> Fit:
    """Three people with two hypotheses each, the second one's second hypothesis gone."""
    crowd = people(COUNT, "coco17", noise=0.01)
    found = fitter().fit(crowd.keypoints, crowd.camera)
    assert found.hypothesis_cost.isfinite().all() and len(found.hypotheses) == 2
    costs = found.hypothesis_cost.clone()
    costs[1, 1] = torch.inf
    return Fit(**{**vars(found), "hypothesis_cost": costs})


def test_some_people_have_as_many_hypotheses_as_one_of_them(two_each: Fit) -> None:
    alone, pair = two_each.of(torch.tensor([1])), two_each.of(torch.tensor([2, 1]))
    assert len(alone.hypotheses) == 1 and alone.hypothesis_cost.shape == (1, 1)
    assert len(pair.hypotheses) == 2 and pair.hypothesis_cost.tolist() == two_each.hypothesis_cost[[2, 1]].tolist()
    assert torch.equal(pair.hypotheses[1].params.betas, two_each.hypotheses[1].params.betas[[2, 1]])
    assert torch.equal(pair.observation.keypoints.xy, two_each.observation.keypoints.xy[[2, 1]])


def test_outcomes_with_unlike_many_hypotheses_are_joined(two_each: Fit) -> None:
    one, other = two_each.of(torch.tensor([1])), two_each.of(torch.tensor([0, 2]))
    both = Fit.cat([one, other])
    assert len(both) == 3 and len(both.hypotheses) == 2
    assert both.hypothesis_cost.isfinite().sum(1).tolist() == [1, 2, 2]
    assert torch.equal(both.hypothesis_cost[1:], two_each.hypothesis_cost[[0, 2]])
    assert torch.equal(both.hypotheses[1].params.betas[0], one.state.params.betas[0])  # the best again
    for name, cost in both.term_cost.items():
        assert torch.equal(cost, two_each.term_cost[name][[1, 0, 2]])
    assert both.stage is two_each.stage and both.calibration is two_each.calibration


def test_more_hypotheses_than_there_are_cost_infinitely_much(two_each: Fit) -> None:
    more = two_each.with_hypotheses(4)
    assert len(more.hypotheses) == 4 and more.hypothesis_cost[:, 2:].isinf().all()
    assert torch.equal(more.with_hypotheses(2).hypothesis_cost, two_each.hypothesis_cost)


def test_a_row_of_a_fit_is_that_person(two_each: Fit) -> None:
    for i, one in enumerate(two_each):
        assert len(one) == 1 and torch.equal(one.cost, two_each.cost[i : i + 1])
        assert torch.equal(one.state.params.transl[0], two_each.state.params.transl[i])
    with pytest.raises(IndexError, match="There is no person 3: this Fit holds 3"):
        two_each[3]

"""Nobody is fitted: the outcome is empty, has all that others have, and can be put together with them."""

import numpy as np
import pytest
import torch
from helpers.fits import people, photograph

from hmrfit.build import build
from hmrfit.config import load_config
from hmrfit.evidence import MASK_WEIGHT, with_terms
from hmrfit.fitting.evidence import Evidence
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mask_map import mask_evidence
from hmrfit.fitting.terms.mask import MaskTerm
from hmrfit.fitting.uncertainty import mixed_joint_covariance, sample_steps
from hmrfit.keypoints import SMPL24

COUNT = 3
WAYS = ("from the guess", "from a start", "from the library", "with masks", "fit_spin", "fit_smplify")


def fitter_of(way: str) -> Fitter:
    if way == "from the library":
        return build(load_config(None, ["PRIORS.INITIAL_ESTIMATE="])).fitter
    fitter = build(way if way.startswith("fit_") else None).fitter
    mask = {"mask": MASK_WEIGHT}
    return with_terms(fitter, [MaskTerm(fitter.body)], mask, mask) if way == "with masks" else fitter


def fitted(way: str, who: slice) -> Fit:
    crowd = people(COUNT, "coco17", noise=0.01)
    known = {"init": crowd.params[who]} if way == "from a start" else {}
    if way == "with masks":
        box = np.zeros((768, 1024), bool)
        box[200:600, 300:700] = True
        known = {"evidence": Evidence(mask=mask_evidence([box] * COUNT, crowd.keypoints))[who]}
    return fitter_of(way).fit(crowd.keypoints[who], photograph(COUNT)[who], **known)


@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_an_empty_outcome(way: str) -> None:
    nobody, some = fitted(way, slice(0)), fitted(way, slice(None))
    assert len(nobody.cost) == len(nobody.state) == len(nobody.hypothesis_cost) == 0
    assert nobody.term_cost.keys() == some.term_cost.keys()
    for one in ("start", "verdict", "likely_cost", "observation"):
        assert (getattr(nobody, one) is None) == (getattr(some, one) is None), one
    for order in ([nobody, some], [some, nobody]):
        both = Fit.cat(order)
        assert torch.equal(both.cost, some.cost)
        assert torch.equal(both.state.params.rotations, some.state.params.rotations)
    assert len(some.of(torch.arange(0)).cost) == 0


@pytest.mark.parametrize("way", ["from the guess", "from the library", "fit_spin"])
def test_of_nobody_nothing_is_uncertain(way: str) -> None:
    fitter, fit = fitter_of(way), fitted(way, slice(0))
    spread = fitter.posterior(fit)
    assert spread.probability.shape == fit.hypothesis_cost.shape and spread.covariance.shape[0] == 0
    which, steps = sample_steps(spread, 5, np.random.default_rng(0))
    assert which.shape == (5, 0) and steps.shape == (5, 0, spread.covariance.shape[-1])
    joints = mixed_joint_covariance(fitter.point_body(SMPL24), [s.params for s in fit.hypotheses], spread)
    assert joints.shape == (0, len(SMPL24), 3, 3)

"""The outcome of a fit is finite: a person whose numbers are not gets the start back, the others stay as they are."""

from dataclasses import replace

import pytest
import torch
from helpers.bodies import free_body
from helpers.fits import fitter, people

from hmrfit.fitting.finite import ENDS, NO_NUMBERS, only_numbers
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.parameters import State
from hmrfit.keypoints import SMPL24

NAN = float("nan")


@pytest.fixture(scope="module")
def fit() -> Fit:
    seen = people(3, "coco17", noise=0.01)
    found = fitter().fit(seen.clean, seen.camera)
    start = State(seen.params, seen.camera)
    return replace(found, start=start)


def without(state: State, person: int, part: str, value: float = NAN) -> State:
    changed = getattr(state.params, part).clone()
    changed[person] = value
    return State(replace(state.params, **{part: changed}), state.camera)


def test_numbers_stay_as_they_are(fit: Fit) -> None:
    assert only_numbers(fit, free_body()) is fit


@pytest.mark.parametrize("part", ["global_orient", "body_pose", "betas", "transl"])
@pytest.mark.parametrize("value", [NAN, torch.inf])
def test_the_start_comes_back_for_one(fit: Fit, part: str, value: float) -> None:
    broken = without(fit.state, 1, part, value)
    found = only_numbers(replace(fit, state=broken, hypotheses=[broken, *fit.hypotheses[1:]]), free_body())
    for name in ("global_orient", "body_pose", "betas", "transl"):
        mended, before, start = (getattr(s.params, name) for s in (found.state, fit.state, fit.start))
        assert torch.equal(mended[[0, 2]], before[[0, 2]]) and torch.equal(mended[1], start[1])
        assert torch.equal(getattr(found.hypotheses[0].params, name), mended)
    assert found.status.tolist() == [fit.status[0], NO_NUMBERS, fit.status[2]] and "start is returned" in ENDS[5]
    assert found.hypothesis_cost[1, 0] == torch.inf
    assert torch.equal(found.hypothesis_cost[[0, 2]], fit.hypothesis_cost[[0, 2]])


def test_without_a_start_an_upright_body_stands_where_the_keypoints_are(fit: Fit) -> None:
    """Upright: the head is above the feet in the picture, and both are about where the person is seen."""
    broken = without(fit.state, 2, "transl")
    for start in (None, without(fit.start, 2, "body_pose")):
        found = only_numbers(replace(fit, state=broken, start=start), free_body())
        seen = found.state.camera.project(free_body().points(SMPL24).pose(found.state.params).joints)[2]
        low, high = (bound[2] for bound in fit.observation.keypoints.bounds())
        head, feet = seen[SMPL24.index("head")], seen[SMPL24.index("left_foot")]
        assert head[1] < feet[1] and ((head + feet) / 2 - (low + high) / 2).norm() < (high - low).max()
        assert torch.equal(found.state.params.transl[:2], fit.state.params.transl[:2])


def test_costs_are_never_nan(fit: Fit) -> None:
    cost = torch.tensor([1.0, NAN, 2.0]).double()
    parts = {"term_cost": {"a": cost}, "start_term_cost": {"a": cost}}
    given = replace(fit, cost=cost, hypothesis_cost=cost[:, None], hypotheses=fit.hypotheses[:1], **parts)
    found = only_numbers(given, free_body())
    known = [1.0, torch.inf, 2.0]
    assert found.cost.tolist() == found.term_cost["a"].tolist() == found.start_term_cost["a"].tolist() == known
    assert found.hypothesis_cost[:, 0].tolist() == known and torch.equal(found.status, fit.status)

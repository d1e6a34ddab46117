"""The fit on another device: nothing meets what is not there with it, and the answer is the one found here."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.elsewhere import DEVICE, Away, elsewhere
from helpers.fits import people, photograph
from torch import nn

from hmrfit.build import build, extended
from hmrfit.config import ConfigError, load_config
from hmrfit.evidence import Floor, with_evidence
from hmrfit.fitting.devices import AtHome, moved
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17
from hmrfit.types import Keypoints

COUNT = 6
TRUTH = people(COUNT, "coco17", noise=0.02, missing=0.2)


def compare(fitter: Fitter, device: torch.device | str = DEVICE, **more) -> tuple[Fit, Fit]:
    """(the fit here, the fit there), both here."""
    here = fitter.fit(TRUTH.keypoints, photograph(COUNT), **more)
    return here, fitter.on(device).fit(TRUTH.keypoints, photograph(COUNT), **more)


def assert_same(here: Fit, there: Fit, within: float = 1e-9) -> None:
    """Everything that a fit says; another processor adds up in another order."""
    close = {"rtol": within, "atol": within}
    assert not isinstance(there.cost, Away) and there.cost.device.type == "cpu"
    for name in ("global_orient", "body_pose", "betas", "transl"):
        torch.testing.assert_close(getattr(there.state.params, name), getattr(here.state.params, name), **close)
    for name in ("cost", "status", "steps", "hypothesis_cost"):
        torch.testing.assert_close(getattr(there, name), getattr(here, name), **close)
    assert (here.verdict is None) == (there.verdict is None)
    if here.verdict is not None:
        assert torch.equal(there.verdict.reason, here.verdict.reason)


@pytest.mark.parametrize(
    "config",
    [(), ("PRIORS.ERROR_MODEL=",), ("PRIORS.INITIAL_ESTIMATE=", "FIT.LIBRARY=50")],
    ids=["default", "unanchored", "from scratch"],
)
def test_nothing_meets_what_is_not_there(config):
    fitter = build(load_config(None, config)).fitter
    with elsewhere():
        assert_same(*compare(fitter))


@pytest.mark.parametrize("preset", ["fit_smplify", "fit_spin"])
def test_presets_too(preset):
    fitter = build(preset).fitter
    with elsewhere():
        assert_same(*compare(fitter))


def test_from_a_given_start():
    fitter = build().fitter
    with elsewhere():
        assert_same(*compare(fitter, init=TRUTH.params, init_std=torch.full((24,), 6.0).double()))


def test_with_all_that_may_be_known():
    photo = read_photo(None, [np.concatenate([k.xy[0].numpy(), k.confidence[0, :, None].numpy()], 1) for k in (TRUTH.keypoints[i] for i in range(COUNT))], "coco17", None, None, None, (1024, 768))  # fmt: skip  # noqa: E501
    masks = []
    for i in range(COUNT):
        low, high = (v[0].int() for v in TRUTH.keypoints[i].bounds())
        masks.append(np.zeros((768, 1024), np.uint8))
        masks[-1][max(low[1], 0) : max(high[1], 1), max(low[0], 0) : max(high[0], 1)] = 1
    joints = build().fitter.body.points(COCO17).pose(TRUTH.params).points.numpy()
    floor = Floor((0.0, -1.0, 0.0), 2.0, ("left_ankle",))
    engine, evidence = with_evidence(build(), photo, masks, joints, "coco17", False, 1.7, np.zeros(10), floor)
    engine = extended(engine, (), {"gmm": 0.1, "discriminators": 0.1})
    with elsewhere():
        assert_same(*compare(engine.fitter, evidence=evidence))


def test_the_twin_has_what_was_added_after_it_was_asked_for():
    fitter = build().fitter.on(DEVICE)
    with elsewhere():
        fitter.fit(TRUTH.keypoints[:1], photograph(1))
        other = fitter.with_schedule(replace(fitter.schedule, guarded=False))
        assert other.fit(TRUTH.keypoints[:1], photograph(1)).verdict is None


def test_the_simulation_refuses_what_a_gpu_refuses():
    """So that the tests above can fail."""
    with elsewhere():
        there, here = torch.ones(3).to(DEVICE), torch.ones(3)
        for mix in (lambda: there + here, lambda: there.index_copy(0, torch.arange(3), there), lambda: here[there.long()]):  # fmt: skip  # noqa: E501
            with pytest.raises(RuntimeError, match="two devices"):
                mix()
        assert torch.equal((there * 2)[torch.arange(2)].cpu(), torch.full((2,), 2.0))


def test_moving_copies_and_keeps_what_is_shared():
    term = PosePrior(build().fitter.terms["gmm"].gmm)
    both = moved({"a": term, "b": (term, 1, "x"), "net": nn.Linear(2, 2)}, torch.device("cpu"))
    assert both["a"] is both["b"][0] and both["a"] is not term and both["b"][1:] == (1, "x")
    assert torch.equal(both["a"].gmm.means, term.gmm.means)
    nan = moved(Keypoints(torch.ones(1, 1, 2), torch.ones(1, 1), ("nose",)), torch.device("cpu"))
    assert nan.names == ("nose",) and isinstance(nan, Keypoints)


def test_a_network_is_asked_at_home():
    class Network:
        def double(self, x: torch.Tensor) -> torch.Tensor:
            assert not isinstance(x, Away)
            return 2 * x

    with elsewhere():
        answer = AtHome(Network(), DEVICE).double(torch.ones(2).to(DEVICE))
        assert isinstance(answer, Away) and answer.cpu().tolist() == [2.0, 2.0]


def test_no_gpu_is_said_before_any_work(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"FIT\.DEVICE is cuda, but torch finds no GPU here\. Use auto or cpu\."):
        build(load_config(None, ["FIT.DEVICE=cuda", "FIT.LIBRARY=51"]))
    assert build(load_config(None, ["FIT.DEVICE=auto", "FIT.LIBRARY=51"])).fitter.device is None


@pytest.mark.gpu
@pytest.mark.parametrize("preset", [None, "fit_spin"])
def test_a_gpu_finds_the_same(preset):
    assert_same(*compare(build(preset).fitter, "cuda"), within=1e-6)

"""The fit on another device: tensors of two devices never meet, and the answer is that of the CPU."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.fake_device import DEVICE, FakeTensor, fake_device
from helpers.fits import people, photograph, shipped
from torch import nn

from hmrfit.build import build_fitter
from hmrfit.config import ConfigError, load_config
from hmrfit.fitting.devices import moved
from hmrfit.fitting.fit import Fit
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.mend_labels import MendLabels
from hmrfit.fitting.schedule import Schedule
from hmrfit.fitting.terms.ground import Floor
from hmrfit.fitting.terms.height import Height
from hmrfit.fitting.terms.keypoints_3d import Keypoints3D
from hmrfit.fitting.terms.mask import Mask
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.fitting.terms.shape import Shape
from hmrfit.io.photo import read_photo
from hmrfit.keypoints import COCO17
from hmrfit.pipeline import Pipeline
from hmrfit.prepare import Asked, prepare, read_measurements
from hmrfit.types import Keypoints

COUNT = 6
TRUTH = people(COUNT, "coco17", noise=0.02, missing=0.2)

NETWORKS = 1e-5
"""How far answers are apart where networks take part: in float32, and laid out otherwise (4e-7 rad were measured)."""


def shortened(schedule: Schedule) -> Schedule:
    """With at most three steps in every stage."""
    few = lambda options: replace(options, max_steps=min(3, options.max_steps))  # noqa: E731
    return schedule.with_stages(lambda stage: replace(stage, options=few(stage.options)))


def compare(fitter: Fitter, device: torch.device | str = DEVICE, **more) -> tuple[Fit, Fit]:
    """(the fit by the CPU, the fit by the device), both on the CPU; after few steps, each of which is the same work."""
    fitter = fitter.with_schedule(shortened(fitter.schedule), shortened(fitter.from_given))
    cpu = fitter.fit(TRUTH.keypoints, photograph(COUNT), **more)
    return cpu, fitter.on(device).fit(TRUTH.keypoints, photograph(COUNT), **more)


def assert_same(cpu: Fit, other: Fit, within: float = NETWORKS) -> None:
    """Everything that a fit found; another processor adds up in another order."""
    close = {"rtol": within, "atol": within}
    assert not isinstance(other.cost, FakeTensor) and other.cost.device.type == "cpu"
    for name in ("global_orient", "body_pose", "betas", "transl"):
        torch.testing.assert_close(getattr(other.state.params, name), getattr(cpu.state.params, name), **close)
    for name in ("cost", "status", "steps", "hypothesis_cost"):
        torch.testing.assert_close(getattr(other, name), getattr(cpu, name), **close)
    assert (cpu.acceptance is None) == (other.acceptance is None)
    if cpu.acceptance is not None:
        assert torch.equal(other.acceptance.reason, cpu.acceptance.reason)


@pytest.mark.parametrize(
    "config",
    [None, {"PRIORS.ERROR_MODEL": ""}, {"PRIORS.INITIAL_ESTIMATE": "", "FIT.LIBRARY": 50}],
    ids=["default", "unanchored", "from scratch"],
)
def test_tensors_of_two_devices_never_meet(config):
    fitter = shipped(config)
    with fake_device():
        assert_same(*compare(fitter))


@pytest.mark.parametrize("preset", ["fit_smplify", "fit_spin"])
def test_presets_too(preset):
    fitter = shipped(preset)
    with fake_device():
        assert_same(*compare(fitter))


def test_from_a_given_start():
    fitter = shipped()
    with fake_device():
        assert_same(*compare(fitter, init=TRUTH.params, init_std=torch.full((24,), 6.0).double()), within=1e-9)


def test_with_all_measurements():
    points = [torch.cat([k.xy[0], k.confidence[0, :, None]], 1).numpy() for k in TRUTH.keypoints]
    photo = read_photo(None, points, "coco17", None, None, None, (1024, 768))
    masks = []
    for person in TRUTH.keypoints:
        low, high = (v[0].int() for v in person.bounds())
        masks.append(np.zeros((768, 1024), np.uint8))
        masks[-1][max(low[1], 0) : max(high[1], 1), max(low[0], 0) : max(high[0], 1)] = 1
    joints = shipped().body.points(COCO17).pose(TRUTH.params).points.numpy()
    floor = Floor((0.0, -1.0, 0.0), 2.0, ("left_ankle",))
    measurements = [Mask(masks), Keypoints3D(joints, "coco17"), Height(1.7), Shape(np.zeros(10)), floor]
    pipeline = Pipeline.of()
    found = read_measurements(measurements, photo, pipeline.body)
    asked = Asked(["gmm", "discriminators"], {"gmm": 0.1, "discriminators": 0.1})
    ready = prepare(pipeline.fitter, pipeline.config, pipeline.schedules.fit, photo, found, asked)
    with fake_device():
        assert_same(*compare(ready.fitter, measurements=ready.records))


def test_another_schedule_of_a_fitter_on_a_device_is_used_there():
    """What is made once on the device is made anew."""
    fitter = shipped().on(DEVICE)
    with fake_device():
        fitter.fit(TRUTH.keypoints[:1], photograph(1))
        other = fitter.with_schedule(replace(fitter.schedule, after=()))
        assert other.fit(TRUTH.keypoints[:1], photograph(1)).acceptance is None


def test_the_simulation_refuses_what_a_gpu_refuses():
    """So that the tests above can fail."""
    with fake_device():
        fake, cpu = torch.ones(3).to(DEVICE), torch.ones(3)
        mixes = (lambda: fake + cpu, lambda: fake.index_copy(0, torch.arange(3), fake), lambda: cpu[fake.long()])
        for mix in mixes:
            with pytest.raises(RuntimeError, match="two devices"):
                mix()
        assert torch.equal((fake * 2)[torch.arange(2)].cpu(), torch.full((2,), 2.0))


def test_moving_copies_and_keeps_what_is_shared():
    term = PosePrior(shipped().terms["gmm"].gmm)
    both = moved({"a": term, "b": (term, 1, "x"), "net": nn.Linear(2, 2)}, torch.device("cpu"))
    assert both["a"] is both["b"][0] and both["a"] is not term and both["b"][1:] == (1, "x")
    assert torch.equal(both["a"].gmm.means, term.gmm.means)
    nan = moved(Keypoints(torch.ones(1, 1, 2), torch.ones(1, 1), ("nose",)), torch.device("cpu"))
    assert nan.names == ("nose",) and isinstance(nan, Keypoints)


def test_a_network_comes_along_and_says_the_same():
    """As the device has its layers, not as they are laid out for the processor; the other stays as it was."""
    network = shipped().network
    here = network.predict(TRUTH.keypoints, photograph(COUNT)).params
    with fake_device():
        there = moved(network, DEVICE)
        answer = there.predict(TRUTH.keypoints.to(DEVICE), photograph(COUNT).to(DEVICE)).params
        assert isinstance(answer.body_pose, FakeTensor)
        torch.testing.assert_close(answer.body_pose.cpu(), here.body_pose, atol=NETWORKS, rtol=NETWORKS)
    assert torch.equal(network.predict(TRUTH.keypoints, photograph(COUNT)).params.body_pose, here.body_pose)


def test_networks_that_are_read_later_are_read_to_the_device():
    """Of a fitter that has not fitted anybody on the processor."""
    fitter = shipped()
    with fake_device():
        mend = moved(fitter.schedule.after[0], DEVICE)
        assert isinstance(mend, MendLabels)
        assert all(isinstance(p, FakeTensor) for p in mend.read().parameters())
        assert all(p.device.type == "cpu" for p in fitter.schedule.after[0].read().parameters())


def test_a_missing_gpu_is_an_error_before_any_work(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"FIT\.DEVICE is cuda, but torch finds no GPU here\. Use auto or cpu\."):
        build_fitter(load_config(None, ["FIT.DEVICE=cuda", "FIT.LIBRARY=51"]))
    assert build_fitter(load_config(None, ["FIT.DEVICE=auto", "FIT.LIBRARY=51"])).device is None


@pytest.mark.gpu
@pytest.mark.parametrize("preset", [None, "fit_spin"])
def test_a_gpu_finds_the_same(preset):
    assert_same(*compare(shipped(preset), "cuda"))

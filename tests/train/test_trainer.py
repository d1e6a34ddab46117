"""The loop: losses fall, a run that was stopped goes on with the same bits, a crash leaves the last good state."""

import json
import math
import sys

import numpy as np
import pytest
import torch
from helpers.training import network, same, stream, trainer

import hmrfit.train.trainer as module
from hmrfit.io.image import read_image
from hmrfit.network.checkpoints import load_hmr
from hmrfit.train.losses import KeypointLossWeights
from hmrfit.train.trainer import CONTACT_SHEET, LAST, LOG, train


@pytest.mark.parametrize("half", [False, True])
def test_stopped_and_resumed_again_gives_the_same_bits(tmp_path, half):
    whole = trainer(half=half)
    for _ in range(6):
        whole.train_step()
    first = trainer(half=half)
    for _ in range(3):
        first.train_step()
    first.save(tmp_path / "state.pt")
    second = trainer(half=half)
    second.train_step()  # anything may have happened to it before
    second.load(tmp_path / "state.pt")
    for _ in range(3):
        second.train_step()
    assert same(whole.state_dict(), second.state_dict()) == []


def test_a_run_of_hmrfit_0_1_is_resumed(tmp_path):
    """Its discriminators' optimiser has another name."""
    run, again = trainer(), trainer()
    run.train_step()
    state = run.state_dict()
    state["judge"] = state.pop("discriminator_optimizer")
    torch.save(state, tmp_path / "state.pt")
    again.load(tmp_path / "state.pt")
    assert same(run.state_dict(), again.state_dict()) == []


def test_runs_of_the_same_seeds_are_the_same_and_of_another_differ():
    a, b, c = trainer(), trainer(), trainer()
    c.objective.stream.generator.manual_seed(1)
    for t in (a, b, c):
        t.train_step()
    assert same(a.state_dict(), b.state_dict()) == []
    assert same(a.state_dict(), c.state_dict())


def test_a_crash_in_a_save_leaves_the_last_good_state(tmp_path, monkeypatch):
    run = trainer()
    run.save(tmp_path / "state.pt")
    good = (tmp_path / "state.pt").read_bytes()
    run.train_step()

    def dies(state, path):
        path.write_bytes(good[: len(good) // 2])
        raise OSError("power cut")

    monkeypatch.setattr(module.torch, "save", dies)
    with pytest.raises(OSError, match="power cut"):
        run.save(tmp_path / "state.pt")
    assert (tmp_path / "state.pt").read_bytes() == good
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_the_rate_rises_and_falls_to_nothing():
    run, rates = trainer(steps=8, warm_up=4, rate=1e-3), []
    while run.progress < 1:
        run.train_step()
        rates.append(run.optimizer.param_groups[0]["lr"])
    warm = [min(1, (t + 1) / 4) for t in range(8)]
    expected = [1e-3 * w * 0.5 * (1 + math.cos(math.pi * t / 8)) for t, w in enumerate(warm)]
    assert rates == pytest.approx(expected, rel=1e-12)


def test_minutes_end_a_run(monkeypatch):
    clock = iter(range(0, 10_000, 7))
    monkeypatch.setattr(module.time, "monotonic", lambda: float(next(clock)))
    run = trainer(steps=0, minutes=1.0)
    run.run(every=1)
    assert 1 <= run.step <= 9 and run.progress == 1.0


def test_averaged_weights_follow():
    run = trainer(average=0.5)
    before = [p.clone() for p in run.average.parameters()]
    run.train_step()
    for old, new, average in zip(before, run.hmr.parameters(), run.average.parameters(), strict=True):
        keep = min(0.5, 0.1)
        torch.testing.assert_close(average, keep * old + (1 - keep) * new)


def test_discriminators_learn_from_their_own_step_alone():
    run = trainer()
    before = [p.clone() for p in run.discriminator.parameters()]
    run.discriminator_optimizer.step = lambda: None  # a change would then come from the encoder's step
    run.train_step()
    assert all(torch.equal(a, b) for a, b in zip(before, run.discriminator.parameters(), strict=True))
    assert all(p.requires_grad for p in run.discriminator.parameters())
    other = trainer()
    other.train_step()
    assert any(not torch.equal(a, b) for a, b in zip(before, other.discriminator.parameters(), strict=True))


def test_a_batch_without_a_gradient_changes_nothing():
    run = trainer(KeypointLossWeights(adversarial=0.0))
    batch = run.objective.stream.batch(16)
    batch.points[0, :, 0] = torch.nan
    batch.points[0, :, 2] = 1.0
    run.objective.stream.batch = lambda count, progress: batch
    before = [p.clone() for p in run.hmr.parameters()]
    losses = run.train_step()
    assert not math.isfinite(losses["gradient"])
    assert all(torch.equal(a, b) for a, b in zip(before, run.hmr.parameters(), strict=True))


def test_a_run_keeps_its_files_and_goes_on(tmp_path):
    whole = tmp_path / "whole"
    scored = []
    score = lambda hmr: scored.append(1) or {"error": 1.0}  # noqa: E731
    draw = lambda hmr: np.full((4, 6, 3), len(scored), np.uint8)  # noqa: E731
    file = train(trainer(), whole, score, draw, every=2, save_every=2, quiet=True)
    assert (read_image(whole / CONTACT_SHEET) == 2).all()  # drawn before the third score
    assert len(scored) == 3
    lines = [json.loads(line) for line in (whole / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 4, 6] and "joints" in lines[0] and lines[0]["error"] == 1.0
    hmr = load_hmr(file)
    batch = stream(9).batch(4)
    with torch.no_grad():
        estimate = hmr(batch.points, stream().body.names, batch.view)[-1]
    assert estimate.params.body_pose.isfinite().all()

    parts = tmp_path / "parts"
    stopped = trainer()
    for _ in range(2):
        stopped.train_step()
    stopped.save(parts / LAST)
    train(trainer(), parts, every=2, save_every=2, quiet=True)
    a, b = (torch.load(folder / LAST, weights_only=True) for folder in (whole, parts))
    assert same(a, b) == []


def test_half_precision_is_close():
    a, b = trainer(half=False).train_step(), trainer(half=True).train_step()
    assert a["joints"] == pytest.approx(b["joints"], rel=0.02)  # bfloat16 has 8 bits
    assert network().dtype == torch.float32


def test_a_missing_tensorboard_is_an_error_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    run = trainer()
    with pytest.raises(ImportError, match="pip install"):
        train(run, tmp_path, board=True, quiet=True)
    assert run.step == 0

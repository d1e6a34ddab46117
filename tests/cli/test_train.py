"""`hmrfit train`: what a user writes reaches the run; what is missing is an error before any work."""

import pytest
import torch
from helpers.bodies import free_body
from helpers.training import frames

from hmrfit import cli
from hmrfit.cli import train as command
from hmrfit.config import ConfigError, load_config
from hmrfit.train.trainer import CONTACT_SHEET, LAST, LOG, Trainer

SMALL = ["TRAIN.WIDTH", "32", "TRAIN.HIDDEN=32", "TRAIN.BATCH", "8", "TRAIN.STEPS", "4", "TRAIN.BLOCKS=1"]
OFTEN = ["TRAIN.REPORT_EVERY=2", "TRAIN.SAVE_EVERY=2", "TRAIN.SCORED", "10", "TRAIN.DRAWN", "1"]


def test_training_without_motion_is_refused(tmp_path, capsys):
    assert cli.main(["train", "--out", str(tmp_path / "run")]) == cli.USAGE
    assert "TRAIN.MOTION" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_encoder_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"TRAIN\.ENCODER is one of keypoints, image"):
        load_config(None, ["TRAIN.ENCODER=sound"])


def test_settings_may_be_written_in_two_words():
    assert command._written_with_equals(["A.B", "1", "C=2", "D", "x y"]) == ["A.B=1", "C=2", "D=x y"]


def test_a_command_trains_and_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "read_pool", lambda folder, cache, seen: folder)
    monkeypatch.setattr(command, "load_frames", lambda pool, part: frames(seed={"train": 0, "validation": 1}[part]))
    arguments = ["train", "--out", str(tmp_path), "TRAIN.MOTION=here", *SMALL, *OFTEN]
    assert cli.main(arguments) == 0
    assert "4 steps" in capsys.readouterr().out
    assert (tmp_path / LOG).read_text().count("pa_mpjpe_mm") == 2
    assert (tmp_path / CONTACT_SHEET).is_file()
    before = torch.load(tmp_path / LAST, weights_only=True)["hmr"]
    assert cli.main(arguments) == 0  # done already: nothing more is trained
    after = torch.load(tmp_path / LAST, weights_only=True)["hmr"]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_seed_decides_the_network():
    a, b, c = (
        command.build_trainer(load_config(None, [f"SEED={seed}", "TRAIN.WIDTH=16"]), free_body(), frames())
        for seed in (0, 0, 1)
    )
    weight = [t.hmr.encoder.inputs.weight for t in (a, b, c)]
    assert torch.equal(weight[0], weight[1]) and not torch.equal(weight[0], weight[2])


def test_unpaired_training_has_no_term_with_truth_in_3d():
    config = load_config(None, ["TRAIN.PAIRED=False", "TRAIN.WIDTH=16", "TRAIN.BATCH=8"])
    losses = command.build_trainer(config, free_body(), frames()).train_step()
    assert losses["reprojection"] > 0 and losses["adversarial"] > 0
    assert all(losses[name] == 0 for name in ("joints", "canonical", "rotations", "betas", "scale"))


def test_a_stopped_run_says_what_is_kept(tmp_path, capsys, monkeypatch):
    """The steps since the last save are lost, and that is said; nothing is kept before the first."""
    monkeypatch.setattr(command, "read_pool", lambda folder, cache, seen: folder)
    monkeypatch.setattr(command, "load_frames", lambda pool, part: frames(seed=1))
    steps = Trainer.train_step

    def stopped(trainer: Trainer) -> dict[str, float]:
        if trainer.step == 3:
            raise KeyboardInterrupt
        return steps(trainer)

    monkeypatch.setattr(Trainer, "train_step", stopped)
    small = [*SMALL, "TRAIN.REPORT_EVERY=1", "TRAIN.SCORED=2", "TRAIN.DRAWN=1", "TRAIN.SAVE_EVERY=2"]
    assert cli.main(["train", "--out", str(tmp_path), "TRAIN.MOTION=here", *small]) == cli.STOPPED
    said = capsys.readouterr().err
    assert "the run up to step 2. The 1 step since then is lost" in said and "where it stopped" not in said
    assert "Nothing of the 3 steps is kept" in command.what_is_kept(tmp_path / "none", 3)

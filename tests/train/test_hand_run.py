"""Training the image network of hands: it learns, is resumed to the bit, and runs by the command that a user writes."""

import json

import pytest
import torch
from helpers.hand_pictures import write_freihand
from helpers.training import same

from hmrfit import cli
from hmrfit.cli.train_hand_image import build_hand_trainer
from hmrfit.config import ConfigError, load_config
from hmrfit.io.image import read_image
from hmrfit.network.checkpoints import load_hmr
from hmrfit.network.encoders import HeatmapEncoder
from hmrfit.train.trainer import CONTACT_SHEET, LAST, LOG

SMALL = [
    "TRAIN.HAND.VARIANT=resnet10",
    "TRAIN.HAND.RESOLUTION=32",
    "TRAIN.HAND.SCENE_COUNT=12",
    "TRAIN.HAND.REMEMBER=True",
    "TRAIN.HAND.WORKERS=0",
    "TRAIN.BATCH=4",
    "TRAIN.STEPS=3",
]
OFTEN = ["TRAIN.REPORT_EVERY=1", "TRAIN.SAVE_EVERY=2", "TRAIN.SCORED=3", "TRAIN.DRAWN=1"]


def trainer(*overrides: str):
    return build_hand_trainer(load_config("train_hand_image", [*SMALL, *overrides]))


def test_stopped_and_resumed_again_gives_the_same_bits(tmp_path):
    maps = ("TRAIN.HAND.HEATMAPS=True", "TRAIN.HAND.MASK_KIND=distance")
    whole, first, second = trainer(*maps), trainer(*maps), trainer(*maps)
    for _ in range(3):
        whole.train_step()
    first.train_step()
    first.save(tmp_path / "state.pt")
    second.train_step()
    second.train_step()
    second.load(tmp_path / "state.pt")
    for _ in range(2):
        second.train_step()
    assert same(whole.state_dict(), second.state_dict()) == []


def test_a_batch_is_learned():
    run = trainer("TRAIN.STEPS=60", "TRAIN.RATE=0.003", "TRAIN.HAND.PARAMETERS=1.0")
    batch = run.objective.batch(4, 0.0)
    run.objective.batch = lambda count, progress: batch
    steps = [run.train_step() for _ in range(25)]
    assert steps[-1]["points_3d"] < 0.5 * steps[0]["points_3d"] and all(s["gradient"] > 0 for s in steps)
    assert steps[-1]["keypoints_2d"] < 0.7 * steps[0]["keypoints_2d"]


def test_unpaired_training_has_no_3d():
    losses = trainer("TRAIN.PAIRED=False", "TRAIN.HAND.PARAMETERS=1.0").train_step()
    assert set(losses) == {"keypoints_2d", "mask", "pose", "betas", "gradient"}


def test_the_command_trains_on_a_dataset_and_scenes_and_goes_on(tmp_path):
    folder, mine, out = write_freihand(tmp_path / "data"), tmp_path / "mine.yaml", tmp_path / "run"
    mine.write_text(
        "BODY: {PATH: free_hand}\nPRIORS: {GMM: hand_pose_gmm, HAND_LIMITS: hand_limits}\n"
        "TRAIN:\n  ENCODER: hand_image\n  HAND:\n    DATASETS:\n"
        f"    - {{NAME: freihand, ROOT: {folder}, SPLIT: training, SHARE: 2, MASKS: grabcut}}\n"
    )
    arguments = ["train", "--out", str(out), "--config", str(mine), *SMALL, *OFTEN]
    assert cli.main(arguments) == 0
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert {"pa_mpjpe_mm", "mpjpe_mm", "error_2d_percent", "auc_2d", "mask_iou"} <= set(lines[-1])
    assert 0 <= lines[-1]["mask_iou"] <= 1 and 5 < lines[-1]["pa_mpjpe_mm"] < 60
    assert read_image(out / CONTACT_SHEET).std() > 20
    assert load_hmr(out / "hmr.npz").regressor.layout.size == 22
    before = torch.load(out / LAST, weights_only=True)["hmr"]
    assert cli.main(arguments) == 0  # done already: nothing more is trained
    assert same(before, torch.load(out / LAST, weights_only=True)["hmr"]) == []
    begun = trainer(f"TRAIN.HAND.BEGIN={out / 'hmr.npz'}")
    assert begun.hmr.training and isinstance(trainer("TRAIN.HAND.HEATMAPS=True").hmr.encoder, HeatmapEncoder)


@pytest.mark.parametrize(
    "entry, message",
    [
        ("{NAME: freihand, ROOT: none, SPLIT: training}", "training_K.json"),
        ("{NAME: freihands, ROOT: none, SPLIT: training}", "Did you mean 'freihand'"),
        ("{NAME: freihand}", "each is {NAME"),
        ("{NAME: a, ROOT: b, SPLIT: c, MASK: files}", "MASKS"),
        ("{NAME: a, ROOT: b, SPLIT: c, MASKS: green}", "files, grabcut, none"),
    ],
)
def test_missing_datasets_are_refused(entry, message, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"TRAIN: {{HAND: {{DATASETS: [{entry}]}}}}\n")
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_hand_trainer(load_config(mine, [*SMALL, "BODY.PATH=free_hand"], base="train_hand_image"))


def test_other_bodies_and_empty_settings_are_refused():
    with pytest.raises(ConfigError, match="no right hand"):
        trainer("BODY.PATH=free_body")
    with pytest.raises(ConfigError, match="no hands to train on"):
        trainer("TRAIN.HAND.SCENES=0.0")

"""`hmrfit train` with a loop of fits: of keypoints and of images, ours and SPIN's, from the settings to the store."""

import json

import pytest
import torch
from helpers.bodies import free_body
from helpers.stored_fits import fits_of
from helpers.training import frames, write_scenes

from hmrfit import cli
from hmrfit.cli import train as command
from hmrfit.cli.train_loop import build_loop, datasets_of, known_people
from hmrfit.config import ConfigError, load_config
from hmrfit.train.fit_store import FitStore
from hmrfit.train.trainer import FITS, LAST, LOG

SMALL = ["TRAIN.WIDTH=32", "TRAIN.HIDDEN=32", "TRAIN.BATCH=4", "TRAIN.STEPS=2", "TRAIN.BLOCKS=1", "TRAIN.HALF=False"]
OFTEN = ["TRAIN.REPORT_EVERY=1", "TRAIN.SAVE_EVERY=1", "TRAIN.SCORED=4", "TRAIN.DRAWN=0"]
LOOP = ["TRAIN.LOOP.PEOPLE=6", "FIT.LIBRARY=4", "TRAIN.LOOP.MIRROR=False", "TRAIN.LOOP.LIBRARY=1"]


@pytest.fixture(autouse=True)
def _motion(monkeypatch):
    monkeypatch.setattr(command, "read_pool", lambda folder, cache, seen: folder)
    monkeypatch.setattr(command, "load_frames", lambda pool, part: frames(seed={"train": 0, "validation": 1}[part]))


@pytest.mark.parametrize("kind", ["fits", "spin"])
def test_a_command_trains_with_fits_and_goes_on(tmp_path, kind):
    arguments = ["train", "--config", "train_loop", "--out", str(tmp_path), "TRAIN.MOTION=here", *SMALL, *OFTEN, *LOOP]
    arguments.append(f"TRAIN.LOOP.KIND={kind}")
    assert cli.main(arguments) == 0
    with FitStore(tmp_path / FITS, step=2) as store:
        assert len(store) >= 3 and store.newest <= torch.load(tmp_path / LAST, weights_only=True)["step"]
    assert cli.main(arguments) == 0  # done already
    losses = [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]
    assert all("rotations" in line and "reprojection" in line for line in losses)


@pytest.mark.parametrize("kind", ["fits", "spin"])
def test_the_image_network_is_trained_with_fits_of_its_datasets_and_scenes(tmp_path, kind):
    npz = write_scenes(tmp_path / "data")
    image = ["RESOLUTION=40", "VARIANT=resnet10", "WORKERS=0", "SCENE_COUNT=3", "REMEMBER=True"]
    dataset = f"[{{'FILE': '{npz}', 'ROOT': '{tmp_path / 'data'}', 'SHARE': 2.0}}]"
    settings = load_config(
        "train_image",
        [
            *(f"TRAIN.IMAGE.{one}" for one in image),
            f"TRAIN.IMAGE.DATASETS={dataset}",
            *("TRAIN.PAIRED=False", "TRAIN.HALF=False", "TRAIN.HIDDEN=16", "TRAIN.BATCH=4", "FIT.LIBRARY=4"),
            f"TRAIN.LOOP.KIND={kind}",
        ],
    )
    trainer = command.build_image_trainer(settings, free_body(), frames(), tmp_path)
    losses = trainer.train_step()
    assert losses["reprojection"] > 0 and losses["fits" if kind == "fits" else "rotations"] >= 0
    trainer.fits.commit(1)
    assert set(trainer.fits.data_sets()) <= {"people", "scenes 0"} and len(trainer.fits) >= 2
    trainer.fits.close()


def test_a_run_begins_with_fits_that_were_made_before(tmp_path):
    settings = load_config("train_loop", LOOP)
    people = known_people(settings, free_body(), frames())
    (before := tmp_path / "before").mkdir()
    (now := tmp_path / "now").mkdir()
    store, _ = build_loop(settings, people.keys, before, "keypoint_network")
    store.put(people.keys[:2], fits_of(2))
    store.commit(0)
    store.close()
    for kind, folder in (("fits", now), ("spin", tmp_path / "spin")):
        folder.mkdir(exist_ok=True)
        again = load_config("train_loop", [*LOOP, f"TRAIN.LOOP.BEGIN={before / FITS}", f"TRAIN.LOOP.KIND={kind}"])
        begun, _ = build_loop(again, people.keys, folder, "keypoint_network")
        assert begun.get(people.keys[:3])[1].tolist() == [True, True, False]
        begun.close()


def test_datasets_are_written_in_one_way():
    with pytest.raises(ConfigError, match="there is no ROOTS"):
        datasets_of([{"FILE": "a.npz", "ROOTS": "b"}], "TRAIN.LOOP.DATASETS")
    with pytest.raises(ConfigError, match="no people"):
        known_people(load_config("train_loop", ["TRAIN.LOOP.PEOPLE=0"]), free_body(), frames())

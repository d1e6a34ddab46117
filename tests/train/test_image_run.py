"""Training the image HMR: on datasets and scenes alike, resumed to the bit, by the command that a user writes."""

import json

import pytest
import torch
from helpers.bodies import free_body
from helpers.training import frames, image_trainer, made, points, pool, same, scenes, write_scenes

from hmrfit import cli
from hmrfit.cli import train as command
from hmrfit.config import ConfigError, load_config
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.io.image import read_image
from hmrfit.network.checkpoints import load_hmr, save_network
from hmrfit.network.encoders import ImageEncoder
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.images import SPIN49, MixedPeople, PersonImages, ScenePeople
from hmrfit.train.losses import LossWeights
from hmrfit.train.objectives import ImageObjective
from hmrfit.train.people_stream import MotionPeople
from hmrfit.train.trainer import CONTACT_SHEET, LAST, LOG
from hmrfit.train.validation import draw_scenes, regress_images, scenes_of, score_scenes
from hmrfit.types import Regression

HOW = Augmentation(translation=0.05, occluded=0.3)
SMALL = [
    "TRAIN.IMAGE.VARIANT=resnet10",
    "TRAIN.IMAGE.RESOLUTION=32",
    "TRAIN.HIDDEN=32",
    "TRAIN.BATCH=4",
    "TRAIN.STEPS=2",
]
OFTEN = ["TRAIN.REPORT_EVERY=1", "TRAIN.SAVE_EVERY=1", "TRAIN.SCORED=3", "TRAIN.DRAWN=1", "TRAIN.IMAGE.WORKERS=0"]


@pytest.fixture
def both(tmp_path) -> MixedPeople:
    """A dataset in SPIN's format, and scenes."""
    people = read_spin_npz(write_scenes(tmp_path))
    return MixedPeople([PersonImages(people, tmp_path, HOW, 40), ScenePeople(scenes(), HOW)], [0.5, 0.5])


def test_stopped_and_resumed_again_gives_the_same_bits(both, tmp_path):
    """Weights, averages, batch norms, optimisers, discriminators, dropout, and who comes next."""
    whole = image_trainer(both)
    for _ in range(4):
        whole.train_step()
    both.go_to(0)
    first = image_trainer(both)
    for _ in range(2):
        first.train_step()
    first.save(tmp_path / "state.pt")
    both.go_to(0)
    second = image_trainer(both)
    second.train_step()  # anything may have happened to it before
    second.load(tmp_path / "state.pt")
    for _ in range(2):
        second.train_step()
    assert same(whole.state_dict(), second.state_dict()) == []
    other = image_trainer(made(1))
    other.train_step()
    assert same(first.state_dict(), other.state_dict())


def test_a_mixed_batch_trains(both):
    run = image_trainer(both, steps=100)
    batch = both.batch(12)
    assert 0 < batch.has_params.sum() < 12  # half of the dataset's people lack them
    run.objective.batch = lambda count, progress: batch
    named = ("reprojection", "joints_3d", "smpl", "adversarial", "discriminator")
    steps = [run.train_step() for _ in range(10)]
    assert all(step[name] > 0 for step in steps for name in named)
    first, last = (sum(step[name] for name in named[:3]) for step in (steps[0], steps[-1]))
    assert last < 0.9 * first


def test_unpaired_training_never_reads_the_3d_truth(both):
    """Half of a batch without any 3D, the other half with absurd ones: the weights do not care."""
    states = []
    for factor in (1.0, 100.0):
        both.go_to(0)
        run = image_trainer(both, LossWeights(paired=False))
        batch = both.batch(6)
        changed = type(batch)(
            batch.images,
            batch.view,
            batch.keypoints,
            batch.confidence,
            factor * batch.joints,
            batch.joint_confidence,
            batch.params.map(lambda t, factor=factor: factor * t),
            batch.has_params,
        )
        run.objective.batch = lambda count, progress, batch=changed: batch
        losses = run.train_step()
        assert set(losses) == {"reprojection", "adversarial", "discriminator", "gradient"}
        states.append(run.hmr.state_dict())
    assert same(*states) == []


def test_sources_have_their_weights(both):
    """Detected keypoints at weight 0: their places do not matter."""
    batch = both.batch(4)
    moved = batch.keypoints.clone()
    moved[:, :25] += 1.0
    other = type(batch)(**{**vars(batch), "keypoints": moved})
    real = MotionPeople(pool(), 10, torch.Generator())
    objective = ImageObjective(both, real, points(SPIN49))
    regression = Regression(batch.params, torch.tensor([[0.9, 0.0, 0.0]]).expand(4, 3))
    a, b = (objective.losses([regression], x)["reprojection"] for x in (batch, other))
    assert torch.equal(a, b) and a > 0
    objective.sources = torch.ones(49)
    assert objective.losses([regression], other)["reprojection"] > a


def test_averaged_batch_norms_follow():
    run = image_trainer(made(), average=0.5)
    run.train_step()
    name = "encoder.resnet.bn1.running_mean"
    mean, new = (network.state_dict()[name] for network in (run.average, run.hmr))
    torch.testing.assert_close(mean, 0.9 * new)  # from zero, one step whose share is 9 of 10
    assert new.abs().max() > 0


def test_the_command_trains_on_a_dataset_and_scenes_and_goes_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "read_pool", lambda folder, cache, seen: folder)
    monkeypatch.setattr(command, "load_frames", lambda pool, part: frames(seed={"train": 0, "validation": 1}[part]))
    file = write_scenes(tmp_path)
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"TRAIN: {{IMAGE: {{DATASETS: [{{FILE: {file}, ROOT: {tmp_path}, SHARE: 2}}]}}}}\n")
    out = tmp_path / "run"
    arguments = ["train", "--out", str(out), "--config", str(mine), "TRAIN.ENCODER", "image", "TRAIN.MOTION=here"]
    assert cli.main([*arguments, *SMALL, *OFTEN]) == 0
    lines = [json.loads(line) for line in (out / LOG).read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and lines[-1]["pa_mpjpe_mm"] > 0 and lines[0]["smpl"] > 0
    assert read_image(out / CONTACT_SHEET).shape[0] > 200
    assert load_hmr(out / "hmr.npz").encoder.variant == "resnet10"
    before = torch.load(out / LAST, weights_only=True)["hmr"]
    assert cli.main([*arguments, *SMALL, *OFTEN]) == 0  # done already: nothing more is trained
    assert same(before, torch.load(out / LAST, weights_only=True)["hmr"]) == []


def settings(*overrides: str):
    return load_config("train_image", [*SMALL, *overrides])


def test_training_begins_with_given_weights(tmp_path):
    encoder = ImageEncoder("resnet10")
    file = save_network(tmp_path / "encoder.npz", encoder)
    run = command.build_image_trainer(settings(f"TRAIN.IMAGE.BEGIN={file}"), free_body(), frames())
    assert same(encoder.state_dict(), run.hmr.encoder.state_dict()) == [] and run.hmr.training
    whole = save_network(tmp_path / "hmr.npz", run.hmr)
    again = command.build_image_trainer(settings(f"TRAIN.IMAGE.BEGIN={whole}"), free_body(), frames())
    assert same(run.hmr.state_dict(), again.hmr.state_dict()) == []


@pytest.mark.parametrize(
    "entry, message",
    [("{FILE: a.npz}", "ROOT: images"), ("{FILE: a, ROT: b}", "ROOT"), ("{FILE: none.npz, ROOT: b}", "none.npz")],
)
def test_missing_datasets_are_refused(entry, message, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"TRAIN: {{IMAGE: {{DATASETS: [{entry}]}}}}\n")
    config = load_config(mine, ["TRAIN.ENCODER=image", *SMALL])
    with pytest.raises((ConfigError, FileNotFoundError), match=message):
        command.build_image_trainer(config, free_body(), frames())


def test_settings_without_people_are_refused():
    with pytest.raises(ConfigError, match="no people to train on"):
        command.build_image_trainer(settings("TRAIN.IMAGE.SCENES=0.0"), free_body(), frames())


def test_the_truth_has_no_error_and_the_contact_sheet_shows_everybody():
    people = scenes_of(scenes(), 3)
    score = score_scenes(free_body(), people, people.params)
    assert score["pa_mpjpe_mm"] < 0.01 and score["mpjpe_mm"] < 0.01 and score["facing_wrong_percent"] == 0  # float32
    picture = draw_scenes(free_body(), people, Regression(people.params, people.weak_camera), across=2)
    assert picture.shape[0] == 2 * 224 and picture.std() > 20


def test_images_pass_through_the_network_in_chunks(monkeypatch):
    run = image_trainer(made())
    people = scenes_of(scenes(), 5)
    whole = regress_images(run.hmr, people.images)
    monkeypatch.setattr("hmrfit.train.validation.CHUNK", 2)
    parts = regress_images(run.hmr, people.images)
    torch.testing.assert_close(parts.params.body_pose, whole.params.body_pose, rtol=0, atol=1e-4)
    assert len(parts) == 5 and run.hmr.training

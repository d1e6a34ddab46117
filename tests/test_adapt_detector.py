"""hmrfit adapt with a narrow network: what is handed over is what the fit then uses, a worse model is not, a run that
was stopped goes on to the same bits, and what cannot be adapted to is answered before any work."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import free_body
from helpers.training import frames, network
from numpy.testing import assert_allclose

import hmrfit
from hmrfit.adapt_detector import ERRORS, NETWORK, OFFSETS, REPORT, RUN, SETTINGS, adapt, people_of_files
from hmrfit.build import build_fitter
from hmrfit.cli import main
from hmrfit.config import load_config
from hmrfit.fitting.retry import Retry
from hmrfit.keypoints import COCO17
from hmrfit.network.checkpoints import save_network
from hmrfit.network.error_model import ErrorModel
from hmrfit.synthetic.people import make_people
from hmrfit.train import adaptation
from hmrfit.train.adaptation import AdaptationPlan, enough_people, set_aside
from hmrfit.train.adaptation_scores import HoldOutScores, what_got_worse
from hmrfit.train.fit_store import FitKey
from hmrfit.train.trainer import LAST, Trainer

PLAN = AdaptationPlan(steps=3, batch=12, synthetic=20, scored=4, error_steps=1)
COUNT = 24


@pytest.fixture(autouse=True, scope="module")
def _few() -> Iterator[None]:
    """Few synthetic people, one who is scored aside, and nobody is fitted from scratch, as untrained networks ask."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation, "SYNTHETIC_FOR_OFFSETS", 20)
        patch.setattr(adaptation, "MOST_ASIDE", 1)
        patch.setattr(Retry, "__call__", lambda self, fit, route: fit)
        yield


@pytest.fixture(scope="module")
def keypoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of people, in hmrfit's own format."""
    poses = torch.as_tensor(frames(COUNT)["poses"])
    people = make_people(free_body(), 0.5 * poses, COCO17, torch.Generator().manual_seed(0)).keypoints
    rows = torch.cat([people.xy - 0.5, people.confidence[..., None]], -1)
    rows = torch.where(rows[..., 2:] > 0, rows, 0.0).tolist()
    file = tmp_path_factory.mktemp("user") / "people.json"
    entries = [
        {"image": f"{i:03d}.jpg", "format": "coco17", "size": [1024, 768], "id": "0", "keypoints": row}
        for i, row in enumerate(rows)
    ]
    file.write_text(json.dumps(entries))
    return file


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That name a narrow network and its error model."""
    folder = tmp_path_factory.mktemp("networks")
    save_network(folder / "hmr.npz", network())
    torch.manual_seed(1)
    save_network(folder / "errors.npz", ErrorModel(48, rank=2, width=16, blocks=1))
    lines = "PRIORS:\n  INITIAL_ESTIMATE: ./hmr.npz\n  ERROR_MODEL: ./errors.npz\n  MIXTURE: ''\nTHREADS: 1\n"
    (folder / "narrow.yaml").write_text(lines)
    return folder / "narrow.yaml"


@pytest.fixture(scope="module")
def whole(keypoints: Path, settings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run, whatever the scores of a narrow network are."""
    out = tmp_path_factory.mktemp("adapted") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adaptation, "what_got_worse", lambda *_: [])
        adapt(keypoints, out, plan=PLAN, config=settings)
    return out


def test_what_is_handed_over_is_what_the_fit_uses(whole):
    report = json.loads((whole / REPORT).read_text())
    assert report["handed_over"] and report["people"] + report["aside"] == COUNT and report["steps"] == PLAN.steps
    fitter = build_fitter(load_config(whole / SETTINGS, ["PRIORS.MIXTURE="]))
    d = fitter.offsets_of(COCO17)
    assert d is not None and d.abs().max() > 0
    assert_allclose(fitter.point_body(COCO17).offset, free_body().points(COCO17).with_offsets(d).offset)
    assert fitter.network is not None and fitter.network.moved is not None


def test_a_run_that_was_stopped_ends_with_the_same_bits(whole, keypoints, settings, tmp_path, monkeypatch):
    monkeypatch.setattr(adaptation, "what_got_worse", lambda *_: [])
    before, out = Trainer.train_step, tmp_path / "parts"

    def stopped(self: Trainer) -> dict[str, float]:
        if self.step == 2:
            self.save(out / RUN / LAST)
            raise KeyboardInterrupt
        return before(self)

    monkeypatch.setattr(Trainer, "train_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        adapt(keypoints, out, plan=PLAN, config=settings)
    assert not (out / NETWORK).exists()
    monkeypatch.setattr(Trainer, "train_step", before)
    adapt(keypoints, out, plan=PLAN, config=settings)
    for name in (NETWORK, ERRORS, OFFSETS, REPORT):
        assert (whole / name).read_bytes() == (out / name).read_bytes(), name
    with pytest.raises(ValueError, match="other keypoints, or with other options"):
        adapt(keypoints, out, plan=replace(PLAN, steps=5), config=settings)


def test_a_model_that_got_worse_is_not_handed_over(whole, keypoints, settings, tmp_path, monkeypatch, capsys):
    shutil.copytree(whole / RUN, tmp_path / "out" / RUN)  # at its end
    monkeypatch.setattr(adaptation, "what_got_worse", lambda *_: ["it rose from 1.0 to 2.0 mm"])
    monkeypatch.setattr("hmrfit.cli.adapt_command._plan", lambda *_: PLAN)
    code = main(["adapt", str(keypoints), "-o", str(tmp_path / "out"), "--config", str(settings)])
    assert code == 1 and "NOT handed over: it rose from 1.0 to 2.0 mm" in capsys.readouterr().out
    assert not any((tmp_path / "out" / name).exists() for name in (NETWORK, OFFSETS, SETTINGS))
    assert (tmp_path / "out" / RUN / LAST).is_file()
    assert not json.loads((tmp_path / "out" / REPORT).read_text())["handed_over"]


@pytest.mark.parametrize(
    ("name", "value"), [("fit_pa_mpjpe_mm", 50.6), ("estimate_pa_mpjpe_mm", 61.0), ("coverage_gap", 0.1)]
)
def test_worse_is_a_percent_of_pa_mpjpe_or_three_points_of_coverage(name, value):
    before = HoldOutScores(60.0, 80.0, 50.0, 70.0, 1.0, 0.03)
    assert what_got_worse(before, before) == []
    assert len(what_got_worse(before, replace(before, **{name: value}))) == 1
    assert len(what_got_worse(before, replace(before, fit_pa_mpjpe_mm=float("nan")))) == 1


def test_files_are_read_as_the_fit_reads_them(keypoints, tmp_path):
    people = people_of_files([keypoints])
    (first,) = hmrfit.read_keypoints(keypoints)[:1]
    assert len(people) == COUNT and people.keypoints.names == COCO17 and not people.has_truth.any()
    assert_allclose(people.keypoints.xy[0], first.xy)
    assert people.camera.size[0].tolist() == [1024, 768] and len(set(people.keys)) == COUNT


def test_what_cannot_be_adapted_to_is_answered_before_any_work(keypoints, settings, tmp_path, no_work):
    few = tmp_path / "few.json"
    few.write_text(json.dumps(json.loads(keypoints.read_text())[:5]))
    with pytest.raises(ValueError, match=r"at least 20 people .* there are 5"):
        adapt(few, tmp_path / "out", config=settings)
    array = tmp_path / "array.npy"
    np.save(array, np.ones((30, 17, 3)))
    with pytest.raises(ValueError, match=r"How large is the photograph of 'array.npy'"):
        adapt(array, tmp_path / "out", keypoint_set="coco17", config=settings)
    with pytest.raises(FileNotFoundError):
        adapt(tmp_path / "nothing.json", tmp_path / "out", config=settings)
    (tmp_path / "motion").mkdir()
    with pytest.raises(FileNotFoundError, match="no motion"):
        adapt(keypoints, tmp_path / "out", motion=tmp_path / "motion", config=settings)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / NETWORK).write_text("mine")
    with pytest.raises(FileExistsError, match="nothing is overwritten"):
        adapt(keypoints, mine, config=settings)
    assert not (tmp_path / "out").exists()


def test_neighbours_are_set_aside_together():
    keys = [FitKey("video", str(i // 2), str(i % 2)) for i in range(400)]
    aside = set_aside(keys)
    assert 0.15 < aside.double().mean() < 0.25
    assert (aside[::2] == aside[1::2]).all() and int((aside[1:] != aside[:-1]).sum()) < 10


def test_people_of_whom_too_little_is_seen_are_left_out(keypoints):
    people = people_of_files([keypoints])
    confidence = people.keypoints.confidence.clone()
    confidence[0, 3:] = 0
    assert len(enough_people(replace(people, keypoints=replace(people.keypoints, confidence=confidence)))) == COUNT - 1

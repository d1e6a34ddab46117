"""hmrfit evaluate --protocol synthetic, end to end with a few people: made, predicted, scored, reported; and again."""

import json

import numpy as np
import pytest
import torch

from hmrfit.cli import main, synthetic
from hmrfit.evaluate.predictions import read_predictions
from hmrfit.synthetic.benchmark import PosePool

PEOPLE = 6


def run(folder, *more: str) -> int:
    return main(["evaluate", "--protocol", "synthetic", "-o", str(folder), "--people", str(PEOPLE), *more])


@pytest.fixture(scope="module")
def poses():
    """Few poses instead of a folder of motion."""
    draw = 0.2 * torch.randn(8, 24, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw[:, 16:18, 2] = torch.tensor([-1.0, 1.0])
    return PosePool(draw, torch.ones(8), ("walk",) * 8, "made-up poses")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, poses):
    """A whole run, with its page."""
    folder = tmp_path_factory.mktemp("synthetic")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "pose_pool", lambda motion, cache: poses)
        assert run(folder, "--report", str(folder / "page")) == 0
    return folder


def test_every_predictor_is_scored_by_every_protocol(folder):
    predictors = ["mean_pose", "initial_estimate", "fit", *synthetic.presets()]
    for protocol in synthetic.COLUMNS:
        for predictor in predictors:
            said = json.loads((folder / f"{protocol}-{predictor}.json").read_text())
            expected = 2 if protocol.startswith("h36m-p2") else PEOPLE  # every fourth is seen by the frontal camera
            assert said["samples"] == expected and said["missing"] == 0
            assert "2D joints" in said["box_source"] and "seed 0, posed by made-up poses" in said["run"]["dataset"]
            assert all(np.isfinite(measure["value"]) for measure in said["measures"])
    table = (folder / "table.md").read_text()
    assert all(f"| {predictor}" in table for predictor in predictors)
    assert {"fit_smplify", "fit_spin"} <= set(predictors)


def test_the_fit_is_nearer_to_the_truth_than_the_mean_pose(folder):
    def score(predictor, protocol="h36m-p1-spin", measure="PA-MPJPE"):
        said = json.loads((folder / f"{protocol}-{predictor}.json").read_text())
        return next(m["value"] for m in said["measures"] if m["name"] == measure)

    assert score("fit") < score("mean_pose") and score("fit") < 90
    assert score("fit", "lsp-full", "parts F1") > score("mean_pose", "lsp-full", "parts F1") + 0.2


def test_the_page_has_a_section_for_each_protocol(folder):
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    for protocol in synthetic.COLUMNS:
        assert f"<h2>{protocol}</h2>" in page
    assert "The published rows are of the real data set" in page and "SMPLify" in page
    assert "true \\ found" in page and "people, best first by MPJPE" in page


def test_a_second_run_predicts_nothing_again(folder, monkeypatch):
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")}
    monkeypatch.setattr(synthetic, "make_benchmark", lambda *_: pytest.fail("it is there"))
    monkeypatch.setattr(synthetic, "COLUMNS", {"2d-lsp": ("PCK@0.1",)})
    assert run(folder) == 0
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")} == before
    predictions, _ = read_predictions(folder / "fit.npz")
    assert len(predictions) == PEOPLE and predictions.done.all()


def test_flags_that_say_nothing_here_get_a_letter(tmp_path, capsys):
    assert run(tmp_path, "--predictor", "mean_pose", "--fit") == 2
    assert "takes no --predictor, --fit" in capsys.readouterr().err
    assert main(["evaluate", "--protocol", "h36m-p1-spin"]) == 2
    assert "needs --data ROOT" in capsys.readouterr().err
    assert main(["evaluate", "--protocol", "lsp-spin", "--data", "x", "--people", "3"]) == 2
    assert "--people" in capsys.readouterr().err


def test_without_motion_the_shipped_poses_stand_in(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pool = synthetic.pose_pool(None, tmp_path / "motion.npz")
    assert "shipped pose set" in pool.origin and pool.poses.shape[1:] == (24, 3) and not pool.poses[:, 0].any()
    with pytest.raises(FileNotFoundError):
        synthetic.pose_pool("nowhere", tmp_path / "motion.npz")

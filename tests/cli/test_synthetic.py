"""hmrfit evaluate --protocol synthetic, end to end with a few people: made, predicted, scored, reported; and again."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.process_state import only_here

from hmrfit.cli import main, synthetic
from hmrfit.evaluate.predictions import read_predictions
from hmrfit.evaluate.predictors import PREDICTORS, MeanPosePredictor
from hmrfit.evaluate.protocol import PROTOCOLS, Measure, Summary, register
from hmrfit.evaluate.protocols.keypoints2d import LspKeypoints
from hmrfit.synthetic.benchmark import LabelledPoses

PEOPLE = 6
SCORED = [name for name in PROTOCOLS.names() if name != "2d-coco"]


def run(folder, *more: str) -> int:
    return main(["evaluate", "--protocol", "synthetic", "-o", str(folder), "--people", str(PEOPLE), *more])


@pytest.fixture(scope="module")
def poses():
    """Few poses instead of a folder of motion."""
    draw = 0.2 * torch.randn(8, 24, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draw[:, 16:18, 2] = torch.tensor([-1.0, 1.0])
    return LabelledPoses(draw, torch.ones(8), ("walk",) * 8, "made-up poses")


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
    for protocol in SCORED:
        for predictor in predictors:
            said = json.loads((folder / f"{protocol}-{predictor}.json").read_text())
            expected = 2 if protocol.startswith("h36m-p2") else PEOPLE  # every fourth is seen by the frontal camera
            assert said["samples"] == expected and said["missing"] == 0
            assert "2D joints" in said["box_source"] and "seed 0, posed by made-up poses" in said["run"]["dataset"]
            assert all(np.isfinite(measure["value"]) for measure in said["measures"])
    table = (folder / "table.md").read_text()
    assert all(f"| {predictor}" in table for predictor in predictors)
    assert {"fit_smplify", "fit_spin"} <= set(predictors)


def test_what_is_left_out_is_named_with_its_reason(folder):
    """On the page, too; and nothing else is left out."""
    remarks = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("Left out: ")]
    assert remarks == [
        "Left out: predictor image_estimate: image_estimate needs an image network, trained or a published one: "
        "--set PRIORS.IMAGE_ESTIMATE=FILE.",
        "Left out: protocol 2d-coco: the benchmark has no people in the layout of its data set, coco-val",
    ]
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    assert all(remark in page for remark in remarks)


def test_the_fit_is_nearer_to_the_truth_than_the_mean_pose(folder):
    def score(predictor, protocol="h36m-p1-spin", measure="PA-MPJPE"):
        said = json.loads((folder / f"{protocol}-{predictor}.json").read_text())
        return next(m["value"] for m in said["measures"] if m["name"] == measure)

    assert score("fit") < score("mean_pose") and score("fit") < 90
    assert score("fit", "lsp-full", "parts F1") > score("mean_pose", "lsp-full", "parts F1") + 0.2


def test_the_page_has_a_section_for_each_protocol(folder):
    page = (folder / "page" / "index.html").read_text(encoding="utf-8")
    for protocol in SCORED:
        assert f"<h2>{protocol}</h2>" in page
    assert "The published rows are of the real data set" in page and "SMPLify" in page
    assert "true \\ found" in page and "people, best first by MPJPE" in page


def test_a_second_run_predicts_nothing_again(folder, monkeypatch):
    before = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")}
    monkeypatch.setattr(synthetic, "make_benchmark", lambda *_: pytest.fail("it is there"))
    only_here(monkeypatch, PROTOCOLS, "2d-lsp")
    assert run(folder) == 0
    assert {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")} == before
    predictions, _ = read_predictions(folder / "fit.npz")
    assert len(predictions) == PEOPLE and predictions.done.all()


def test_what_is_registered_tomorrow_takes_part(folder, monkeypatch, capsys):
    """A protocol of a user's own names the data set in whose place it takes the benchmark; one that names none, one of
    an unknown data set and one that cannot read the benchmark are left out, and the run says why."""
    only_here(monkeypatch, PROTOCOLS, "2d-lsp")
    only_here(monkeypatch, PREDICTORS, "mean_pose")

    class Counting(LspKeypoints):
        headline = ()

        def summary(self) -> Summary:
            people = Measure("people", float(len(self._all())), "of 1", "higher", 1.0)
            return replace(super().summary(), measures=(people,))

    def named(name, dataset, **more):
        register(type(name, (Counting,), {"name": name, "dataset": dataset, **more}))

    def unreadable(self, root):
        raise ValueError("it needs the true lens")

    named("mine", "lsp-test")
    named("no-data", "")
    named("unknown", "my-own-set")
    named("other", "lsp-test", load=unreadable)
    PREDICTORS.register("upright")(lambda parts: MeanPosePredictor(replace(parts, mean_pose=torch.zeros(69).double())))
    assert run(folder) == 0
    shown = capsys.readouterr().out
    for predictor in ("mean_pose", "upright", "fit"):
        (measure,) = json.loads((folder / f"mine-{predictor}.json").read_text())["measures"]
        assert measure["name"] == "people" and measure["value"] == PEOPLE
    assert "| mine " in shown and "| upright " in shown and "people (of 1)" in shown
    for remark in (
        "protocol no-data: its class names no `dataset`",
        "protocol unknown: There is no dataset 'my-own-set'",
        "protocol other: it needs the true lens",
    ):
        assert f"Left out: {remark}" in shown


def test_when_no_protocol_can_be_scored_the_reasons_are_the_error(folder, monkeypatch, capsys):
    only_here(monkeypatch, PROTOCOLS, "2d-coco")
    assert run(folder) == 2
    assert "No protocol could be scored" in capsys.readouterr().err


def test_flags_without_a_meaning_here_are_refused(tmp_path, capsys):
    assert run(tmp_path, "--predictor", "mean_pose", "--fit") == 2
    assert "takes no --predictor, --fit" in capsys.readouterr().err
    assert main(["evaluate", "--protocol", "h36m-p1-spin"]) == 2
    assert "needs --data ROOT" in capsys.readouterr().err
    assert main(["evaluate", "--protocol", "lsp-spin", "--data", "x", "--people", "3"]) == 2
    assert "--people" in capsys.readouterr().err


def test_without_motion_the_shipped_poses_are_used(tmp_path):
    pool = synthetic.pose_pool(None, tmp_path / "motion.npz")
    assert "shipped pose set" in pool.origin and pool.poses.shape[1:] == (24, 3) and not pool.poses[:, 0].any()
    with pytest.raises(FileNotFoundError):
        synthetic.pose_pool("nowhere", tmp_path / "motion.npz")

"""What benchmarks/real.py and hard.py measure: of a result whose truth is known, and of people without one."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import demo_points

import hmrfit

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from _people import LIMB_POINTS, LabelledPerson, labelled_people, limb_index
from _scores import COVERED, HIPS, Scores, about_hips, measure

from hmrfit.keypoints import COCO17, LSP14, MPII16, OPENPOSE25

KEYS = [
    "pa_mpjpe_mm", "mpjpe_mm", "reprojection_p90", "reprojection_worst", "coverage_gap", "rejected",
    "best_of_offered_mm", "rank_correlation", "swap_warnings",
]  # fmt: skip


@pytest.fixture(scope="module")
def result() -> hmrfit.FitResult:
    return hmrfit.fit(None, np.stack([demo_points(480)] * 3), keypoint_set="coco17", image_size=(640, 480))


def own_points(result: hmrfit.FitResult) -> torch.Tensor:
    """(B, 12, 3) where the fitted bodies have the points that are scored."""
    return torch.as_tensor(result.points("coco17")[0])[:, limb_index(COCO17)]


@pytest.mark.parametrize("names", [COCO17, LSP14, MPII16, OPENPOSE25])
def test_every_set_has_the_twelve_points(names):
    found = [names[i].removesuffix("_coco").removesuffix("_lsp") for i in limb_index(names)]
    assert tuple(found) == LIMB_POINTS
    assert [LIMB_POINTS[i] for i in HIPS] == ["left_hip", "right_hip"] and len(COVERED) == 10


def test_a_result_against_itself_is_without_error(result):
    rows = measure(result, own_points(result), seed=0, samples=40)
    assert rows["pa_mpjpe"].max() < 1e-6 and rows["mpjpe"].max() < 1e-6 and rows["best_offered"].max() < 1e-6
    assert (rows["stated"] > 5).all() and (rows["level"] < 0.9).all()
    assert rows["reprojection"].max() < 1.0 and not rows["rejected"].any() and not rows["swap_warning"].any()


def test_errors_are_millimetres_about_the_hips(result):
    truth = own_points(result)
    wrist = LIMB_POINTS.index("left_wrist")
    moved = truth + torch.tensor([0.3, -0.2, 5.0])
    moved[:, wrist, 0] += 0.12
    rows = measure(result, moved, seed=0, samples=40)
    assert rows["mpjpe"].tolist() == pytest.approx([10.0] * 3)  # 120 mm at one of twelve points
    assert (rows["pa_mpjpe"] > 5).all() and (rows["pa_mpjpe"] < 25).all()
    torch.testing.assert_close(about_hips(moved)[:, HIPS].sum(1), torch.zeros(3, 3).double(), rtol=0, atol=1e-12)


@pytest.mark.filterwarnings("ignore:An input array is constant")  # three times the same person
def test_people_without_a_truth_count_in_two_dimensions_only(result):
    scores, alone = Scores(), Scores()
    kinds = {"all of them": torch.ones(3, dtype=torch.bool)}
    scores.add(result, own_points(result), kinds, 0, 40)
    scores.add(result, None, kinds, 0, 40)
    alone.add(result, own_points(result), kinds, 0, 40)
    assert list(scores.figures()) == KEYS
    assert scores.figures()["mpjpe_mm"] == alone.figures()["mpjpe_mm"]
    assert scores.figures()["coverage_gap"] == alone.figures()["coverage_gap"]
    assert len(scores.column("reprojection")) == 6
    none = Scores()
    none.add(result, None, kinds, 0, 40)
    assert none.figures()["pa_mpjpe_mm"] is None and none.figures()["coverage_gap"] is None
    assert none.figures()["reprojection_worst"] == alone.figures()["reprojection_worst"]
    assert "all of them" in none.table()


def test_a_warning_about_sides_is_counted(result):
    swapped = demo_points(480)
    hips = [COCO17.index(f"{side}_hip_coco") for side in ("left", "right")]
    swapped[hips] = swapped[hips[::-1]]
    found = hmrfit.fit(None, swapped, keypoint_set="coco17", image_size=(640, 480))
    assert measure(found, None, 0, 40)["swap_warning"].tolist() == [True]


def test_the_folder_says_whose_truth_belongs_to_the_labels(tmp_path):
    about = {"format": "coco17", "keypoints": [[0, 0, 1]] * 17, "size": [9, 9], "keypoints3d": [[0, 0, 1000.0]] * 17}
    about["keypoints3d"][5] = None
    (tmp_path / "more").mkdir()
    for name in ("p2s_walk_f0_cam2", "p2s_walk_f0_cam3", "more/other_1"):
        (tmp_path / f"{name}.json").write_text(json.dumps(about))
    people = {person.name: person for person in labelled_people(tmp_path)}
    assert [p.name for p in labelled_people(tmp_path, deep=False)] == ["p2s_walk_f0_cam2", "p2s_walk_f0_cam3"]
    assert people["p2s_walk_f0_cam3"].has_3d and people["p2s_walk_f0_cam3"].truth() is None
    truth = people["p2s_walk_f0_cam2"].truth()
    assert truth is not None and truth[0].isnan().all() and truth[1].tolist() == [0, 0, 1]
    assert (people["p2s_walk_f0_cam2"].data_set, people["p2s_walk_f0_cam2"].camera) == ("pose2sim", "cam2")
    assert isinstance(people["other_1"], LabelledPerson) and people["other_1"].camera == "-"


def test_the_shared_people_can_be_read(shared):
    people = labelled_people(shared / "photos")
    assert len(people) == 74 and sum(p.image is not None for p in people) == 22
    assert sum(p.truth() is not None for p in people) == 10

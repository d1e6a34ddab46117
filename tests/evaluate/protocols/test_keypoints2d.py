"""2D keypoints against annotations: the truth, known shifts, a slow version, and people who are left out."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.evaluation import as_predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from hmrfit.datasets.download import spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.protocol import EvaluationData, Setting, make_protocol
from hmrfit.evaluate.protocols.keypoints2d import COCO_SLOTS, ImagePoints
from hmrfit.keypoints import COCO17, LSP14


def drawn(N: int, K: int, spread: float, seed: int = 0) -> tuple[ImagePoints, ImagePoints]:
    rng = np.random.default_rng(seed)
    y = rng.uniform(0, 100, (N, K, 2))
    x = y + spread * rng.normal(size=y.shape)
    seen = rng.random((N, K)) < 0.8
    return ImagePoints(torch.as_tensor(x), torch.ones(N, K).bool()), ImagePoints(
        torch.as_tensor(y), torch.as_tensor(seen)
    )


def test_the_truth_scores_the_best():
    """Exactly, where the annotations are the predicted points themselves."""
    _, truth = drawn(5, 14, 0)
    protocol = make_protocol("2d-lsp", Setting(free_body()))
    protocol.update(ImagePoints(truth.xy, torch.ones(5, 14).bool()), truth)
    summary = protocol.summary()
    for m in summary.measures:
        assert m.value == (pytest.approx(m.best, rel=1e-14) if "AUC" in m.name else m.best)
    assert summary["AUC@0.1"] == pytest.approx(100 * 30 / 31) and summary.samples == 5


def test_the_body_is_projected_with_the_half_pixel_of_annotators():
    body, params = free_body(), random_params(free_body(), 4)
    params = replace(params, transl=params.transl * 0 + torch.tensor([0, 0, 4.0]))
    predictions = as_predictions(params)
    xy = predictions.camera.project(body.points(LSP14).pose(params).points).numpy()
    people = SpinDataset(np.array(["a.jpg"] * 4), np.full((4, 2), 9.0), np.ones(4), spin_slots(xy - 0.5, LSP14))
    protocol, data = make_protocol("2d-lsp", Setting(body)), EvaluationData("", people)
    protocol.update(protocol.prediction(predictions, data), protocol.target(data))
    assert protocol.summary()["mean distance"] < 1e-10 and protocol.summary()["PCK@0.05"] == 100


def test_a_shift_of_seven_percent_of_the_box():
    _, truth = drawn(3, 14, 0)
    box = torch.stack([(p[s].amax(0) - p[s].amin(0)).max() for p, s in zip(truth.xy, truth.seen, strict=True)])
    moved = truth.xy + 0.07 * box[:, None, None] * torch.tensor([0.6, 0.8]).double()
    protocol = make_protocol("2d-lsp", Setting(free_body()))
    protocol.update(ImagePoints(moved, truth.seen | True), truth)
    summary = protocol.summary()
    assert summary["PCK@0.05"] == 0 and summary["PCK@0.1"] == 100
    assert summary["mean distance"] == pytest.approx(7, abs=1e-6)
    assert summary["AUC@0.1"] == pytest.approx(100 * 9 / 31)  # above 0.07 of 0, 1/300, ..., 0.1: the last nine


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(0.5, 30))
def test_a_slow_version_agrees(seed, spread):
    x, y = drawn(6, 17, spread, seed)
    protocol = make_protocol("2d-coco", Setting(free_body()))
    protocol.update(x, y)
    distances = []
    for p, q, seen in zip(x.xy.numpy(), y.xy.numpy(), y.seen.numpy(), strict=True):
        own = [q[k] for k in range(17) if seen[k]]
        sides = [max(v[i] for v in own) - min(v[i] for v in own) for i in (0, 1)]
        distances += [float(np.hypot(*(p[k] - q[k]))) / max(sides) for k in range(17) if seen[k]]

    def percent_below(threshold: float) -> float:
        return 100 * sum(d < threshold for d in distances) / len(distances)

    summary = protocol.summary()
    expected = {
        "PCK@0.05": percent_below(0.05),
        "PCK@0.1": percent_below(0.1),
        "AUC@0.1": sum(percent_below(0.1 * i / 30) for i in range(31)) / 31,
        "mean distance": 100 * sum(distances) / len(distances),
    }
    assert {m.name: m.value for m in summary.measures} == pytest.approx(expected, abs=1e-9)


def test_people_who_cannot_be_measured_are_missing():
    """Nothing annotated, one point annotated, a prediction of NaN; a NaN where nothing is annotated is ignored."""
    x, y = drawn(5, 14, 3)
    y.seen[:] = True
    y.seen[0], y.seen[1, 1:] = False, False
    x.xy[2, 5] = torch.nan
    y.seen[3, 7], x.xy[3, 7] = False, torch.nan
    protocol = make_protocol("2d-lsp", Setting(free_body()))
    protocol.update(x, y)
    assert protocol.summary().missing == 3 and protocol.details().rows.tolist() == [3, 4]
    assert protocol.details().joints["distance"].shape == (2, 14)
    with pytest.raises(ValueError, match="has scored no person"):
        make_protocol("2d-lsp", Setting(free_body())).summary()


def test_slots_of_coco_have_cocos_names():
    assert set(COCO17) <= set(COCO_SLOTS) and "left_hip_lsp" not in COCO_SLOTS

"""hmrfit fit with whole-body keypoints: people come with their fingers, and nobody else changes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.people_with_hands import some_people

import hmrfit
from hmrfit.cli import main
from hmrfit.keypoints import find_set


def whole_body(row: int) -> np.ndarray:
    """(133, 3) of a person, the face missing."""
    seen = some_people(2).keypoints
    known = find_set("coco_wholebody133")
    points = np.zeros((len(known.layout), 3))
    points[list(known.with_hands.rows)] = torch.cat([seen.xy, seen.confidence[..., None]], -1)[row].numpy()
    return points


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs: a person with hands, and one without."""
    folder = tmp_path_factory.mktemp("people")
    for row, name in enumerate(("hands", "none")):
        hmrfit.write_image(folder / f"{name}.png", np.full((960, 1280, 3), 128, np.uint8))
        points = whole_body(row)[: 133 if name == "hands" else 17]
        said = [{"image_id": name, "keypoints": points.ravel().tolist()}]
        (folder / f"{name}.json").write_text(json.dumps(said))
    return folder


def test_whole_body_keypoints_are_fitted_with_their_hands(folder: Path, tmp_path: Path, capsys) -> None:
    args = ["fit", str(folder), "-o", str(tmp_path / "out"), "--workers", "0", "--no-pictures", "--mesh", "glb"]
    assert main(args) == 0
    assert "2 of 2 photographs have a result" in capsys.readouterr().out
    first, second = (hmrfit.FitResult.load(tmp_path / "out" / f"{name}.npz") for name in ("hands", "none"))
    assert first.joints.shape == (1, 52, 3) and first.origin.body == "free_body_h" and first.probability.sum() > 0.99
    assert second.joints.shape == (1, 24, 3) and second.origin.body == "free_body"
    python = hmrfit.fit(folder / "hands.png", folder / "hands.json")
    np.testing.assert_allclose(first.joints, python.joints, atol=1e-6)
    assert main(args) == 0
    assert capsys.readouterr().out.count("from before") == 2
    without = tmp_path / "without"
    assert main([*args[:2], "-o", str(without), "--no-pictures", "--workers", "0", "--set", "PRIORS.HANDS="]) == 0
    assert hmrfit.FitResult.load(without / "hands.npz").joints.shape == (1, 24, 3)

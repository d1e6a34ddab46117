"""The demo of a hand: it writes everything, and its fit is near the truth."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import hmrfit
from hmrfit.build import load_body
from hmrfit.cli import main
from hmrfit.cli.demo_hand import FILES, NAMES, make_hand, rendered_hand


def test_the_demo_writes_everything_and_is_near_the_truth(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["demo", "--hand", "-o", str(tmp_path), "--height", "120"]) == 0
    assert {p.name for p in tmp_path.iterdir()} >= set(FILES)
    said = capsys.readouterr().out
    assert float(said.split("points: ")[1].split(" mm")[0]) < 10
    result = hmrfit.FitResult.load(tmp_path / "result.npz")
    assert result.points(NAMES)[0].shape == (1, 21, 3)
    written = np.array(json.loads((tmp_path / "keypoints.json").read_text())["keypoints"])
    written[:, :2] += 0.5  # pixel centres at integers
    again = hmrfit.fit_hand(tmp_path / "photo.png", written, focal=1.1 * 120)
    assert np.abs(again.joints - result.joints).max() < 0.002


def test_its_picture_shows_the_hand_where_its_truth_says():
    body = load_body("free_hand")
    truth = make_hand(body, 120)
    photo = torch.from_numpy(rendered_hand(body, truth, 0).astype(np.int16))
    x, y = truth.clean.xy[0].long().T
    near = photo[y, x] - torch.from_numpy(rendered_hand(body, truth, 1).astype(np.int16))[y, x]
    assert (near.abs().amax(1) < 40).double().mean() > 0.9  # whatever is behind it

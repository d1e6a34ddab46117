"""`hmrfit fit` without keypoints: detected once, kept, corrected by users, and said where nobody is found."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.blob_detector import BlobDetector, picture

import hmrfit
from hmrfit.cli import main
from hmrfit.io.image import write_image

PERSON = (80, 30, 50, 90, 255)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One photograph with two people, one with nobody."""
    monkeypatch.setattr("hmrfit.cli.detections.load_detector", lambda name=None: BlobDetector())
    monkeypatch.setattr(BlobDetector, "asked", 0)
    monkeypatch.chdir(tmp_path)
    write_image("photos/a.png", picture(PERSON, (10, 20, 30, 60, 200)))
    write_image("photos/empty.png", picture())
    return tmp_path


def fit(*flags: str) -> int:
    return main(["fit", "photos", "-o", "out", "--no-pictures", *flags])


def test_people_are_detected_once(folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fit() == 0
    said = capsys.readouterr().out
    assert "finds no people" in said and "1 photograph shows nobody" in said and "could not be used" not in said
    assert len(hmrfit.FitResult.load("out/a.npz")) == 2 and not Path("out/empty.npz").exists()
    kept = hmrfit.read_keypoints("out/keypoints/a.json")
    assert kept[0].made_by == "detector" and kept[0].detector == "blobs 1" and kept[0].box == PERSON[:4]
    np.testing.assert_array_equal(kept[0].xy[1], PERSON[:2])
    assert fit() == 0 and BlobDetector.asked == 2
    assert "from before" in capsys.readouterr().out
    monkeypatch.setattr(BlobDetector, "fingerprint", "blobs 2")
    assert fit() == 0 and BlobDetector.asked == 4
    assert "from before" not in capsys.readouterr().out


def test_what_a_user_corrected_counts(folder: Path) -> None:
    assert fit() == 0
    file = Path("out/keypoints/a.json")
    content = json.loads(file.read_text())
    del content["detected_people"][1]
    file.write_text(json.dumps(content))
    assert fit("--max-people", "2") == 0
    assert len(hmrfit.FitResult.load("out/a.npz")) == 1 and json.loads(file.read_text()) == content


def test_boxes_and_flags(folder: Path, capsys: pytest.CaptureFixture) -> None:
    Path("boxes.json").write_text(json.dumps({"a.png": [[80, 30, 50, 90]]}))
    assert fit("--boxes", "boxes.json") == 0
    assert len(hmrfit.FitResult.load("out/a.npz")) == 1
    coco = [{"image_id": "a", "category_id": 1, "bbox": [10, 20, 30, 60], "score": 0.9}]
    Path("coco.json").write_text(json.dumps(coco))
    assert fit("--boxes", "coco.json", "--max-people", "1") == 0
    assert hmrfit.read_keypoints("out/keypoints/a.json")[0].box == (10, 20, 30, 60)
    for flags, message in (
        (("-k", "photos", "--max-people", "1"), "nothing is detected"),
        (("--detector", "movnet"), "Did you mean 'movenet'"),
        (("--max-people", "0"), "max_people"),
        (("--boxes", "photos/a.png"), "a.png"),
    ):
        assert fit(*flags) == 2
        assert message in capsys.readouterr().err


def test_the_list_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path))
    assert main(["detector", "list"]) == 0
    assert "missing: hmrfit detector install movenet" in capsys.readouterr().out
    assert main(["detector", "install", "mediapipe"]) == 2
    assert "hmrfit detector install mediapipe --from FILE.task" in capsys.readouterr().err

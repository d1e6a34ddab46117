"""`hmrfit.detect` and what `hmrfit.fit` does without keypoints."""

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.blob_detector import NAMES, BlobDetector, picture

import hmrfit
from hmrfit.detectors.detect import beside_or_detected
from hmrfit.detectors.detector import NoDetector
from hmrfit.io.image import write_image

TWO = picture((20, 30, 20, 40, 255), (90, 20, 60, 100, 200), (5, 5, 6, 6, 60))


@pytest.fixture
def none_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmrfit.detectors.detect.ready", lambda: iter(()))


def test_people_come_by_size_in_our_pixels() -> None:
    large, small = hmrfit.detect(TWO, BlobDetector())
    assert large.box == (90, 20, 60, 100) and small.box == (20, 30, 20, 40)  # the faint one is left out
    np.testing.assert_array_equal(small.xy[1], (20, 30))
    assert small.names == NAMES and small.made_by == "detector" and small.detector == "blobs 1"
    assert small.image_size == (200, 160) and large.confidence == pytest.approx(200 / 255)


def test_what_is_asked_for() -> None:
    assert [p.box for p in hmrfit.detect(TWO, BlobDetector(), max_people=1)] == [(90, 20, 60, 100)]
    assert len(hmrfit.detect(TWO, BlobDetector(), min_confidence=0.1)) == 3
    boxes = [[20, 30, 20, 40], [90, 20, 60, 100]]
    assert [list(p.box or ()) for p in hmrfit.detect(TWO, BlobDetector(), boxes=boxes)] == boxes
    assert hmrfit.detect(TWO, BlobDetector(), boxes=[]) == []
    assert hmrfit.detect(picture(), BlobDetector()) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"boxes": [[1, 2, 0, 4]]}, "not above 0"),
        ({"boxes": [1, 2, 3, 4]}, "shape"),
        ({"max_people": 0}, "max_people"),
        ({"max_people": 1.5}, "whole number"),
        ({"min_confidence": np.nan}, "min_confidence"),
        ({"detector": "movnet"}, "Did you mean 'movenet'"),
    ],
)
def test_a_wrong_argument_is_named(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hmrfit.detect(TWO, **{"detector": BlobDetector(), **given})


def test_any_form_of_picture() -> None:
    grey = TWO[:, :, 0]
    rgba = np.dstack([TWO, np.full(grey.shape, 255, np.uint8)])
    for image in (grey, rgba, TWO / 255.0):
        assert len(hmrfit.detect(image, BlobDetector())) == 2


def test_without_a_detector_one_command_is_named(none_installed: None, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", TWO)
    for call in (lambda: hmrfit.detect(TWO), lambda: hmrfit.fit(tmp_path / "a.png")):
        with pytest.raises(NoDetector, match="This command brings one: hmrfit detector install movenet"):
            call()


def test_a_photograph_without_people_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch, no_work: None) -> None:
    monkeypatch.setattr("hmrfit.detectors.detect.load_detector", lambda detector=None: BlobDetector())
    with pytest.raises(hmrfit.NoPeople, match="'blobs' finds no people in the photograph"):
        hmrfit.fit(picture())
    with pytest.raises(hmrfit.NoPeople):
        hmrfit.fit(picture(), [])


def test_the_keypoint_file_beside_a_photograph_wins(none_installed: None, tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", TWO)
    (tmp_path / "a.json").write_text(json.dumps({"format": "coco17", "keypoints": [[9, 9, 1]] * 17}))
    assert beside_or_detected(tmp_path / "a.png") == (tmp_path / "a.png", tmp_path / "a.json")

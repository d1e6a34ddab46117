"""Detectors are found by entry point."""

import sys
from pathlib import Path

import pytest
from helpers.blob_detector import picture

import hmrfit
from hmrfit.detectors import plugins

ROOT = Path(__file__).resolve().parents[2]


def test_setup_lists_the_built_in_ones_the_same_way() -> None:
    lines = (ROOT / "setup.py").read_text()
    for name, place in plugins.BUILT_IN.items():
        assert f'"{name} = {place}"' in lines
        assert plugins.kind_of_detector(name).name == name


def test_another_package_adds_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hmrfit.detectors]\nblobs = helpers.blob_detector:BlobDetector\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("hmrfit.detectors.detect._LOADED", {})
    assert plugins.names() == [*plugins.BUILT_IN, "blobs"] and plugins.missing("blobs") is None
    (person,) = hmrfit.detect(picture((20, 30, 20, 40, 255)), "blobs")
    assert person.detector == "blobs 1"

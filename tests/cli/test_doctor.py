"""hmrfit doctor: it finds what is there, names the command for what is not, and fails only where hmrfit would."""

import json
import sys
from pathlib import Path

import pytest
import torch

from hmrfit.cli import main
from hmrfit.cli.doctor import Finding, report
from hmrfit.version import __version__


def asked(capsys: pytest.CaptureFixture) -> dict[str, dict]:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["hmrfit"] == __version__
    return {finding["name"]: finding for finding in found["findings"]}


def test_a_whole_installation(capsys: pytest.CaptureFixture) -> None:
    found = asked(capsys)
    public, _, _ = torch.__version__.partition("+")  # a wheel of a package index leaves out what comes after it
    assert found["torch"]["found"].partition("+")[0] == public
    assert found["free_body"]["found"].endswith("free_body.npz")
    assert all(finding["found"] or finding["get"] for finding in found.values())


def test_bodies_of_others_are_found_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path))
    before = asked(capsys)["smpl_neutral"]
    assert not before["found"] and str(tmp_path) in before["get"]
    (tmp_path / "SMPL_NEUTRAL.pkl").write_bytes(b"somebody's own")
    assert asked(capsys)["smpl_neutral"]["found"] == str(tmp_path / "SMPL_NEUTRAL.pkl")


def test_a_missing_package_fails_and_a_missing_extra_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("hmrfit.cli.doctor.EXTRAS", {"no_such_module": ("video", "films")})
    assert main(["doctor"]) == 0
    assert "no_such_module" in (said := capsys.readouterr().out) and "pip install 'hmrfit[video]'" in said
    monkeypatch.setattr("hmrfit.cli.doctor.BASE", ("no-such-package",))
    assert main(["doctor"]) == 1
    assert "missing. pip install --force-reinstall hmrfit" in capsys.readouterr().out


def test_the_report_has_a_line_for_each_and_a_heading_for_each_section() -> None:
    lines = "\n".join(report([Finding("a", "one", "1.0"), Finding("b", "two", get="Get it.")])).splitlines()
    assert [line.strip() for line in lines] == ["a", "+ one  1.0", "", "b", "- two  missing. Get it."]


def test_an_opencv_that_cannot_be_loaded_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """It is installed, and a library of the system is not, as on a bare server."""
    monkeypatch.delitem(sys.modules, "hmrfit.io.opencv", raising=False)
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert main(["doctor"]) == 1
    assert "- opencv-python" in (said := capsys.readouterr().out) and "libgl1 libglib2.0-0" in said

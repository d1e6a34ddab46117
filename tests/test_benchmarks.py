"""Every benchmark ends with figures in JSON, which the baseline keeps, or says why it does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = [p for p in sorted((ROOT / "benchmarks").glob("[a-z]*.py")) if p.stem != "compare"]
BASELINE = json.loads((ROOT / "benchmarks" / "baseline.json").read_text())


def compare(baseline: Path, *arguments: str) -> str:
    """The output of benchmarks/compare.py, without folders of data."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HMRFIT_")}
    command = [sys.executable, "benchmarks/compare.py", "--baseline", str(baseline), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_is_kept_or_left_out_for_a_reason(script: Path) -> None:
    entry = BASELINE[script.stem]
    if "figures" in entry:
        assert entry["figures"]["benchmark"] == script.stem
        assert set(entry) == {"arguments", "commit", "figures", "machine"}
        assert set(entry["machine"]) == {"cpu", "cores", "torch"}
    else:
        assert set(entry) == {"left_out"} and entry["left_out"]


def test_every_benchmark_can_be_imported() -> None:
    """What it takes from other modules is there. One process, since torch takes longest."""
    names = [script.stem for script in BENCHMARKS]
    code = f"import importlib, sys; sys.path.insert(0, 'benchmarks'); [importlib.import_module(n) for n in {names}]"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_baseline_keeps_no_benchmark_that_is_gone() -> None:
    assert set(BASELINE) == {script.stem for script in BENCHMARKS}


@pytest.mark.parametrize("script", BENCHMARKS, ids=lambda path: path.stem)
def test_a_benchmark_ends_with_its_figures_and_knows_no_folder_of_ours(script: Path) -> None:
    text = script.read_text()
    assert f'benchmark="{script.stem}"' in text and "../" not in text and "ROOT.parent" not in text
    assert f"python benchmarks/{script.name}" in text.split('"""')[1], "The docstring opens with how to run it."


def test_new_figures_beside_kept_ones(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    first = compare(baseline, "--only", "body_proportions", "--update")
    assert "stature/mean" in first
    kept = json.loads(baseline.read_text())
    kept["body_proportions"]["figures"]["stature"]["mean"] *= 2
    baseline.write_text(json.dumps(kept | {"photos": {"left_out": "for a reason"}}))
    again = compare(baseline).splitlines()
    ratios = {
        line.split()[0]: line.split()[-1] for line in again if line.startswith("  ") and line.split()[-1][0].isdigit()
    }
    assert ratios["stature/mean"] == "0.500" and ratios["span/mean"] == "1.000"
    assert "  not kept: for a reason" in again


def test_a_benchmark_without_its_data_is_skipped(tmp_path: Path) -> None:
    baseline = tmp_path / "baseline.json"
    assert "skipped: needs a folder: --photos FOLDER" in compare(baseline, "--only", "photos", "--update")
    assert json.loads(baseline.read_text()) == {}

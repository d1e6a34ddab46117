"""The notebooks: their code runs in order without a network, and what is committed holds no output and no address."""

import json
import sys
from pathlib import Path

import pytest

from hmrfit.version import ADDRESS

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def read(notebook: Path) -> dict:
    return json.loads(notebook.read_text(encoding="utf-8"))


def code_of(notebook: Path) -> list[str]:
    return ["".join(cell["source"]) for cell in read(notebook)["cells"] if cell["cell_type"] == "code"]


def run(notebook: Path) -> dict[str, object]:
    """Its code cells one after another, in the working directory; what they leave."""
    names: dict[str, object] = {}
    for number, cell in enumerate(code_of(notebook)):
        exec(compile(cell, f"{notebook.name}, cell {number}", "exec"), names)  # our own text
    return names


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_clean_and_made_for_colab(notebook: Path) -> None:
    book = read(notebook)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert "google.colab" in code_of(notebook)[0] and "pip" in code_of(notebook)[0]
    assert not any(line.lstrip().startswith(("%", "!")) for cell in code_of(notebook) for line in cell.splitlines())
    assert ADDRESS or "http" not in notebook.read_text(encoding="utf-8")


def test_the_first_cell_installs_in_colab_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    monkeypatch.setattr("subprocess.run", lambda command, **_: asked.append(command))
    for notebook in NOTEBOOKS:
        exec(code_of(notebook)[0], {})
    assert asked == []
    monkeypatch.setitem(sys.modules, "google.colab", sys)
    for notebook in NOTEBOOKS:
        exec(code_of(notebook)[0], {})
    assert [command[-1].partition("[")[0] for command in asked] == ["hmrfit"] * len(NOTEBOOKS)


def test_the_photograph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(ROOT / "notebooks" / "photograph.ipynb")
    assert all((tmp_path / "out" / name).is_file() for name in ("overlay.png", "body.glb", "result.npz", "page.html"))
    assert names["Picture"]("out/overlay.png")._repr_png_().startswith(b"\x89PNG")
    said = capsys.readouterr().out
    assert "Against the truth" in said and "give or take" in said


@pytest.mark.packages
def test_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run(ROOT / "notebooks" / "video.ipynb")
    assert len(names["result"]) == 2
    assert all((tmp_path / "out" / f"walk.{suffix}").is_file() for suffix in ("glb", "bvh", "npz"))
    assert (tmp_path / "out" / "overlay.mp4").stat().st_size > 10_000

"""The documentation: its code runs page by page as it stands, its links lead somewhere, its public names are whole."""

import re
from pathlib import Path

import pytest
from helpers.process_state import only_here

import hmrfit
from hmrfit import keypoints
from hmrfit.cli import main
from hmrfit.evaluate.protocol import PROTOCOLS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]+)(#[^)]*)?\)")


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `hmrfit demo` has run, small."""
    folder = tmp_path_factory.mktemp("docs")
    assert main(["demo", "-o", str(folder / "out" / "demo"), "--height", "200"]) == 0
    return folder


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=named)
def test_the_code_of_a_page_runs(page: Path, demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every block marked python, one after another, after the demo."""
    monkeypatch.chdir(demo)
    monkeypatch.setattr("hmrfit.keypoints._SETS", dict(keypoints._SETS))  # what a page registers is its own
    only_here(monkeypatch, PROTOCOLS)
    names: dict[str, object] = {}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, named(page), "exec"), names)  # our own text


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for link, _ in LINK.findall(page.read_text()):
        assert (page.parent / link).exists(), f"{named(page)} links {link}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text()
    missing = [named(page) for page in PAGES if page.relative_to(ROOT / "docs").as_posix() not in navigation]
    assert not missing


def test_the_reference_names_everything_that_is_public() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    homes = {name: hmrfit._HOMES[name] for name in hmrfit.__all__ if name in hmrfit._HOMES}
    whole = {home for home in homes.values() if f"::: {home}\n" in reference}
    missing = [n for n, home in homes.items() if home not in whole and f"::: {home}.{n}\n" not in reference]
    assert not missing, f"docs/reference.md lacks {', '.join(missing)}"

"""How much the command line says; what it needs to be asked; its completion; what the library leaves to its logger."""

import ast
import io
import logging
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm import tqdm

import hmrfit
from hmrfit.cli import main
from hmrfit.cli.messages import print_json, saying

SOURCES = Path(hmrfit.__file__).parent


def test_verbose_shows_what_the_library_logs(capsys: pytest.CaptureFixture) -> None:
    logger = logging.getLogger("hmrfit")
    with saying(verbose=True):
        logger.info("a detail")
    with saying(quiet=True):
        logger.warning("a doubt")
        logger.error("a loss")
        print("text")
    with saying(quiet=True, only_json=True):
        print_json({"error": float("nan"), "of": [1.5, float("inf")]})
    said = capsys.readouterr()
    assert said.err == "INFO: a detail\nERROR: a loss\n"
    assert said.out == '{"error": null, "of": [1.5, null]}\n'
    assert not logger.handlers or all(not isinstance(h, logging.StreamHandler) for h in logger.handlers)


def test_quiet_draws_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", terminal)
    list(tqdm(range(3), disable=None))
    before = terminal.tell()
    with saying(quiet=True):
        list(tqdm(range(3), disable=None))
    assert before > 0 and terminal.tell() == before


def test_only_the_command_line_prints() -> None:
    printing = [
        path.relative_to(SOURCES).as_posix()
        for path in sorted(SOURCES.rglob("*.py"))
        if path.parent.name != "cli" and "print(" in (text := path.read_text())
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert not printing, f"{printing}: use logging.getLogger('hmrfit'), or give the text back"


def test_asking_for_help_loads_nothing_large() -> None:
    program = (
        "import sys; from hmrfit.cli import parser; parser().format_help(); "
        "print([m for m in ('torch', 'numpy', 'cv2', 'scipy', 'tqdm') if m in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_flags(
    shell: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    said = capsys.readouterr().out
    assert all(word in said for word in ("hmrfit", "evaluate", "--keypoint-set", "--protocol"))
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", shell]) == 2
    assert "pip install 'hmrfit[completion]'" in capsys.readouterr().err


def test_help_on_fit_is_short_until_its_first_sentence() -> None:
    text = pydoc.plain(pydoc.render_doc(hmrfit.fit))
    before = text.partition("Fits a body to every person of a photograph.")[0]
    assert "numpy" not in before and len(before) < 1200

"""Without any licensed or optional package: every module imports, and the demo fits a body."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OPTIONAL = ("smplx", "anny", "pytorch3d", "tensorboard", "cdflib", "h5py", "matplotlib", "chumpy")
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({OPTIONAL!r}))\n"

IMPORT_ALL = """
import importlib, pkgutil, hmrfit
names = [m.name for m in pkgutil.walk_packages(hmrfit.__path__, "hmrfit.")]
names = [n for n in names if not n.startswith(("hmrfit._priors", "hmrfit._configs", "hmrfit.__main__"))]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def run_blocked(code: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Python without the optional packages and without the user's own parameters, in an empty folder."""
    environment = {"PYTHONPATH": str(ROOT), "HMRFIT_HOME": str(folder), "HOME": str(folder), "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", BLOCK + code, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_every_module_imports(tmp_path: Path) -> None:
    done = run_blocked(IMPORT_ALL, tmp_path)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
    assert done.stderr == "", "importing hmrfit should be silent"


@pytest.mark.skipif(importlib.util.find_spec("hmrfit.cli") is None, reason="hmrfit/cli.py is not there yet")
def test_the_demo_runs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = "from hmrfit.cli import main; sys.exit(main(sys.argv[1:]))"
    done = run_blocked(code, tmp_path, "demo", "-o", str(out))
    assert done.returncode == 0, done.stderr
    assert list(out.rglob("*.png")) + list(out.rglob("*.jpg")), "the demo left no picture"
    assert list(out.rglob("*.npz")), "the demo left no result"

"""The package carries its data with it: in a wheel, in a checkout, from any working directory."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hmrfit.assets import locate
from hmrfit.version import __version__

ROOT = Path(__file__).resolve().parents[1]
LICENSED = {"smplx"}
BASE = {"torch", "numpy", "scipy", "opencv-python", "tqdm", "yacs", "trimesh"}
WHERE = "from hmrfit.assets import *; print(shipped('priors')); print(shipped('configs')); print(locate({!r}))"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel would hold, built from a copy of the checkout's sources."""
    pytest.importorskip("setuptools")
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("hmrfit", "priors", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build", "--build-lib", "lib"], cwd=copy, check=True, capture_output=True
    )
    return copy / "lib"


def relative(folder: Path) -> set[str]:
    return {f.relative_to(folder).as_posix() for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts}


def test_the_wheel_holds_the_library_and_all_its_data(built: Path) -> None:
    library = {f for f in relative(built / "hmrfit") if not f.startswith(("_priors/", "_configs/"))}
    assert library == relative(ROOT / "hmrfit")


def test_the_wheel_holds_priors_and_configs_without_their_scripts(built: Path) -> None:
    for folder in ("priors", "configs"):
        expected = {f for f in relative(ROOT / folder) if "/" not in f}
        assert relative(built / "hmrfit" / f"_{folder}") == expected


@pytest.mark.parametrize("kind", ["wheel", "checkout"])
def test_parameters_are_found_from_anywhere(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    shipped = sorted((ROOT / "priors").glob("*.npz"))
    if not shipped:
        pytest.skip("no parameters are built yet")
    root = request.getfixturevalue("built") if kind == "wheel" else ROOT
    expected = (
        [root / "hmrfit/_priors", root / "hmrfit/_configs"] if kind == "wheel" else [ROOT / "priors", ROOT / "configs"]
    )
    environment = {"PYTHONPATH": str(root), "HMRFIT_HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-c", WHERE.format(shipped[0].stem)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.split() == [str(p) for p in (*expected, expected[0] / shipped[0].name)]


PARAMETERS = sorted(f for f in (ROOT / "priors").iterdir() if f.suffix in (".npz", ".pt"))


@pytest.mark.parametrize("file", PARAMETERS, ids=lambda f: f.name)
def test_every_parameter_file_is_small_whole_and_has_a_card(file: Path) -> None:
    """The card names the contents, the command that rebuilds them and the licence."""
    assert file.stat().st_size < 20e6
    card = file.with_suffix(".md")
    assert card.is_file(), f"{file.name} needs a card, {card.name}: origin, licence, attribution, rebuild, scores."
    for word in (r"(?i)rebuild", r"(?i)licence|MIT|CC0|Apache"):
        assert re.search(word, card.read_text()), f"{card.name} should say the licence and how to rebuild it ({word})."
    assert locate(file.stem, file.parent) == file


def setup_arguments(monkeypatch: pytest.MonkeyPatch) -> dict:
    """The arguments that setup.py passes to setuptools."""
    setuptools = pytest.importorskip("setuptools")
    passed: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: passed.update(arguments))
    monkeypatch.chdir(ROOT)
    path = ROOT / "setup.py"
    exec(compile(path.read_text(), str(path), "exec"), {"__file__": str(path), "__name__": "setup"})
    return passed


def package(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower()


def test_the_base_is_small_and_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package whose licence forbids commercial use is installed only by an extra that names it."""
    arguments = setup_arguments(monkeypatch)
    assert {package(r) for r in arguments["install_requires"]} == BASE
    with_licensed = {
        extra for extra, needs in arguments["extras_require"].items() if LICENSED & set(map(package, needs))
    }
    assert with_licensed == {"smplx", "test"}


def test_the_constraints_pin_every_requirement(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = setup_arguments(monkeypatch)
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().split("\n")
        if "==" in line and line[0] != "#"
    )
    pins = {name.lower(): version for name, version in pins.items()}
    wanted = [
        *arguments["install_requires"],
        *(r for extra in ("smplx", "body", "test", "dev") for r in arguments["extras_require"][extra]),
    ]
    numbers = lambda version: tuple(int(n) for n in version.split("."))  # noqa: E731
    for requirement in wanted:
        least = requirement.partition(">=")[2]
        assert least and package(requirement) in pins, (
            f"{requirement}: give a least version and a line in constraints.txt."
        )
        assert numbers(pins[package(requirement)]) >= numbers(least), requirement


def test_the_version_has_one_home(monkeypatch: pytest.MonkeyPatch) -> None:
    assert setup_arguments(monkeypatch)["version"] == __version__
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_continuous_integration_runs_the_readmes_test_command() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    assert "make test" in script and "set -e" in script
    readme = ROOT / "README.md"
    assert not readme.exists() or "make test" in readme.read_text()

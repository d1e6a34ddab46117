"""The package carries its data with it: in a wheel, in a checkout, from any working directory."""

import importlib.util
import io
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest

from hmrfit.assets import locate
from hmrfit.cli import doctor
from hmrfit.version import ADDRESS, __version__

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


def setup_script(monkeypatch: pytest.MonkeyPatch) -> tuple[dict, dict]:
    """What setup.py defines, and the arguments that it passes to setuptools."""
    setuptools = pytest.importorskip("setuptools")
    passed: dict = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: passed.update(arguments))
    monkeypatch.chdir(ROOT)
    path = ROOT / "setup.py"
    defined = {"__file__": str(path), "__name__": "setup"}
    exec(compile(path.read_text(), str(path), "exec"), defined)
    return defined, passed


def setup_arguments(monkeypatch: pytest.MonkeyPatch) -> dict:
    return setup_script(monkeypatch)[1]


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
        *(
            r
            for extra in ("smplx", "body", "heic", "completion", "test", "dev")
            for r in arguments["extras_require"][extra]
        ),
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


def test_the_long_description_is_whole_wherever_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address links stay as they are in the README; with one, pictures and pages are found from outside."""
    whole = setup_script(monkeypatch)[0]["long_description"]
    text = "![A body](demo.jpg) [card](priors/free_body.md) [top](#limits) [other](https://a.example/b) `f(x)`"
    assert whole(text, "") == text
    assert whole(text, "https://host.example/hmrfit") == (
        "![A body](https://host.example/hmrfit/raw/main/demo.jpg) "
        "[card](https://host.example/hmrfit/blob/main/priors/free_body.md) "
        "[top](#limits) [other](https://a.example/b) `f(x)`"
    )
    readme = whole((ROOT / "README.md").read_text(), "https://host.example/hmrfit")
    for link in re.findall(r"\]\(([^)\s]+)\)", readme):
        place = link.removeprefix("https://host.example/hmrfit").partition("/main/")[2]
        assert link.startswith(("https:", "http:", "#", "mailto:")) and (not place or (ROOT / place).exists()), link


def test_addresses_come_from_one_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    defined, arguments = setup_script(monkeypatch)
    assert arguments["project_urls"] == defined["project_urls"](ADDRESS)
    assert defined["project_urls"]("") == {}
    assert defined["project_urls"]("https://host.example/hmrfit")["Issues"] == "https://host.example/hmrfit/issues"


def test_the_classifiers_name_the_pythons_that_are_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = setup_arguments(monkeypatch)
    named = {c.rpartition(" ")[2] for c in arguments["classifiers"] if re.search(r":: 3\.\d+$", c)}
    assert named == {"3.11", "3.12", "3.13"} and arguments["python_requires"] == ">=3.11,<3.14"
    workflow = (ROOT / ".github/workflows/tests.yml").read_text()
    assert all(f'"{python}"' in workflow for python in named)
    for command in ("make test", "make check", "make docs", "twine check --strict"):
        assert f"run: {command}" in workflow or command in workflow


def test_extras_that_are_named_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    """In messages, in the README and in the documentation; and `hmrfit doctor` names what each is for."""
    extras = set(setup_arguments(monkeypatch)["extras_require"])
    texts = [*(ROOT / "hmrfit").rglob("*.py"), *(ROOT / "docs").rglob("*.md"), ROOT / "README.md"]
    for path in texts:
        for names in re.findall(r"hmrfit\[([a-z, ]+)\]", path.read_text()):
            assert set(re.split(r",\s*", names)) <= extras, f"{path.relative_to(ROOT)}: hmrfit[{names}]"
    assert {extra for extra, _ in doctor.EXTRAS.values()} <= extras


def test_the_citation_names_this_version() -> None:
    """And no person, address or identifier that does not exist."""
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"version: {__version__}\n" in citation and "license: MIT" in citation
    assert ADDRESS or not re.search(r"doi|https?:|email|orcid", citation)


def test_the_source_archive_is_told_all_that_is_needed() -> None:
    """Every file beside the package that git holds is named in MANIFEST.in, so that its tests run."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no checkout")
    patterns: list[str] = ["hmrfit/*", "setup.py", "pyproject.toml", "MANIFEST.in", ".gitignore", "*/__init__.py"]
    for line in (ROOT / "MANIFEST.in").read_text().splitlines():
        kind, *words = line.split()
        patterns += words if kind == "include" else [f"{words[0]}/{word}" for word in words[1:]]
    missing = [f for f in listed.stdout.split() if not any(fnmatch(f, pattern) for pattern in patterns)]
    assert not missing, f"MANIFEST.in leaves out {missing}"


def test_the_installation_shows_progress_and_its_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal one line that changes; in a log whole lines; pip's own words and exit code where it fails."""
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    install = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(install)
    pip = "import sys, time; print('Collecting what'); sys.stdout.flush(); time.sleep(0.3); sys.exit(%d)"
    popen = subprocess.Popen
    for terminal in (True, False):
        for code in (0, 3):
            screen = io.StringIO()
            monkeypatch.setattr(screen, "isatty", lambda seen=terminal: seen, raising=False)
            monkeypatch.setattr(install, "TICK", 0.05)
            monkeypatch.setattr(install, "TICK_IN_LOGS", 0.05)
            fake = [sys.executable, "-c", pip % code]
            monkeypatch.setattr(install.subprocess, "Popen", lambda _, fake=fake, **given: popen(fake, **given))
            assert install.install(["a"], screen) == code
            said = screen.getvalue()
            assert "0 s  Collecting what" in said and ("\r" in said) == terminal
            assert said.endswith("Collecting what\n" if code or not terminal else "\r\033[K")

"""The house stands: imports point down, heavy packages have one door, the lower floors are quiet, files are short."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = {
    "cli": 8, "__main__": 8, "__init__": 8,
    "api": 7, "api_groups": 7, "free_focal": 7, "make_result": 7, "result": 7, "result_file": 7, "result_rows": 7,
    "config": 6, "build": 6, "assets": 6, "evidence": 6,
    "train": 5, "evaluate": 5, "datasets": 5, "synthetic": 5, "motion": 5, "export": 5, "report": 5,
    "fitting": 4,
    "priors": 3, "network": 3, "render": 3, "body": 3,
    "io": 2,
    "types": 1, "camera": 1, "keypoints": 1,
    "ops": 0, "version": 0,
}  # fmt: skip
"""What stands directly in hmrfit/, and on which floor. A module may import its own floor and those below."""

QUIET_BELOW = LAYERS["config"]
BASE = {"torch", "numpy", "scipy", "tqdm", "trimesh", "hmrfit", *sys.stdlib_module_names}
DOORS = {
    "yacs": {"hmrfit/config.py", "hmrfit/build.py", "hmrfit/cli.py"},
    "yaml": {"hmrfit/config.py"},
    "smplx": {"hmrfit/body/smplx_body.py"},
    "pytorch3d": {"hmrfit/render/pytorch3d_backend.py"},
    "cv2": {"hmrfit/io/opencv.py"},
    "pickle": set(),
}
"""The only files that may import these. Pickles are read by hmrfit.io.pickle_values, which runs nothing."""

LONGEST = 600
SOURCES = sorted((ROOT / "hmrfit").rglob("*.py"))
EVERY = [p for d in ("hmrfit", "priors", "configs", "benchmarks", "tests") for p in sorted((ROOT / d).rglob("*.py"))]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def part_of(module: str) -> str:
    """hmrfit.body.smpl -> body; hmrfit itself -> __init__."""
    return module.split(".")[1] if "." in module else "__init__"


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), named(path))


@cache
def modules() -> frozenset[str]:
    return frozenset(map(module_of, SOURCES))


def imported(path: Path, nodes: Iterator[ast.AST]) -> Iterator[tuple[str, int]]:
    """(dotted name, line) of everything imported; `from hmrfit import x` is hmrfit.x where that is a module."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{named(path)}:{node.lineno}: write the import in full, hmrfit.…, not relative."
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield (full if full in modules() else node.module), node.lineno


def inner_imports(path: Path) -> list[tuple[str, int]]:
    return [(name, line) for name, line in imported(path, ast.walk(tree(path))) if name.split(".")[0] == "hmrfit"]


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_imports_point_down(path: Path) -> None:
    part = part_of(module_of(path))
    assert part in LAYERS, f"hmrfit/{part} is on no floor yet: add it to LAYERS in {named(Path(__file__))}."
    for name, line in inner_imports(path):
        below = part_of(name)
        assert LAYERS.get(below, 9) <= LAYERS[part], (
            f"{named(path)}:{line} imports {name}, which stands above it ({below} on floor {LAYERS.get(below)}, {part} "
            f"on {LAYERS[part]}). Move what is needed down, or hand it in as an argument."
        )


def test_no_module_needs_itself() -> None:
    graph = {module_of(p): {name for name, _ in inner_imports(p) if name != "hmrfit"} - {module_of(p)} for p in SOURCES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"These import each other in a circle: {' -> '.join(error.args[1])}.")


@pytest.mark.parametrize("package", DOORS)
def test_heavy_packages_have_one_door(package: str) -> None:
    users = {named(p) for p in SOURCES for name, _ in imported(p, ast.walk(tree(p))) if name.split(".")[0] == package}
    assert users <= DOORS[package], f"{package} belongs only in {DOORS[package] or 'no file'}, not in {users}."


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_what_is_optional_is_imported_on_first_use(path: Path) -> None:
    doors = {package for package, files in DOORS.items() if named(path) in files} - {"smplx", "pytorch3d"}
    for name, line in imported(path, iter(tree(path).body)):
        assert name.split(".")[0] in BASE | doors, (
            f"{named(path)}:{line}: import {name} inside the function that uses it."
        )


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_the_lower_floors_are_quiet(path: Path) -> None:
    if LAYERS.get(part_of(module_of(path)), 0) >= QUIET_BELOW:
        return
    for name, node in calls(path):
        assert name != "print", f"{named(path)}:{node.lineno} prints: return the text, or raise."
        assert not name.endswith(".cuda"), (
            f"{named(path)}:{node.lineno}: the caller chooses the device; follow the tensors."
        )
        assert name not in ("os.getenv", "os.putenv"), f"{named(path)}:{node.lineno}: take it as an argument."
    for node in ast.walk(tree(path)):
        said = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
        assert said != "os.environ", f"{named(path)}: the environment is read by hmrfit.assets; take it as an argument."


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_nothing_runs_what_a_file_says(path: Path) -> None:
    if "tests" in path.parts:
        return
    for name, node in calls(path):
        at, keywords = f"{named(path)}:{node.lineno}", {k.arg: ast.unparse(k.value) for k in node.keywords}
        assert name not in ("eval", "exec", "pickle.load", "pickle.loads"), f"{at}: {name} runs what it is given."
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", f"{at}: torch.load needs weights_only=True."
        if name == "np.load":
            assert keywords.get("allow_pickle", "False") == "False", f"{at}: np.load without allow_pickle."


@pytest.mark.parametrize("path", EVERY, ids=named)
def test_files_are_short_and_introduce_themselves(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST or "tests" in path.parts, f"{named(path)}: {lines} lines, more than {LONGEST}; split it."
    assert lines == 0 or ast.get_docstring(tree(path)), f"{named(path)} should open with what it is, or its equation."

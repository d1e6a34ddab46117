"""Imports point down, heavy packages have one door, the lower floors are quiet, files are short, names are unique."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

FLOORS = (
    ("ops", "version"),
    ("types", "camera", "keypoints", "hand_keypoints"),
    ("io",),
    ("body", "network", "priors", "render", "video"),
    ("fitting",),
    ("motion", "datasets", "synthetic", "evaluate", "export", "train"),
    ("assets", "config", "build", "hand_files", "hand_model", "with_hands"),
    ("detectors", "hand_image", "likely_up"),
    ("several", "people_in_views", "prepare", "free_focal", "mend_frames"),
    ("result_text", "result_data", "result_file", "world", "world_data"),
    ("report",),
    (
        "result",
        "make_result",
        "groups",
        "long_sequence",
        "views_sequence",
        "pipeline",
        "api",
        "hand",
        "video_result",
        "video_fit",
        "adapt_detector",
    ),
    ("cli", "engines", "__main__", "__init__"),
)
"""What stands directly in hmrfit/, from the ground up. A module may import itself, the floors below its own, and what
ALLOWED_SIDEWAYS names."""

ALLOWED_SIDEWAYS = {
    "camera": {"types"},
    "hand_keypoints": {"keypoints"},
    "network": {"body"},
    "priors": {"body", "network"},
    "video": {"render"},
    "synthetic": {"datasets"},
    "evaluate": {"datasets"},
    "train": {"datasets", "evaluate", "motion", "synthetic"},
    "config": {"assets"},
    "build": {"assets", "config", "with_hands"},
    "with_hands": {"assets", "config"},
    "hand_model": {"assets"},
    "prepare": {"several"},
    "result_data": {"result_text"},
    "result_file": {"result_data"},
    "world_data": {"result_data", "result_file", "world"},
    "make_result": {"result"},
    "groups": {"result"},
    "views_sequence": {"groups", "make_result", "result"},
    "long_sequence": {"groups"},
    "pipeline": {"groups", "long_sequence", "make_result", "result", "views_sequence"},
    "api": {"groups", "pipeline", "result"},
    "hand": {"pipeline", "result"},
    "video_result": {"result"},
    "video_fit": {"groups", "pipeline", "result", "video_result"},
    "cli": {"engines"},
    "__main__": {"cli"},
}
"""Module -> the modules of its own floor that it may import. Every entry is used, and they form no circle."""

FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}

QUIET_BELOW = FLOOR["config"]
BASE = {"torch", "numpy", "scipy", "tqdm", "trimesh", "hmrfit", *sys.stdlib_module_names}
DOORS = {
    "yacs": {f"hmrfit/{name}.py" for name in ("config", "build", "hand", "pipeline", "prepare", "with_hands")},
    "yaml": {"hmrfit/config.py", "hmrfit/datasets/dexycb.py"},
    "smplx": {"hmrfit/body/smplx_body.py"},
    "pytorch3d": {"hmrfit/render/backends/pytorch3d.py"},
    "cv2": {"hmrfit/io/opencv.py"},
    "av": {"hmrfit/video/pyav.py"},
    "rtmlib": {"hmrfit/detectors/rtmlib.py"},
    "pillow_heif": {"hmrfit/io/heic.py"},
    "shtab": {"hmrfit/cli/completion.py"},
    "viser": {"hmrfit/report/live.py"},
    "mediapipe": {"hmrfit/detectors/mediapipe.py"},
    "pyarrow": {"hmrfit/io/parquet.py"},
    "ray": {"hmrfit/engines/ray_data.py"},
    "pickle": set(),
}
"""The only files that may import these. Pickles are read by hmrfit.io.pickles, which runs nothing."""

HERE = "tests/test_layers.py"
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
    assert part in FLOOR, f"hmrfit/{part} is on no floor yet: add it to FLOORS in {HERE}."
    for name, line in inner_imports(path):
        other = part_of(name)
        at = f"{named(path)}:{line} imports {name}, which stands"
        assert other in FLOOR, f"{at} on no floor yet: add {other} to FLOORS in {HERE}."
        assert FLOOR[other] <= FLOOR[part], (
            f"{at} above it ({other} on floor {FLOOR[other]}, {part} on {FLOOR[part]}). Move what is needed down, or "
            f"pass it as an argument."
        )
        assert other == part or FLOOR[other] < FLOOR[part] or other in ALLOWED_SIDEWAYS.get(part, ()), (
            f"{at} beside it, on floor {FLOOR[part]}. Move what both need down, or pass it as an argument; "
            f"where {part} is built on {other} by design, add that to ALLOWED_SIDEWAYS in {HERE}."
        )


def test_the_floors_name_only_what_exists() -> None:
    assert len(FLOOR) == sum(map(len, FLOORS)), "A module stands on one floor only."
    gone = set(FLOOR) - {part_of(module_of(path)) for path in SOURCES}
    assert not gone, f"hmrfit has no {', '.join(sorted(gone))} any more: take it out of FLOORS in {HERE}."


def test_the_sideways_imports_are_those_of_the_table() -> None:
    used = defaultdict(set)
    for path in SOURCES:
        part = part_of(module_of(path))
        for name, _ in inner_imports(path):
            if part_of(name) != part and FLOOR.get(part_of(name)) == FLOOR.get(part):
                used[part].add(part_of(name))
    unused = {(part, other) for part, others in ALLOWED_SIDEWAYS.items() for other in others - used[part]}
    assert not unused, f"No longer imported: take {sorted(unused)} out of ALLOWED_SIDEWAYS in {HERE}."
    try:
        TopologicalSorter(ALLOWED_SIDEWAYS).prepare()
    except CycleError as error:
        pytest.fail(f"ALLOWED_SIDEWAYS has a circle: {' -> '.join(error.args[1])}.")


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
    if FLOOR.get(part_of(module_of(path)), 0) >= QUIET_BELOW:
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


STILL_LONG = ("tests/test_api_groups.py",)
"""Where lines still have to be broken, while the library is rebuilt. Take a folder out once it has none."""


def suppressed(path: Path) -> list[str]:
    """file:line of every line that is kept long. A table, which is a literal of several lines that is assigned at the
    top of a module, may keep its own layout by `# fmt: skip`."""
    tables = {
        node.end_lineno
        for node in tree(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Tuple | ast.List | ast.Dict | ast.Set)
        and node.lineno != node.end_lineno
    }
    lines = enumerate(path.read_text().splitlines(), 1)
    return [
        f"{named(path)}:{number}"
        for number, line in lines
        if re.search("# noqa: E501|# ruff: noqa: E501", line) or ("# fmt: skip" in line and number not in tables)
    ]


def test_no_line_is_kept_long() -> None:
    others = [path for path in EVERY if not named(path).startswith(STILL_LONG) and path != Path(__file__)]
    found = [place for path in others for place in suppressed(path)]
    assert not found, f"Break these lines instead of `# noqa: E501` or `# fmt: skip`: {', '.join(found)}."


SAME_CLASS: set[str] = set()
"""Public classes that still share their name with another one, while the library is rebuilt. None will be left."""

SAME_FILE: set[str] = set()
"""Files that still share their name with another one."""

PARALLEL = (("hmrfit/datasets/", "hmrfit/evaluate/protocols/"), ("hmrfit/motion/", "hmrfit/export/"))
"""Pairs of folders with a file for each data set or format: one reads it, the other scores or writes it, so they share
the names."""


def homes(found: Iterator[tuple[str, Path]]) -> dict[str, list[str]]:
    """name -> files, where there are several."""
    files: dict[str, list[str]] = defaultdict(list)
    for name, path in found:
        files[name].append(named(path))
    return {name: paths for name, paths in files.items() if len(paths) > 1}


def test_a_public_class_has_a_name_of_its_own() -> None:
    classes = ((n.name, p) for p in SOURCES for n in tree(p).body if isinstance(n, ast.ClassDef) and n.name[0] != "_")
    found = {name: files for name, files in homes(classes).items() if name not in SAME_CLASS}
    assert not found, f"One name for several classes: {found}."


def test_a_file_has_a_name_of_its_own() -> None:
    files = homes((path.name, path) for path in SOURCES if path.name != "__init__.py")
    parallel = {
        name for name, paths in files.items() if any(all(path.startswith(pair) for path in paths) for pair in PARALLEL)
    }
    found = {name: paths for name, paths in files.items() if name not in parallel | SAME_FILE}
    assert not found, f"One name for several files: {found}."


def test_types_are_right() -> None:
    """With the settings of pyproject.toml; what was found is kept in .mypy_cache between runs."""
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache")]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert checked.returncode == 0, f"python -m mypy finds:\n{checked.stdout}{checked.stderr}"

"""Makes the golden record of whole fits, and compares today's fits with it. From the repository's root:

    python -m tests.golden.make                         fits everybody by every route and writes record.npz anew
    python -m tests.golden.make --only mask             the same for one route (may be repeated); the others stay
    python -m tests.golden.make --compare [FILE]        fits everybody and says how far that is from the record
    python -m tests.golden.make --compare --people 6    only some people, spread over all

The inputs stay those of the record; --invent makes new ones. One thread computes, as in the tests.
"""

import argparse
import json
import logging
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .routes import CHAOTIC, ROUTES, Arrays, Chosen

FILE = Path(__file__).with_name("record.npz")
INPUTS = "inputs"

DIGITS = 33
"""Binary digits after the point that are kept, 1e-10. The last bits of doubles would be half of the file."""

FEWER = {"std": 100, "landmark_std": 100}
"""What is kept of the first rows only, so that the file stays small."""

RELATIVE = ("cost", "focal", "depth_longer", "depth_shorter")
"""What is compared as a share of 1 + its size: costs reach thousands."""

COLUMNS = ("poses", "betas", "transl", "cost", "std", "accepted")
"""Of the table that `--compare` prints; all that is not among them is `others`."""

Report = dict[str, float]
"""The name of what was recorded -> its greatest difference."""


def load(file: Path = FILE) -> dict[str, Arrays]:
    """The inputs, under "inputs", and the record of each route."""
    parts: dict[str, Arrays] = {}
    with np.load(file, allow_pickle=False) as arrays:
        for key in arrays.files:
            part, name = key.split("/")
            parts.setdefault(part, {})[name] = arrays[key]
    return parts


def save(parts: Mapping[str, Arrays], file: Path = FILE) -> None:
    """Writes what `load` reads."""
    np.savez_compressed(file, **{f"{part}/{name}": a for part, arrays in parts.items() for name, a in arrays.items()})


def people_of(route: str) -> Chosen:
    """The people that the record has of a route, one a row."""
    return np.setdiff1d(np.arange(ROUTES[route].people), CHAOTIC.get(route, ()))


def some_rows(route: str, count: int | None) -> NDArray[np.int64]:
    """So many rows of the record, spread over all; None for all."""
    rows = len(people_of(route))
    return np.unique(np.linspace(0, rows - 1, min(count or rows, rows)).round().astype(np.int64))


def fits(route: str, inputs: Arrays, rows: NDArray[np.int64] | None = None) -> Arrays:
    """Fits the people of a route, or of some rows of its record; numbers as the record keeps them."""
    people = people_of(route)
    found = ROUTES[route].fit(inputs, people if rows is None else people[rows])
    return {name: _rounded(values) for name, values in found.items()}


def _rounded(values: NDArray) -> NDArray:
    """Float64 to `DIGITS`; anything else as it is."""
    if values.dtype.kind != "f":
        return values
    return np.ldexp(np.round(np.ldexp(values.astype(np.float64), DIGITS)), -DIGITS)


def differences(found: Arrays, record: Arrays, rows: NDArray[np.int64]) -> Report:
    """How far each array is from these rows of the record; of what is `FEWER`, from those that are there.

    Radians of each joint's rotation for poses, the number of other answers for `accepted`, a share for `RELATIVE`,
    metres or what else the numbers are in for the rest. Infinite where shapes differ or numbers are missing.
    """
    if found.keys() != record.keys():
        return dict.fromkeys(found.keys() ^ record.keys(), np.inf)
    kept = {name: rows < FEWER.get(name, np.inf) for name in found}
    return {name: _difference(name, a[kept[name]], record[name][rows[kept[name]]]) for name, a in found.items()}


def _difference(name: str, a: NDArray, b: NDArray) -> float:
    if a.shape != b.shape:
        return np.inf
    if not a.size:
        return 0.0
    if name == "poses":
        return float(_angles(a, b).max())
    if a.dtype == bool:
        return float((a != b).sum())
    apart = np.abs(a - b) / (1 + np.abs(b) if name in RELATIVE else 1)
    return float(np.where(np.isfinite(apart), apart, np.inf).max())


def _angles(a: NDArray, b: NDArray) -> NDArray:
    """Radians between rotations that are given as rotation vectors (..., 3 J): near π two vectors may be one rotation.

    |A − B| = 2 √2 sin(θ / 2), which keeps the digits of small angles.
    """
    apart = np.linalg.norm(_matrices(a) - _matrices(b), axis=(-2, -1))
    return 2 * np.arcsin((apart / np.sqrt(8)).clip(0, 1))


def _matrices(poses: NDArray) -> NDArray:
    """Rodrigues' formula: (..., 3 J) -> (..., J, 3, 3)."""
    vectors = poses.reshape(*poses.shape[:-1], -1, 3)
    angle = np.linalg.norm(vectors, axis=-1)[..., None, None]
    K = np.cross(vectors[..., None, :], np.eye(3)).swapaxes(-1, -2)
    return np.eye(3) + np.sinc(angle / np.pi) * K + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (K @ K)


def greatest(report: Report) -> float:
    """Of all that a route recorded."""
    return max(report.values())


def compare(record: Mapping[str, Arrays], routes: list[str], count: int | None) -> dict[str, Report]:
    """Fits the people of these routes and prints a line each."""
    print(f"{'route':16}{'rows':>5}" + "".join(f"{name:>10}" for name in (*COLUMNS, "others")) + f"{'seconds':>9}")
    reports = {}
    for route in routes:
        began, rows = time.perf_counter(), some_rows(route, count)
        reports[route] = report = differences(fits(route, record[INPUTS], rows), record[route], rows)
        others = max((value for name, value in report.items() if name not in COLUMNS), default=0.0)
        numbers = [*(report.get(name, 0.0) for name in COLUMNS), others]
        line = "".join(f"{value:10.1e}" for value in numbers) + f"{time.perf_counter() - began:9.1f}"
        print(f"{route:16}{len(rows):5}{line}", flush=True)
    return reports


def remake(parts: dict[str, Arrays], routes: list[str]) -> None:
    """Fits everybody of these routes and writes the record."""
    for route in routes:
        began = time.perf_counter()
        parts[route] = {name: values[: FEWER.get(name)] for name, values in fits(route, parts[INPUTS]).items()}
        print(f"{route:16}{len(people_of(route)):5}{time.perf_counter() - began:9.1f} s", flush=True)
    save({name: parts[name] for name in (INPUTS, *ROUTES) if name in parts})


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", nargs="?", type=Path, const=FILE, metavar="FILE", help="with this record")
    parser.add_argument("--only", action="append", choices=ROUTES, metavar="ROUTE", help="this route; may be repeated")
    parser.add_argument("--people", type=int, metavar="N", help="at most so many of each route, when comparing")
    parser.add_argument("--invent", action="store_true", help="new inputs, too")
    parser.add_argument("--threads", type=int, default=1, help="of torch (1)")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)  # some people are meant to be hard
    routes = asked.only or list(ROUTES)
    if asked.compare is None:
        remake(_inputs(asked.invent), routes)
        return
    reports = compare(load(asked.compare), routes, asked.people)
    worst = max(reports, key=lambda route: greatest(reports[route]))
    print(json.dumps({"greatest": greatest(reports[worst]), "route": worst}))


def _inputs(new: bool) -> dict[str, Arrays]:
    """The record to be changed, or one with new inputs only. They are read from the file in any case."""
    if new:
        from .invent import invent

        save({INPUTS: invent()})
    return load()


if __name__ == "__main__":
    main()

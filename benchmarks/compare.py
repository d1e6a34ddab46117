"""Runs the benchmarks and prints their figures beside those that are kept, as ratios.

    python benchmarks/compare.py [--only NAME ...] [--update]                                            (make bench)

Every benchmark ends with one line of JSON. benchmarks/baseline.json keeps that line, with the commit, the machine and
the arguments that it came from; of a benchmark that is not kept it says why. Without options the kept ones are run and
compared. --only runs these, kept or not. --update keeps the new figures.

A benchmark that needs a folder which is not named (HMRFIT_MOTION: motion files, HMRFIT_PHOTOS: photographs) or a
package that is not installed is skipped, and says so. Times of another machine, or beside other programs, are no
measure: compare figures of the processor (`_processor_ms`) and ratios within one run.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _common import ROOT, SKIPPED

HERE = Path(__file__).parent
BASELINE = HERE / "baseline.json"
ARGUMENTS = {
    "fit_speed": ("--people", "256", "--spin", "4", "--threads", "1"),
    "hmr_speed": ("--threads", "1"),
    "uncertainty": ("--people", "2000"),
}
"""What the kept figures are made with, where it is not the default."""

Baseline = dict[str, dict[str, Any]]


def benchmarks() -> dict[str, Path]:
    """name -> script."""
    return {path.stem: path for path in sorted(HERE.glob("[a-z]*.py")) if path != Path(__file__)}


def machine() -> dict[str, Any]:
    """What times depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor() or platform.machine()
    return {"cpu": cpu, "cores": os.cpu_count(), "torch": torch.__version__}


def commit() -> str:
    """The last commit that changed what is measured, with a note where files were changed since."""
    measured = ("--", "hmrfit", "priors", "configs")
    changed = git("status", "--porcelain", *measured)
    return git("log", "-1", "--format=%h", *measured) + (" and changes" if changed else "")


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()


def run(script: Path, arguments: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """(the figures, "") or (None, why there are none)."""
    done = subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)
    if done.returncode == SKIPPED:
        return None, f"skipped: {done.stderr.strip().splitlines()[-1]}"
    if done.returncode:
        return None, f"FAILED with status {done.returncode}:\n{done.stderr.strip()}"
    try:
        return json.loads(done.stdout.strip().splitlines()[-1]), ""
    except (IndexError, ValueError):
        return None, f"FAILED: its last line is not JSON:\n{done.stdout[-500:]}"


def flat(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(name, value) of every figure; those of a group are named group/figure."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}/")
        elif name != "benchmark":
            yield prefix + name, value


def table(kept: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """name, kept, new, new / kept. What is no number is a setting, and is shown where it changed."""
    before, after = dict(flat(kept)), dict(flat(new))
    for name in [*before, *(name for name in after if name not in before)]:
        one, other = before.get(name), after.get(name)
        if number(one) and number(other):
            ratio = f"{other / one:9.3f}" if one else " " * 9
            yield f"  {name:44s}{one:14.6g}{other:14.6g}{ratio}"
        elif one != other:
            yield f"  {name:44s}{shown(one):>14s}{shown(other):>14s}"


def number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def shown(value: object) -> str:
    return f"{value:.6g}" if number(value) else "-" if value is None else f" {value}"


def kept_from(entry: Mapping[str, Any]) -> str:
    """Where kept figures are from."""
    return f"kept: {entry['commit']}, " + ", ".join(f"{key} {value}" for key, value in entry["machine"].items())


def compare(name: str, script: Path, baseline: Baseline, update: bool) -> bool:
    """Run one, print its table, keep it if asked; False where it failed."""
    begin = time.perf_counter()
    arguments = ARGUMENTS.get(name, ())
    print(f"== {' '.join([f'benchmarks/{script.name}', *arguments])}", flush=True)
    figures, reason = run(script, arguments)
    if figures is None:
        print(f"  {reason}")
        return not reason.startswith("FAILED")
    entry, here = baseline.get(name, {}), machine()
    if "figures" in entry:
        print(f"  {kept_from(entry)}; now {time.perf_counter() - begin:.0f} s")
        if entry["machine"] != here:
            print(f"  This machine is another one, {here}: its times say nothing about the code.")
    print(f"  {'':44s}{'kept':>14s}{'new':>14s}{'ratio':>9s}")
    print("\n".join(table(entry.get("figures", {}), figures)), flush=True)
    if update:
        baseline[name] = {"commit": commit(), "machine": here, "arguments": list(arguments), "figures": figures}
    return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run them; 1 where one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=list(benchmarks()), help="only these, kept or not")
    parser.add_argument("--update", action="store_true", help="keep the new figures")
    parser.add_argument("--baseline", type=Path, default=BASELINE, help="the file that keeps them")
    options = parser.parse_args(arguments)
    baseline: Baseline = json.loads(options.baseline.read_text()) if options.baseline.is_file() else {}
    fine = True
    for name, script in benchmarks().items():
        entry = baseline.get(name, {})
        if name in options.only if options.only else "figures" in entry:
            fine &= compare(name, script, baseline, options.update)
            if options.update:  # after each one, so that an interrupted run keeps what it has
                options.baseline.write_text(json.dumps(baseline, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        elif not options.only:
            print(f"== benchmarks/{script.name}\n  not kept: {entry.get('left_out', 'no run is recorded yet')}")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())

"""Does anything break it? Random calls and hostile files, each answered with a result or a documented exception.

    python benchmarks/fuzz.py [--calls 10000] [--files 500] [--seed 0] [--processes 2] [--only call:17]

Calls     of fit, fit_views, fit_sequence, Camera, FitResult.load and read_keypoints, their arguments drawn from
          ordinary values and from NaN, infinity, 1e300, 10^400, empty, wrong shapes and types (`fuzzing/calls.py`)
Files     of every kind that is read: valid ones cut off, changed and edited, and bombs (`fuzzing/files.py`, `bombs.py`)

A call or a reader returns numbers without NaN, or raises ValueError, TypeError or an error of the system (a file that
is not there); anything else is foreign. Each try runs in a process that is ended after 10 s of the processor's time or
100 s of the clock (a hang), and its largest memory is what the system counted while it ran, the library's own 0.5 GB
included. Every failure is printed with its name: `--only NAME`, with the same --seed, repeats it in this process.
"""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from _common import finish
from fuzzing.run import Outcome, attempt, outcomes
from tqdm import tqdm

FAILURES = ("foreign", "nan", "hang")

MEMORY = 2.0
"""GB that a try may take."""


def names(calls: int, files: int) -> Iterator[str]:
    """Every try: the files spread among the calls, so that no process gets all of one kind."""
    every = sorted(
        [(i / max(calls, 1), f"call:{i}") for i in range(calls)]
        + [(i / max(files, 1), f"file:{i}") for i in range(files)]
    )
    yield from (name for _, name in every)


def repeat(name: str, seed: int) -> Outcome:
    """One try in this process, where a debugger reaches it."""
    from fuzzing import calls, files

    with tempfile.TemporaryDirectory() as folder:
        calls.saved_result(Path(folder) / "first.npz")
        files.prepare(Path(folder))
        return attempt(name, seed, Path(folder))


def show(outcome: Outcome) -> str:
    measured = f"{outcome.seconds:6.2f} s {outcome.peak_gb:5.2f} GB"
    detail = outcome.detail.encode("utf-8", "backslashreplace").decode()  # it may quote half of a surrogate pair
    return f"{outcome.name:>10}  {outcome.result:<8} {outcome.what:<18} {measured}  {detail}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", help="the name of one try, such as call:17 or file:3")
    parser.add_argument("--verbose", action="store_true", help="print every try, not only the failures")
    args = parser.parse_args()
    if args.only:
        outcome = repeat(args.only, args.seed)
        print(show(outcome))
        sys.exit(outcome.result in FAILURES)
    print(f"{args.calls} calls and {args.files} files. A failure is repeated by --seed {args.seed} --only NAME.")
    begun, found = time.monotonic(), []
    tries = list(names(args.calls, args.files))
    for outcome in tqdm(outcomes(tries, args.seed, args.processes), total=len(tries), unit="try", disable=None):
        found.append(outcome)
        if args.verbose or outcome.result in FAILURES or outcome.peak_gb > MEMORY:
            tqdm.write(show(outcome))
    counts = Counter(outcome.result for outcome in found)
    for what in sorted({outcome.what for outcome in found}):
        own = [outcome for outcome in found if outcome.what == what]
        done = ", ".join(f"{n} {result}" for result, n in sorted(Counter(o.result for o in own).items()))
        slowest, largest = max(o.seconds for o in own), max(o.peak_gb for o in own)
        print(f"{what:<18} {len(own):5}  {done:<48} at most {slowest:.1f} s, {largest:.2f} GB")
    print(f"{time.monotonic() - begun:.0f} s")
    finish(
        benchmark="fuzz",
        calls=args.calls,
        files=args.files,
        foreign=counts["foreign"],
        nan=counts["nan"],
        hangs=counts["hang"],
        peak_gb=max((outcome.peak_gb for outcome in found), default=0.0),
    )


if __name__ == "__main__":
    main()

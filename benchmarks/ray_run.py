"""Does a run by Ray Data survive what clusters do, and what does it cost? On one machine, with a local cluster.

    python benchmarks/ray_run.py [--people 5000] [--actors 2]      needs ray and pyarrow (pip install 'hmrfit[ray]')

A table of people (shipped poses, 17 COCO keypoints with 1 % noise, some rows broken on purpose) is fitted by
`hmrfit.engines.ray_data`. When a quarter is written, a worker that fits is killed; when half is written, the driver is,
by kill -9. A second run goes on by Ray's checkpoint. Then everybody is there once, and the numbers are those of one
process (`largest_difference`: metres and radians, of all people). `people_per_second_...` are of the clock: one process
without its start; both runs of Ray with theirs, which is most of it on one machine: Ray is for many.
"""

import argparse
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from _common import ROOT, finish, skip, world_poses
from folder_speed import family

from hmrfit.build import load_body
from hmrfit.engines.fit_rows import FitAsked, RowFitter
from hmrfit.keypoints import COCO17
from hmrfit.synthetic.people import Corruption, Views, make_people

BROKEN_EVERY = 500
"""Every so many rows, one has no usable keypoints."""

SIZE = 1024, 768

DRIVER = """
import sys
from hmrfit.engines.fit_rows import FitAsked
from hmrfit.engines.ray_data import RayRun
if __name__ == "__main__":
    RayRun(sys.argv[1], sys.argv[2], FitAsked(), actors=int(sys.argv[3])).run()
"""


def make_table(count: int) -> list[dict[str, object]]:
    """Rows of people."""
    body, generator = load_body("free_body"), torch.Generator().manual_seed(0)
    poses, _ = world_poses(None, None, count, 0)
    people = make_people(body, poses, COCO17, generator, Views(size=SIZE), Corruption())
    points = torch.cat([people.keypoints.xy, people.keypoints.confidence[..., None]], -1).flatten(1)
    points[::BROKEN_EVERY] = torch.nan
    known = {"keypoint_set": "coco17", "image_size": list(SIZE)}
    return [{"id": f"person{i:06d}", "keypoints": p, **known} for i, p in enumerate(points.tolist())]


def start(source: Path, out: Path, actors: int) -> subprocess.Popen:
    """A driver; what it says goes to `source`.log."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_DATA_DISABLE_PROGRESS_BARS": "1"}
    command = [sys.executable, "-c", DRIVER, str(source), str(out), str(actors)]
    with source.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def said_in(source: Path) -> str:
    """The end of what the drivers said."""
    return source.with_suffix(".log").read_text(errors="replace")[-2000:]


def written(out: Path) -> int:
    """Rows that are there, in whole files."""
    import pyarrow as pa
    import pyarrow.parquet as parquet

    count = 0
    for file in (out / "people").glob("*.parquet") if (out / "people").is_dir() else ():
        with suppress(pa.ArrowInvalid, OSError):  # it is being written
            count += parquet.read_metadata(file).num_rows
    return count


def interrupted_run(source: Path, out: Path, actors: int, people: int) -> tuple[int, bool]:
    """(rows that were written when the driver was killed, whether a worker was killed before). Exits where it ended by
    itself before."""
    driver, killed = start(source, out, actors), False
    while driver.poll() is None:
        time.sleep(0.5)
        count = written(out)
        if count >= people // 4 and not killed:
            killed = kill_a_worker(driver.pid)
        if count >= people // 2:
            for process in [driver.pid, *family(driver.pid)[1:]]:
                end(process)
    if (code := driver.wait()) != -signal.SIGKILL:
        sys.exit(f"The first run ended with {code}, before it was killed. It said:\n{said_in(source)}")
    return written(out), killed


def end(process: int) -> None:
    """kill -9."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def kill_a_worker(driver: int) -> bool:
    """One of the driver's own that fits; whether there was one."""
    for process in family(driver)[1:]:
        try:
            command = Path(f"/proc/{process}/cmdline").read_bytes()
        except OSError:
            continue
        if b"_Fit" in command:
            end(process)
            return True
    return False


def main() -> None:
    """Runs, is killed, goes on, compares, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=5000, metavar="N")
    parser.add_argument("--actors", type=int, default=2, metavar="N", help="that fit")
    options = parser.parse_args()
    try:
        import pyarrow as pa
        import pyarrow.parquet as parquet
        import ray  # noqa: F401
    except ImportError as error:
        skip(f"needs ray and pyarrow, {error}: pip install 'hmrfit[ray]'")
    torch.set_num_threads(1)
    logging.getLogger("hmrfit").addHandler(logging.NullHandler())  # the rows have the warnings
    rows = make_table(options.people)
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "people.parquet", Path(folder) / "out"
        parquet.write_table(pa.Table.from_pylist(rows), source)
        began = time.perf_counter()
        before, killed = interrupted_run(source, out, options.actors, options.people)
        code = start(source, out, options.actors).wait()
        seconds = time.perf_counter() - began
        if code:
            sys.exit(f"The second run ended with {code} and {written(out)} rows. It said:\n{said_in(source)}")
        found = parquet.read_table(out / "people").to_pylist()
    fit = RowFitter(FitAsked())
    fit(rows[:2])  # everything is loaded
    began = time.perf_counter()
    alone = [row for i in range(0, len(rows), 64) for row in fit(rows[i : i + 64])]
    alone_seconds = time.perf_counter() - began
    by_id = {row["id"]: row for row in found}
    differences = [difference(by_id[row["id"]], row) for row in alone if row["id"] in by_id]
    finish(
        benchmark="ray_run",
        people=options.people,
        second_run_ended_with=code,
        rows_before_the_driver_was_killed=before,
        a_worker_was_killed=killed,
        rows=len(found),
        ids=len(by_id),
        rows_with_a_reason=sum(row["poses"] is None for row in found),
        largest_difference=max(differences),
        people_per_second_two_runs_of_ray=options.people / seconds,
        people_per_second_one_process=options.people / alone_seconds,
    )


def difference(one: dict, other: dict) -> float:
    """Of the numbers of two rows; infinite where one has none."""
    if (one["poses"] is None) != (other["poses"] is None):
        return float("inf")
    if one["poses"] is None:
        return 0.0
    names = ("poses", "betas", "transl", "joints", "joint_std")
    return max(float(np.abs(np.subtract(one[name], other[name])).max()) for name in names)


if __name__ == "__main__":
    main()

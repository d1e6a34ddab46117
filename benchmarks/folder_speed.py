"""How fast is `hmrfit fit FOLDER`: photographs a second, processor time for each, memory?

    python benchmarks/folder_speed.py [--photographs 500] [--people 2] [--keep FOLDER]

The folder is made here: photographs of one megapixel (1152 × 864 JPEG) with two people side by side, drawn bodies of
the shipped poses before noise, their 17 COCO keypoints with 1 % noise in one JSON a photograph. The command is run as
a user runs it, in a process of its own, once with and once without pictures:

    photos_per_second_...  photographs by the seconds of the whole command, its start included
    cpu_seconds_...        processor time of all of its processes, by photographs; `..._per_photo`: with pictures
    peak_gb                the most memory of its processes together at one time (PSS: what they share counts once)
    start_seconds          of a command with one photograph, without pictures

--keep leaves the folder, and uses the photographs that an earlier run left there.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from _common import ROOT, finish, world_poses

from hmrfit.build import load_body
from hmrfit.io.image import write_image
from hmrfit.io.opencv import cv2
from hmrfit.keypoints import COCO17
from hmrfit.render.shading import shade
from hmrfit.synthetic.people import Corruption, Views, make_people

SIZE = 1152, 864
"""Pixels, width and height."""

EVERY = 0.25
"""Seconds between two looks at the memory."""


class Measured(NamedTuple):
    """One run of the command."""

    seconds: float
    processor: float  # seconds
    peak_gb: float


def make_folder(folder: Path, photographs: int, each: int, seed: int = 0) -> None:
    """`photographs` images with `each` people side by side, and their keypoints."""
    body = load_body("free_body")
    poses, _ = world_poses(None, None, photographs * each, seed)
    generator = torch.Generator().manual_seed(seed)
    views, noise = Views(size=(SIZE[0] // each, SIZE[1])), Corruption()
    people = make_people(body, poses, COCO17, generator, views, noise)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for i in range(photographs):
        rows = range(i * each, (i + 1) * each)
        image, points = background(rng), []
        for place, row in enumerate(rows):
            left = place * views.size[0]
            one = people.params[[row]]
            part = image[:, left : left + views.size[0]]
            layer = shade(body(one).mesh, body.faces, people.camera[[row]], rng.uniform(0.2, 0.8, (1, 3)))
            image[:, left : left + views.size[0]] = layer.over(part)
            seen = people.keypoints[row]
            points.append(torch.cat([seen.xy[0] + torch.tensor([left, 0]), seen.confidence[0, :, None]], 1))
        write_image(folder / f"{i:06d}.jpg", image)
        found = [{"image_id": f"{i:06d}", "keypoints": p.flatten().tolist(), "score": 1} for p in points]
        (folder / f"{i:06d}.json").write_text(json.dumps(found))


def background(rng: np.random.Generator) -> np.ndarray:
    """Noise at several scales, as hard to decode as a photograph."""
    width, height = SIZE
    picture = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64, 256):
        noise = rng.uniform(-1, 1, (cells * height // width + 1, cells, 3)).astype(np.float32)
        picture += cv2.resize(noise, SIZE, interpolation=cv2.INTER_CUBIC) * (60 / cells**0.35)
    return (picture + 128).clip(0, 255).astype(np.uint8)


def run(folder: Path, out: Path, *more: str) -> Measured:
    """The command, watched."""
    command = [sys.executable, "-m", "hmrfit", "fit", str(folder), "-o", str(out), *more]
    began, before = time.perf_counter(), processor_of_children()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        peak = watch(process)
        seconds = time.perf_counter() - began
        said.seek(0)
        if process.returncode:
            sys.exit(f"The command failed with status {process.returncode}:\n{said.read()[-2000:]}")
    return Measured(seconds, processor_of_children() - before, peak)


def processor_of_children() -> float:
    """Seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def watch(process: subprocess.Popen) -> float:
    """Waits for the process; the most memory of it and its children, GB."""
    most, ended = 0, threading.Event()
    threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
    while not ended.wait(EVERY):
        most = max(most, sum(map(memory_of, family(process.pid))))
    return most / 1e9


def family(pid: int) -> list[int]:
    """A process and all that it started."""
    try:
        children = [int(c) for task in os.listdir(f"/proc/{pid}/task") for c in children_of(pid, task)]
    except OSError:
        return [pid]
    return [pid, *(one for child in children for one in family(child))]


def children_of(pid: int, task: str) -> list[str]:
    """Of one thread."""
    return Path(f"/proc/{pid}/task/{task}/children").read_text().split()


def memory_of(pid: int) -> int:
    """Bytes; 0 of a process that ended meanwhile."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def main() -> None:
    """Makes the folder, runs the command three times, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photographs", type=int, default=500, metavar="N")
    parser.add_argument("--people", type=int, default=2, metavar="N", help="in each photograph")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for the photographs")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary) / "photographs"
        if len(list(folder.glob("*.jpg"))) != options.photographs:
            make_folder(folder, options.photographs, options.people)
        first = sorted(folder.glob("*.jpg"))[0]
        start = run(first, Path(temporary) / "one", "--no-pictures")
        plain = run(folder, Path(temporary) / "plain", "--no-pictures")
        drawn = run(folder, Path(temporary) / "drawn")
    n = options.photographs
    finish(
        benchmark="folder_speed",
        photographs=n,
        people=options.people * n,
        photos_per_second_with_pictures=n / drawn.seconds,
        photos_per_second_plain=n / plain.seconds,
        cpu_seconds_per_photo=drawn.processor / n,
        cpu_seconds_per_photo_plain=plain.processor / n,
        peak_gb=max(plain.peak_gb, drawn.peak_gb),
        start_seconds=start.seconds,
    )


if __name__ == "__main__":
    main()

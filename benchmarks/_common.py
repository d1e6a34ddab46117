"""What the benchmarks share: where their data comes from, who the people are, and how a result is printed."""

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a benchmark measures the checkout it lies in, installed or not

from hmrfit.assets import locate  # noqa: E402
from hmrfit.motion import Motion, load_frames, read_pool  # noqa: E402

MOTION, PHOTOS = "HMRFIT_MOTION", "HMRFIT_PHOTOS"
"""Environment variables: a folder of motion files (AMASS, BVH, CMU; `hmrfit.motion.read_pool`), and a folder of
photographs, each beside its keypoint file (`benchmarks/photos.py`)."""

SKIPPED = 77
"""Exit status of a benchmark that cannot run here, as in automake. Its reason is the last line of stderr."""


def skip(reason: str) -> NoReturn:
    """Ends a benchmark that cannot run here."""
    print(reason, file=sys.stderr)
    sys.exit(SKIPPED)


def motion_argument(parser: argparse.ArgumentParser) -> None:
    """--motion and --cache."""
    parser.add_argument("--motion", type=Path, default=_folder(MOTION), help=f"a folder of motion files; ${MOTION}")
    parser.add_argument("--cache", help="an npz that keeps the converted motion between runs")


def photos_argument(parser: argparse.ArgumentParser) -> None:
    """--photos."""
    text = f"a folder of keypoint files, with the photographs that they name; ${PHOTOS}"
    parser.add_argument("--photos", type=Path, default=_folder(PHOTOS), help=text)


def _folder(variable: str) -> Path | None:
    return Path(os.environ[variable]) if os.environ.get(variable) else None


def needed(folder: Path | None, option: str, variable: str) -> Path:
    """The folder; the benchmark is skipped where there is none."""
    if folder is None:
        skip(f"needs a folder: {option} FOLDER, or the environment variable {variable}")
    if not folder.is_dir():
        skip(f"'{folder}' is not a folder; {option} or the environment variable {variable} names it")
    return folder


def motion_pool(options: argparse.Namespace) -> list[Motion]:
    """The pool of the motion folder; the benchmark is skipped where there is none."""
    return read_pool(needed(options.motion, "--motion", MOTION), cache=options.cache)


def world_poses(
    motion: Path | None, cache: str | None, count: int, seed: int, part: str = "test"
) -> tuple[Tensor, str]:
    """(poses (count, 24, 3), where they are from): frames of `part`, classes weighted by 1/sqrt(size).

    Without a motion folder the shipped pose set stands in: it is sampled from the prior, so the fit is flattered.
    """
    rng = np.random.default_rng(seed)
    poses, weight, origin = pose_pool(motion, cache, part)
    p = None if motion is None else (weight / weight.sum()).numpy()
    return poses[rng.choice(len(poses), count, replace=count > len(poses), p=p)], origin


def pose_pool(motion: Path | None, cache: str | None, part: str = "test") -> tuple[Tensor, Tensor, str]:
    """(poses (N, 24, 3), how often each should be drawn (N,), where they are from) of `part` of the motion folder, or
    the shipped pose set."""
    if motion is None:
        with np.load(locate("poses"), allow_pickle=False) as data:
            body_pose = torch.as_tensor(data["poses"].astype(np.float64)).reshape(len(data["poses"]), -1, 3)
        poses = torch.cat([torch.zeros(len(body_pose), 1, 3, dtype=torch.float64), body_pose], 1)
        origin = "the shipped pose set (no motion found: the prior's own samples, an easier test)"
        return poses, torch.ones(len(poses), dtype=torch.float64), origin
    frames = load_frames(read_pool(needed(motion, "--motion", MOTION), cache=cache), part)
    weight = torch.as_tensor(frames["weight"])
    return torch.as_tensor(frames["poses"]), weight, f"the motion folder, split '{part}', {len(weight)} frames"


def print_ends(curves: Mapping[str, Sequence[Mapping[str, float]]], columns: Sequence[str]) -> dict[str, float]:
    """The table of where every method's curve ends. Returns the PA-MPJPE of each, as a benchmark's last line has it."""
    print(f"\n{'':12s}" + "".join(f"{c.removesuffix('_percent').removesuffix('_mm'):>18s}" for c in columns))
    for method, curve in curves.items():
        print(f"{method:12s}" + "".join(f"{curve[-1].get(c, float('nan')):18.1f}" for c in columns))
    return {f"{method}_pa_mpjpe_mm": curve[-1]["pa_mpjpe_mm"] for method, curve in curves.items()}


def add_to_curve(curve: list[dict[str, float]], file: Path, title: str, scores: Mapping[str, float]) -> None:
    """One more point of a curve: into its file, and printed."""
    curve.append(dict(scores))
    file.write_text(json.dumps(curve))
    print(title, {name: round(value, 2) for name, value in scores.items()}, flush=True)


def finish(**figures: object) -> None:
    """The one line of JSON that ends every benchmark; `benchmarks/compare.py` reads it."""
    print(json.dumps(rounded(figures)))


def rounded(value: object) -> object:
    """Seven digits of every number in it: of 2.6 million pixels, one more that differs still shows."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(f"{value:.7g}") if isinstance(value, float) else value


def threads(count: int | None) -> None:
    """Fix torch's threads for the run."""
    if count:
        torch.set_num_threads(count)

"""What the benchmarks share: where motion comes from, who the people are, and how a result is printed."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a benchmark measures the checkout it lies in, installed or not

from hmrfit.assets import locate  # noqa: E402
from hmrfit.motion import load_frames, read_pool  # noqa: E402

SHARED_MOTION = ROOT.parent / "shared" / "mocap"


def motion_argument(parser: argparse.ArgumentParser) -> None:
    """--motion and --cache."""
    parser.add_argument("--motion", help="a folder of motion files; ../shared/mocap where it exists")
    parser.add_argument("--cache", help="an npz that keeps the converted motion between runs")


def world_poses(motion: str | None, cache: str | None, count: int, seed: int, part: str = "test") -> tuple[Tensor, str]:
    """(poses (count, 24, 3), where they are from): frames of `part`, classes weighted by 1/sqrt(size).

    With no motion to be had, the shipped pose set stands in: it is sampled from the prior, so the fit is flattered.
    """
    folder = Path(motion) if motion else SHARED_MOTION
    rng = np.random.default_rng(seed)
    if motion and not folder.is_dir():
        raise SystemExit(f"There is no folder of motion '{motion}'. Leave --motion out to use what is at hand.")
    if not folder.is_dir():
        with np.load(locate("poses"), allow_pickle=False) as data:
            body_pose = data["poses"].astype(np.float64).reshape(len(data["poses"]), -1, 3)
        chosen = body_pose[rng.choice(len(body_pose), count, replace=count > len(body_pose))]
        poses = np.concatenate([np.zeros((count, 1, 3)), chosen], 1)
        return torch.as_tensor(poses), "the shipped pose set (no motion found: the prior's own samples, an easier test)"
    frames = load_frames(read_pool(folder, cache=cache), part)
    weight = frames["weight"] / frames["weight"].sum()
    index = rng.choice(len(weight), count, replace=count > len(weight), p=weight)
    return torch.as_tensor(frames["poses"][index]), f"{folder.name}, split '{part}', {len(weight)} frames"


def finish(**figures: object) -> None:
    """The one line of JSON that ends every benchmark."""
    rounded = {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in figures.items()}
    print(json.dumps(rounded))


def threads(count: int | None) -> None:
    """Fix torch's threads for the run."""
    if count:
        torch.set_num_threads(count)

"""How well and how quickly sequences of a hand are fitted, in motions between poses of a source that no prior has seen.

    python benchmarks/hand_sequences.py --poses fingers21.npz [--frames 300] [--clips 2] [--noise 0.02]

Synthetic right hands: the free hand moves smoothly from pose to pose of one source, PACE seconds each, and turns and
travels meanwhile before a known camera; 21 keypoints with noise of a fraction of the box, a tenth missing. Pose prior
and hulls are of the other sources; the network of the initial estimate is the shipped one, which has seen all of them.

alone: `fit_hand` of all frames as one batch. together: `fit_sequence`. PA-MPJPE over 21 points, and the jitter of the
points (mean |second difference| × fps², m/s², beside the truth's). Frames a second are of the processor, on one
thread, the best of --times, of the whole call.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from _common import finish, threads
from hand_accuracy import FOCAL, NAMES, SIZE, left_out, pa_mpjpe, random_rotations
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.fitting.key_frames import on_a_cubic
from hmrfit.hand import hand_pipeline
from hmrfit.pipeline import Pipeline
from hmrfit.result import FitResult
from hmrfit.types import BodyParams

FPS = 30.0
PACE = 0.8
"""Seconds from one pose to the next."""

TURN = 40.0
"""Degrees, standard deviation of the hand's turn about each axis from one pose to the next."""


def moving_hand(pipeline: Pipeline, theta: Tensor, frames: int, noise: float, seed: int) -> tuple[NDArray, Tensor]:
    """(keypoints (T, 21, 3), the true points (T, 21, 3) in metres) of a hand that goes through some of the poses theta
    (N, 45)."""
    generator = torch.Generator().manual_seed(seed)
    at = torch.arange(0, frames + PACE * FPS, PACE * FPS).long()
    n, body = len(at), pipeline.fitter.point_body(NAMES)
    normal = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    betas = normal(1, body.joint_shapes.shape[-1]).expand(n, -1)
    place = torch.tensor([0.0, 0.0, 0.55]) + torch.tensor([0.08, 0.05, 0.06]) * normal(n, 3).clamp(-2, 2)
    chosen = theta[torch.randint(len(theta), (n,), generator=generator)]
    turns = BodyParams.from_rotvecs(torch.deg2rad(TURN * normal(n, 3)), chosen, betas, place)
    first = random_rotations(1, generator)[0]
    keys = replace(turns, global_orient=turns.global_orient @ first)
    params = on_a_cubic(keys, at, int(at[-1]) + 1)[torch.arange(frames)]
    points = body.pose(params).points
    xy = Camera.from_size(*SIZE, focal=FOCAL, count=frames).project(points)
    box = (xy.amax(1) - xy.amin(1)).amax(1)
    seen = (torch.rand(frames, 21, generator=generator) > 0.1).double()
    xy = xy + noise * box[:, None, None] * normal(*xy.shape)
    return torch.cat([xy, seen[..., None]], 2).numpy(), points


def scores(result: FitResult, truth: Tensor) -> tuple[float, float]:
    """(PA-MPJPE in mm, jitter in m/s²)."""
    points = torch.as_tensor(result.points(NAMES)[0])
    return float(pa_mpjpe(points, truth).mean()), jitter(points)


def jitter(points: Tensor) -> float:
    """Mean length of the points' second differences, m/s²."""
    return float(points.diff(n=2, dim=0).norm(dim=-1).mean()) * FPS**2


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, required=True, help="npz with xyz (N, 21, 3), side, source")
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--clips", type=int, default=2, help="of each source")
    parser.add_argument("--noise", type=float, default=0.02, help="of the box")
    parser.add_argument("--times", type=int, default=2, help="each clip is fitted, for the time")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    rows = []
    head = f"{'alone':>8s}{'together':>10s}"
    print(f"{'clip':16s}{head}{'jitter, true':>14s}{head}{'frames/s':>10s}")
    with tempfile.TemporaryDirectory() as folder:
        for group, theta, settings in left_out(options.poses, Path(folder)):
            own = {name: value for name, value in settings.items() if name != "PRIORS.INITIAL_ESTIMATE"}
            pipeline = hand_pipeline("right", own)
            for clip in range(options.clips):
                keypoints, truth = moving_hand(pipeline, theta, options.frames, options.noise, clip)
                asked = {"keypoint_set": "hand21", "image_size": SIZE, "focal": FOCAL}
                alone = pipeline.fit(None, keypoints, **asked)
                seconds = []
                for _ in range(options.times):
                    begin = time.process_time()
                    together = pipeline.fit_sequence(keypoints, fps=FPS, **asked)
                    seconds.append(time.process_time() - begin)
                (pa, shakes), (pa_all, smooth) = scores(alone, truth), scores(together, truth)
                rows.append([pa, pa_all, jitter(truth), shakes, smooth, options.frames / min(seconds)])
                cells = zip(rows[-1], (8, 10, 14, 8, 10, 10), (2, 3, 1, 1, 2, 0), strict=True)
                line = "".join(f"{value:{width}.{digits}f}" for value, width, digits in cells)
                print(f"{group + ' ' + str(clip):16s}{line}", flush=True)
    mean = np.mean(rows, 0)
    names = ("pa_alone_mm", "pa_mpjpe_mm", "jitter_true", "jitter_alone", "jitter", "frames_per_second")
    finish(benchmark="hand_sequences", **{name: round(float(v), 3) for name, v in zip(names, mean, strict=True)})


if __name__ == "__main__":
    main()

"""fit_sequence: frames a second, accuracy and smoothness beside frame-by-frame fits, and coverage.

    python benchmarks/sequence_speed.py --motion FOLDER [--clips 39] [--frames 300 3000] [--threads 2]

Clips of held-out motion before a camera that stands still (`_clips.py`), 1 and 2 % noise and half hidden by turns, the
keypoints exact. PA-MPJPE over the 24 joints, of every frame alone; jitter: mean acceleration of the joints about the
pelvis, mm/s². Coverage as in uncertainty.py: of the joints that have a keypoint, about the pelvis, at 50, 68, 90, 95 %,
the gap being the worst over those that are seen and those that are not. Frames that `hmrfit.fit` leaves out, since
nearly nothing of them is seen, are left out of the comparison.
"""

import argparse
import logging
import resource
import time
from collections.abc import Sequence

import numpy as np
import torch
from _clips import LONGEST, SIZE, Clip, Noise, film, held_out, noisy
from _common import MOTION, finish, motion_argument, needed, threads
from scipy.stats import f as fisher
from uncertainty import OWN

import hmrfit
from hmrfit.evaluate.metrics import pa_mpjpe
from hmrfit.evaluate.posterior_scores import LEVELS, coverage
from hmrfit.keypoints import COCO17
from hmrfit.pipeline import Pipeline

NOISE = (Noise(0.01), Noise(0.02), Noise(0.01, hidden=True))


def arguments_of(clip: Clip) -> dict:
    """Of a call of `hmrfit.fit` or `fit_sequence`."""
    return {"keypoint_set": "coco17", "camera": clip.camera, "image_size": SIZE, "keypoint_source": "exact"}


def speed(clip: Clip, frames: int) -> tuple[float, float]:
    """(seconds, processor seconds) a frame, of a sequence made of the clip's frames to and fro."""
    keypoints = noisy(clip, NOISE[0], torch.Generator().manual_seed(0))
    there_and_back = np.concatenate([keypoints, keypoints[-2:0:-1]])
    many = there_and_back[np.arange(frames) % len(there_and_back)]
    began = time.perf_counter(), time.process_time()
    hmrfit.fit_sequence(many, fps=clip.fps, **arguments_of(clip))
    return (time.perf_counter() - began[0]) / frames, (time.process_time() - began[1]) / frames


def measured(clip: Clip, how: Noise, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(PA-MPJPE, that of single frames, jitter, that of the truth; levels (T, K) of the truth, seen (T, K))."""
    keypoints = noisy(clip, how, torch.Generator().manual_seed(seed))
    together = hmrfit.fit_sequence(keypoints, fps=clip.fps, **arguments_of(clip))
    alone = hmrfit.fit(None, keypoints, **arguments_of(clip))
    left_out = {int(name) for name in alone.left_out}
    rows = [t for t in range(len(keypoints)) if t not in left_out]
    pa = [
        1e3 * float(pa_mpjpe(torch.tensor(j), clip.joints[rows]).mean()) for j in (together.joints[rows], alone.joints)
    ]
    about = [j - j[:, :1] for j in (together.joints, clip.joints.numpy())]
    jitter = [1e3 * clip.fps**2 * np.linalg.norm(np.diff(j, 2, axis=0), axis=-1).mean() for j in about]
    away, joints = (about[0] - about[1])[:, list(OWN)], list(OWN)
    assert together.together is not None
    nu = together.together.nu
    scale = together.joint_covariance[:, joints] * (nu - 2) / nu + 1e-10 * np.eye(3)
    square = np.einsum("tki,tki->tk", away, np.linalg.solve(scale, away[..., None])[..., 0]) / 3
    return np.array([*pa, *jitter]), fisher.cdf(square, 3, nu), keypoints[:, list(OWN.values()), 2] > 0


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--clips", type=int, default=39, help="at most")
    parser.add_argument("--frames", type=int, nargs="*", default=[300, 3000], help="of the sequences that are timed")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    motions = held_out(needed(options.motion, "--motion", MOTION), longest=LONGEST)
    clips = film(Pipeline.of().body, motions, COCO17, seed=1)
    clips = clips[:: max(1, len(clips) // max(options.clips, 1))][: options.clips]
    speed(clips[0], 40)  # what is read once
    times = {count: speed(clips[0], count) for count in options.frames}
    for count, (seconds, processor) in times.items():
        print(f"{count} frames: {1 / seconds:.0f} a second, {1 / processor:.0f} a processor second")
    rows = [measured(clip, NOISE[i % 3], i) for i, clip in enumerate(clips)]
    if rows:
        means = np.mean([row[0] for row in rows], 0)
        print("PA-MPJPE {:.1f} mm (frames alone {:.1f}); jitter {:.0f} mm/s² (truth {:.0f})".format(*means))
    levels, seen = (torch.tensor(np.concatenate([row[i] for row in rows])) for i in (1, 2))
    gaps = []
    for kind, name in ((True, "seen"), (False, "not seen")):
        found = coverage(levels[seen == kind])
        gaps += [abs(c - q) for c, q in zip(found, LEVELS, strict=True)]
        print(f"{name:9}" + "".join(f"{100 * c:7.1f} %" for c in found), f"{int((seen == kind).sum()):8d} joints")
    first = times[options.frames[0]]
    finish(
        benchmark="sequence_speed",
        frames_per_second=1 / first[0],
        frames_per_second_single_core=1 / first[1],
        peak_gb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        pa_mpjpe_mm=means[0],
        pa_mpjpe_frames_mm=means[1],
        jitter=means[2],
        jitter_truth=means[3],
        coverage_gap=max(gaps),
        clips=len(rows),
    )


if __name__ == "__main__":
    main()

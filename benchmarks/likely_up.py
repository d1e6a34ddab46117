"""The up direction, estimated where it is not given: how large is the error, and how large does it say it is?

    python benchmarks/likely_up.py --motion FOLDER [--people 600] [--clips 24] [--photos FOLDER --calibration FILE]

People of held-out motion, drawn by the weights of their classes, before cameras of three ranges of pitch (degrees down,
roll 4), their 17 keypoints with the noise of `make_people`; each alone. Clips as in sequence_speed.py, 2 % noise, all
frames together. Photographs (`photos.py`): labelled people, and the calibration of the cameras that the end of their
files' names counts (_cam1, ...). Errors in degrees between the estimate, or the level camera that is assumed without
one, and the truth; said: the root mean square of what the estimates say. Those that are not sure are in the means, as
level cameras, as a result takes them.
"""

import argparse
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _clips import SIZE, Noise, film, held_out, noisy
from _common import MOTION, finish, motion_argument, needed, photos_argument, threads
from numpy.typing import NDArray
from torch import Tensor

import hmrfit
from hmrfit.build import load_body
from hmrfit.io.calibration import read_calibration
from hmrfit.keypoints import COCO17
from hmrfit.likely_up import LikelyUp
from hmrfit.motion.motion import Motion
from hmrfit.motion.pool import load_frames, read_pool
from hmrfit.ops.level import LEVEL_CAMERA
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.people import Views, make_people

PITCHES = (-10.0, 35.0), (35.0, 60.0), (-30.0, -10.0)
CAMERA = re.compile(r"cam(\d+)$")


def main(arguments: Sequence[str] | None = None) -> None:
    """All tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    photos_argument(parser)
    parser.add_argument("--calibration", type=Path)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--people", type=int, default=600)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    threads(options.threads)
    logging.getLogger("hmrfit").setLevel(logging.ERROR)
    motion = needed(options.motion, "--motion", MOTION)
    pool = read_pool(motion, options.cache)
    frames = load_frames(pool, options.part)
    figures = {}
    for pitches in PITCHES:
        found, truth = alone(frames, pitches, options.people)
        figures |= scores(f"alone_{pitches[0]:g}_to_{pitches[1]:g}", found, truth)
    figures |= scores("clips", *together(held_out(motion, options.part)[: options.clips]))
    if options.photos is not None and options.calibration is not None:
        figures |= scores("photographs", *photographed(options.photos, options.calibration))
    finish(benchmark="likely_up", part=options.part, **figures)


def upwards(rotation: Tensor, poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) up in the camera frame, of roots (N, 3, 3) there whose poses (N, 24, 3) are in a world with y up."""
    world = rotvec_to_matrix(torch.as_tensor(poses).reshape(len(poses), -1, 3)[:, 0])
    return (rotation @ world.mT)[..., 1].numpy()


def alone(
    frames: dict[str, NDArray[Any]], pitches: tuple[float, float], count: int
) -> tuple[list[LikelyUp], NDArray[np.float64]]:
    """(estimates of people who are fitted each for themselves, the truth)."""
    weight = frames["weight"] / frames["weight"].sum()
    poses = frames["poses"][np.random.default_rng(5).choice(len(weight), count, replace=False, p=weight)]
    views = replace(Views(), elevation=pitches)
    people = make_people(
        load_body("free_body"), torch.as_tensor(poses), COCO17, torch.Generator().manual_seed(3), views=views
    )
    seen = people.keypoints
    arrays = torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy()
    result = hmrfit.fit(None, arrays, keypoint_set=seen.names, image_size=views.size)
    return [one.likely_up for one in result], upwards(people.params.global_orient, poses)


def together(motions: Sequence[Motion]) -> tuple[list[LikelyUp], NDArray[np.float64]]:
    """(estimates by all frames of a clip, the truth)."""
    found, truth = [], []
    draws = torch.Generator().manual_seed(0)
    for motion, clip in zip(motions, film(load_body("free_body"), list(motions), COCO17, 1), strict=True):
        array = noisy(clip, Noise(level=0.02), draws)
        result = hmrfit.fit_sequence(array, fps=clip.fps, keypoint_set=COCO17, image_size=SIZE)
        found.append(result.likely_up)
        truth.append(upwards(clip.params.global_orient[:1], motion.poses[:1])[0])
    return found, np.array(truth)


def photographed(folder: Path, calibration: Path) -> tuple[list[LikelyUp], NDArray[np.float64]]:
    """(estimates by the labelled people, each alone, the truth by the calibration)."""
    rig, found, truth = read_calibration(calibration), [], []
    if rig.up is None:
        raise SystemExit(f"'{calibration}' does not say which way is up.")
    for file in sorted(folder.glob("*.json")):
        if camera := CAMERA.search(file.stem):
            found.append(hmrfit.fit(None, file)[0].likely_up)
            truth.append(np.asarray(rig.extrinsics)[int(camera[1]) - 1, :, :3] @ rig.up)
    return found, np.array(truth)


def scores(name: str, found: Sequence[LikelyUp], truth: NDArray[np.float64]) -> dict[str, float]:
    """Prints a row, returns the figures."""
    level = np.array(LEVEL_CAMERA)
    taken = np.array([one.up if one.is_sure else level for one in found])
    errors, before = (np.degrees(np.arccos(np.clip((v * truth).sum(1), -1, 1))) for v in (taken, level[None]))
    sure = np.array([one.is_sure for one in found])
    said = np.sqrt(np.mean(np.square([one.std for one in found if one.is_sure])))
    rms, share = np.sqrt(np.mean(errors[sure] ** 2)), 100 * sure.mean()
    middle, most = np.quantile(errors, [0.5, 0.9])
    print(
        f"{name:20s} {len(found):4d}   mean {errors.mean():4.1f} (level {before.mean():4.1f})   median {middle:4.1f}   "
        f"90 % {most:4.1f}   sure {share:3.0f} %, rms {rms:4.1f}, said {said:4.1f}"
    )
    return {f"{name}_mean_deg": errors.mean(), f"{name}_level_deg": before.mean(), f"{name}_sure": share / 100}


if __name__ == "__main__":
    main()

"""Do discriminators help a keypoint HMR that is trained without any 3D truth?

    python benchmarks/unpaired.py --motion FOLDER [--steps 2500] [--adversarial 0.01 0.1] [--paired]

Each run has the same seed, people and number of steps; only the weight of L_adv differs (0: no discriminators). All see
2D keypoints alone; the discriminators also see motion, of other people than those in the batch. Measured on people
posed by the test split, COCO's keypoints with 1 % noise, a tenth missing.

    PA-MPJPE       mm, 14 joints
    impossible     joints outside of the limits (priors/joint_limits.md) by more than 0.1 rad in a coordinate, % of 23
    far outside    the same by more than 0.5 rad: elbows and knees that bend backwards
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from _common import finish, motion_argument, motion_pool, threads

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.cli.train import build_trainer
from hmrfit.config import load_config
from hmrfit.motion import load_frames
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.people import People, Views
from hmrfit.train.trainer import Trainer
from hmrfit.train.validation import Predict, people_of, prediction_of, score_people
from hmrfit.types import BodyParams

COLUMNS = ("pa_mpjpe_mm", "reprojection_percent", "facing_wrong_percent", "impossible_percent", "far_outside_percent")
BACKWARDS = 0.5
"""Radians."""


def outside(params: BodyParams, limits: JointLimits, by: float) -> float:
    """Fraction of joints, %, with a coordinate more than `by` radians outside of the limits."""
    theta = params.to(torch.float64).to_rotvecs()[1]
    beyond = torch.maximum(theta - limits.upper, limits.lower - theta).unflatten(1, (-1, 3))
    return 100 * (beyond > by).any(-1).double().mean().item()


def measure(body: SmplBody, people: People, predict: Predict, limits: JointLimits) -> dict[str, float]:
    """Every column."""
    params = predict(people.keypoints, Camera.from_size(*Views().size, count=len(people.joints)))
    score = score_people(body, people, lambda keypoints, camera: params)
    return score | {
        "impossible_percent": outside(params, limits, limits.softness),
        "far_outside_percent": outside(params, limits, BACKWARDS),
    }


def progress(name: str, trainer: Trainer, losses: Mapping[str, float]) -> None:
    """What a run reports on its way."""
    print(name, trainer.step, {k: round(v, 3) for k, v in losses.items() if v}, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(parser)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--width", type=int, default=384, help="features of the encoder, and hidden of the regressor")
    parser.add_argument("--adversarial", type=float, nargs="+", default=[0.1], help="weights beside 0")
    parser.add_argument("--paired", action="store_true", help="also a run with 3D truth, for comparison")
    parser.add_argument("--people", type=int, default=1000)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    pool = motion_pool(options)
    body, frames = SmplBody.from_file(locate("free_body")), load_frames(pool, "train")
    people = people_of(body, load_frames(pool, "test"), options.people)
    limits = JointLimits.from_file(locate("joint_limits"))
    runs = {"unpaired, no discriminators": (0.0, False)}
    runs |= {f"unpaired, L_adv x {weight:g}": (weight, False) for weight in options.adversarial if weight}
    runs |= {"paired, no discriminators": (0.0, True)} if options.paired else {}
    rows = {"the truth itself": measure(body, people, lambda keypoints, camera: people.params, limits)}
    for name, (weight, paired) in runs.items():
        settings = [f"TRAIN.PAIRED={paired}", f"TRAIN.ADVERSARIAL={weight}", f"TRAIN.STEPS={options.steps}"]
        shape = [f"TRAIN.BATCH={options.batch}", f"TRAIN.WIDTH={options.width}", f"TRAIN.HIDDEN={options.width}"]
        trainer = build_trainer(load_config(None, [*settings, *shape, "TRAIN.HALF=True"]), body, frames)
        if not rows.get("the mean person"):
            rows["the mean person"] = measure(body, people, prediction_of(trainer.averaged()), limits)
        begin = time.process_time()
        trainer.run(every=max(1, options.steps // 4), report=partial(progress, name, trainer))
        rows[name] = measure(body, people, prediction_of(trainer.averaged()), limits)
        rows[name]["cpu_minutes"] = (time.process_time() - begin) / 60
        print(name, {column: round(value, 3) for column, value in rows[name].items()}, flush=True)
    print(f"\n{options.steps} steps of {options.batch} people")
    print(" " * 32 + "".join(f"{column.split('_p')[0]:>14s}" for column in COLUMNS))
    for name, row in rows.items():
        print(f"{name:32s}" + "".join(f"{row[c]:14.2f}" for c in COLUMNS))
    print()
    finish(benchmark="unpaired", steps=options.steps, batch=options.batch, people=options.people, rows=rows)


if __name__ == "__main__":
    main()

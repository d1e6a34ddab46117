"""Joint limits: a box lower <= theta <= upper on the rotation vectors of the 23 body joints.

    python priors/scripts/fit_joint_limits.py --motion FOLDER

Robust quantiles of captured motion (train sequences, mirrored, only driven joints, nothing animated by hand), widened,
united with ranges from anatomy, the same on both sides.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from training import ATTRIBUTION, BODY_JOINTS, SOURCES, Samples, samples

from hmrfit.assets import record_checksum
from hmrfit.io.atomic import atomic_write
from hmrfit.motion import mirror_poses, read_pool
from hmrfit.motion.pool import HAND_KEYED

QUANTILE = 0.001
MARGIN_DEGREES, MARGIN_SHARE = 5.0, 0.05
"""Every limit of the data moves out by this, plus this share of the range."""

ANATOMY = {
    "hip": ((-125, 30), (-45, 45), (-30, 50)),
    "knee": ((-5, 150), (-20, 20), (-15, 15)),
    "ankle": ((-30, 50), (-25, 25), (-30, 30)),
    "foot": ((-60, 35), (-15, 15), (-15, 15)),
    "spine1": ((-20, 40), (-20, 20), (-25, 25)),
    "spine2": ((-20, 30), (-20, 20), (-20, 20)),
    "spine3": ((-20, 30), (-25, 25), (-20, 20)),
    "neck": ((-35, 35), (-45, 45), (-30, 30)),
    "head": ((-35, 35), (-40, 40), (-30, 30)),
    "collar": ((-25, 25), (-35, 30), (-30, 40)),
    "shoulder": ((-90, 90), (-130, 45), (-100, 90)),
    "elbow": ((-60, 60), (-150, 5), (-25, 25)),
    "wrist": ((-90, 90), (-30, 30), (-80, 70)),
    "hand": ((-45, 45), (-45, 45), (-60, 60)),
}
"""Degrees about x, y, z of the left side: (extension, flexion) and so on in our signs (knee flexion +x, left elbow -y,
hip flexion -x, plantar flexion +x, arm up +z). Rounded from the ranges of textbooks (American Academy of Orthopaedic
Surgeons; Norkin and White): hip 120 / 30 flexion / extension, 45 / 30 abduction / adduction, 45 rotation; knee 140-150;
ankle 20-30 / 50; elbow 150; forearm 80 either way; wrist 80 / 70 and 20 / 30; trunk 80-90 / 30, 35 sideways, 45
turning, shared among three joints; neck and head 45-80 each way, shared among two; clavicle 30-45 up, 10 down
(and 20 more, since the rest is a T-pose with raised shoulders). Elbows
and wrists have room for the forearm's turn in either joint."""


ANATOMY_ONLY = ("collar",)
"""Two short sequences drive the collars, and far: anatomy is the better witness."""


def left_name(joint: str) -> str:
    return joint.removeprefix("left_").removeprefix("right_")


def anatomy_box() -> np.ndarray:
    """(2, 23, 3) radians, lower and upper."""
    box = np.radians([ANATOMY[left_name(joint)] for joint in BODY_JOINTS]).transpose(2, 0, 1)
    right = [j for j, name in enumerate(BODY_JOINTS) if name.startswith("right_")]
    box[:, right] = mirror_box(box)[:, right]
    return box


def mirror_box(box: np.ndarray) -> np.ndarray:
    """The box of the mirrored poses: signs that turn swap lower and upper."""
    ends = mirror_poses(box)
    return np.stack([ends.min(0), ends.max(0)])


def data_box(data: Samples) -> np.ndarray:
    """(2, 23, 3) widened quantiles of the driven coordinates; nan where there is nothing to go by."""
    box = np.full((2, 69), np.nan)
    for i in range(69):
        values = data.theta[data.observed[:, i], i]
        if len(values) and left_name(BODY_JOINTS[i // 3]) not in ANATOMY_ONLY:
            low, high = np.quantile(values, [QUANTILE, 1.0 - QUANTILE])
            margin = np.radians(MARGIN_DEGREES) + MARGIN_SHARE * (high - low)
            box[:, i] = low - margin, high + margin
    return box.reshape(2, 23, 3)


def fit_limits(data: Samples) -> np.ndarray:
    """(2, 23, 3): the smallest box that holds the data's, the anatomy's and their mirror images; within +-pi."""
    parts = [data_box(data), anatomy_box()]
    parts += [mirror_box(part) for part in parts]
    lower = np.nanmin([part[0] for part in parts], axis=0)
    upper = np.nanmax([part[1] for part in parts], axis=0)
    return np.clip(np.stack([lower, upper]), -np.pi, np.pi)


def violations(box: np.ndarray, data: Samples) -> dict[str, float]:
    """Share of frames outside: for each joint among its driven frames, and for any joint."""
    low, high = box.reshape(2, 69)
    outside = (((data.theta < low) | (data.theta > high)) & data.observed).reshape(-1, 23, 3).any(-1)
    driven = data.observed.reshape(-1, 23, 3).any(-1)
    share = {n: float(outside[:, j].sum() / max(driven[:, j].sum(), 1)) for j, n in enumerate(BODY_JOINTS)}
    return {"any": float(outside.any(1).mean()), "by_more_than_5_degrees": _by_more(box, data)} | share


def _by_more(box: np.ndarray, data: Samples) -> float:
    low, high = box.reshape(2, 69)
    beyond = np.maximum(data.theta - high, low - data.theta)
    return float(((beyond > np.radians(5.0)) & data.observed).any(1).mean())


def card(box: np.ndarray, held_out: dict[str, float], frames: int, test_frames: int) -> str:
    degrees = np.degrees(box).round().astype(int)
    rows = [
        f"| {name} | " + " | ".join(f"{degrees[0, j, a]} .. {degrees[1, j, a]}" for a in range(3)) + " |"
        for j, name in enumerate(BODY_JOINTS)
        if not name.startswith("right_")
    ]
    worst = sorted(((v, n) for n, v in held_out.items() if n in BODY_JOINTS), reverse=True)[:4]
    return f"""# joint_limits.npz

`lower`, `upper` (23, 3) radians: a box on the rotation vectors of the 23 body joints of SMPL, `joint_names` (23,).

* **From**: {SOURCES}. The hand-keyed clips are left out here.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `python priors/scripts/fit_joint_limits.py --motion FOLDER`
* **How**: {QUANTILE:.1%} and {1 - QUANTILE:.1%} quantiles of {frames} train frames and their mirror images, moved
  out by {MARGIN_DEGREES:.0f} degrees and {MARGIN_SHARE:.0%} of the range, united with ranges from anatomy (listed in
  the script; the collars' come from there alone), the same on both sides.
* **Held out**: of {test_frames} test frames {held_out["any"]:.1%} leave the box at some joint,
  {held_out["by_more_than_5_degrees"]:.1%} by more than 5 degrees
  (most: {", ".join(f"{n} {v:.1%}" for v, n in worst)}).
* **Parametrisation**: a box of rotation-vector coordinates is exact for hinges (knee x, elbow y) and crude for
  shoulders and hips, whose reach is no box; there it only forbids what no axis allows. The density is the
  pose GMM's business.

Degrees, left side and middle (right: mirrored):

| joint | x | y | z |
|---|---|---|---|
{chr(10).join(rows)}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", required=True, help="folder of motion (see hmrfit.motion)")
    parser.add_argument("--out", default="priors", help="folder to write joint_limits.npz and joint_limits.md into")
    parser.add_argument("--cache", help="file to keep the pool in between runs")
    args = parser.parse_args()
    pool = [m for m in read_pool(args.motion, args.cache) if m.source != HAND_KEYED]
    train, test = samples(pool, "train", mirror=True), samples(pool, "test", mirror=False)
    box = fit_limits(train)
    held_out = violations(box, test)
    folder = Path(args.out)
    with atomic_write(folder / "joint_limits.npz") as temporary:
        np.savez_compressed(temporary, lower=box[0], upper=box[1], joint_names=np.array(BODY_JOINTS))
    record_checksum(folder / "joint_limits.npz")
    with atomic_write(folder / "joint_limits.md") as temporary:
        temporary.write_text(card(box, held_out, len(train.theta) // 2, len(test.theta)))
    print(json.dumps(held_out))


if __name__ == "__main__":
    main()

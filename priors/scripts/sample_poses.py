"""Draw the pose set: 2,000 poses from the fitted density, for demos and synthetic people without real motion.

    python priors/scripts/sample_poses.py

From `pose_gmm.npz`, mirrored at random; kept only inside `joint_limits.npz`, and where capsules around the limbs of the
free body's mean shape do not run into each other. No frame of anybody's recording is in it.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from training import ATTRIBUTION, BODY_JOINTS

from hmrfit.assets import record_checksum
from hmrfit.body.skeleton import SMPL
from hmrfit.io.atomic import atomic_write
from hmrfit.motion import mirror_poses
from hmrfit.motion.rest import global_from_local

COUNT, SEED = 2000, 0
TOUCH = 0.8
"""Capsules may sink into each other until their axes are nearer than this fraction of the radii's sum: flesh gives
way."""

CAPSULES = {
    "torso": ("pelvis", "spine3", 0.10),
    "chest": ("spine3", "neck", 0.09),
    "head": ("neck", "head_top", 0.08),
    "left_thigh": ("left_hip", "left_knee", 0.065),
    "left_shank": ("left_knee", "left_ankle", 0.045),
    "left_foot": ("left_ankle", "left_foot", 0.035),
    "left_upper_arm": ("left_shoulder", "left_elbow", 0.04),
    "left_forearm": ("left_elbow", "left_wrist", 0.033),
    "left_hand": ("left_wrist", "left_hand", 0.03),
}
"""From, to, radius in metres (about the median distance of the free body's skin from its bones)."""
CAPSULES |= {
    n.replace("left", "right"): (a.replace("left", "right"), b.replace("left", "right"), r)
    for n, (a, b, r) in list(CAPSULES.items())
    if n.startswith("left_")
}

_LOWER_ARM, _LOWER_LEG = ("forearm", "hand"), ("shank", "foot")


def _pairs() -> list[tuple[str, str]]:
    """Capsules that may not meet: each hand and forearm with the rest of the body, the legs with each other."""
    pairs = set()
    for side, other in (("left", "right"), ("right", "left")):
        for part in _LOWER_ARM:
            others = ["torso", "chest", "head", f"{other}_upper_arm", f"{other}_forearm", f"{other}_hand"]
            others += [f"{s}_{p}" for s in ("left", "right") for p in ("thigh", "shank", "foot")]
            pairs |= {tuple(sorted((f"{side}_{part}", partner))) for partner in others}
        for part in _LOWER_LEG:
            others = ["torso", "chest", "head", f"{other}_thigh", f"{other}_shank", f"{other}_foot"]
            pairs |= {tuple(sorted((f"{side}_{part}", partner))) for partner in others}
    return sorted(pairs)


def rest_points(body: Path) -> dict[str, np.ndarray]:
    """Name -> rest position, metres, of the joints of the free body and the top of its head."""
    with np.load(body, allow_pickle=False) as data:
        joints = data["J_regressor"].astype(float) @ data["v_template"]
    points = dict(zip(SMPL.names, joints, strict=True))
    return points | {"head_top": points["head"] + [0.0, 0.08, 0.02]}


def pose_points(poses: np.ndarray, rest: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same points (N, 3) in poses (N, 23, 3), pelvis at the origin."""
    whole = np.concatenate([np.zeros((len(poses), 1, 3)), poses], axis=1)
    glob, points = global_from_local(whole), {"pelvis": np.zeros((len(poses), 3))}
    for j, name in enumerate(SMPL.names[1:], start=1):
        up = SMPL.parents[j]
        parent = SMPL.names[up]
        points[name] = points[parent] + glob[:, up] @ (rest[name] - rest[parent])
    points["head_top"] = points["head"] + glob[:, SMPL.index("head")] @ (rest["head_top"] - rest["head"])
    return points


def collides(poses: np.ndarray, rest: dict[str, np.ndarray], steps: int = 7) -> np.ndarray:
    """(N,) bool: two capsules of the list run into each other. Axes are compared at `steps` points each."""
    points, along = pose_points(poses, rest), np.linspace(0.0, 1.0, steps)[:, None]
    axes = {n: points[a][:, None] * (1 - along) + points[b][:, None] * along for n, (a, b, _) in CAPSULES.items()}
    hit = np.zeros(len(poses), bool)
    for one, two in _pairs():
        distance = np.linalg.norm(axes[one][:, :, None] - axes[two][:, None], axis=-1).min(axis=(1, 2))
        hit |= distance < TOUCH * (CAPSULES[one][2] + CAPSULES[two][2])
    return hit


def draw(folder: Path, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 23, 3) from the mixture, half of them mirrored."""
    with np.load(folder / "pose_gmm.npz", allow_pickle=False) as gmm:
        factors = np.linalg.cholesky(gmm["covariances"])
        k = rng.choice(len(gmm["weights"]), size=count, p=gmm["weights"] / gmm["weights"].sum())
        theta = gmm["means"][k] + np.einsum("nij,nj->ni", factors[k], rng.normal(size=(count, 69)))
    poses = theta.reshape(count, 23, 3)
    return np.where(rng.random((count, 1, 1)) < 0.5, poses, mirror_poses(poses))


def inside(poses: np.ndarray, folder: Path) -> np.ndarray:
    """(N,) bool: within the joint limits."""
    with np.load(folder / "joint_limits.npz", allow_pickle=False) as box:
        return ((poses >= box["lower"]) & (poses <= box["upper"])).all(axis=(1, 2))


def card(facts: dict) -> str:
    return f"""# poses.npz

`poses` ({facts["count"]}, 23, 3) float32: rotation vectors of the 23 body joints of SMPL, radians; `joint_names` (23,).
There is no global orientation in it: take the person as upright.

* **From**: `pose_gmm.npz` (see its card for the sources), drawn with seed {SEED}. No recorded frames.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `python priors/scripts/sample_poses.py`
* **Checks**: of {facts["drawn"]} draws {facts["limits"]:.1%} were within `joint_limits.npz`; of those
  {facts["clear"]:.1%} had no two capsules (limbs, torso, head of `free_body.npz`, mean shape) running into each other
  by more than {1 - TOUCH:.0%} of their radii. The first {facts["count"]} that passed both are kept.
  No mesh was tested. (Of real test frames 2.6 % fail the capsule test: people touch themselves.)
* **Limits**: the density's: much standing, walking, dancing, climbing; little sitting, lying, kneeling.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", default="priors", help="folder of pose_gmm.npz, joint_limits.npz, free_body.npz; poses too"
    )
    folder = Path(parser.parse_args().out)
    poses = draw(folder, 4 * COUNT, np.random.default_rng(SEED))
    allowed = poses[inside(poses, folder)]
    clear = allowed[~collides(allowed, rest_points(folder / "free_body.npz"))]
    if len(clear) < COUNT:
        raise SystemExit(f"Only {len(clear)} of {len(poses)} draws passed the checks; expected {COUNT}.")
    kept = clear[:COUNT].astype(np.float32)
    facts = {
        "count": COUNT,
        "drawn": len(poses),
        "limits": len(allowed) / len(poses),
        "clear": len(clear) / len(allowed),
    }
    with atomic_write(folder / "poses.npz") as temporary:
        np.savez_compressed(temporary, poses=kept, joint_names=np.array(BODY_JOINTS))
    record_checksum(folder / "poses.npz")
    with atomic_write(folder / "poses.md") as temporary:
        temporary.write_text(card(facts))
    print(json.dumps(facts))


if __name__ == "__main__":
    main()

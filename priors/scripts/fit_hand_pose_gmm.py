"""Fit the pose prior of hands: a Gaussian on the 45 numbers log R of the 15 finger joints of a right hand.

    python priors/scripts/fit_hand_pose_gmm.py --poses fingers21.npz

Reads the poses as `build_free_hand.py` does (angles of every joint, carried to the free hand, thinned) and writes
`hand_pose_gmm.npz`. Sources count by the root of their sizes. Of so few poses the covariance is shrunk,

    Σ = (1 − s) Σ̂ + s Σ̂ of single fingers + floor²,

where Σ̂ of single fingers has the blocks of each finger and no correlation between fingers.
"""

import argparse
from pathlib import Path

import numpy as np
from free_hand_pose import JOINT_OF_FINGER, pose_space, read_poses

from hmrfit.assets import record_checksum, shipped
from hmrfit.body.skeleton import MANO_RIGHT
from hmrfit.body.smpl import SmplBody
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.atomic import atomic_write

FLOOR = np.deg2rad(4.0)
"""Standard deviation that every number has beside what the sources show: their rigs have joints with one axis."""

SHRUNK = 0.3
"""How much of the correlation between fingers is not believed."""


def flat_hand() -> np.ndarray:
    """(21, 3) metres, hand21 of the free hand at rest."""
    body = SmplBody.from_file(shipped() / "free_hand.npz")
    return body.points(hand_set("hand21", "right").names).pose(body.neutral()).points[0].numpy()


def single_fingers() -> np.ndarray:
    """(45, 45) bool: numbers of one finger."""
    finger = np.empty(45, int)
    for f, joints in enumerate(JOINT_OF_FINGER):
        finger[(3 * (joints - 1)[:, None] + np.arange(3)).ravel()] = f
    return finger[:, None] == finger


def pose_gaussian(
    vectors: np.ndarray, source: np.ndarray, floor: float = FLOOR, shrunk: float = SHRUNK
) -> tuple[np.ndarray, np.ndarray]:
    """(mean (45,), covariance (45, 45)) of poses (N, 15, 3)."""
    mean, rows, deviations = pose_space(vectors, source)
    covariance = (rows.T * deviations**2) @ rows
    own = np.where(single_fingers(), covariance, 0.0)
    return mean, (1 - shrunk) * covariance + shrunk * own + floor**2 * np.eye(45)


def write_prior(path: Path, mean: np.ndarray, covariance: np.ndarray) -> None:
    """As `PoseGmm` reads it."""
    arrays = {"means": mean[None], "covariances": covariance[None], "weights": np.ones(1)}
    with atomic_write(path) as temporary:
        np.savez(temporary, **arrays, joint_names=np.array(MANO_RIGHT.names[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--poses", required=True, help="fingers21.npz: xyz (N, 21, 3), side, source")
    parser.add_argument("--out", default=str(shipped()), help="folder of hand_pose_gmm.npz")
    arguments = parser.parse_args()
    vectors, source = read_poses(arguments.poses, flat_hand())
    path = Path(arguments.out) / "hand_pose_gmm.npz"
    write_prior(path, *pose_gaussian(vectors, source))
    record_checksum(path)
    print(f"{len(vectors)} poses -> {path}")


if __name__ == "__main__":
    main()

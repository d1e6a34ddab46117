"""What is wrong in recorded motion, and what two frames have in common.

Thresholds in degrees, found on CMU's own faults (hip twists flipped by 160 degrees for 5-10 frames, flipped ankles,
wrist solves gone astray). A frame with a broken core joint is dropped with its neighbours; a broken wrist or toe is set
to identity in that frame and counts as not driven.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import SMPL
from hmrfit.motion.motion import Motion

CORE = tuple(
    SMPL.index(name)
    for name in (
        "left_hip",
        "right_hip",
        "spine1",
        "left_knee",
        "right_knee",
        "spine2",
        "left_ankle",
        "right_ankle",
        "spine3",
        "neck",
        "head",
        "left_shoulder",
        "right_shoulder",
        "left_elbow",
        "right_elbow",
    )
)
"""The 15 joints that decide whether a frame is broken and whether two frames are the same."""

LIMITS: dict[str, tuple[float, float]] = {
    "hip_twist": (-90, 90),
    "ankle": (-85, 85),
    "knee": (-25, 170),
    "elbow": (-25, 170),
    "spine": (-120, 120),
    "head": (-110, 110),
    "collar": (-70, 70),
}
"""Degrees of the core joints; beyond them a frame is broken."""

LOOSE_LIMITS: dict[str, tuple[float, float]] = {"wrist": (-125, 125), "foot": (-75, 75)}
"""Degrees of joints that may be broken by themselves."""

MAX_SPEED = 22.0 * 120.0
"""Degrees a second that no joint turns."""
PADDING = 2
"""Frames dropped on either side of a broken one, at the native rate."""
DUPLICATE = np.radians(2.0)
"""Two frames whose core joints differ by less (root mean square) are the same frame."""


def _joint(poses: NDArray[np.float64], name: str) -> NDArray[np.float64]:
    return poses[:, SMPL.index(name)]


def _chain_angle(poses: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float64]:
    """(T,) degrees of the product of several local rotations."""
    total = Rotation.identity(len(poses))
    for name in names:
        total = total * Rotation.from_rotvec(_joint(poses, name))
    return np.degrees(total.magnitude())


def twist_about_y(rotvec: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) degrees of turn about the bone of a thigh: the swing-twist part of a rotation about y."""
    _, y, _, w = Rotation.from_rotvec(rotvec).as_quat(canonical=True).T
    return np.degrees(2.0 * np.arctan2(y, w))


def _outside(value: NDArray[np.float64], limits: tuple[float, float]) -> NDArray[np.bool_]:
    low, high = limits
    return (value < low) | (value > high)


def _angles(poses: NDArray[np.float64], joint: str) -> NDArray[np.float64]:
    return np.degrees(np.linalg.norm(_joint(poses, joint), axis=1))


def joint_speed(poses: NDArray[np.float64], fps: float) -> NDArray[np.float64]:
    """(T, J) degrees a second that each joint turned since the frame before; the first frame has its follower's."""
    if len(poses) < 2:
        return np.zeros(poses.shape[:2])
    local = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(*poses.shape, 3)
    step = np.swapaxes(local[:-1], -1, -2) @ local[1:]
    angle = np.degrees(Rotation.from_matrix(step.reshape(-1, 3, 3)).magnitude()).reshape(step.shape[:2]) * fps
    return np.concatenate([angle[:1], angle])


def broken_frames(motion: Motion) -> NDArray[np.bool_]:
    """(T,) bool: a core joint is where no body can have it, or jumps there; padding included."""
    poses = motion.poses
    bad = _outside(_chain_angle(poses, ("spine1", "spine2", "spine3")), LIMITS["spine"])
    bad |= _outside(_chain_angle(poses, ("neck", "head")), LIMITS["head"])
    for side, sign in (("left", -1.0), ("right", 1.0)):
        knee, elbow = _joint(poses, f"{side}_knee"), _joint(poses, f"{side}_elbow")
        bad |= _outside(twist_about_y(_joint(poses, f"{side}_hip")), LIMITS["hip_twist"])
        bad |= _outside(_angles(poses, f"{side}_ankle"), LIMITS["ankle"])
        bad |= _outside(_angles(poses, f"{side}_collar"), LIMITS["collar"])
        bad |= _outside(np.degrees(knee[:, 0]), LIMITS["knee"])
        bad |= _outside(np.degrees(sign * elbow[:, 1]), LIMITS["elbow"])
    bad |= (joint_speed(poses, motion.fps)[:, CORE] > MAX_SPEED).any(axis=1)
    return np.convolve(bad, np.ones(2 * PADDING + 1), mode="same") > 0


def clean(motion: Motion) -> Motion | None:
    """The motion without broken frames, stray wrists and toes set to identity; None if nothing is left."""
    keep = ~broken_frames(motion)
    if not keep.any():
        return None
    poses, driven = motion.poses.copy(), motion.driven.copy()
    speed = joint_speed(poses, motion.fps)
    for part, limit in LOOSE_LIMITS.items():
        for side in ("left", "right"):
            j = SMPL.index(f"{side}_{part}")
            stray = _outside(_angles(poses, f"{side}_{part}"), limit) | (speed[:, j] > MAX_SPEED)
            poses[stray, j], driven[stray, j] = 0.0, False
    return replace(motion, poses=poses, driven=driven)[keep]


def _embedding(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, 60) such that distances are root mean square angles of the core joints, for small ones.

    Unit quaternions with w >= 0: |q1 - q2| = 2 sin(angle / 4).
    """
    core = Rotation.from_rotvec(poses[:, CORE].reshape(-1, 3)).as_quat(canonical=True)
    return (core * 2.0 / np.sqrt(len(CORE))).reshape(len(poses), -1)


def unlike_frames(poses: NDArray[np.float64], radius: float = DUPLICATE) -> NDArray[np.bool_]:
    """(T,) bool: frames that differ from every frame kept before them, (T, 24, 3) -> mask."""
    pairs = cKDTree(_embedding(poses)).query_pairs(radius, output_type="ndarray")
    keep = np.ones(len(poses), bool)
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    edges = np.searchsorted(pairs[:, 0], np.arange(len(poses) + 1))
    for i in range(len(poses)):
        if keep[i]:
            keep[pairs[edges[i] : edges[i + 1], 1]] = False
    return keep

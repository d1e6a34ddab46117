"""The convention that every reader aims at, and the way there.

SMPL order (24 joints), rotations local to the parent, column vectors (G_child = G_parent R_local), y up. The rest is
a T-pose that faces +z: left at +x, palms down, thumbs +z.

A reader gives H[j], the global rotation of joint j relative to an ideal T-pose (thighs and shanks (0, -1, 0), arms
(+-1, 0, 0), feet flat, head level, elbow crease facing +z). Then

    G[j] = H[j] B[j],    L[j] = G[parent]^T G[j],

where B[j] carries the ideal direction of the bone below j to its direction in SMPL's template, which is slightly bent
in the hinge planes: B = align(rest direction, ideal direction), so that G[j] applied to the template's bone gives
H[j] applied to the ideal one. The slants of the template in the frontal plane are left out on purpose: legs look
vertical there, and knees and elbows stay pure hinges. (Positions can be off by up to about 5 degrees a bone.)

Signs that follow: knee flexion +x; elbow flexion -y left, +y right; hip flexion -x; hanging arms: shoulder z about
-75 degrees left and +75 right.
"""

from collections.abc import Container, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import ROOT_PARENT, SMPL

BEND_DEGREES = {
    "left_knee": ("x", -5.5),
    "right_knee": ("x", -5.5),
    "left_shoulder": ("y", -5.5),
    "right_shoulder": ("y", 5.5),
    "left_elbow": ("y", -1.0),
    "right_elbow": ("y", 1.0),
}
"""B of every joint whose bone is not straight in the template: one turn about one axis. All others: identity."""


def rest_bend(joint: str) -> NDArray[np.float64]:
    """B of one joint, (3, 3)."""
    axis, degrees = BEND_DEGREES.get(joint, ("x", 0.0))
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()


def local_from_ideal(ideal: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
    """Local rotation vectors (T, 24, 3) from global rotations H relative to the ideal T-pose, name -> (T, 3, 3).

    A joint that is not given does not turn against its parent (L = identity).

    Raises:
        ValueError: there is no pelvis among the given joints.
    """
    if "pelvis" not in ideal:
        raise ValueError("The global rotation of the pelvis is needed; given: " + ", ".join(ideal))
    poses = np.zeros((len(ideal["pelvis"]), len(SMPL), 3))
    glob: list[NDArray[np.float64]] = []  # G of each joint so far
    for j, (name, parent) in enumerate(zip(SMPL.names, SMPL.parents, strict=True)):
        if name not in ideal:
            glob.append(glob[parent])
            continue
        glob.append(ideal[name] @ rest_bend(name))
        local = glob[j] if parent == ROOT_PARENT else np.swapaxes(glob[parent], -1, -2) @ glob[j]
        poses[:, j] = Rotation.from_matrix(local).as_rotvec()
    return poses


def driven_mask(joints: Container[str]) -> NDArray[np.bool_]:
    """(24,) bool: which SMPL joints are among the given names."""
    return np.array([name in joints for name in SMPL.names])


def global_from_local(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Global rotations G (..., 24, 3, 3) from local rotation vectors (..., 24, 3): G_child = G_parent L."""
    local = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix().reshape(*poses.shape, 3)
    glob = local.copy()
    for j, parent in enumerate(SMPL.parents):
        if parent >= 0:
            glob[..., j, :, :] = glob[..., parent, :, :] @ local[..., j, :, :]
    return glob


def ideal_from_local(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """H (..., 24, 3, 3) relative to the ideal T-pose, the inverse of `local_from_ideal`: H = G B^T."""
    bends = np.stack([rest_bend(name) for name in SMPL.names])
    return global_from_local(poses) @ np.swapaxes(bends, -1, -2)


MIRROR = np.array(SMPL.mirror)
"""Index of the joint on the other side."""


def mirror_poses(poses: NDArray[np.float64]) -> NDArray[np.float64]:
    """The pose seen in a mirror (x -> -x): sides swapped, rotation vectors (x, y, z) -> (x, -y, -z).

    Args:
        poses: (..., 24, 3), global orientation first, or (..., 23, 3) without it.
    """
    n = poses.shape[-2]
    J = len(SMPL)
    if n not in (J, J - 1):
        raise ValueError(f"Expected {J} or {J - 1} joints in the last but one dimension, got shape {poses.shape}.")
    order = MIRROR if n == J else MIRROR[1:] - 1
    return poses[..., order, :] * np.array([1.0, -1.0, -1.0])


def halfway(start: NDArray[np.float64], end: NDArray[np.float64], share: float = 0.5) -> NDArray[np.float64]:
    """The rotation at `share` of the shortest way from `start` to `end`, both (T, 3, 3)."""
    relative = Rotation.from_matrix(np.swapaxes(start, -1, -2) @ end).as_rotvec()
    return start @ Rotation.from_rotvec(share * relative).as_matrix()


def turn(axis: str, degrees: float) -> NDArray[np.float64]:
    """(3, 3) rotation about one axis."""
    return Rotation.from_euler(axis, degrees, degrees=True).as_matrix()

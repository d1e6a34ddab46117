"""Poses of real hands as rotations of the free hand, the space of them, and the skin that its correctives imitate.

    a source hand's joints  ->  angles of every joint, finger by finger  ->  rotations of the free hand's joints

The frame of a phalanx has z along it; the first frame of a finger comes from the palm, and each next one is turned by
the smallest rotation (`hmrfit.priors.biomechanics`). What is carried over is the turn from frame to frame, so lengths,
and how fingers spread at rest, are the free hand's own:

    F'_k = F'_(k-1) (F_(k-1)ᵀ F_k of the source),     G_k = F'_k F_k^flat ᵀ,     R_k = G_(k-1)ᵀ G_k

Pose space: θ = μ + c C, principal components of the poses' rotation vectors (MANO's `hands_mean`, `hands_components`).
"""

from __future__ import annotations

import numpy as np
import torch
from free_body_pose import chain, dqs, lbs, world_rotations
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import MANO_RIGHT
from hmrfit.priors.biomechanics import bones_of, finger_frames, joint_angles, mirrored_hands

PARENTS = MANO_RIGHT.parents
JOINT_OF_FINGER = np.array(
    [
        [MANO_RIGHT.names.index(f"right_{name}{k}") for k in (1, 2, 3)]
        for name in ("thumb", "index", "middle", "ring", "pinky")
    ]
)
"""(5, 3) MANO's joint at each joint of a finger, thumb to little finger."""

APART = np.deg2rad(6.0)
"""Poses of one source that differ by less in every joint are one pose."""

FARTHEST = np.deg2rad(120.0)
"""No joint of a hand turns farther: such rows are faults of a source."""

ASIDE = np.deg2rad(30.0)
"""Abduction that the second and third joints of a finger do not have; some sources' rigs do."""


def rotations_of(joints: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """(B, 15, 3, 3) rotations of the free hand's finger joints that bend it as right hands (B, 21, 3) are bent.

    flat: (21, 3) the free hand at rest.
    """
    source, (rest,) = (
        finger_frames(bones_of(torch.as_tensor(h, dtype=torch.float64))).numpy() for h in (joints, flat[None])
    )
    out = np.broadcast_to(np.eye(3), (len(joints), 16, 3, 3)).copy()
    for f in range(5):
        posed = np.broadcast_to(rest[f, 0], (len(joints), 3, 3))
        before = np.broadcast_to(np.eye(3), (len(joints), 3, 3))
        for k in range(1, 4):
            posed = posed @ source[:, f, k - 1].swapaxes(1, 2) @ source[:, f, k]
            world = posed @ rest[f, k].T
            out[:, JOINT_OF_FINGER[f, k - 1]] = before.swapaxes(1, 2) @ world
            before = world
    return out[:, 1:]


def read_poses(path: str, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(rotation vectors (N, 15, 3), source (N,)) of hands in a file: xyz (N, 21, 3), side, source; thinned, clean."""
    with np.load(path) as data:
        joints, side, source = data["xyz"].astype(float), data["side"], data["source"]
    left = torch.as_tensor(side == "left")[:, None, None]
    hands = torch.as_tensor(joints)
    hands = torch.where(left, mirrored_hands(hands), hands).numpy()
    rotations = rotations_of(hands, flat)
    vectors = Rotation.from_matrix(rotations.reshape(-1, 3, 3)).as_rotvec().reshape(-1, 15, 3)
    aside = np.abs(joint_angles(bones_of(torch.as_tensor(hands)))[..., 1].numpy()).reshape(-1, 5, 3)[:, 1:, 1:]
    fine = (np.linalg.norm(vectors, axis=-1) < FARTHEST).all(1) & (aside < ASIDE).all((1, 2))
    return _thinned(vectors[fine], source[fine])


def _thinned(vectors: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One of each group of poses of a source that are near to each other, the first."""
    kept: list[int] = []
    for name in dict.fromkeys(source.tolist()):
        rows = np.flatnonzero(source == name)
        tree = cKDTree(vectors[rows].reshape(len(rows), -1))
        gone = np.zeros(len(rows), bool)
        for i, near in enumerate(tree.query_ball_point(vectors[rows].reshape(len(rows), -1), APART, p=np.inf)):
            if not gone[i]:
                gone[[j for j in near if j > i]] = True
        kept.extend(rows[~gone])
    order = np.sort(kept)
    return vectors[order], source[order]


def pose_space(vectors: np.ndarray, source: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean (45,), components (45, 45), rows of unit length, standard deviations (45,)); a source counts by the root of
    its size."""
    weight = np.array([1 / np.sqrt((source == name).sum()) for name in source])
    weight = weight / weight.sum()
    flat = vectors.reshape(len(vectors), -1)
    mean = weight @ flat
    covariance = (flat - mean).T @ ((flat - mean) * weight[:, None])
    values, rows = np.linalg.eigh(covariance)
    rows = rows[:, ::-1].T
    rows *= np.sign(rows[np.arange(45), np.abs(rows).argmax(1)])[:, None]
    return mean, rows, np.sqrt(np.clip(values[::-1], 0, None))


def random_poses(vectors: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 16, 3, 3) rotations: fingers of different real poses together, between two poses, and a little beyond."""
    a, b = (vectors[rng.integers(len(vectors), size=(count, 5))] for _ in range(2))  # (count, 5 fingers, 15, 3)
    mix = rng.uniform(0.0, 1.2, (count, 5, 1, 1))
    both = a + mix * (b - a)
    out = np.zeros((count, 16, 3))
    for f in range(5):
        joints = JOINT_OF_FINGER[f]
        out[:, joints] = both[:, f][:, joints - 1]
    alone = rng.random((count, 16, 1)) < 0.5
    out[: count // 4] *= alone[: count // 4]
    return Rotation.from_rotvec(out.reshape(-1, 3)).as_matrix().reshape(count, 16, 3, 3)


def posed(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> tuple:
    """World rotations and translations for rest joints (16, 3) and local rotations (B, 16, 3, 3)."""
    world = world_rotations(local, PARENTS)
    return world, chain(np.broadcast_to(joints, (len(local), 16, 3)).copy(), world, PARENTS)


def linear(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    return lbs(vertices[None], weights, *posed(vertices, weights, joints, local))


def better_skin(
    vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray, roundness: float
) -> np.ndarray:
    """κ dual-quaternion and (1 − κ) linear skinning, (B, V, 3): what the correctives imitate."""
    frames = posed(vertices, weights, joints, local)
    return roundness * dqs(vertices[None], weights, *frames, PARENTS) + (1 - roundness) * lbs(
        vertices[None], weights, *frames
    )

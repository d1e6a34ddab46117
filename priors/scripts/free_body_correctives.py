"""Pose correctives: what linear skinning lacks against dual-quaternion skinning, learnt on random plausible poses.

    posedirs = argmin Σ_θ ‖ P vec(R(θ) − I) − M(θ)⁻¹ (v_DQS(θ) − v_LBS(θ)) ‖² + λ ‖P‖²        M: the blended linear map

A vertex listens only to the joints between the bones that move it, so the correctives stay local.
"""

from __future__ import annotations

import numpy as np
from free_body_pose import blended, chain, dqs, lbs, world_rotations
from free_body_source import JOINT_NAMES, MIRROR_JOINTS, PARENTS
from free_body_shape import Mesh
from scipy.spatial.transform import Rotation

# Limits of the random poses in degrees: rotation vector about x, y, z of the left side's joint, (low, high) each.
# In the T-pose the left arm points to +x: about x it twists, about y it swings forwards (-), about z upwards (+).
_LIMITS = {
    "spine1": ((-15, 35), (-20, 20), (-15, 15)),
    "spine2": ((-10, 20), (-15, 15), (-10, 10)),
    "spine3": ((-10, 20), (-15, 15), (-10, 10)),
    "neck": ((-25, 30), (-35, 35), (-20, 20)),
    "head": ((-20, 20), (-30, 30), (-15, 15)),
    "hip": ((-120, 25), (-40, 40), (-15, 45)),
    "knee": ((0, 140), (-10, 10), (-5, 5)),
    "ankle": ((-25, 45), (-20, 20), (-20, 20)),
    "foot": ((-40, 20), (-5, 5), (-5, 5)),
    "collar": ((-10, 10), (-20, 10), (-10, 30)),
    "shoulder": ((-80, 80), (-90, 30), (-90, 80)),
    "elbow": ((-60, 60), (-140, 0), (-10, 10)),
    "wrist": ((-80, 80), (-25, 35), (-70, 70)),
    "hand": ((-5, 5), (-10, 10), (-80, 20)),
}


def random_poses(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 24, 3, 3) rotations relative to the parent; pelvis upright. A third of the draws bend one joint alone."""
    low, high = np.zeros((24, 3)), np.zeros((24, 3))
    for j, name in enumerate(JOINT_NAMES):
        side, _, plain = name.rpartition("_")
        if plain in _LIMITS:
            bounds = np.deg2rad(np.array(_LIMITS[plain], float).T)
            low[j], high[j] = bounds
            if side == "right":  # a mirror in x keeps turns about x and reverses those about y and z
                low[j, 1:], high[j, 1:] = -bounds[1, 1:], -bounds[0, 1:]
    middle = 0.5 * np.clip(low + high, -0.6, 0.6) * 0.5
    vector = np.clip(middle + rng.normal(size=(count, 24, 3)) * (high - low) * 0.3, low, high)
    vector *= rng.uniform(0.2, 1.0, (count, 24, 1))
    alone = rng.random((count, 24, 3)) < 0.5
    vector[: count // 3] *= alone[: count // 3]
    return Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)


def listening(weights: np.ndarray) -> np.ndarray:
    """(V, 24) bool: the joints between the bones that move a vertex, the topmost left out (it only carries along)."""
    out = np.zeros(weights.shape, bool)
    for v, used in enumerate(weights > 0):
        chains = [_ancestors(j) for j in np.flatnonzero(used)]
        common = set.intersection(*chains)
        out[v, sorted(set.union(*chains) - common)] = True
    return out


def _ancestors(j: int) -> set[int]:
    out = {j}
    while PARENTS[j] >= 0:
        j = PARENTS[j]
        out.add(j)
    return out


def posed_frames(joints: np.ndarray, local: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """World rotations and translations of template joints (24, 3) for local rotations (B, 24, 3, 3)."""
    world = world_rotations(local)
    return world, chain(np.broadcast_to(joints, (len(local), 24, 3)), world)


def rest_offsets(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    """M⁻¹ (v_DQS − v_LBS), (B, V, 3)."""
    world, shift = posed_frames(joints, local)
    gap = dqs(vertices[None], weights, world, shift) - lbs(vertices[None], weights, world, shift)
    turn, _ = blended(weights, world, shift)
    return _damped_solve(turn, gap)


def _damped_solve(turn: np.ndarray, gap: np.ndarray, damping: float = 0.02) -> np.ndarray:
    """(MᵀM + damping) x = Mᵀ gap: where twisting bones flatten M, the flat direction is left alone."""
    normal = turn.swapaxes(-1, -2) @ turn + damping * np.eye(3)
    return np.linalg.solve(normal, turn.swapaxes(-1, -2) @ gap[..., None])[..., 0] * (1 + damping)


def features(local: np.ndarray) -> np.ndarray:
    """vec(R_j − I) of joints 1..23, row-major: (B, 23, 9)."""
    return (local[:, 1:] - np.eye(3)).reshape(len(local), 23, 9)


def fit(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray, mesh: Mesh, seed: int, count: int = 2400
) -> np.ndarray:
    """posedirs (V, 3, 207) in metres, symmetric, rounded to micrometres, below 20 micrometres set to 0."""
    local = random_poses(count, np.random.default_rng(seed))
    half = len(mesh.keep)
    heard = listening(weights[:half])
    out = np.zeros((half, 3, 23, 9))
    phi = features(local)
    for group in np.unique(heard, axis=0):
        members = np.flatnonzero((heard == group).all(1))
        used = np.flatnonzero(group[1:])
        if len(used) == 0:
            continue
        x = phi[:, used].reshape(count, -1)
        gram = x.T @ x + 1e-3 * count * np.eye(x.shape[1])
        for part in np.array_split(members, max(1, len(members) // 200)):
            target = rest_offsets(template[part], weights[part], joints, local)
            solved = np.linalg.solve(gram, x.T @ target.reshape(count, -1))
            out[np.ix_(part, range(3), used)] = solved.reshape(len(used), 9, len(part), 3).transpose(2, 3, 0, 1)
    return _whole(out, mesh)


def _whole(half: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Mirror (H, 3, 23, 9) to (V, 3, 207). R ↦ S R S flips the entries of R between x and the other axes."""
    left = len(mesh.mirror) - len(mesh.keep)
    s = np.array([-1.0, 1.0, 1.0])
    sign = s[:, None, None] * np.outer(s, s).ravel()[None, None]
    mirrored = half[:, :, MIRROR_JOINTS[1:] - 1] * sign[None]
    half = half.copy()
    half[left:] = 0.5 * (half[left:] + mirrored[left:])
    out = np.concatenate([half, mirrored[:left]]).reshape(-1, 3, 207)
    out = np.where(np.abs(out) < 2e-5, 0, np.round(out, 6))
    return out + 0.0


def errors(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray, posedirs: np.ndarray, seed: int, count: int = 100
) -> dict:
    """Distance to dual-quaternion skinning without and with correctives on unseen poses, millimetres."""
    local = random_poses(count, np.random.default_rng(seed))
    world, shift = posed_frames(joints, local)
    target = dqs(template[None], weights, world, shift)
    plain = lbs(template[None], weights, world, shift)
    offset = (features(local).reshape(count, 207) @ posedirs.reshape(-1, 207).T).reshape(count, -1, 3)
    better = lbs(template[None] + offset, weights, world, shift)
    a, b = (1e3 * np.linalg.norm(x - target, axis=-1) for x in (plain, better))
    moved = a > 1.0
    return {
        "mean_before": a.mean(),
        "mean_after": b.mean(),
        "max_before": a.max(),
        "max_after": b.max(),
        "mean_before_where_over_1mm": a[moved].mean(),
        "mean_after_where_over_1mm": b[moved].mean(),
    }

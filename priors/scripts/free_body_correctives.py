"""Pose correctives: what linear skinning lacks against a better skin, learnt on random plausible poses.

    posedirs = argmin Σ_θ ‖ P vec(R(θ) − I) − M(θ)⁻¹ (v*(θ) − v_LBS(θ)) ‖² + λ ‖P‖²        M: the blended linear map
    v* = κ v_DQS + (1 − κ) v_LBS of vertices whose twist is spread along the limb

Dual quaternions (DQS) keep the volume of twists; at bends they bulge where linear skinning collapses: κ lies between.

A vertex listens only to the joints between the bones that move it, so the correctives stay local.
"""

from __future__ import annotations

import numpy as np
from free_body_pose import blended, chain, dqs, lbs, world_rotations
from free_body_shape import Mesh
from free_body_source import JOINT_NAMES, MIRROR_JOINTS, PARENTS
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


# Twists that spread along a limb: joint -> the limb's two ends and where along it the twist begins and is complete.
_SPREAD = {
    "shoulder": ("shoulder", "elbow", 0.0, 0.9),
    "elbow": ("elbow", "wrist", 0.0, 0.6),
    "wrist": ("elbow", "wrist", 0.3, 1.0),
    "hip": ("hip", "knee", 0.0, 0.9),
}
# κ of a pure bend at these joints: chosen by eye between the bulge of DQS (1) and the collapse of LBS (0).
_BEND = {"shoulder": 0.35, "collar": 0.5, "hip": 0.5, "knee": 0.7, "elbow": 0.7, "wrist": 0.7}


def random_poses(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 24, 3, 3) rotations relative to the parent; pelvis upright.

    Half of the joints bend moderately, half anywhere within their limits; in a third of the poses half of the angles
    are 0, so that pure bends and twists are learnt too.
    """
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
    vector = np.where(rng.random((count, 24, 1)) < 0.5, vector, rng.uniform(low, high, (count, 24, 3)))
    alone = rng.random((count, 24, 3)) < 0.5
    vector[: count // 3] *= alone[: count // 3]
    return Rotation.from_rotvec(vector.reshape(-1, 3)).as_matrix().reshape(count, 24, 3, 3)


def listening(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """(V, 24) bool: the joints between the bones that move a vertex, without the topmost, and its limb's twists."""
    out = np.zeros(weights.shape, bool)
    for v, used in enumerate(weights > 0):
        chains = [_ancestors(j) for j in np.flatnonzero(used)]
        common = set.intersection(*chains)
        out[v, sorted(set.union(*chains) - common)] = True
    for j, limb in _twists():
        out[:, j] |= missing_twist(vertices, weights, joints, j, limb) != 0
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
    """M⁻¹ (v_target − v_LBS), (B, V, 3)."""
    world, shift = posed_frames(joints, local)
    gap = target(vertices, weights, joints, local) - lbs(vertices[None], weights, world, shift)
    turn, _ = blended(weights, world, shift)
    return _damped_solve(turn, gap)


def target(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    """The skin that the correctives imitate, (B, V, 3): twists spread along the limb, then κ DQS + (1 − κ) LBS."""
    world, shift = posed_frames(joints, local)
    spread = spread_twists(vertices, weights, joints, local)
    share = roundness(weights, joints, local)[..., None]
    return share * dqs(spread, weights, world, shift) + (1 - share) * lbs(spread, weights, world, shift)


def spread_twists(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    """Rest vertices (B, V, 3) turned about their limb's axis, so that skinning them twists the limb evenly.

    Skinning gives a vertex the share b of a joint's twist, b its weight at and below the joint; a limb wants the share
    s that rises along its axis. The difference (s − b) θ is turned in the rest pose.
    """
    out = np.broadcast_to(vertices, (len(local), *vertices.shape)).copy()
    for j, (start, end, low, high) in _twists():
        amount = missing_twist(vertices, weights, joints, j, (start, end, low, high))
        moved = np.flatnonzero(amount)
        axis = (joints[end] - joints[start]) / np.linalg.norm(joints[end] - joints[start])
        angle = _twist_angle(local[:, j], axis)[:, None] * amount[moved]
        out[:, moved] = _turned(out[:, moved] - joints[start], axis, angle) + joints[start]
    return out


def missing_twist(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, j: int, limb: tuple) -> np.ndarray:
    """s − b of every vertex, (V,), 0 off the limb."""
    start, end, low, high = limb
    axis = joints[end] - joints[start]
    along = ((vertices - joints[start]) @ axis) / (axis @ axis)
    below = weights[:, _descendants(j)].sum(1)
    on_limb = weights[:, _descendants(start)].sum(1)
    amount = _smooth(on_limb / 0.25) * (_smooth((along - low) / (high - low)) - below)
    return np.where(np.abs(amount) > 1e-3, amount, 0.0)


def roundness(weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    """κ (B, V): 1 where bones twist, less where they bend, since DQS bulges at bends as LBS collapses at twists."""
    out = np.ones((len(local), len(weights)))
    for j, name in enumerate(JOINT_NAMES):
        least = _BEND.get(name.rpartition("_")[2], 1.0)
        below = weights[:, _descendants(j)].sum(1)
        zone = 4 * below * (1 - below)
        child = next((c for c in range(24) if PARENTS[c] == j), j)
        axis = joints[child] - joints[j]
        if least == 1.0 or not axis.any():
            continue
        whole = np.square(Rotation.from_matrix(local[:, j]).magnitude()) + 0.05
        twist = np.square(_twist_angle(local[:, j], axis / np.linalg.norm(axis)))
        out -= zone * ((1 - least) * (1 - np.minimum(1, twist / whole)))[:, None]
    return np.clip(out, 0, 1)


def _twists() -> list[tuple[int, tuple[int, int, float, float]]]:
    index = JOINT_NAMES.index
    return [
        (index(f"{side}_{joint}"), (index(f"{side}_{start}"), index(f"{side}_{end}"), low, high))
        for side in ("left", "right")
        for joint, (start, end, low, high) in _SPREAD.items()
    ]


def _descendants(j: int) -> list[int]:
    return [k for k in range(24) if j in _ancestors(k)]


def _smooth(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)


def _twist_angle(rotation: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """The angle about `axis` of R = swing · twist, (B,), within ±π."""
    quaternion = Rotation.from_matrix(rotation).as_quat(canonical=True)
    return 2 * np.arctan2(quaternion[:, :3] @ axis, quaternion[:, 3])


def _turned(points: np.ndarray, axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rodrigues: points (B, V, 3) about one axis by angles (B, V)."""
    c, s = np.cos(angle)[..., None], np.sin(angle)[..., None]
    return c * points + s * np.cross(axis, points) + (1 - c) * (points @ axis)[..., None] * axis


def _damped_solve(turn: np.ndarray, gap: np.ndarray, damping: float = 0.02) -> np.ndarray:
    """(MᵀM + damping) x = Mᵀ gap: where twisting bones flatten M, the flat direction is left alone."""
    normal = turn.swapaxes(-1, -2) @ turn + damping * np.eye(3)
    return np.linalg.solve(normal, turn.swapaxes(-1, -2) @ gap[..., None])[..., 0] * (1 + damping)


def features(local: np.ndarray) -> np.ndarray:
    """vec(R_j − I) of joints 1..23, row-major: (B, 23, 9)."""
    return (local[:, 1:] - np.eye(3)).reshape(len(local), 23, 9)


def fit(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray, mesh: Mesh, seed: int, count: int = 3200
) -> np.ndarray:
    """posedirs (V, 3, 207) in metres, symmetric, rounded to micrometres, below 20 micrometres set to 0."""
    half = len(mesh.keep)
    return _whole(of_vertices(template[:half], weights[:half], joints, seed, count), mesh)


def of_vertices(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray, seed: int, count: int = 3200
) -> np.ndarray:
    """The correctives of some vertices (n, 3), unrounded: (n, 3, 23, 9)."""
    local = random_poses(count, np.random.default_rng(seed))
    heard = listening(template, weights, joints)
    out = np.zeros((len(template), 3, 23, 9))
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
    return out


def _whole(half: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Mirror (H, 3, 23, 9) to (V, 3, 207). R ↦ S R S flips the entries of R between x and the other axes."""
    left = len(mesh.mirror) - len(mesh.keep)
    s = np.array([-1.0, 1.0, 1.0])
    sign = s[:, None, None] * np.outer(s, s).ravel()[None, None]
    mirrored = half[:, :, MIRROR_JOINTS[1:] - 1] * sign[None]
    half = half.copy()
    half[left:] = 0.5 * (half[left:] + mirrored[left:])
    return rounded(np.concatenate([half, mirrored[:left]]).reshape(-1, 3, 207))


def rounded(posedirs: np.ndarray) -> np.ndarray:
    """To micrometres, below 20 micrometres 0."""
    return np.where(np.abs(posedirs) < 2e-5, 0, np.round(posedirs, 6)) + 0.0


def corrected(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, posedirs: np.ndarray, local: np.ndarray):
    """The posed body as the file's users see it, (B, V, 3): LBS of the rest vertices with their correctives."""
    world, shift = posed_frames(joints, local)
    offset = features(local).reshape(len(local), 207) @ posedirs.reshape(-1, 207).T
    return lbs(vertices[None] + offset.reshape(len(local), -1, 3), weights, world, shift)


def errors(
    template: np.ndarray, weights: np.ndarray, joints: np.ndarray, posedirs: np.ndarray, seed: int, count: int = 100
) -> dict[str, float]:
    """Vertex distances in millimetres on unseen poses, to the target and to plain DQS, without and with correctives."""
    local = random_poses(count, np.random.default_rng(seed))
    world, shift = posed_frames(joints, local)
    plain = lbs(template[None], weights, world, shift)
    better = corrected(template, weights, joints, posedirs, local)
    out = {}
    wanted = {"target": target(template, weights, joints, local), "dqs": dqs(template[None], weights, world, shift)}
    for name, goal in wanted.items():
        before, after = (1e3 * np.linalg.norm(x - goal, axis=-1) for x in (plain, better))
        far = before > 2
        for key, x in (("before", before), ("after", after)):
            out |= {f"{name}_mean_{key}": x.mean(), f"{name}_max_{key}": x.max(), f"{name}_far_{key}": x[far].mean()}
            out[f"{name}_p99_{key}"] = np.percentile(x, 99)
    return {key: round(float(x), 3) for key, x in out.items()}

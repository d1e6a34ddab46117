"""Build priors/free_hand.npz, a free right hand in MANO's format, from the generic hand of WebXR and free poses.

    npm pack @webxr-input-profiles/assets@1.0.20 && tar xf *.tgz        # package/dist/profiles/generic-hand/right.glb
    python priors/scripts/build_free_hand.py --template right.glb --poses fingers21.npz

--poses: an npz with xyz (N, 21, 3) metres in the order of hand21, side (N,) left or right, source (N,); the card says
which hands went in. Deterministic: the same inputs, numpy and scipy give the same arrays. Takes half a minute.

    v(β) = v_template + Σ_i β_i shapedirs_i     each β one thing that differs between hands, of unit variance
    posedirs = argmin Σ_θ ‖P vec(R(θ) − I) − M(θ)⁻¹ (v*(θ) − v_LBS(θ))‖² + Σ_jv w_jv ‖P_jv‖²

v* is the skin of `free_hand_pose.better_skin`, w_jv grows with the distance over the surface from joint j's own part of
the hand to vertex v, so that no fingertip answers to another finger (Romero et al., "Embodied Hands", 2017, sec. 3.3).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import trimesh
from scipy.optimize import nnls
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

sys.path.insert(0, str(Path(__file__).parent))

import free_hand_pose as pose
import free_hand_source as source_

from hmrfit.assets import record_checksum
from hmrfit.body.skeleton import MANO_RIGHT
from hmrfit.io.atomic import write_npz

SEED = 2026
ROUNDNESS = 1.3
"""κ of the better skin: with 1 (dual quaternions) a fist still has 2.4 % less volume than the flat hand, with linear
skinning 5.6 %; with 1.3 it is 1.5 %."""

POSES = 2400
NEAR, REACH = 0.012, 0.006
"""Metres over the surface: how far beyond its own part a joint is listened to freely, and by how much more the penalty
grows e-fold."""

RADII = (0.045, 0.03, 0.018, 0.018)
"""Metres about a joint, in which the vertices lie that find it: the wrist, and a finger's three joints."""

SIZE, FINGER_LENGTH, WIDTH, GIRTH, PALM, ONE_FINGER = 0.055, 0.03, 0.045, 0.07, 0.06, 0.025
"""Standard deviations of factors: of a hand's size over adults of both sexes (ANSUR II: hand length 186 ± 11 mm), of
fingers against the palm, of the palm's width, of fingers' girth, of the palm's thickness, of one finger's length."""


def builds() -> list[tuple[str, source_.Build]]:
    """What one standard deviation of each beta does."""
    ones, lengths = np.ones(5), np.ones((5, 4))
    fingers = lengths.copy()
    fingers[:, 1:] = 1 + FINGER_LENGTH
    found = [
        ("size", source_.Build(lengths, ones, size=1 + SIZE)),
        ("fingers longer against the palm", source_.Build(fingers, ones)),
        ("palm wider", source_.Build(lengths, ones, palm_width=1 + WIDTH)),
        ("fingers thicker", source_.Build(lengths, ones + GIRTH)),
        ("palm thicker", source_.Build(lengths, ones, palm_thickness=1 + PALM)),
    ]
    for f, name in enumerate(("thumb", "index", "middle", "ring", "little")):
        one = lengths.copy()
        one[f, 1:] = 1 + ONE_FINGER
        found.append((f"{name} finger longer", source_.Build(one, ones)))
    return found


def opposite(build: source_.Build) -> source_.Build:
    """One standard deviation the other way."""
    return source_.Build(
        2 - build.lengths, 2 - build.thickness, 2 - build.palm_thickness, 2 - build.palm_width, 2 - build.size
    )


def shape_space(hand: source_.Template) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """(shapedirs (V, 3, 10), vertices and joints (16, 3) of hands that differ, for the regressor)."""
    directions, vertices, joints = [], [hand.vertices], [source_.mano_joints(hand)]
    for _, build in builds():
        more, less = (source_.shaped(hand, one) for one in (build, opposite(build)))
        directions.append(0.5 * (more.vertices - less.vertices))
        for one in (more, less):
            vertices.append(one.vertices)
            joints.append(source_.mano_joints(one))
    return np.stack(directions, -1), vertices, joints


def joint_regressor(weights: np.ndarray, vertices: list[np.ndarray], joints: list[np.ndarray]) -> np.ndarray:
    """(16, V) non-negative rows of sum 1, each of vertices around its joint, that find the joints of all hands."""
    rows = np.zeros((16, len(weights)))
    stacked = np.stack(vertices)
    for j in range(16):
        parent = max(MANO_RIGHT.parents[j], 0)
        distance = np.linalg.norm(vertices[0] - joints[0][j], axis=1)
        near = np.flatnonzero((weights[:, j] + weights[:, parent] > 0.3) & (distance < RADII[min(j, 1 + (j - 1) % 3)]))
        rows[j, near] = enclosing(stacked[:, near], np.stack([hand[j] for hand in joints]))
    return rows


def enclosing(vertices: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(n,) a non-negative row of sum 1 on the vertices (M, n, 3) of M hands that finds a place (M, 3) in each; evenly,
    as far as that leaves a choice."""
    count = vertices.shape[1]
    A = vertices.transpose(0, 2, 1).reshape(-1, count)  # every hand's coordinates
    system = np.concatenate([A, 2e-3 * np.eye(count), np.ones((1, count))])
    solution, _ = nnls(system, np.concatenate([places.ravel(), np.full(count, 2e-3 / count), [1.0]]), maxiter=20000)
    return solution / solution.sum()


def surface_distance(vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(15, V) metres over the surface from the part that joint 1 to 15 and its neighbours along the finger move."""
    edges = trimesh.Trimesh(vertices, faces, process=False).edges_unique
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    count = len(vertices)
    graph = coo_matrix(
        (np.tile(length, 2), (np.r_[edges[:, 0], edges[:, 1]], np.r_[edges[:, 1], edges[:, 0]])), (count, count)
    )
    found = []
    for j in range(1, 16):
        own = np.flatnonzero(weights[:, j] > 0.05)
        found.append(dijkstra(graph.tocsr(), indices=own, min_only=True))
    return np.array(found)


def correctives(
    vertices: np.ndarray, faces: np.ndarray, weights: np.ndarray, joints: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """posedirs (V, 3, 135), ridge regression vertex by vertex; below 10 micrometres set to 0."""
    local = pose.random_poses(vectors, POSES, np.random.default_rng(SEED))
    x = (local[:, 1:] - np.eye(3)).reshape(len(local), 135)
    gram = x.T @ x
    penalty = POSES * 1e-3 * np.exp(np.clip((surface_distance(vertices, faces, weights) - NEAR) / REACH, 0, 20))
    out = np.zeros((len(vertices), 3, 135))
    for part in np.array_split(np.arange(len(vertices)), 40):
        goal = rest_offsets(vertices[part], weights[part], joints, local)
        right = x.T @ goal.reshape(len(local), -1)
        for i, v in enumerate(part):
            ridge = np.repeat(penalty[:, v], 9)
            out[v] = np.linalg.solve(gram + np.diag(ridge), right[:, 3 * i : 3 * i + 3]).T
    return np.where(np.abs(out) < 1e-5, 0, np.round(out, 6)) + 0.0


def rest_offsets(vertices: np.ndarray, weights: np.ndarray, joints: np.ndarray, local: np.ndarray) -> np.ndarray:
    """M⁻¹ (v* − v_LBS) (B, V, 3), M the blended linear map."""
    world, _ = pose.posed(vertices, weights, joints, local)
    gap = pose.better_skin(vertices, weights, joints, local, ROUNDNESS) - pose.linear(vertices, weights, joints, local)
    turn = (weights @ world.reshape(len(world), 16, 9)).reshape(len(world), -1, 3, 3)
    normal = turn.swapaxes(-1, -2) @ turn + 0.02 * np.eye(3)
    return np.linalg.solve(normal, turn.swapaxes(-1, -2) @ gap[..., None])[..., 0] * 1.02


def landmarks(hand: source_.Template, vertices: list[np.ndarray]) -> tuple[list[str], np.ndarray]:
    """Names and rows (6, V) of the fingers' tips, one vertex each, and of WebXR's wrist, around the forearm."""
    names = [f"right_{finger}_tip" for finger in ("thumb", "index", "middle", "ring", "pinky")]
    rows = np.zeros((6, len(hand.vertices)))
    rows[np.arange(5), source_.tip_vertices(hand)] = 1
    place = np.array([source_.WRIST_FORWARD, 0, 0])
    near = np.flatnonzero(np.linalg.norm(hand.vertices - place, axis=1) < RADII[0])
    sizes = np.ones(len(vertices))
    sizes[1:3] += [SIZE, -SIZE]  # the first two that differ from the mean hand differ in size
    rows[5, near] = enclosing(np.stack(vertices)[:, near], sizes[:, None] * place)
    return [*names, "right_wrist_webxr"], rows


def scores(arrays: dict[str, np.ndarray], vectors: np.ndarray) -> dict[str, float]:
    """Millimetres to the better skin on unseen poses without and with correctives, and volumes in percent."""
    v, w, f = (arrays[name].astype(float) for name in ("v_template", "weights", "f"))
    joints, P = arrays["J_regressor"].astype(float) @ v, arrays["posedirs"].astype(float).reshape(-1, 135)
    local = pose.random_poses(vectors, 100, np.random.default_rng(SEED + 1))
    offsets = ((local[:, 1:] - np.eye(3)).reshape(100, 135) @ P.T).reshape(100, -1, 3)
    frames = pose.posed(v, w, joints, local)
    goal = pose.better_skin(v, w, joints, local, ROUNDNESS)
    before, after = (
        1e3 * np.linalg.norm(pose.lbs(x, w, *frames) - goal, axis=-1) for x in (v[None], v[None] + offsets)
    )
    volume = lambda x: trimesh.Trimesh(x, f.astype(int), process=False).volume  # noqa: E731
    rest = volume(v)
    kept = [100 * volume(x) / rest for x in pose.lbs(v[None] + offsets, w, *frames)]
    return {
        "mean_before": before.mean(),
        "mean_after": after.mean(),
        "p99_before": np.percentile(before, 99),
        "p99_after": np.percentile(after, 99),
        "volume_least": min(kept),
        "volume_mean": float(np.mean(kept)),
    }


def build(template: Path, poses: Path) -> dict[str, np.ndarray]:
    """Every array of the file, by name."""
    hand = source_.adult(source_.flattened(source_.read_template(template)))
    weights = source_.mano_weights(hand)
    shapedirs, vertices, joints = shape_space(hand)
    regressor = joint_regressor(weights, vertices, joints)
    placed = regressor @ hand.vertices
    flat = hand.points21()
    flat[[4, 8, 12, 16, 20]] = hand.vertices[source_.tip_vertices(hand)]
    vectors, origin = pose.read_poses(str(poses), flat)
    mean, components, deviations = pose.pose_space(vectors, origin)
    names, rows = landmarks(hand, vertices)
    arrays = {
        "v_template": hand.vertices.astype(np.float32),
        "f": hand.faces.astype(np.uint32),
        "shapedirs": shapedirs.astype(np.float32),
        "posedirs": correctives(hand.vertices, hand.faces, weights, placed, vectors).astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack(
            [np.where(np.array(MANO_RIGHT.parents) < 0, 2**32 - 1, MANO_RIGHT.parents), np.arange(16)]
        ),
        "joint_names": np.array(MANO_RIGHT.names),
        "hands_mean": mean,
        "hands_components": components,
        "hands_deviations": deviations,
        "landmark_names": np.array(names),
        "landmark_regressor": rows.astype(np.float32),
        "meta": np.array(
            json.dumps(
                {
                    "name": "hmrfit free hand",
                    "version": 1,
                    "command": "python priors/scripts/build_free_hand.py --template right.glb --poses fingers21.npz",
                    "betas": [name for name, _ in builds()],
                    "poses": len(vectors),
                }
            )
        ),
    }
    off = max(np.linalg.norm(regressor @ v - j, axis=1).max() for v, j in zip(vertices, joints, strict=True))
    print(
        json.dumps({key: round(float(x), 3) for key, x in (scores(arrays, vectors) | {"joints_mm": 1e3 * off}).items()})
    )
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--template", type=Path, required=True, help="WebXR's generic right hand, a GLB")
    parser.add_argument("--poses", type=Path, required=True, help="npz with xyz, side, source")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parents[1] / "free_hand.npz")
    arguments = parser.parse_args()
    write_npz(arguments.out, build(arguments.template, arguments.poses))
    record_checksum(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

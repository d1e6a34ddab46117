"""A hand sewn onto a forearm: both are cut by planes across the arm, the gap is closed, the forearm led to the hand.

    new vertices = M (old vertices),    M sparse: most rows pick one vertex, a row on a cut two ends of an edge
    forearm:  p -> p + w(x) Δ(θ),       Δ(θ) = hand's rim − forearm's rim at the angle θ about the arm's axis

Everything that a vertex has (place, directions of shape) goes through the same M and Δ, so that a rim that is led to
the hand's stays with it in every shape. Right side: the arm runs along −x, the wrist at x = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

NEAR = 0.0025
"""Metres: a vertex that is so near to a cutting plane counts as on it, or there would be slivers."""


@dataclass(frozen=True)
class Cut:
    """mix (n, V): the kept vertices from the old ones; faces (F, 3); rim: its vertices by rising angle about x."""

    mix: csr_matrix
    faces: np.ndarray
    rim: np.ndarray

    @property
    def kept(self) -> np.ndarray:
        """(n,) the old vertex of each, −1 of those that the cut has made."""
        one = np.diff(self.mix.indptr) == 1
        return np.where(one, self.mix.indices[self.mix.indptr[:-1]], -1)


def angle_of(points: np.ndarray) -> np.ndarray:
    """About x, radians, from +y towards +z."""
    return np.arctan2(points[..., 2], points[..., 1])


def cut(vertices: np.ndarray, faces: np.ndarray, x: float, side: float, within: np.ndarray) -> Cut:
    """What lies beyond the plane at x: on its greater side for side = 1, on its lesser for −1.

    within: (F,) bool, the faces that the plane may cut; the others are kept as they are.
    """
    height = side * (vertices[:, 0] - x)
    height[np.abs(height) < NEAR] = 0.0
    out: list[tuple[int, ...]] = []
    new: dict[tuple[int, int], int] = {}

    def crossing(a: int, b: int) -> int:
        key = (min(a, b), max(a, b))
        return new.setdefault(key, len(vertices) + len(new))

    for face, may in zip(faces.tolist(), within.tolist(), strict=True):
        if not may or all(height[v] >= 0 for v in face):
            if not may or any(height[v] > 0 for v in face):
                out.append(tuple(face))
            continue
        polygon: list[int] = []
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            if height[a] >= 0:
                polygon.append(a)
            if height[a] * height[b] < 0:
                polygon.append(crossing(a, b))
        if len(polygon) >= 3 and any(v < len(vertices) and height[v] > 0 for v in polygon):
            out.extend((polygon[0], polygon[i], polygon[i + 1]) for i in range(1, len(polygon) - 1))
    kept = np.array(out)
    used = np.unique(kept)
    ends = {number: key for key, number in new.items()}
    rows, columns, values = [], [], []
    for i, v in enumerate(used.tolist()):
        if v < len(vertices):
            rows, columns, values = [*rows, i], [*columns, v], [*values, 1.0]
        else:
            a, b = ends[v]
            t = height[a] / (height[a] - height[b])
            rows, columns, values = [*rows, i, i], [*columns, a, b], [*values, 1 - t, t]
    mix = csr_matrix((values, (rows, columns)), (len(used), len(vertices)))
    own = np.searchsorted(used, kept)
    return Cut(mix, own, _rim(mix @ vertices, own, x))


def _rim(vertices: np.ndarray, faces: np.ndarray, x: float) -> np.ndarray:
    """The border on the plane, by rising angle."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    known = {tuple(edge) for edge in edges.tolist()}
    border = np.array([edge for edge in edges.tolist() if (edge[1], edge[0]) not in known])
    border = border[(np.abs(vertices[border][..., 0] - x) < 2 * NEAR).all(1)]
    following = dict(border.tolist())
    loop = [border[0, 0]]
    while (after := following[loop[-1]]) != loop[0]:
        loop.append(after)
    if len(loop) != len(border):
        raise ValueError(f"The cut at {x} has {len(border)} edges, but its rim {len(loop)}.")
    ring = np.array(loop)
    turning = np.unwrap(angle_of(vertices[ring]))
    ring = ring if turning[-1] > turning[0] else ring[::-1]
    return np.roll(ring, -int(angle_of(vertices[ring]).argmin()))


def sewn(first: np.ndarray, a: np.ndarray, second: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Triangles between two rims, by rising angle: a (places `first`) of the forearm, b (places `second`) of the hand;
    each time the shorter of the two next diagonals. Faces look outwards if the forearm lies at greater x."""
    i = j = 0
    j0 = int(np.linalg.norm(second - first[0], axis=1).argmin())
    out = []
    n, m = len(a), len(b)
    while i < n or j < m:
        at = lambda k: (j0 + k) % m  # noqa: E731
        forward = np.linalg.norm(first[(i + 1) % n] - second[at(j)]) if i < n else np.inf
        other = np.linalg.norm(first[i % n] - second[at(j + 1)]) if j < m else np.inf
        if forward <= other:
            out.append((a[(i + 1) % n], a[i % n], b[at(j)]))
            i += 1
        else:
            out.append((a[i % n], b[at(j)], b[at(j + 1)]))
            j += 1
    return np.array(out)


def at_angles(angles: np.ndarray, rim: np.ndarray, values: np.ndarray) -> np.ndarray:
    """values (n, ...) at the rim's rising angles (n,) -> linearly between them, at any angles (m,)."""
    rim = np.unwrap(rim)
    turns = np.concatenate([rim - 2 * np.pi, rim, rim + 2 * np.pi])
    place = np.searchsorted(turns, angles).clip(1, len(turns) - 1)
    t = ((angles - turns[place - 1]) / (turns[place] - turns[place - 1])).reshape(-1, *[1] * (values.ndim - 1))
    n = len(rim)
    return (1 - t) * values[(place - 1) % n] + t * values[place % n]


def smooth(x: np.ndarray, start: float, end: float) -> np.ndarray:
    """0 at `start`, 1 at `end`, flat at both."""
    t = np.clip((x - start) / (end - start), 0, 1)
    return t * t * t * (10 - 15 * t + 6 * t * t)

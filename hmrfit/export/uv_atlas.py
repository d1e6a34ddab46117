"""Texture coordinates for a body that has none: charts that are flat, packed into the unit square; no chance in it.

    charts     head, torso, arms, legs, hands and feet, each cut in a front and a back half where the surface turns
               away: by the sign of the smoothed normal along z, of arms, hands and feet along y (in the T pose)
    flat       least squares conformal maps (Lévy et al., SIGGRAPH 2002): min Σ_faces A |∂u/∂x − ∂v/∂y|² + |∂u/∂y +
               ∂v/∂x|² with two vertices held; angles stay, sizes are those of the chart on the whole
    atlas      charts upright as they are on the body, in rows, the tallest first, at one scale; head and hands larger

of the mean shape, so a texture fits every person of a body. A vertex on the border of charts stands once for each: the
first V vertices are the body's own, in its order, and copies follow.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from hmrfit.body.parts import part_labels
from hmrfit.body.skeleton import PART_NAMES
from hmrfit.body.smpl import SmplBody
from hmrfit.render.shading import vertex_normals

Float = NDArray[np.float64]
Whole = NDArray[np.int64]

SMOOTHING = 12
"""How often normals are averaged with their neighbours' before they say what is front and back."""

SMALLEST = 30
"""Faces: a smaller island of one half goes to the other."""

LARGER = 1.6
"""Than its surface: how large a chart with much detail is."""

FINE = (PART_NAMES.index("head"), len(PART_NAMES), len(PART_NAMES) + 1)
"""The pieces (see `_pieces`) with much detail: head and hands."""

MARGIN = 0.004
"""Of the square, between charts."""


@dataclass(frozen=True)
class UvAtlas:
    """Faces with texture coordinates, V' vertices."""

    source: Whole  # (V',) which of the body's vertices each is; the first V are 0, 1, 2, ...
    uv: Float  # (V', 2) in [0, 1], (0, 0) the upper left corner, as glTF has it
    faces: Whole  # (F, 3) of V'
    chart: Whole  # (F,)


def uv_atlas(body: SmplBody) -> UvAtlas:
    """The atlas of a body, made once for each."""
    key = _Body(body)
    return _made(key)


class _Body:
    """A body as a key: equal where template and faces are."""

    def __init__(self, body: SmplBody) -> None:
        self.body = body
        self.key = (body.v_template.detach().cpu().numpy().tobytes(), body.faces.cpu().numpy().tobytes())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Body) and self.key == other.key


@lru_cache(4)
def _made(key: _Body) -> UvAtlas:
    body = key.body
    vertices, faces = body.v_template.detach().cpu().double().numpy(), body.faces.cpu().numpy()
    chart = _charts(body, vertices, faces)
    names = np.unique(chart)
    fine = np.isin(_pieces(body)[0], FINE)
    flat = []
    for name in names:
        own = _flattened(vertices, faces[chart == name])
        flat.append(replace(own, places=own.places * LARGER) if fine[own.vertices].mean() > 0.5 else own)
    return _joined(len(vertices), faces, chart, names, _packed(flat))


# ---- charts


def _charts(body: SmplBody, vertices: Float, faces: Whole) -> Whole:
    """(F,) which chart each face is of, from 0."""
    piece, lies_flat = _pieces(body)
    normals = _smoothed(vertices, faces)
    towards = np.where(lies_flat, normals[:, 1], normals[:, 2])
    chart = 2 * np.median(piece[faces], axis=1).astype(np.int64) + (towards[faces].mean(1) > 0)
    return _without_islands(faces, chart)


def _pieces(body: SmplBody) -> tuple[Whole, NDArray[np.bool_]]:
    """(V,) the piece of the body that each vertex is of: one of the six parts, or a hand or a foot, from 0; and whether
    that lies flat in the T pose."""
    try:
        labels = part_labels(body).cpu().numpy() - 1
    except ValueError:  # a body whose parts are not known, such as a hand
        return np.zeros(len(body.v_template), np.int64), np.ones(len(body.v_template), bool)
    skeleton, moved_by = body.skeleton, body.weights.detach().cpu().numpy().argmax(1)
    ends = [name for name in ("left_wrist", "right_wrist", "left_ankle", "right_ankle") if name in skeleton]
    piece, lies_flat = labels.copy(), np.char.endswith(np.array(PART_NAMES), "arm")[labels]
    for number, name in enumerate(ends, len(PART_NAMES)):
        own = np.isin(moved_by, skeleton.below(name))
        piece[own], lies_flat[own] = number, True
    return piece, lies_flat


def _smoothed(vertices: Float, faces: Whole) -> Float:
    normals = vertex_normals(torch.tensor(vertices)[None], torch.tensor(faces))[0].numpy()
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    V = len(vertices)
    beside = csr_matrix((np.ones(len(edges)), edges.T), (V, V))
    beside = ((beside + beside.T) > 0).astype(float)
    degree = np.maximum(np.asarray(beside.sum(1)), 1)
    for _ in range(SMOOTHING):
        normals = 0.5 * normals + 0.5 * (beside @ normals) / degree
    return normals


def _neighbours(faces: Whole) -> tuple[Whole, Whole]:
    """Pairs of faces that share an edge."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1)
    owner = np.tile(np.arange(len(faces)), 3)
    order = np.lexsort(edges.T)
    same = (edges[order][1:] == edges[order][:-1]).all(1)
    return owner[order][1:][same], owner[order][:-1][same]


def _islands(faces: Whole, chart: Whole) -> Whole:
    """(F,) the connected piece of its chart that each face is of."""
    a, b = _neighbours(faces)
    inner = chart[a] == chart[b]
    graph = coo_matrix((np.ones(inner.sum()), (a[inner], b[inner])), (len(faces), len(faces)))
    return connected_components(graph, directed=False)[1]


def _without_islands(faces: Whole, chart: Whole) -> Whole:
    """Small pieces go to the chart that they border most; what is still apart becomes a chart of its own."""
    a, b = _neighbours(faces)
    for _ in range(3):
        island = _islands(faces, chart)
        small = np.bincount(island)[island] < SMALLEST
        for piece in np.unique(island[small]):
            beside = np.concatenate([chart[b[island[a] == piece]], chart[a[island[b] == piece]]])
            beside = beside[beside != chart[np.flatnonzero(island == piece)[0]]]
            if len(beside):
                chart[island == piece] = np.bincount(beside).argmax()
    return _islands(faces, chart)


# ---- flat


@dataclass(frozen=True)
class _Flat:
    """A chart: the body's vertices that it has, and where they lie, metres."""

    vertices: Whole  # (n,)
    places: Float  # (n, 2), upwards as on the body


def _flattened(vertices: Float, faces: Whole) -> _Flat:
    """The conformal map of one chart, turned so that what is up on the body is up, and as large as its surface."""
    own, corners = np.unique(faces, return_inverse=True)
    corners = corners.reshape(-1, 3)
    points = vertices[own]
    a, b, c = (points[corners[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)
    double = np.linalg.norm(normal, axis=1)
    x = (b - a) / np.maximum(np.linalg.norm(b - a, axis=1, keepdims=True), 1e-12)
    y = np.cross(normal / np.maximum(double, 1e-12)[:, None], x)
    # each face in its own plane, complex: (0, b, c); W_i is the edge across from corner i
    zb, zc = ((b - a) * x).sum(1) + 0j, ((c - a) * x).sum(1) + 1j * ((c - a) * y).sum(1)
    W = np.stack([zc - zb, -zc, zb], 1) / np.sqrt(np.maximum(double, 1e-12))[:, None]
    n, F = len(own), len(corners)
    rows = np.repeat(np.arange(F), 3)
    M = csr_matrix((W.ravel(), (rows, corners.ravel())), (F, n))
    held = _farthest_pair(points)
    free = np.setdiff1d(np.arange(n), held)
    known = np.array([0.0, np.linalg.norm(points[held[1]] - points[held[0]])], complex)
    A, right = M[:, free], -(M[:, held] @ known)
    solved = splu((A.conj().T @ A).tocsc()).solve(A.conj().T @ right)
    z = np.empty(n, complex)
    z[free], z[held] = solved, known
    flat = np.stack([z.real, z.imag], 1)
    area = 0.5 * np.abs(_doubled_areas(flat, corners)).sum()
    flat *= np.sqrt(0.5 * double.sum() / max(area, 1e-12))
    return _Flat(own, _upright(flat, points))


def _farthest_pair(points: Float) -> list[int]:
    """Two vertices far from each other: one that is farthest from the middle, and the one farthest from that."""
    first = int(np.linalg.norm(points - points.mean(0), axis=1).argmax())
    return [first, int(np.linalg.norm(points - points[first], axis=1).argmax())]


def _doubled_areas(flat: Float, corners: Whole) -> Float:
    a, b, c = (flat[corners[:, i]] for i in range(3))
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


def _upright(flat: Float, points: Float) -> Float:
    """Turned so that what is up on the body is up: y, and of what lies flat the way to its middle plane x = 0."""
    flat, spread = flat - flat.mean(0), points - points.mean(0)
    tall = np.ptp(spread[:, 1]) > 0.5 * np.ptp(points[:, 0])
    axis = spread[:, 1] if tall else -np.abs(points[:, 0])
    up = np.linalg.lstsq(flat, axis - axis.mean(), rcond=None)[0]
    up /= max(np.linalg.norm(up), 1e-12)
    return flat @ np.array([[up[1], up[0]], [-up[0], up[1]]])


# ---- one square


def _packed(charts: list[_Flat]) -> list[Float]:
    """The charts' places (n, 2) in the unit square, y downwards: rows of charts, the tallest first."""
    boxes = [chart.places - chart.places.min(0) for chart in charts]
    sizes = np.array([box.max(0) for box in boxes])
    order = np.argsort(-sizes[:, 1], kind="stable")
    low, high = 0.0, 1 / sizes.max()
    for _ in range(40):
        scale = (low + high) / 2
        low, high = (scale, high) if _rows(sizes * scale, order) is not None else (low, scale)
    corners = _rows(sizes * low, order)
    assert corners is not None
    places = []
    for corner, box, size in zip(corners, boxes, sizes, strict=True):
        places.append(corner + low * np.stack([box[:, 0], size[1] - box[:, 1]], 1))
    return places


def _rows(sizes: Float, order: Whole) -> Float | None:
    """The upper left corners (N, 2) of boxes put into rows; None where they do not fit."""
    corners, x, y, height = np.zeros_like(sizes), MARGIN, MARGIN, 0.0
    for k in order:
        if x + sizes[k, 0] + MARGIN > 1:
            x, y, height = MARGIN, y + height + MARGIN, 0.0
        if x + sizes[k, 0] + MARGIN > 1 or y + sizes[k, 1] + MARGIN > 1:
            return None
        corners[k] = x, y
        x, height = x + sizes[k, 0] + MARGIN, max(height, sizes[k, 1])
    return corners


def _joined(V: int, faces: Whole, chart: Whole, names: Whole, places: list[Float]) -> UvAtlas:
    """One mesh: a vertex keeps its number in the first of its charts, and is copied for the others."""
    pairs, corner = np.unique(np.stack([np.repeat(chart, 3), faces.ravel()], 1), axis=0, return_inverse=True)
    corner = corner.reshape(-1)
    first = np.unique(pairs[:, 1], return_index=True)[1]  # of each vertex its first pair: charts ascend
    number = np.empty(len(pairs), np.int64)
    copies = np.setdiff1d(np.arange(len(pairs)), first)
    number[first] = pairs[first, 1]
    number[copies] = V + np.arange(len(copies))
    source = np.concatenate([np.arange(V), pairs[copies, 1]])
    uv = np.zeros((len(source), 2))
    for name, place in zip(names, places, strict=True):
        own = pairs[:, 0] == name
        uv[number[own]] = place  # both ascend in the body's numbers
    return UvAtlas(source, uv, number[corner].reshape(-1, 3), chart)

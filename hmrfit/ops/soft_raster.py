"""A silhouette with gradients: how much of each pixel is covered when every triangle has a soft edge.

    alpha(p) = 1 − Π_f (1 − S(−d_f(p)/s²)),        S the sigmoid

with d_f the squared distance on the screen from the pixel's centre p to triangle f, taken negative inside, and s the
softness in pixels. This is SoftRas' (Liu et al., ICCV 2019) and pytorch3d's `SoftSilhouetteShader` with
sigma = (2 s/min(W, H))² and blur_radius = sigma ln(1/1e-4 − 1): farther triangles, which would add less than 1e-4, do
not count. Every triangle counts there, whichever way it faces and whatever it hides behind; one with a corner nearer
than the near plane, or without area, counts nowhere.

    L(p) = −ln(1 − alpha) = Σ_f ln(1 + exp(−d_f/s²)),       d alpha/d d_f = −exp(−L) S(−d_f/s²)/s²,
    d_f = ±|p − c|²,    c = a + t (b − a) the nearest point of its edges
    ∂d_f/∂a = ∓2 (1 − t)(p − c),    ∂d_f/∂b = ∓2 t (p − c)

The derivative is written out: it needs no memory beyond one chunk of pairs (pixel, triangle).
Shapes: B images, V vertices, F faces, H×W pixels, N pairs.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import softplus

from hmrfit.ops.check import check_shape
from hmrfit.ops.ragged import chunks, flat_steps
from hmrfit.ops.raster import MIN_AREA

LEAST = 1e-4
"""A triangle that covers less of a pixel does not count."""

REACH = math.sqrt(math.log(1 / LEAST - 1))
"""Times the softness: how far outside of itself a triangle counts, 3.03."""

CHUNK = 1 << 18
"""Pairs worked on at once."""


def soft_silhouette(
    xy: Tensor, depth: Tensor, faces: Tensor, size: tuple[int, int], softness: float = 1.0, near: float = 0.0
) -> Tensor:
    """The soft coverage (B, H, W) in [0, 1], differentiable once by `xy`.

    Args:
        xy: (B, V, 2) pixels, (0, 0) the corner of the top-left one. depth: (B, V) metres.
        faces: (F, 3) integer rows of the vertices. size: (width, height) in pixels.
        softness: pixels. near: metres; faces with a corner nearer are left out.
    Raises:
        ValueError: other shapes, or a softness that is not above 0.
    """
    sizes = check_shape(xy, "B V 2", "xy", hint="Pixels on the screen.")
    check_shape(depth, "B V", "depth", sizes)
    check_shape(faces, "F 3", "faces")
    if not softness > 0:
        raise ValueError(f"softness should be a number of pixels above 0, but is {softness}.")
    return _SoftSilhouette.apply(xy, _drawn(xy, depth, faces, near), faces, size, softness)


class _SoftSilhouette(torch.autograd.Function):
    """L by one pass over the pairs, its derivative by another."""

    @staticmethod
    def forward(ctx: Any, xy: Tensor, drawn: Tensor, faces: Tensor, size: tuple[int, int], softness: float) -> Tensor:
        width, height = size
        density = torch.zeros(len(xy) * height * width, dtype=xy.dtype, device=xy.device)
        for pairs in _pairs(xy, drawn, faces, size, softness):
            density.index_add_(0, pairs.pixel, softplus(-pairs.distance / softness**2))
        ctx.save_for_backward(xy, drawn, faces, density)
        ctx.size, ctx.softness = size, softness
        return -torch.expm1(-density).view(-1, height, width)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        xy, drawn, faces, density = ctx.saved_tensors
        slope = grad.reshape(-1) * (-density).exp()
        result = torch.zeros_like(xy).view(-1, 2)
        for pairs in _pairs(xy, drawn, faces, ctx.size, ctx.softness):
            by_distance = -slope[pairs.pixel] * (-pairs.distance / ctx.softness**2).sigmoid() / ctx.softness**2
            for corner, derivative in pairs.corner_derivatives():
                result.index_add_(0, corner, by_distance[:, None] * derivative)
        return result.view_as(xy), None, None, None, None


@torch.no_grad()
def faces_in_reach(
    xy: Tensor, depth: Tensor, faces: Tensor, size: tuple[int, int], softness: float = 1.0, near: float = 0.0
) -> Tensor:
    """How many triangles count at each pixel (B, H, W); arguments as for `soft_silhouette`."""
    width, height = size
    counts = torch.zeros(len(xy) * height * width, dtype=torch.int64, device=xy.device)
    for pairs in _pairs(xy, _drawn(xy, depth, faces, near), faces, size, softness):
        counts.index_add_(0, pairs.pixel, torch.ones_like(pairs.pixel))
    return counts.view(-1, height, width)


@dataclass(frozen=True)
class CoverageRows:
    """One picture's soft silhouette, and how its pixels change where they change at all."""

    coverage: Tensor  # (H W,)
    pixel: Tensor  # (n,) those that are not saturated
    vertex: Tensor  # (m,) those that move them
    slope: Tensor  # (n, m, 2) d alpha of the pixel / d xy of the vertex, per pixel


@torch.no_grad()
def coverage_rows(
    xy: Tensor,
    depth: Tensor,
    faces: Tensor,
    size: tuple[int, int],
    softness: float = 1.0,
    near: float = 0.0,
    least: float = 1e-3,
) -> CoverageRows:
    """The whole derivative of one picture's `soft_silhouette`, for least squares; vertices xy (V, 2), depth (V,).

    Pixels within `least` of full or of no coverage are left out: their derivative is of that size.
    """
    xy, depth = xy[None], depth[None]
    every = list(_pairs(xy, _drawn(xy, depth, faces, near), faces, size, softness))
    density = torch.zeros(size[0] * size[1], dtype=xy.dtype, device=xy.device)
    for pairs in every:
        density.index_add_(0, pairs.pixel, softplus(-pairs.distance / softness**2))
    coverage = -torch.expm1(-density)
    moving = (coverage > least) & (coverage < 1 - least)
    pixel = moving.nonzero()[:, 0]
    row = torch.zeros_like(density, dtype=torch.int64)
    row[pixel] = torch.arange(len(pixel), device=xy.device)
    entries = [part for pairs in every for part in _entries(pairs, moving, density, softness)]
    if not entries:
        return CoverageRows(coverage, pixel, pixel[:0], density.new_zeros(len(pixel), 0, 2))
    of_pixel, of_vertex, values = (torch.cat(column) for column in zip(*entries, strict=True))
    vertex, column = of_vertex.unique(return_inverse=True)
    slope = density.new_zeros(len(pixel) * len(vertex), 2)
    slope.index_add_(0, row[of_pixel] * len(vertex) + column, values)
    return CoverageRows(coverage, pixel, vertex, slope.view(len(pixel), len(vertex), 2))


def _entries(pairs: "_Pairs", moving: Tensor, density: Tensor, softness: float) -> Iterator[tuple[Tensor, ...]]:
    """(pixel (n,), vertex (n,), d alpha / d xy (n, 2)) of the pairs at moving pixels, for either end of the edge."""
    kept = moving[pairs.pixel]
    pixel, distance = pairs.pixel[kept], pairs.distance[kept]
    slope = -(-density[pixel]).exp() * (-distance / softness**2).sigmoid() / softness**2
    for corner, derivative in pairs.corner_derivatives():
        yield pixel, corner[kept], slope[:, None] * derivative[kept]


@dataclass(frozen=True)
class _Pairs:
    """Pixels and triangles within reach of each other."""

    pixel: Tensor  # (N,) image * H W + row * W + column
    distance: Tensor  # (N,) squared pixels, negative inside
    start: Tensor  # (N,) row of the flat vertices, where the nearest edge starts
    stop: Tensor  # (N,)
    along: Tensor  # (N,) t in [0, 1], where on it the nearest point is
    away: Tensor  # (N, 2) from there to the pixel's centre

    def corner_derivatives(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(row of the flat vertices (N,), d distance / d that vertex (N, 2)) of both ends of the nearest edge."""
        pull = self.away * (-2 * self.distance.sign())[:, None]
        yield self.start, pull * (1 - self.along)[:, None]
        yield self.stop, pull * self.along[:, None]


def _drawn(xy: Tensor, depth: Tensor, faces: Tensor, near: float) -> Tensor:
    """(B, F) bool: faces with area, finite, beyond the near plane."""
    a, b, c = xy.detach()[:, faces].unbind(2)
    (ux, uy), (vx, vy) = (b - a).unbind(-1), (c - a).unbind(-1)
    area = (ux * vy - uy * vx).abs()
    beyond = depth.detach()[:, faces].amin(-1)
    return (area > MIN_AREA) & (area < torch.inf) & (beyond >= near) & (beyond > 0)


def _pairs(xy: Tensor, drawn: Tensor, faces: Tensor, size: tuple[int, int], softness: float) -> Iterator[_Pairs]:
    """Every pair of a pixel and a triangle that counts there, a chunk at a time."""
    width, height = size
    image, face = drawn.nonzero().unbind(1)
    vertices = faces[face] + image[:, None] * xy.shape[1]  # (T, 3) rows of the flat vertices
    flat, reach = xy.detach().reshape(-1, 2), REACH * softness
    corners = flat[vertices]
    limit = flat.new_tensor([width, height])
    first = (corners.amin(1) - reach - 0.5).ceil().clamp_min(0).minimum(limit).long()
    last = (corners.amax(1) + reach - 0.5).floor().clamp_min(-1).minimum(limit - 1).long()
    columns, rows = (last - first + 1).clamp_min(0).unbind(1)
    counts, edges = columns * rows, _edges(corners)
    for chunk in chunks(counts, CHUNK):
        triangle, step = flat_steps(counts[chunk])
        triangle = triangle + chunk.start
        row = step // columns[triangle]
        column = step - row * columns[triangle] + first[triangle, 0]
        row = row + first[triangle, 1]
        centers = column.to(flat) + 0.5, row.to(flat) + 0.5
        kept, nearest, values = _near(*centers, edges.index_select(2, triangle), reach)
        triangle, pixel = triangle[kept], (image[triangle] * height + row) * width + column
        start, stop = vertices[triangle, nearest], vertices[triangle, (nearest + 1) % 3]
        yield _Pairs(pixel[kept], values[0], start, stop, values[1], values[2:].T)


def _edges(corners: Tensor) -> Tensor:
    """(3, 5, T): of each edge of triangles (T, 3, 2) its start x, y, its course x, y, and 1/length²."""
    course = corners.roll(-1, 1) - corners
    squared = course.square().sum(-1, keepdim=True).clamp_min(torch.finfo(course.dtype).tiny)
    return torch.cat([corners, course, 1 / squared], -1).permute(1, 2, 0).contiguous()


def _near(x: Tensor, y: Tensor, edges: Tensor, reach: float) -> tuple[Tensor, Tensor, Tensor]:
    """Of pixel centres (N,) and triangles' edges (3, 5, N), for those within reach of each other: which they are (n,),
    the number of the nearest edge (n,), and (4, n) the signed squared distance, t, and p − c."""
    best = x.new_full(x.shape, torch.inf)
    nearest = torch.zeros_like(x, dtype=torch.int64)
    low, high = x.new_full(x.shape, torch.inf), x.new_full(x.shape, -torch.inf)
    for number, (start_x, start_y, course_x, course_y, inverse) in enumerate(edges):
        dx, dy = x - start_x, y - start_y
        side = course_x * dy - course_y * dx
        low, high = torch.minimum(low, side), torch.maximum(high, side)
        beyond = (course_x * dx + course_y * dy) * inverse
        beyond = beyond - beyond.clamp(0, 1)  # how far past the edge's ends, in lengths of it
        distance = (side * side + (beyond * beyond) / inverse.square()) * inverse
        nearer = distance < best
        best = torch.where(nearer, distance, best)
        nearest.masked_fill_(nearer, number)
    inside = (low >= 0) | (high <= 0)
    kept = (inside | (best < reach**2)).nonzero()[:, 0]
    nearest, inside = nearest[kept], inside[kept]
    start_x, start_y, course_x, course_y, inverse = edges[nearest, :, kept].T
    dx, dy = x[kept] - start_x, y[kept] - start_y
    along = ((course_x * dx + course_y * dy) * inverse).clamp(0, 1)
    away_x, away_y = dx - along * course_x, dy - along * course_y
    squared = away_x * away_x + away_y * away_y
    return kept, nearest, torch.stack([torch.where(inside, -squared, squared), along, away_x, away_y])

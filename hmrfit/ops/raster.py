"""A z-buffer over triangles, as whole-tensor operations: triangles -> rows -> pixels, no loop over any of them.

A pixel belongs to a triangle when its centre (j + 0.5, i + 0.5) lies inside it or on its edge. With the corners sorted
by y, the triangle covers in the row y of pixel centres the columns between its long edge and one of its short ones,

    x(y) = x_a + (y − y_a) (x_b − x_a)/(y_b − y_a),        a the upper end of the edge, b the lower,

and two triangles that share an edge compute the very same x(y): there are no holes between them. Of the triangles over
a pixel the nearest wins, at equal depth the one that comes first in `faces`. Depth is perspective-correct: 1/z, not z,
is linear over the screen,

    1/z(x, y) = Σ bᵢ / zᵢ,        bᵢ the barycentric coordinates of the pixel centre on the screen.

These are pytorch3d's rules with `perspective_correct=True`, `cull_backfaces=False` and a blur radius just large enough
to close its holes (1e-12): both sides of a triangle count, and one with a corner nearer than `near` is left out whole
(cutting it at the near plane is the caller's business). So are triangles without area and those with NaN or infinite
corners.

Everything is in float64 inside; a depth is compared in float32 (a tie is a relative difference under about 1e-7).
Not differentiable. Shapes: B images, V vertices, F faces, H×W pixels, T triangles on the screen, R rows, P pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.ops.check import check_shape
from hmrfit.ops.ragged import chunks, flat_steps

TOUCH = 1e-9
"""Pixels. A centre this near an edge is on it: rounding of coordinates up to 10,000 px is a thousand times less."""

MIN_AREA = 1e-9
"""Square pixels, twice the area. A thinner triangle is seen edge-on and owns no pixel."""

CHUNK = 1 << 22
"""Rows or pixels worked on at once; bounds the memory to a few hundred megabytes."""

FACES_AT_ONCE = 1 << 16
"""Faces set up at once, over several images."""

LAST_FACE = (1 << 31) - 1


@dataclass(frozen=True)
class Fragments:
    """What is seen at each pixel."""

    face: Tensor  # (B, H, W) int64, row of `faces`; -1 where there is none
    depth: Tensor  # (B, H, W) float32, metres along z; inf where there is none

    @property
    def mask(self) -> Tensor:
        """(B, H, W) bool, where there is a face."""
        return self.face >= 0


@dataclass(frozen=True)
class _Triangles:
    """Triangles that meet the screen, corners sorted by y."""

    corners: Tensor  # (3 of top, middle, bottom; 3 of x, y, 1/z; T)
    face: Tensor  # (T,) row of `faces`
    image: Tensor  # (T,)
    first_row: Tensor  # (T,)
    rows: Tensor  # (T,) how many rows of pixel centres


@dataclass(frozen=True)
class _Spans:
    """Runs of pixels in one row, covered by one triangle."""

    triangle: Tensor  # (R,)
    row: Tensor  # (R,) image * H + row
    first: Tensor  # (R,) column
    last: Tensor  # (R,) column, included


@torch.no_grad()
def silhouette(points: Tensor, faces: Tensor, size: tuple[int, int], near: float = 0.0) -> Tensor:
    """Where any face is seen: (B, H, W) bool. Arguments as for `rasterize`; needs no depth order, so it is quicker."""
    width, height = size
    ends = torch.zeros(points.shape[0] * height, width + 1, dtype=torch.int32, device=points.device)
    flat = ends.view(-1)
    for triangles in _triangles(points, faces, size, near):
        for spans in _spans(triangles, size):
            start = spans.row * (width + 1)
            one = torch.ones_like(start, dtype=torch.int32)
            flat.index_add_(0, start + spans.first, one).index_add_(0, start + spans.last + 1, -one)
    return (ends.cumsum(1, dtype=torch.int32)[:, :width] > 0).view(-1, height, width)


@torch.no_grad()
def rasterize(points: Tensor, faces: Tensor, size: tuple[int, int], near: float = 0.0) -> Fragments:
    """The nearest face at every pixel centre.

    Args:
        points: (B, V, 3) pixels x, pixels y, depth z in metres (`Camera.project` beside the camera-frame z).
        faces: (F, 3) integer rows of points, the same for every image.
        size: (width, height) in pixels.
        near: metres; faces with a corner nearer than this, or not beyond 0, are left out.
    """
    width, height = size
    nearest = torch.zeros(points.shape[0] * height * width, dtype=torch.int64, device=points.device)
    for triangles in _triangles(points, faces, size, near):
        slopes, level = _inverse_depth_planes(triangles)
        for spans in _spans(triangles, size):
            _draw(nearest, spans, triangles.face, slopes, level, size)
    nearest = nearest.view(-1, height, width)
    face = torch.where(nearest > 0, LAST_FACE - (nearest & LAST_FACE), -1)
    return Fragments(face, 1 / (nearest >> 31).int().view(torch.float32))


def barycentric(fragments: Fragments, points: Tensor, faces: Tensor) -> tuple[Tensor, Tensor]:
    """Barycentric coordinates on the surface (not the screen) at the pixels with a face.

    Args:
        fragments: of `rasterize(points, faces, ...)`.

    Returns:
        where: (P, 3) image, row, column of each pixel with a face.
        weights: (P, 3) float64, of the face's corners; they sum to 1.
    """
    where = fragments.mask.nonzero()
    a, b, c = _of_corners(points, faces, fragments, where).double().unbind(1)
    pixel = where[:, [2, 1, 2]] + 0.5  # the third column is never used
    ax, ay, bx, by, cx, cy = (v for corner in (a, b, c) for v in (corner - pixel)[:, :2].T)
    on_screen = torch.stack([bx * cy - cx * by, cx * ay - ax * cy, ax * by - bx * ay], 1)  # times twice the area
    weights = on_screen / torch.stack([a[:, 2], b[:, 2], c[:, 2]], 1)
    return where, weights / weights.sum(1, keepdim=True)


def interpolate(fragments: Fragments, points: Tensor, faces: Tensor, values: Tensor) -> Tensor:
    """Values given at vertices (B, V, C) at each pixel: (B, H, W, C), zero where there is no face."""
    where, seen = interpolate_seen(fragments, points, faces, values)
    image = torch.zeros(*fragments.face.shape, values.shape[-1], dtype=values.dtype, device=values.device)
    image[tuple(where.T)] = seen
    return image


def interpolate_seen(fragments: Fragments, points: Tensor, faces: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Values given at vertices (B, V, C), at the pixels with a face alone.

    Returns:
        where: (P, 3) image, row, column of each pixel with a face.
        seen: (P, C).
    """
    where, weights = barycentric(fragments, points, faces)
    corners = _of_corners(values, faces, fragments, where)
    return where, torch.einsum("pk,pkc->pc", weights.to(values.dtype), corners)


def _of_corners(values: Tensor, faces: Tensor, fragments: Fragments, where: Tensor) -> Tensor:
    """(P, 3, C): what the corners of each pixel's face hold, of values at vertices (B, V, C)."""
    of_faces = values[:, faces].flatten(0, 1)  # rows in one piece, quick to gather
    return of_faces[where[:, 0] * len(faces) + fragments.face[tuple(where.T)]]


def _triangles(points: Tensor, faces: Tensor, size: tuple[int, int], near: float) -> Iterator[_Triangles]:
    """The triangles that may own a pixel, a few images at a time."""
    _check(points, faces)
    images = max(1, FACES_AT_ONCE // max(1, len(faces)))
    for start in range(0, len(points), images):
        yield _sorted_triangles(points[start : start + images], faces, size, near, start)


def _sorted_triangles(points: Tensor, faces: Tensor, size: tuple[int, int], near: float, image: int) -> _Triangles:
    width, height = size
    corners = points.double().permute(2, 0, 1)[:, :, faces.T.reshape(-1)].unflatten(2, (3, -1))
    corners = corners.permute(2, 0, 1, 3).flatten(2)  # (corner, xyz, B * F)
    x, y, _ = corners.unbind(1)
    low, high = _extremes(corners)
    first_column, last_column = (low[0] - (0.5 + TOUCH)).ceil(), (high[0] - (0.5 - TOUCH)).floor()
    first_row, last_row = (low[1] - 0.5).ceil().clamp_min(0), (high[1] - 0.5).floor().clamp_max(height - 1)
    area = ((x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])).abs()
    seen = (first_row <= last_row) & (first_column <= last_column) & (first_column < width) & (last_column >= 0)
    seen &= (area > MIN_AREA) & (area < torch.inf) & (low[2] >= near) & (low[2] > 0) & (high[2] < torch.inf)
    kept = seen.nonzero()[:, 0]
    corners = corners[..., kept]
    corners[:, 2] = 1 / corners[:, 2]
    first_row = first_row[kept].long()
    rows = last_row[kept].long() - first_row + 1
    image_index = image + torch.div(kept, len(faces), rounding_mode="floor")
    return _Triangles(_sort_by_y(corners), kept % len(faces), image_index, first_row, rows)


def _extremes(corners: Tensor) -> tuple[Tensor, Tensor]:
    """Least and greatest x, y, z of each triangle, NaN where a corner has one: two (3, T)."""
    a, b, c = corners
    return torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)


def _sort_by_y(corners: Tensor) -> Tensor:
    """Top, middle, bottom: three compare-and-swaps."""
    a, b, c = corners
    a, b = _in_order(a, b)
    b, c = _in_order(b, c)
    a, b = _in_order(a, b)
    return torch.stack([a, b, c])


def _in_order(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    swap = a[1] > b[1]
    return torch.where(swap, b, a), torch.where(swap, a, b)


def _spans(triangles: _Triangles, size: tuple[int, int]) -> Iterator[_Spans]:
    """Every triangle's runs of pixels, row by row."""
    edges = _edges(triangles.corners)
    for chunk in chunks(triangles.rows, CHUNK):
        triangle, step = flat_steps(triangles.rows[chunk])
        triangle = triangle + chunk.start
        row = triangles.first_row[triangle] + step
        first, last = _columns(edges[triangle], row + 0.5, size[0])
        kept = (first <= last).nonzero()[:, 0]
        triangle = triangle[kept]
        yield _Spans(triangle, triangles.image[triangle] * size[1] + row[kept], first[kept], last[kept])


def _edges(corners: Tensor) -> Tensor:
    """(T, 8): x, y at the top, x, y at the middle, and dx/dy of top-bottom, top-middle, middle-bottom."""
    top, middle, bottom = corners[:, :2]
    slopes = [_slope(top, bottom), _slope(top, middle), _slope(middle, bottom)]
    return torch.stack([*top, *middle, *slopes], 1)


def _slope(a: Tensor, b: Tensor) -> Tensor:
    """dx/dy; 0 for a level edge, which is walked only at its own row, from the end that lies on the triangle's side."""
    dx, dy = b - a
    return torch.where(dy > 0, dx / dy, 0.0)


def _columns(edges: Tensor, y: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """First and last column whose centre lies between the long edge and the short one at height y."""
    top_x, top_y, middle_x, middle_y, long, upper, lower = edges.unbind(1)
    long_x = top_x + (y - top_y) * long
    short_x = torch.where(y < middle_y, top_x + (y - top_y) * upper, middle_x + (y - middle_y) * lower)
    first = (torch.minimum(long_x, short_x) - (0.5 + TOUCH)).ceil().clamp(0, width)
    last = (torch.maximum(long_x, short_x) - (0.5 - TOUCH)).floor().clamp(-1, width - 1)
    return first.long(), last.long()


def _inverse_depth_planes(triangles: _Triangles) -> tuple[Tensor, Tensor]:
    """1/z = slope · (x, y) + level over each triangle: slopes (2, T), level (T,)."""
    a, b, c = triangles.corners
    (ux, uy, uz), (vx, vy, vz) = b - a, c - a
    area = ux * vy - vx * uy
    slopes = torch.stack([uz * vy - vz * uy, ux * vz - vx * uz]) / area
    return slopes, a[2] - (slopes * a[:2]).sum(0)


def _draw(nearest: Tensor, spans: _Spans, face: Tensor, slopes: Tensor, level: Tensor, size: tuple[int, int]) -> None:
    """Puts the spans into the z-buffer `nearest`, which holds (float32 bits of 1/z, LAST_FACE − face) in one integer.

    Positive floats order like their bits, so the largest integer is the nearest face, and the first of equals.
    """
    width, height = size
    of = spans.triangle
    slope_x = slopes[0, of]
    start = level[of] + slopes[1, of] * (spans.row % height + 0.5) + slope_x * (spans.first + 0.5)
    pixel = spans.row * width + spans.first
    low_bits = LAST_FACE - face[of]
    lengths = spans.last - spans.first + 1
    for chunk in chunks(lengths, CHUNK):
        span, step = flat_steps(lengths[chunk])
        span = span + chunk.start
        inverse = (start[span] + slope_x[span] * step).float().clamp_min(torch.finfo(torch.float32).tiny)
        key = (inverse.view(torch.int32).long() << 31) | low_bits[span]
        nearest.scatter_reduce_(0, pixel[span] + step, key, "amax")


def _check(points: Tensor, faces: Tensor) -> None:
    check_shape(points, "B V 3", "points", hint="They are pixels x, pixels y and depth.")
    check_shape(faces, "F 3", "faces")
    if faces.is_floating_point():
        raise TypeError(f"faces should be integers, rows of the points, not {faces.dtype}.")

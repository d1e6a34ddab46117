"""The mask pixel by pixel: the body's soft silhouette against it, in a small picture of the person.

    r_p = (alpha_p(Θ) − m_p) / √(Σ_p m_p),        cost ½ Σ r_p²: half the share of the mask's area that disagrees
    ∂r/∂Θ = ∂alpha/∂(u, v) · ∂Π/∂x · ∂x_v/∂Θ / √(Σ m)

with m_p how much of the pixel is mask, alpha of `hmrfit.ops.soft_raster` (whichever renderer draws it), and all
vertices of the body. It pulls both ways, inside and outside, and takes every pixel at its word: for bodies without
loose clothes, and masks that nothing stands before. `hmrfit.fitting.terms.mask` is the robust, one-sided, quick one.

The softness is small because the many small triangles of a body add up: where their edges are softer than they are
wide, the silhouette grows (by about 1.6 times the softness).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.body.surface import SurfaceBody
from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization
from hmrfit.fitting.terms.base import MOST_WEIGHT, Known, Measurement, Staged, Term, record_of
from hmrfit.fitting.terms.mask import MaskLike, mask_of_view, read_masks
from hmrfit.io.photo import Photo
from hmrfit.ops.check import numbers
from hmrfit.ops.soft_raster import coverage_rows
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import Renderer
from hmrfit.types import Keypoints, TensorRecord

PIXELS = 64
"""Of the small picture, along each side."""

MARGIN = 0.15
"""Of the person's box, around mask and keypoints, that the picture shows."""


@dataclass(frozen=True)
class SmallPictures(TensorRecord):
    """The masks as small square pictures."""

    coverage: Tensor  # (B, R, R) share of each pixel that is mask
    known: Tensor  # (B, R, R) 1 where the pixel lies in the image
    low: Tensor  # (B, 2) pixels of the image, the picture's corner
    side: Tensor  # (B,) pixels of the image


@dataclass(frozen=True, eq=False)
class Silhouette(Measurement):
    """Masks pixel by pixel, beside or in place of `Mask`, by a renderer's soft silhouettes.

    Args:
        mask: as for `Mask`. weight: of the term in the last stage. renderer: what draws; default the built-in one.
    """

    name: ClassVar[str] = "silhouette"
    mask: MaskLike
    weight: float = 100.0
    renderer: Renderer = field(default_factory=BuiltinRenderer)

    def read(self, photo: Photo, body: SmplBody) -> Known:
        weight = float(numbers(self.weight, "Silhouette's weight", "one number above 0", (), 1e-12, MOST_WEIGHT))
        record = small_pictures(read_masks(self.mask, photo), photo.keypoints)
        return Known(record, (Staged(SilhouetteTerm(body, self.renderer), weight),))

    def in_view(self, index: int, count: int) -> Measurement:
        return replace(self, mask=mask_of_view(self.mask, index, count))


def small_pictures(masks: Sequence[NDArray[np.bool_] | None], keypoints: Keypoints) -> SmallPictures:
    """Masks (H, W) of B people, None where there is none, each with at least one pixel set."""
    box = keypoints.box_size().clamp_min(1.0)
    parts = [
        _nothing() if mask is None else _prepared(mask, keypoints[i], box[i].item()) for i, mask in enumerate(masks)
    ]
    return SmallPictures(*(torch.stack(column) for column in zip(*parts, strict=True)))


def _nothing() -> tuple[Tensor, ...]:
    """Of a person without a mask: no pixel is known."""
    empty = torch.zeros(PIXELS, PIXELS, dtype=torch.float64)
    return empty, empty, empty[0, :2], torch.ones((), dtype=torch.float64)


def _prepared(mask: NDArray[np.bool_], person: Keypoints, box: float) -> tuple[Tensor, ...]:
    """The fields of one person's `SmallPictures`."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1.0, rows[-1] + 1.0]])
    corners = np.concatenate([corners, person.xy[0][person.presence[0] > 0.5].numpy()])
    low, high = corners.min(0), corners.max(0)
    side = float((high - low).max() + 2 * MARGIN * box)
    low = (low + high - side) / 2
    covered, inside = (_shares(m, low, side) for m in (mask, np.ones_like(mask)))
    known = inside > 0.999  # what lies beyond the image is not known
    return tuple(torch.as_tensor(v, dtype=torch.float64) for v in (covered, known, low, side))


def _shares(mask: NDArray[np.bool_], low: NDArray, side: float) -> NDArray[np.float64]:
    """How much of each of PIXELS² squares is mask, exactly: differences of the mask's integral at their corners."""
    height, width = mask.shape
    integral = np.zeros((height + 1, width + 1))
    integral[1:, 1:] = mask.cumsum(0).cumsum(1)
    edges = low[:, None] + side * np.linspace(0, 1, PIXELS + 1)
    rows = _between(integral, edges[1].clip(0, height))
    corners = _between(rows.T, edges[0].clip(0, width)).T
    return np.diff(np.diff(corners, axis=0), axis=1) / (side / PIXELS) ** 2


def _between(values: NDArray, at: NDArray) -> NDArray:
    """Rows of values (n, m) at fractional places (k,), linearly: (k, m)."""
    first = np.minimum(at.astype(int), len(values) - 2)
    share = (at - first)[:, None]
    return values[first] * (1 - share) + values[first + 1] * share


@dataclass
class SilhouetteTerm(Term):
    """See the module. softness: pixels of the small picture, 1/64 of its side each."""

    body: SmplBody
    renderer: Renderer = field(default_factory=BuiltinRenderer)
    softness: float = 0.35
    name: str = "silhouette"
    _surfaces: list[SurfaceBody] = field(default_factory=list, repr=False)

    @property
    def surface(self) -> SurfaceBody:
        """All vertices, with their derivatives; made once."""
        if not self._surfaces:
            self._surfaces.append(SurfaceBody(self.body, torch.arange(len(self.body.v_template))))
        return self._surfaces[0]

    def residuals(self, e: Linearization) -> Tensor:
        picture, camera = _picture(e)
        vertices = self.surface.pose(e.state.params, e.state.world).points
        soft = self.renderer.soft_silhouette(vertices, self.body.faces, camera, self.softness)
        return ((soft - picture.coverage) * _scale(picture)[:, None, None] * picture.known).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        jacobian = e.state.params.transl.new_zeros(len(e.state), PIXELS**2, e.layout.columns)
        for i, (pixel, rows) in enumerate(self._rows(e)):
            jacobian[i, pixel] = rows
        return jacobian

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Only the rows of pixels on somebody's outline, as many for everybody as the person with most has."""
        residuals, rows = self.residuals(e).detach(), self._rows(e)
        most = max(len(pixel) for pixel, _ in rows)
        jacobian = residuals.new_zeros(len(rows), most, e.layout.columns)
        moving = residuals.new_zeros(len(rows), most)
        for i, (pixel, own) in enumerate(rows):
            moving[i, : len(pixel)], jacobian[i, : len(pixel)] = residuals[i, pixel], own
        sums.cost += 0.5 * weight * (residuals.square().sum(1) - moving.square().sum(1))
        sums.add_rows(moving, jacobian, weight)

    @torch.no_grad()
    def _rows(self, e: Linearization) -> list[tuple[Tensor, Tensor]]:
        """Of each person, the pixels that move (n,) and their rows (n, P)."""
        picture, camera = _picture(e)
        posed = self.surface.pose(e.state.params, e.state.world)
        xy, slope = camera.project(posed.points), camera.project_jacobian(posed.points)
        wanted = [e.layout.moves(group) for group in ("transl", "betas")]
        known, rows = _scale(picture)[:, None] * picture.known.flatten(1), []
        for i in range(len(xy)):
            depth, size = posed.points[i, :, 2], (PIXELS, PIXELS)
            found = coverage_rows(xy[i], depth, self.body.faces, size, self.softness, MIN_DEPTH)
            index = found.vertex.repeat_interleave(2)  # once for u, once for v
            turned, person = slope[i, found.vertex].flatten(0, 1), torch.full_like(index, i)
            of_vertices = self.surface.rows(posed, person, index, turned, e.layout.rotating_index, *wanted)
            rows.append((found.pixel, known[i, found.pixel, None] * (found.slope.flatten(1) @ of_vertices)))
        return rows


def _picture(e: Linearization) -> tuple[SmallPictures, Camera]:
    """The masks, and the cameras of the small pictures."""
    picture = record_of(e.observation, SmallPictures, Silhouette.name)
    side = picture.side[:, None].expand(-1, 2)
    camera = e.state.camera.crop(picture.low, side)
    return picture, camera.resize(torch.full_like(side, float(PIXELS)))


def _scale(picture: SmallPictures) -> Tensor:
    """1/√(Σ m) (B,)."""
    return picture.coverage.flatten(1).sum(1).clamp_min(1.0).rsqrt()

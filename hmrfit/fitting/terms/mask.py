"""The mask of a person: the body must not stick out of it, and its outline must be reached as far as clothes allow.

    phi(x) = distance from x to the mask's edge, > 0 outside, a fraction of the box            (cv2.distanceTransform)
    outside   e_v = max(0, phi(Pi(x_v)) - slack),       v of a few hundred vertices
    outline   e_q = max(0, (n_q . (q - Pi(x_v)) - a_v f/z_v) / box),    q on the outline, n_q its normal, v the vertex
                                                                        whose image is nearest to q, z_v its depth
    cost      1/2 · 1/N sum s · z/(1+z),   z = (e/sigma)²                                               (Geman-McClure)

in fractions of the box. a_v, metres, is what clothes and hair stand off the body at v in the mean: 3 cm at the pelvis,
half a centimetre at the hands (`CLOTHES`). Both are one-sided: a body within the mask and as near to its outline as
clothes allow pays nothing, and a mask that stops at what stands in front does not push the outline inwards. s is
how much of a vertex' neighbourhood is seen: the fraction of its near keypoints that are seen and lie in the mask; of
an outline point also how much it says there: clothes that stand off by very different widths say little. What
hangs down behind a table is not pulled above it. Where the image's border cuts the person, the mask goes on beyond it
as it was at the border. A keypoint is trusted where it is seen and lies in the mask: behind something that stands in
front of the person, it does not.

A mask says more of a pose than the initial estimate knows, so beside one the anchor's rotations are held less
(`ANCHOR_VARIANCE`). Its betas are held as without: what a looser shirt explains is no larger body.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.body.surface import PosedSurface, SurfaceBody, spread_vertices, vertex_closeness
from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.fitting.anchor_inflation import inflated
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization, Observation
from hmrfit.fitting.terms.base import Known, Measurement, Staged, Term, record_of
from hmrfit.fitting.visibility import hidden_fraction
from hmrfit.io.image import read_image
from hmrfit.io.opencv import cv2
from hmrfit.io.photo import Photo
from hmrfit.keypoints import SIDES
from hmrfit.ops.how_many import how_many
from hmrfit.ops.robust import damping
from hmrfit.types import Keypoints, TensorRecord

OneMask = str | os.PathLike[str] | ArrayLike | None
MaskLike = OneMask | Sequence[OneMask]

MASK_WEIGHT = 2250.0
"""In all stages. On ten photographs 1800 and 2250 have the same reprojection and overlap, on 100 dressed people of
validation motion 2250 the better poses (42.3 mm PA-MPJPE, 43.2; without masks 44.4)."""

CLOTHES: dict[str, tuple[float, float]] = {
    "pelvis": (25.9, 14.0),
    "hip": (22.9, 14.7),
    "spine1": (20.4, 12.3),
    "knee": (20.1, 16.4),
    "spine2": (24.2, 15.1),
    "ankle": (14.2, 8.5),
    "spine3": (15.8, 12.7),
    "foot": (14.8, 9.1),
    "neck": (8.3, 8.6),
    "collar": (13.0, 8.0),
    "head": (15.0, 11.8),
    "shoulder": (19.1, 14.1),
    "elbow": (14.9, 15.9),
    "wrist": (6.0, 7.0),
    "hand": (3.2, 9.2),
}
"""Millimetres from the body to the edge of the mask, mean and standard deviation, of vertices that a joint carries,
both sides alike: 1,500 people in made-up clothes, `python priors/scripts/measure_clothes.py --motion FOLDER`."""

SURE = 12.0
"""Millimetres: outlines where clothes vary by less count in full, others by the ratio squared."""

ANCHOR_VARIANCE, HIDDEN = 12.0, 4.0
"""How many times as large the variances of the anchor's rotations are beside a mask: 12 exp(−4 h), at least 1, where a
fraction h of the body shows no keypoint (`visibility`). As large for everybody, people behind things were worse with a
mask than without; the same for everybody and half as large, keypoints in photographs were missed by 0.3 % of the box
more. Of 10, 12 and 14, ten photographs have keypoints 0.23, 0.19 and 0.17 % of the box farther off than without a mask,
and 100 dressed people of validation motion 47.6, 47.9 and 48.2 mm (PA-MPJPE; 49.7 without)."""

REACH = 0.12
"""Metres: how far from a keypoint its sight tells about the surface."""

NODES = 128
"""Of the map, along each side. Between them it is bilinear: an edge is off by less than a tenth of a cell."""

OUTLINE = 64
"""Points on the outline, evenly spaced."""

MARGIN = 0.35
"""Of the box, around mask and keypoints, that the map covers."""

FINEST = 512
"""Pixels of the longer side at which distances are measured."""

NEAR = 0.02
"""Of the box: a keypoint so near to the mask lies in it."""

SMALLEST = 0.03
"""Of all outlines: a hole or an island with less is left out."""


@dataclass(frozen=True)
class MaskMap(TensorRecord):
    """The person's mask as a map of distances and as an outline."""

    distance: Tensor  # (B, R, R) float32, signed distance to the mask's edge, outside positive, a fraction of the box
    low: Tensor  # (B, 2) pixels, where the map's first node is
    cell: Tensor  # (B,) pixels from node to node
    outline: Tensor  # (B, Q, 2) pixels
    normal: Tensor  # (B, Q, 2) unit, away from the mask
    length: Tensor  # (B, Q) 1 where the outline is the person's edge, 0 where the image cuts it or there is none
    trusted: Tensor  # (B, K) 1 where a keypoint is seen and lies in the mask

    @property
    def given(self) -> Tensor:
        """(B,) bool: is there a mask with an edge of the person's own?"""
        return (self.length > 0).any(1)


@dataclass(frozen=True, eq=False)
class Mask(Measurement):
    """Masks of the people. The body stays inside of its mask and reaches the outline as far as clothes allow.

    Args:
        mask: a path or an array (H, W), set where > 0; a list, one for each person, None where there is none.
    """

    name: ClassVar[str] = "mask"
    mask: MaskLike

    def read(self, photo: Photo, body: SmplBody) -> Known:
        record = mask_map(read_masks(self.mask, photo), photo.keypoints)
        return Known(record, (Staged(MaskTerm(body), MASK_WEIGHT, MASK_WEIGHT),))

    def in_view(self, index: int, count: int) -> Measurement:
        return replace(self, mask=mask_of_view(self.mask, index, count))


@dataclass
class _Parts:
    """Residuals of both kinds, and what their rows are made of: the first of `outside`, then of `outline`."""

    residuals: Tensor  # (B, M + Q)
    slope: Tensor  # (B, M + Q, 3): d residual / d image of its vertex, and / d its depth alone
    vertex: Tensor  # (B, M + Q): which one
    posed: PosedSurface


@dataclass
class MaskTerm(Term):
    """See the module. slack, sigma: fractions of the box. clothes: factor of the allowance for them.

    vertices: how many of the body's must not stick out. dense: among how many the one nearest to the outline is looked
    for: on a thin arm the others leave gaps. At the truth 800 stay 0.3 % of the box within the outline,
    all of the body's 0.1 %, those on its occluding contour 0.03 %; no fit is better for it (`benchmarks/results.md`).
    outline: weight of its points beside the vertices'. anchor_variance, hidden: see ANCHOR_VARIANCE.
    """

    body: SmplBody
    vertices: int = 256
    dense: int = 800
    sigma: float = 0.06
    clothes: float = 1.0
    outline: float = 0.5
    slack: float = 0.003
    anchor_variance: float = ANCHOR_VARIANCE
    hidden: float = HIDDEN
    name: str = "mask"
    _surfaces: list[SurfaceBody] = field(default_factory=list, repr=False)
    _closeness: dict[tuple[str, ...], Tensor] = field(default_factory=dict, repr=False)
    _clothes: list[Tensor] = field(default_factory=list, repr=False)

    @property
    def surface(self) -> SurfaceBody:
        """The vertices that stand for the body, those that must not stick out first; picked once."""
        if not self._surfaces:
            self._surfaces.append(SurfaceBody(self.body, spread_vertices(self.body, self.dense)))
        return self._surfaces[0]

    def closeness(self, names: tuple[str, ...]) -> Tensor:
        """(M, K) of `vertex_closeness`; made once per keypoint set."""
        if names not in self._closeness:
            self._closeness[names] = vertex_closeness(self.body, self.surface.vertices, names, REACH)
        return self._closeness[names]

    @property
    def allowance(self) -> Tensor:
        """(M, 2) what clothes stand off the vertices, metres, and how much an outline says there; made once."""
        if not self._clothes:
            mean, std = (self.surface.weights @ clothes_of_joints(self.body.skeleton).to(self.surface.weights)).T
            self._clothes.append(torch.stack([1e-3 * mean, (SURE / std.clamp_min(SURE)).square()], 1))
        return self._clothes[0]

    def beside(self, observation: Observation) -> Observation:
        """The anchor that the error model gave, its rotations less sure; that of a user's start stays."""
        anchor = observation.anchor
        if anchor is None or observation.noise is None:
            return observation
        known = record_of(observation, MaskMap, Mask.name)
        factor = torch.ones_like(anchor.scale)
        wider = self.anchor_variance * (-self.hidden * hidden_fraction(observation.keypoints)).exp()
        factor[:, : -anchor.betas.shape[1]] = torch.where(known.given, wider.clamp_min(1.0), 1.0)[:, None]
        return replace(observation, anchor=inflated(anchor, factor))

    def residuals(self, e: Linearization) -> Tensor:
        return self._parts(e).residuals

    def jacobian(self, e: Linearization) -> Tensor:
        parts = self._parts(e)
        every = torch.ones_like(parts.residuals, dtype=torch.bool).nonzero()
        return self._rows(e, parts, *every.T).view(*parts.residuals.shape, -1)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Only the rows that are not zero."""
        parts = self._parts(e)
        active = parts.residuals > 0
        person, which = active.nonzero().T
        place = (active.cumsum(1) - 1)[person, which]
        most = int(active.sum(1).max())
        rows = parts.residuals.new_zeros(len(active), most, e.layout.columns)
        rows[person, place] = self._rows(e, parts, person, which)
        residuals = parts.residuals.new_zeros(len(active), most)
        residuals[person, place] = parts.residuals[person, which]
        sums.add_rows(residuals, rows, weight)

    def _parts(self, e: Linearization) -> _Parts:
        known = record_of(e.observation, MaskMap, Mask.name)
        posed = self.surface.pose(e.state.params, e.state.world)
        seen = e.state.camera.project(posed.points)
        sight = known.trusted @ self.closeness(e.body.names).T  # (B, M)
        out = self._outside(known, seen, sight)
        line = self._outline(known, seen, sight, e.observation.box_size, posed, e.state.camera)
        residuals, slope, vertex = (torch.cat(pair, 1) for pair in zip(out, line, strict=True))
        return _Parts(residuals, slope, vertex, posed)

    def _outside(self, known: MaskMap, seen: Tensor, sight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What sticks out of the mask: residuals (B, M), slopes (B, M, 3), vertices (B, M)."""
        seen, sight = seen[:, : self.vertices], sight[:, : self.vertices]
        value, slope = look_up(known, seen)
        residuals, scale = self._robust(value - self.slack, sight / seen.shape[1])
        vertex = torch.arange(seen.shape[1], device=seen.device).expand(seen.shape[:2])
        return residuals, torch.nn.functional.pad(scale[..., None] * slope, (0, 1)), vertex

    def _outline(
        self, known: MaskMap, seen: Tensor, sight: Tensor, box: Tensor, posed: PosedSurface, camera: Camera
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Which parts of the outline are not reached: residuals (B, Q), slopes (B, Q, 3), vertices (B, Q)."""
        points, box = seen.detach(), box[:, None]
        # |q - p|² without |q|², which decides nothing
        vertex = (points.square().sum(-1)[:, None] - 2 * known.outline @ points.mT).argmin(-1)
        nearest = seen.gather(1, vertex[..., None].expand(-1, -1, 2))
        depth = posed.points[..., 2].gather(1, vertex)
        far = depth.clamp_min(MIN_DEPTH)
        stands_off, says = self.allowance[vertex].unbind(-1)
        cloth = self.clothes * stands_off * camera.focal.mean(1, keepdim=True) / far  # pixels
        gap = (known.normal * (known.outline - nearest)).sum(-1) - cloth
        share = self.outline * known.length * sight.gather(1, vertex) * says / vertex.shape[1]
        residuals, scale = self._robust(gap / box, share)
        slope = torch.cat([-known.normal, (cloth / far * (depth > MIN_DEPTH))[..., None]], -1)
        return residuals, (scale / box)[..., None] * slope, vertex

    def _robust(self, error: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
        """r = sqrt(share) e/(sigma sqrt(1 + z)) and dr/de, both 0 where e <= 0."""
        scaled = error.clamp_min(0) / self.sigma
        damp = damping(scaled[..., None]).squeeze(-1)
        root = share.sqrt()
        return root * scaled * damp, torch.where(error > 0, root * damp**3 / self.sigma, 0.0)

    def _rows(self, e: Linearization, parts: _Parts, person: Tensor, which: Tensor) -> Tensor:
        """(N, P) the derivatives of these residuals."""
        vertex = parts.vertex[person, which]
        points = parts.posed.points[person, vertex]
        projection = e.state.camera[person].project_jacobian(points[:, None])[:, 0]
        slope = parts.slope[person, which]
        covectors = (slope[:, None, :2] @ projection).squeeze(1)
        covectors[:, 2] += slope[:, 2]
        wanted = [e.layout.moves(group) for group in ("transl", "betas")]
        return self.surface.rows(parts.posed, person, vertex, covectors, e.layout.rotating_index, *wanted)


def without_side(name: str) -> str:
    """`left_knee` and `right_knee` -> `knee`."""
    return name.removeprefix(SIDES[0]).removeprefix(SIDES[1])


def clothes_of_joints(skeleton: Skeleton) -> Tensor:
    """(J, 2) `CLOTHES` of the joints of any body: a joint that has none has its parent's, a root none."""
    rows: list[tuple[float, float]] = []
    for name, parent in zip(skeleton.names, skeleton.parents, strict=True):
        own = CLOTHES.get(without_side(name))
        rows.append(own or (rows[parent] if parent >= 0 else (0.0, SURE)))
    return torch.tensor(rows, dtype=torch.float64)


def look_up(known: MaskMap, xy: Tensor) -> tuple[Tensor, Tensor]:
    """The signed distance at pixels (B, M, 2): (B, M) in shares of the box, and its slope (B, M, 2) per pixel."""
    B, R = known.distance.shape[:2]
    place = (xy - known.low[:, None]) / known.cell[:, None, None]
    place = place.nan_to_num(0.0).clamp(0.0, R - 1.0)
    node = place.detach().floor().clamp_max(R - 2.0)
    fx, fy = (place - node).unbind(-1)
    first = (node[..., 1] * R + node[..., 0]).long()
    flat = known.distance.view(B, R * R)
    a, b, c, d = (flat.gather(1, first + step).to(xy) for step in (0, 1, R, R + 1))
    value = (1 - fy) * ((1 - fx) * a + fx * b) + fy * ((1 - fx) * c + fx * d)
    slope = torch.stack([(1 - fy) * (b - a) + fy * (d - c), (1 - fx) * (c - a) + fx * (d - b)], -1)
    within = (place > 0) & (place < R - 1)
    return value, torch.where(within, slope, 0.0) / known.cell[:, None, None]


def mask_map(masks: Sequence[NDArray[np.bool_] | None], keypoints: Keypoints) -> MaskMap:
    """Masks (H, W) of B people, None where there is none, each with at least one pixel set."""
    box = keypoints.box_size().clamp_min(1.0)
    parts = [
        _nothing(len(keypoints.names)) if mask is None else _prepared(mask, keypoints[i], box[i].item())
        for i, mask in enumerate(masks)
    ]
    return MaskMap(*(torch.stack(column) for column in zip(*parts, strict=True)))


def _prepared(mask: NDArray[np.bool_], person: Keypoints, box: float) -> tuple[Tensor, ...]:
    """The fields of one person's `MaskMap`."""
    seen = person.presence[0].numpy()
    xy = person.xy[0].numpy()
    low, side = _region(mask, xy[seen > 0.5], box)
    distance, cell = _signed_distance(mask, low, side)
    nodes = np.linspace(0, side, NODES)
    grid = _sample(distance, *np.meshgrid(nodes / cell, nodes / cell)) / box
    outline, normal, length = _outline(distance, cell, mask.shape, low)
    inside = _sample(distance, *((xy - low) / cell).T[:, None])[0] <= NEAR * box
    double = lambda a: torch.as_tensor(np.ascontiguousarray(a, np.float64))  # noqa: E731
    return (
        torch.as_tensor(grid.astype(np.float32)),
        double(low),
        torch.tensor(side / (NODES - 1)).double(),
        double(outline),
        double(normal),
        double(length),
        double(seen * inside),
    )


def _nothing(keypoints: int) -> tuple[Tensor, ...]:
    """The fields of a person without a mask: nothing is outside, nothing has to be reached."""
    zeros = lambda *shape: torch.zeros(*shape, dtype=torch.float64)  # noqa: E731
    return (
        torch.zeros(NODES, NODES),
        zeros(2),
        torch.ones((), dtype=torch.float64),
        zeros(OUTLINE, 2),
        zeros(OUTLINE, 2),
        zeros(OUTLINE),
        zeros(keypoints),
    )


def _region(mask: NDArray[np.bool_], seen: NDArray, box: float) -> tuple[NDArray, float]:
    """The square that the map covers: its low corner (2,) and its side, pixels."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    corners = np.array([[columns[0], rows[0]], [columns[-1] + 1.0, rows[-1] + 1.0]])
    corners = np.concatenate([corners, seen])
    low, high = corners.min(0), corners.max(0)
    side = float((high - low).max() + 2 * MARGIN * box)
    return (low + high - side) / 2, side


def _signed_distance(mask: NDArray[np.bool_], low: NDArray, side: float) -> tuple[NDArray, float]:
    """The signed distance in pixels of the image over the square, and how many of them one of its own pixels is."""
    cell = max(side / FINEST, 1.0)
    count = int(np.ceil(side / cell)) + 1
    shift = (0.5 - low) / cell - 0.5  # from pixel centres to pixel centres
    turn = np.array([[1 / cell, 0, shift[0]], [0, 1 / cell, shift[1]]])
    blurred = cv2.blur(mask.astype(np.float32), (int(cell), int(cell))) if cell >= 2 else mask.astype(np.float32)
    share = cv2.warpAffine(blurred, turn, (count, count), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    part = share > 0.5 if (share > 0.5).any() else share >= share.max()  # a mask thinner than a cell has its best cells
    if part.all():  # no edge is near: all of the square lies in the mask, as deep as it is wide
        return np.full(part.shape, -side, np.float32), cell
    outside, inside = (cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L2, 5) for m in (~part, part))
    # the transform counts from pixel centre to pixel centre; the edge lies half a pixel before the first one
    signed = np.where(part, 0.5 - inside, outside - 0.5)
    return signed * cell, cell


def _sample(image: NDArray, x: NDArray, y: NDArray) -> NDArray:
    """Bilinear, at places counted from the corner of the first pixel; beyond the edge as at the edge."""
    at_x, at_y = (np.asarray(v, np.float32) - np.float32(0.5) for v in (x, y))
    return cv2.remap(image.astype(np.float32), at_x, at_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _outline(distance: NDArray, cell: float, size: tuple[int, int], low: NDArray) -> tuple[NDArray, ...]:
    """(points (Q, 2) pixels of the image, outward normals (Q, 2), 1 or 0 (Q,)), evenly spaced along all outlines."""
    found, _ = cv2.findContours((distance <= 0).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    total = sum(len(c) for c in found)
    kept = [c[:, 0] for c in found if len(c) > SMALLEST * total]
    if not kept:
        return np.zeros((OUTLINE, 2)), np.zeros((OUTLINE, 2)), np.zeros(OUTLINE)
    steps = np.concatenate(kept)
    steps = steps[np.linspace(0, len(steps) - 1, OUTLINE).round().astype(int)]
    smooth = cv2.GaussianBlur(distance.astype(np.float32), (0, 0), 2.0)
    slopes = np.stack([cv2.Sobel(smooth, cv2.CV_32F, 1, 0), cv2.Sobel(smooth, cv2.CV_32F, 0, 1)], -1)
    slope = slopes[steps[:, 1], steps[:, 0]]
    normal = slope / np.maximum(np.linalg.norm(slope, axis=1, keepdims=True), 1e-9)
    points = low + (steps + 0.5) * cell
    points = points - normal * distance[steps[:, 1], steps[:, 0]][:, None]  # from the pixel's centre to the edge
    edge = 1.5 * cell
    own = ((points > edge) & (points < np.array(size[::-1]) - edge)).all(1)  # elsewhere the image ends, not the person
    return points, normal, own


def read_masks(mask: MaskLike, photo: Photo) -> list[NDArray[np.bool_] | None]:
    """A mask, or one for each of the people given, None where there is none: a path, or an array (H, W), set where > 0.

    Raises:
        ValueError, TypeError, FileNotFoundError: another number of masks, another size, an empty mask.
    """
    many = _listed(mask)
    if len(many) != photo.given:
        raise ValueError(
            f"mask should be one for each of the {how_many(photo.given, 'people')} (None where there is none), but "
            "there are "
            f"{len(many)}."
        )
    return [None if many[i] is None else _read_mask(many[i], i, photo.size) for i in photo.rows]


def _listed(mask: MaskLike) -> list[Any]:
    """One mask, several, or an array (N, H, W) of several, as a list."""
    several = mask.ndim == 3 if isinstance(mask, np.ndarray | Tensor) else isinstance(mask, list | tuple)
    return list(mask) if isinstance(mask, list | tuple | np.ndarray | Tensor) and several else [mask]


def mask_of_view(mask: MaskLike, index: int, count: int) -> list[OneMask]:
    """The mask of one of `count` views, from a list of one each."""
    many = _listed(mask)
    if len(many) != count:
        raise ValueError(
            f"The masks of {how_many(count, 'views')} should be a list of {count}, None where there is none."
        )
    return [many[index]]


def _read_mask(mask: str | os.PathLike[str] | ArrayLike, person: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    what = f"The mask of person {person}"
    try:
        if isinstance(mask, str | os.PathLike):
            pixels = read_image(mask)[..., 0]
        else:
            pixels = np.asarray(mask.detach().cpu() if isinstance(mask, Tensor) else mask)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{what} cannot be read: {error}") from None
    if pixels.ndim != 2 or pixels.shape[::-1] != size:
        raise ValueError(
            f"{what} should be of the image's size, height {size[1]} and width {size[0]}, but has the shape "
            f"{pixels.shape}."
        )
    if pixels.dtype.kind not in "biuf" or not np.isfinite(pixels).all():
        raise ValueError(f"{what} should hold booleans or numbers, above 0 where the person is.")
    if not (pixels > 0).any():
        raise ValueError(f"{what} is empty. Give None for a person without a mask.")
    return pixels > 0

"""Pictures to look at: bodies over their photograph, the same bodies from other sides, keypoints, and all on one sheet.

Every function takes all people at once, vertices (P, V, 3) in the camera frame, metres: people in front hide those
behind. Images are RGB uint8 (H, W, 3); the caller's image is never changed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from hmrfit.camera import MIN_DEPTH, PIXEL_CENTER, Camera
from hmrfit.io.image import Image, as_image
from hmrfit.io.opencv import cv2
from hmrfit.keypoints import limbs
from hmrfit.ops.level import level_rotation
from hmrfit.ops.raster import silhouette
from hmrfit.render.rasteriser import picture_size, to_screen
from hmrfit.render.shading import hex_to_rgb, person_colors, shade
from hmrfit.types import Keypoints

LARGEST = 1600
"""Pixels, the longest side of an overlay. A larger photograph is reduced first."""

LEAST_PANEL, MOST_PANEL = 320, 1200
"""Pixels, the height of the panels beside an overlay."""

VIEW_DISTANCE, VIEW_TILT, VIEW_FILL = 3.5, 6.0, 0.88
"""Of a view: the distance in sizes of the bodies, degrees from above, and the fraction that the bodies fill."""

SIDE_DEPTH, BETWEEN, MOST_SIDES = 1.7, 0.3, 3
"""People are seen from the side together as far as they reach this many of their heights along the depth; metres that
stay between such groups in the view from behind; how many groups have a side view."""

SHADOW_SCALE = 3
"""Pixels of a view for one of its shadow, which is soft: a picture so much smaller has all of it."""

SMALL, CLOSE_FILL = 0.4, 0.8
"""Bodies that fill less than this fraction of both sides of the picture get a close-up; what they fill of that."""

MOST_ENLARGED = 0.1
"""Pixels of the photograph for one of a close-up, at the least."""

GAP = 3
"""Pixels of white between panels."""

SIDE_COLORS = {"left": "#ff9420", "right": "#22c07e", "": "#fff3b0"}
"""Keypoints and limbs of the person's own left and right, and of the middle."""

SUBPIXEL_BITS = 4
"""cv2 draws with this many binary places."""


class OverlayOptions(TypedDict, total=False):
    """How `overlay` draws."""

    colors: ArrayLike | None
    opacity: float
    given: Keypoints | None
    reprojected: Keypoints | None


def overlay(
    image: ArrayLike,
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    colors: ArrayLike | None = None,
    opacity: float = 0.9,
    given: Keypoints | None = None,
    reprojected: Keypoints | None = None,
) -> Image:
    """The bodies over the photograph, which is reduced where it is larger than `LARGEST`.

    Args:
        image: (H, W, 3) RGB, the camera's picture.
        vertices: (P, V, 3) camera frame, metres. faces: (F, 3).
        camera: one, or the same one for each person.
        colors: as for `shading.shade`. opacity: of the bodies, in [0, 1].
        given: keypoints that were fitted, drawn as rings. reprojected: those of the body, as crosses with limbs.
    """
    image = as_image(image)
    picture, camera = _reduced(image, camera[:1])
    result = shade(vertices, faces, camera, colors).over(picture, opacity)
    ratio = picture.shape[1] / image.shape[1]
    if reprojected is not None:
        result = draw_keypoints(result, _moved(reprojected, 0, ratio), marker="cross", draw_limbs=True)
    if given is not None:
        result = draw_keypoints(result, _moved(given, 0, ratio))
    return result


def sheet(
    image: ArrayLike,
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    up: ArrayLike | None = None,
    longest: int | None = None,
    **options: Unpack[OverlayOptions],
) -> Image:
    """The overlay with the bodies' side view (from the picture's right) and back view beside it.

    Bodies that are small in the picture also get a close-up of it. Arguments as for `overlay`; `up` as for `views`. The
    panels show all of the given people; for one of several pass the vertices of that person alone. People who are far
    apart in depth get a side view for each group, the nearest first, at most `MOST_SIDES`; from behind, the distance
    between the groups is left out. longest: pixels of the sheet's longer side, about; everything is drawn so much
    smaller that it fits. None: the photograph's own size.
    """
    image = as_image(image)
    beside = Beside.of(_whole(_levelled(vertices, up).detach().double().cpu()))
    if longest is not None:
        panels = 1 + len(beside.groups) + _is_small(vertices, camera)
        across = image.shape[1] + panels * beside.panel_width(image.shape[0])
        image, camera = _at_most(image, camera[:1], longest / max(across, image.shape[0]), options)
    front = overlay(image, vertices, faces, camera, **options)
    height = int(np.clip(front.shape[0], LEAST_PANEL, MOST_PANEL))
    size = beside.panel_width(height), height
    close = close_up(image, vertices, faces, camera, size, **options) if _is_small(vertices, camera) else None
    sides = beside.drawn(faces.cpu(), size, options.get("colors"))
    return side_by_side([panel for panel in (front, close, *sides) if panel is not None])


@dataclass(frozen=True, eq=False)
class Beside:
    """The people of a sheet from the side, in groups, and from behind."""

    people: Tensor  # (P, V, 3) level frame, finite, the depth between the groups left out
    groups: Sequence[Sequence[int]]  # people who are seen from the side together, the nearest first

    @classmethod
    def of(cls, people: Tensor) -> "Beside":
        """People (P, V, 3) who stand within `SIDE_DEPTH` times their height are a group."""
        near, far = people[..., 2].aminmax(dim=1)
        height = people[..., 1].amax(1) - people[..., 1].amin(1)
        drawn = (height > 0) | ~(height > 0).any()  # people who are not finite are points here
        deepest = SIDE_DEPTH * float(height[drawn].median())
        groups: list[list[int]] = []
        for one in (i for i in near.argsort().tolist() if drawn[i]):
            if groups and float(torch.maximum(far[groups[-1]].max(), far[one]) - near[groups[-1][0]]) <= deepest:
                groups[-1].append(one)
            else:
                groups.append([one])
        moved, edge = people.clone(), float(near.min())
        for group in groups:
            shift = min(0.0, edge - float(near[group].min()))
            moved[group, :, 2] += shift
            edge = float(far[group].max()) + shift + BETWEEN
        return cls(moved, groups[:MOST_SIDES])

    def panel_width(self, height: int) -> int:
        """For the people at any angle, from a narrow panel to a square one."""
        across, tall, _ = _extents(self.people)
        along = max(_extents(self.people[list(group)])[2] for group in self.groups)
        return round(height * float(np.clip(1.15 * max(across, along) / tall, 0.45, 1.0)))

    def drawn(self, faces: Tensor, size: tuple[int, int], colors: ArrayLike | None) -> list[Image]:
        """The side view of each group, then all from behind; at one scale, or, of several groups, as large as fits."""
        colors = person_colors(colors, len(self.people))
        shown = [(list(group), 90.0) for group in self.groups] + [(list(range(len(self.people))), 180.0)]
        distance = VIEW_DISTANCE * max(max(_extents(self.people[rows])) for rows, _ in shown)
        turned = [_seen_from(self.people[rows], angle, distance) for rows, angle in shown]
        together = len(self.groups) == 1
        cameras = [_framing(torch.cat(turned) if together else of_one, size) for of_one in turned]
        return [
            _studio(v, faces, camera, colors[rows]) for v, camera, (rows, _) in zip(turned, cameras, shown, strict=True)
        ]


def close_up(
    image: ArrayLike,
    vertices: Tensor,
    faces: Tensor,
    camera: Camera,
    size: tuple[int, int],
    **options: Unpack[OverlayOptions],
) -> Image:
    """The overlay of the part of the photograph around the bodies, at `size` (width, height); white beyond its edge.

    Other arguments as for `overlay`.
    """
    image, target = as_image(image), camera.size.new_tensor(size)
    low, high = _extent(vertices, camera)
    pixels_each = ((high - low) / target).max().clamp_min(MOST_ENLARGED) / CLOSE_FILL
    whole = (pixels_each * target).round().clamp_min(1)
    corner = ((low + high) / 2 - whole / 2).round()
    part = _cut(image, corner.int().tolist(), whole.int().tolist())
    enlarged = cv2.resize(part, size, interpolation=cv2.INTER_AREA if pixels_each > 1 else cv2.INTER_CUBIC)
    if (given := options.get("given")) is not None:
        options["given"] = _moved(given, corner, target / whole)
    if (reprojected := options.get("reprojected")) is not None:
        options["reprojected"] = _moved(reprojected, corner, target / whole)
    close = camera[:1].crop(corner[None], whole[None]).resize(target[None])
    return overlay(enlarged, vertices, faces, close, **options)


def views(
    vertices: Tensor,
    faces: Tensor,
    angles: Sequence[float] = (90, 180),
    size: tuple[int, int] = (480, 640),
    colors: ArrayLike | None = None,
    up: ArrayLike | None = None,
) -> list[Image]:
    """The bodies from other sides, on a plain background, all at one scale.

    Args:
        angles: degrees by which the viewer walks to the right around the bodies: 0 is the photograph's own side, 90 the
            picture's right, 180 behind.
        size: (width, height) of each, pixels.
        up: (3,) in the camera frame, the views' vertical; None: the camera's y axis, so that a camera that is not level
            tilts the bodies.
    """
    vertices = _whole(_levelled(vertices, up).detach().double().cpu())
    distance = VIEW_DISTANCE * max(_extents(vertices))
    turned = [_seen_from(vertices, angle, distance) for angle in angles]
    camera = _framing(torch.cat(turned), size)
    return [_studio(v, faces.cpu(), camera, colors) for v in turned]


def turntable(
    vertices: Tensor,
    faces: Tensor,
    count: int = 8,
    size: tuple[int, int] = (480, 640),
    colors: ArrayLike | None = None,
    up: ArrayLike | None = None,
) -> list[Image]:
    """`count` `views` at equal angles all around, the photograph's side first."""
    return views(vertices, faces, [360 * i / count for i in range(count)], size, colors, up)


def side_by_side(images: Sequence[Image], background: int = 244) -> Image:
    """Images in one row, the lower ones centred between grey bars."""
    height = max(i.shape[0] for i in images)
    row = []
    for image in images:
        above = (height - image.shape[0]) // 2
        bars = ((above, height - image.shape[0] - above), (0, 0), (0, 0))
        row += [np.pad(image, bars, constant_values=background), np.full((height, GAP, 3), 255, np.uint8)]
    return np.concatenate(row[:-1], 1)


def draw_keypoints(image: ArrayLike, keypoints: Keypoints, marker: str = "ring", draw_limbs: bool = False) -> Image:
    """Keypoints with confidence over an image, the person's left orange, the right green, the middle pale.

    Args:
        keypoints: pixels of this image; those unseen, not finite or far outside are left out.
        marker: "ring" or "cross".
        draw_limbs: also the lines of `keypoints.limbs`.
    """
    if marker not in ("ring", "cross"):
        raise ValueError(f"marker should be 'ring' or 'cross', not '{marker}'.")
    canvas = as_image(image).copy()
    for person in range(len(keypoints)):
        _draw_person(canvas, keypoints[person], marker, draw_limbs)
    return canvas


def _draw_person(canvas: Image, keypoints: Keypoints, marker: str, draw_limbs: bool) -> None:
    xy = keypoints.xy[0].detach().cpu().double().numpy()
    far = 4 * max(canvas.shape)
    drawn = (keypoints.confidence[0].detach().cpu().numpy() > 0) & (np.abs(xy) < far).all(1)  # NaN is not < far
    if not drawn.any():
        return
    radius = float(np.clip(0.009 * np.ptp(xy[drawn], axis=0).max(), 2.2, 0.006 * max(canvas.shape) + 2.2))
    colors = [_side_color(name) for name in keypoints.names]
    for a, b in limbs(keypoints.names) if draw_limbs else ():
        if drawn[a] and drawn[b]:
            color = colors[a] if _side(keypoints.names[a]) == _side(keypoints.names[b]) else _side_color("")
            _line(canvas, xy[a], xy[b], color, radius * 0.45)
    for i in np.flatnonzero(drawn):
        (_ring if marker == "ring" else _cross)(canvas, xy[i], colors[i], radius)


def _side(name: str) -> str:
    return name.split("_")[0] if name.startswith(("left_", "right_")) else ""


def _side_color(name: str) -> tuple[int, ...]:
    return tuple(int(c) for c in np.round(255 * hex_to_rgb(SIDE_COLORS[_side(name)])))


def _fixed(xy: NDArray) -> tuple[int, ...]:
    """Our pixels -> cv2's fixed-point ones, whose centres are at integers."""
    return tuple(int(v) for v in np.round((xy - PIXEL_CENTER) * (1 << SUBPIXEL_BITS)))


def _outlined(draw: Callable[[tuple[int, ...], int], None], width: float, color: tuple[int, ...]) -> None:
    """Draws twice, the darker and wider first: visible on any background."""
    thin = max(1, round(width))
    for tint, thickness in ((tuple(c // 4 for c in color), thin + min(thin, 2)), (color, thin)):
        draw(tint, thickness)


def _line(canvas: Image, a: NDArray, b: NDArray, color: tuple[int, ...], width: float) -> None:
    def draw(color: tuple[int, ...], thickness: int) -> None:
        cv2.line(canvas, _fixed(a), _fixed(b), color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    _outlined(draw, width, color)


def _ring(canvas: Image, xy: NDArray, color: tuple[int, ...], radius: float) -> None:
    def draw(color: tuple[int, ...], thickness: int) -> None:
        size = round(1.5 * radius * (1 << SUBPIXEL_BITS))
        cv2.circle(canvas, _fixed(xy), size, color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    _outlined(draw, radius * 0.45, color)


def _cross(canvas: Image, xy: NDArray, color: tuple[int, ...], radius: float) -> None:
    def draw(color: tuple[int, ...], thickness: int) -> None:
        for arm in radius * np.array([[1.3, 1.3], [1.3, -1.3]]):
            cv2.line(canvas, _fixed(xy - arm), _fixed(xy + arm), color, thickness, cv2.LINE_AA, SUBPIXEL_BITS)

    _outlined(draw, radius * 0.35, color)


def _at_most(image: Image, camera: Camera, ratio: float, options: OverlayOptions) -> tuple[Image, Camera]:
    """A picture reduced by a ratio, unless that is above 1, its camera, and the keypoints of `options`."""
    if ratio >= 1:
        return image, camera
    height, width = image.shape[:2]
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    if (given := options.get("given")) is not None:
        options["given"] = _moved(given, 0, size[0] / width)
    if (reprojected := options.get("reprojected")) is not None:
        options["reprojected"] = _moved(reprojected, 0, size[0] / width)
    smaller = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return smaller, camera.resize(camera.size.new_tensor([size]))


def _reduced(image: Image, camera: Camera) -> tuple[Image, Camera]:
    """The picture with no side over `LARGEST`, and its camera."""
    height, width = image.shape[:2]
    ratio = min(1.0, LARGEST / max(width, height))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    picture = image if ratio == 1 else np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    return picture, camera.resize(camera.size.new_tensor([size]))


def _moved(keypoints: Keypoints, corner: Tensor | float, ratio: Tensor | float) -> Keypoints:
    """Keypoints of a picture -> of its part from `corner`, enlarged by `ratio`."""
    return Keypoints((keypoints.xy - corner) * ratio, keypoints.confidence, keypoints.names)


def _extent(vertices: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
    """Least and greatest pixel (x, y) of the vertices in front of the camera that lie in the picture: two (2,)."""
    points = to_screen(vertices.flatten(0, 1)[None], camera[:1])[0]
    extent = camera.size[0].to(points)
    seen = points[(points[:, 2] > MIN_DEPTH) & (points[:, :2] > 0).all(1) & (points[:, :2] < extent).all(1), :2]
    if len(seen) == 0:
        return extent * 0, extent
    return seen.amin(0), seen.amax(0)


def _is_small(vertices: Tensor, camera: Camera) -> bool:
    """Whether the bodies fill so little of the picture that the fit cannot be seen there."""
    low, high = _extent(vertices, camera)
    return ((high - low) / camera.size[0].to(low)).max().item() < SMALL


def _cut(image: Image, corner: Sequence[int], size: Sequence[int]) -> Image:
    """The part of the image from `corner` (x, y), which may lie outside; white beyond the edge."""
    (left, top), (width, height) = corner, size
    part = np.full((height, width, 3), 255, np.uint8)
    x0, y0 = max(left, 0), max(top, 0)
    inside = image[y0 : max(top + height, 0), x0 : max(left + width, 0)]
    part[y0 - top : y0 - top + inside.shape[0], x0 - left : x0 - left + inside.shape[1]] = inside
    return part


def _levelled(vertices: Tensor, up: ArrayLike | None) -> Tensor:
    """Camera frame -> the level frame, whose y axis points straight down; unchanged where `up` is None."""
    return vertices if up is None else vertices @ level_rotation(up).to(vertices).T


def _extents(vertices: Tensor) -> list[float]:
    """How far the bodies reach along x, y and z, metres, not 0."""
    low, high = vertices.flatten(0, 1).aminmax(dim=0)
    return (high - low).clamp_min(1e-3).tolist()


def _whole(vertices: Tensor) -> Tensor:
    """People with NaN or infinite vertices shrunk to a point: they are not drawn, and do not change the framing."""
    finite = vertices.isfinite().all(-1).all(-1)
    middle = vertices[finite].mean((0, 1)) if finite.any() else vertices.new_tensor([0, 0, 1])
    return torch.where(finite[:, None, None], vertices, middle)


def _seen_from(vertices: Tensor, angle: float, distance: float) -> Tensor:
    """Vertices about the middle of the bodies -> the frame of a viewer at `distance` metres, who walked `angle` degrees
    to the right.

    The viewer's right is (cos a, 0, sin a), forward (−sin a, 0, cos a); then the head bends down by VIEW_TILT.
    """
    low, high = vertices.flatten(0, 1).aminmax(dim=0)
    a, tilt = np.deg2rad(angle), np.deg2rad(VIEW_TILT)
    turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    bend = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    centred = vertices - (low + high) / 2
    return centred @ torch.tensor(bend @ turn).T + vertices.new_tensor([0.0, 0.0, distance])


def _framing(vertices: Tensor, size: tuple[int, int]) -> Camera:
    """The camera in which all of the vertices just fit."""
    slopes = (vertices[..., :2] / vertices[..., 2:]).abs().flatten(0, 1).amax(0)
    half = slopes.new_tensor(size) / 2
    focal = (VIEW_FILL * half / slopes.clamp_min(1e-6)).min()
    return Camera.from_size(*size, focal=focal.item())


def _studio(vertices: Tensor, faces: Tensor, camera: Camera, colors: ArrayLike | None) -> Image:
    """Bodies before a pale backdrop, with the soft shadow of a lamp straight above on the ground."""
    height = int(camera.size[0, 1])
    fade = np.interp(np.linspace(0, 1, height), [0, 0.55, 1], [0.93, 0.97, 0.84])[:, None, None]
    backdrop = (255 * fade * np.array([0.985, 0.99, 1.0])).astype(np.float32)  # (height, 1, 3)
    backdrop = (backdrop * _ground_shadow(vertices, faces, camera)[..., None]).astype(np.uint8)
    return shade(vertices, faces, camera, colors).over(backdrop)


def _ground_shadow(vertices: Tensor, faces: Tensor, camera: Camera) -> NDArray[np.float32]:
    """(H, W) in [0, 1], the fraction of its light that the ground keeps.

    The shadow is each body flattened onto its lowest point, and blurred. Each body has its own ground: people who were
    fitted one by one do not stand on a common one.
    """
    tilt = np.deg2rad(VIEW_TILT)
    down = vertices.new_tensor([0, np.cos(tilt), np.sin(tilt)])
    heights = vertices @ down
    flat = vertices + (heights.amax(1, keepdim=True) - heights)[..., None] * down
    width, height = (int(s) for s in camera.size[0].tolist())
    small = camera.resize((camera.size / SHADOW_SCALE).round().clamp_min(1))
    masks = silhouette(to_screen(flat, small), faces, picture_size(small))
    shadow = masks.any(0).numpy().astype(np.float32)
    reach = height / SHADOW_SCALE
    wide, narrow = (cv2.GaussianBlur(shadow, (0, 0), max(0.5, share * reach)) for share in (0.02, 0.006))
    light = 1 - 0.22 * wide - 0.20 * narrow
    return np.asarray(cv2.resize(light, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

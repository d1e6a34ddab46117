"""The shader: the light that a surface reflects, and a mesh as a softly lit picture, without OpenGL or a window.

    lambert = max(0, n·l),     sky fraction = ½ + ½ n·up,     highlight = max(0, n·h)³⁰,  h between l and the camera

n is the smooth normal, l points towards the lamp; all light is linear. `hmrfit.synthetic` lights its scenes with these.
`shade` draws people without a scene, as a layer with an alpha channel:

    light(n) = ground + (sky − ground) · sky fraction + Σ lamp · lambert
    colour = albedo · light · occlusion + rim(n)

Its lamps hang from the camera (key from the upper left, fill from the right). The occlusion darkens what lies behind
its neighbourhood in the depth picture: creases, and limbs' shadows on the trunk (unsharp masking of the depth buffer,
Luft et al. 2006). A pixel has one sample of colour, mixed with its neighbours' where one limb ends before another, and
with the picture below by how much of it the bodies cover (`coverage`): the outline is what the eye follows. People who
are small in the picture, whose triangles are smaller than its pixels, have four samples to a pixel.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.camera import MIN_DEPTH, PIXEL_CENTER, Camera
from hmrfit.io.opencv import cv2
from hmrfit.ops.raster import rasterize
from hmrfit.render.coverage import coverage
from hmrfit.render.planes import at_pixels, plane_table
from hmrfit.render.rasteriser import picture_size, to_screen

Picture = NDArray[np.float32]
Float = TypeVar("Float", bound=np.floating)

BODY_COLORS = ("#a8c3ee", "#f2b7a2", "#a5d6b9", "#d9b6e8", "#ead79b", "#9fd3de")
"""sRGB, one person after the other: light blue, coral, sage, lilac, sand, aqua."""

HIGHLIGHT_POWER = 30

SKY, GROUND = (0.36, 0.38, 0.43), (0.15, 0.13, 0.12)
"""What comes from above and from below, linear light."""

LAMPS = (((-0.70, -0.65, -0.55), (0.82, 0.78, 0.72)), ((0.90, -0.10, -0.35), (0.15, 0.17, 0.22)))
"""(direction towards the lamp in the camera frame, its linear colour): key, fill."""

RIM, RIM_POWER = (0.20, 0.22, 0.26), 3
"""Light that grazes the outline, from above more than from below."""

OCCLUSION, OCCLUSION_DEPTH, OCCLUSION_REACH = 0.45, 0.12, 0.035
"""The largest reduction, the depth behind the neighbourhood for it (m), its size (fraction of the bodies' height)."""

EDGE_DEPTH = 0.03
"""Metres between neighbouring pixels: one limb ends there before another."""

SMALL_LAYER = 100_000
"""Pixels: a layer smaller than that has four samples to a pixel."""

MOST_SAMPLES = 6_000_000
"""Samples of one layer at the most; a larger layer has fewer to a pixel."""


@dataclass(frozen=True)
class Layer:
    """A picture to lay over another at (left, top): sRGB times alpha, so that edges mix without fringes."""

    color: Picture  # (h, w, 3) in [0, 1], times alpha
    alpha: Picture  # (h, w) in [0, 1]
    left: int = 0
    top: int = 0

    def over(self, image: NDArray[np.uint8], opacity: float = 1.0) -> NDArray[np.uint8]:
        """color + (1 − alpha) · image: a new (H, W, 3) uint8."""
        result = image.copy()
        height, width = self.alpha.shape
        part = result[self.top : self.top + height, self.left : self.left + width]
        pixels, place = part.reshape(-1, 3), np.flatnonzero(self.alpha)  # a copy in one piece, and where it changes
        kept = 1 - np.float32(opacity) * self.alpha.reshape(-1)[place][:, None]
        mixed = np.float32(255 * opacity) * self.color.reshape(-1, 3)[place] + kept * pixels[place] + np.float32(0.5)
        pixels[place] = mixed.clip(0, 255).astype(np.uint8)
        part[:] = pixels.reshape(part.shape)
        return result


# ---- the light on a surface


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """Unit normals (B, V, 3) that point out of counterclockwise faces (F, 3): the sum over faces, weighted by area."""
    a, b, c = (vertices[:, faces[:, i]] for i in range(3))
    normals = torch.zeros_like(vertices)
    of_faces = torch.linalg.cross(b - a, c - a)
    for i in range(3):
        normals.index_add_(1, faces[:, i], of_faces)
    return normalize(normals, dim=-1)


def lambert(normals: Tensor, to_lamp: Tensor) -> Tensor:
    """max(0, n·l), (M, 1), of unit normals (M, 3) and unit directions to the lamp, (M, 3) or one (1, 3) for all."""
    return (normals * to_lamp).sum(1, keepdim=True).clamp_min(0)


def sky_fraction(normals: Tensor, up: Tensor) -> Tensor:
    """½ + ½ n·up, (M, 1): how much of the half space over a surface with unit normals (M, 3) is sky."""
    return 0.5 + 0.5 * (normals @ up)[:, None]


def highlight(points: Tensor, normals: Tensor, to_lamp: Tensor) -> Tensor:
    """Blinn and Phong's max(0, n·h)³⁰, (M, 1), seen from the origin.

    Args:
        points: (M, 3) camera frame. normals: (M, 3) unit. to_lamp: unit, (M, 3) or one (1, 3) for all.
    """
    half = normalize(to_lamp - normalize(points, dim=1), dim=1)
    return (normals * half).sum(1, keepdim=True).clamp_min(0) ** HIGHLIGHT_POWER


def texture(noise: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Smooth noise in [0, 1] at (a, b), a cell of `noise` (N, N) per unit, repeated without end."""
    n = len(noise)
    i, j = a.floor(), b.floor()
    u, v = ((t * t * (3 - 2 * t)).to(noise) for t in (a - i, b - j))
    i, j = i.long() % n, j.long() % n
    k, l = (i + 1) % n, (j + 1) % n
    near, far = noise[i, j] * (1 - v) + noise[i, l] * v, noise[k, j] * (1 - v) + noise[k, l] * v
    return near * (1 - u) + far * u


def to_linear(srgb: Tensor) -> Tensor:
    """sRGB in [0, 1] -> linear light (IEC 61966-2-1)."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(linear: NDArray[Float]) -> NDArray[Float]:
    """Linear light, clipped to [0, 1] -> sRGB."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


SRGB = to_srgb(np.linspace(0, 1, 4096)).astype(np.float32)
"""Of 4,096 steps of linear light: one step of 255 in the dark is more than one of these."""


# ---- people without a scene


def hex_to_rgb(color: str) -> NDArray[np.float64]:
    """'#8fb2e6' -> sRGB (3,) in [0, 1]."""
    return np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255


def shade(
    vertices: Tensor, faces: Tensor, camera: Camera, colors: ArrayLike | None = None, scale: int | None = None
) -> Layer:
    """Draws people in front of nothing.

    Args:
        vertices: (P, V, 3) camera frame, metres; the people hide each other.
        faces: (F, 3) counterclockwise seen from outside.
        camera: one; its size is the picture's.
        colors: sRGB in [0, 1], per person (P, 3) or per vertex (P, V, 3); default `BODY_COLORS` in turn.
        scale: each pixel's colour is the mean of scale × scale samples; default 2 for people who are small in the
            picture, whose triangles are smaller than pixels, else 1, and more where one limb ends before another.

    Returns:
        A layer that covers only what the bodies cover.
    """
    vertices = vertices.detach().double().cpu()
    people, corners = vertices.shape[:2]
    mesh, mesh_faces = vertices.reshape(1, -1, 3), joined_faces(faces.cpu(), people, corners)
    camera = camera.to("cpu", torch.float64)
    points = to_screen(mesh, camera)
    left, top, width, height = _bounds(points, mesh_faces, picture_size(camera))
    if width == 0 or height == 0:
        return Layer(np.zeros((0, 0, 3), np.float32), np.zeros((0, 0), np.float32))
    size = torch.tensor([[width, height]], dtype=torch.float64)
    close = camera.crop(torch.tensor([[left, top]], dtype=torch.float64), size)
    points = points - points.new_tensor([left, top, 0])
    seen_faces = _towards_camera(points, mesh_faces)
    if scale is None:
        scale = 2 if width * height < SMALL_LAYER else 1
    albedo = to_linear(torch.tensor(_vertex_colors(colors, people, corners))).reshape(-1, 3)
    surface = Surface(mesh[0], seen_faces, close, albedo, _affordable(scale, width * height))
    color, sampled = surface.colors()
    alpha = _coverage(points[0], seen_faces, sampled)
    return Layer(color * alpha[..., None], alpha, left, top)


def _affordable(scale: int, pixels: int) -> int:
    """Samples along a pixel's side: `scale`, or fewer where `MOST_SAMPLES` does not allow it."""
    return max(1, min(scale, int((MOST_SAMPLES / pixels) ** 0.5)))


def _averaged(samples: Picture, camera: Camera) -> Picture:
    return np.asarray(cv2.resize(samples, picture_size(camera), interpolation=cv2.INTER_AREA), np.float32)


def _towards_camera(points: Tensor, faces: Tensor) -> Tensor:
    """The faces (F, 3) that may be seen: of a closed surface in front of the camera, those that look towards it.

    points: (1, V, 3) on the screen. A surface is closed where every edge has a face on either side; its inside is seen
    only where it is cut open by the near plane.
    """
    if bool((points[0, :, 2] < MIN_DEPTH).any()) or not _is_closed(faces):
        return faces
    return faces[_turned(points[0], faces)]


def _turned(points: Tensor, faces: Tensor) -> Tensor:
    """(F,) whether a face looks towards the camera. points: (V, 3) on the screen."""
    a, b, c = (points[faces[:, i], :2] for i in range(3))
    return ((b - a)[:, 0] * (c - a)[:, 1] - (c - a)[:, 0] * (b - a)[:, 1]) < 0


def _is_closed(faces: Tensor) -> bool:
    """Whether every edge (i, j) of a face is (j, i) of another."""
    return _edges_match(faces.numpy().tobytes())


@lru_cache(maxsize=8)
def _edges_match(faces: bytes) -> bool:
    """`_is_closed` of int64 faces (F, 3): the same few meshes are drawn again and again."""
    begin = np.frombuffer(faces, np.int64).reshape(-1, 3)
    end, count = np.roll(begin, -1, 1), int(begin.max(initial=0)) + 1
    return bool((np.sort((begin * count + end).ravel()) == np.sort((end * count + begin).ravel())).all())


def _coverage(points: Tensor, faces: Tensor, sampled: Picture) -> Picture:
    """(h, w) in [0, 1]: the fraction of each pixel that the mesh covers.

    points: (V, 3) on the screen. sampled: (h, w) the same from the samples of the colours; where it is 1 all around, so
    is the coverage.
    """
    covered = (sampled > 1 - 1e-6).astype(np.uint8)
    inside = cv2.erode(covered, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    outer = _reaching(points, faces, inside > 0)
    turned = _turned(points, outer)
    sides = [side for side in (outer[turned], outer[~turned]) if len(side)]  # each alone, as they lie over each other
    exact = np.zeros(sampled.shape, np.float32)
    for side in sides:
        np.maximum(exact, coverage(points[:, :2], side, sampled.shape[::-1]), out=exact)
    exact[inside > 0] = 1
    return exact


def _reaching(points: Tensor, faces: Tensor, inside: NDArray[np.bool_]) -> Tensor:
    """The faces in front of the camera that reach a pixel which is not inside (h, w)."""
    height, width = inside.shape
    outside = torch.from_numpy(
        cv2.integral((~inside).astype(np.uint8))
    )  # (h + 1, w + 1): sums of what lies above and to the left
    corners = points[faces]
    whole = (corners[..., 2] >= MIN_DEPTH).all(1) & corners.isfinite().flatten(1).all(1)
    faces, corners = faces[whole], corners[whole][..., :2]
    extent = corners.new_tensor([width, height])
    low, high = (end.clamp_min(0).minimum(extent).long() for end in (corners.amin(1).floor(), corners.amax(1).ceil()))
    (x0, y0), (x1, y1) = low.T, high.T
    return faces[outside[y1, x1] - outside[y0, x1] - outside[y1, x0] + outside[y0, x0] > 0]


def person_colors(colors: ArrayLike | None, people: int) -> NDArray[np.float64]:
    """sRGB (P, 3), or (P, V, 3) as they are; default `BODY_COLORS` in turn."""
    if colors is None:
        colors = [hex_to_rgb(BODY_COLORS[p % len(BODY_COLORS)]) for p in range(people)]
    return np.asarray(colors, dtype=np.float64)


def _vertex_colors(colors: ArrayLike | None, people: int, corners: int) -> NDArray[np.float64]:
    """(P, V, 3)."""
    colors = person_colors(colors, people)
    if colors.ndim == 2:
        colors = colors[:, None]
    return np.broadcast_to(colors, (people, corners, 3))


def joined_faces(faces: Tensor, people: int, corners: int) -> Tensor:
    """Faces (F, 3) of one person's mesh -> (people F, 3) of all people's meshes, whose vertices follow each other."""
    return (faces[None] + corners * torch.arange(people)[:, None, None]).reshape(-1, 3)


def _bounds(points: Tensor, faces: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, width, height of the whole pixels that the drawn faces may touch, within the picture."""
    drawn = points[0]
    if not bool(((drawn[:, 2] >= MIN_DEPTH) & drawn.isfinite().all(1)).all()):
        drawn = drawn[faces]
        drawn = drawn[(drawn[..., 2] >= MIN_DEPTH).all(1) & drawn.isfinite().all(-1).all(-1)].reshape(-1, 3)
    if len(drawn) == 0:
        return 0, 0, 0, 0
    extent = drawn.new_tensor(size)
    low = torch.minimum(drawn[:, :2].amin(0).floor().clamp_min(0), extent)
    high = torch.maximum(torch.minimum(drawn[:, :2].amax(0).ceil(), extent), low)
    return *low.int().tolist(), *(high - low).int().tolist()


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh before a camera, whose colours are asked for."""

    mesh: Tensor  # (V, 3) camera frame
    faces: Tensor  # (F, 3)
    camera: Camera
    albedo: Tensor  # (V, 3) linear
    scale: int  # samples along a pixel's side

    def colors(self) -> tuple[Picture, Picture]:
        """(h, w, 3) sRGB, the mean over a pixel's samples on the mesh; beside these, over its neighbours'. And (h, w),
        the fraction of samples that are on the mesh."""
        sums, counts = self._samples()
        if self.scale > 1:
            sums, counts = (_averaged(s, self.camera) for s in (sums, counts))
            inside = np.flatnonzero(counts)
            sums.reshape(-1, 3)[inside] /= counts.reshape(-1)[inside][:, None]
        covered = (counts > 0).astype(np.uint8)
        beside = np.flatnonzero(cv2.dilate(covered, np.ones((3, 3), np.uint8)) - covered)
        weight = covered.astype(np.float32)
        around, weights = (
            cv2.blur(p, (3, 3), borderType=cv2.BORDER_CONSTANT).reshape(-1, n) for p, n in ((sums, 3), (weight, 1))
        )
        sums.reshape(-1, 3)[beside] = around[beside] / weights[beside]
        return sums, counts

    def _samples(self) -> tuple[Picture, Picture]:
        """Unaveraged sRGB (h, w, 3), black outside the mesh, and mask (h, w)."""
        camera = self.camera.resize(self.camera.size * self.scale)
        screen = to_screen(self.mesh[None], camera)
        seen = rasterize(screen, self.faces, picture_size(camera), near=MIN_DEPTH)
        mask, depth, (height, width) = seen.mask[0], seen.depth[0], seen.face.shape[1:]
        pixel = mask.flatten().nonzero()[:, 0]
        rows = torch.div(pixel, width, rounding_mode="floor")
        x, y = (pixel - rows * width).float() + PIXEL_CENTER, rows.float() + PIXEL_CENTER
        normals, own = self._at(screen[0], seen.face.flatten()[pixel], x, y, depth.flatten()[pixel])
        normals = normalize(normals, dim=1)
        occluded = torch.from_numpy(_occlusion(depth.numpy(), mask.numpy())).flatten()[pixel]
        lit = own * _light(normals) * occluded[:, None] + _rim(normals, _rays(x, y, camera))
        picture = np.zeros((height, width, 3), np.float32)
        picture.reshape(-1, 3)[pixel.numpy()] = _srgb_of(lit.numpy())
        samples = mask.numpy().astype(np.float32)
        return (_softened(picture, depth.numpy(), samples) if self.scale == 1 else picture), samples

    def _at(self, screen: Tensor, face: Tensor, x: Tensor, y: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
        """Normals and albedo (P, 3) at the pixels."""
        normals = vertex_normals(self.mesh[None], self.faces)[0]
        corners = self.albedo[self.faces]
        if bool((corners == corners[:, :1]).all()):
            table = plane_table(screen, self.faces, normals, corners[:, 0])
            return at_pixels(table, face, x, y, depth, (3, 3))
        table = plane_table(screen, self.faces, torch.cat([normals, self.albedo], 1))
        values, _ = at_pixels(table, face, x, y, depth, (6, 0))
        return values[:, :3], values[:, 3:]


def _softened(picture: Picture, depth: Picture, mask: Picture) -> Picture:
    """The picture with smooth edges where one limb ends before another: there a pixel is the mean around it."""
    near = np.where(mask > 0, depth, 0).astype(np.float32)
    far = np.where(mask > 0, depth, np.float32(1e9))
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    edge = (cv2.dilate(near, cross) - cv2.erode(far, cross) > EDGE_DEPTH) & (mask > 0)
    sums, counts = (cv2.GaussianBlur(p, (3, 3), 0.6, borderType=cv2.BORDER_CONSTANT) for p in (picture, mask))
    result = picture.copy()
    result[edge] = sums[edge] / counts[edge][:, None]
    return result


def _srgb_of(linear: Picture) -> Picture:
    """`to_srgb` by a table."""
    steps = len(SRGB) - 1
    return SRGB[(linear * steps + 0.5).clip(0, steps).astype(np.int32)]


def _rays(x: Tensor, y: Tensor, camera: Camera) -> Tensor:
    """(P, 3) unit vectors from the camera to pixels, float32."""
    centres = torch.stack([x, y], 1).float()
    across = (centres - camera.center[0].float()) / camera.focal[0].float()
    return normalize(torch.cat([across, torch.ones(len(x), 1)], 1), dim=1)


def _light(normals: Tensor) -> Tensor:
    """(P, 3): sky and ground, and the lamps."""
    sky, ground, up = normals.new_tensor(SKY), normals.new_tensor(GROUND), normals.new_tensor([0.0, -1.0, 0.0])
    light = ground + (sky - ground) * sky_fraction(normals, up)
    for direction, color in LAMPS:
        to_lamp = normalize(normals.new_tensor([direction]), dim=1)
        light = light + lambert(normals, to_lamp) * normals.new_tensor(color)
    return light


def _rim(normals: Tensor, rays: Tensor) -> Tensor:
    """(P, 3): where the surface turns away from the ray to it."""
    facing = (-(normals * rays).sum(1)).clamp(0, 1)
    return ((1 - facing) ** RIM_POWER * (0.6 - 0.4 * normals[:, 1]))[:, None] * normals.new_tensor(RIM)


def _occlusion(depth: Picture, covered: NDArray[np.bool_]) -> Picture:
    """(h, w) in [1 − OCCLUSION, 1]: 1 in front of the mean depth of the neighbourhood, less behind it."""
    mask = covered.astype(np.float32)
    depth = np.where(covered, depth, np.float32(0))
    reach = max(1.0, OCCLUSION_REACH * covered.any(1).sum())
    around = _blur(depth, reach) / np.maximum(_blur(mask, reach), 1e-6)
    return np.asarray(1 - OCCLUSION * np.clip((depth - around) / OCCLUSION_DEPTH, 0, 1), np.float32)


def _blur(picture: Picture, sigma: float) -> Picture:
    """Gaussian blur, computed on a smaller picture where sigma is large."""
    small = max(1, int(sigma / 4))
    height, width = picture.shape
    reduced = cv2.resize(picture, (-(-width // small), -(-height // small)), interpolation=cv2.INTER_AREA)
    reduced = cv2.GaussianBlur(reduced, (0, 0), sigma / small, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(cv2.resize(reduced, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)

"""The fast renderer: synthetic images of one person or hand, many a second, lit without shadows, before any backdrop.

    radiance = albedo · (lamp · max(0, n·l)  +  sky · (0.6 + 0.4 n·up))  +  gloss · max(0, n·h)³⁰

`hmrfit.synthetic.renderer` makes better pictures; a network learns more from many different ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.ops.raster import Fragments, interpolate_seen, rasterize
from hmrfit.render.rasteriser import picture_size, to_screen
from hmrfit.render.shading import highlight, lambert, to_linear, to_srgb, vertex_normals
from hmrfit.synthetic.clothing import ClothingTexture, Outfit

SHAPES = 14
"""Objects in a backdrop, at most."""


@dataclass(frozen=True)
class Drawn:
    """A picture, and where the person is visible in it."""

    image: Image  # (H, W, 3)
    mask: NDArray[np.bool_]  # (H, W)


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """numpy's, seeded by the next number of torch's."""
    return np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))


def draw_person(
    vertices: Tensor,
    body: SmplBody,
    clothing: ClothingTexture,
    camera: Camera,
    generator: torch.Generator,
    photo: Image | None = None,
) -> Drawn:
    """One person in random clothes, light and surroundings.

    Args:
        vertices: (V, 3) camera frame, metres. camera: one; its size is the picture's.
        photo: to stand before a random part of it, instead of a made-up backdrop.
    """
    rng = numpy_generator(generator)

    def paint(rest: Tensor) -> tuple[Tensor, Tensor]:
        outfit = Outfit.random(generator)
        noise = torch.rand(256, 256, generator=generator)
        albedo, gloss, _ = clothing.paint(rest, outfit, noise)
        tint = albedo.new_tensor(rng.uniform(0.75, 1.25, 3))  # more colours than the outfits have
        return to_linear((albedo * tint).clamp(0, 1)), gloss

    light, seen = lit_surface(vertices, body.faces, body.v_template, paint, camera, rng, photo)
    return Drawn(develop(light, rng), seen.mask[0].numpy())


def lit_surface(
    vertices: Tensor,
    faces: Tensor,
    rest: Tensor,
    paint: Callable[[Tensor], tuple[Tensor, Tensor]],
    camera: Camera,
    rng: np.random.Generator,
    photo: Image | None = None,
) -> tuple[NDArray[np.float32], Fragments]:
    """(linear light (H, W, 3), what is seen where) of a mesh before a backdrop, before any camera develops it.

    Args:
        vertices: (V, 3) camera frame, metres. faces: (F, 3).
        rest: (V, C) what the colour depends on, such as places at rest.
        paint: of that at M pixels, (M, C), makes their linear albedo (M, 3) and gloss (M,).
    """
    width, height = picture_size(camera)
    picture = backdrop(width, height, rng) if photo is None else _part_of(photo, width, height, rng)
    mesh = vertices[None]
    screen = to_screen(mesh, camera)
    seen = rasterize(screen, faces, (width, height), MIN_DEPTH)
    values = torch.cat([mesh, vertex_normals(mesh, faces), rest.to(mesh)[None]], -1)
    where, surface = interpolate_seen(seen, screen, faces, values)
    if len(where):
        points, normals, own = surface.split([3, 3, rest.shape[1]], -1)
        albedo, gloss = paint(own)
        picture[where[:, 1].numpy(), where[:, 2].numpy()] = _lit(albedo, gloss, points, normals, rng).numpy()
    return picture, seen


def _lit(albedo: Tensor, gloss: Tensor, points: Tensor, normals: Tensor, rng: np.random.Generator) -> Tensor:
    """(M, 3) linear light of a lamp from anywhere above or beside, and a sky."""
    x, y, z = rng.normal(size=3)
    to_lamp = normalize(points.new_tensor([[x, -abs(y), z - 0.5]]), dim=1)  # mostly on the camera's side
    normals = normalize(normals, dim=1)
    lamp, sky = (points.new_tensor(strength * rng.uniform(0.8, 1.2, 3)) for strength in (rng.uniform(0.3, 1.2), 0.45))
    facing = lambert(normals, to_lamp)
    above = 0.6 - 0.4 * normals[:, 1:2]
    shine = (facing > 0) * highlight(points, normals, to_lamp)
    return albedo * (facing * lamp + above * sky) + gloss[:, None] * shine * lamp


# ---- what is around


def backdrop(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 3) linear light: a wall and a floor, things before them, out of focus or not."""
    picture = _surface(width, height, rng)
    horizon = int(height * rng.uniform(0.3, 1.1))
    picture[horizon:] = _surface(width, height, rng)[horizon:]
    for _ in range(rng.integers(0, SHAPES)):
        rows, columns = _shape(width, height, rng).nonzero()
        picture[rows, columns] = _stripes(rows, columns, rng)
    blur = rng.uniform(0, 0.02) * width
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), blur), np.float32) if blur > 0.5 else picture


def _part_of(photo: Image, width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(H, W, 3) linear light of a random part of a photograph, half of its shorter side or more."""
    rows, columns = photo.shape[:2]
    side = max(1, int(min(rows, columns) * rng.uniform(0.5, 1)))
    top, left = rng.integers(0, rows - side + 1), rng.integers(0, columns - side + 1)
    part = cv2.resize(photo[top : top + side, left : left + side], (width, height), interpolation=cv2.INTER_AREA)
    return to_linear(torch.from_numpy(part).float() / 255).numpy()


def _surface(width: int, height: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """One colour, unevenly lit, with noise of several sizes."""
    color = rng.uniform(0.03, 0.9, 3) * 0.5 + 0.5 * rng.uniform(0.05, 0.9)
    uneven = np.ones((height, width), np.float32)
    for cells in (2, 6, 24):
        coarse = rng.normal(0, rng.uniform(0, 0.25), (cells, cells)).astype(np.float32)
        uneven += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return color.astype(np.float32) * np.clip(uneven, 0.1, 2)[..., None]


def _stripes(rows: NDArray, columns: NDArray, rng: np.random.Generator) -> NDArray[np.float32]:
    """(M, 3) stripes of two colours at these pixels, or one colour alone."""
    colors = rng.uniform(0.02, 0.9, (2, 3)).astype(np.float32)
    angle, length, share = rng.uniform(0, np.pi), rng.uniform(4, 60), rng.uniform(-0.5, 1)
    along = (columns * np.float32(np.cos(angle)) + rows * np.float32(np.sin(angle))) / np.float32(length)
    return colors[(along % 1 < share).astype(np.int64)]


def _shape(width: int, height: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(H, W) a random quadrilateral or ellipse, up to half of the picture wide."""
    middle = rng.uniform(0, 1, 2) * (width, height)
    size = rng.uniform(0.03, 0.5, 2) * (width, height)
    mask = np.zeros((height, width), np.uint8)
    if rng.random() < 0.3:
        axes = tuple(int(s / 2) for s in size)
        cv2.ellipse(mask, tuple(int(m) for m in middle), axes, rng.uniform(0, 180), 0, 360, 1, -1)
    else:
        corners = cv2.boxPoints((tuple(middle.tolist()), tuple(size.tolist()), rng.normal(0, 20)))
        cv2.fillConvexPoly(mask, corners.astype(np.int32), 1)
    return mask > 0


def occlude(drawn: Drawn, rng: np.random.Generator, most: float = 0.6) -> Drawn:
    """Something in front of the person; left out where it would hide more than `most` of the visible pixels."""
    height, width = drawn.mask.shape
    front = _shape(width, height, rng)
    if (front & drawn.mask).sum() > most * drawn.mask.sum():
        return drawn
    thing = develop(_surface(width, height, rng), rng)
    return Drawn(np.where(front[..., None], thing, drawn.image), drawn.mask & ~front)


def develop(light: NDArray, rng: np.random.Generator) -> Image:
    """Linear light -> a picture, by some camera: exposure, white balance, sharpness, noise, JPEG."""
    light = light * (2 ** rng.normal(0, 0.35) * rng.uniform(0.9, 1.1, 3)).astype(np.float32)
    light = light + rng.standard_normal(light.shape, np.float32) * np.sqrt(
        np.maximum(light, 0) * np.float32(rng.uniform(0, 0.002)) + np.float32(1e-6)
    )
    if (blur := rng.uniform(0, 1.1)) > 0.4:
        light = cv2.GaussianBlur(light, (0, 0), blur)
    picture = (255 * to_srgb(np.clip(light, 0, 1)) + 0.5).astype(np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(30, 95))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", picture, quality)[1], cv2.IMREAD_COLOR)
        return picture if decoded is None else np.asarray(decoded, np.uint8)
    return picture

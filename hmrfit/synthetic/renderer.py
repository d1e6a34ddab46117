"""Synthetic images: a room, a lamp, people in clothes, with the truth beside them.

    radiance = albedo · (lamp · visibility · max(0, n·l) / d²  +  sky · openness · hemisphere)  +  gloss

Visibility and openness are fractions of points on the lamp, or of the sky, that see a surface point past the bodies
(depth maps drawn from each of them): soft shadows on the floor, the wall and the bodies themselves, by one function.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import MIN_DEPTH, PIXEL_CENTER, Camera
from hmrfit.io.image import Image
from hmrfit.io.opencv import cv2
from hmrfit.ops.raster import interpolate_seen, rasterize
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import label_faces, picture_size, to_screen
from hmrfit.render.shading import (
    highlight,
    joined_faces,
    lambert,
    sky_fraction,
    texture,
    to_linear,
    to_srgb,
    vertex_normals,
)
from hmrfit.synthetic.clothing import ClothingTexture, Outfit
from hmrfit.types import BodyParams

SUPERSAMPLING = 2
LAMPS, SKY_LAMPS = 28, 36
"""Points on the lamp and in the sky that shadows are the mean of."""
SHADOW_MAP = 400
"""Pixels of each depth map."""
BIAS = 0.012
"""Metres that a surface may lie behind what a depth map saw and still count as seen."""

WALLS = ((0.80, 0.78, 0.74), (0.70, 0.76, 0.78), (0.78, 0.72, 0.64), (0.66, 0.72, 0.66))
FLOORS = ((0.62, 0.46, 0.32), (0.50, 0.36, 0.25), (0.70, 0.58, 0.44))


@dataclass(frozen=True)
class Scene:
    """A picture and the truth about it."""

    image: Image  # (H, W, 3)
    masks: Tensor  # (P, H, W) bool, where each person is visible
    parts: Tensor | None  # (H, W) uint8, the body's part labels, 0 where nobody is
    depth: Tensor  # (H, W) float32, metres along z to the nearest body, inf where there is none


@dataclass(frozen=True)
class Room:
    """Floor and back wall in the camera frame. All vectors (3,), unit length but for the lamp."""

    up: Tensor
    right: Tensor
    back: Tensor  # horizontal, away from the camera
    floor: float  # metres along `up`
    wall: float  # metres along `back`
    lamp: Tensor  # metres
    wall_color: Tensor
    floor_color: Tensor
    noise: Tensor  # (256, 256) in [0, 1], what textures are made of

    @classmethod
    def around(cls, vertices: Tensor, up: Tensor, generator: torch.Generator) -> "Room":
        """A room in which the lowest of the vertices touches the floor and the wall is a step or two behind."""
        up = normalize(up.double(), dim=0)
        ahead = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
        back = normalize(ahead - (ahead @ up) * up, dim=0)
        right = torch.linalg.cross(back, up)
        points = vertices.flatten(0, 1)
        middle = points.mean(0)
        draw = torch.rand(4, generator=generator, dtype=torch.float64)
        side = 1.0 if draw[0] < 0.3 else -1.0
        lamp = middle + side * (1.5 + 0.5 * draw[1]) * right + (1.7 + 0.5 * draw[2]) * up - (1.6 + 0.6 * draw[3]) * back
        wall, floor = (colors[int(torch.randint(len(colors), (1,), generator=generator))] for colors in (WALLS, FLOORS))
        return cls(
            up,
            right,
            back,
            float((points @ up).min()),
            float((points @ back).max()) + 1.3,
            lamp,
            _linear(wall),
            _linear(floor),
            torch.rand(256, 256, generator=generator, dtype=torch.float64),
        )


def render_scene(
    params: BodyParams,
    body: SmplBody,
    camera: Camera,
    generator: torch.Generator,
    outfits: list[Outfit] | None = None,
    up: Tensor | None = None,
) -> Scene:
    """A picture of P people in a room.

    Args:
        params: (P,) camera frame. body: SMPL-format, float64, in its T-pose at rest.
        camera: one; its size is the picture's.
        generator: decides room, lamp, clothes and noise.
        outfits: of each person; random where absent.
        up: (3,) in the camera frame; a level camera's where absent.
    """
    vertices = body(params).mesh.double()
    up = torch.tensor([0.0, -1.0, 0.0]) if up is None else up
    outfits = outfits or [Outfit.random(generator) for _ in range(len(params))]
    room = Room.around(vertices, up, generator)
    faces = joined_faces(body.faces, len(vertices), vertices.shape[1])
    lights = _Lights.of(room, vertices.reshape(1, -1, 3), faces, generator)
    picture = _background(room, lights, camera)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.0012 * picture.shape[0])  # the lens is focused on the people
    picture = _with_people(picture, vertices, faces, body, camera, outfits, room, lights)
    return Scene(_developed(picture, generator), *_truth(vertices, faces, body, camera))


def _linear(srgb: tuple[float, float, float]) -> Tensor:
    return to_linear(torch.tensor(srgb, dtype=torch.float64))


# ---- light and shadow


@dataclass(frozen=True)
class _Lights:
    """Points that shine, each with the depth map of what it sees of the bodies."""

    position: Tensor  # (L, 3)
    turn: Tensor  # (L, 3, 3) camera frame -> the light's, which looks at the bodies along +z
    camera: Camera  # (L,)
    depth: Tensor  # (L, D, D)

    @classmethod
    def of(cls, room: Room, mesh: Tensor, faces: Tensor, generator: torch.Generator) -> "_Lights":
        """LAMPS points on the lamp, a sphere of 0.3 m, then SKY_LAMPS from above all around."""
        middle, radius = _ball(mesh[0])
        near = room.lamp + 0.3 * _spiral(LAMPS, -1.0, generator)
        axes = torch.stack([room.right, room.up, room.back])
        sky = middle + 6.0 * _spiral(SKY_LAMPS, 0.05, generator)[:, [0, 2, 1]] @ axes
        position = torch.cat([near, sky])
        turn = _looking_at(middle - position, room.back)
        distance = (middle - position).norm(dim=1)
        size = torch.full((len(position), 2), float(SHADOW_MAP), dtype=torch.float64)
        focal = 0.5 * SHADOW_MAP * (distance / radius).square().sub(1).clamp_min(0.05).sqrt()
        camera = Camera(focal[:, None].expand(-1, 2), size / 2, size)
        seen = [(mesh - p) @ t.mT for p, t in zip(position, turn, strict=True)]
        depth = [
            rasterize(to_screen(s, camera[i]), faces, (SHADOW_MAP,) * 2, MIN_DEPTH).depth for i, s in enumerate(seen)
        ]
        return cls(position, turn, camera, torch.cat(depth))

    def visibility(self, points: Tensor, which: slice) -> Tensor:
        """The fraction of these lights that see each point (M, 3): (M,) in [0, 1]."""
        total = torch.zeros(len(points))
        chosen = range(len(self.position))[which]
        points = points.float()
        for i in chosen:
            turn = self.turn[i].float()
            x, y, depth = (turn @ points.T - (turn @ self.position[i].float())[:, None]).unbind(0)
            scale = float(self.camera.focal[i, 0]) / depth.clamp_min(MIN_DEPTH)
            column, row = ((v * scale + SHADOW_MAP / 2).clamp(0, SHADOW_MAP - 1).int() for v in (x, y))
            # the bodies lie well within the map: its border is empty, and so is what lies beyond it
            total += depth < self.depth[i].view(-1)[row * SHADOW_MAP + column] + BIAS
        return total.double() / len(chosen)


def _ball(points: Tensor) -> tuple[Tensor, float]:
    """Middle and radius of a ball around all points."""
    low, high = points.aminmax(dim=0)
    middle = (low + high) / 2
    return middle, 1.02 * float((points - middle).norm(dim=1).max())


def _spiral(count: int, lowest: float, generator: torch.Generator) -> Tensor:
    """(count, 3) unit vectors, evenly over the sphere above z = lowest: Fibonacci's spiral, turned by chance."""
    i = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1 - i / count * (1 - lowest)
    angle = i * torch.pi * (1 + 5**0.5) + 6.28 * torch.rand(1, generator=generator, dtype=torch.float64)
    flat = (1 - z.square()).sqrt()
    return torch.stack([flat * angle.cos(), flat * angle.sin(), z], 1)


def _looking_at(direction: Tensor, helper: Tensor) -> Tensor:
    """Rotations (L, 3, 3) whose third row is the direction (L, 3)."""
    z = normalize(direction, dim=1)
    x = normalize(torch.linalg.cross(helper.expand_as(z) + 0.01, z), dim=1)
    return torch.stack([x, torch.linalg.cross(z, x), z], 1)


def _light_on(points: Tensor, normals: Tensor, room: Room, lights: _Lights) -> tuple[Tensor, Tensor]:
    """The light on surface points with these normals: (diffuse (M, 3), shine (M, 1)), linear."""
    to_lamp = room.lamp - points
    distance = to_lamp.norm(dim=1, keepdim=True)
    to_lamp = to_lamp / distance
    lifted = points + 0.004 * normals
    lit = lights.visibility(lifted, slice(0, LAMPS))[:, None] * lambert(normals, to_lamp) * (2.6 / distance).square()
    openness = lights.visibility(lifted, slice(LAMPS, None))[:, None]
    above = sky_fraction(normals, room.up)
    sky = openness * (above * torch.tensor([0.30, 0.33, 0.38]) + (1 - above) * 0.35 * room.floor_color)
    shine = lit.clamp_max(1) * highlight(points, normals, to_lamp)
    return lit * torch.tensor([1.02, 0.96, 0.86]) + sky, 0.4 * shine


# ---- the room


def _background(room: Room, lights: _Lights, camera: Camera) -> np.ndarray:
    """(H, W, 3) linear light: floor and wall with the bodies' shadows on them.

    The light, which is soft, is computed for every other pixel.
    """
    width, height = picture_size(camera)
    coarse = camera.resize(torch.tensor([[-(-width // 2), -(-height // 2)]]))
    points, on_floor = _walls_at(coarse, room)
    light, shine = _light_on(points, torch.where(on_floor[:, None], room.up, -room.back), room, lights)
    corner = (points @ room.up - room.floor + (room.wall - points @ room.back)).clamp(0, 0.5) / 0.5
    light = torch.cat([light, 0.12 * on_floor[:, None] * shine], 1) * (0.72 + 0.28 * corner)[:, None]
    large = cv2.resize(light.reshape(*picture_size(coarse)[::-1], 4).numpy(), (width, height))
    points, on_floor = _walls_at(camera, room)
    albedo = torch.empty_like(points)
    albedo[on_floor], albedo[~on_floor] = _planks(points[on_floor], room), _plaster(points[~on_floor], room)
    return albedo.reshape(height, width, 3).numpy() * large[..., :3] + large[..., 3:]


def _walls_at(camera: Camera, room: Room) -> tuple[Tensor, Tensor]:
    """For each pixel in reading order: the point (H W, 3) of the room seen there, and whether it is on the floor."""
    width, height = picture_size(camera)
    rows, columns = (torch.arange(n, dtype=torch.float64) + PIXEL_CENTER for n in (height, width))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    rays = camera.unproject(torch.stack([x, y], -1).reshape(1, -1, 2), torch.ones(1, height * width))[0]
    floor_at = room.floor / (rays @ room.up).clamp_max(-1e-6)
    wall_at = room.wall / (rays @ room.back).clamp_min(1e-6)
    return rays * torch.minimum(floor_at, wall_at)[:, None], floor_at < wall_at


def _planks(points: Tensor, room: Room) -> Tensor:
    """A wooden floor: planks of 14 cm, each of its own tone, with grain and joints."""
    a, b = points @ room.right, points @ room.back
    a, b = 0.94 * a + 0.34 * b + 40, 0.94 * b - 0.34 * a + 40
    row = (a / 0.14).floor()
    along = b / 1.3 + texture(room.noise, row * 1.37, row * 0.0)
    tone = texture(room.noise, row * 7.1, along.floor() * 3.7)
    grain = texture(room.noise, a * 160, b * 5) * 0.6 + texture(room.noise, a * 60, b * 2) * 0.4
    across, end = (a / 0.14 - row - 0.5).abs() * 0.14, (along - along.floor() - 0.5).abs() * 1.3
    joint = (across > 0.0685) | (end > 0.6485)
    shade = (0.72 + 0.4 * tone) * (0.82 + 0.32 * grain) * torch.where(joint, 0.55, 1.0)
    return shade[:, None] * room.floor_color


def _plaster(points: Tensor, room: Room) -> Tensor:
    """A painted wall, faintly uneven, with a skirting board."""
    a, h = points @ room.right + 40, points @ room.up - room.floor
    uneven = 0.97 + 0.03 * texture(room.noise, a * 2, h * 2) + 0.02 * texture(room.noise, a * 45, h * 45)
    color = uneven[:, None] * room.wall_color
    color = torch.where((h < 0.11)[:, None], _linear((0.88, 0.87, 0.85)), color)
    return torch.where(((h - 0.11).abs() < 0.004)[:, None] | (h < 0.006)[:, None], 0.45 * color, color)


# ---- the people


def _with_people(
    picture: np.ndarray,
    vertices: Tensor,
    faces: Tensor,
    body: SmplBody,
    camera: Camera,
    outfits: list[Outfit],
    room: Room,
    lights: _Lights,
) -> np.ndarray:
    """The picture with the bodies in it; drawn larger and averaged."""
    large = camera.resize(camera.size * SUPERSAMPLING)
    mesh = vertices.reshape(1, -1, 3)
    screen = to_screen(mesh, large)
    seen = rasterize(screen, faces, picture_size(large), MIN_DEPTH)
    normals = vertex_normals(vertices, body.faces).reshape(1, -1, 3)
    rest = body.v_template.double().repeat(len(vertices), 1)[None]
    person = torch.arange(len(vertices)).repeat_interleave(vertices.shape[1])[None, :, None].double()
    _, surface = interpolate_seen(seen, screen, faces, torch.cat([mesh, normals, rest, person], -1))
    points, normals, rest, person = surface.split([3, 3, 3, 1], -1)
    color, gloss, normals = _dressed(rest, person[:, 0].round().long(), normals, ClothingTexture(body), outfits, room)
    light, shine = _light_on(points, normals, room, lights)
    light = to_linear(color) * light + gloss[:, None] * shine
    layer = torch.zeros(*seen.mask.shape[1:], 4, dtype=torch.float64)
    layer[seen.mask[0]] = torch.cat([light, torch.ones_like(shine)], 1)
    small = cv2.resize(layer.numpy(), picture.shape[1::-1], interpolation=cv2.INTER_AREA)
    return small[..., :3] + (1 - small[..., 3:]) * picture


def _dressed(
    rest: Tensor, person: Tensor, normals: Tensor, clothing: ClothingTexture, outfits: list[Outfit], room: Room
) -> tuple[Tensor, Tensor, Tensor]:
    """sRGB (M, 3), gloss (M,), normals (M, 3) with the folds of cloth."""
    color, gloss = torch.zeros_like(rest), torch.zeros_like(rest[:, 0])
    normals = normalize(normals, dim=1)
    for i, outfit in enumerate(outfits):
        own = person == i
        color[own], gloss[own], cloth = clothing.paint(rest[own], outfit, room.noise)
        normals[own] = normalize(normals[own] + cloth[:, None] * _folds(rest[own], room), dim=1)
    return color, gloss, normals


def _folds(rest: Tensor, room: Room) -> Tensor:
    """(M, 3) what folds add to unit normals: noise, longer along the body than across."""
    x, y, z = (rest + 9).unbind(-1)
    across = texture(room.noise, x * 17 + z * 9, y * 6) - 0.5
    along = texture(room.noise, x * 8 + 77, y * 13 + z * 5) - 0.5
    return torch.stack([0.5 * across, 0.35 * along, 0.5 * across], 1)


# ---- the camera's own marks, and the truth


def _developed(light: np.ndarray, generator: torch.Generator) -> Image:
    """Linear light -> a picture: exposure for the brighter parts, darker corners, a film's shoulder, sensor noise."""
    height, width = light.shape[:2]
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    light = light * (1 - 0.13 * (x**2 + y**2))[..., None]
    light = light * (0.62 / np.percentile(light, 90))
    light = light / (1 + 0.25 * light**2) ** 0.5
    grain = torch.randn(height, width, 3, generator=generator).numpy()
    light = light + grain * np.sqrt(np.maximum(light, 0) * 0.00035 + 0.000006)
    return (255 * to_srgb(light) + 0.5).astype(np.uint8)


def _truth(vertices: Tensor, faces: Tensor, body: SmplBody, camera: Camera) -> tuple[Tensor, Tensor | None, Tensor]:
    """(masks, parts, depth) at the picture's own pixels."""
    seen = BuiltinRenderer().fragments(vertices.reshape(1, -1, 3), faces, camera)
    face = seen.face[0]
    person = torch.where(face >= 0, face // len(body.faces), -1)
    masks = person[None] == torch.arange(len(vertices))[:, None, None]
    parts = None
    if body.part_labels is not None:
        labels = torch.cat([label_faces(body.part_labels, body.faces), torch.zeros(1, dtype=torch.int64)])
        parts = labels[torch.where(face >= 0, face % len(body.faces), -1)].to(torch.uint8)
    return masks, parts, seen.depth[0]

"""What stands beside the bodies in a glTF file: materials, the photograph's camera, the floor.

    yfov = 2 atan(h / (2 f_y)),   aspectRatio = (w / f_x) / (h / f_y)        w, h the image, f pixels

A camera of glTF looks along its own -z with y up, and has no principal point. Where that is not the image's middle,
the view is the smallest one about it that holds the whole image, and the camera's `extras` give focal length, principal
point and image size in pixels.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.export.gltf import ATTRIBUTE, INDEX, GltfFile
from hmrfit.export.person_motion import Y_UP
from hmrfit.ops.check import did_you_mean
from hmrfit.render.shading import BODY_COLORS, hex_to_rgb, to_linear

MATERIALS: Mapping[str, tuple[str, ...]] = {"clay": BODY_COLORS, "skin": ("#d9a58c", "#b97a57", "#8d5a3c", "#e8c3ae")}
"""Name -> sRGB colours, one person after the other."""

WHITE = "#ffffff"

ROUGHNESS = 0.65

FLOOR_SIZE, FLOOR_COLOR = 6.0, "#8c8c8c"
"""Metres along each side of the floor that is drawn."""

NEAR, FAR = 0.05, 1000.0
"""Metres, of the camera."""


def material_colors(material: str) -> tuple[str, ...]:
    """sRGB colours of a name. Raises ValueError: there is no such material."""
    if material not in MATERIALS:
        known = " or ".join(MATERIALS)
        raise ValueError(f"material should be {known}, not {material!r}.{did_you_mean(str(material), MATERIALS)}")
    return MATERIALS[material]


def add_material(file: GltfFile, name: str, color: str) -> int:
    """A material without metal, of an sRGB colour; returns its place. glTF has colours in linear light."""
    linear = to_linear(torch.tensor(hex_to_rgb(color))).tolist()
    pbr = {
        "baseColorFactor": [*(round(c, 5) for c in linear), 1.0],
        "metallicFactor": 0.0,
        "roughnessFactor": ROUGHNESS,
    }
    return file.add("materials", name=name, pbrMetallicRoughness=pbr)


def add_camera(file: GltfFile, camera: Camera, world: Tensor, shift: NDArray[np.float64]) -> int:
    """The camera that took the photograph, with its field of view; returns its node.

    Args:
        world: (3, 3) from the camera frame to the file's. shift: (3,) metres, where it stands.
    """
    (fx, fy), (cx, cy), (width, height) = (v[0].tolist() for v in (camera.focal, camera.center, camera.size))
    half_width, half_height = max(cx, width - cx), max(cy, height - cy)
    perspective = {
        "yfov": 2 * float(np.arctan(half_height / fy)),
        "aspectRatio": (half_width / fx) / (half_height / fy),
        "znear": NEAR,
        "zfar": FAR,
    }
    extras = {"focal": [fx, fy], "center": [cx, cy], "image_size": [width, height]}
    place = file.add("cameras", name="camera", type="perspective", perspective=perspective, extras=extras)
    turn = Rotation.from_matrix(world.numpy() @ np.array(Y_UP)).as_quat()
    return file.add("nodes", name="camera", camera=place, rotation=turn.tolist(), translation=list(map(float, shift)))


def add_floor(file: GltfFile, height: float, center: tuple[float, float]) -> int:
    """A square at y = height about (x, z); returns its node."""
    half = FLOOR_SIZE / 2
    corners = np.array([[-half, 0, half], [half, 0, half], [half, 0, -half], [-half, 0, -half]], np.float32)
    attributes = {
        "POSITION": file.accessor(corners, ATTRIBUTE, bounds=True),
        "NORMAL": file.accessor(np.tile(np.array([0, 1, 0], np.float32), (4, 1)), ATTRIBUTE),
    }
    indices = file.accessor(np.array([0, 1, 2, 0, 2, 3], np.uint16), INDEX)
    material = add_material(file, "floor", FLOOR_COLOR)
    primitive = {"attributes": attributes, "indices": indices, "material": material}
    mesh = file.add("meshes", name="floor", primitives=[primitive])
    return file.add("nodes", name="floor", mesh=mesh, translation=[center[0], height, center[1]])

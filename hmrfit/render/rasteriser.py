"""What every renderer does: silhouettes, part maps, depth and soft silhouettes of meshes; the renderers by name.

Vertices (B, V, 3) are metres in the camera frame, one camera per image (or one for all), every image of one size; a
picture is (B, H, W). Pixel rules, near plane and ties are those of `hmrfit.ops.raster`. In a part map 0 is the
background and a face's label is what its pixels get.

Adding a renderer is one class in one file of `backends`, under `@RENDERERS.register("its name")`.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from hmrfit.camera import Camera
from hmrfit.ops.check import check_shape
from hmrfit.ops.registry import Registry


class Renderer(Protocol):
    """Every renderer draws the same pixels, except those whose centre lies within 1e-3 px of an edge."""

    def silhouette(self, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """Vertices (B, V, 3), faces (F, 3) -> (B, H, W) bool."""

    def parts(self, vertices: Tensor, faces: Tensor, camera: Camera, face_labels: Tensor) -> Tensor:
        """And face_labels (F,) in 1..255 -> (B, H, W) uint8, the label of the nearest face, 0 where there is none."""

    def depth(self, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """-> (B, H, W) float32, metres along z to the nearest face, inf where there is none."""

    def soft_silhouette(self, vertices: Tensor, faces: Tensor, camera: Camera, softness: float = 1.0) -> Tensor:
        """-> (B, H, W) coverage in [0, 1] of faces whose edges are `softness` pixels soft (`hmrfit.ops.soft_raster`).

        Differentiable by the vertices and the camera, in their precision.
        """


RENDERERS: Registry[Callable[[], Renderer]] = Registry("renderer", "hmrfit.render.backends")
"""Those of `hmrfit.render.backends`, and a user's own; RENDER.BACKEND and --renderer take their names."""


def make_renderer(name: str) -> Renderer:
    """The renderer of a name.

    Raises:
        ValueError: there is no such renderer. ImportError: it needs a package that is not installed.
    """
    return RENDERERS.find(name)()


def to_screen(vertices: Tensor, camera: Camera) -> Tensor:
    """Camera-frame vertices (B, V, 3) -> (B, V, 3) pixels x, pixels y, depth in metres; float64, without gradients."""
    return project(vertices.detach().double(), camera.map(Tensor.detach))


def project(vertices: Tensor, camera: Camera) -> Tensor:
    """`to_screen` with gradients, in the precision of the vertices."""
    check_shape(vertices, "B V 3", "vertices", hint="Camera frame, metres.")
    if len(camera) not in (1, len(vertices)):
        raise ValueError(f"Expected one camera for all or one per body ({len(vertices)}), got {len(camera)}.")
    camera = camera.to(vertices.device, vertices.dtype)
    return torch.cat([camera.project(vertices), vertices[..., 2:]], -1)


def picture_size(camera: Camera) -> tuple[int, int]:
    """The (width, height) that all the cameras share, whole pixels."""
    sizes = camera.size.unique(dim=0)
    if len(sizes) != 1:
        raise ValueError(
            f"The pictures of a batch must have one size, got {sizes.tolist()}. Render them one after the other, "
            "or `resize` the cameras to one size."
        )
    width, height = sizes[0].tolist()
    if width != int(width) or height != int(height) or min(width, height) < 1:
        raise ValueError(f"A picture's size must be whole pixels, got {width} × {height}. `resize` the camera.")
    return int(width), int(height)


def label_faces(vertex_labels: Tensor, faces: Tensor) -> Tensor:
    """Labels of vertices (V,) -> of faces (F,): the label of most corners, the lowest where all differ."""
    low, middle, high = vertex_labels[faces].sort(1).values.unbind(1)
    return torch.where(middle == high, middle, low)


def check_labels(face_labels: Tensor, faces: Tensor) -> Tensor:
    """The labels as uint8.

    Raises:
        ValueError: they are not one per face, or not within 1..255 (0 is the background).
    """
    check_shape(face_labels, "F", "face_labels", {"F": len(faces)}, "`label_faces` makes them from vertices' labels.")
    if len(face_labels) and not (face_labels.min() > 0 and face_labels.max() <= 255):
        low, high = face_labels.min().item(), face_labels.max().item()
        raise ValueError(f"face_labels should lie in 1..255 (0 is the background), but go from {low} to {high}.")
    return face_labels.to(torch.uint8)


def paint_labels(face: Tensor, face_labels: Tensor) -> Tensor:
    """Face map (B, H, W), -1 the background, and uint8 labels (F,) -> part map (B, H, W)."""
    labels = torch.cat([face_labels, face_labels.new_zeros(1)]).to(face.device)
    return labels[face]

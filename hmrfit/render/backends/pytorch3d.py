"""pytorch3d behind the `Renderer` protocol: the only file that imports it.

Screen pixels become its normalised coordinates, x left and y up, the shorter side of the picture [-1, 1]:

    x = (W − 2 x_px) / min(W, H),    y = (H − 2 y_px) / min(W, H)

Its soft silhouettes blend a fixed number of the nearest faces at each pixel, the built-in ones all that are within
reach. On a small body these are hundreds: with pytorch3d's usual 50 a person has holes.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.ops.soft_raster import REACH, faces_in_reach
from hmrfit.render.rasteriser import RENDERERS, check_labels, paint_labels, picture_size, project, to_screen

BLUR_RADIUS = 1e-12
"""Squared distance in normalised coordinates. With 0 shared edges have holes (13 of 10,000 pixels of a square)."""

INSTALL = "https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md"


def _pytorch3d() -> ModuleType:
    try:
        import pytorch3d.renderer
        import pytorch3d.renderer.blending
        import pytorch3d.structures
    except ImportError as error:
        raise ImportError(
            "This renderer needs pytorch3d, which is not on PyPI: build or download it as its own page says, "
            f"{INSTALL}, or use `BuiltinRenderer`, which draws the same pixels and needs nothing."
        ) from error
    return pytorch3d


@RENDERERS.register("pytorch3d")
class Pytorch3dRenderer:
    """Silhouettes, part maps and depth by `pytorch3d.renderer.mesh.rasterize_meshes`, soft ones by its alpha blending.

    Args:
        faces_per_pixel: of soft silhouettes; None for as many as are within reach of a pixel. pytorch3d keeps 28 bytes
            of each at every pixel: give a number where pictures are large or soft.
    Raises:
        ImportError: pytorch3d is not installed.
    """

    def __init__(self, faces_per_pixel: int | None = None) -> None:
        self._pytorch3d, self.faces_per_pixel = _pytorch3d(), faces_per_pixel

    def silhouette(self, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """See `Renderer`."""
        return self._rasterize(vertices, faces, camera)[0] >= 0

    def parts(self, vertices: Tensor, faces: Tensor, camera: Camera, face_labels: Tensor) -> Tensor:
        """See `Renderer`."""
        return paint_labels(self._rasterize(vertices, faces, camera)[0], check_labels(face_labels, faces))

    def depth(self, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """See `Renderer`."""
        face, depth = self._rasterize(vertices, faces, camera)
        return torch.where(face >= 0, depth, torch.inf)

    def soft_silhouette(self, vertices: Tensor, faces: Tensor, camera: Camera, softness: float = 1.0) -> Tensor:
        """See `Renderer`; pytorch3d computes in float32, the result has the vertices' precision."""
        size = picture_size(camera)
        sigma = (2 * softness / min(size)) ** 2
        screen = project(vertices, camera)
        points = normalised(screen, size).float()
        meshes, _ = self._meshes(points, faces)
        most = self.faces_per_pixel or _most_in_reach(screen, faces, size, softness)
        found = self._pytorch3d.renderer.mesh.rasterize_meshes(
            meshes,
            size[::-1],
            blur_radius=sigma * REACH**2,
            faces_per_pixel=most,
            bin_size=0,
            clip_barycentric_coords=True,  # else faces seen edge-on are extrapolated behind the camera and vanish
        )
        fragments = self._pytorch3d.renderer.mesh.rasterizer.Fragments(*found)
        blend = self._pytorch3d.renderer.blending
        white = torch.ones(1, device=points.device).expand(*fragments.pix_to_face.shape, 3)
        picture = blend.sigmoid_alpha_blend(white, fragments, blend.BlendParams(sigma=sigma))
        return picture[..., 3].to(vertices)

    @torch.no_grad()
    def _rasterize(self, vertices: Tensor, faces: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """The nearest face at each pixel (B, H, W), -1 where there is none, and its depth."""
        size = picture_size(camera)
        meshes, rows = self._meshes(normalised(to_screen(vertices, camera), size).float(), faces)
        face, depth, _, _ = self._pytorch3d.renderer.mesh.rasterize_meshes(
            meshes, size[::-1], blur_radius=BLUR_RADIUS, faces_per_pixel=1, perspective_correct=True, bin_size=0
        )
        return rows[face[..., 0]], depth[..., 0]

    def _meshes(self, points: Tensor, faces: Tensor) -> tuple[Any, Tensor]:
        """pytorch3d's meshes of normalised points (B, V, 3), and the row of `faces` for each of its face numbers.

        Those numbers run on through the batch; the last row is for its -1, and is -1.
        """
        kept = [_drawn(faces, p) for p in points.detach()]
        rows = torch.cat([*kept, faces.new_tensor([-1])])
        return self._pytorch3d.structures.Meshes(list(points), [faces[k] for k in kept]), rows


def _most_in_reach(screen: Tensor, faces: Tensor, size: tuple[int, int], softness: float) -> int:
    """The most faces within reach of any pixel, and one more for float32's rounding."""
    counts = faces_in_reach(screen[..., :2], screen[..., 2], faces, size, softness, MIN_DEPTH)
    return int(counts.max()) + 1


def normalised(points: Tensor, size: tuple[int, int]) -> Tensor:
    """Screen points (B, V, 3) -> pytorch3d's normalised coordinates, z unchanged."""
    extent = points.new_tensor(size)
    return torch.cat([(extent - 2 * points[..., :2]) / min(size), points[..., 2:]], -1)


def _drawn(faces: Tensor, points: Tensor) -> Tensor:
    """Rows of the faces that lie beyond the near plane and are finite: the built-in renderer's rule."""
    corners = points[faces]
    return ((corners[..., 2] >= MIN_DEPTH).all(1) & corners.isfinite().flatten(1).all(1)).nonzero()[:, 0]

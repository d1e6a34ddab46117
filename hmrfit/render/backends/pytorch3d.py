"""pytorch3d behind the `Renderer` protocol: the only file that imports it.

Screen pixels become its normalised coordinates, x left and y up, a square picture [-1, 1]:

    x = (T − 2 (x_px − x_tile)) / T,    y = (T − 2 (y_px − y_tile)) / T

On a CPU it holds every face against every pixel, so it is given tiles of T pixels with the faces that meet each
(`hmrfit.render.tiles`): the same pixels, and a person of 14,000 faces in a hundredth of the time.

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
from hmrfit.render.tiles import TILE, Tiles

EDGE = 1e-4
"""Pixels by which a face is grown. With 0 shared edges have holes (13 of 10,000 pixels of a square)."""

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
        size, sigma = picture_size(camera), (2 * softness / TILE) ** 2
        screen = project(vertices, camera)
        tiles = Tiles.of(screen[..., :2], faces, _drawn(screen, faces), size, REACH * softness)
        if not len(tiles):
            return screen.new_zeros(len(screen), *size[::-1])
        found = self._pytorch3d.renderer.mesh.rasterize_meshes(
            self._meshes(screen, faces, tiles),
            TILE,
            blur_radius=sigma * REACH**2,
            faces_per_pixel=self.faces_per_pixel or _most_in_reach(screen, faces, size, softness),
            bin_size=0,
            clip_barycentric_coords=True,  # else faces seen edge-on are extrapolated behind the camera and vanish
        )
        fragments = self._pytorch3d.renderer.mesh.rasterizer.Fragments(*found)
        blend = self._pytorch3d.renderer.blending
        white = torch.ones(1, device=screen.device).expand(*fragments.pix_to_face.shape, 3)
        picture = blend.sigmoid_alpha_blend(white, fragments, blend.BlendParams(sigma=sigma))
        return tiles.together(picture[..., 3], 0.0).to(vertices)

    @torch.no_grad()
    def _rasterize(self, vertices: Tensor, faces: Tensor, camera: Camera) -> tuple[Tensor, Tensor]:
        """The nearest face at each pixel (B, H, W), -1 where there is none, and its depth."""
        size, screen = picture_size(camera), to_screen(vertices, camera)
        tiles = Tiles.of(screen[..., :2], faces, _drawn(screen, faces), size, EDGE)
        if not len(tiles):
            return faces.new_full((len(screen), *size[::-1]), -1), screen.new_zeros(len(screen), *size[::-1]).float()
        face, depth, _, _ = self._pytorch3d.renderer.mesh.rasterize_meshes(
            self._meshes(screen, faces, tiles),
            TILE,
            blur_radius=(2 * EDGE / TILE) ** 2,
            faces_per_pixel=1,
            perspective_correct=True,
            bin_size=0,
        )
        rows = torch.cat([tiles.face, faces.new_tensor([-1])])  # the last for its -1
        return tiles.together(rows[face[..., 0]], -1), tiles.together(depth[..., 0], 0.0)

    def _meshes(self, screen: Tensor, faces: Tensor, tiles: Tiles) -> Any:
        """Screen points (B, V, 3) as pytorch3d's meshes, one for each tile, whose faces have corners of their own. It
        numbers faces through all meshes, as the pairs of `tiles` are."""
        xy, depth = screen[tiles.picture[:, None], faces[tiles.face]].split([2, 1], -1)  # (P, 3, 2 and 1)
        corner = tiles.corners.repeat_interleave(tiles.counts, 0)[:, None]
        points = torch.cat([1 - 2 * (xy - corner) / TILE, depth], -1).float()
        counts = tiles.counts.tolist()
        own = torch.arange(3 * max(counts), device=faces.device).view(-1, 3)
        each = [part.flatten(0, 1) for part in points.split(counts)]
        return self._pytorch3d.structures.Meshes(each, [own[:n] for n in counts])


def _most_in_reach(screen: Tensor, faces: Tensor, size: tuple[int, int], softness: float) -> int:
    """The most faces within reach of any pixel, and one more for float32's rounding."""
    counts = faces_in_reach(screen[..., :2], screen[..., 2], faces, size, softness, MIN_DEPTH)
    return int(counts.max()) + 1


def _drawn(screen: Tensor, faces: Tensor) -> Tensor:
    """(B, F) bool, the faces that lie beyond the near plane and are finite: the built-in renderer's rule."""
    corners = screen.detach()[:, faces]
    return (corners[..., 2] >= MIN_DEPTH).all(-1) & corners.isfinite().flatten(2).all(-1)

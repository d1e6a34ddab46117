"""The built-in renderer: the z-buffer of `hmrfit.ops.raster`, on whatever device the vertices are."""

from torch import Tensor

from hmrfit.camera import MIN_DEPTH, Camera
from hmrfit.ops import raster
from hmrfit.ops.soft_raster import soft_silhouette
from hmrfit.render.rasteriser import RENDERERS, check_labels, paint_labels, picture_size, project, to_screen


@RENDERERS.register("builtin")
class BuiltinRenderer:
    """Needs no package beyond torch."""

    def silhouette(self, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """See `Renderer`."""
        return raster.silhouette(to_screen(vertices, camera), faces, picture_size(camera), near=MIN_DEPTH)

    def parts(self, vertices: Tensor, faces: Tensor, camera: Camera, face_labels: Tensor) -> Tensor:
        """See `Renderer`."""
        return paint_labels(self.fragments(vertices, faces, camera).face, check_labels(face_labels, faces))

    def depth(self, vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
        """See `Renderer`."""
        return self.fragments(vertices, faces, camera).depth

    def soft_silhouette(self, vertices: Tensor, faces: Tensor, camera: Camera, softness: float = 1.0) -> Tensor:
        """See `Renderer`."""
        points = project(vertices, camera)
        xy, depth = points[..., :2], points[..., 2]
        return soft_silhouette(xy, depth, faces, picture_size(camera), softness, near=MIN_DEPTH)

    def fragments(self, vertices: Tensor, faces: Tensor, camera: Camera) -> raster.Fragments:
        """Nearest face and depth at every pixel."""
        return raster.rasterize(to_screen(vertices, camera), faces, picture_size(camera), near=MIN_DEPTH)

"""What every body is: parameters in, joints, landmarks and vertices out."""

from typing import Protocol

from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.types import BodyOutput, BodyParams


class BodyModel(Protocol):
    """A parametric body with its names. Vertices and joints are metres in the frame `global_orient` turns into."""

    skeleton: Skeleton
    faces: Tensor  # (F, 3)
    landmark_names: tuple[str, ...]

    @property
    def shape_count(self) -> int: ...

    def __call__(self, params: BodyParams, vertices: bool = True) -> BodyOutput: ...

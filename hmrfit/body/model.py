"""What every body is: parameters in, joints, landmarks and vertices out."""

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor

from hmrfit.types import BodyOutput, BodyParams


class BodyModel(Protocol):
    """A parametric body with its names. Vertices and joints are metres in the frame `global_orient` turns into."""

    faces: Tensor  # (F, 3)
    parents: Sequence[int]
    joint_names: tuple[str, ...]
    landmark_names: tuple[str, ...]
    shape_count: int

    def __call__(self, params: BodyParams, vertices: bool = True) -> BodyOutput: ...

"""One recorded movement in SMPL's convention, whatever the file it came from."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import SMPL
from hmrfit.ops.check import to_float64
from hmrfit.ops.how_many import how_many

N_JOINTS = len(SMPL)
FRAME_BYTES = 3000
"""What a frame takes while it is made: its 24 rotations as vectors, and a few times as matrices for some of them."""

Z_UP_TO_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@dataclass(frozen=True)
class Motion:
    """A sequence of T poses.

    At zero orientation the person stands with y up, faces +z and has the left side at +x. Joints are in the order of
    `hmrfit.body.skeleton.SMPL`.
    """

    poses: NDArray[np.float64]
    """(T, 24, 3) rotation vectors, radians, local to the parent; `poses[:, 0]` is the global orientation."""
    transl: NDArray[np.float64]
    """(T, 3) position of the pelvis, metres (AMASS: `trans`, which leaves out the resting pelvis)."""
    fps: float
    driven: NDArray[np.bool_]
    """(T, 24) bool: the joints that the source really moves in that frame. The others are at rest (identity)."""
    name: str = ""
    label: str = ""
    subject: str = ""
    source: str = ""
    betas: NDArray[np.float64] | None = None
    """(S,) shape of the body where the file has one (AMASS), else None."""
    up: str = "y"
    """The axis of the world that points up: y, or z in AMASS's files."""

    def __post_init__(self) -> None:
        to_float64(self, "poses", "transl", "betas")
        n = len(self.poses)
        driven = np.asarray(self.driven, dtype=bool)
        if driven.shape == (N_JOINTS,):
            object.__setattr__(self, "driven", np.broadcast_to(driven, (n, N_JOINTS)))
        for field, shape in (("poses", (n, N_JOINTS, 3)), ("transl", (n, 3)), ("driven", (n, N_JOINTS))):
            got = np.shape(getattr(self, field))
            if got != shape:
                raise ValueError(
                    f"Motion '{self.name}': {field} has shape {got}, expected {shape} for {how_many(n, 'frames')}."
                )
        if n == 0:
            raise ValueError(f"Motion '{self.name}' has no frames.")
        if not (np.isfinite(self.poses).all() and np.isfinite(self.transl).all()):
            raise ValueError(f"Motion '{self.name}' holds NaN or infinite numbers: the file is damaged.")
        if not (np.isfinite(self.fps) and self.fps > 0):
            raise ValueError(f"Motion '{self.name}' has a frame rate of {self.fps}; expected frames per second > 0.")

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, frames: slice | NDArray[np.bool_] | NDArray[np.int64]) -> "Motion":
        """The chosen frames (a slice, a mask or indices). A slice with a step changes the rate with it."""
        step = abs(frames.step or 1) if isinstance(frames, slice) else 1
        return replace(
            self,
            poses=self.poses[frames],
            transl=self.transl[frames],
            driven=self.driven[frames],
            fps=self.fps / step,
        )

    def y_up(self) -> "Motion":
        """The same motion in a world with y up, turned about the x axis: (x, y, z) -> (x, z, -y)."""
        if self.up == "y":
            return self
        poses = self.poses.copy()
        poses[:, 0] = (Rotation.from_matrix(Z_UP_TO_Y_UP) * Rotation.from_rotvec(poses[:, 0])).as_rotvec()
        return replace(self, poses=poses, transl=self.transl @ Z_UP_TO_Y_UP.T, up="y")

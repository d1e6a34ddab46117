"""What of a batch's augmentation turns and mirrors the people, each row its own, and the way back.

    x' = Q x,  Q = M R_z(a)          about the camera's axis, M = diag(−1, 1, 1) where mirrored
    G' = Q G M,  R_j' = M R_mate(j) M,  t' = Q (J₀ + t) − J₀,  C' = Q C_mate(j) Qᵀ         without M where not mirrored

`augmentation.Change` says the same of one person, with the box, the colours and the occluder, which move nobody. A
mirrored turn is its own inverse, M R(a) M R(a) = 1, so the way back is another `Turns`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.skeleton import SMPL, Skeleton
from hmrfit.camera import Camera
from hmrfit.keypoints import flip_permutation
from hmrfit.ops.rotation import mirror
from hmrfit.types import BodyParams, Keypoints, TensorRecord


@dataclass(frozen=True)
class Turns(TensorRecord):
    """Of B people."""

    angle: Tensor  # (B,) radians, from x towards y
    flip: Tensor  # (B,) bool

    @classmethod
    def none(cls, count: int) -> "Turns":
        """Nobody is turned."""
        return cls(torch.zeros(count, dtype=torch.float64), torch.zeros(count, dtype=torch.bool))

    @property
    def inverse(self) -> "Turns":
        """The turns that undo these."""
        return Turns(torch.where(self.flip, self.angle, -self.angle), self.flip)

    def matrices(self, like: Tensor) -> Tensor:
        """Q (B, 3, 3)."""
        cos, sin, zero = self.angle.cos(), self.angle.sin(), torch.zeros_like(self.angle)
        sign = torch.where(self.flip, -1.0, 1.0)
        rows = [sign * cos, -sign * sin, zero, sin, cos, zero, zero, zero, zero + 1]
        return torch.stack(rows, -1).unflatten(-1, (3, 3)).to(like)

    def points(self, points: Tensor, names: Sequence[str]) -> Tensor:
        """Named points (B, K, 2) about the camera's axis, or (B, K, 3) in the camera's frame."""
        D = points.shape[-1]
        return self.names(points @ self.matrices(points)[:, :D, :D].mT, names)

    def names(self, values: Tensor, names: Sequence[str]) -> Tensor:
        """Values (B, K, ...) of named points, left and right exchanged where mirrored."""
        return self._exchanged(values, flip_permutation(names))

    def vectors(self, vectors: Tensor) -> Tensor:
        """(B, 3) in the camera's frame, or (B, 2) across it."""
        D = vectors.shape[-1]
        return (self.matrices(vectors)[:, :D, :D] @ vectors[..., None]).squeeze(-1)

    def params(self, params: BodyParams, root: Tensor, skeleton: Skeleton = SMPL) -> BodyParams:
        """The people as they are then seen. Betas stay: bodies are symmetric.

        Args:
            root: (B, 3) J₀, the pelvis of the resting body.
        """
        Q = self.matrices(params.transl)
        orient, pose = Q @ params.global_orient, params.body_pose
        order = torch.tensor(skeleton.mirror, device=pose.device)[1:] - 1
        M = torch.tensor([-1.0, 1.0, 1.0]).to(pose)
        flip = self.flip[:, None, None]
        orient = torch.where(flip, orient * M, orient)
        pose = torch.where(flip[..., None], mirror(pose[:, order]), pose)
        transl = (Q @ (root + params.transl)[..., None]).squeeze(-1) - root
        return BodyParams(orient, pose, params.betas, transl)

    def joints(self, values: Tensor, skeleton: Skeleton = SMPL) -> Tensor:
        """Values (B, J, ...) of joints, left and right exchanged where mirrored."""
        return self._exchanged(values, skeleton.mirror)

    def covariances(self, covariance: Tensor, skeleton: Skeleton = SMPL) -> Tensor:
        """(B, J, 3, 3) of the joints' turns about the camera's axes, or of their places."""
        Q = self.matrices(covariance)[:, None]
        return Q @ self.joints(covariance, skeleton) @ Q.mT

    def _exchanged(self, values: Tensor, order: Sequence[int]) -> Tensor:
        other = values.index_select(1, torch.tensor(list(order), device=values.device))
        return torch.where(self.flip.view(-1, *[1] * (values.ndim - 1)), other, values)


@dataclass(frozen=True)
class Seen(TensorRecord):
    """What a loop is told of B people of a batch: the full image as it is, and how the network was shown it."""

    row: Tensor  # (B,) int64, whose place it is in the loop's keys
    keypoints: Keypoints  # float64, pixels of the full image
    camera: Camera  # of the full image
    turns: Turns  # what the augmentation did
    truth: BodyParams  # not augmented; only rows of has_truth are read
    has_truth: Tensor  # (B,) bool

    def __len__(self) -> int:
        return len(self.row)

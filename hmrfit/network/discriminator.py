"""The factorized discriminators of HMR (Kanazawa et al., CVPR 2018, section 3.3): K + 2 = 25 numbers a person.

    h_j = relu(A₂ relu(A₁ vec R_j))        9 -> 32 -> 32, the same A for all 23 joints, vec R row by row
    D_j = w_j · h_j + b_j                  one joint's angle, j = 1 … 23
    D_24 = MLP(h_1, …, h_23)               all joints together, 23·32 -> 1024 -> 1024 -> 1
    D_25 = MLP(β)                          the shape, 10 -> 10 -> 5 -> 1

Near 1 for a pose of real people, near 0 for the network's (least squares, no sigmoid). The global orientation is
left out. The matrices go in as they are, not minus the identity.
"""

from itertools import pairwise
from typing import TypedDict

import torch
from torch import Tensor, nn

from hmrfit.body.skeleton import SMPL
from hmrfit.ops.check import check_shape


class DiscriminatorSettings(TypedDict):
    """What builds discriminators of the same shape."""

    joints: int
    betas: int
    width: int
    hidden: int


class FactorizedDiscriminator(nn.Module):
    """Rotations (B, J-1, 3, 3) and betas (B, S) -> (B, J+1): one per joint, all joints, shape, in this order."""

    def __init__(self, joints: int = len(SMPL), betas: int = 10, width: int = 32, hidden: int = 1024) -> None:
        """joints: J, the root included."""
        super().__init__()
        self.joints, self.betas, self.width, self.hidden = joints, betas, width, hidden
        self.each = nn.Sequential(nn.Linear(9, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.joint_weight = nn.Parameter(torch.empty(joints - 1, width))
        self.joint_bias = nn.Parameter(torch.zeros(joints - 1))
        self.all_joints = _mlp((joints - 1) * width, hidden, hidden, 1)
        self.shape = _mlp(betas, 10, 5, 1)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        nn.init.uniform_(self.joint_weight, -1.0, 1.0)
        with torch.no_grad():
            self.joint_weight.mul_((6 / (width + 1)) ** 0.5)  # xavier of J-1 separate layers width -> 1

    def forward(self, body_pose: Tensor, betas: Tensor) -> Tensor:
        """
        Args:
            body_pose: (B, J-1, 3, 3) rotation matrices, without the global orientation. betas: (B, S).
        """
        sizes = check_shape(body_pose, f"B {self.joints - 1} 3 3", "body_pose", hint="Leave the root out.")
        check_shape(betas, f"B {self.betas}", "betas", sizes)
        features = self.each(body_pose.flatten(-2))
        of_joints = (features * self.joint_weight).sum(-1) + self.joint_bias
        return torch.cat([of_joints, self.all_joints(features.flatten(1)), self.shape(betas)], -1)

    def settings(self) -> DiscriminatorSettings:
        """What the constructor takes."""
        return {"joints": self.joints, "betas": self.betas, "width": self.width, "hidden": self.hidden}


def _mlp(*sizes: int) -> nn.Sequential:
    """Linear layers with ReLU between them."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])

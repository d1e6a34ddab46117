"""The discriminators that trained HMR, as a prior in residual form.

    E = ½ Σ_i r_i²,   r_i = D_i(Θ) − 1         the encoder's own loss of the least-squares GAN (Kanazawa et al., 2018)

25 residuals a person: 23 joints, all joints together, the shape. D_j of one joint depends on its nine numbers alone and
is written out; with h_j its features, m₁ m₂ m'₁ m'₂ the units that a ReLU lets through, row vectors throughout,

    ∂D_j/∂R_j   = (w_j ⊙ m₂) A₂ ⊙ m₁ A₁
    ∂D_24/∂h    = (w₃ ⊙ m'₂) W₂ ⊙ m'₁ W₁       one backward pass a person, then as above from h_j to R_j

D is made of ReLUs: its residuals are piecewise linear in the matrices and have no curvature of their own.
"""

from copy import copy
from os import PathLike

import torch
from torch import Tensor, nn

from hmrfit.body.skeleton import SMPL, Skeleton
from hmrfit.network.checkpoints import load_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.ops.check import check_shape
from hmrfit.ops.how_many import how_many


class DiscriminatorPrior:
    """Trained discriminators, never changed again, ready to be evaluated. Inputs matrices (B, J-1, 3, 3), betas (B, S).

    Weights of any precision are taken up into `dtype`; the fit computes in float64.
    """

    def __init__(self, discriminator: FactorizedDiscriminator, dtype: torch.dtype = torch.float64) -> None:
        network = FactorizedDiscriminator(**discriminator.settings())
        network.load_state_dict(discriminator.state_dict())
        self.network = network.to(next(discriminator.parameters()).device, dtype).eval().requires_grad_(False)
        self.shared: int | None = None  # how many of a body's joints it looks at, the first ones; None: at all
        self.joints = network.joints - 1  # of the body, without the root

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> "DiscriminatorPrior":
        """From an npz that `hmrfit.network.checkpoints.save_network` wrote; its errors, and

        Raises:
            ValueError: the file holds another network.
        """
        network = load_network(path)
        if not isinstance(network, FactorizedDiscriminator):
            raise ValueError(
                f"'{path}' holds {type(network).__name__}, not discriminators. Save them with "
                "save_network(path, discriminator)."
            )
        return cls(network)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "DiscriminatorPrior":
        """The same prior elsewhere or in another precision."""
        here = next(self.network.parameters())
        moved = DiscriminatorPrior(self.network, dtype or here.dtype)
        moved.network.to(device or here.device)
        moved.shared, moved.joints = self.shared, self.joints
        return moved

    def for_skeleton(self, skeleton: Skeleton) -> "DiscriminatorPrior":
        """The same prior of the pose of a body with more joints: it looks at those shared with SMPL, and takes SMPL's
        hands, which such a body lacks, as at rest.

        Raises:
            ValueError: the discriminators are about other joints than this body's.
        """
        own = len(skeleton) - 1
        if self.network.joints - 1 == own:
            return self
        shared = skeleton.shared_with(SMPL.names)
        if self.network.joints != len(SMPL) or not shared or shared != skeleton.names[1 : 1 + len(shared)]:
            raise ValueError(
                f"The discriminators are about {how_many(self.network.joints, 'joints')}, the root among them; this "
                "body has "
                f"{len(skeleton)}. Train them for it, or leave their term out."
            )
        other = copy(self)
        other.shared, other.joints = len(shared), own
        return other

    def _seen(self, body_pose: Tensor) -> Tensor:
        """The joints that the network looks at (B, J-1, 3, 3)."""
        if self.shared is None:
            return body_pose
        rest = torch.eye(3).to(body_pose).expand(len(body_pose), self.network.joints - 1 - self.shared, 3, 3)
        return torch.cat([body_pose[:, : self.shared], rest], 1)

    def _of_body(self, derivative: Tensor) -> Tensor:
        """A derivative by the network's joints as one by the body's, 0 for those that it does not look at."""
        if self.shared is None:
            return derivative
        whole = derivative.new_zeros(len(derivative), self.joints, 3, 3)
        whole[:, : self.shared] = derivative[:, : self.shared]
        return whole

    def residuals(self, body_pose: Tensor, betas: Tensor) -> Tensor:
        """r (B, J+1): the network's joints in their order, all joints, the shape."""
        return self.network(self._seen(body_pose), betas) - 1

    def derivatives(self, body_pose: Tensor, betas: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The residuals, and how they change with their inputs.

        Returns:
            r (B, J+1); ∂D_j/∂R_j (B, J-1, 3, 3), each joint's own output by its own matrix; ∂D_all/∂R (B, J-1, 3, 3);
            ∂D_shape/∂β (B, S). All other derivatives are zero.
        """
        net, body_pose = self.network, self._seen(body_pose)
        sizes = check_shape(body_pose, f"B {net.joints - 1} 3 3", "body_pose", hint="Leave the root out.")
        check_shape(betas, f"B {net.betas}", "betas", sizes, hint="The discriminators know bodies of that many betas.")
        first, features = _activations(net.each, body_pose.flatten(-2))
        each = (features * net.joint_weight).sum(-1) + net.joint_bias
        together, of_features = _value_and_gradient(net.all_joints, features.flatten(1))
        shape, of_betas = _value_and_gradient(net.shape, betas)
        covectors = torch.stack([net.joint_weight.expand_as(features), of_features.view_as(features)])
        A1, A2 = (layer.weight for layer in net.each if isinstance(layer, nn.Linear))
        inner = (covectors * (features > 0)) @ A2 * (first > 0)
        of_joints, of_all = (inner @ A1).unflatten(-1, (3, 3))
        residuals = torch.cat([each, together, shape], -1) - 1
        return residuals, self._of_body(of_joints), self._of_body(of_all), of_betas


def _activations(mlp: nn.Sequential, x: Tensor) -> tuple[Tensor, ...]:
    """What comes out of each ReLU of linear layers with ReLUs after them."""
    outputs = []
    for layer in mlp:
        x = layer(x)
        if isinstance(layer, nn.ReLU):
            outputs.append(x)
    return tuple(outputs)


def _value_and_gradient(mlp: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    """A perceptron with one output: its value (B, 1) and the gradient (B, n) by reverse mode."""
    active = _activations(mlp, x)
    linear = [layer for layer in mlp if isinstance(layer, nn.Linear)]
    gradient = linear[-1].weight
    for layer, out in zip(reversed(linear[:-1]), reversed(active), strict=True):
        gradient = (gradient * (out > 0)) @ layer.weight
    return linear[-1](active[-1]), gradient

"""Fully connected layers whose weights are laid out once as the processor multiplies them.

    y = W x + b        the same numbers; for a few rows in half the time, the weights being most of the work

oneDNN, which torch brings on CPUs, adds up each row in the same order however many rows there are (compared to the bit
from 1 to 1,024 rows): what is said of one person does not depend on the others. Where torch has no such layer (no
oneDNN, a GPU, another torch), everything stays as it is.
"""

from copy import deepcopy

import torch
from torch import Tensor, nn

from hmrfit.network.regressor import IterativeRegressor

ROWS = 4
"""How many rows the layout is made for; any number may come."""


class PackedLinear(nn.Module):
    """A layer for inference on the CPU."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), ROWS)
        self._bias = None if bias is None else bias.detach().clone()

    def forward(self, x: Tensor) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, "none", [], "")


class PackedRegressor(nn.Module):
    """`IterativeRegressor` in evaluation, from its mean."""

    def __init__(self, regressor: IterativeRegressor) -> None:
        super().__init__()
        weight, features = regressor.fc1.weight, regressor.features
        self.layout, self.features, self.iterations = regressor.layout, features, regressor.iterations
        self.activation, self.mean = regressor.activation, regressor.mean.detach().clone()
        self.from_features = PackedLinear(weight[:, :features], regressor.fc1.bias)
        self.from_theta = PackedLinear(weight[:, features:])
        self.fc2, self.fc3 = (PackedLinear(layer.weight, layer.bias) for layer in (regressor.fc2, regressor.fc3))

    def forward(self, phi: Tensor) -> list[Tensor]:
        """φ (B, features) -> Θ of every iteration."""
        theta, first, thetas = self.mean.expand(len(phi), -1), self.from_features(phi), []
        for _ in range(self.iterations):
            hidden = self.fc2(self._between(first + self.from_theta(theta)))
            theta = theta + self.fc3(self._between(hidden))
            thetas.append(theta)
        return thetas

    def _between(self, hidden: Tensor) -> Tensor:
        return torch.relu(hidden) if self.activation else hidden


def can_pack() -> bool:
    """Whether this torch has such layers on the CPU."""
    try:
        PackedLinear(torch.ones(2, 2))(torch.ones(1, 2))
    except (AttributeError, RuntimeError):
        return False
    return True


def packed(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode with every fully connected layer, and the regressor, laid out; itself where it cannot.

    Args:
        module: on the CPU, in float32; stays as it is.
    """
    module = deepcopy(module).eval().requires_grad_(False)
    if can_pack():
        _pack(module)
    return module


def _pack(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, IterativeRegressor):
            setattr(module, name, PackedRegressor(child))
        elif isinstance(child, nn.Linear):
            setattr(module, name, PackedLinear(child.weight, child.bias))
        else:
            _pack(child)

"""The iterative regressor with feedback (Kanazawa et al., CVPR 2018, section 3.2).

    Θ_{t+1} = Θ_t + W₃ d(a(W₂ d(a(W₁ [φ, Θ_t]))))        t = 0, 1, 2, the same W each time, Θ_0 the mean

d is dropout; a is a ReLU in HMR and nothing at all in SPIN (`activation`). W₁φ does not change with t: it is computed
once, which spares two thirds of the widest product.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmrfit.network.theta import ThetaLayout
from hmrfit.ops.check import check_shape

LAST_LAYER_GAIN = 0.01
"""Xavier gain of W₃: the first ΔΘ are small, so training starts at the mean person (HMR and SPIN both)."""


class IterativeRegressor(nn.Module):
    """φ (B, features) -> Θ₁, Θ₂, Θ₃, each (B, layout.size)."""

    mean: Tensor

    def __init__(
        self,
        features: int,
        layout: ThetaLayout | None = None,
        mean: Tensor | None = None,
        hidden: int = 1024,
        dropout: float = 0.5,
        activation: bool = True,
        iterations: int = 3,
        learn_mean: bool = False,
    ) -> None:
        """
        Args:
            mean: (layout.size,) Θ_0; None for `layout.mean()`.
            activation: a ReLU after W₁ and W₂ as in HMR; False for SPIN's head.
            learn_mean: Θ_0 is trained with the rest, as in HMR.
        """
        super().__init__()
        self.layout = layout or ThetaLayout()
        mean = self.layout.mean() if mean is None else mean.detach().clone()
        check_shape(mean, str(self.layout.size), "mean", hint=f"It should be a Θ in the form '{self.layout.form}'.")
        self.features, self.hidden, self.activation, self.iterations = features, hidden, activation, iterations
        if learn_mean:
            self.mean = nn.Parameter(mean)
        else:
            self.register_buffer("mean", mean)
        self.fc1 = nn.Linear(features + self.layout.size, hidden)
        self.fc2 = nn.Linear(hidden, hidden)
        self.fc3 = nn.Linear(hidden, self.layout.size)
        self.dropout = nn.Dropout(dropout)
        nn.init.xavier_uniform_(self.fc3.weight, gain=LAST_LAYER_GAIN)
        nn.init.zeros_(self.fc3.bias)

    def forward(self, phi: Tensor, start: Tensor | None = None) -> list[Tensor]:
        """
        Args:
            phi: (B, features). start: (B, layout.size), another Θ_0 than the mean.
        """
        theta = self.mean.expand(len(phi), -1) if start is None else start
        from_features = F.linear(phi, self.fc1.weight[:, : self.features], self.fc1.bias)
        thetas = []
        for _ in range(self.iterations):
            theta = theta + self._step(from_features, theta)
            thetas.append(theta)
        return thetas

    def _step(self, from_features: Tensor, theta: Tensor) -> Tensor:
        """ΔΘ (B, layout.size)."""
        hidden = from_features + F.linear(theta, self.fc1.weight[:, self.features :])
        hidden = self.fc2(self._between(hidden))
        return self.fc3(self._between(hidden))

    def _between(self, hidden: Tensor) -> Tensor:
        return self.dropout(torch.relu(hidden) if self.activation else hidden)

    def settings(self) -> dict[str, Any]:
        """What `from_settings` needs to build the same network, without its numbers."""
        return {
            "features": self.features,
            "form": self.layout.form,
            "joints": self.layout.joints,
            "betas": self.layout.betas,
            "hidden": self.hidden,
            "dropout": self.dropout.p,
            "activation": self.activation,
            "iterations": self.iterations,
            "learn_mean": isinstance(self.mean, nn.Parameter),
        }

    @classmethod
    def from_settings(cls, form: str, joints: int, betas: int, **settings: Any) -> "IterativeRegressor":
        """A network of the same shape, its weights still random."""
        return cls(layout=ThetaLayout(form, joints, betas), **settings)

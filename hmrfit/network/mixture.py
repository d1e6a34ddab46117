"""Several initial estimates of one person: a mixture over bodies, by the keypoint HMR's features and a regressor.

    p(Θ | x) = Σ_k w_k N(Θ_k, Σ_k)
    Θ_k = regressor(φ + A_k(φ)),   k = 1 .. K,        Θ_0 the initial estimate itself
    (Σ_k, σ_k, ℓ_k) = error model(φ, Θ_k, residuals),        w = softmax ℓ

φ are the features of `hmrfit.network.initial_estimate`, the regressor is HMR's with feedback, the error model that of
`hmrfit.network.error_model` with one number more. A limb that points towards the camera looks like one that points
away from it: Θ_0 is the mean of what is likely, the Θ_k are what it is the mean of.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hmrfit.camera import Camera
from hmrfit.network.encoders import EncodedKeypoints, normalise_keypoints
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.hmr import in_full_image
from hmrfit.network.inference import pad_rows
from hmrfit.network.mirror import mirrored_regression
from hmrfit.network.regressor import IterativeRegressor, ThetaLayout
from hmrfit.types import Keypoints, Regression, TensorRecord


class MixtureModel(nn.Module):
    """A_k, the regressor and the error model of the components. No batch statistics: people stay independent of their
    batch."""

    kind = "mixture"

    def __init__(self, regressor: IterativeRegressor, errors: ErrorModel, count: int = 4, hidden: int = 256) -> None:
        """
        Args:
            count: K. hidden: width of A. errors: one that predicts weights.
        """
        super().__init__()
        if errors.log_weight is None:
            raise ValueError("The error model of a mixture predicts weights: ErrorModel(..., weighted=True).")
        self.count, self.hidden, self.features = count, hidden, regressor.features
        self.narrow, self.wide = nn.Linear(self.features, hidden), nn.Linear(hidden, count * self.features)
        self.regressor, self.errors = regressor, errors

    def settings(self) -> dict[str, Any]:
        """What builds a mixture of the same shape."""
        return {
            "regressor": self.regressor.settings(),
            "errors": self.errors.settings(),
            "count": self.count,
            "hidden": self.hidden,
        }

    @classmethod
    def from_settings(
        cls, regressor: dict[str, Any], errors: dict[str, Any], count: int, hidden: int
    ) -> "MixtureModel":
        """A mixture of the same shape, its weights still random."""
        return cls(IterativeRegressor.from_settings(**regressor), ErrorModel(**errors), count, hidden)

    def components(self, phi: Tensor) -> Tensor:
        """φ (B, features) -> Θ (B, K, layout.size) of the components."""
        each = phi[:, None] + self.wide(F.gelu(self.narrow(phi))).unflatten(1, (self.count, self.features))
        return self.regressor(each.flatten(0, 1))[-1].unflatten(0, (len(phi), self.count))

    @property
    def layout(self) -> ThetaLayout:
        """Of Θ."""
        return self.regressor.layout

    @property
    def mean(self) -> Tensor:
        """The Θ that the regressor starts from."""
        return self.regressor.mean


@dataclass(frozen=True)
class Components(TensorRecord):
    """R components of B people's mixtures, person by person, the initial estimate of each first."""

    estimate: Regression
    encoded: EncodedKeypoints
    person: Tensor  # (R,) whose each is, ascending
    first: Tensor  # (R,) bool, the initial estimate itself

    def __len__(self) -> int:
        return len(self.person)


def components_of(
    model: MixtureModel, keypoints: Keypoints, camera: Camera, estimate: Regression, encoded: EncodedKeypoints
) -> Components:
    """The initial estimates of B people, and the components of their mixtures.

    Where the initial estimate is averaged with the mirror image's, the components for the mirror image are there too,
    mirrored: 2 K + 1 a person, else K + 1.

    Args:
        estimate, encoded: what `KeypointHmr.forward` returns for the keypoints and the camera.
    """
    B, K = len(keypoints), model.count
    regression = _regressed(model, encoded.phi, estimate.weak_camera)
    if encoded.mirrored_phi is not None:
        mirror_image = mirrored_regression(_regressed(model, encoded.mirrored_phi, estimate.weak_camera))
        regression = Regression.cat([regression, mirror_image])
    person = torch.arange(B, device=encoded.phi.device)
    each = person.repeat_interleave(K).repeat(len(regression) // max(B * K, 1))
    _, center, side = normalise_keypoints(keypoints)
    placed = in_full_image(regression, center[each], side[each], camera[each])
    found = Regression.cat([estimate, Regression(placed, regression.weak_camera)])
    everyone = torch.cat([person, each])
    order = everyone.argsort(stable=True)
    everyone = everyone[order]
    return Components(found[order], encoded[everyone], everyone, order < B)


def _regressed(model: MixtureModel, phi: Tensor, like: Tensor) -> Regression:
    """The K components of each of B people, person by person."""
    padded = pad_rows(phi.to(model.mean), model)
    return model.layout.regression(model.components(padded)[: len(phi)].flatten(0, 1).to(like))

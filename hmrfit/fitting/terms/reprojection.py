"""The keypoints against the image: Student's t with a noise for each keypoint, and Geman-McClure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.camera import MIN_DEPTH
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.ops.robust import damping

Array = NDArray[np.float64]


@dataclass
class StudentReprojection(Term):
    """Keypoints against the image, each with a noise of its own; Student's t in place of a Gaussian.

    e_k = Pi(X_k) - x_k,  z = |e|²/(sigma_k box)²;   cost 1/2 q c rho,  rho = nu log(1 + z/nu)
    as residuals r = sqrt(q c rho) u, u = e/|e|,   dr = sqrt(q c)/(sigma_k box) (g (I - u u^T) + (rho'/g) u u^T) de,
    g = sqrt(rho/z),  rho' = 1/(1 + z/nu),  q how far the keypoint is looked at (`ops.presence`).  nu = inf is the
    Gaussian; without `observation.noise`, sigma_k is `sigma`.
    """

    sigma: float = 0.012
    nu: float = 30.0
    name: str = "keypoints"
    points_only: ClassVar[bool] = True

    def _parts(self, e: Linearization) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Whitened errors (B, K, 2), their unit, g, rho' and sqrt(q c) (B, K, 1)."""
        seen, box = e.observation.keypoints, e.observation.box_size[:, None]
        sigma = self.sigma if e.observation.noise is None else e.observation.noise
        unit = 1 / (sigma * box).expand_as(seen.confidence)[..., None]
        white, root = (e.projected - seen.xy) * unit, e.observation.weights.sqrt()[..., None]
        if self.nu == torch.inf:
            return white, unit, *2 * (torch.ones_like(white[..., :1]),), root
        z = white.square().sum(-1, keepdim=True) / self.nu
        small = z < 1e-8
        safe = torch.where(small, 1.0, z)  # a root of 0 has no gradient, whatever is chosen afterwards
        g = torch.where(small, 1 - 0.25 * z, (torch.log1p(safe) / safe).sqrt())
        return white, unit, g, 1 / (1 + z), root

    def residuals(self, e: Linearization) -> Tensor:
        white, _, g, _, root = self._parts(e)
        return (root * g * white).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        return self._rows(e, *self._parts(e))

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        white, unit, g, slope, root = self._parts(e)
        sums.add_rows((root * g * white).flatten(1), self._rows(e, white, unit, g, slope, root), weight)

    def _rows(self, e: Linearization, white: Tensor, unit: Tensor, g: Tensor, slope: Tensor, root: Tensor) -> Tensor:
        projection = e.state.camera.project_jacobian(e.posed.points)
        along = white[..., None] * (white[..., None, :] @ projection)  # |white|² u u^T dPi
        square = white.square().sum(-1, keepdim=True).clamp_min(1e-12)
        radial = (slope / g - g) / square
        return e.point_rows((root * unit)[..., None] * (g[..., None] * projection + radial[..., None] * along))

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        sigma = self.sigma if observation.noise is None else observation.noise[row].numpy()
        root = np.sqrt(observation.weights[row].numpy())
        return _NumpyReprojection(observation, row, sigma, root, self._slopes)

    def _slopes(self, square: Array) -> tuple[Array, Array]:
        """(g, (rho'/g − g)/|white|²) from |white|² (K,)."""
        if self.nu == np.inf:
            return np.ones_like(square), np.zeros_like(square)
        z = square / self.nu
        small = z < 1e-8
        safe = np.where(small, 1.0, z)
        g = np.where(small, 1 - 0.25 * z, np.sqrt(np.log1p(safe) / safe))
        return g, (1 / (g * (1 + z)) - g) / np.maximum(square, 1e-12)


@dataclass
class Reprojection(Term):
    """Keypoints against the image, robust, relative to the person's size.

    e_k = Pi(X_k) - x_k,  z = |e|²/sigma_k²,  sigma_k = `sigma` · n_k · box;  cost 1/2 c² z/(1+z)   (Geman-McClure)
    as residuals r = c e / (sigma sqrt(1+z)),  dr = c/(sigma sqrt(1+z)) (I - e e^T / (sigma² (1+z))) de.

    n_k is 1, or `observation.noise_ratio`. The cost of one keypoint is bounded by 1/2 c² times the stage's weight,
    however wrong it is.
    """

    sigma: float = 0.04
    name: str = "reprojection"
    points_only: ClassVar[bool] = True

    def _parts(self, e: Linearization) -> tuple[Tensor, Tensor, Tensor]:
        keypoints = e.observation.keypoints
        error = (e.projected - keypoints.xy) / self._unit(e.observation)
        damp = damping(error)
        return error, damp, keypoints.confidence[..., None]

    def residuals(self, e: Linearization) -> Tensor:
        error, damp, confidence = self._parts(e)
        return (confidence * damp * error).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        return self._rows(e, *self._parts(e))

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        error, damp, confidence = self._parts(e)
        sums.add_rows((confidence * damp * error).flatten(1), self._rows(e, error, damp, confidence), weight)

    def _rows(self, e: Linearization, error: Tensor, damp: Tensor, confidence: Tensor) -> Tensor:
        unit = error * damp
        projection = e.state.camera.project_jacobian(e.posed.points)
        robust = projection - unit[..., None] * (unit[..., None, :] @ projection)  # (I - u u^T) dPi/dX
        scale = confidence * damp / self._unit(e.observation)
        return e.point_rows(scale[..., None] * robust)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        confidence, ratio = observation.keypoints.confidence[row].numpy(), observation.noise_ratio
        sigma = self.sigma if ratio is None else self.sigma * ratio[row].numpy()
        return _NumpyReprojection(observation, row, sigma, confidence, _damped)

    def _unit(self, observation: Observation) -> Tensor:
        """sigma_k in pixels, (B, 1, 1) or (B, K, 1)."""
        unit, ratio = self.sigma * observation.box_size[:, None, None], observation.noise_ratio
        return unit if ratio is None else unit * ratio[..., None]


def _damped(square: Array) -> tuple[Array, Array]:
    """(d, −d³), d = (1 + z)^(-1/2) from z (K,)."""
    damp = 1 / np.sqrt(1 + square)
    return damp, -(damp**3)


class _NumpyReprojection:
    """r = root g white,  white = (Pi(X) − x)/(sigma box),   dr = root (g I + h white whiteᵀ) dwhite

    for one person, with (g, h) a function of |white|² (K,).
    """

    def __init__(
        self,
        observation: Observation,
        row: int,
        sigma: float | Array,
        root: Array,
        slopes: Callable[[Array], tuple[Array, Array]],
    ) -> None:
        self.xy, self.root, self.slopes = observation.keypoints.xy[row].numpy(), root, slopes
        self.unit = np.broadcast_to(1 / (sigma * float(observation.box_size[row])), root.shape)

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        xy, z = e.posed.points[:, :2], e.posed.points[:, 2:]
        depth = np.maximum(z, MIN_DEPTH)
        scale = e.problem.focal / depth
        slope = -scale * xy / depth * (z > MIN_DEPTH)
        white = (scale * xy + e.problem.center - self.xy) * self.unit[:, None]
        square = (white * white).sum(1)
        g, h = self.slopes(square)
        if sums.cost_only:
            sums.cost += weight * (0.5 * float((self.root * g) ** 2 @ square))
            return
        pulled = np.empty((len(z), 3))  # white · dPi
        pulled[:, :2], pulled[:, 2] = white * scale, (white * slope).sum(1)
        unit = self.unit * self.root
        a = white[:, :, None] * ((unit * h)[:, None] * pulled)[:, None]
        ours = (unit * g)[:, None]
        a[:, :, 2] += ours * slope
        a.reshape(-1, 6)[:, ::4] += ours * scale
        sums.of_points.append((((self.root * g)[:, None] * white).ravel(), a, weight))

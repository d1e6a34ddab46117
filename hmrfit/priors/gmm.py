"""The pose prior of SMPLify in residual form: a mixture of K Gaussians over theta = log R of the body joints.

    E(theta) = min_k  1/2 (theta - mu_k)^T Lambda_k (theta - mu_k) + a_k,    a_k = -log w_k + 1/2 log|Sigma_k| - least
             = 1/2 |r|²,     r = [ L_k^T (theta - mu_k), sqrt(2 a_k) ]  of the likeliest k,     Lambda = L L^T

(Bogo et al., ECCV 2016, eq. 4, with the constants kept, so that the choice between components is the right one.)
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.io.bounded import read_fields
from hmrfit.io.budget import check_bytes
from hmrfit.keypoints import mirrored_name
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.ops.how_many import how_many
from hmrfit.priors.joints import joints_in_file, shared_joints

MOST_COLUMNS = 1000
"""Of θ: three for each joint. Inverting larger covariances takes minutes."""


class PoseGmm:
    """The mixture, ready to be evaluated. Inputs theta (B, 3 (J-1)), radians: all joints of a body but the root.

    The mixture is about D numbers of them: all, unless `for_skeleton` made it for a body with more joints than it knows
    of. `columns` says which they are.
    """

    columns: Tensor | None = None  # (D,) of theta, ascending; None: theta has no others

    def __init__(self, means: Tensor, covariances: Tensor, weights: Tensor, joint_names: Sequence[str] = ()) -> None:
        """means (K, D), covariances (K, D, D) positive definite, weights (K,) positive; float64.

        joint_names: of the D/3 joints, where they are known; `for_skeleton` needs them.
        """
        self.joint_names = tuple(joint_names)
        self.means, self.covariances, self.weights = means, covariances, weights / weights.sum()
        self.precisions = torch.linalg.inv(covariances)
        self.precisions = 0.5 * (self.precisions + self.precisions.mT)
        self.factors = torch.linalg.cholesky(self.precisions)  # L, lower
        log_constant = -self.weights.log() + 0.5 * torch.linalg.slogdet(covariances)[1]
        self.least = log_constant.min()
        self.constants = log_constant - self.least  # a_k >= 0
        self.stacked = self.factors.permute(1, 0, 2).flatten(1)  # (D, K D): theta @ stacked = all L_k^T theta
        self.shift = torch.einsum("kd,kde->ke", means, self.factors).flatten()

    @classmethod
    def from_file(cls, path: str | Path) -> "PoseGmm":
        """From an npz with means (K, D), covariances (K, D, D), weights (K,) and, optionally, joint_names (D/3,).

        Raises:
            ValueError: another shape, NaN, weights that are not positive, covariances that are not positive definite.
        """
        names = ("means", "covariances", "weights")
        arrays = dict(zip(names, map(torch.as_tensor, read_fields(path, names)), strict=True))
        sizes = check_shape(arrays["means"], "K D", f"{path}: means")
        check_shape(arrays["covariances"], "K D D", f"{path}: covariances", sizes)
        check_shape(arrays["weights"], "K", f"{path}: weights", sizes)
        if not sizes["K"] or not 0 < sizes["D"] <= MOST_COLUMNS:
            raise ValueError(f"{path}: a mixture over {how_many(sizes['D'], 'numbers')}; expected 1 to {MOST_COLUMNS}.")
        check_bytes(7 * 8 * sizes["K"] * sizes["D"] ** 2, f"'{path}'")
        arrays = {name: value.double() for name, value in arrays.items()}
        for name, value in arrays.items():
            check_finite(value.numpy(), name)
        if not (arrays["weights"] > 0).all():
            raise ValueError(f"{path}: expected positive weights of the mixture, got {arrays['weights'].tolist()}.")
        bad = torch.linalg.cholesky_ex(arrays["covariances"])[1].nonzero()[:, 0].tolist()
        if bad:
            raise ValueError(f"{path}: the covariances of components {bad} are not positive definite. Fit it again.")
        return cls(**arrays, joint_names=joints_in_file(path, sizes["D"] // 3))

    def for_skeleton(self, skeleton: Skeleton) -> "PoseGmm":
        """The mixture as a prior of this body's pose: the marginal of the joints that both know.

        Raises:
            ValueError: they share none, or the mixture does not say which joints it is about.
        """
        shared = shared_joints(self.joint_names, self.means.shape[1] // 3, skeleton, "The pose prior is about")
        if self.joint_names in ((), skeleton.names[1:]):
            return self
        own = torch.tensor([3 * self.joint_names.index(name) + axis for name in shared for axis in range(3)])
        covariances = self.covariances[:, own][:, :, own]
        other = PoseGmm(self.means[:, own], covariances, self.weights, shared)
        if shared != skeleton.names[1:]:
            other.columns = torch.tensor(skeleton.columns(shared), device=self.means.device)
        return other

    def mirrored(self) -> "PoseGmm":
        """The same poses seen in a mirror, of a hand those of the other one: rotation vectors (x, y, z) -> (x, −y, −z),
        names with the other side."""
        flip = self.means.new_tensor([1.0, -1.0, -1.0]).repeat(self.means.shape[1] // 3)
        names = tuple(map(mirrored_name, self.joint_names))
        return PoseGmm(self.means * flip, self.covariances * flip[:, None] * flip, self.weights, names)

    def _own(self, theta: Tensor) -> Tensor:
        """The D numbers that the mixture is about."""
        return theta if self.columns is None else theta[:, self.columns]

    def knows(self, columns: Tensor) -> Tensor:
        """Which columns of theta (n,) are among the D numbers: (n,) bool."""
        return torch.ones_like(columns, dtype=torch.bool) if self.columns is None else torch.isin(columns, self.columns)

    def _places(self, columns: Tensor) -> Tensor:
        """Columns of theta -> where they stand among the D numbers.

        Raises:
            ValueError: the mixture is not about one of them.
        """
        if self.columns is None:
            return columns
        places = torch.searchsorted(self.columns, columns).clamp_max(len(self.columns) - 1)
        if not torch.equal(self.columns[places], columns):
            known = ", ".join(self.joint_names)
            raise ValueError(f"The pose prior is about {known}, not about all of these columns.")
        return places

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "PoseGmm":
        """The same mixture elsewhere or in another precision."""
        other = object.__new__(PoseGmm)
        for name, value in self.__dict__.items():
            if isinstance(value, Tensor):
                value = value.to(device=device, dtype=dtype if value.is_floating_point() else None)
            other.__dict__[name] = value
        return other

    def with_nll_weights(self) -> "PoseGmm":
        """The same mixture with the constants that SMPLify's code has (and SPIN's, and SMPLify-X's): a_k = -log v_k of
        the "nll weights" v_k = w_k / ((2 pi)^(D/2) sqrt|Sigma_k| / min sqrt|Sigma|). One number more for all k."""
        other = object.__new__(PoseGmm)
        other.__dict__ = dict(self.__dict__)
        half_log_dets = 0.5 * torch.linalg.slogdet(self.covariances)[1]
        D = self.means.shape[1]
        more = self.least - half_log_dets.min() + 0.5 * D * float(np.log(2 * np.pi))
        other.constants, other.least = self.constants + more, self.least - more
        return other

    def whitened(self, theta: Tensor) -> Tensor:
        """L_k^T (theta - mu_k) for every component: (B, K, D)."""
        return (self._own(theta) @ self.stacked - self.shift).unflatten(-1, self.means.shape)

    def energies(self, theta: Tensor) -> Tensor:
        """The bracket of E for every component (B, K), so -log density up to one constant."""
        return 0.5 * self.whitened(theta).square().sum(-1) + self.constants

    def energy(self, theta: Tensor) -> Tensor:
        """E (B,)."""
        return self.energies(theta).amin(-1)

    def log_density(self, theta: Tensor) -> Tensor:
        """log of the mixture's density (B,), nats; the sum over components, not the likeliest one."""
        D = self.means.shape[1]
        return torch.logsumexp(-self.energies(theta), -1) - self.least - 0.5 * D * float(np.log(2 * np.pi))

    def residuals(self, theta: Tensor) -> Tensor:
        """r (B, D+1)."""
        white = self.whitened(theta)
        k = (0.5 * white.square().sum(-1) + self.constants).argmin(-1)
        own = white[torch.arange(len(k), device=k.device), k]
        return torch.cat([own, (2 * self.constants[k])[:, None].sqrt()], -1)

    def quadratic(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """E (B,), its gradient (B, D) and Hessian (B, D, D) in the D numbers, of the likeliest component."""
        energies = self.energies(theta)
        energy, k = energies.min(-1)
        hessian = self.precisions[k]
        gradient = (hessian @ (self._own(theta) - self.means[k])[..., None]).squeeze(-1)
        return energy, gradient, hessian

    def marginal(self, columns: Tensor) -> "PoseGmm":
        """The mixture over some columns of theta, with the constants of the full one, so that its E is the full E at
        the likeliest values of the others. Made for energies: its `log_density` is not the marginal's."""
        own = self._places(columns)
        other = PoseGmm(self.means[:, own], self.covariances[:, own][:, :, own], self.weights)
        other.constants, other.least = self.constants, self.least
        return other

    def fill(self, theta: Tensor, columns: Tensor) -> Tensor:
        """theta (B, 3 (J-1)) with all of the D numbers but `columns` replaced by their likeliest values given those."""
        known, own = self._places(columns), self._own(theta)
        rest = torch.ones(own.shape[1], dtype=torch.bool, device=theta.device)
        rest[known] = False
        rest = rest.nonzero()[:, 0]
        if not len(rest):
            return theta
        k = self.marginal(columns).energies(theta[:, columns]).argmin(-1)
        off = self.precisions[:, rest][:, :, known]
        regression = -torch.linalg.solve(self.precisions[:, rest][:, :, rest], off)  # (K, rest, known)
        away = (own - self.means[k])[:, known, None]
        filled = theta.clone()
        filled[:, rest if self.columns is None else self.columns[rest]] = self.means[k][:, rest] + (
            regression[k] @ away
        ).squeeze(-1)
        return filled

    def mean_poses(self) -> Tensor:
        """The component means (K, D), most frequent first."""
        return self.means[self.weights.argsort(descending=True)]

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """theta (count, D) drawn from the mixture."""
        k = torch.multinomial(self.weights, count, replacement=True, generator=generator)
        noise = torch.randn(self.means[k].shape, dtype=self.means.dtype, generator=generator, device=k.device)
        away = torch.linalg.solve_triangular(self.factors[k].mT, noise[..., None], upper=True).squeeze(-1)
        return self.means[k] + away

"""The terms of the energy: each a function from a posed body to residuals, its cost half their sum of squares.

    E = sum_i  weight_i · 1/2 |r_i|²

A term is anything with a `name` and `residuals(e: Evaluation) -> (B, M)`. Its Jacobian comes from `jacobian(e)` where
it has one, else from forward-mode autodiff. Any Python function (state, output, observation) -> (B, M) becomes a term
with `FunctionTerm(fn)`, or by just being put into `Fitter(terms=[fn])`; its name is the function's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.fitting.parameters import Evaluation, Layout, Observation, State
from hmrfit.ops.rotation import hat, matrix_to_rotvec, rotvec_to_matrix
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.types import BodyOutput

ResidualFunction = Callable[[State, BodyOutput, Observation], Tensor]


class NormalEquations:
    """The sums that the terms add to. Rows are stacked and multiplied once, at the end; pose terms meet in
    theta = log R and are brought to the columns once, by T = d theta / d omega."""

    def __init__(self, e: Evaluation) -> None:
        like = e.state.params.transl
        self.layout: Layout = e.layout
        self.cost = like.new_zeros(len(like))
        self.gradient = like.new_zeros(len(like), e.layout.columns)
        self.rows: list[Tensor] = []
        self.diagonals: list[tuple[slice, Tensor]] = []
        self.blocks: list[tuple[slice, Tensor]] = []
        self.pose_gradient: Tensor | None = None
        self.pose_hessian: Tensor | None = None
        self.pose_diagonal: Tensor | None = None

    def add_rows(self, residuals: Tensor, jacobian: Tensor, weight: float) -> None:
        """Residuals (B, M) and Jacobian (B, M, P)."""
        self.cost += 0.5 * weight * residuals.square().sum(-1)
        self.gradient += weight * (residuals[:, None] @ jacobian).squeeze(1)
        self.rows.append(jacobian * weight**0.5)

    def add_diagonal(self, group: str, cost: Tensor, gradient: Tensor, curvature: Tensor, weight: float) -> None:
        """A separable cost of one group of columns: gradient and curvature (B, n)."""
        columns = self.layout.slice(group)
        self.cost += weight * cost
        if self.layout.moves(group):
            self.gradient[:, columns] += weight * gradient
            self.diagonals.append((columns, weight * curvature))

    def add_block(self, group: str, residuals: Tensor, jacobian: Tensor, weight: float) -> None:
        """Residuals (B, M) that only one group moves, and their Jacobian (B, M, n) in its columns."""
        self.cost += 0.5 * weight * residuals.square().sum(-1)
        if self.layout.moves(group):
            columns = self.layout.slice(group)
            self.gradient[:, columns] += weight * (residuals[:, None] @ jacobian).squeeze(1)
            self.blocks.append((columns, weight * (jacobian.mT @ jacobian)))

    def add_turned(self, cost: Tensor, gradient: Tensor, hessian: Tensor, turns: Tensor, weight: float) -> None:
        """A cost of coordinates that the turning joints' columns move by 3×3 blocks, the betas' as they are.

        Args:
            gradient, hessian: (B, d), (B, d, d) in those coordinates, three for each of n joints, then the betas'.
            turns: (B, n, 3, 3) T_j, their derivative along joint j's columns.
        """
        self.cost += weight * cost
        n = turns.shape[1]
        first = self.layout.slice("global_orient").start
        last = first + gradient.shape[1]
        own = gradient.clone()
        own[:, : 3 * n] = (gradient[:, : 3 * n].unflatten(1, (n, 1, 3)) @ turns).flatten(1)
        self.gradient[:, first:last] += weight * own
        both = turned_both_sides(hessian, turns)
        self.blocks.append((slice(first, last), weight * both if weight != 1.0 else both))

    def add_pose(self, cost: Tensor, gradient: Tensor, hessian: Tensor, weight: float) -> None:
        """A cost of the moving joints' theta: gradient (B, D), Hessian (B, D, D), or (B, D) when it is diagonal."""
        self.cost += weight * cost
        if not self.layout.body_joints:
            return
        self.pose_gradient = _sum(self.pose_gradient, weight * gradient)
        if hessian.ndim == 2:
            self.pose_diagonal = _sum(self.pose_diagonal, weight * hessian)
        else:
            self.pose_hessian = _sum(self.pose_hessian, weight * hessian)

    def finish(self, e: Evaluation) -> tuple[Tensor, Tensor, Tensor]:
        """(cost (B,), gradient (B, P), Gauss-Newton Hessian (B, P, P))."""
        B, P = self.gradient.shape
        if self.rows:
            stacked = torch.cat(self.rows, 1) if len(self.rows) > 1 else self.rows[0]
            hessian = stacked.mT @ stacked
        else:
            hessian = self.gradient.new_zeros(B, P, P)
        diagonal = hessian.diagonal(dim1=1, dim2=2)
        for columns, curvature in self.diagonals:
            diagonal[:, columns] += curvature
        for columns, block in self.blocks:
            hessian[:, columns, columns] += block
        if self.pose_gradient is not None:
            self._map_pose(e, hessian)
        return self.cost, self.gradient, hessian

    def _map_pose(self, e: Evaluation, hessian: Tensor) -> None:
        """Add T^T g and T^T H T. H is symmetric, so mapping its rows, transposing and mapping again maps both sides."""
        T = e.theta_jacobian  # (B, j, 3, 3)
        B, n = T.shape[:2]
        columns = self.layout.slice("body_pose")
        self.gradient[:, columns] += (self.pose_gradient.unflatten(1, (n, 1, 3)) @ T).reshape(B, -1)
        if self.pose_hessian is None:
            _add_blocks(hessian, columns.start, T.mT @ (self.pose_diagonal.unflatten(1, (n, 3, 1)) * T))
            return
        if self.pose_diagonal is not None:
            self.pose_hessian.diagonal(dim1=1, dim2=2).add_(self.pose_diagonal)
        half = (T.mT @ self.pose_hessian.view(B, n, 3, 3 * n)).view(B, 3 * n, 3 * n)
        hessian[:, columns, columns] += (T.mT @ half.mT.reshape(B, n, 3, 3 * n)).view(B, 3 * n, 3 * n)


def _add_blocks(hessian: Tensor, first: int, blocks: Tensor) -> None:
    """Blocks (B, n, 3, 3) onto the diagonal of the Hessian (B, P, P), from column `first` on."""
    n, axis = blocks.shape[1], torch.arange(3, device=blocks.device)
    at = first + 3 * torch.arange(n, device=blocks.device)[:, None, None]
    hessian[:, at + axis[:, None], at + axis] += blocks


def turned_both_sides(hessian: Tensor, turns: Tensor) -> Tensor:
    """Tᵀ H T with T block-diagonal: 3×3 blocks (B, n, 3, 3) first, then ones. H (B, d, d) is symmetric, so turning its
    rows, transposing and turning again turns both sides."""
    n = turns.shape[1]
    for _ in range(2):
        rows = (turns.mT @ hessian[:, : 3 * n].unflatten(1, (n, 3))).flatten(1, 2)
        hessian = torch.cat([rows, hessian[:, 3 * n :]], 1).mT
    return hessian


def _sum(total: Tensor | None, part: Tensor) -> Tensor:
    """total + part, where the total may not have begun."""
    return part if total is None else total.add_(part)


class Term:
    """A term of the energy. Subclasses give `residuals`, and `jacobian` or `add` where they can do better."""

    name: str = "term"
    points_only: bool = False
    """True for a term that needs only those joints whose rotation moves a keypoint: the fit may then leave the others
    out and let the pose prior fill them in."""

    def prepare(self, observation: Observation, layout: Layout) -> Observation:
        """What does not change during a stage, put beside the observation once."""
        return observation

    def fill(self, state: State, observation: Observation, layout: Layout) -> State:
        """The state with the joints that the stage left out where this term would have them; most terms cannot say."""
        return state

    def residuals(self, e: Evaluation) -> Tensor:
        """(B, M)."""
        raise NotImplementedError(f"{type(self).__name__} must define residuals(e) -> (B, M).")

    def cost(self, e: Evaluation) -> Tensor:
        """(B,) half the residuals' sum of squares."""
        return 0.5 * self.residuals(e).square().sum(-1)

    def jacobian(self, e: Evaluation) -> Tensor:
        """(B, M, P), by forward-mode autodiff: one step shared by the whole batch keeps the cost at P passes."""

        def moved(delta: Tensor) -> Tensor:
            state = e.state.retract(delta, e.body.parents, e.layout)
            return self.residuals(Evaluation(e.body, state, e.observation, e.layout))

        return torch.func.jacfwd(moved)(e.state.params.transl.new_zeros(e.layout.columns))

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        """Add cost, gradient and Hessian to the sums."""
        sums.add_rows(self.residuals(e), self.jacobian(e), weight)


class FunctionTerm(Term):
    """A plain Python function as a term."""

    def __init__(self, function: ResidualFunction, name: str | None = None) -> None:
        self.function, self.name = function, name or getattr(function, "__name__", type(function).__name__)

    def residuals(self, e: Evaluation) -> Tensor:
        return self.function(e.state, e.output, e.observation)


@dataclass
class Reprojection(Term):
    """Keypoints against the image, robust, relative to the person's size.

    e_k = Pi(X_k) - x_k,  z = |e|²/sigma²,  sigma = `sigma` · box;  cost 1/2 c² z/(1+z)          (Geman-McClure)
    as residuals r = c e / (sigma sqrt(1+z)),  dr = c/(sigma sqrt(1+z)) (I - e e^T / (sigma² (1+z))) de.

    The cost of one keypoint is bounded by 1/2 c² times the stage's weight, however wrong it is.
    """

    sigma: float = 0.04
    name: str = "reprojection"
    points_only: ClassVar[bool] = True

    def _parts(self, e: Evaluation) -> tuple[Tensor, Tensor, Tensor]:
        keypoints = e.observation.keypoints
        error = (e.projected - keypoints.xy) / (self.sigma * e.observation.box_size[:, None, None])
        damp = (1 + error.square().sum(-1, keepdim=True)).rsqrt()
        return error, damp, keypoints.confidence[..., None]

    def residuals(self, e: Evaluation) -> Tensor:
        error, damp, confidence = self._parts(e)
        return (confidence * damp * error).flatten(1)

    def jacobian(self, e: Evaluation) -> Tensor:
        return self._rows(e, *self._parts(e))

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        error, damp, confidence = self._parts(e)
        sums.add_rows((confidence * damp * error).flatten(1), self._rows(e, error, damp, confidence), weight)

    def _rows(self, e: Evaluation, error: Tensor, damp: Tensor, confidence: Tensor) -> Tensor:
        unit = error * damp
        projection = e.state.camera.project_jacobian(e.posed.points)
        robust = projection - unit[..., None] * (unit[..., None, :] @ projection)  # (I - u u^T) dPi/dX
        scale = confidence * damp / (self.sigma * e.observation.box_size[:, None, None])
        return e.point_rows(scale[..., None] * robust)


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

    def _parts(self, e: Evaluation) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
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

    def residuals(self, e: Evaluation) -> Tensor:
        white, _, g, _, root = self._parts(e)
        return (root * g * white).flatten(1)

    def jacobian(self, e: Evaluation) -> Tensor:
        return self._rows(e, *self._parts(e))

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        white, unit, g, slope, root = self._parts(e)
        sums.add_rows((root * g * white).flatten(1), self._rows(e, white, unit, g, slope, root), weight)

    def _rows(self, e: Evaluation, white: Tensor, unit: Tensor, g: Tensor, slope: Tensor, root: Tensor) -> Tensor:
        projection = e.state.camera.project_jacobian(e.posed.points)
        along = white[..., None] * (white[..., None, :] @ projection)  # |white|² u u^T dPi
        square = white.square().sum(-1, keepdim=True).clamp_min(1e-12)
        radial = (slope / g - g) / square
        return e.point_rows((root * unit)[..., None] * (g[..., None] * projection + radial[..., None] * along))


@dataclass
class PosePrior(Term):
    """The pose GMM of `hmrfit.priors.gmm`."""

    gmm: PoseGmm
    name: str = "gmm"
    _marginals: dict[tuple[int, ...], PoseGmm] = field(default_factory=dict, repr=False)
    points_only: ClassVar[bool] = True

    def residuals(self, e: Evaluation) -> Tensor:
        return self.gmm.residuals(e.theta)

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        columns = e.layout.theta_columns
        if len(columns):
            sums.add_pose(*self.marginal(e.layout).quadratic(e.theta[:, columns]), weight)
        else:
            sums.cost += weight * self.gmm.energy(e.theta)

    def fill(self, state: State, observation: Observation, layout: Layout) -> State:
        theta = matrix_to_rotvec(state.params.body_pose).flatten(1)
        theta = self.gmm.fill(theta, layout.theta_columns)
        pose = state.params.body_pose.clone()
        left = [j - 1 for j in range(1, layout.joint_count) if j not in layout.body_joints]
        pose[:, left] = rotvec_to_matrix(theta.unflatten(1, (-1, 3))[:, left])
        return State(replace(state.params, body_pose=pose), state.camera)

    def marginal(self, layout: Layout) -> PoseGmm:
        """The mixture over the moving joints only; made once per layout. Its energy is the full one, least over the
        joints left out, so leaving them out changes nothing but the time."""
        if 3 * len(layout.body_joints) == self.gmm.means.shape[1]:
            return self.gmm
        if layout.body_joints not in self._marginals:
            self._marginals[layout.body_joints] = self.gmm.marginal(layout.theta_columns)
        return self._marginals[layout.body_joints]


@dataclass
class JointLimitPrior(Term):
    """The joint limits of `hmrfit.priors.limits`."""

    limits: JointLimits
    name: str = "joint_limits"
    points_only: ClassVar[bool] = True

    def residuals(self, e: Evaluation) -> Tensor:
        return self.limits.residuals(e.theta)

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        columns = e.layout.theta_columns
        cost, gradient, curvature = self.limits.quadratic(e.theta)
        if curvature.any():  # mostly nobody is outside, and nothing has to be brought to the columns
            sums.add_pose(cost, gradient[:, columns], curvature[:, columns], weight)


@dataclass
class ShapePrior(Term):
    """1/2 |beta|²: betas have unit variance, so this is their negative log density."""

    name: str = "shape"
    points_only: ClassVar[bool] = True

    def residuals(self, e: Evaluation) -> Tensor:
        return e.state.params.betas

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        betas = e.state.params.betas
        sums.add_diagonal("betas", 0.5 * betas.square().sum(-1), betas, torch.ones_like(betas), weight)


@dataclass
class Upright(Term):
    """Cameras are mostly held level and people mostly upright: the pelvis' up axis u against the image's.

    e = u - (0, -1, 0),  z = |e|²/s²;  cost 1/2 z/(1+z): bounded, so people who lie down pay a constant and no more.
    """

    scale: float = 0.5
    name: str = "upright"
    points_only: ClassVar[bool] = True

    def _parts(self, e: Evaluation) -> tuple[Tensor, Tensor]:
        up = e.state.params.global_orient[..., 1]
        error = (up + up.new_tensor([0.0, 1.0, 0.0])) / self.scale
        return error, (1 + error.square().sum(-1, keepdim=True)).rsqrt()

    def residuals(self, e: Evaluation) -> Tensor:
        error, damp = self._parts(e)
        return error * damp

    def _turning(self, e: Evaluation, error: Tensor, damp: Tensor) -> Tensor:
        """(B, 3, 3): u turns by omega x u."""
        unit = (error * damp)[..., None]
        turn = -hat(e.state.params.global_orient[..., 1]) * (damp[..., None] / self.scale)
        return turn - unit @ (unit.mT @ turn)

    def jacobian(self, e: Evaluation) -> Tensor:
        jacobian = e.state.params.transl.new_zeros(len(e.state), 3, e.layout.columns)
        if e.layout.moves("global_orient"):
            jacobian[:, :, e.layout.slice("global_orient")] = self._turning(e, *self._parts(e))
        return jacobian

    def add(self, e: Evaluation, sums: NormalEquations, weight: float) -> None:
        error, damp = self._parts(e)
        sums.add_block("global_orient", error * damp, self._turning(e, error, damp), weight)


def as_term(term: Term | ResidualFunction) -> Term:
    """Terms stay, functions are wrapped."""
    return term if isinstance(term, Term) else FunctionTerm(term)


def terms_by_name(terms: Sequence[Term | ResidualFunction]) -> dict[str, Term]:
    """name -> term; two terms of one name are refused."""
    found: dict[str, Term] = {}
    for term in map(as_term, terms):
        if term.name in found:
            raise ValueError(f"Two terms are named '{term.name}'. Give one of them another name.")
        found[term.name] = term
    return found

"""The terms of SMPLify and SPIN as their code has them, so that their schedules can be run by this solver.

Their energies are sums of squares E = sum_t |w_t r_t|², ours 1/2 |r|² each: the residuals below carry sqrt(2), and the
weight in a stage is w². (Bogo et al., ECCV 2016; Kolotouros et al., ICCV 2019; both in the form of their code.)

    keypoints    c sigma x / sqrt(sigma² + x²) for each coordinate x of Pi(X) - x_k, sigma = 100 px, c the confidence
    torso        x, of hips and shoulders: neither robust nor weighted
    depth        t_z - t_z0,  metres,  weight 100
    pose         sqrt(1/2) L_k^T (theta - mu_k), sqrt(-log v_k) of the likeliest Gaussian
    shape        beta
    bending, interpenetration: in `hmrfit.priors`

Pixels and metres are those of their pictures. SMPLify doubles LSP's images, in which a person is about 150 px long: so
300. SPIN cuts 1.2 times the person's box out and makes it 224 px wide: 224/1.2 = 187. Both take a focal length of 5,000
px. With s = person/box the pixels here become theirs, x -> s x, and who is as large in the picture there as here stands
5000/(s f) times as far away, t_z -> 5000/(s f) t_z.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import Linearization, Observation
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.interpenetration import Interpenetration
from hmrfit.fitting.terms.pose_prior import PosePrior
from hmrfit.fitting.terms.shape import ShapePrior
from hmrfit.keypoints import base_name
from hmrfit.ops.robust import damping
from hmrfit.priors.bending import BendingPrior
from hmrfit.priors.gmm import PoseGmm

SQRT2 = 2**0.5


@dataclass(frozen=True)
class Frame:
    """The pictures a system's constants were chosen on."""

    person: float  # pixels, the longest side of a person's box
    focal: float = 5000.0  # pixels

    def scale(self, e: Linearization) -> Tensor:
        """(B,) their pixels to one of ours."""
        return self.person / e.observation.box_size

    def depth_scale(self, e: Linearization) -> Tensor:
        """(B,) their metres of depth to one of ours."""
        return self.focal / (self.scale(e) * e.state.camera.focal.mean(-1))


FRAMES = {"smplify": Frame(2 * 150.0), "spin": Frame(224 / 1.2)}

HIPS_AND_NECK = ("neck_openpose", "left_hip_coco", "right_hip_coco", "left_hip_lsp", "right_hip_lsp")
"""What SPIN ignores, by the definitions it means: where people click hips is not where SMPL has its joints."""

IGNORED = {"smplify": (*HIPS_AND_NECK, "neck_lsp"), "spin": HIPS_AND_NECK}


@dataclass
class PixelReprojection(Term):
    """Geman-McClure on each coordinate, (B, 2 K). Bounded by sigma² confidence² for each coordinate."""

    frame: Frame
    ignored: tuple[str, ...] = ()
    sigma: float = 100.0  # pixels of their picture
    name: str = "keypoints"
    points_only: ClassVar[bool] = True

    def _parts(self, e: Linearization) -> tuple[Tensor, Tensor, Tensor]:
        """(error in their pixels over sigma (B, K, 2), its damping, weight (B, K, 1))."""
        keypoints = e.observation.keypoints
        error = (e.projected - keypoints.xy) * (self.frame.scale(e)[:, None, None] / self.sigma)
        used = [name not in self.ignored for name in keypoints.names]
        confidence = keypoints.confidence * torch.tensor(used, device=error.device)
        return error, damping(error[..., None]).squeeze(-1), SQRT2 * self.sigma * confidence[..., None]

    def residuals(self, e: Linearization) -> Tensor:
        error, damp, weight = self._parts(e)
        return (weight * damp * error).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        _, damp, weight = self._parts(e)
        slope = weight / self.sigma * damp**3 * self.frame.scale(e)[:, None, None]
        return e.point_rows(slope[..., None] * e.state.camera.project_jacobian(e.posed.points))


@dataclass
class TorsoReprojection(Term):
    """Hips and shoulders, (B, 2 K), zero for all else. Where fewer than two of them are seen: all that is seen.

    SPIN lets torso points that were not seen pull too, as if they were at the picture's corner; here they do not.
    """

    frame: Frame
    name: str = "torso"
    points_only: ClassVar[bool] = True

    def _weight(self, e: Linearization) -> Tensor:
        """(B, K, 1)."""
        chosen = torso_seen(e.observation)
        return (SQRT2 * self.frame.scale(e)[:, None] * chosen)[..., None]

    def residuals(self, e: Linearization) -> Tensor:
        return (self._weight(e) * (e.projected - e.observation.keypoints.xy)).flatten(1)

    def jacobian(self, e: Linearization) -> Tensor:
        return e.point_rows(self._weight(e)[..., None] * e.state.camera.project_jacobian(e.posed.points))


@dataclass
class DepthPrior(Term):
    """The depth stays where the start had it, (B, 1)."""

    frame: Frame
    name: str = "depth"
    points_only: ClassVar[bool] = True

    def residuals(self, e: Linearization) -> Tensor:
        start = e.observation.start_depth
        if start is None:
            raise ValueError(
                f"Term '{self.name}' needs the depth that the fit began at: set FIT.START to initial_estimate or "
                "mean_pose."
            )
        return (SQRT2 * self.frame.depth_scale(e) * (e.state.params.transl[:, 2] - start))[:, None]

    def jacobian(self, e: Linearization) -> Tensor:
        row = e.state.params.transl.new_zeros(len(e.state), 1, e.layout.columns)
        if e.layout.moves("transl"):
            row[:, 0, e.layout.slice("transl").start + 2] = SQRT2 * self.frame.depth_scale(e)
        return row


@dataclass
class SquaredShape(ShapePrior):
    """|beta|², without a half."""

    name: str = "smplify_shape"

    def residuals(self, e: Linearization) -> Tensor:
        return SQRT2 * super().residuals(e)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        super().add(e, sums, 2 * weight)


class Bending(Term):
    """Elbows and knees bend one way: `hmrfit.priors.bending`, (B, 4)."""

    def __init__(self, body: SmplBody, name: str = "bending") -> None:
        self.body, self.name = body, name

    @property
    def prior(self) -> BendingPrior:
        """Made when asked, so that a body without elbows has no error before a stage wants them."""
        return BendingPrior(self.body.skeleton)

    def residuals(self, e: Linearization) -> Tensor:
        return self.prior.residuals(e.theta)

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        cost, gradient, curvature = self.prior.quadratic(e.theta)
        columns = e.layout.theta_columns
        sums.add_pose(cost, gradient[:, columns], curvature[:, columns], weight)


def smplify_spin_terms(body: SmplBody, gmm: PoseGmm) -> list[Term]:
    """Every term above, by the names that configs/fit_smplify.yaml and fit_spin.yaml use."""
    terms: list[Term] = []
    for system, frame in FRAMES.items():
        terms.append(PixelReprojection(frame, IGNORED[system], name=f"{system}_keypoints"))
        terms.append(TorsoReprojection(frame, f"{system}_torso"))
        terms.append(DepthPrior(frame, f"{system}_depth"))
    pose = PosePrior(gmm.with_nll_weights(), "smplify_pose")
    return [*terms, pose, SquaredShape(), Bending(body), Interpenetration(body)]


def torso_sets(names: tuple[str, ...]) -> list[list[int]]:
    """Where left hip, right hip, left shoulder and right shoulder are in a keypoint set, once for every definition of
    the hips that it has, OpenPose's first, as SPIN prefers them. A set with two of each shoulder has them in turn."""
    found: list[list[int]] = []
    for ending in ("_coco", "_lsp", "_h36m", ""):
        hips = [f"{side}_hip{ending}" for side in ("left", "right")]
        if all(hip in names for hip in hips):
            shoulders = [[i for i, n in enumerate(names) if base_name(n) == f"{s}_shoulder"] for s in ("left", "right")]
            if all(shoulders):
                places = [s[min(len(found), len(s) - 1)] for s in shoulders]
                found.append([*(names.index(hip) for hip in hips), *places])
    return found


def torso_seen(observation: Observation) -> Tensor:
    """(B, K) 1 for the torso points to use: the first set of four that is seen whole, else those seen of the last."""
    keypoints = observation.keypoints
    seen = (keypoints.confidence > 0).to(keypoints.xy)  # as SPIN decides it, whatever the confidence
    chosen, open_ = torch.zeros_like(seen), torch.ones_like(seen[:, :1])
    sets = torso_sets(keypoints.names)
    for i, places in enumerate(sets):
        mask = torch.zeros_like(seen)
        mask[:, places] = seen[:, places]
        whole = (mask.sum(1, keepdim=True) == 4).to(seen) if i + 1 < len(sets) else torch.ones_like(open_)
        chosen, open_ = chosen + open_ * whole * mask, open_ * (1 - whole)
    few = chosen.sum(1, keepdim=True) < 2
    return torch.where(few, seen, chosen)

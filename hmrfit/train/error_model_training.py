"""Training the error model of an initial estimate: so that one Bayesian update by the keypoints explains the truth
best.

    Θ₀ = hmr(x),    (Σ, σ) = model(x, Θ₀)
    x⁰ = K₀ r(0),     K = Σ Jᵀ (J Σ Jᵀ + R)⁻¹                      a first update, without gradients
    x  = K (r(x⁰) + J x⁰),      C = A Σ Aᵀ − A K J Σ Aᵀ            the second, linearised at the first
    loss = −log t_ν(joints − joints(x); C) + 5 |joints − joints(x)| + 0.3 L_noise + 0.2 L_marginal

x are chart coordinates about Θ₀ (`hmrfit.fitting.gaussian_prior`) with the translation before and the log of the focal
length after them; J the keypoints' derivative in fractions of the box, A that of the joints about the pelvis, R
diagonal with σ_k²/(q_k c_k) as the fit weighs keypoints, enlarged as Student's t does for what is far off. Σ is what
makes C and x right, not how often Θ₀ alone is.
"""

import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import Module

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.gaussian_prior import DEPTH, LATERAL, Anchor
from hmrfit.keypoints import keypoint_sets
from hmrfit.network.encoders import EncodedKeypoints
from hmrfit.network.error_model import ErrorModel, PredictedError
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.ops.rotation import right_jacobian
from hmrfit.synthetic.people import Corruption, People, people_from_points, uniform
from hmrfit.train.people_stream import (
    NEARER,
    SET_WEIGHTS,
    Mixture,
    PosePool,
    Sampling,
    assumed_camera,
    hard_people,
    hard_rows,
)
from hmrfit.train.trainer import average_weights, rate_factor, set_rate
from hmrfit.types import BodyParams, Regression

FOCAL_STD = 0.45
"""Of log f where it is not known: lenses of 20 to 110 mm taken for the diagonal's 43 mm."""

NU_KEYPOINTS = 8.0
"""Degrees of freedom of a keypoint's error. The fit takes 30 (`fitting.terms.StudentReprojection`): with 8 there 13.8 %
of the estimate's PA-MPJPE are gained and 3.7 % of the people get worse, with 30 it is 14.2 and 2.8 % (validation)."""

CLIP = 5.0
"""The largest norm of a gradient."""

WARM_UP = 200
"""Steps in which the learning rate rises."""

MOST = 1.5
"""Radians that the first update may rotate a joint by."""

SAMPLING = Sampling(
    Mixture(other_legs=0.15, other_arm=0.1, jitter=0.03, from_prior=0.03, filled=NEARER.mixture.filled),
    replace(NEARER.views, tilted=0.05, tumbled=0.02),
    Corruption((0.003, 0.04), (0.0, 0.4), occluder=0.25, truncated=True, swapped=0.03, unsure=0.4, stray=0.6),
)
"""As late in the training of the initial estimate, with more noise and more occluders."""


@dataclass(frozen=True)
class Case:
    """B people of one keypoint set, and their initial estimate."""

    people: People
    body: PointBody  # of the set
    joints: PointBody  # of SMPL's joints
    camera: Camera  # assumed where its focal length is not known
    anchor: Anchor  # at the estimate; its scale and factors do not matter
    inputs: Tensor  # (B, n) the model's input
    box: Tensor  # (B,) pixels
    slots: tuple[Tensor, Tensor]  # see `ErrorModel.slots_of`

    @property
    def visible(self) -> Tensor:
        """(B, K) bool."""
        return self.people.keypoints.shown > 0


class Cases:
    """Endless cases; what comes next depends on the generator alone."""

    def __init__(
        self,
        body: SmplBody,
        hmr: KeypointHmr,
        model: ErrorModel,
        pool: PosePool,
        generator: torch.Generator,
        hard: float = 0.0,
    ) -> None:
        """body: float32. Everything else is on the device of the generator. hard: the fraction of batches of
        `HardPeople`."""
        sets, place = keypoint_sets(), generator.device
        self.points = {name: body.points(names).to(device=place) for name, names in sets.items()}
        self.joints, self.hmr, self.model = body.points(SMPL.names).to(device=place), hmr, model
        self.pool, self.generator, self.hard = pool, generator, hard
        self.makers = {name: hard_people(points, pool) for name, points in self.points.items()} if hard else {}
        self.names = list(sets)
        self.weight = torch.tensor([SET_WEIGHTS.get(name, 1.0) for name in sets], device=place)

    def batch(self, count: int, how: Sampling = SAMPLING) -> Case:
        """The next `count` people, all with the same keypoint set."""
        return self.case(*self.people(count, how))

    def people(self, count: int, how: Sampling = SAMPLING) -> tuple[People, PointBody, Tensor]:
        """(the next `count` people, the body with their keypoint set's points, (B,) whose focal length is known)."""
        name = self.names[int(torch.multinomial(self.weight, 1, generator=self.generator))]
        body = self.points[name]
        if self.hard and float(uniform(0, 1, 1, self.generator)) < self.hard:
            people = hard_rows(self.makers[name], count, self.generator)
            return people, body, uniform(0, 1, count, self.generator) < how.known_focal
        poses = self.pool.sample(count, self.generator, how.mixture)
        people = people_from_points(body, poses, self.generator, how.views, how.corruption)
        return people, body, uniform(0, 1, count, self.generator) < how.known_focal

    @torch.no_grad()
    def case(self, people: People, body: PointBody, focal_known: Tensor) -> Case:
        """People with their initial estimate."""
        assumed = assumed_camera(people.camera, focal_known)
        estimate, encoded = self.hmr.forward(people.keypoints, assumed)
        return case_of(people, body, self.joints, assumed, self.model, estimate, encoded)


def case_of(
    people: People,
    body: PointBody,
    joints: PointBody,
    camera: Camera,
    model: ErrorModel,
    estimate: Regression,
    encoded: EncodedKeypoints,
    first: Tensor | None = None,
) -> Case:
    """People with an estimate of each. camera: assumed where its focal length is not known. first: of `encode`."""
    params, box = estimate.params, people.keypoints.box_size().clamp_min(1.0)
    residuals = (people.keypoints.xy - camera.project(body.pose(params).points)) / box[:, None, None]
    inputs = model.encode(encoded, estimate, residuals, camera.focal_known, first).float()
    ones = params.betas.new_ones(len(box), 3 * len(body.parents) + params.betas.shape[1])
    anchor = Anchor.at(params, body.parents, ones, ones[..., None])
    return Case(people, body, joints, camera, anchor, inputs, box, model.slots_of(people.keypoints.names))


@dataclass(frozen=True)
class Linearised:
    """At chart coordinates x⁰, in the chart's columns [transl 3 | D | log f]."""

    residuals: Tensor  # (B, K, 2) r, keypoint − projection, fractions of the box
    J: Tensor  # (B, 2 K, P)
    A: Tensor  # (B, 3 (J-1), P)


def moved(case: Case, x: Tensor) -> tuple[BodyParams, Camera]:
    """The body and camera at chart coordinates x (B, P)."""
    params = case.anchor.moved(x[:, 3:-1], case.anchor.transl + x[:, :3])
    camera = case.camera
    return params, replace(camera, focal=camera.focal * x[:, -1:].exp())


@torch.no_grad()
def linearise(case: Case, x: Tensor) -> Linearised:
    """Residuals and derivatives at x (B, P)."""
    params, camera = moved(case, x)
    posed, keypoints = case.body.pose(params), case.people.keypoints
    projected = camera.project(posed.points)
    unit = case.box[:, None, None]
    rows = case.body.rows(posed, camera.project_jacobian(posed.points) / unit[..., None])
    focal = ((projected - camera.center[:, None]) / unit)[..., None]
    visible = case.visible[..., None]
    J = _in_chart(case, x, posed.world, torch.cat([rows, focal], -1)) * visible[..., None]
    at = case.joints.pose(params)
    A = case.joints.rows(at, case.joints.eye.expand(len(x), len(SMPL), 3, 3))
    A = _in_chart(case, x, posed.world, torch.cat([A - A[:, :1], torch.zeros_like(A[..., :1])], -1))
    residuals = torch.where(visible, (keypoints.xy - projected) / unit, 0.0)
    return Linearised(residuals, J.flatten(1, 2), A[:, 1:].flatten(1, 2))


def _in_chart(case: Case, x: Tensor, world: Tensor, rows: Tensor) -> Tensor:
    """Rows (B, N, R, P) on rotation vectors in the camera's axes -> on the chart: dω/de = G Jr(φ) G⁰ᵀ."""
    n = world.shape[1]
    start = case.anchor.world
    phi = (start.mT @ x[:, 3 : 3 + 3 * n].unflatten(1, (n, 3, 1))).squeeze(-1)
    derivative = (world @ right_jacobian(phi) @ start.mT)[:, None, None]
    rotations = (rows[..., 3 : 3 + 3 * n].unflatten(-1, (n, 1, 3)) @ derivative).flatten(-3)
    return torch.cat([rows[..., :3], rotations, rows[..., 3 + 3 * n :]], -1)


def sigma_times(M: Tensor, predicted: PredictedError, case: Case) -> Tensor:
    """M (B, n, P) Σ, the translation and the focal length in it."""
    depth = case.anchor.transl[:, 2]
    std = torch.stack([LATERAL * depth, LATERAL * depth, DEPTH * depth], -1)[:, None]
    s, U = predicted.scale[:, None], predicted.factors
    body = M[..., 3:-1] * s
    body = (body + (body @ U) @ U.mT) * s
    focal = torch.where(case.camera.focal_known, 1e-6, FOCAL_STD**2)[:, None, None]
    return torch.cat([M[..., :3] * std.square(), body, M[..., -1:] * focal], -1)


def update(case: Case, predicted: PredictedError, x: Tensor, at: Linearised) -> tuple[Tensor, Tensor, Tensor]:
    """(chart coordinates (B, P), J Σ (B, M, P), lower factor of J Σ Jᵀ + R) of an update linearised at x."""
    where, slot = case.slots
    noise = torch.full_like(at.residuals[..., 0], math.inf).index_copy(1, where, predicted.noise[:, slot])
    keypoints = case.people.keypoints
    R = noise.square()
    weight = keypoints.weight.clamp_min(1e-4)
    inflation = 1 + at.residuals.square().sum(-1) / R.detach() / NU_KEYPOINTS
    R = torch.where(case.visible & R.isfinite(), R * inflation / weight, 1.0)
    JS = sigma_times(at.J, predicted, case)
    factor = torch.linalg.cholesky(JS @ at.J.mT + torch.diag_embed(R.repeat_interleave(2, 1)))
    innovation = at.residuals.flatten(1)[..., None] + at.J @ x[..., None]
    return (JS.mT @ torch.cholesky_solve(innovation, factor)).squeeze(-1), JS, factor


def losses(case: Case, predicted: PredictedError, nu: Tensor) -> dict[str, Tensor]:
    """Every weighted part of the loss; see the module's equation."""
    nll, distance = updated(case, predicted, nu)
    return {
        "joints": nll.mean(),
        "distance": 5.0 * distance.mean(),
        "noise": 0.3 * noise_loss(case, predicted),
        "marginal": 0.2 * marginal_loss(case, predicted).mean(),
    }


def updated(case: Case, predicted: PredictedError, nu: Tensor) -> tuple[Tensor, Tensor]:
    """(−log t_ν(joints − joints(x); C), |joints − joints(x)|) of every joint but the pelvis, (B, J-1) each."""
    with torch.no_grad():
        x = torch.zeros(len(case.box), predicted.scale.shape[1] + 4).to(case.box)
        x, *_ = update(case, predicted, x, linearise(case, x))
        rotations = slice(3, 3 + 3 * len(SMPL))
        x[:, rotations] = x[:, rotations].clamp(-MOST, MOST)
        at = linearise(case, x)
    x, JS, factor = update(case, predicted, x, at)
    V = torch.linalg.solve_triangular(factor, JS @ at.A.mT, upper=False).unflatten(2, (-1, 3))
    AS = sigma_times(at.A, predicted, case).unflatten(1, (-1, 3))
    C = AS @ at.A.unflatten(1, (-1, 3)).mT - torch.einsum("bmji,bmjk->bjik", V, V)
    found, truth = case.joints.pose(moved(case, x)[0]).joints, case.people.joints
    error = ((truth - truth[:, :1]) - (found - found[:, :1]))[:, 1:]
    return student_nll(error, C, nu), error.norm(dim=-1)


def student_nll(error: Tensor, scale: Tensor, nu: Tensor, floor: float = 1e-6) -> Tensor:
    """−log t_ν(error; 0, scale) (...) of vectors (..., p); floor: metres² added to the scale matrix."""
    p = error.shape[-1]
    factor = torch.linalg.cholesky(scale + floor * torch.eye(p).to(scale))
    square = torch.linalg.solve_triangular(factor, error[..., None], upper=False).square().sum((-2, -1))
    constant = torch.lgamma(nu / 2) - torch.lgamma((nu + p) / 2) + 0.5 * p * torch.log(nu * math.pi)
    return constant + factor.diagonal(dim1=-2, dim2=-1).log().sum(-1) + 0.5 * (nu + p) * torch.log1p(square / nu)


def noise_loss(case: Case, predicted: PredictedError) -> Tensor:
    """−log likelihood of the true noise by σ_k, Student's t with 4 degrees of freedom."""
    where, slot = case.slots
    sigma, visible = predicted.noise[:, slot], case.visible[:, where]
    people = case.people
    noise = ((people.keypoints.xy - people.clean.xy) / case.box[:, None, None])[:, where]
    z = (noise / sigma[..., None]).square().sum(-1)
    return ((2 * sigma.log() + 3 * torch.log1p(z / 4)) * visible).sum() / visible.sum()


def marginal_loss(case: Case, predicted: PredictedError) -> Tensor:
    """(B,) −log likelihood of Θ₀'s own error by Σ's diagonal, so that Σ stays a statement about it."""
    error = case.anchor.error(case.people.params)[0]
    variance = predicted.scale.square() * (1 + predicted.factors.square().sum(-1))
    return (0.5 * variance.log() + 3 * torch.log1p(error.square() / variance / 5)).mean(1)


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, model: Module, average: Module, step: int) -> None:
    """One step of the optimiser's parameters, its gradient clipped to CLIP and left out where it is no number; then the
    averaged weights follow the model's."""
    optimizer.zero_grad()
    loss.backward()
    moving = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(moving, CLIP)
    if norm.isfinite():
        optimizer.step()
    average_weights(average, model, keep=0.999 if step > 2000 else 0.99)


def train_error_model(
    model: ErrorModel,
    cases: Cases,
    minutes: float,
    rate: float = 1e-3,
    count: int = 256,
    seed: int = 0,
    begun: bool = False,
    steps: int = 0,
) -> Iterator[tuple[ErrorModel, dict[str, float]]]:
    """(the averaged model, the losses) after every step; AdamW, cosine, averaged weights.

    begun: the model is trained already, and has the mean and deviation of its inputs. steps: how many there are; 0: as
    many as the minutes allow, which differs from machine to machine.
    """
    torch.manual_seed(seed)
    if not begun:
        first = cases.batch(8 * count).inputs
        model.middle.copy_(first.mean(0))
        model.spread.copy_(first.std(0).clamp_min(0.05))
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01)
    average, begin, step = deepcopy(model), time.monotonic(), 0  # with the mean and deviation of the inputs
    while (progress := step / steps if steps else (time.monotonic() - begin) / (60 * minutes)) < 1:
        set_rate(optimizer, rate * rate_factor(step, WARM_UP, progress))
        case = cases.batch(count)
        with torch.autocast(case.box.device.type, torch.bfloat16):
            predicted = model(case.inputs)
        parts = losses(case, predicted, model.nu)
        descend(torch.stack(list(parts.values())).sum(), optimizer, model, average, step)
        step += 1
        yield average, {name: value.item() for name, value in parts.items()} | {"step": step, "progress": progress}

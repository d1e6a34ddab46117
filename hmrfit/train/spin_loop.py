"""SPIN's own rules of the loop (Kolotouros et al., ICCV 2019), as its code has them; preset configs/train_spin.yaml.

Everything is in the augmented crop, 224 pixels before a camera of f = 5000, c = 112:

    t*      argmin_t Σ_k c_k |f (X_k + t)_xy − (x_k − c)(X_k + t)_z|²       the stored fit's camera, which is not stored
    t^      (tx, ty, 2 f / (224 s + 1e-9))                                  the network's
    ℓ       mean_k c_k² Σ_xy g(Π(X_k + t) − x_k),  g(e) = σ² e²/(σ² + e²), σ = 100;  c_k = 0 of hips and OpenPose's neck
    update  ℓ(fit from the network) < ℓ(stored), strictly, in today's crop, without priors
    shape   any |β| > 3: β = 0 for supervision;    truth wins;    valid  <=>  ℓ < 100 or truth

    L / 60 = 5 mean c w (x − x^)² + mean_valid (R − R*)² + 0.001 mean_valid (β − β*)² + 5 [3D labels] + mean exp(−10 s)²

Means are over all coordinates, absent keypoints among them. The fit is SPIN's energy (configs/fit_spin.yaml) by this
library's solver, at most `STEPS` of its steps a stage. Of two rows of one person in a batch the better one is kept,
where SPIN keeps the last.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import Camera
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.parameters import Observation, State
from hmrfit.fitting.route import Begun
from hmrfit.fitting.solver import Options
from hmrfit.fitting.terms.smplify_spin import HIPS_AND_NECK
from hmrfit.keypoints import OPENPOSE25
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix
from hmrfit.train.fit_loop import MOST_BETA, is_power_of_two
from hmrfit.train.fit_store import NEVER, SOURCES, FitKey, FitStore, StoredFits
from hmrfit.train.images import SPIN49
from hmrfit.train.losses import positive_scale
from hmrfit.train.turns import Turns
from hmrfit.types import BodyParams, Keypoints, Regression, TensorRecord

ENERGY = "spin data loss"
"""What stores call ℓ."""

FOCAL, RESOLUTION, SIGMA = 5000.0, 224.0, 100.0
THRESHOLD = 100.0
KEYPOINT_WEIGHT, POSE_WEIGHT, BETAS_WEIGHT, ALL = 5.0, 1.0, 0.001, 60.0

STEPS = Options(max_steps=20, ftol=1e-3)
"""Of each stage. SPIN takes 100 of Adam, which this solver's second-order ones are far beyond."""


@dataclass(frozen=True)
class SeenCrop(TensorRecord):
    """B people as SPIN's loop knows them."""

    row: Tensor  # (B,) int64, whose place it is in the loop's keys
    keypoints: Tensor  # (B, K, 2) in the crop's [-1, 1], augmented
    confidence: Tensor  # (B, K)
    names: tuple[str, ...]
    turns: Turns
    truth: BodyParams  # augmented; only rows of has_truth are read
    has_truth: Tensor  # (B,) bool

    def __len__(self) -> int:
        return len(self.row)

    @property
    def pixels(self) -> Tensor:
        """(B, K, 2) of the crop's 224."""
        return 0.5 * RESOLUTION * (self.keypoints.double() + 1)


@dataclass(frozen=True)
class SpinSupervision(TensorRecord):
    """What the estimates of SPIN's batch should be."""

    params: BodyParams  # (B,) augmented
    valid: Tensor  # (B,) bool
    loss: Tensor  # (B,) ℓ


def labelled(names: Sequence[str]) -> list[int]:
    """The points that place a fit before the camera: the 24 labelled ones of spin49, of other sets all."""
    return list(range(len(OPENPOSE25), len(SPIN49))) if tuple(names) == SPIN49 else list(range(len(names)))


def spin_translation(points: Tensor, pixels: Tensor, confidence: Tensor) -> Tensor:
    """t* (B, 3). points: (B, K, 3) of the body without translation. pixels: (B, K, 2). confidence: (B, K)."""
    ray = pixels - RESOLUTION / 2
    eye = FOCAL * torch.eye(2).to(ray).expand(*ray.shape, 2)
    Q = torch.cat([eye, -ray[..., None]], -1) * confidence.sqrt()[..., None, None]
    c = (ray * points[..., 2:] - FOCAL * points[..., :2]) * confidence.sqrt()[..., None]
    A, b = torch.einsum("bkri,bkrj->bij", Q, Q), torch.einsum("bkri,bkr->bi", Q, c)
    return torch.linalg.solve_ex(A, b)[0]


def network_translation(weak_camera: Tensor) -> Tensor:
    """t^ (B, 3)."""
    s, txy = weak_camera[:, :1], weak_camera[:, 1:]
    return torch.cat([txy, 2 * FOCAL / (RESOLUTION * s + 1e-9)], 1)


def spin_project(points: Tensor, transl: Tensor) -> Tensor:
    """(B, K, 3), (B, 3) -> (B, K, 2) pixels of the crop about its middle."""
    there = points + transl[:, None]
    return FOCAL * there[..., :2] / there[..., 2:]


def data_loss(points: Tensor, transl: Tensor, pixels: Tensor, confidence: Tensor, names: Sequence[str]) -> Tensor:
    """ℓ (B,)."""
    squared = (spin_project(points, transl) + RESOLUTION / 2 - pixels).square()
    used = torch.tensor([name not in HIPS_AND_NECK for name in names]).to(confidence)
    robust = (SIGMA**2 * squared / (SIGMA**2 + squared)).sum(-1)
    return ((confidence * used).square() * robust).mean(1)


def spin_losses(
    regression: Regression, points: Tensor, should: SpinSupervision, seen: SeenCrop, sources: Tensor | None = None
) -> dict[str, Tensor]:
    """The weighted terms but that of 3D labels, by name; where nobody is valid, those of parameters are 0 with a
    gradient path.

    Args:
        points: (B, K, 3) of the estimated bodies. sources: (K,) weight of each keypoint's source; None for 1.
    """
    found = spin_project(points, network_translation(regression.weak_camera)) / (RESOLUTION / 2)
    weight = seen.confidence if sources is None else seen.confidence * sources
    keypoints = (weight[..., None] * (found - seen.keypoints).square()).mean()
    rotations = _mean_of_valid((regression.params.rotations - should.params.rotations).square(), should.valid)
    betas = _mean_of_valid((regression.params.betas - should.params.betas).square(), should.valid)
    return {
        "reprojection": ALL * KEYPOINT_WEIGHT * keypoints,
        "rotations": ALL * POSE_WEIGHT * rotations,
        "betas": ALL * BETAS_WEIGHT * betas,
        "positive_scale": ALL * positive_scale(regression.weak_camera),
    }


def spin_joints_3d(predicted: Tensor, joints: Tensor, confidence: Tensor) -> Tensor:
    """The weighted term of 3D labels: mean c (X − X^)² over people with labels, both about the middle of the LSP hips.

    Args:
        predicted, joints: (B, 24, 3) of spin24. confidence: (B, 24), 0 for everything of people without labels.
    """
    hips = [2, 3]
    centred, truth = (x - x[:, hips].mean(1, keepdim=True) for x in (predicted, joints))
    squared = confidence[..., None] * (centred - truth).square()
    return ALL * KEYPOINT_WEIGHT * _mean_of_valid(squared, (confidence > 0).any(1))


def _mean_of_valid(each: Tensor, valid: Tensor) -> Tensor:
    """Mean over the rows that are valid; 0 with a gradient path where none is."""
    rows = each.flatten(1).mean(1)
    return torch.where(valid, rows, 0.0).sum() / valid.sum().clamp_min(1)


class SpinLoop:
    """SPIN's loop over one store.

    Args:
        fitter: of the settings fit_spin. keys: of everybody, by `SeenCrop.row`.
        every: fit at each visit, as SPIN does; else at visits 1, 2, 4, 8, ...
    """

    def __init__(
        self,
        fitter: Fitter,
        store: FitStore,
        keys: Sequence[FitKey],
        source: str = "keypoint_network",
        every: bool = True,
    ) -> None:
        self.fitter, self.store, self.keys = fitter, store, list(keys)
        self.source, self.every = SOURCES.index(source), every
        self.stages = [replace(stage, options=STEPS) for stage in fitter.from_given.stages]

    @torch.no_grad()
    def visit(self, seen: SeenCrop, regression: Regression) -> SpinSupervision:
        """One step's update of the store, and what supervises the batch."""
        keys = [self.keys[i] for i in seen.row.tolist()]
        body = self.fitter.point_body(seen.names)
        pixels, confidence = seen.pixels, seen.confidence.double()
        fits, there = self.store.get(keys)
        params, old = self._stored(seen, fits, there, body, pixels, confidence)
        visits = torch.zeros(len(seen), dtype=torch.int64)
        visits[there] = fits.visits
        due = (is_power_of_two(visits + 1) | self.every).nonzero()[:, 0]
        if len(due):
            new, loss = self._fitted(seen[due], regression[due], body, pixels[due], confidence[due])
            update = loss < old[due]
            index, better = due[update], update.nonzero()[:, 0]
            rows = torch.arange(len(seen))
            rows[index] = len(seen) + better
            params, old = BodyParams.cat([params, new])[rows], torch.cat([old, loss])[rows]
            if len(index):
                self._keep(seen[index], [keys[i] for i in index.tolist()], params[index], old[index])
        self.store.visit(keys)
        return supervision(params, old, seen.truth.to(torch.float64), seen.has_truth)

    def _stored(
        self, seen: SeenCrop, fits: StoredFits, there: Tensor, body: PointBody, pixels: Tensor, confidence: Tensor
    ) -> tuple[BodyParams, Tensor]:
        """(the stored fits in the augmented crop, ℓ (B,)); ℓ = NEVER where there is none."""
        index, rows = there.nonzero()[:, 0], torch.arange(len(seen))
        rows[index] = len(seen) + torch.arange(len(index))
        none = seen.truth.map(lambda t: torch.zeros_like(t, dtype=torch.float64))
        params = BodyParams.cat([none, fits.params])[rows]
        turned = seen.turns.params(params, torch.zeros_like(params.transl), body.skeleton)
        at_origin = replace(turned, transl=torch.zeros_like(turned.transl))
        points, own = body.pose(at_origin).points, labelled(seen.names)
        transl = spin_translation(points[:, own], pixels[:, own], confidence[:, own])
        loss = data_loss(points, transl, pixels, confidence, seen.names).nan_to_num(NEVER, NEVER)
        return replace(at_origin, transl=transl), torch.where(there, loss, NEVER)

    def _fitted(
        self, seen: SeenCrop, regression: Regression, body: PointBody, pixels: Tensor, confidence: Tensor
    ) -> tuple[BodyParams, Tensor]:
        """(the fits from the network's answers, ℓ (B,))."""
        B = len(seen)
        answer = regression.map(Tensor.detach).to(torch.float64)
        orient, pose = (
            rotvec_to_matrix(matrix_to_rotvec(R).nan_to_num(0.0))
            for R in (answer.params.global_orient, answer.params.body_pose)
        )
        start = BodyParams(orient, pose, answer.params.betas, network_translation(answer.weak_camera))
        size = torch.full((B, 2), RESOLUTION, dtype=torch.float64)
        camera = Camera(torch.full_like(size, FOCAL), size / 2, size)
        observation = Observation.of(Keypoints(pixels, confidence, seen.names))
        begun = Begun.at(State(start, camera), replace(observation, start_depth=start.transl[:, 2]))
        found = self.fitter.route(seen.names).run(begun, self.stages).state.params
        points = body.pose(replace(found, transl=torch.zeros_like(found.transl))).points
        loss = data_loss(points, found.transl, pixels, confidence, seen.names)
        return found, loss.nan_to_num(NEVER, NEVER)

    def _keep(self, seen: SeenCrop, keys: list[FitKey], params: BodyParams, loss: Tensor) -> None:
        """Un-augmented, into the store."""
        B, J, S = len(params), params.rotations.shape[1], params.betas.shape[1]
        back = seen.turns.inverse.params(params, torch.zeros_like(params.transl), self.fitter.body.skeleton)
        size = torch.full((B, 2), RESOLUTION, dtype=torch.float64)
        camera, zero = Camera(torch.full_like(size, FOCAL), size / 2, size), torch.zeros(B, dtype=torch.float64)
        unknown = torch.zeros(B, J, 3, 3), torch.zeros(B, S), torch.zeros(B, J)
        number = torch.zeros(B, dtype=torch.int64)
        fits = StoredFits(back, camera, *unknown, loss, zero, number + self.source, number, loss < THRESHOLD)
        self.store.put(keys, fits, replace=True)


def supervision(params: BodyParams, loss: Tensor, truth: BodyParams, has_truth: Tensor) -> SpinSupervision:
    """Step 7: extreme shapes are the mean for supervision, the truth wins, valid is ℓ < 100 or true."""
    extreme = (params.betas.abs() > MOST_BETA).any(1)
    params = replace(params, betas=torch.where(extreme[:, None], 0.0, params.betas))
    B = len(loss)
    rows = torch.where(has_truth, B + torch.arange(B), torch.arange(B))
    return SpinSupervision(BodyParams.cat([params, truth])[rows], (loss < THRESHOLD) | has_truth, loss)

"""Where a detector's keypoints lie on the body, learned of keypoints alone: no pose of anybody is known.

    ρ_n = r_n + J_n x_n  ~  N(D_n d, S_n),   S_n = J_n Σ_n J_nᵀ + R_n             people n, all with the same d (3 K)
    D_nk = ∂Π(X_k)/∂X T_k,   T_k = Σ_b w_kb G_b                                   an offset turns with its bones

r are keypoints minus projections in fractions of the box, linearised at x about the network's estimate, Σ and R what
the error model predicts: whatever pose, shape and place could explain as well is in S. So the offsets of everybody
together are a linear problem of 3 K numbers,

    H = mean DᵀS⁻¹D,  g = mean DᵀS⁻¹ρ,      d ← d + (H + Λ)⁻¹ (g − H b − Λ d),      Λ = 1/(N σ_d²)

left and right tied by the mirror. The estimate and its error model are not free of bias themselves, b = H_s⁻¹ g_s: that
is what the same step finds of synthetic people who are seen by points at d, with the misses and the noise of these
people. Subtracting it makes the offsets right on average for such a detector, whatever Σ is (indirect inference).
Without b, the size of the body, which a picture does not tell from its distance, drifts away with every step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from hmrfit.body.point_offsets import PointOffsets
from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.keypoints import flip_permutation
from hmrfit.network.error_model import ErrorModel, PredictedError
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.moved_keypoints import MovedKeypoints
from hmrfit.synthetic.people import People, normal
from hmrfit.train.error_model_training import MOST, Case, case_of, linearise, moved, update
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.train.people_stream import assumed_camera
from hmrfit.types import BodyParams, Keypoints, TensorRecord

OFFSET_STD = 0.02
"""σ_d, metres: what is thought of an offset before anybody was seen. Detectors differ by 1 to 3 % of a person's box."""

RIDGE = 30.0
"""Added to H_s (1/metres² a person): directions in which synthetic people say nothing have no bias either."""

ROUNDS = 3
"""Newton steps; people are fitted anew before each."""

AT_ONCE = 256


@dataclass(frozen=True)
class SeenBy(TensorRecord):
    """How a detector saw N people: which keypoints it missed, and how noisy the others are."""

    confidence: Tensor  # (N, K), 0 where missed
    noise: Tensor  # (N, K) fractions of the box, per coordinate

    def of(self, people: People, points: PointBody, generator: torch.Generator) -> Keypoints:
        """Other people as the detector would see them, each as one of the N drawn at random.

        Args:
            points: of the body, where the detector has them.
        """
        drawn = self[torch.randint(len(self.noise), (len(people.joints),), generator=generator)]
        clean = Keypoints(people.camera.project(points.pose(people.params).points), drawn.confidence, points.names)
        size = (drawn.noise * clean.box_size()[:, None])[..., None]
        xy = clean.xy + size * normal(tuple(clean.xy.shape), generator)
        return Keypoints(torch.where(drawn.confidence[..., None] > 0, xy, 0.0), drawn.confidence, points.names)


class DetectorPoints:
    """Learns offsets by a network and its error model, which speak of the body's own points.

    Args:
        body: float64. network: without offsets. synthetic: people with their truth, in poses as people have them.
    """

    def __init__(self, body: SmplBody, network: KeypointHmr, errors: ErrorModel, synthetic: People) -> None:
        self.body, self.network, self.errors, self.synthetic = body, network, errors, synthetic
        self.joints = body.points(SMPL.names)

    def seen_by(self, people: KnownPeople, offsets: PointOffsets | None = None) -> SeenBy:
        """What the detector missed of these people, and how noisy the error model takes the rest for."""
        keypoints, names = people.keypoints, people.keypoints.names
        offsets = offsets or PointOffsets(names, torch.zeros(len(names), 3, dtype=torch.float64))
        parts = []
        for rows in torch.arange(len(keypoints)).split(AT_ONCE):
            _, predicted = self._case(keypoints[rows], people.camera[rows], offsets)
            parts.append(self.errors.noise_of(predicted, names))
        return SeenBy(keypoints.confidence, torch.cat(parts).double())

    def learn(self, people: KnownPeople, seed: int = 0, rounds: int = ROUNDS) -> PointOffsets:
        """The offsets of these people's detector."""
        names = people.keypoints.names
        seen, tied, d = self.seen_by(people), mirror_tie(names), torch.zeros(len(names), 3, dtype=torch.float64)
        unit = torch.eye(d.numel(), dtype=torch.float64)
        prior = unit / (len(people) * OFFSET_STD**2)
        lens = assumed_camera(self.synthetic.camera, torch.zeros(len(self.synthetic.joints), dtype=torch.bool))
        own = self.body.points(names)
        for _ in range(rounds):
            offsets = PointOffsets(names, d)
            H, g = self._normal_equations(people.keypoints, people.camera, offsets, tied)
            generator = torch.Generator().manual_seed(seed)  # the same draws each time: only d differs
            made = seen.of(self.synthetic, own.with_offsets(d), generator)
            H_s, g_s = self._normal_equations(made, lens, offsets, tied)
            bias = torch.linalg.solve(H_s + RIDGE * unit, g_s)
            step = torch.linalg.solve(H + prior, g - H @ bias - prior @ d.flatten())
            d = d + (tied @ step).view_as(d)
        covariance = tied @ torch.linalg.inv(len(people) * (H + prior)) @ tied.T
        std = covariance.diagonal().clamp_min(0).sqrt().view_as(d)
        notes = {"people": len(people), "standard_errors": {n: s.tolist() for n, s in zip(names, std, strict=True)}}
        return PointOffsets(names, d, notes=notes)

    def _normal_equations(
        self, keypoints: Keypoints, camera: Camera, offsets: PointOffsets, tied: Tensor
    ) -> tuple[Tensor, Tensor]:
        """H (3 K, 3 K) and g (3 K,) at the offsets, means over the people, left and right tied."""
        H, g = torch.zeros_like(tied), torch.zeros_like(tied[0])
        for rows in torch.arange(len(keypoints)).split(AT_ONCE):
            of_some = self._sums(keypoints[rows], camera[rows], offsets)
            H, g = H + of_some[0], g + of_some[1]
        return tied.T @ H @ tied / len(keypoints), tied.T @ g / len(keypoints)

    @torch.no_grad()
    def _sums(self, keypoints: Keypoints, camera: Camera, offsets: PointOffsets) -> tuple[Tensor, Tensor]:
        """Of a few people, DᵀS⁻¹D and DᵀS⁻¹ρ summed."""
        case, predicted = self._case(keypoints, camera, offsets)
        x = torch.zeros(len(case.box), predicted.scale.shape[1] + 4).to(case.box)
        x, *_ = update(case, predicted, x, linearise(case, x))
        rotations = slice(3, 3 + 3 * len(SMPL))
        x[:, rotations] = x[:, rotations].clamp(-MOST, MOST)
        at = linearise(case, x)
        _, _, factor = update(case, predicted, x, at)
        D = self._derivative(case, *moved(case, x))
        seen = case.visible.repeat_interleave(2, 1)[..., None]
        innovation = seen * (at.residuals.flatten(1)[..., None] + at.J @ x[..., None])
        SD = torch.cholesky_solve(D, factor)
        return (D.mT @ SD).sum(0), (SD.mT @ innovation).sum(0)[:, 0]

    def _case(self, keypoints: Keypoints, camera: Camera, offsets: PointOffsets) -> tuple[Case, PredictedError]:
        """The people with the network's estimate at the offsets, and what the error model says of it. Nobody's truth is
        known, and none is read."""
        seeing = self.network.seeing(MovedKeypoints(self.body, offsets))
        estimate, encoded = seeing.forward(keypoints, camera)
        points = self.body.points(keypoints.names).with_offsets(offsets.of(keypoints.names))
        people = People(estimate.params, camera, keypoints, keypoints, estimate.params.transl)
        case = case_of(people, points, self.joints, camera, self.errors, estimate, encoded)
        residuals = (keypoints.xy - camera.project(points.pose(estimate.params).points)) / case.box[:, None, None]
        return case, self.errors.predict(encoded, estimate, residuals, camera.focal_known)

    @staticmethod
    def _derivative(case: Case, params: BodyParams, camera: Camera) -> Tensor:
        """D (B, 2 K, 3 K): of fractions of the box by metres."""
        posed = case.body.pose(params)
        each = camera.project_jacobian(posed.points) @ case.body.turns(posed) / case.box[:, None, None, None]
        each = each * case.visible[..., None, None]
        B, K = each.shape[:2]
        D = each.new_zeros(B, K, 2, K, 3)
        places = torch.arange(K)
        D[:, places, :, places] = each.transpose(0, 1)
        return D.view(B, 2 * K, 3 * K)


def mirror_tie(names: tuple[str, ...]) -> Tensor:
    """(3 K, 3 K) the projection of offsets on those that are their own mirror image: x of the other side negative."""
    K, other = len(names), flip_permutation(names)
    tie = torch.zeros(K, 3, K, 3, dtype=torch.float64)
    for k, mate in enumerate(other):
        for axis, sign in enumerate((-1.0, 1.0, 1.0)):
            tie[k, axis, k, axis] += 0.5
            tie[k, axis, mate, axis] += 0.5 * sign
    return tie.view(3 * K, 3 * K)

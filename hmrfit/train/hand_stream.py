"""Hands for the keypoint HMR of hands: endless right hands in free poses, seen from everywhere, and the network.

    a pose   = a source's pose; with some chance fingers of other poses, each between two of them; or a draw of the
               Gaussian pose prior;  and a little noise on every joint
    a hand   = a pose, random betas, an orientation uniform over all rotations, a camera, one of the sets of hands'
               keypoints, and what a detector does to it

Everything else is the body's: `Batch`, `KeypointObjective`, `Trainer`. Left hands are seen as the right hands of the
mirror image.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import Camera
from hmrfit.hand_keypoints import HAND_SETS, hand_set
from hmrfit.keypoints import FINGERS
from hmrfit.network.encoders import KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor, ThetaLayout
from hmrfit.ops.rotation import quaternion_to_matrix, rotvec_to_matrix
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.people import Corruption, People, corrupt, normal, uniform
from hmrfit.train.losses import KeypointLossWeights
from hmrfit.train.people_stream import Batch, as_batch
from hmrfit.types import BodyParams, Keypoints

HAND_NAMES = tuple(dict.fromkeys(point for name in HAND_SETS for point in hand_set(name, "right").names))
"""The points that the network has slots for: those of all sets, of a right hand."""

SET_WEIGHTS = {"hand21": 4.0}
"""How often a set is drawn; 1 for those that are not here. Orders of the same points are one set."""

HAND_LOSS = KeypointLossWeights(joints=60.0, canonical=60.0, rotations=1.0, betas=0.02, reprojection=4.0, adversarial=0)
"""Distances of a hand's joints are a tenth of a body's, so they weigh more."""

SIZE = (640, 480)

FINGER_JOINTS = 3


@dataclass(frozen=True)
class HandSampling:
    """How hands are drawn.

    mixed: the fraction whose fingers are of different poses. from_prior: the fraction drawn from the pose prior.
    jitter: radians, of every number of a pose. seen_at: the hand's extent over its distance, log-uniform: a hand fills
    0.2 of a sphere's radius at 0.9 m. aside: of the optical axis, at most, as a tangent. known_focal: the fraction
    whose focal length the network is told.
    """

    mixed: float = 0.5
    from_prior: float = 0.25
    jitter: float = 0.08
    seen_at: tuple[float, float] = (0.1, 0.8)
    aside: float = 0.6
    lens: tuple[float, float] = (350.0, 1300.0)  # pixels of SIZE, log-uniform
    known_focal: float = 0.6
    corruption: Corruption = field(
        default_factory=lambda: Corruption(noise=(0.003, 0.04), missing=(0.0, 0.35), occluder=0.15, unsure=0.25)
    )


@dataclass(frozen=True)
class FingerPool:
    """Poses to draw from: rotation vectors (N, 15, 3) of a right hand in MANO's order, and how often each is drawn."""

    poses: Tensor
    weight: Tensor  # (N,)
    gmm: PoseGmm

    @classmethod
    def build(cls, vectors: NDArray[np.float64], source: NDArray[np.str_], gmm: PoseGmm) -> Self:
        """A source counts by the root of its size, as in the pose prior. source: (N,) where each is from."""
        weight = np.array([1 / np.sqrt((source == name).sum()) for name in source])
        return cls(torch.as_tensor(vectors, dtype=torch.float32), torch.as_tensor(weight), gmm)

    def sample(self, count: int, generator: torch.Generator, how: HandSampling) -> Tensor:
        """(count, 15, 3) rotation vectors, float32."""
        F = len(FINGERS)
        own = torch.multinomial(self.weight, count, True, generator=generator)
        a, b = torch.multinomial(self.weight, 2 * count * F, True, generator=generator).view(2, count, F)
        finger = torch.arange(F).repeat_interleave(FINGER_JOINTS)  # of each joint, in MANO's order
        joint, mix = torch.arange(F * FINGER_JOINTS), uniform(0.0, 1.1, (count, F), generator).float()[:, finger, None]
        first, second = (self.poses[which[:, finger], joint] for which in (a, b))
        draw = uniform(0, 1, count, generator)[:, None, None]
        pose = torch.where(draw < how.mixed, first + mix * (second - first), self.poses[own])
        drawn = self.gmm.sample(count, generator).float().unflatten(1, (-1, 3))
        pose = torch.where(draw > 1 - how.from_prior, drawn, pose)
        level = how.jitter * torch.randn(count, 1, 1, generator=generator).abs()
        return pose + level * torch.randn(pose.shape, generator=generator)


@dataclass
class HandStream:
    """Endless batches; what comes next depends on the generator alone, whose state can be saved and set."""

    body: PointBody  # of the names that the network has slots for, float32
    pool: FingerPool
    generator: torch.Generator
    how: HandSampling = field(default_factory=HandSampling)

    def __post_init__(self) -> None:
        sets = {frozenset(hand_set(name, "right").names): SET_WEIGHTS.get(name, 1.0) for name in reversed(HAND_SETS)}
        self._member = torch.tensor([[name in names for name in self.body.names] for names in sets])
        self._weight = torch.tensor(list(sets.values()))

    def batch(self, count: int, progress: float = 0.0) -> Batch:
        """The next `count` hands."""
        hands = self.hands(count)
        return as_batch(hands, uniform(0, 1, count, self.generator) < self.how.known_focal)

    def hands(self, count: int) -> People:
        """The next `count` hands with their truth."""
        g, how, like = self.generator, self.how, self.body.rest_joints
        pose = rotvec_to_matrix(self.pool.sample(count, g, how).to(like))
        orient = quaternion_to_matrix(normal((count, 4), g)).to(like)
        betas = normal((count, self.body.joint_shapes.shape[-1]), g).to(like)
        params = BodyParams(orient, pose, betas, like.new_zeros(count, 3))
        posed = self.body.pose(params)
        transl, camera = self._placed(posed.points)
        exist = self._member[torch.multinomial(self._weight, count, True, generator=g)].to(like)
        clean = Keypoints(camera.project(posed.points + transl[:, None]), exist, self.body.names)
        seen = corrupt(clean, how.corruption, g, camera.size)
        return People(replace(params, transl=transl), camera, clean, seen, posed.joints + transl[:, None])

    def _placed(self, points: Tensor) -> tuple[Tensor, Camera]:
        """(translations (B, 3), cameras): as far away as the hand's extent asks, anywhere beside the axis."""
        B, how, g = len(points), self.how, self.generator
        middle, extent = 0.5 * (points.amax(1) + points.amin(1)), (points.amax(1) - points.amin(1)).amax(1)
        depth = extent / _log_uniform(how.seen_at, B, g).to(points) + 0.5 * extent
        across = how.aside * uniform(-1, 1, (B, 2), g).to(points) * uniform(0, 1, (B, 1), g).to(points)
        target = torch.cat([across * depth[:, None], depth[:, None]], 1)
        focal, size = _log_uniform(how.lens, B, g).to(points), points.new_tensor([SIZE]).expand(B, 2)
        return target - middle, Camera(focal[:, None].expand(-1, 2), size / 2, size)


def _log_uniform(ends: tuple[float, float], count: int, generator: torch.Generator) -> Tensor:
    """(count,) between both ends."""
    return uniform(math.log(ends[0]), math.log(ends[1]), count, generator).exp()


def hand_network(
    width: int = 256, blocks: int = 2, hidden: int = 256, betas: int = 10, names: Sequence[str] = HAND_NAMES
) -> HMR:
    """The keypoint HMR of right hands, its weights random: Θ = 3 camera, 16 rotations in 6D, betas."""
    layout = ThetaLayout(joints=1 + len(FINGERS) * FINGER_JOINTS, betas=betas)
    regressor = IterativeRegressor(width, layout, hidden=hidden, dropout=0.0, learn_mean=True)
    return HMR(KeypointEncoder(width, blocks, names=names), regressor)

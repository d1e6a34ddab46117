"""Training data without images: endless people, posed by motion and more than motion, seen by any keypoint set.

    a pose   = a frame of the motion, or its mirror, drawn by its class's weight
             + with some chance the legs, or an arm, of another frame
             + a little noise on every joint;        or, with some chance, a sample of the pose prior
    a person = a pose, random betas, a camera from all around, a keypoint set, and what a detector does to it

Joints that a source does not drive are no fact about the pose. Half of the frames keep them as they are (identity), in
the other half they are drawn from the pose prior given the rest, so that the network knows both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera, default_focal, pixels_to_crop, translation_to_weak
from hmrfit.keypoints import keypoint_sets
from hmrfit.motion import mirror_poses
from hmrfit.motion.rest import MIRROR
from hmrfit.network.encoders import normalise_keypoints, view_of_box
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.hard_people import HardPeopleMaker
from hmrfit.synthetic.people import Corruption, People, Views, normal, people_from_points, uniform
from hmrfit.types import BodyParams, TensorRecord

LEFT_LEG, RIGHT_LEG = SMPL.below("left_hip"), SMPL.below("right_hip")
LEFT_ARM, RIGHT_ARM = SMPL.below("left_collar"), SMPL.below("right_collar")
SET_WEIGHTS = {"coco17": 5.0, "openpose25": 3.0}
"""How often a keypoint set is drawn; 1 for those that are not here."""


@dataclass(frozen=True)
class Mixture:
    """How poses are made of frames. Probabilities, and radians for `jitter`."""

    other_legs: float = 0.3
    other_arm: float = 0.2
    jitter: float = 0.06
    from_prior: float = 0.1
    filled: float = 0.5


@dataclass(frozen=True)
class PosePool:
    """Frames to draw from: poses (N, 24, 3) rotation vectors, the same with undriven joints filled, weights (N,)."""

    poses: Tensor
    filled: Tensor
    weight: Tensor
    gmm: PoseGmm
    limits: JointLimits

    @classmethod
    def build(cls, frames: Mapping[str, np.ndarray], gmm: PoseGmm, limits: JointLimits, seed: int = 0) -> "PosePool":
        """From `load_frames`, each frame a second time as a mirror shows it."""
        poses = torch.as_tensor(np.concatenate([frames["poses"], mirror_poses(frames["poses"])]))
        driven = torch.as_tensor(np.concatenate([frames["driven"], frames["driven"][:, MIRROR]]))
        generator = torch.Generator().manual_seed(seed)
        filled = poses.clone()
        filled[:, 1:] = fill_undriven(gmm, poses[:, 1:], driven[:, 1:], generator)
        weight = torch.as_tensor(np.tile(frames["weight"], 2))
        return cls(poses.float(), filled.float(), weight, gmm, limits)

    def to(self, device: torch.device | str) -> "PosePool":
        """The same pool elsewhere, to be drawn from by a generator there."""
        return PosePool(
            self.poses.to(device),
            self.filled.to(device),
            self.weight.to(device),
            self.gmm.to(device),
            self.limits.to(device),
        )

    def sample(self, count: int, generator: torch.Generator, how: Mixture) -> Tensor:
        """(count, 24, 3) world poses, on the pool's and the generator's device."""
        own, legs, arms = torch.multinomial(self.weight, 3 * count, True, generator=generator).view(3, count)
        keep = (uniform(0, 1, count, generator) < how.filled)[:, None, None]
        first, other, third = (torch.where(keep, self.filled[i], self.poses[i]) for i in (own, legs, arms))
        pose = _exchange(first, other, LEFT_LEG + RIGHT_LEG, how.other_legs, generator)
        for arm in (LEFT_ARM, RIGHT_ARM):
            pose = _exchange(pose, third, arm, how.other_arm, generator)
        noise = torch.randn(count, 1, 1, generator=generator, device=generator.device).abs() * how.jitter
        pose = pose + noise * torch.randn(pose.shape, generator=generator, device=generator.device)
        if how.from_prior:
            drawn = torch.cat([first[:, :1], self._from_prior(count, generator)], 1)
            pose = torch.where((uniform(0, 1, count, generator) < how.from_prior)[:, None, None], drawn, pose)
        return pose

    def _from_prior(self, count: int, generator: torch.Generator) -> Tensor:
        """(count, 23, 3) samples of the mixture, drawn into the joint limits."""
        theta = self.gmm.sample(count, generator)
        return theta.clamp(self.limits.lower, self.limits.upper).unflatten(1, (-1, 3)).float()


def _exchange(
    pose: Tensor, other: Tensor, joints: tuple[int, ...], chance: float, generator: torch.Generator
) -> Tensor:
    """`pose` with some people's `joints` taken from `other`; both (B, J, 3)."""
    joint = torch.zeros(pose.shape[1], dtype=torch.bool, device=pose.device)
    joint[list(joints)] = True
    person = uniform(0, 1, len(pose), generator) < chance
    return torch.where((person[:, None] & joint)[..., None], other, pose)


def fill_undriven(gmm: PoseGmm, poses: Tensor, driven: Tensor, generator: torch.Generator) -> Tensor:
    """Poses (N, 23, 3) with what is not driven (N, 23) drawn from the mixture given what is.

    Of the component likeliest for the driven joints: its conditional mean, and noise of its conditional covariance.
    """
    theta = poses.flatten(1).clone()
    patterns, index = driven.unique(dim=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        rows = (index == i).nonzero()[:, 0]
        columns = pattern.repeat_interleave(3)
        if columns.all():
            continue
        known, rest = columns.nonzero()[:, 0], (~columns).nonzero()[:, 0]
        theta[rows] = gmm.fill(theta[rows], known)
        k = gmm.marginal(known).energies(theta[rows][:, known]).argmin(-1)
        factor = torch.linalg.cholesky(torch.linalg.inv(gmm.precisions[:, rest][:, :, rest]))
        noise = normal((len(rows), len(rest), 1), generator)
        theta[rows[:, None], rest] += (factor[k] @ noise).squeeze(-1)
    return theta.view_as(poses)


REAL = Mixture(other_legs=0.0, other_arm=0.0, jitter=0.0, from_prior=0.0, filled=1.0)
"""Frames as they were captured; joints that a source does not drive, drawn from the prior."""


@dataclass
class MotionPeople:
    """Real bodies in real poses, for the discriminators: frames of motion, shapes as people have them."""

    pool: PosePool
    betas: int
    generator: torch.Generator

    def sample(self, count: int) -> BodyParams:
        """`count` people at the origin, float32."""
        poses = rotvec_to_matrix(self.pool.sample(count, self.generator, REAL))
        betas = torch.randn(count, self.betas, generator=self.generator)
        return BodyParams(poses[:, 0], poses[:, 1:], betas, poses.new_zeros(count, 3))


@dataclass(frozen=True)
class Batch(TensorRecord):
    """B people as the keypoint HMR is trained on them."""

    points: Tensor  # (B, K, 3) in the box's [-1, 1], and confidence
    view: Tensor  # (B, 3)
    params: BodyParams
    camera: Camera  # the true one
    box_center: Tensor  # (B, 2)
    box_side: Tensor  # (B,)
    weak_camera: Tensor  # (B, 3) of the truth
    clean: Tensor  # (B, K, 2) in the box's [-1, 1], undisturbed
    joints: Tensor  # (B, 24, 3) camera frame, metres


@dataclass(frozen=True)
class Sampling:
    """How people are drawn. known_focal: the fraction of them whose focal length is known."""

    mixture: Mixture
    views: Views
    corruption: Corruption
    known_focal: float = 0.25


WIDE = Sampling(
    Mixture(),
    Views(elevation=(-20.0, 45.0), roll=8.0, fill=(0.25, 1.15), tilted=0.1, tumbled=0.04, beyond=0.15),
    Corruption(
        noise=(0.003, 0.03), missing=(0.0, 0.4), occluder=0.2, truncated=True, swapped=0.03, unsure=0.4, stray=0.6
    ),
)
"""At the beginning of a run: everything, far poses and bad keypoints often."""

NEARER = Sampling(
    Mixture(other_legs=0.2, other_arm=0.12, jitter=0.04, from_prior=0.06, filled=0.35),
    Views(elevation=(-20.0, 45.0), roll=8.0, fill=(0.25, 1.1), tilted=0.08, tumbled=0.03, beyond=0.12),
    Corruption(
        noise=(0.003, 0.02), missing=(0.0, 0.3), occluder=0.15, truncated=True, swapped=0.02, unsure=0.3, stray=0.6
    ),
)
"""Later: the same, nearer to what is met most. Little can be known of hard samples, and they cost as much."""

CHANGE = 0.46
"""The fraction of a run after which `NEARER` takes the place of `WIDE`."""


@dataclass
class PeopleStream:
    """Endless batches; what comes next depends on the generator alone, whose state can be saved and set."""

    body: PointBody  # of the names that the network has slots for
    pool: PosePool
    generator: torch.Generator
    early: Sampling = WIDE
    late: Sampling = NEARER
    hard: float = 0.0  # the fraction of `HardPeople`

    def __post_init__(self) -> None:
        if not 0 <= self.hard < 1:
            raise ValueError(f"The fraction of hard people should lie from 0 to below 1, but is {self.hard}.")
        sets = [(names, SET_WEIGHTS.get(key, 1.0)) for key, names in keypoint_sets().items()]
        place = self.generator.device
        self._member = torch.tensor([[name in names for name in self.body.names] for names, _ in sets], device=place)
        self._weight = torch.tensor([weight for _, weight in sets], device=place)
        self._maker = hard_people(self.body, self.pool) if self.hard else None

    def batch(self, count: int, progress: float = 0.0) -> Batch:
        """The next `count` people, `progress` (0 to 1) into a run."""
        how = self.early if progress < CHANGE else self.late
        many = round(self.hard * count)
        poses = self.pool.sample(count - many, self.generator, how.mixture)
        exist = self._member[torch.multinomial(self._weight, count, True, generator=self.generator)]
        usual, rest = exist[: count - many], exist[count - many :]
        people = people_from_points(self.body, poses, self.generator, how.views, how.corruption, usual)
        if self._maker is not None and many:
            people = People.cat([people, hard_rows(self._maker, many, self.generator, rest)])
        known = uniform(0, 1, count, self.generator) < how.known_focal
        return as_batch(people, known)


def hard_people(body: PointBody, pool: PosePool) -> HardPeopleMaker:
    """What makes hard people of a pool's poses, seen by the points of a body."""
    return HardPeopleMaker(body, pool.filled, pool.weight)


def hard_rows(maker: HardPeopleMaker, count: int, generator: torch.Generator, exist: Tensor | None = None) -> People:
    """`count` people of a maker, those with four keypoints or more first: of a few more that are drawn.

    exist: (count, K) which of the points each person has, where several sets are mixed; None for all.
    """
    drawn = count + count // 8 + 8
    rows = torch.randint(1 << 62, (drawn,), generator=generator, device=generator.device)
    people = maker.people(rows).people
    if exist is not None:
        people = only(people, exist[torch.arange(drawn, device=exist.device) % count])
    few = (people.keypoints.confidence > 0).sum(1) < LEAST_SEEN
    return people[few.to(torch.int8).argsort(stable=True)[:count]]


LEAST_SEEN = 4
"""Keypoints. Of people with fewer, nothing can be learned."""


def only(people: People, exist: Tensor) -> People:
    """The people with some of their keypoints, those of the set that each is seen by. exist: (B, K) bool."""
    keypoints, clean = people.keypoints, people.clean
    seen = keypoints.confidence * exist
    xy = torch.where((seen > 0)[..., None], keypoints.xy, 0.0)
    found = replace(keypoints, xy=xy, confidence=seen)
    return replace(people, keypoints=found, clean=replace(clean, confidence=clean.confidence * exist))


def as_batch(people: People, focal_known: Tensor) -> Batch:
    """People as the network sees them. focal_known (B,): whether it has their true focal length, or the assumed one."""
    points, center, side = normalise_keypoints(people.keypoints)
    camera = people.camera
    view = view_of_box(center, side, assumed_camera(camera, focal_known))
    weak = translation_to_weak(people.params.transl, center, side, camera)
    clean = pixels_to_crop(people.clean.xy, center, side)
    return Batch(points, view, people.params, camera, center, side, weak, clean, people.joints)


def assumed_camera(camera: Camera, focal_known: Tensor) -> Camera:
    """The true camera with the default focal length wherever it is not known (B,)."""
    default = default_focal(*camera.size.T)[:, None]
    focal = torch.where(focal_known[:, None], camera.focal, default)
    return replace(camera, focal=focal, focal_known=focal_known)

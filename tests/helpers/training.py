"""A training run small enough for a test: made-up motion, a narrow network, batches of a few people."""

from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from helpers.bodies import PRIORS, free_body

from hmrfit.body.points import PointBody
from hmrfit.camera import PIXEL_CENTER
from hmrfit.datasets.spin_npz import BOX_UNIT, SpinDataset, write_spin_npz
from hmrfit.io.image import write_image
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KEYPOINT_NAMES, ImageEncoder, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.dataset import SceneDataset
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.images import SPIN49, MixedPeople, PersonSample, ScenePeople
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights, LossWeights, source_weights
from hmrfit.train.objectives import ImageObjective, KeypointObjective
from hmrfit.train.people_stream import MotionPeople, PeopleStream, PosePool
from hmrfit.train.trainer import Trainer, TrainingSchedule

UNDRIVEN = (13, 14, 22, 23)
"""Collars and hands, as in most motion."""


def frames(count: int = 60, seed: int = 0) -> dict[str, np.ndarray]:
    """Made-up motion as `load_frames` gives it: identity where it is not driven."""
    rng = np.random.default_rng(seed)
    driven = np.ones((count, 24), dtype=bool)
    driven[: count // 2, UNDRIVEN] = False
    poses = np.where(driven[..., None], rng.normal(0, 0.2, (count, 24, 3)), 0.0)
    return {"poses": poses, "driven": driven, "weight": rng.uniform(0.5, 1.5, count), "label": np.full(count, "made")}


def gmm() -> PoseGmm:
    return PoseGmm.from_file(PRIORS / "pose_gmm.npz")


@cache
def points(names: tuple[str, ...]) -> PointBody:
    """Of the free body, in float32."""
    return free_body().to(dtype=torch.float32).points(names)


@cache
def pool() -> PosePool:
    return PosePool.build(frames(), gmm(), JointLimits.from_file(PRIORS / "joint_limits.npz"))


def stream(seed: int = 0, **settings) -> PeopleStream:
    return PeopleStream(points(KEYPOINT_NAMES), pool(), torch.Generator().manual_seed(seed), **settings)


def network(seed: int = 0) -> HMR:
    torch.manual_seed(seed)
    return HMR(KeypointEncoder(48, 1), IterativeRegressor(48, hidden=48, dropout=0.0, learn_mean=True))


def trainer(weights: KeypointLossWeights | None = None, **schedule) -> Trainer:
    """Four people of each batch go through the discriminators; products in float32 by default."""
    schedule = TrainingSchedule(
        **{"batch": 16, "steps": 6, "discriminated": 4, "half": False, "warm_up": 2, **schedule}
    )
    hmr = network()  # it seeds what follows
    discriminators = FactorizedDiscriminator(width=8, hidden=16)
    return Trainer(hmr, discriminators, KeypointObjective(stream(), points(LANDMARKS), weights), schedule)


def flat(state, prefix="") -> dict[str, object]:
    """A nested state as one dictionary."""
    if isinstance(state, dict | list):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {name: value for key, inner in items for name, value in flat(inner, f"{prefix}{key}.").items()}
    return {prefix: state}


def same(a, b) -> list[str]:
    """Where two states differ, the time they took left out."""
    a, b = flat(a), flat(b)
    assert a.keys() == b.keys()
    unlike = lambda x, y: not torch.equal(x, y) if isinstance(x, torch.Tensor) else x != y  # noqa: E731
    return [name for name in a if name != "seconds." and unlike(a[name], b[name])]


# ---- images


def poses() -> torch.Tensor:
    return torch.as_tensor(frames()["poses"])


@cache
def scenes(count: int = 6, resolution: int = 40) -> SceneDataset:
    return SceneDataset(free_body(), poses(), count, resolution, "spin49")


def write_scenes(folder: Path, count: int = 4, resolution: int = 48) -> Path:
    """Scenes as a dataset of images and their npz in SPIN's format, as the readers write real ones.

    The crop is the whole image; pixel centres are at integers, as annotators click.
    """
    sample = ScenePeople(scenes(count, resolution))
    people = PersonSample.collate([sample[i] for i in range(count)])
    names = [f"images/{i}.png" for i in range(count)]
    for name, picture in zip(names, people.images, strict=True):
        write_image(folder / name, picture.permute(1, 2, 0).numpy())
    pixels = (people.keypoints + 1) / 2 * resolution - PIXEL_CENTER
    points = torch.cat([pixels, people.confidence[..., None]], -1).numpy()
    joints = torch.cat([people.joints, torch.ones_like(people.joints[..., :1])], -1).numpy()
    orient, pose = people.params.to_rotvecs()
    dataset = SpinDataset(
        np.array(names),
        np.full((count, 2), resolution / 2),
        np.full(count, resolution / BOX_UNIT),
        points[:, 25:],
        points[:, :25],
        joints,
        torch.cat([orient, pose], 1).numpy(),
        people.params.betas.numpy(),
        np.arange(count) % 2,
    )
    write_spin_npz(folder / "people.npz", dataset)
    return folder / "people.npz"


def image_trainer(people: MixedPeople, weights: LossWeights | None = None, **schedule) -> Trainer:
    """A narrow regressor behind the smallest encoder, its stages narrower still."""
    torch.manual_seed(0)
    with mock.patch("hmrfit.network.resnet.STAGE_WIDTHS", (8, 8, 16, 32)):
        encoder = ImageEncoder("resnet10")
    hmr = HMR(encoder, IterativeRegressor(encoder.features, hidden=32))
    schedule = TrainingSchedule(**{"batch": 6, "steps": 4, "discriminated": 1, "half": False, "warm_up": 2, **schedule})
    real = MotionPeople(pool(), 10, torch.Generator().manual_seed(3))
    objective = ImageObjective(people, real, points(SPIN49), weights, source_weights(0.5, 1.0))
    return Trainer(hmr, FactorizedDiscriminator(width=8, hidden=16), objective, schedule)


def made(seed: int = 0) -> MixedPeople:
    """Augmented scenes, no other dataset."""
    how = Augmentation(translation=0.05, occluded=0.3)
    return MixedPeople([ScenePeople(scenes(), how, remembered=True)], [1.0], seed)

"""From settings to a training run: network, discriminators, lesson, and how the run is measured and drawn.

An encoder is one function in `RUNS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial

import numpy as np
import torch

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import device_of
from hmrfit.config import ConfigError
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.io.image import Image
from hmrfit.network.checkpoints import load_hmr, load_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KEYPOINT_NAMES, ImageEncoder, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.ops.check import did_you_mean
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.dataset import SceneDataset
from hmrfit.train import distributed as ranks
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.contact_sheet import validation_sheet
from hmrfit.train.image_objective import ImageLesson, MotionPeople
from hmrfit.train.image_validation import scene_score, scene_sheet
from hmrfit.train.images import SPIN49, PersonImages, ScenePeople
from hmrfit.train.keypoint_loss import LANDMARKS, KeypointLossWeights
from hmrfit.train.losses import LossWeights, source_weights
from hmrfit.train.mixed import MixedPeople
from hmrfit.train.objective import KeypointLesson, Lesson
from hmrfit.train.people import Mixture, PeopleStream, PosePool
from hmrfit.train.trainer import Schedule, Trainer
from hmrfit.train.validation import validation_score

SEEDS_APART = 1000
"""Between the people of one process and the next."""

ASIDE = 7
"""The seed of scenes that are only looked at."""

DATASET_KEYS = ("FILE", "ROOT", "SHARE")

Frames = Mapping[str, np.ndarray]
"""Motion, as `load_frames` gives it."""

Run = tuple[Trainer, Callable[[HMR], Mapping[str, float]], Callable[[HMR], Image] | None]
"""A trainer; what to measure of its network; what to draw, if anything."""


def build_keypoint_run(settings, body: SmplBody, frames: Frames, aside: Frames) -> Run:
    """The keypoint HMR's trainer, and what is measured and drawn of it on people set aside."""
    how = settings.TRAIN
    score, picture = validation_score(body, aside, how.SCORED), validation_sheet(body, aside, how.DRAWN)
    return build_trainer(settings, body, frames), score, picture


def build_trainer(settings, body: SmplBody, frames: Frames) -> Trainer:
    """The network, its discriminators and its people, as the settings want them; the seed decides all chance."""
    how = settings.TRAIN
    torch.manual_seed(settings.SEED)
    single, device = body.to(dtype=torch.float32), _device(settings)
    points = single.points(KEYPOINT_NAMES).to(device=device)
    stream = PeopleStream(points, _pool(settings, frames).to(device), _generator(settings, device))
    hmr = _keypoint_hmr(how)
    weights = KeypointLossWeights if how.PAIRED else KeypointLossWeights.unpaired
    lesson = KeypointLesson(stream, single.points(LANDMARKS), weights(adversarial=how.ADVERSARIAL))
    return _trainer(settings, hmr, lesson)


def _keypoint_hmr(how) -> HMR:
    """Random weights, or those to begin with, whose own sizes then count."""
    if not how.BEGIN:
        regressor = IterativeRegressor(how.WIDTH, hidden=how.HIDDEN, dropout=0.0, learn_mean=True)
        return HMR(KeypointEncoder(how.WIDTH, how.BLOCKS), regressor)
    hmr = load_hmr(locate("weights to begin with", how.BEGIN))
    if not isinstance(hmr.encoder, KeypointEncoder) or hmr.encoder.names != KEYPOINT_NAMES:
        raise ConfigError(
            f"TRAIN.BEGIN, '{how.BEGIN}', is no keypoint HMR of this version's {len(KEYPOINT_NAMES)} keypoint names. "
            "Leave it out to begin anew."
        )
    return hmr.train().requires_grad_(True)


def _trainer(settings, hmr: HMR, lesson: Lesson) -> Trainer:
    how = settings.TRAIN
    schedule = Schedule(how.BATCH, how.STEPS, how.MINUTES, how.RATE, half=how.HALF, judged=max(1, how.BATCH // 8))
    return Trainer(hmr, FactorizedDiscriminator(hidden=512), lesson, schedule, _device(settings))


def _device(settings) -> torch.device:
    """Of this process: where the network is, and where people are made that need no image."""
    device = device_of(settings.TRAIN.DEVICE, "TRAIN.DEVICE")
    return torch.device(device, ranks.local_rank() if device == "cuda" else None)


def _pool(settings, frames: Frames) -> PosePool:
    gmm = PoseGmm.from_file(locate(settings.PRIORS.GMM))
    limits = JointLimits.from_file(locate(settings.PRIORS.LIMITS))
    return PosePool.build(frames, gmm, limits, settings.SEED)


def _generator(settings, device: torch.device | str = "cpu") -> torch.Generator:
    """Of this process. Another kind of device draws other numbers."""
    return torch.Generator(device).manual_seed(settings.SEED + 1 + SEEDS_APART * ranks.rank())


# ---- the image HMR


def build_image_run(settings, body: SmplBody, frames: Frames, aside: Frames) -> Run:
    """The image HMR's trainer, and what is measured and drawn of it on scenes of motion set aside."""
    how = settings.TRAIN
    unseen = SceneDataset(
        body, torch.as_tensor(aside["poses"]), how.SCORED + how.DRAWN, how.IMAGE.RESOLUTION, seed=ASIDE
    )
    score, picture = scene_score(body, unseen, how.SCORED), scene_sheet(body, unseen, how.DRAWN)
    return build_image_trainer(settings, body, frames), score, picture


def build_image_trainer(settings, body: SmplBody, frames: Frames) -> Trainer:
    """The image network, its discriminators, and the datasets and scenes it is trained on."""
    how, image = settings.TRAIN, settings.TRAIN.IMAGE
    torch.manual_seed(settings.SEED)
    pool, points = _pool(settings, frames), body.to(dtype=torch.float32).points(SPIN49)
    people = _mixed_people(settings, body, pool)
    real = MotionPeople(pool, points.joint_shapes.shape[-1], _generator(settings))
    terms = (image.REPROJECTION, image.JOINTS_3D, image.SMPL, how.ADVERSARIAL)
    weights = LossWeights(*terms, paired=how.PAIRED)
    lesson = ImageLesson(people, real, points, weights, source_weights(image.OPENPOSE_WEIGHT, image.GT_WEIGHT))
    hmr = _image_hmr(how)
    hmr.encoder.to(memory_format=torch.channels_last)
    return _trainer(settings, hmr, lesson)


def _image_hmr(how) -> HMR:
    """Random weights, or those to begin with."""
    begun = load_network(locate("weights to begin with", how.IMAGE.BEGIN)) if how.IMAGE.BEGIN else None
    if isinstance(begun, HMR):
        return begun.train()
    encoder = ImageEncoder(how.IMAGE.VARIANT, how.IMAGE.RESOLUTION) if begun is None else begun
    if not isinstance(encoder, ImageEncoder):
        raise ConfigError(
            f"TRAIN.IMAGE.BEGIN, '{how.IMAGE.BEGIN}', holds no image encoder. Leave it out to begin anew."
        )
    return HMR(encoder.train(), IterativeRegressor(encoder.features, hidden=how.HIDDEN, dropout=how.IMAGE.DROPOUT))


def _mixed_people(settings, body: SmplBody, pool: PosePool) -> MixedPeople:
    """The datasets of the settings and the scenes, each with its share."""
    image, changes = settings.TRAIN.IMAGE, {f.name: f.name.upper() for f in fields(Augmentation)}
    how = Augmentation(**{name: image[key] for name, key in changes.items() if key in image})
    sources, shares = [], []
    for entry in image.DATASETS:
        for key in entry:
            if key not in DATASET_KEYS:
                raise ConfigError(f"TRAIN.IMAGE.DATASETS: there is no {key}.{did_you_mean(key, DATASET_KEYS)}")
        if not {"FILE", "ROOT"} <= set(entry):
            raise ConfigError(
                f"TRAIN.IMAGE.DATASETS: each is {{FILE: people.npz, ROOT: images, SHARE: 1}}, not {entry}."
            )
        people = read_spin_npz(entry["FILE"], drop_damaged=True)
        sources.append(PersonImages(people, entry["ROOT"], how, image.RESOLUTION, settings.SEED))
        shares.append(float(entry.get("SHARE", 1.0)))
    if image.SCENES > 0:
        scenes = SceneDataset(
            body, partial(pool.sample, how=Mixture()), image.SCENE_COUNT, image.RESOLUTION, SPIN49, seed=settings.SEED
        )
        sources.append(ScenePeople(scenes, how, image.REMEMBER))
        shares.append(image.SCENES)
    if not sources:
        raise ConfigError("There is nobody to train on: TRAIN.IMAGE.SCENES is 0 and TRAIN.IMAGE.DATASETS is empty.")
    return MixedPeople(sources, shares, settings.SEED + SEEDS_APART * ranks.rank(), image.WORKERS)


RUNS = {"keypoints": build_keypoint_run, "image": build_image_run}
"""By TRAIN.ENCODER."""

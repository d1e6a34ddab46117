"""hmrfit train: settings -> motion, people, network and objective, and a run in a folder.

An encoder is one function in `RUNS`; hands in images are `hmrfit.cli.train_hand_image`.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import device_of
from hmrfit.cli.train_hand_image import SEED_STEP, build_hand_run
from hmrfit.cli.train_loop import build_loop, datasets_of, known_people
from hmrfit.config import CfgNode, ConfigError, load_config
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.io.atomic import sweep
from hmrfit.motion import check_cache, load_frames, read_pool
from hmrfit.motion.motion import Motion
from hmrfit.network.checkpoints import load_hmr, load_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KEYPOINT_NAMES, ImageEncoder, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.resnet import channels_last
from hmrfit.network.strict import read_torch_file
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import use_threads
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.dataset import SceneDataset
from hmrfit.train import distributed
from hmrfit.train.augmentation import Augmentation
from hmrfit.train.fit_store import FitStore
from hmrfit.train.image_loop import ImageLoop, ImageSpin
from hmrfit.train.images import SPIN49, MixedPeople, PersonImages, PersonSample, PersonSource, ScenePeople
from hmrfit.train.keypoint_loop import KeypointLoop, KeypointSpin
from hmrfit.train.keypoint_people import KeypointBatch
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights, LossWeights, source_weights
from hmrfit.train.objectives import BatchT, ImageObjective, KeypointObjective, Objective
from hmrfit.train.people_stream import Batch, Mixture, MotionPeople, PeopleStream, PosePool
from hmrfit.train.spin_loop import SpinLoop
from hmrfit.train.trainer import CONTACT_SHEET, LAST, WEIGHTS, Draw, Score, Trainer, TrainingSchedule, train
from hmrfit.train.validation import scene_score, scene_sheet, validation_score, validation_sheet

HAND_IMAGE = "hand_image"
"""The TRAIN.ENCODER that needs no motion."""

HELD_OUT_SEED = 7
"""Of the scenes for scores and contact sheets."""

Frames = Mapping[str, np.ndarray]
"""Motion, as `load_frames` gives it."""


@dataclass(frozen=True)
class TrainingRun:
    """A trainer, and the functions that score and draw its network."""

    trainer: Trainer[Any]  # of keypoints or of images
    score: Score
    draw: Draw | None


def train_command(out: str, config: str | None = None, overrides: Sequence[str] = ()) -> int:
    """Trains to the end of the schedule, or goes on with the run that is in `out`.

    On several GPUs: torchrun --nproc-per-node 4 -m hmrfit train --out OUT TRAIN.STEPS 20000 ...
    """
    settings = load_config(config, _written_with_equals(overrides))
    how, hands = settings.TRAIN, settings.TRAIN.ENCODER == HAND_IMAGE
    if not how.MOTION and not hands:
        raise ConfigError("Training needs motion: add TRAIN.MOTION=FOLDER, a folder of BVH, AMASS or CMU files.")
    use_threads(settings.THREADS)
    distributed.initialize("nccl" if device_of(settings.TRAIN.DEVICE, "TRAIN.DEVICE") == "cuda" else "gloo")
    folder = Path(out)
    refuse_other_files(folder)
    run = TrainingRun(*build_hand_run(settings)) if hands else _body_run(settings, folder)
    try:
        weights = train(run.trainer, folder, run.score, run.draw, how.REPORT_EVERY, how.SAVE_EVERY, how.BOARD)
    except KeyboardInterrupt as stop:
        raise type(stop)(what_is_kept(folder, run.trainer.step)) from None
    if distributed.rank() == 0:
        minutes = run.trainer.elapsed / 60
        print(f"{weights}: {how_many(run.trainer.step, 'steps')}, {minutes:.1f} minutes. Losses: {folder}/log.jsonl.")
    distributed.shut_down()
    return 0


def _body_run(settings: CfgNode, folder: Path) -> TrainingRun:
    """A run on bodies, posed by motion."""
    pool = _read_motion(settings.TRAIN.MOTION, folder / "motion.npz")
    body, held_out = SmplBody.from_file(locate(settings.BODY.PATH)), load_frames(pool, "validation")
    return RUNS[settings.TRAIN.ENCODER](settings, body, load_frames(pool, "train"), held_out, folder)


def _read_motion(source: str, cache: Path) -> list[Motion]:
    """The motion, with a line that counts what is read; from the cache, there is none."""
    with tqdm(desc="reading motion", unit=" sequences", disable=None, delay=1) as bar:
        return read_pool(source, cache=cache, seen=lambda _: bar.update())


def what_is_kept(folder: Path, step: int) -> str:
    """What a run that is stopped at a step leaves, and what the same command does then."""
    again = "The same command goes on from there; TRAIN.SAVE_EVERY says how often a run is kept."
    if not (folder / LAST).is_file():
        return (
            f"Nothing of the {how_many(step, 'steps')} is kept: the run was not saved yet. The same command begins "
            "anew."
        )
    kept = int(read_torch_file(folder / LAST)["step"])
    return (
        f"Kept in {folder}: the run up to step {kept}. The "
        f"{how_many(step - kept, 'steps since then are', 'step since then is')} lost. "
        f"{again}"
    )


def refuse_other_files(folder: Path) -> None:
    """Raises FileExistsError where files of a run's names are in the folder, but no run."""
    check_cache(folder / "motion.npz")
    found = [name for name in (WEIGHTS, CONTACT_SHEET) if os.path.lexists(folder / name)]
    if found and not (folder / LAST).is_file():
        raise FileExistsError(
            f"'{folder}' holds {' and '.join(found)}, but no {LAST}: that is no run to go on with, and nothing of it "
            "is overwritten. Choose another folder with --out."
        )
    sweep(folder)


def _written_with_equals(overrides: Sequence[str]) -> list[str]:
    """KEY=VALUE as it is, and `KEY VALUE` in two words, as other trainers write it."""
    words, pairs = iter(overrides), []
    for word in words:
        pairs.append(word if "=" in word else f"{word}={next(words, '')}")
    return pairs


# ---- the keypoint HMR


def build_keypoint_run(
    settings: CfgNode, body: SmplBody, frames: Frames, held_out: Frames, folder: Path
) -> TrainingRun:
    """The keypoint HMR's trainer, and the functions that score and draw it on held-out people."""
    how = settings.TRAIN
    score, draw = validation_score(body, held_out, how.SCORED), validation_sheet(body, held_out, how.DRAWN)
    looped = how.LOOP.KIND != ""
    trainer = build_loop_trainer(settings, body, frames, folder) if looped else build_trainer(settings, body, frames)
    return TrainingRun(trainer, score, draw)


def build_loop_trainer(settings: CfgNode, body: SmplBody, frames: Frames, folder: Path) -> Trainer[KeypointBatch]:
    """The same network on people of whom nothing but 2D keypoints is known, if TRAIN.PAIRED is False, supervised by a
    loop of fits, whose store is in the run's folder."""
    how = settings.TRAIN
    torch.manual_seed(settings.SEED)
    people = known_people(settings, body, frames)
    single, device = body.to(dtype=torch.float32), _device(settings)
    bodies = (single.points(LANDMARKS).to(device=device), single.points(people.names).to(device=device))
    real = MotionPeople(_pool(settings, frames), bodies[0].joint_shapes.shape[-1], _generator(settings))
    store, loop = build_loop(settings, people.keys, folder, "keypoint_network")
    if isinstance(loop, SpinLoop):
        objective: KeypointLoop = KeypointSpin(people, *bodies, real, loop, how.ADVERSARIAL)
    else:
        objective = KeypointLoop(people, *bodies, real, loop, KeypointLossWeights(adversarial=how.ADVERSARIAL))
    return _trainer(settings, _keypoint_hmr(how), objective, store)


def build_trainer(settings: CfgNode, body: SmplBody, frames: Frames) -> Trainer[Batch]:
    """The network, its discriminators and its people, as the settings want them; the seed decides all random
    numbers."""
    how = settings.TRAIN
    torch.manual_seed(settings.SEED)
    single, device = body.to(dtype=torch.float32), _device(settings)
    points = single.points(KEYPOINT_NAMES).to(device=device)
    pool = _pool(settings, frames).to(device)
    stream = PeopleStream(points, pool, _generator(settings, device), hard=how.HARD)
    hmr = _keypoint_hmr(how)
    weights = KeypointLossWeights if how.PAIRED else KeypointLossWeights.unpaired
    objective = KeypointObjective(stream, single.points(LANDMARKS), weights(adversarial=how.ADVERSARIAL))
    return _trainer(settings, hmr, objective)


def _keypoint_hmr(how: CfgNode) -> HMR:
    """Random weights, or those to begin with, whose own sizes then count."""
    if not how.BEGIN:
        regressor = IterativeRegressor(how.WIDTH, hidden=how.HIDDEN, dropout=0.0, learn_mean=True)
        return HMR(KeypointEncoder(how.WIDTH, how.BLOCKS), regressor)
    hmr = load_hmr(locate("weights to begin with", how.BEGIN))
    if not isinstance(hmr.encoder, KeypointEncoder):
        raise ConfigError(f"TRAIN.BEGIN, '{how.BEGIN}', is no keypoint HMR. Leave it out to begin anew.")
    hmr.encoder = hmr.encoder.knowing(KEYPOINT_NAMES)  # sets may have come to the library since it was trained
    return hmr.train().requires_grad_(True)


def _trainer(
    settings: CfgNode, hmr: HMR, objective: Objective[BatchT], store: FitStore | None = None
) -> Trainer[BatchT]:
    how = settings.TRAIN
    discriminated = max(1, how.BATCH // 8)
    schedule = TrainingSchedule(how.BATCH, how.STEPS, how.MINUTES, how.RATE, half=how.HALF, discriminated=discriminated)
    return Trainer(hmr, FactorizedDiscriminator(hidden=512), objective, schedule, _device(settings), store)


def _device(settings: CfgNode) -> torch.device:
    """Of this process: where the network is, and where people are made that need no image."""
    device = device_of(settings.TRAIN.DEVICE, "TRAIN.DEVICE")
    return torch.device(device, distributed.local_rank()) if device == "cuda" else torch.device(device)


def _pool(settings: CfgNode, frames: Frames) -> PosePool:
    gmm = PoseGmm.from_file(locate(settings.PRIORS.GMM))
    limits = JointLimits.from_file(locate(settings.PRIORS.LIMITS))
    return PosePool.build(frames, gmm, limits, settings.SEED)


def _generator(settings: CfgNode, device: torch.device | str = "cpu") -> torch.Generator:
    """Of this process. Another kind of device draws other numbers."""
    return torch.Generator(device).manual_seed(settings.SEED + 1 + SEED_STEP * distributed.rank())


# ---- the image HMR


def build_image_run(settings: CfgNode, body: SmplBody, frames: Frames, held_out: Frames, folder: Path) -> TrainingRun:
    """The image HMR's trainer, and the functions that score and draw it on scenes of held-out motion."""
    how = settings.TRAIN
    poses, count = torch.as_tensor(held_out["poses"]), how.SCORED + how.DRAWN
    scenes = SceneDataset(body, poses, count, how.IMAGE.RESOLUTION, seed=HELD_OUT_SEED)
    score, draw = scene_score(body, scenes, how.SCORED), scene_sheet(body, scenes, how.DRAWN)
    return TrainingRun(build_image_trainer(settings, body, frames, folder), score, draw)


def build_image_trainer(
    settings: CfgNode, body: SmplBody, frames: Frames, folder: Path | None = None
) -> Trainer[PersonSample]:
    """The image network, its discriminators, its datasets and its scenes. folder: of the store of a loop's fits."""
    how, image = settings.TRAIN, settings.TRAIN.IMAGE
    torch.manual_seed(settings.SEED)
    pool, points = _pool(settings, frames), body.to(dtype=torch.float32).points(SPIN49)
    people = _mixed_people(settings, body, pool)
    real = MotionPeople(pool, points.joint_shapes.shape[-1], _generator(settings))
    terms = (image.REPROJECTION, image.JOINTS_3D, image.SMPL, how.ADVERSARIAL)
    weights = LossWeights(*terms, paired=how.PAIRED)
    sources = source_weights(image.OPENPOSE_WEIGHT, image.GT_WEIGHT)
    own, store = (people, real, points), None
    if how.LOOP.KIND and folder is not None:
        store, loop = build_loop(settings, people.keys, folder, "image_network")
        if isinstance(loop, SpinLoop):
            objective: ImageObjective = ImageSpin(*own, loop, weights, sources)
        else:
            objective = ImageLoop(*own, loop, weights, sources)
    else:
        objective = ImageObjective(*own, weights, sources)
    hmr = _image_hmr(how)
    channels_last(hmr.encoder)
    return _trainer(settings, hmr, objective, store)


def _image_hmr(how: CfgNode) -> HMR:
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


def _mixed_people(settings: CfgNode, body: SmplBody, pool: PosePool) -> MixedPeople:
    """The datasets of the settings and the scenes, each with its share."""
    image, changes = settings.TRAIN.IMAGE, {f.name: f.name.upper() for f in fields(Augmentation)}
    how = Augmentation(**{name: image[key] for name, key in changes.items() if key in image})
    sources: list[PersonSource] = []
    shares: list[float] = []
    for dataset in datasets_of(image.DATASETS, "TRAIN.IMAGE.DATASETS"):
        people = read_spin_npz(dataset.file, drop_damaged=True)
        sources.append(PersonImages(people, dataset.root, how, image.RESOLUTION, settings.SEED, dataset.name))
        shares.append(dataset.share)
    if image.SCENES > 0:
        scenes = SceneDataset(
            body, partial(pool.sample, how=Mixture()), image.SCENE_COUNT, image.RESOLUTION, SPIN49, seed=settings.SEED
        )
        sources.append(ScenePeople(scenes, how, image.REMEMBER))
        shares.append(image.SCENES)
    if not sources:
        raise ConfigError("There are no people to train on: TRAIN.IMAGE.SCENES is 0 and TRAIN.IMAGE.DATASETS is empty.")
    return MixedPeople(sources, shares, settings.SEED + SEED_STEP * distributed.rank(), image.WORKERS)


RUNS = {"keypoints": build_keypoint_run, "image": build_image_run}
"""By TRAIN.ENCODER, of bodies; `HAND_IMAGE` is beside them."""

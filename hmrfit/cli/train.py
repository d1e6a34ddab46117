"""hmrfit train: settings -> motion, people, network, and a run in a folder."""

from collections.abc import Sequence
from pathlib import Path

import torch

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.config import ConfigError, load_config
from hmrfit.data.motion import load_frames, read_pool
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import KEYPOINT_NAMES, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.train import ranks
from hmrfit.train.data import PeopleStream, PosePool
from hmrfit.train.keypoint_loss import LANDMARKS, KeypointLossWeights
from hmrfit.train.loop import Schedule, Trainer
from hmrfit.train.score import validation_score
from hmrfit.train.session import train
from hmrfit.train.sheet import validation_sheet

SEEDS_APART = 1000
"""Between the people of one process and the next."""


def train_command(out: str, config: str | None = None, overrides: Sequence[str] = ()) -> int:
    """Trains to the end of the schedule, or goes on with the run that is in `out`.

    On several GPUs: torchrun --nproc-per-node 4 -m hmrfit train --out OUT TRAIN.STEPS 20000 ...
    """
    settings = load_config(config, _written_with_equals(overrides))
    how = settings.TRAIN
    if not how.MOTION:
        raise ConfigError("Training needs motion: add TRAIN.MOTION=FOLDER, a folder of BVH, AMASS or CMU files.")
    if settings.THREADS > 0:
        torch.set_num_threads(settings.THREADS)
    ranks.join("nccl" if _device(how.DEVICE) == "cuda" else "gloo")
    folder = Path(out)
    pool = read_pool(how.MOTION, cache=folder / "motion.npz")
    body = SmplBody.from_file(locate(settings.BODY.PATH))
    trainer = build_trainer(settings, body, load_frames(pool, "train"))
    aside = load_frames(pool, "validation")
    score, picture = validation_score(body, aside, how.SCORED), validation_sheet(body, aside, how.DRAWN)
    weights = train(trainer, folder, score, picture, how.REPORT_EVERY, how.SAVE_EVERY, how.BOARD)
    if ranks.rank() == 0:
        print(f"{weights}: {trainer.step} steps, {trainer.elapsed / 60:.1f} minutes. Losses: {folder}/log.jsonl.")
    ranks.leave()
    return 0


def _written_with_equals(overrides: Sequence[str]) -> list[str]:
    """KEY=VALUE as it is, and `KEY VALUE` in two words, as other trainers have it."""
    words, pairs = iter(overrides), []
    for word in words:
        pairs.append(word if "=" in word else f"{word}={next(words, '')}")
    return pairs


def build_trainer(settings, body: SmplBody, frames: dict) -> Trainer:
    """The network, its discriminators and its people, as the settings want them; the seed decides all chance."""
    how = settings.TRAIN
    torch.manual_seed(settings.SEED)
    gmm = PoseGmm.from_file(locate(settings.PRIORS.GMM))
    limits = JointLimits.from_file(locate(settings.PRIORS.LIMITS))
    single = body.to(dtype=torch.float32)
    generator = torch.Generator().manual_seed(settings.SEED + 1 + SEEDS_APART * ranks.rank())
    stream = PeopleStream(single.points(KEYPOINT_NAMES), PosePool.build(frames, gmm, limits, settings.SEED), generator)
    regressor = IterativeRegressor(how.WIDTH, hidden=how.HIDDEN, dropout=0.0, learn_mean=True)
    hmr = HMR(KeypointEncoder(how.WIDTH, how.BLOCKS), regressor)
    weights = KeypointLossWeights if how.PAIRED else KeypointLossWeights.unpaired
    schedule = Schedule(how.BATCH, how.STEPS, how.MINUTES, how.RATE, half=how.HALF, judged=max(1, how.BATCH // 8))
    judges = FactorizedDiscriminator(hidden=512)
    loss = weights(adversarial=how.ADVERSARIAL)
    device = torch.device(_device(how.DEVICE), ranks.local_rank() if _device(how.DEVICE) == "cuda" else None)
    return Trainer(hmr, judges, stream, single.points(LANDMARKS), schedule, loss, device)


def _device(name: str) -> str:
    """The settings' device, "auto" for a GPU where there is one."""
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("TRAIN.DEVICE is cuda, but torch finds no GPU here. Use auto or cpu.")
    return "cuda" if name == "cuda" or (name == "auto" and torch.cuda.is_available()) else "cpu"

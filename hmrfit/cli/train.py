"""hmrfit train: settings -> motion, people, network, and a run in a folder."""

import os
from collections.abc import Sequence
from pathlib import Path

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import device_of
from hmrfit.cli.trainers import RUNS
from hmrfit.config import ConfigError, load_config
from hmrfit.io.atomic import sweep
from hmrfit.motion import check_cache, load_frames, read_pool
from hmrfit.ops.threads import use_threads
from hmrfit.train import distributed as ranks
from hmrfit.train.run import LAST, SHEET, WEIGHTS, train


def train_command(out: str, config: str | None = None, overrides: Sequence[str] = ()) -> int:
    """Trains to the end of the schedule, or goes on with the run that is in `out`.

    On several GPUs: torchrun --nproc-per-node 4 -m hmrfit train --out OUT TRAIN.STEPS 20000 ...
    """
    settings = load_config(config, _written_with_equals(overrides))
    how = settings.TRAIN
    if not how.MOTION:
        raise ConfigError("Training needs motion: add TRAIN.MOTION=FOLDER, a folder of BVH, AMASS or CMU files.")
    use_threads(settings.THREADS)
    ranks.join("nccl" if device_of(settings.TRAIN.DEVICE, "TRAIN.DEVICE") == "cuda" else "gloo")
    folder = Path(out)
    refuse_others_run(folder)
    pool = read_pool(how.MOTION, cache=folder / "motion.npz")
    body = SmplBody.from_file(locate(settings.BODY.PATH))
    aside = load_frames(pool, "validation")
    trainer, score, picture = RUNS[how.ENCODER](settings, body, load_frames(pool, "train"), aside)
    weights = train(trainer, folder, score, picture, how.REPORT_EVERY, how.SAVE_EVERY, how.BOARD)
    if ranks.rank() == 0:
        print(f"{weights}: {trainer.step} steps, {trainer.elapsed / 60:.1f} minutes. Losses: {folder}/log.jsonl.")
    ranks.leave()
    return 0


def refuse_others_run(folder: Path) -> None:
    """Raises FileExistsError where files of a run's names are in the folder, but no run."""
    check_cache(folder / "motion.npz")
    there = [name for name in (WEIGHTS, SHEET) if os.path.lexists(folder / name)]
    if there and not (folder / LAST).is_file():
        raise FileExistsError(
            f"'{folder}' holds {' and '.join(there)}, but no {LAST}: that is no run to go on with, and nothing of it "
            "is overwritten. Choose another folder with --out."
        )
    sweep(folder)


def _written_with_equals(overrides: Sequence[str]) -> list[str]:
    """KEY=VALUE as it is, and `KEY VALUE` in two words, as other trainers have it."""
    words, pairs = iter(overrides), []
    for word in words:
        pairs.append(word if "=" in word else f"{word}={next(words, '')}")
    return pairs

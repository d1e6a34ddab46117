"""A training run in a folder: it starts, or goes on where it stopped; it shows its losses, and keeps what it made.

last.pt      everything the next step depends on; replaced whole, so a crash leaves the one before
hmr.npz      the averaged weights, as `hmrfit.network.checkpoints` writes them
log.jsonl    one line a report: step, seconds, every loss, and the scores when they were taken
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from tqdm import tqdm

from hmrfit.network.checkpoints import save_network
from hmrfit.network.hmr import HMR
from hmrfit.train.loop import Trainer

LAST, WEIGHTS, LOG = "last.pt", "hmr.npz", "log.jsonl"

Score = Callable[[HMR], Mapping[str, float]]


def train(
    trainer: Trainer,
    folder: str | Path,
    score: Score | None = None,
    every: int = 100,
    save_every: int = 1000,
    quiet: bool = False,
) -> Path:
    """Runs to the end of the schedule.

    Args:
        folder: of the run. With a `last.pt` in it, the run goes on from there.
        score: what to measure of the averaged weights whenever they are saved.
        every, save_every: steps between two lines of the log, and between two saved states.
    Returns:
        The averaged weights' file.
    Raises:
        ValueError: the folder's run is of another network.
    """
    folder = Path(folder)
    if (folder / LAST).is_file():
        trainer.load(folder / LAST)
    saved = trainer.step
    with tqdm(total=100, unit="%", disable=quiet, bar_format="{l_bar}{bar}| {elapsed}<{remaining} {postfix}") as bar:
        for losses in trainer.steps(every):
            line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), **losses}
            if trainer.step - saved >= save_every or trainer.progress >= 1:
                line |= dict(score(trainer.averaged())) if score else {}
                keep(trainer, folder)
                saved = trainer.step
            _note(folder, line)
            bar.set_postfix_str(_short(line))
            bar.n = round(100 * trainer.progress, 1)
            bar.refresh()
    keep(trainer, folder)
    return folder / WEIGHTS


def keep(trainer: Trainer, folder: Path) -> None:
    """The state and the averaged weights; each file is the old one or the new one, never a half."""
    trainer.save(folder / LAST)
    save_network(folder / WEIGHTS, trainer.averaged(), half=True, step=trainer.step)


def _note(folder: Path, line: Mapping[str, float]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: float(f"{value:.6g}") for name, value in line.items()}) + "\n")


def _short(line: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in line.items() if name != "seconds")

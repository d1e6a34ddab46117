"""A training run in a folder: it starts, or goes on where it stopped; it shows its losses, and keeps what it made.

last.pt      everything the next step depends on; replaced whole, so a crash leaves the one before
hmr.npz      the averaged weights, as `hmrfit.network.checkpoints` writes them
log.jsonl    one line a report: step, seconds, every loss, and the scores when they were taken
sheet.png    the same people again and again, as the averaged weights see them
board/       the log for TensorBoard, where it is wanted
"""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from hmrfit.io.image import Image, write_image
from hmrfit.network.checkpoints import save_network
from hmrfit.network.hmr import HMR
from hmrfit.train import distributed as ranks
from hmrfit.train.trainer import Trainer

LAST, WEIGHTS, LOG, SHEET, BOARD = "last.pt", "hmr.npz", "log.jsonl", "sheet.png", "board"


def train(
    trainer: Trainer,
    folder: str | Path,
    score: Callable[[HMR], Mapping[str, float]] | None = None,
    picture: Callable[[HMR], Image] | None = None,
    every: int = 100,
    save_every: int = 1000,
    board: bool = False,
    quiet: bool = False,
) -> Path:
    """Runs to the end of the schedule.

    Args:
        folder: of the run. With a `last.pt` in it, the run goes on from there.
        score, picture: what to measure and to draw of the averaged weights whenever they are saved.
        every, save_every: steps between two lines of the log, and between two saved states.
        board: also write for TensorBoard.
    Returns:
        The averaged weights' file.
    Raises:
        ImportError: `board`, and TensorBoard is not installed.
    """
    folder = Path(folder)
    if (folder / LAST).is_file():
        trainer.load(folder / LAST)
    saved, first = trainer.step, ranks.rank() == 0
    with _writer(folder) if board and first else nullcontext() as writer, _bar(quiet or not first) as bar:
        for losses in trainer.steps(every):
            line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), **losses}
            if trainer.step - saved >= save_every or trainer.progress >= 1:
                keep(trainer, folder)
                line |= _looked_at(trainer.averaged(), folder, score, picture) if first else {}
                saved = trainer.step
            if first:
                _note(folder, line, writer)
            bar.set_postfix_str(_short(line), refresh=False)
            bar.n = round(100 * trainer.progress, 1)
            bar.refresh()
    keep(trainer, folder)
    return folder / WEIGHTS


def keep(trainer: Trainer, folder: Path) -> None:
    """The state and the averaged weights; each file is the old one or the new one, never a half."""
    trainer.save(folder / LAST)
    if ranks.rank() == 0:
        save_network(folder / WEIGHTS, trainer.averaged(), half=True, step=trainer.step)


def _looked_at(
    hmr: HMR,
    folder: Path,
    score: Callable[[HMR], Mapping[str, float]] | None,
    picture: Callable[[HMR], Image] | None,
) -> dict[str, float]:
    """The scores, after drawing the sheet."""
    if picture is not None:
        write_image(folder / SHEET, picture(hmr))
    return dict(score(hmr)) if score is not None else {}


def _writer(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard is not installed: pip install 'hmrfit[train]', or leave TRAIN.BOARD out; log.jsonl holds the "
            "same numbers."
        ) from error
    return SummaryWriter(folder / BOARD)


def _bar(quiet: bool) -> tqdm:
    return tqdm(total=100, disable=quiet, bar_format="{n:5.1f} % |{bar:20}| {elapsed}<{remaining}{postfix}")


def _note(folder: Path, line: Mapping[str, float], writer: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: float(f"{value:.6g}") for name, value in line.items()}) + "\n")
    if writer is not None:
        for name, value in line.items():
            writer.add_scalar(name, value, int(line["step"]))


def _short(line: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in line.items() if name != "seconds")

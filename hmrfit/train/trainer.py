"""Training an HMR: a step, its schedule, averaged weights, a state that can be saved and resumed, and a run in a
folder.

    θ ← AdamW(θ, ∇L, η_t),   η_t = η min(1, t/warm-up) ½ (1 + cos π p),   p = the fraction of the run that is done
    θ̄ ← θ̄ + (1 − d)(θ − θ̄)                                       scored and kept: an average over steps

The run's length is a number of steps, or of minutes where the machine's speed is not known; the cosine ends with it.
Everything a step depends on is in `state_dict`: a run that is stopped and resumed gives the same bits.

A run's folder:

    last.pt             everything the next step depends on; replaced whole, so a crash leaves the one before
    hmr.npz             the averaged weights, as `hmrfit.network.checkpoints` writes them
    log.jsonl           one line a report: step, seconds, every loss, and the scores when they were taken
    contact_sheet.png   the same people at each save, as the averaged weights see them
    fits.sqlite         the best fit of every person, where a loop of fits supervises (`train.fit_store`): in step with
                        last.pt, whenever the process was killed
    board/              the log for TensorBoard, where it is wanted
"""

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import torch
from torch import Tensor, nn
from tqdm import tqdm

from hmrfit.io.atomic import atomic_write
from hmrfit.io.budget import brief
from hmrfit.io.image import Image, write_image
from hmrfit.network.checkpoints import save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.hmr import HMR
from hmrfit.network.strict import read_torch_file
from hmrfit.ops.how_many import how_many
from hmrfit.train import distributed
from hmrfit.train.fit_store import FitStore
from hmrfit.train.losses import adversarial_encoder, discriminator_loss
from hmrfit.train.objectives import BatchT, Objective
from hmrfit.types import Regression

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

LAST, WEIGHTS, LOG, CONTACT_SHEET, BOARD = "last.pt", "hmr.npz", "log.jsonl", "contact_sheet.png", "board"
FITS = "fits.sqlite"

LOGGER = logging.getLogger("hmrfit")

Score = Callable[[HMR], Mapping[str, float]]
"""Measures of a network in training, by name."""

Draw = Callable[[HMR], Image]
"""The contact sheet of a network in training."""


@dataclass(frozen=True)
class TrainingSchedule:
    """How long, how fast. steps: 0 for as many as `minutes` allow."""

    batch: int = 256  # of all processes together
    steps: int = 0
    minutes: float = 20.0
    rate: float = 1e-3
    warm_up: int = 300
    weight_decay: float = 0.01
    clip: float = 10.0
    discriminator_rate: float = 1e-4
    discriminated: int = 32  # people a step whose three iterations go through the discriminators
    average: float = 0.999
    half: bool = True  # products in bfloat16


@dataclass
class Trainer(Generic[BatchT]):
    """An HMR, its discriminators, both optimisers and the objective, one step at a time."""

    hmr: HMR
    discriminator: FactorizedDiscriminator
    objective: Objective[BatchT]
    schedule: TrainingSchedule = field(default_factory=TrainingSchedule)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))  # of the network
    fits: FitStore | None = None  # what the objective's loop keeps

    def __post_init__(self) -> None:
        how = self.schedule
        self.objective = self.objective.to(self.device)
        self.hmr, self.discriminator = self.hmr.to(self.device), self.discriminator.to(self.device)
        self.average, self.network = deepcopy(self.hmr), distributed.data_parallel(self.hmr, self.device)
        self.optimizer = torch.optim.AdamW(_groups(self.hmr, how.weight_decay), how.rate, betas=(0.9, 0.98), fused=True)
        self.discriminator_optimizer = torch.optim.AdamW(
            self.discriminator.parameters(), how.discriminator_rate, fused=True
        )
        self.step, self.seconds, self._since = 0, 0.0, time.monotonic()
        if distributed.is_distributed() and not how.steps:
            raise ValueError("Several processes end together only after a number of steps: set TRAIN.STEPS.")

    @property
    def progress(self) -> float:
        """The fraction of the run that is done, 0 to 1."""
        if self.schedule.steps:
            return min(1.0, self.step / self.schedule.steps)
        return min(1.0, self.elapsed / (60 * self.schedule.minutes))

    @property
    def elapsed(self) -> float:
        """Seconds trained, before every interruption too."""
        return self.seconds + time.monotonic() - self._since

    def train_step(self) -> dict[str, float]:
        """One batch: encoder and regressor, then the discriminators; every loss."""
        batch = self.objective.batch(self.schedule.batch // distributed.world_size(), self.progress).to(self.device)
        self._set_rates()
        regressions = self._regress(batch)
        losses = self.objective.losses(regressions, batch)
        if self.objective.adversarial:
            losses["adversarial"] = self.objective.adversarial * self._adversarial(regressions)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad()
        total.backward()
        norm = nn.utils.clip_grad_norm_(self.hmr.parameters(), self.schedule.clip)
        if norm.isfinite():  # one bad batch should not end a run of hours
            self.optimizer.step()
        if self.objective.adversarial:
            losses["discriminator"] = self._discriminator_step(batch, regressions)
        average_weights(self.average, self.hmr, min(self.schedule.average, (1 + self.step) / (10 + self.step)))
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()} | {"gradient": norm.item()}

    def _set_rates(self) -> None:
        """η_t of both optimisers."""
        factor = rate_factor(self.step, self.schedule.warm_up, self.progress)
        set_rate(self.optimizer, self.schedule.rate * factor)
        set_rate(self.discriminator_optimizer, self.schedule.discriminator_rate * factor)

    def _regress(self, batch: BatchT) -> list[Regression]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.half):
            return self.network(*self.objective.inputs(batch))

    def _adversarial(self, regressions: list[Regression]) -> Tensor:
        n = self._discriminated()
        self.discriminator.requires_grad_(False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.half):
            fakes = [regression.params[:n] for regression in regressions]
            scores = torch.cat([self.discriminator(fake.body_pose, fake.betas) for fake in fakes])
        self.discriminator.requires_grad_(True)
        return adversarial_encoder(scores.float())

    def _discriminated(self) -> int:
        """People a step whose bodies go through the discriminators: their three fakes and as many others' truths fit
        into a batch."""
        return min(self.schedule.discriminated, self.schedule.batch // distributed.world_size() // 4)

    def _discriminator_step(self, batch: BatchT, regressions: list[Regression]) -> Tensor:
        """A step of the discriminators: the fakes of every iteration, as many real people who are not their truth."""
        n = self._discriminated()
        fakes = [regression[:n].map(Tensor.detach) for regression in regressions]
        real = self.objective.real(batch, n * len(fakes))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.half):
            loss = discriminator_loss(self.discriminator, real, fakes)
        self.discriminator_optimizer.zero_grad()
        loss.backward()
        distributed.average_gradients(self.discriminator.parameters())
        self.discriminator_optimizer.step()
        return loss.detach()

    def averaged(self) -> HMR:
        """The averaged network on the CPU, to be scored or saved."""
        return self.average if self.device.type == "cpu" else deepcopy(self.average).cpu()

    def run(self, every: int = 100, report: Callable[[dict[str, float]], None] | None = None) -> None:
        """Steps until the run is done; after every so many, `report` gets the losses' means since the last time."""
        for losses in self.steps(every):
            if report is not None:
                report(losses)

    def steps(self, every: int) -> Iterator[dict[str, float]]:
        """The losses' means of every so many steps."""
        while self.progress < 1:
            total: dict[str, float] = {}
            count = 0
            while count < every and self.progress < 1:
                for name, value in self.train_step().items():
                    total[name] = total.get(name, 0.0) + value
                count += 1
            yield {name: value / count for name, value in total.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything the next step depends on. Of several processes, every one has to call it."""
        return {
            "hmr": self.hmr.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "data": distributed.gather(self.objective.state()),
            "random": distributed.gather(torch.get_rng_state()),
            "step": self.step,
            "seconds": self.elapsed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resumes the run that `state_dict` describes.

        Raises:
            ValueError: it was left by another number of processes.
        """
        before, now = len(state["data"]), distributed.world_size()
        if before != now:
            raise ValueError(
                f"This run was left by {how_many(before, 'processes')}, and cannot go on exactly with {now}. Start "
                "as many as "
                "before, or begin in another folder."
            )
        if "judge" in state:  # its name in runs of hmrfit 0.1
            state = {**state, "discriminator_optimizer": state["judge"]}
        for name in ("hmr", "average", "discriminator", "optimizer", "discriminator_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        self.objective.resume(state["data"][distributed.rank()])
        torch.set_rng_state(state["random"][distributed.rank()])
        self.step, self.seconds, self._since = state["step"], state["seconds"], time.monotonic()

    def save(self, path: str | Path) -> None:
        """The state into a file, and the fits into their store; a crash on the way leaves both as they were."""
        if self.fits is not None:
            self.fits.commit(self.step)
        state = self.state_dict()  # every process has committed when it is gathered
        if distributed.rank() == 0:
            with atomic_write(path) as temporary:
                torch.save(state, temporary)
            if self.fits is not None:
                self.fits.confirm(self.step)

    def load(self, path: str | Path) -> None:
        """The state from a file that `save` made. Nothing in the file is run."""
        state = read_torch_file(Path(path))
        try:
            self.load_state_dict(state)
        except (KeyError, TypeError, AttributeError, RuntimeError, IndexError) as error:
            raise ValueError(
                f"'{path}' is no state of this training ({type(error).__name__}: {brief(str(error), 200)}). Begin in "
                "another folder, or with the settings it was begun with."
            ) from error
        if self.fits is not None:
            self.fits.rollback(self.step)


def rate_factor(step: int, warm_up: int, progress: float) -> float:
    """η_t / η = min(1, t/warm-up) ½ (1 + cos π p)."""
    return min(1.0, (step + 1) / warm_up) * 0.5 * (1 + math.cos(math.pi * progress))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The learning rate of all parameters."""
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def average_weights(average: nn.Module, network: nn.Module, keep: float) -> None:
    """θ̄ ← θ̄ + (1 − d)(θ − θ̄) in place, d = keep; running statistics of batch norm too."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - keep)
    for mean, new in zip(average.buffers(), network.buffers(), strict=True):
        mean.lerp_(new, 1 - keep) if mean.is_floating_point() else mean.copy_(new)


def _groups(network: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and the mean Θ do not."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]


# ---- a run in a folder


def train(
    trainer: Trainer[BatchT],
    folder: str | Path,
    score: Score | None = None,
    draw: Draw | None = None,
    every: int = 100,
    save_every: int = 1000,
    board: bool = False,
    quiet: bool = False,
) -> Path:
    """Runs to the end of the schedule.

    Args:
        folder: of the run. With a `last.pt` in it, the run goes on from there.
        score, draw: what to measure and to draw of the averaged weights whenever they are saved.
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
    elif trainer.fits is not None:
        trainer.fits.rollback(0)  # a process may have been killed before its first checkpoint
    saved, first = trainer.step, distributed.rank() == 0
    with _writer(folder) if board and first else nullcontext() as writer, _bar(quiet or not first, trainer) as bar:
        for losses in trainer.steps(every):
            line = {"step": trainer.step, "seconds": round(trainer.elapsed, 1), **losses}
            if trainer.step - saved >= save_every or trainer.progress >= 1:
                save_run(trainer, folder)
                line |= _scored(trainer.averaged(), folder, score, draw) if first else {}
                saved = trainer.step
            if first:
                _log(folder, line, writer)
                LOGGER.info("%5.1f %% %s", 100 * trainer.progress, _short(line))
            bar.set_postfix_str(f"kept {saved}, {_short(line)}", refresh=False)
            bar.update(100 * trainer.progress - bar.n)
    save_run(trainer, folder)
    return folder / WEIGHTS


def save_run(trainer: Trainer[BatchT], folder: Path) -> None:
    """The state and the averaged weights; each file is the old one or the new one, never a half."""
    trainer.save(folder / LAST)
    if distributed.rank() == 0:
        save_network(folder / WEIGHTS, trainer.averaged(), half=True, step=trainer.step)


def _scored(hmr: HMR, folder: Path, score: Score | None, draw: Draw | None) -> dict[str, float]:
    """The scores; the contact sheet is drawn before."""
    if draw is not None:
        write_image(folder / CONTACT_SHEET, draw(hmr))
    return dict(score(hmr)) if score is not None else {}


def _writer(folder: Path) -> "SummaryWriter":
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            "TensorBoard is not installed: pip install 'hmrfit[train]', or leave TRAIN.BOARD out; log.jsonl holds the "
            "same numbers."
        ) from error
    return SummaryWriter(folder / BOARD)


def _bar(quiet: bool, trainer: Trainer[BatchT]) -> tqdm:
    """How much is done of the whole run, and the time that is left by the speed of this process."""
    form = "{n:5.1f} % |{bar:20}| {elapsed}, {remaining} left{postfix}"
    return tqdm(
        total=100, initial=100 * trainer.progress, mininterval=0, disable=True if quiet else None, bar_format=form
    )


def _log(folder: Path, line: Mapping[str, float], writer: "SummaryWriter | None") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(json.dumps({name: float(f"{value:.6g}") for name, value in line.items()}) + "\n")
    if writer is not None:
        for name, value in line.items():
            writer.add_scalar(name, value, int(line["step"]))


def _short(line: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in line.items() if name != "seconds")

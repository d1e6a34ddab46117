"""Training an HMR: a step, its schedule, averaged weights, and a state that can be saved and taken up again.

    θ ← AdamW(θ, ∇L, η_t),   η_t = η min(1, t/warm-up) ½ (1 + cos π p),   p = the share of the run that is done
    θ̄ ← θ̄ + (1 − d)(θ − θ̄)                                       what is measured and kept: an average over steps

The run's length is a number of steps, or of minutes where the machine's speed is not known; the cosine ends with it.
Everything a step depends on is in `state_dict`: a run that is stopped and taken up again gives the same bits.
"""

import math
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hmrfit.io.atomic import atomic_write
from hmrfit.io.budget import brief
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.hmr import HMR
from hmrfit.network.strict import read_torch_file
from hmrfit.train import distributed as ranks
from hmrfit.train.losses import adversarial_encoder, discriminator_loss
from hmrfit.train.objective import Lesson
from hmrfit.types import Regression, TensorRecord


@dataclass(frozen=True)
class Schedule:
    """How long, how fast. steps: 0 for as many as `minutes` allow."""

    batch: int = 256  # of all processes together
    steps: int = 0
    minutes: float = 20.0
    rate: float = 1e-3
    warm_up: int = 300
    weight_decay: float = 0.01
    clip: float = 10.0
    discriminator_rate: float = 1e-4
    judged: int = 32  # people a step whose three bodies the discriminators look at
    average: float = 0.999
    half: bool = True  # products in bfloat16


@dataclass
class Trainer:
    """An HMR, its discriminators, both optimisers and the lesson, one step at a time."""

    hmr: HMR
    discriminator: FactorizedDiscriminator
    lesson: Lesson
    schedule: Schedule = field(default_factory=Schedule)
    device: torch.device | str = "cpu"  # of the network

    def __post_init__(self) -> None:
        how, self.device = self.schedule, torch.device(self.device)
        self.lesson = self.lesson.to(self.device)
        self.hmr, self.discriminator = self.hmr.to(self.device), self.discriminator.to(self.device)
        self.average, self.network = deepcopy(self.hmr), ranks.shared(self.hmr, self.device)
        self.optimizer = torch.optim.AdamW(_groups(self.hmr, how.weight_decay), how.rate, betas=(0.9, 0.98), fused=True)
        self.judge = torch.optim.AdamW(self.discriminator.parameters(), how.discriminator_rate, fused=True)
        self.step, self.seconds, self._since = 0, 0.0, time.monotonic()
        if ranks.together() and not how.steps:
            raise ValueError("Several processes end together only after a number of steps: set TRAIN.STEPS.")

    @property
    def progress(self) -> float:
        """The share of the run that is done, 0 to 1."""
        if self.schedule.steps:
            return min(1.0, self.step / self.schedule.steps)
        return min(1.0, self.elapsed / (60 * self.schedule.minutes))

    @property
    def elapsed(self) -> float:
        """Seconds trained, earlier sessions included."""
        return self.seconds + time.monotonic() - self._since

    def train_step(self) -> dict[str, float]:
        """One batch: encoder and regressor, then the discriminators; every loss."""
        batch = self.lesson.batch(self.schedule.batch // ranks.world(), self.progress).to(self.device)
        warm = min(1.0, (self.step + 1) / self.schedule.warm_up)
        rate = warm * 0.5 * (1 + math.cos(math.pi * self.progress))
        for optimizer, full in ((self.optimizer, self.schedule.rate), (self.judge, self.schedule.discriminator_rate)):
            for group in optimizer.param_groups:
                group["lr"] = full * rate
        regressions = self._regress(batch)
        losses = self.lesson.losses(regressions, batch)
        if self.lesson.adversarial:
            losses["adversarial"] = self.lesson.adversarial * self._adversarial(regressions)
        total = torch.stack(list(losses.values())).sum()
        self.optimizer.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.hmr.parameters(), self.schedule.clip)
        if norm.isfinite():  # one bad batch should not end a run of hours
            self.optimizer.step()
        if self.lesson.adversarial:
            losses["discriminator"] = self._judge(batch, regressions)
        self._follow()
        self.step += 1
        return {name: loss.item() for name, loss in losses.items()} | {"gradient": norm.item()}

    def _regress(self, batch: TensorRecord) -> list[Regression]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.half):
            return self.network(*self.lesson.seen(batch))

    def _adversarial(self, regressions: list[Regression]) -> Tensor:
        n = self._judged()
        self.discriminator.requires_grad_(False)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.half):
            fakes = [regression.params[:n] for regression in regressions]
            scores = torch.cat([self.discriminator(fake.body_pose, fake.betas) for fake in fakes])
        self.discriminator.requires_grad_(True)
        return adversarial_encoder(scores.float())

    def _judged(self) -> int:
        """People a step whose bodies are judged: their three fakes and as many others' truths fit into a batch."""
        return min(self.schedule.judged, self.schedule.batch // ranks.world() // 4)

    def _judge(self, batch: TensorRecord, regressions: list[Regression]) -> Tensor:
        """A step of the discriminators: the fakes of every iteration, as many real people who are not their truth."""
        n = self._judged()
        fakes = [regression[:n].map(Tensor.detach) for regression in regressions]
        real = self.lesson.real(batch, n * len(fakes))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.half):
            loss = discriminator_loss(self.discriminator, real, fakes)
        self.judge.zero_grad()
        loss.backward()
        ranks.average_gradients(self.discriminator.parameters())
        self.judge.step()
        return loss.detach()

    @torch.no_grad()
    def _follow(self) -> None:
        """θ̄ follows, quickly at first."""
        keep = min(self.schedule.average, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.hmr.parameters()), 1 - keep)
        for mean, new in zip(self.average.buffers(), self.hmr.buffers(), strict=True):  # of batch norm
            mean.lerp_(new, 1 - keep) if mean.is_floating_point() else mean.copy_(new)

    def averaged(self) -> HMR:
        """The averaged network on the CPU, to be measured or saved."""
        return self.average if self.device.type == "cpu" else deepcopy(self.average).cpu()

    def run(self, every: int = 100, report: Callable[["Trainer", dict[str, float]], Any] | None = None) -> None:
        """Steps until the run is done; after every so many, `report` gets the losses' means since the last time."""
        for losses in self.steps(every):
            if report is not None:
                report(self, losses)

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
        """Everything the next step depends on. Of several processes, all have to ask."""
        return {
            "hmr": self.hmr.state_dict(),
            "average": self.average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge": self.judge.state_dict(),
            "data": ranks.from_everyone(self.lesson.state()),
            "random": ranks.from_everyone(torch.get_rng_state()),
            "step": self.step,
            "seconds": self.elapsed,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a run up where `state_dict` left it.

        Raises:
            ValueError: it was left by another number of processes.
        """
        if len(state["data"]) != ranks.world():
            raise ValueError(
                f"This run was left by {len(state['data'])} processes, and cannot go on exactly with {ranks.world()}. "
                "Start as many as before, or begin in another folder."
            )
        for name in ("hmr", "average", "discriminator", "optimizer", "judge"):
            getattr(self, name).load_state_dict(state[name])
        self.lesson.resume(state["data"][ranks.rank()])
        torch.set_rng_state(state["random"][ranks.rank()])
        self.step, self.seconds, self._since = state["step"], state["seconds"], time.monotonic()

    def save(self, path: str | Path) -> None:
        """The state into a file; a crash on the way leaves the file that was there."""
        state = self.state_dict()
        if ranks.rank() == 0:
            with atomic_write(path) as temporary:
                torch.save(state, temporary)

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


def _groups(network: torch.nn.Module, decay: float) -> list[dict[str, Any]]:
    """Matrices decay; biases, norms and the mean Θ do not."""
    matrices = [p for p in network.parameters() if p.ndim >= 2]
    others = [p for p in network.parameters() if p.ndim < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": others, "weight_decay": 0.0}]

"""The shipped keypoint estimate adapted to somebody's own detector and people, without any 3D.

    offsets      where the detector's keypoints lie on the body                                (`train.detector_points`)
    x'           everybody's keypoints brought to where the body has them, by the first fits
    loop         the network starts the fit of x', the fit supervises the network                (`train.anchored_loop`)
                 with synthetic people and their truth mixed in, so that nothing is forgotten
    error model  a few more steps of its own training, for the network as it is then    (`train.error_model_training`)
    test         on synthetic people in other poses: a model that got worse there is not handed over

Only the regressor is trained. The encoder's features are what the error model and the mixture of other answers read,
and training it too gained nothing (`benchmarks/adapt.py`).

A run's folder holds what it needs to go on after a stop; each file is there whole or not at all:

    adapt.json         what it is of, and what is done: the scores before, how long the loop may take
    offsets.npz        the offsets             keypoints.npz   x', and who is aside
    last.pt  fits.sqlite  log.jsonl  hmr.npz                   of the loop (`train.trainer`)
    error_model.npz    when its steps are done; after a stop among them they begin anew
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmrfit.body.point_offsets import PointOffsets
from hmrfit.body.points import PointBody
from hmrfit.fitting.fitter import Fitter
from hmrfit.fitting.starts import InitialEstimate
from hmrfit.io.atomic import atomic_write, write_npz
from hmrfit.io.bounded import read_json, read_npz
from hmrfit.network.checkpoints import load_error_model, load_hmr, save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.hmr import HMR
from hmrfit.network.inference import packed
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.network.moved_keypoints import MovedKeypoints
from hmrfit.ops.how_many import how_many
from hmrfit.synthetic.people import Corruption, People, people_from_points
from hmrfit.train.adaptation_scores import AsideScores, HoldOutScores, score_aside, score_hold_out, what_got_worse
from hmrfit.train.anchored_loop import ENERGY, AnchoredLoop, with_model
from hmrfit.train.detector_points import DetectorPoints
from hmrfit.train.error_model_training import Cases, train_error_model
from hmrfit.train.fit_store import FitKey, FitStore
from hmrfit.train.keypoint_loop import KeypointLoop
from hmrfit.train.keypoint_people import KeypointBatch, KeypointPeople, KnownPeople
from hmrfit.train.losses import LANDMARKS, KeypointLossWeights
from hmrfit.train.people_stream import NEARER, MotionPeople, PosePool
from hmrfit.train.trainer import FITS, LAST, WEIGHTS, Trainer, TrainingSchedule, train

FEWEST_SEEN = 6
"""Keypoints. People of whom fewer are seen say little about a detector, and are left out."""

FEWEST_PEOPLE = 20
"""The fit gained as much from the offsets of 30 made-up people as from those of 800; fewer were not tried."""

BLOCKS, EVERY = 20, 5
"""Photographs or frames, in their order, make so many blocks; every fifth block is set aside. Neighbours in a video,
who are nearly the same, are so on one side."""

MOST_ASIDE = 200
"""Of those who are set aside, so many are scored."""

MOST_FOR_OFFSETS, SYNTHETIC_FOR_OFFSETS = 1500, 800
"""People, the user's and synthetic ones, of whom the offsets are learned, at most: the fit gains hardly more from 800
than from 100."""

LEAST_MINUTES = 0.2
"""Of the loop, however little is left when it begins."""

STATE, OFFSETS, KEYPOINTS, ERRORS = "adapt.json", "offsets.npz", "keypoints.npz", "error_model.npz"

Say = Callable[[str], None]


@dataclass(frozen=True)
class AdaptationPlan:
    """How long, and with how many synthetic people. steps: of the loop, 0 for as many as the minutes of the whole
    run leave."""

    minutes: float = 10.0
    steps: int = 0
    batch: int = 128
    rate: float = 3e-4
    share: float = 0.5  # of a batch that are the user's people
    synthetic: int = 6000
    scored: int = 400
    seed: int = 0
    error_steps: int = 100  # of the error model; 0: as it is shipped
    offsets: bool = True  # learn where the detector's keypoints lie; False: where the body has them


@dataclass(frozen=True)
class SyntheticPoses:
    """World poses (N, 24, 3) for synthetic people: those who are mixed in, and those of the hold-out."""

    pool: PosePool
    held_out: Tensor
    origin: str  # where they are from, a phrase


@dataclass(frozen=True)
class Adaptation:
    """The outcome. worse: why it is not handed over; empty where it is."""

    hmr: HMR
    errors: ErrorModel
    offsets: PointOffsets
    before: HoldOutScores
    after: HoldOutScores
    aside_before: AsideScores
    aside_after: AsideScores
    worse: tuple[str, ...]
    people: int
    aside: int
    steps: int

    @property
    def report(self) -> dict[str, Any]:
        """As JSON has it."""
        names = ("before", "after", "aside_before", "aside_after")
        known = {name: asdict(getattr(self, name)) for name in names}
        counts = {"people": self.people, "aside": self.aside, "steps": self.steps}
        away = self.offsets.offsets.norm(dim=1)
        return {
            **known,
            **counts,
            "handed_over": not self.worse,
            "worse": list(self.worse),
            "offsets_mm": {n: round(1e3 * d, 1) for n, d in zip(self.offsets.names, away.tolist(), strict=True)},
        }


class Adapter:
    """One run.

    Args:
        base: the default fit, whose estimate and error model are adapted. hmr, errors: these networks, to be trained.
        people: the user's, nobody's truth is read. folder: of the run; what is in it is gone on with.
    Raises:
        ValueError: too few people; the folder holds the run of other people or another plan.
    """

    def __init__(
        self,
        base: Fitter,
        hmr: HMR,
        errors: ErrorModel,
        people: KnownPeople,
        poses: SyntheticPoses,
        folder: Path,
        plan: AdaptationPlan | None = None,
        say: Say = lambda _: None,
        quiet: bool = False,
    ) -> None:
        self.base, self.hmr, self.errors_in_training, self.poses, self.folder = base, hmr, errors, poses, folder
        self.plan, self.say, self.quiet, self.began = plan or AdaptationPlan(), say, quiet, time.monotonic()
        start = base.schedule.start
        if not isinstance(start, InitialEstimate) or start.error_model is None:
            raise ValueError("What is adapted is the initial estimate of the default fit and its error model.")
        self.network, self.errors = KeypointHmr(hmr), start.error_model
        self.people = enough_people(people)
        self.names = self.people.keypoints.names
        self.aside = set_aside(self.people.keys)
        self.state = self._resumed()

    # ---- the whole run

    def run(self) -> Adaptation:
        """All steps that are not done yet."""
        own = chosen(self.people, (~self.aside).nonzero()[:, 0])
        scored = chosen(
            self.people, self.aside.nonzero()[:, 0][drawn(int(self.aside.sum()), MOST_ASIDE, self.plan.seed)]
        )
        offsets = self._offsets(own)
        shipped, moved = with_model(self.base, self.network), with_model(self.base, self.network, offsets=offsets)
        if "before" not in self.state:
            self.say(f"Scores before, on {self.plan.scored} synthetic people and {len(scored)} who are set aside")
            found = score_hold_out(shipped, self.hold_out, self.plan.seed), score_aside(shipped, scored)
            self._note(before=asdict(found[0]), aside_before=asdict(found[1]))
        trainer = self._train(self._ours(own, moved))
        hmr = load_hmr(self.folder / WEIGHTS)  # as it is handed over, in 16 bits
        network = KeypointHmr(hmr)
        errors = self._errors(hmr)
        self.say("Scores after")
        before, aside = HoldOutScores(**self.state["before"]), AsideScores(**self.state["aside_before"])
        after = score_hold_out(with_model(self.base, network, errors), self.hold_out, self.plan.seed)
        return Adaptation(
            hmr=hmr,
            errors=errors,
            offsets=offsets,
            before=before,
            after=after,
            aside_before=aside,
            aside_after=score_aside(with_model(self.base, network, errors, offsets), scored),
            worse=tuple(what_got_worse(before, after)),
            people=len(own),
            aside=int(self.aside.sum()),
            steps=trainer.step,
        )

    # ---- where the detector's keypoints lie

    def _offsets(self, people: KnownPeople) -> PointOffsets:
        file = self.folder / OFFSETS
        if not self.plan.offsets:
            return PointOffsets(self.names, torch.zeros(len(self.names), 3, dtype=torch.float64))
        if not file.is_file():
            rows = drawn(len(people), MOST_FOR_OFFSETS, self.plan.seed)
            self.say(f"Where the detector's keypoints lie on the body, of {how_many(len(rows), 'people')}")
            synthetic = self._synthetic(SYNTHETIC_FOR_OFFSETS, self.plan.seed + 1)
            learner = DetectorPoints(self.base.body, self.network, self.errors, synthetic)
            learner.learn(chosen(people, rows), self.plan.seed).save(file)
        return PointOffsets.from_file(file)

    def _ours(self, people: KnownPeople, fitter: Fitter) -> KnownPeople:
        """The people with x' in place of x."""
        file = self.folder / KEYPOINTS
        if not file.is_file():
            self.say(f"First fits of {how_many(len(people), 'people')}")
            fit = fitter.fit(people.keypoints, people.camera)
            assert fitter.offsets is not None
            moved = MovedKeypoints(self.base.body, fitter.offsets)
            ours = moved.as_ours(people.keypoints, people.camera, fit.state.params)
            write_npz(file, {"xy": ours.xy.numpy()})
        xy = torch.as_tensor(read_npz(file)["xy"])
        return replace(people, keypoints=replace(people.keypoints, xy=xy))

    # ---- synthetic people

    @cached_property
    def _points(self) -> PointBody:
        return self.base.body.points(self.names)

    def _synthetic(self, count: int, seed: int, corruption: Corruption = NEARER.corruption) -> People:
        """People in poses of the pool, before cameras as the shipped estimate was trained with."""
        generator = torch.Generator().manual_seed(seed)
        poses = self.poses.pool.sample(count, generator, NEARER.mixture).double()
        return people_from_points(self._points, poses, generator, NEARER.views, corruption)

    @cached_property
    def hold_out(self) -> People:
        """In poses of the hold-out, upright, 1 % noise, a tenth missing."""
        rows = drawn(len(self.poses.held_out), self.plan.scored, self.plan.seed + 2)
        generator = torch.Generator().manual_seed(self.plan.seed + 2)
        return people_from_points(self._points, self.poses.held_out[rows].double(), generator)

    # ---- the loop

    def _train(self, ours: KnownPeople) -> Trainer[KeypointBatch]:
        """The loop to its end, or on from where it stopped."""
        if "minutes" not in self.state:
            spent = (time.monotonic() - self.began) / 60
            self._note(minutes=max(LEAST_MINUTES, self.plan.minutes - 1.5 * spent))  # scores come again
        trainer = self.trainer(ours)
        how = how_many(self.plan.steps, "steps") if self.plan.steps else f"{self.state['minutes']:.1f} minutes"
        self.say(f"The loop of fits and network, {how}; synthetic people from {self.poses.origin}")
        assert trainer.fits is not None
        with trainer.fits:
            train(trainer, self.folder, every=20, save_every=200, quiet=self.quiet)
        return trainer

    def trainer(self, ours: KnownPeople) -> Trainer[KeypointBatch]:
        """The network, its people and the loop, at the beginning."""
        plan, body = self.plan, self.base.body.to(dtype=torch.float32)
        torch.manual_seed(plan.seed)
        half = self._synthetic((plan.synthetic + 1) // 2, plan.seed + 3)
        like_theirs = self._synthetic(plan.synthetic // 2, plan.seed + 4)
        learner = DetectorPoints(self.base.body, self.network, self.errors, like_theirs)
        generator = torch.Generator().manual_seed(plan.seed + 5)
        rows = drawn(len(ours), MOST_FOR_OFFSETS, plan.seed)
        seen = learner.seen_by(chosen(ours, rows)).of(like_theirs, self._points, generator)
        made = People.cat([half, replace(like_theirs, keypoints=seen)])
        synthetic = KnownPeople.synthetic(made, "synthetic")
        stream = KeypointPeople([ours, synthetic], [plan.share, 1 - plan.share], seed=plan.seed)
        store = FitStore(self.folder / FITS, ENERGY)
        hmr = deepcopy(self.hmr).train().requires_grad_(True)
        hmr.encoder.requires_grad_(False)
        loop = AnchoredLoop(self.base, store, stream.keys, lambda: self._current(trainer))
        real = MotionPeople(self.poses.pool, 10, torch.Generator().manual_seed(plan.seed))
        bodies = body.points(LANDMARKS), body.points(self.names)
        objective = KeypointLoop(stream, *bodies, real, loop, KeypointLossWeights(adversarial=0.0))
        schedule = TrainingSchedule(
            plan.batch, plan.steps, self.state["minutes"], plan.rate, warm_up=50, average=0.99, half=True
        )
        trainer = Trainer(hmr, FactorizedDiscriminator(hidden=1), objective, schedule, fits=store)
        return trainer

    def _current(self, trainer: Trainer[KeypointBatch]) -> Fitter:
        return with_model(self.base, KeypointHmr(trainer.averaged()))

    # ---- the error model

    def _errors(self, hmr: HMR) -> ErrorModel:
        """The error model after its steps, as it is handed over, in 16 bits."""
        file, plan = self.folder / ERRORS, self.plan
        if not file.is_file():
            found = model = deepcopy(self.errors_in_training).train().requires_grad_(True)
            if plan.error_steps:
                self.say(f"{how_many(plan.error_steps, 'steps')} of the error model")
                generator = torch.Generator().manual_seed(plan.seed + 6)
                body, network = self.base.body.to(dtype=torch.float32), KeypointHmr(hmr, flip_test=False)
                cases = Cases(body, network, model, self.poses.pool, generator)
                steps = train_error_model(model, cases, 0.0, plan.rate, plan.batch, plan.seed, True, plan.error_steps)
                *_, (found, _) = steps
            save_network(file, found, half=True)
        return packed(load_error_model(file))

    # ---- what is done

    @cached_property
    def fingerprint(self) -> str:
        """Of the people, the plan and the networks."""
        digest = hashlib.sha256(json.dumps([asdict(self.plan), self.names, self.poses.origin]).encode())
        for tensor in (self.people.keypoints.xy, self.people.keypoints.confidence, self.people.camera.focal):
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
        return digest.hexdigest()

    def _resumed(self) -> dict[str, Any]:
        """What adapt.json says; a new one where there is none."""
        file = self.folder / STATE
        if not file.is_file():
            self.folder.mkdir(parents=True, exist_ok=True)
            others = [name for name in (OFFSETS, KEYPOINTS, LAST, FITS, WEIGHTS) if (self.folder / name).exists()]
            if others:
                raise FileExistsError(
                    f"'{self.folder}' holds {', '.join(others)}, but no {STATE}: that is no adaptation to go on with, "
                    "and nothing of it is overwritten. Choose another folder."
                )
            state: dict[str, Any] = {"fingerprint": self.fingerprint}
            write_json(file, state)
            return state
        known = read_json(file)
        if not isinstance(known, dict) or known.get("fingerprint") != self.fingerprint:
            raise ValueError(
                f"'{self.folder}' holds an adaptation to other keypoints, or with other options. Give the same ones to "
                "go on with it, or choose another folder."
            )
        return known

    def _note(self, **more: Any) -> None:
        self.state |= more
        write_json(self.folder / STATE, self.state)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def enough_people(people: KnownPeople) -> KnownPeople:
    """Those of whom enough is seen. Raises ValueError: they are too few."""
    good = people.keypoints.presence.sum(1) >= FEWEST_SEEN
    if int(good.sum()) < FEWEST_PEOPLE:
        raise ValueError(
            f"Adapting needs at least {FEWEST_PEOPLE} people of whom {FEWEST_SEEN} keypoints are seen, better a few "
            f"hundred; there are {int(good.sum())} among {len(people)}. Give more keypoint files."
        )
    return chosen(people, good.nonzero()[:, 0])


def chosen(people: KnownPeople, rows: Tensor) -> KnownPeople:
    """Some of the people, with their keys."""
    return replace(replace(people, keys=())[rows], keys=tuple(people.keys[i] for i in rows.tolist()))


def set_aside(keys: Sequence[FitKey]) -> Tensor:
    """(N,) bool, about a fifth of the people: whole photographs."""
    images = list(dict.fromkeys((key.data_set, key.image) for key in keys))
    block = {image: i * BLOCKS // len(images) for i, image in enumerate(images)}
    return torch.tensor([block[key.data_set, key.image] % EVERY == EVERY - 1 for key in keys])


def drawn(count: int, most: int, seed: int) -> Tensor:
    """At most so many rows of `count`, at random, rising."""
    if count <= most:
        return torch.arange(count)
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:most].sort().values

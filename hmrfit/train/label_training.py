"""Training the label model: people of whom something was exchanged, or a limb replaced, and which.

    x = exchanged(replaced(keypoints))        loss = CE(σ | x) + CE(l | x)

People are those of the other networks (`people_stream`, `hard_people`), seen by all keypoint sets, with the errors that
detectors make but these. What is done is named by what it changes: exchanging the feet of legs of which nothing else is
seen is exchanging legs, the first name of that change, and where neither side is seen, nothing was done.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.keypoints import LIMBS, flip_permutation, keypoint_sets
from hmrfit.network.encoders import normalise_keypoints, view_of_box
from hmrfit.network.label_model import (
    TRAINED_BORROWED,
    TRAINED_EXCHANGED,
    LabelModel,
    exchanged_places,
    limb_members,
)
from hmrfit.synthetic.hard_people import Hardness, HardPeopleMaker
from hmrfit.synthetic.label_errors import mirrored_beside
from hmrfit.synthetic.people import people_from_points, uniform
from hmrfit.train.error_model_training import descend
from hmrfit.train.people_stream import NEARER, SET_WEIGHTS, PosePool, assumed_camera, hard_rows
from hmrfit.train.trainer import rate_factor, set_rate
from hmrfit.types import Keypoints, TensorRecord

OFTEN = (3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 1.0, 1.0)
"""How often each exchange is made: whole limbs and people more often than parts."""

ASIDE = (0.2, 0.7)
"""Of the box: how far away the other person is."""

OTHERS = 0.3
"""The fraction of replaced limbs that are those of another pose; the rest are the own opposite limb, mirrored."""

HARD = 0.65
"""The fraction of batches of `HardPeople`."""

TIMES = 4
"""How often each person is looked at, each time with something else done: people take longer to make than to spoil."""

WARM_UP = 200
"""Steps in which the learning rate rises."""


@dataclass(frozen=True)
class Spoilt(TensorRecord):
    """Keypoints of B people, and what was done to them: 0 nothing, else one more than the place in EXCHANGES, LIMBS."""

    keypoints: Keypoints
    exchange: Tensor  # (B,)
    borrowed: Tensor  # (B,)


def spoilt(keypoints: Keypoints, generator: torch.Generator) -> Spoilt:
    """Some people with a limb of somebody else, some with sides exchanged, some with both."""
    replaced, borrowed = with_others_limbs(keypoints, generator)
    B, names = len(borrowed), keypoints.names
    sources, mirrored = exchanged_places(names), torch.tensor(flip_permutation(names))
    kind = torch.multinomial(torch.tensor(OFTEN), B, True, generator=generator)
    moves = sources != torch.arange(len(names))
    seen = replaced.shown > 0
    changes = moves & (seen | seen[:, mirrored])[:, None]  # (B, n, K) what each exchange would change of what is seen
    own = changes[torch.arange(B), kind]
    done = (uniform(0, 1, B, generator) < TRAINED_EXCHANGED) & own.any(1)
    same = (changes == own[:, None]).all(-1).to(torch.int8)
    found = replaced.rearranged(torch.where(done[:, None], sources[kind], torch.arange(len(names))))
    return Spoilt(found, torch.where(done, same.argmax(1) + 1, 0), borrowed)


def with_others_limbs(keypoints: Keypoints, generator: torch.Generator) -> tuple[Keypoints, Tensor]:
    """(keypoints of whom some have one limb that is another person's, which: 0 none, else its place in LIMBS and one).

    The other person stands beside, and is the own mirror image or somebody in another pose, larger or smaller.
    """
    B, names, seen = len(keypoints.xy), keypoints.names, keypoints.shown > 0
    mirrored, mate = torch.tensor(flip_permutation(names)), torch.arange(B).roll(1)
    low, high = keypoints.bounds()
    middle, box = ((low + high) / 2)[:, None], keypoints.box_size()[:, None, None]
    side = torch.where(uniform(0, 1, B, generator) < 0.5, 1.0, -1.0) * uniform(*ASIDE, B, generator)
    shift = side[:, None, None].to(box) * box * torch.tensor([1.0, 0.0]).to(box)
    size = uniform(0.6, 1.2, B, generator)[:, None, None].to(box)
    theirs = (keypoints.xy - middle)[mate] / box[mate].clamp_min(1.0) * box * size + middle + shift
    foreign = uniform(0, 1, B, generator) < OTHERS
    there = torch.where(foreign[:, None], seen[mate], seen[:, mirrored])
    limb = torch.randint(len(LIMBS), (B,), generator=generator)
    chosen = (uniform(0, 1, B, generator) < TRAINED_BORROWED)[:, None] & limb_members(names)[limb]
    taken = chosen & seen & there
    put = torch.where(foreign[:, None, None], theirs, mirrored_beside(keypoints, side))
    return (
        replace(keypoints, xy=torch.where(taken[..., None], put, keypoints.xy)),
        torch.where(taken.any(1), limb + 1, 0),
    )


@dataclass
class LabelPeople:
    """Endless batches; what comes next depends on the generator alone.

    Args:
        body: float32.
    """

    body: SmplBody
    pool: PosePool
    generator: torch.Generator
    _makers: dict[str, HardPeopleMaker] = field(init=False)

    def __post_init__(self) -> None:
        right = Hardness(swapped=0.0, borrowed=0.0)
        points = {name: self.body.points(names) for name, names in keypoint_sets().items()}
        pool = self.pool
        self._makers = {name: HardPeopleMaker(p, pool.filled, pool.weight, 0, right) for name, p in points.items()}
        self._weight = torch.tensor([SET_WEIGHTS.get(name, 1.0) for name in points])
        self._how = replace(NEARER, corruption=replace(NEARER.corruption, swapped=0.0, stray=0.3))

    def batches(self, count: int) -> Iterator[tuple[Spoilt, Camera]]:
        """`count` people each, all with one keypoint set, before the camera that a fit would assume."""
        while True:
            keypoints, camera = self._people(count)
            for _ in range(TIMES):
                known = uniform(0, 1, count, self.generator) < self._how.known_focal
                yield spoilt(keypoints, self.generator), assumed_camera(camera, known)

    def _people(self, count: int) -> tuple[Keypoints, Camera]:
        """People with right labels, in no order."""
        name = list(self._makers)[int(torch.multinomial(self._weight, 1, generator=self.generator))]
        maker, how = self._makers[name], self._how
        if float(uniform(0, 1, 1, self.generator)) < HARD:
            people = hard_rows(maker, count, self.generator)
        else:
            poses = self.pool.sample(count, self.generator, how.mixture)
            people = people_from_points(maker.body, poses, self.generator, how.views, how.corruption)
        people = people[torch.randperm(count, generator=self.generator)]
        return people.keypoints, people.camera


def label_loss(model: LabelModel, spoiled: Spoilt, camera: Camera) -> dict[str, Tensor]:
    """The two cross entropies of B people."""
    points, center, side = normalise_keypoints(spoiled.keypoints)
    with torch.autocast(points.device.type, torch.bfloat16):
        odds = model(points.float(), spoiled.keypoints.names, view_of_box(center, side, camera).float())
    return {
        "exchange": F.cross_entropy(odds.exchange.float(), spoiled.exchange),
        "borrowed": F.cross_entropy(odds.borrowed.float(), spoiled.borrowed),
    }


def train_label_model(
    model: LabelModel, people: LabelPeople, steps: int, rate: float = 1e-3, count: int = 512, seed: int = 0
) -> Iterator[tuple[LabelModel, dict[str, float]]]:
    """(the averaged model, the losses) after every step; AdamW, cosine, averaged weights."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), rate, betas=(0.9, 0.98), weight_decay=0.01)
    average = deepcopy(model)
    for step, (spoiled, camera) in zip(range(steps), people.batches(count), strict=False):
        set_rate(optimizer, rate * rate_factor(step, WARM_UP, step / steps))
        parts = label_loss(model, spoiled, camera)
        descend(torch.stack(list(parts.values())).sum(), optimizer, model, average, step)
        yield average, {name: value.item() for name, value in parts.items()} | {"step": step + 1}

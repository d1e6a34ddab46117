"""Training data of the image HMR: people of image datasets and of synthetic scenes in one form, and mixtures of them.

    real = PersonImages(read_spin_npz("coco_2014_train.npz"), root="/data/coco", how=Augmentation())
    made = ScenePeople(SceneDataset(body, poses, names="spin49"))
    MixedPeople([real, made], shares=[0.7, 0.3])                                       # endless, resumed by a number
    DataLoader(ConcatDataset([real, made]), collate_fn=PersonSample.collate, ...)      # or torch's own

The k-th person of an epoch is the same whatever the order and the workers: its augmentation is drawn from (seed, epoch,
k). The n-th batch of a mixture is the same whatever was drawn before, by however many workers: from (seed, n) come for
each of its people a dataset by its share, one of its people, and the augmentation. So the position in the data is one
number, and a run that is resumed goes on with the very people it would have had.
"""

import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from hmrfit.camera import Camera, crop_to_pixels
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.io.image import Crop, read_image
from hmrfit.keypoints import OPENPOSE25, SPIN24
from hmrfit.network.encoders import to_tensor, view_of_box
from hmrfit.ops.how_many import how_many
from hmrfit.synthetic.dataset import SceneDataset, SceneSample, scene_generator
from hmrfit.train.augmentation import (
    Augmentation,
    Change,
    change_image,
    change_names,
    change_params,
    change_points,
    draw,
    points_in_crop,
    rotate,
)
from hmrfit.train.fit_store import FitKey, keys_of_boxes
from hmrfit.train.turns import Seen, Turns
from hmrfit.types import BodyParams, Keypoints, TensorRecord

SPIN49 = OPENPOSE25 + SPIN24

MADE_AT_ONCE = 16
"""Scenes that a process makes before it hands them over."""

TRIES = 20
"""How many people in a row may be unreadable before the run ends."""


@dataclass(frozen=True)
class PersonSample(TensorRecord):
    """B people: a network's inputs and the losses' targets. Unknown values have the confidence 0."""

    images: Tensor  # (B, 3, R, R) uint8 RGB
    view: Tensor  # (B, 3), where the box lies before the camera; the default focal length where none is known
    keypoints: Tensor  # (B, 49, 2) spin49, in the crop's [-1, 1]
    confidence: Tensor  # (B, 49)
    joints: Tensor  # (B, 24, 3) spin24, metres
    joint_confidence: Tensor  # (B, 24)
    params: BodyParams  # at the origin
    has_params: Tensor  # (B,) bool
    seen: Seen | None = None  # the full image, for a loop of fits; rows are those of the mixture that drew them

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def collate(cls, samples: Sequence[Self]) -> Self:
        """For `DataLoader(collate_fn=...)`."""
        return cls.cat(samples)


def _drawn(how: Augmentation | None, generator: torch.Generator) -> Change:
    return Change() if how is None else draw(how, generator)


class PersonImages(Dataset[PersonSample]):
    """The people of a `SpinDataset`, cut out of their images and augmented."""

    def __init__(
        self,
        people: SpinDataset,
        root: str | os.PathLike[str],
        how: Augmentation | None = None,
        resolution: int = 224,
        seed: int = 0,
        name: str = "",
    ) -> None:
        """
        Args:
            root: the folder below which `imgname` lies.
            how: None for no augmentation.
            name: of the data set, in a store of fits.
        Raises:
            FileNotFoundError: the first image is not there.
        """
        self.name = name
        self.people, self.root, self.how, self.resolution, self.seed = people, Path(root), how, resolution, seed
        self.epoch = 0
        self._keypoints, (self._joints, self._known) = people.keypoints(), people.joints()
        self._params, self._has_params = people.params(), people.smpl_known()
        if len(people) and not self.path(0).exists():
            raise FileNotFoundError(
                f"There is no '{self.path(0)}', the image of the first person. Is '{root}' the folder below which "
                f"'{people.imgname[0]}' lies?"
            )

    def __len__(self) -> int:
        return len(self.people)

    @property
    def keys(self) -> list[FitKey]:
        """Whose fits are whose, in a store."""
        return keys_of_boxes(self.name, self.people.imgname.tolist(), self.people.center)

    def path(self, index: int) -> Path:
        """The person's image."""
        return self.root / str(self.people.imgname[index])

    def change(self, index: int) -> Change:
        """The augmentation of this person in this epoch."""
        return _drawn(self.how, scene_generator(self.seed, self.epoch * len(self) + index))

    def __getitem__(self, index: int) -> PersonSample:
        """Person `index`, as a batch of one."""
        return self._changed(index, self.change(index))

    def take(self, index: int, chance: int) -> PersonSample:
        """Person `index`, as a batch of one, changed as the number `chance` decides."""
        return self._changed(index, _drawn(self.how, scene_generator(self.seed, chance)))

    def _changed(self, index: int, change: Change) -> PersonSample:
        image, crop = read_image(self.path(index)), self.people.crop(index, self.resolution)
        box = change.box(crop)
        center, side = (torch.tensor([value], dtype=torch.float64) for value in (box.center, box.side))
        camera = Camera.from_size(*image.shape[1::-1])
        view = rotate(view_of_box(center, side, camera), change)
        row = slice(index, index + 1)
        origin = torch.zeros(1, 3, dtype=torch.float64)
        params, has_params = self._params[row], self._has_params[row]
        seen = Seen(torch.tensor([index]), self._keypoints[row], camera, turns_of(change), params, has_params)
        return PersonSample(
            images=to_tensor(change_image(image, crop, change)),
            view=view.float(),
            keypoints=points_in_crop(self._keypoints.xy[row], SPIN49, crop, change).float(),
            confidence=change_names(self._keypoints.confidence[row], SPIN49, change).float(),
            joints=change_points(self._joints[row], SPIN24, change).float(),
            joint_confidence=change_names(self._known[row], SPIN24, change).float(),
            params=change_params(params, origin, change).to(torch.float32),
            has_params=has_params,
            seen=seen,
        )


class ScenePeople(Dataset[PersonSample]):
    """Synthetic scenes in the same form: annotated (`spin24`) and detected (`openpose25`) keypoints, all true.

    A scene takes longer to make than to learn from: `remembered` ones are made once and come again, each time with
    another augmentation.
    """

    def __init__(
        self, scenes: SceneDataset, how: Augmentation | None = None, remembered: bool = False, resolution: int = 0
    ) -> None:
        """
        Args:
            how: what `take` changes; None leaves scenes as they were made. remembered: keep them in memory, 3 R² bytes
                each (and in that of every worker).
            resolution: of the crops; 0 for that of the scenes.
        Raises:
            ValueError: the scenes have other names than spin49.
        """
        if scenes.names != SPIN49:
            raise ValueError(
                'To be mixed with datasets, scenes need their keypoints: SceneDataset(..., names="spin49").'
            )
        self.scenes, self.how, self.resolution = scenes, how, resolution or scenes.resolution
        self._kept: dict[int, PersonSample] | None = {} if remembered else None

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def keys(self) -> list[FitKey]:
        """Whose fits are whose, in a store."""
        return [FitKey(f"scenes {self.scenes.seed}", str(i), "0") for i in range(len(self))]

    def __getitem__(self, index: int) -> PersonSample:
        """Scene `index`, as a batch of one."""
        if self._kept is not None and index in self._kept:
            return self._kept[index]
        sample = person_of_scene(self.scenes[index], index)
        if self._kept is not None:
            self._kept[index] = sample
        return sample

    def make(self, workers: int = 0) -> None:
        """Makes every scene that is remembered now, by so many processes; workers that are begun later share them."""
        if self._kept is None:
            return
        anew = ScenePeople(self.scenes)
        loader = DataLoader(anew, MADE_AT_ONCE, num_workers=workers, collate_fn=collated, generator=torch.Generator())
        for batch in loader:
            for sample in batch:
                self._kept[len(self._kept)] = sample.map(torch.clone)  # out of the memory that the processes share

    def take(self, index: int, chance: int) -> PersonSample:
        """Scene `index`, as a batch of one, changed as the number `chance` decides."""
        change = _drawn(self.how, scene_generator(self.scenes.seed, chance))
        return change_sample(self[index], change, self.resolution)


def person_of_scene(scene: SceneSample, index: int = 0) -> PersonSample:
    """The people of a scene, number `index` of its dataset, in the form of datasets."""
    pixels = crop_to_pixels(scene.keypoints.double(), scene.box_center.double(), scene.box_side.double())
    rows, known = torch.full((len(scene),), index), torch.ones(len(scene), dtype=torch.bool)
    keypoints = Keypoints(pixels, scene.confidence.double(), SPIN49)
    camera, truth = scene.camera.to(torch.float64), scene.params.to(torch.float64)
    joints = scene.joints[:, len(OPENPOSE25) :]
    at_origin = replace(scene.params, transl=torch.zeros_like(scene.params.transl))
    return PersonSample(
        images=scene.images,
        view=scene.view,
        keypoints=scene.keypoints,
        confidence=scene.confidence,
        joints=joints,
        joint_confidence=torch.ones_like(joints[..., 0]),
        params=at_origin,
        has_params=known,
        seen=Seen(rows, keypoints, camera, Turns.none(len(scene)), truth, known),
    )


def change_sample(sample: PersonSample, change: Change, resolution: int) -> PersonSample:
    """A person cut out already, augmented: the crop (a batch of one) takes the place of the full image."""
    if change == Change() and sample.images.shape[-1] == resolution:
        return sample
    picture = sample.images[0].permute(1, 2, 0).numpy()
    side = picture.shape[0]
    crop = Crop((side / 2, side / 2), side, resolution)
    shift = sample.view.new_tensor([change.shift])
    view = torch.cat([sample.view[:, :2] + shift * sample.view[:, 2:], change.scale * sample.view[:, 2:]], 1)
    pixels = side * (sample.keypoints + 1) / 2
    return PersonSample(
        images=to_tensor(change_image(picture, crop, change)),
        view=rotate(view, change),
        keypoints=points_in_crop(pixels, SPIN49, crop, change),
        confidence=change_names(sample.confidence, SPIN49, change),
        joints=change_points(sample.joints, SPIN24, change),
        joint_confidence=change_names(sample.joint_confidence, SPIN24, change),
        params=change_params(sample.params, torch.zeros_like(sample.params.transl), change),
        has_params=sample.has_params,
        seen=None if sample.seen is None else replace(sample.seen, turns=turns_of(change)),
    )


def turns_of(change: Change) -> Turns:
    """What of one person's change turns and mirrors the person."""
    return Turns(torch.tensor([change.angle], dtype=torch.float64), torch.tensor([change.flip]))


# ---- mixtures


SampleT = TypeVar("SampleT", bound=TensorRecord)
DrawnT_co = TypeVar("DrawnT_co", bound=TensorRecord, covariant=True)


class SampleSource(Protocol[DrawnT_co]):
    """A dataset that can be mixed."""

    def __len__(self) -> int: ...

    def take(self, index: int, chance: int) -> DrawnT_co:
        """Number `index`, as a batch of one, changed as the number `chance` decides."""


class PersonSource(SampleSource[PersonSample], Protocol):
    """A dataset of people that can be mixed: `PersonImages` or `ScenePeople`."""

    @property
    def keys(self) -> list[FitKey]:
        """Whose fits are whose, in a store."""


Draw = tuple[int, int, int]
"""Which dataset, which of its people, and the number that decides the augmentation."""


def draws(sizes: Sequence[int], shares: torch.Tensor, count: int, seed: int, position: int) -> list[Draw]:
    """Batch number `position`: of each of its people a dataset by its share, one of its people, and a number."""
    generator = scene_generator(seed, position)
    which = torch.multinomial(shares, count, True, generator=generator).tolist()
    chance = torch.randint(2**31, (2, count), generator=generator).tolist()
    return [(d, first % sizes[d], second) for d, first, second in zip(which, *chance, strict=True)]


class _Draws(Sampler[list[Draw]]):
    """Batch after batch from `position` on, without end."""

    def __init__(self, sizes: Sequence[int], shares: torch.Tensor, count: int, seed: int, position: int) -> None:
        self.sizes, self.shares, self.count, self.seed, self.position = sizes, shares, count, seed, position

    def __iter__(self) -> Iterator[list[Draw]]:
        position = self.position
        while True:
            yield draws(self.sizes, self.shares, self.count, self.seed, position)
            position += 1


class _Drawn(Dataset[SampleT]):
    """Samples by their draws; one that cannot be read is replaced by the next one of the same dataset."""

    def __init__(self, sources: Sequence[SampleSource[SampleT]]) -> None:
        self.sources = sources

    def __getitem__(self, draw: Draw) -> SampleT:
        which, index, chance = draw
        source = self.sources[which]
        for attempt in range(TRIES):
            try:
                return source.take((index + attempt) % len(source), chance)
            except (OSError, ValueError) as error:
                reason = error
                warnings.warn(f"Person {index + attempt} of dataset {which} is left out: {error}", stacklevel=2)
        raise reason


class _DrawnPeople(_Drawn[PersonSample]):
    """People by their draws, with their rows among all of them."""

    def __init__(self, sources: Sequence[SampleSource[PersonSample]]) -> None:
        super().__init__(sources)
        self.first = [sum(map(len, sources[:which])) for which in range(len(sources))]

    def __getitem__(self, draw: Draw) -> PersonSample:
        sample, first = super().__getitem__(draw), self.first[draw[0]]
        seen = sample.seen
        return replace(sample, seen=None if seen is None else replace(seen, row=seen.row + first))


def collated(samples: Sequence[SampleT]) -> SampleT:
    """Batches as one."""
    return type(samples[0]).cat(samples)


class Mixed(Generic[SampleT]):
    """Endless batches from several sources."""

    def __init__(
        self, sources: Sequence[SampleSource[SampleT]], shares: Sequence[float], seed: int = 0, workers: int = 0
    ) -> None:
        """
        Args:
            shares: of the draws, one for each source; they need not add up to 1.
            seed: another one for each process of several.
            workers: processes that make the people; 0 for none beside this one. They change nothing but the time.
        Raises:
            ValueError: not one share for each, a negative one, or a share for an empty source.
        """
        sizes = [len(source) for source in sources]
        if len(shares) != len(sizes) or not sizes or min(shares) < 0 or sum(shares) <= 0:
            raise ValueError(
                f"Expected a share ≥ 0 for each of {how_many(len(sizes), 'datasets')}, got {list(shares)}."
            )
        if any(share > 0 and not size for share, size in zip(shares, sizes, strict=True)):
            raise ValueError(f"A dataset without people cannot have a share: sizes {sizes}, shares {list(shares)}.")
        self.sources, self.shares = list(sources), torch.tensor(shares, dtype=torch.float64)
        self.seed, self.workers, self.position = seed, workers, 0
        self._sizes, self._count = sizes, 0
        self._batches: Iterator[SampleT] | None = None

    def batch(self, count: int) -> SampleT:
        """The next `count` of them."""
        if self._batches is None or count != self._count:
            self._batches, self._count = self._loader(count), count
        self.position += 1
        return next(self._batches)

    def go_to(self, position: int) -> None:
        """The next batch will be the one that comes after `position` batches."""
        self.position, self._batches = position, None

    def _drawn(self) -> Dataset[SampleT]:
        """What the loader reads."""
        return _Drawn(self.sources)

    def _loader(self, count: int) -> Iterator[SampleT]:
        draws = _Draws(self._sizes, self.shares, count, self.seed, self.position)
        return iter(
            DataLoader(
                self._drawn(),
                batch_sampler=draws,
                num_workers=self.workers,
                collate_fn=collated,
                persistent_workers=self.workers > 0,
                generator=torch.Generator(),  # its own, so that a new loader leaves the run's random state as it is
            )
        )


class MixedPeople(Mixed[PersonSample]):
    """Endless batches of people from several sources."""

    def __init__(
        self, sources: Sequence[PersonSource], shares: Sequence[float], seed: int = 0, workers: int = 0
    ) -> None:
        super().__init__(sources, shares, seed, workers)
        self._of_people = list(sources)

    @property
    def keys(self) -> list[FitKey]:
        """Whose fits are whose in a store, by the rows of what was seen."""
        return [key for source in self._of_people for key in source.keys]

    def _drawn(self) -> Dataset[PersonSample]:
        return _DrawnPeople(self.sources)

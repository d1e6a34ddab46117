"""People of whom 2D keypoints are known, again and again: a finite data set for the keypoint HMR, and mixtures of some.

    x' = Q x              about the camera's axis, so that what is seen stays exact (`train.turns`)
    network's input       x' with more keypoints missing and more noise than the file has;  targets: x' as it is

The n-th batch is the same whatever was drawn before, from (seed, n), so that the position in the data is one number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from hmrfit.camera import Camera, pixels_to_crop, translation_to_weak, weak_to_translation
from hmrfit.datasets.spin_npz import BOX_UNIT, SpinDataset
from hmrfit.io.image import image_size
from hmrfit.network.encoders import normalise_keypoints, view_of_box
from hmrfit.synthetic.dataset import scene_generator
from hmrfit.synthetic.people import Corruption, People, corrupt, normal, uniform
from hmrfit.train.fit_store import FitKey, keys_of_boxes
from hmrfit.train.images import draws
from hmrfit.train.people_stream import assumed_camera
from hmrfit.train.turns import Seen, Turns
from hmrfit.types import BodyParams, Keypoints, TensorRecord

AUGMENTED_SEED = 104_729
"""Added to the seed of what is drawn beside who is in a batch."""


@dataclass(frozen=True)
class KnownPeople(TensorRecord):
    """N people of a data set, as labelled or detected."""

    keypoints: Keypoints  # pixels of the full image, float64
    camera: Camera  # of the full image, its focal length known or assumed
    truth: BodyParams  # only rows of has_truth are read
    has_truth: Tensor  # (N,) bool
    keys: tuple[FitKey, ...]

    def __len__(self) -> int:
        return len(self.keypoints)

    @classmethod
    def without_truth(
        cls, keypoints: Keypoints, camera: Camera, keys: Sequence[FitKey], betas: int = 10, joints: int = 24
    ) -> "KnownPeople":
        """Of whom nothing but keypoints is known. betas, joints: of the body."""
        N = len(keypoints)
        eye = torch.eye(3, dtype=torch.float64).expand(N, joints, 3, 3)
        zeros = torch.zeros(N, betas, dtype=torch.float64)
        truth = BodyParams(eye[:, 0], eye[:, 1:], zeros, zeros[:, :3])
        return cls(keypoints, camera, truth, torch.zeros(N, dtype=torch.bool), tuple(keys))

    @classmethod
    def synthetic(cls, people: People, data_set: str, focal_known: bool = False) -> "KnownPeople":
        """People whose truth is known. Where the focal length is not, they stand where they fill their box before the
        assumed one."""
        N = len(people.joints)
        camera = assumed_camera(people.camera, torch.full((N,), focal_known))
        _, center, side = normalise_keypoints(people.clean)
        weak = translation_to_weak(people.params.transl, center, side, people.camera)
        truth = replace(people.params, transl=weak_to_translation(weak, center, side, camera))
        keys = tuple(FitKey(data_set, str(i), "0") for i in range(N))
        return cls(people.keypoints, camera, truth, torch.ones(N, dtype=torch.bool), keys)

    @classmethod
    def of_spin(cls, people: SpinDataset, data_set: str, root: str | PathLike[str] | None = None) -> "KnownPeople":
        """Those of a file in SPIN's format.

        Args:
            root: the folder below which its images lie, for their sizes: the focal length is assumed of them. None:
                SPIN's camera, 5,000 px for the 224 of a crop, before the middle of each box.
        """
        params, keypoints = people.params(), people.keypoints()
        camera = _spins_cameras(people) if root is None else _cameras_of_images(people, Path(root))
        keys = tuple(keys_of_boxes(data_set, people.imgname.tolist(), people.center))
        return cls(keypoints, camera, params, people.smpl_known(), keys)


SPIN_FOCAL = 5000 / 224
"""Of the box's side."""


def _spins_cameras(people: SpinDataset) -> Camera:
    """Before the middle of each box."""
    center, side = torch.as_tensor(people.center), torch.as_tensor(people.scale * BOX_UNIT)
    size = (side[:, None]).expand(-1, 2)
    return Camera(SPIN_FOCAL * size, center, size, torch.zeros(len(side), dtype=torch.bool))


def _cameras_of_images(people: SpinDataset, root: Path) -> Camera:
    """Of images of these sizes, which their headers say."""
    sizes = {name: image_size(root / name) for name in dict.fromkeys(people.imgname.tolist())}
    cameras = {size: Camera.from_size(*size) for size in set(sizes.values())}
    return Camera.cat([cameras[sizes[name]] for name in people.imgname.tolist()])


@dataclass(frozen=True)
class KeypointAugmentation:
    """How much changes."""

    rotation: float = 15.0  # degrees, a Gaussian's deviation, cut off at twice that
    rotated: float = 0.4  # the fraction of people that are rotated at all
    flipped: float = 0.5
    noise: tuple[float, float] = (0.002, 0.01)  # more noise of the inputs, a fraction of the box, log-uniform
    missing: tuple[float, float] = (0.0, 0.25)  # the fraction of keypoints that are taken away from the inputs


@dataclass(frozen=True)
class KeypointBatch(TensorRecord):
    """B people as the keypoint HMR sees them, what they should look like, and who they are."""

    points: Tensor  # (B, K, 3) in the box's [-1, 1], and confidence
    view: Tensor  # (B, 3)
    target: Tensor  # (B, K, 2) in the box's [-1, 1], as the file has them, augmented
    confidence: Tensor  # (B, K) of the file
    names: tuple[str, ...]
    seen: Seen


class KeypointPeople:
    """Endless batches of one or several data sets, whose keypoints have the same names."""

    def __init__(
        self,
        people: Sequence[KnownPeople],
        shares: Sequence[float] | None = None,
        how: KeypointAugmentation | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            shares: of the draws, one for each data set; by default by size.
            seed: another one for each process of several.
        Raises:
            ValueError: data sets of different keypoints, or without people.
        """
        names = {one.keypoints.names for one in people}
        if len(names) != 1 or not all(len(one) for one in people):
            raise ValueError(
                f"Expected data sets with people and the same keypoint names, got {len(people)} with {len(names)} sets "
                f"of names and {[len(one) for one in people]} people."
            )
        self.names = names.pop()
        self.sizes = [len(one) for one in people]
        self.keys = [key for one in people for key in one.keys]
        self.people = KnownPeople.cat([replace(one, keys=()) for one in people])
        self.shares = torch.tensor(self.sizes if shares is None else shares, dtype=torch.float64)
        self.how, self.seed, self.position = how or KeypointAugmentation(), seed, 0

    def batch(self, count: int) -> KeypointBatch:
        """The next `count` people."""
        drawn = draws(self.sizes, self.shares, count, self.seed, self.position)
        generator = scene_generator(self.seed + AUGMENTED_SEED, self.position)
        self.position += 1
        first = [sum(self.sizes[:d]) for d in range(len(self.sizes))]
        rows = torch.tensor([first[d] + i for d, i, _ in drawn])
        return augmented_batch(self.people[rows], rows, self.how, generator)

    def go_to(self, position: int) -> None:
        """The next batch will be the one that comes after `position` batches."""
        self.position = position


def augmented_batch(
    people: KnownPeople, rows: Tensor, how: KeypointAugmentation, generator: torch.Generator
) -> KeypointBatch:
    """People as the network sees them. rows: (B,) whose place each one's is in the loop's keys."""
    B, names = len(people), people.keypoints.names
    turns = draw_turns(B, how, generator)
    center = people.camera.center[:, None]
    xy = center + turns.points(people.keypoints.xy - center, names)
    confidence = turns.names(people.keypoints.confidence, names)
    turned = Keypoints(xy, confidence, names)
    given = corrupt(turned, Corruption(noise=how.noise, missing=how.missing), generator)
    points, box_center, box_side = normalise_keypoints(given)
    view = view_of_box(box_center, box_side, people.camera)
    target = pixels_to_crop(xy, box_center, box_side)
    seen = Seen(rows, people.keypoints, people.camera, turns, people.truth, people.has_truth)
    return KeypointBatch(points.float(), view.float(), target.float(), confidence.float(), names, seen)


def draw_turns(count: int, how: KeypointAugmentation, generator: torch.Generator) -> Turns:
    """Of `count` people."""
    turned, flipped = (uniform(0, 1, count, generator) for _ in range(2))
    angle = math.radians(how.rotation) * normal(count, generator).clamp(-2, 2)
    return Turns(torch.where(turned < how.rotated, angle, 0.0), flipped < how.flipped)

"""Synthetic people as a dataset: the n-th person, drawn on demand, with the whole truth.

    data = SceneDataset(body, motion_frames)                     # (N, 24, 3) world poses, or a function that draws them
    loader = DataLoader(data, batch_size=32, shuffle=True, collate_fn=collate_scenes, num_workers=2)

A scene depends on the dataset's seed and its own number alone: not on the order, the workers, or what was drawn before.
Only the person's square box is rendered, by the camera that the full image's camera becomes when it is cropped.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera, pixels_to_crop, translation_to_weak
from hmrfit.io.image import Image, read_image
from hmrfit.keypoints import SPIN24, resolve_set
from hmrfit.network.encoders import BOX_SCALE, to_tensor, view_of_box
from hmrfit.ops.check import check_shape
from hmrfit.ops.how_many import how_many
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.synthetic.clothing import ClothingTexture
from hmrfit.synthetic.fast_renderer import Drawn, draw_person, numpy_generator, occlude
from hmrfit.synthetic.people import Corruption, People, Views, people_from_points, uniform
from hmrfit.synthetic.renderer import render_scene
from hmrfit.types import BodyParams, TensorRecord

Poses = Tensor | Callable[[int, torch.Generator], Tensor]
"""World poses (N, 24, 3), rotation vectors, y up; or what draws so many of them with a generator."""


@dataclass(frozen=True)
class SceneSample(TensorRecord):
    """B people with the truth. `keypoints` and `joints` are of the dataset's names."""

    images: Tensor  # (B, 3, R, R) uint8 RGB
    masks: Tensor  # (B, R, R) bool, where the person is visible
    keypoints: Tensor  # (B, K, 2) in the crop's [-1, 1]
    confidence: Tensor  # (B, K): 1 inside of the crop, 0 outside
    joints: Tensor  # (B, K, 3) camera frame, metres
    smpl_joints: Tensor  # (B, 24, 3) camera frame, metres
    params: BodyParams
    camera: Camera  # the full image's
    box_center: Tensor  # (B, 2) pixels of the full image
    box_side: Tensor  # (B,)
    weak_camera: Tensor  # (B, 3)
    view: Tensor  # (B, 3)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class SceneStyle:
    """How scenes look. `rooms` and `occluded` are probabilities."""

    rooms: float = 0.0  # in a room with soft shadows, which takes some twenty times as long
    occluded: float = 0.3
    box_scale: float = 0.25  # the box's side times 1 ± this
    box_shift: float = 0.1  # the box's middle moves by up to this fraction of its side
    views: Views = field(default_factory=lambda: Views(elevation=(-20.0, 45.0), roll=8.0, beyond=0.15))


class PersonRenderer:
    """Draws one person, by the fast renderer or in a room."""

    def __init__(self, body: SmplBody, photos: Sequence[str | Path] = ()) -> None:
        """
        Args:
            body: SMPL-format, float64, in a T-pose at rest.
            photos: of places without people, as backdrops of the fast renderer; made-up ones where there are none.
        """
        self.body, self.photos, self.clothing = body, tuple(photos), ClothingTexture(body)
        self.light_body = body.to(dtype=torch.float32)  # precise enough to draw, and quicker

    def draw(
        self,
        params: BodyParams,
        world_orient: Tensor,
        camera: Camera,
        generator: torch.Generator,
        rooms: float,
        occluded: float,
    ) -> Drawn:
        """A picture of one person.

        Args:
            params: (1,) camera frame. world_orient: (3,) the pelvis's rotation vector in the y-up world.
            camera: one; its size is the picture's.
            rooms, occluded: probabilities of a room with soft shadows, and of something in front of the person.
        """
        room, hidden = (uniform(0, 1, 2, generator) < torch.tensor([rooms, occluded])).tolist()
        if room:
            world = params.global_orient[0] @ rotvec_to_matrix(world_orient).T  # world -> camera
            scene = render_scene(params, self.body, camera, generator, up=world[:, 1])
            drawn = Drawn(scene.image, scene.masks[0].numpy())
        else:
            vertices = self.light_body(params.to(torch.float32)).mesh[0]
            drawn = draw_person(vertices, self.light_body, self.clothing, camera, generator, self._photo(generator))
        return occlude(drawn, numpy_generator(generator)) if hidden else drawn

    def _photo(self, generator: torch.Generator) -> Image | None:
        if not self.photos:
            return None
        return read_image(self.photos[int(torch.randint(len(self.photos), (1,), generator=generator))])


class SceneDataset(Dataset[SceneSample]):
    """`count` scenes by number; torch's loaders shuffle them."""

    def __init__(
        self,
        body: SmplBody,
        poses: Poses,
        count: int = 100_000,
        resolution: int = 224,
        names: str | Sequence[str] = SPIN24,
        style: SceneStyle | None = None,
        seed: int = 0,
        photos: Sequence[str | Path] = (),
    ) -> None:
        """
        Args:
            body: SMPL-format, float64, in a T-pose at rest.
            names: of `keypoints` and `joints`, or a set's name.
            photos: of places without people, to put people before; made-up backdrops where there are none.
        Raises:
            ValueError: poses of another shape; a name that the body does not define.
        """
        self.names = resolve_set(names)
        if isinstance(poses, Tensor):
            check_shape(
                poses, f"N {len(body.skeleton)} 3", "poses", hint="Rotation vectors, the first to a y-up world."
            )
        self.body, self.poses, self.count, self.resolution = body, poses, count, resolution
        self.style, self.seed = style or SceneStyle(), seed
        self.points, self.renderer = body.points(self.names), PersonRenderer(body, photos)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> SceneSample:
        """Scene `index`, as a batch of one."""
        if not 0 <= index < self.count:
            raise IndexError(f"There are {how_many(self.count, 'scenes')}, numbered from 0; there is no scene {index}.")
        generator = scene_generator(self.seed, index)
        poses = self._poses(generator)
        people = people_from_points(self.points, poses, generator, self.style.views, Corruption(0.0, 0.0))
        center, side = self._box(people, generator)
        size = torch.full((1, 2), float(self.resolution), dtype=torch.float64)
        camera = people.camera.crop(center - side[:, None] / 2, side[:, None].expand(1, 2)).resize(size)
        style = self.style
        drawn = self.renderer.draw(people.params, poses[0, 0], camera, generator, style.rooms, style.occluded)
        return _sample(people, drawn, self.points.pose(people.params).points, center, side)

    def _poses(self, generator: torch.Generator) -> Tensor:
        """(1, 24, 3)."""
        if not isinstance(self.poses, Tensor):
            return self.poses(1, generator).double()
        return self.poses[torch.randint(len(self.poses), (1,), generator=generator)].double()

    def _box(self, people: People, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Around the keypoints, as a detector would have it: center (1, 2) and side (1,), pixels."""
        low, high = people.clean.bounds()
        side = BOX_SCALE * (high - low).amax(1)
        style, chance = self.style, uniform(-1, 1, 3, generator)
        return (low + high) / 2 + style.box_shift * side * chance[:2], side * (1 + style.box_scale * chance[2])


def scene_generator(seed: int, index: int) -> torch.Generator:
    """Of one scene. torch keeps 32 bits of a seed: numpy mixes both numbers into them."""
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, index)).generate_state(1)[0]))


def _sample(people: People, drawn: Drawn, joints: Tensor, center: Tensor, side: Tensor) -> SceneSample:
    keypoints = pixels_to_crop(people.clean.xy, center, side)
    inside = (keypoints.abs() <= 1).all(-1)
    floats = {
        "keypoints": keypoints,
        "confidence": inside,
        "joints": joints,
        "smpl_joints": people.joints,
        "box_center": center,
        "box_side": side,
        "weak_camera": translation_to_weak(people.params.transl, center, side, people.camera),
        "view": view_of_box(center, side, people.camera),
    }
    return SceneSample(
        images=to_tensor(drawn.image),
        masks=torch.from_numpy(drawn.mask)[None],
        params=people.params.to(torch.float32),
        camera=people.camera.to(torch.float32),
        **{name: value.float() for name, value in floats.items()},
    )


def collate_scenes(samples: Sequence[SceneSample]) -> SceneSample:
    """For `DataLoader(collate_fn=...)`."""
    return SceneSample.cat(samples)

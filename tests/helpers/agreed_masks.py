"""Bodies that pytorch3d has drawn once, with its pixels: what the built-in rasteriser is compared with.

`tests/render/pytorch3d_masks.npz` has six bodies in random poses (tenths of a millimetre), 240 cameras around them,
near and far, some cutting the body off, and pytorch3d's silhouettes (a bit a pixel) and part maps. Made anew, where
pytorch3d is installed, in about ten minutes on one core by

    PYTHONPATH=tests python -m helpers.agreed_masks
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.rasteriser import label_faces
from hmrfit.types import BodyParams

FILE = Path(__file__).resolve().parents[1] / "render" / "pytorch3d_masks.npz"

SIZE = (112, 96)
BODIES, SCENES = 6, 240
UNIT = 1e-4
"""Metres; a 16-bit integer of it reaches 3.3 m."""


@dataclass(frozen=True)
class Scenes:
    """N bodies, each before its camera."""

    bodies: Tensor  # (BODIES, V, 3) float64, metres
    faces: Tensor  # (F, 3)
    face_labels: Tensor  # (F,)
    body: Tensor  # (N,) row of bodies
    rotation: Tensor  # (N, 3, 3)
    transl: Tensor  # (N, 3)
    camera: Camera  # N

    def __len__(self) -> int:
        return len(self.body)

    def vertices(self, chosen: slice) -> Tensor:
        """(n, V, 3) in the camera frame."""
        return self.bodies[self.body[chosen]] @ self.rotation[chosen].mT + self.transl[chosen, None]


def load() -> tuple[Scenes, Tensor, Tensor]:
    """The scenes, pytorch3d's silhouettes (N, H, W) bool and its part maps (N, H, W) uint8."""
    with np.load(FILE, allow_pickle=False) as file:
        data = {
            name: torch.from_numpy(file[name].astype(np.int64 if name == "faces" else file[name].dtype))
            for name in file
        }
    camera = Camera(
        data["focal"], data["center"], torch.tensor([SIZE], dtype=torch.float64).expand(len(data["body"]), 2)
    )
    scenes = Scenes(
        data["bodies"].double() * UNIT,
        data["faces"],
        data["face_labels"],
        data["body"].long(),
        data["rotation"],
        data["transl"],
        camera,
    )
    bits = np.unpackbits(data["masks"].numpy(), axis=1, count=SIZE[0] * SIZE[1])
    return scenes, torch.from_numpy(bits).bool().view(-1, SIZE[1], SIZE[0]), data["parts"]


def make() -> None:
    """Draws the scenes with pytorch3d and writes the file."""
    from tqdm import trange

    from hmrfit.render.backends.pytorch3d import Pytorch3dRenderer

    scenes, renderer = invent(), Pytorch3dRenderer()
    drawn = [
        renderer.parts(scenes.vertices(i), scenes.faces, scenes.camera[i], scenes.face_labels)[0]
        for i in trange(SCENES)
    ]
    parts = torch.stack(drawn).numpy()
    np.savez_compressed(
        FILE,
        bodies=(scenes.bodies / UNIT).round().to(torch.int16),
        faces=scenes.faces.numpy().astype(np.uint16),
        face_labels=scenes.face_labels.to(torch.uint8),
        body=scenes.body.to(torch.uint8),
        rotation=scenes.rotation,
        transl=scenes.transl,
        focal=scenes.camera.focal,
        center=scenes.camera.center,
        masks=np.packbits(parts.reshape(SCENES, -1) > 0, axis=1),
        parts=parts,
    )


def invent() -> Scenes:
    """Random poses of the free body, random directions, distances, focal lengths and principal points."""
    body = SmplBody.from_file(locate("free_body"))
    random = torch.Generator().manual_seed(2)
    normal = lambda *shape: torch.randn(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    uniform = lambda *shape: torch.rand(*shape, generator=random, dtype=torch.float64)  # noqa: E731
    pose = 0.35 * normal(BODIES, len(body.parents) - 1, 3)
    params = BodyParams.from_rotvecs(
        normal(BODIES, 3) * 0, pose, normal(BODIES, body.shape_count), normal(BODIES, 3) * 0
    )
    vertices = body(params).vertices
    vertices = ((vertices - vertices.mean(1, keepdim=True)) / UNIT).round() * UNIT
    size = torch.tensor([SIZE], dtype=torch.float64)
    distance = 0.4 + 4 * uniform(SCENES)
    transl = torch.cat([normal(SCENES, 2) * 0.15 * distance[:, None], distance[:, None]], 1)
    camera = Camera(
        size.max() * (0.8 + uniform(SCENES, 1)) * (1 + 0.02 * normal(SCENES, 2)),
        size / 2 + 5 * normal(SCENES, 2),
        size.expand(SCENES, 2),
    )
    rotation = rotvec_to_matrix(2 * normal(SCENES, 3))
    labels = label_faces(body.part_labels, body.faces)
    return Scenes(vertices, body.faces, labels, torch.arange(SCENES) % BODIES, rotation, transl, camera)


if __name__ == "__main__":
    make()

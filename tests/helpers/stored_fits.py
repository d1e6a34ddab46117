"""Fits to put into a store."""

import torch

from hmrfit.camera import Camera
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.train.fit_store import FitKey, StoredFits
from hmrfit.types import BodyParams


def keys_of(count: int) -> list[FitKey]:
    return [FitKey("coco", f"images/{i // 2}.jpg", str(i)) for i in range(count)]


def fits_of(count: int, seed: int = 0, energy: float | None = None) -> StoredFits:
    """Random ones; energy: of all of them, by default random."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *size: torch.randn(size, generator=generator, dtype=torch.float64)  # noqa: E731
    rotations = rotvec_to_matrix(0.5 * draw(count, 24, 3))
    params = BodyParams(rotations[:, 0], rotations[:, 1:], draw(count, 10), draw(count, 3))
    camera = Camera.from_size(640, 480, count=count)
    root = 0.1 * draw(count, 24, 3, 3)
    data = draw(count).square() if energy is None else torch.full((count,), energy, dtype=torch.float64)
    prior = draw(count).square() if energy is None else torch.zeros_like(data)
    source = torch.randint(7, (count,), generator=generator)
    visits = torch.randint(1, 9, (count,), generator=generator)
    accepted = torch.rand(count, generator=generator) < 0.5
    variances = draw(count, 10).square(), draw(count, 24).square()
    return StoredFits(params, camera, root @ root.mT, *variances, data, prior, source, visits, accepted)

"""The body mass index of a shape: what a body of the density of water weighs, over its height squared.

    m/h²,    m = 1000 kg/m³ · 1/6 Σ_faces a · (b × c),    h = max y − min y     of the body at rest

with a, b, c a face's corners. Living bodies have 985 kg/m³ after breathing out and 1,045 at most.
"""

import torch
from torch import Tensor

from hmrfit.body.smpl import SmplBody

DENSITY = 1000.0
"""kg/m³."""


def body_mass_index(body: SmplBody, betas: Tensor) -> Tensor:
    """Betas (B, S) of a body that stands along y at rest -> kg/m² (B,)."""
    vertices = body.shaped(betas)
    a, b, c = (vertices[:, body.faces[:, i]] for i in range(3))
    volume = (a * torch.linalg.cross(b, c)).sum((1, 2)) / 6
    height = vertices[..., 1].amax(1) - vertices[..., 1].amin(1)
    return DENSITY * volume / height.square()

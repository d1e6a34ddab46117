"""Mass over height squared: against trimesh, and as adults have it."""

import pytest
import torch
import trimesh
from helpers.bodies import free_body

from hmrfit.body.mass_index import body_mass_index


def test_against_trimesh():
    body, betas = free_body(), torch.randn(4, 10, generator=torch.Generator().manual_seed(0)).double()
    for vertices, found in zip(body.shaped(betas), body_mass_index(body, betas), strict=True):
        volume = trimesh.Trimesh(vertices.numpy(), body.faces.numpy(), process=False).volume
        height = (vertices[:, 1].amax() - vertices[:, 1].amin()).item()
        assert found.item() == pytest.approx(1000 * volume / height**2, rel=1e-9)


def test_adults_have_an_adults():
    betas = torch.randn(200, 10, generator=torch.Generator().manual_seed(0)).double()
    found = body_mass_index(free_body(), betas)
    assert 21 < found.mean() < 26 and found.min() > 10 and found.max() < 45

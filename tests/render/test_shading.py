"""The light on a surface, against what it is at known angles; the pictures made of it are tested in test_overlay."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from hmrfit.render.shading import HIGHLIGHT_POWER, highlight, joined_faces, lambert, sky_fraction, texture

UP = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


def at_angle(degrees: float) -> torch.Tensor:
    """(1, 3) unit vector, turned from straight up towards the camera's right."""
    a = math.radians(degrees)
    return torch.tensor([[math.sin(a), -math.cos(a), 0.0]], dtype=torch.float64)


@pytest.mark.parametrize("degrees", [0, 30, 60, 90, 120, 180])
def test_a_lamp_and_the_sky_light_a_surface_by_its_angle(degrees: float) -> None:
    cosine = math.cos(math.radians(degrees))
    normal, to_lamp = at_angle(degrees), at_angle(0)
    assert lambert(normal, to_lamp).item() == pytest.approx(max(0.0, cosine), abs=1e-12)
    assert sky_fraction(normal, UP).item() == pytest.approx(0.5 + 0.5 * cosine, abs=1e-12)


def test_a_surface_that_mirrors_the_lamp_into_the_camera_has_the_whole_highlight() -> None:
    points = torch.tensor([[0.3, -0.2, 4.0]], dtype=torch.float64)
    to_lamp = normalize(torch.tensor([[0.5, -1.0, -0.7]], dtype=torch.float64), dim=1)
    mirroring = normalize(to_lamp - normalize(points, dim=1), dim=1)
    across = normalize(torch.linalg.cross(mirroring, to_lamp), dim=1)
    a = math.radians(20)
    turned = math.cos(a) * mirroring + math.sin(a) * across
    assert highlight(points, mirroring, to_lamp).item() == pytest.approx(1.0)
    assert highlight(points, turned, to_lamp).item() == pytest.approx(math.cos(a) ** HIGHLIGHT_POWER)
    assert highlight(points, -mirroring, to_lamp).item() == 0.0


def test_texture_has_the_noise_at_whole_numbers_and_repeats() -> None:
    noise = torch.rand(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    torch.testing.assert_close(texture(noise, a, b), noise, atol=0, rtol=0)
    torch.testing.assert_close(texture(noise, a + 0.25, b), texture(noise, a + 8.25, b - 16), atol=0, rtol=0)
    between = texture(noise, a + 0.5, b)
    torch.testing.assert_close(between, (noise + noise.roll(-1, 0)) / 2)


def test_joined_faces_point_to_each_persons_own_vertices() -> None:
    faces = torch.tensor([[0, 1, 2], [1, 3, 2]])
    assert joined_faces(faces, 2, 4).tolist() == [[0, 1, 2], [1, 3, 2], [4, 5, 6], [5, 7, 6]]

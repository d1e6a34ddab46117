"""Coverage against points that are counted one by one, and values by planes against barycentric coordinates."""

import numpy as np
import pytest
import torch
from helpers.bodies import free_body

from hmrfit.camera import Camera
from hmrfit.ops.raster import interpolate_seen, rasterize
from hmrfit.render.coverage import coverage
from hmrfit.render.planes import at_pixels, plane_table
from hmrfit.render.rasteriser import to_screen

SIZE = (24, 18)


def counted(points: np.ndarray, faces: np.ndarray, fine: int = 24) -> np.ndarray:
    """(H, W) the fraction of fine × fine points of each pixel that some triangle holds."""
    width, height = SIZE
    x, y = np.meshgrid((np.arange(width * fine) + 0.5) / fine, (np.arange(height * fine) + 0.5) / fine)
    held = np.zeros(x.shape, bool)
    for a, b, c in points[faces]:
        sides = [(q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) for p, q in ((a, b), (b, c), (c, a))]
        held |= np.all([s >= 0 for s in sides], 0) | np.all([s <= 0 for s in sides], 0)
    return held.reshape(height, fine, width, fine).mean((1, 3))


@pytest.mark.parametrize("seed", range(4))
def test_coverage_is_the_area_within_each_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.linspace(-3, 28, 6), np.linspace(-2, 16, 5)), -1).reshape(-1, 2)
    points = grid + rng.uniform(-1.2, 1.2, grid.shape)
    cells = [(r * 6 + c, r * 6 + c + 1, r * 6 + c + 7, r * 6 + c + 6) for r in range(4) for c in range(5)]
    faces = np.array([face for a, b, c, d in cells for face in ((a, b, c), (a, c, d))])
    found = coverage(torch.tensor(points), torch.tensor(faces), SIZE)
    assert np.abs(found - counted(points, faces)).max() < 0.16  # four lines to a pixel
    assert found.max() <= 1 and found[6:10, 8:14].min() > 1 - 1e-6


def test_level_edges_points_and_nothing_are_borne() -> None:
    points = torch.tensor([[2.0, 3], [6, 3], [6, 5], [2, 5], [2, 3]])
    square = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 4, 0]])
    expected = np.zeros(SIZE[::-1])
    expected[3:5, 2:6] = 1
    np.testing.assert_allclose(coverage(points, square, SIZE), expected, atol=1e-6)
    assert not coverage(points, square[:0], SIZE).any()


def test_planes_are_barycentric_coordinates() -> None:
    body = free_body()
    camera = Camera.from_size(200, 260, focal=260.0)
    mesh = body(body.neutral()).mesh.double() * torch.tensor([1.0, -1, -1]) + torch.tensor([0.1, 0.2, 1.6])
    screen = to_screen(mesh, camera)
    seen = rasterize(screen, body.faces, (200, 260))
    where, expected = interpolate_seen(seen, screen, body.faces, mesh)
    face, depth = seen.face[0][where[:, 1], where[:, 2]], seen.depth[0][where[:, 1], where[:, 2]]
    flat = torch.arange(len(body.faces))[:, None].double()
    table = plane_table(screen[0], body.faces, mesh[0], flat)
    values, own = at_pixels(table, face, where[:, 2] + 0.5, where[:, 1] + 0.5, depth, (3, 1))
    assert len(where) > 5000 and (values - expected).abs().max() < 1e-4
    assert (own[:, 0].long() == face).all()

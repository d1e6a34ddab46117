"""Pictures in tiles: which faces meet which tile, and the picture of its tiles."""

import pytest
import torch
from helpers import agreed_masks

from hmrfit.ops.raster import rasterize
from hmrfit.render.rasteriser import to_screen
from hmrfit.render.tiles import TILE, Tiles


@pytest.fixture(scope="module")
def scene():
    """Screen points of four bodies in pictures that no tile divides, and what is seen of them."""
    scenes, _, _ = agreed_masks.load()
    chosen, size = slice(100, 104), (61, 50)
    camera = scenes.camera[chosen].resize(torch.tensor([[*map(float, size)]]))
    screen = to_screen(scenes.vertices(chosen), camera)
    drawn = torch.ones(len(screen), len(scenes.faces), dtype=torch.bool)
    return screen, scenes.faces, drawn, size


def test_every_face_that_is_seen_at_a_pixel_is_in_its_tile(scene):
    screen, faces, drawn, size = scene
    tiles = Tiles.of(screen[..., :2], faces, drawn, size, 0.0)
    columns, rows = -(-size[0] // TILE), -(-size[1] // TILE)
    of = tiles.tile.repeat_interleave(tiles.counts)
    known = set(zip(of.tolist(), tiles.face.tolist(), strict=True))
    seen = rasterize(screen, faces, size).face
    picture, y, x = (seen >= 0).nonzero().unbind(1)
    place = (picture * rows + y // TILE) * columns + x // TILE
    assert len(picture) > 1000
    assert set(zip(place.tolist(), seen[picture, y, x].tolist(), strict=True)) <= known


def test_the_faces_of_a_tile_are_of_its_picture_and_in_order(scene):
    screen, faces, drawn, size = scene
    drawn = drawn.clone()
    drawn[1] = False
    tiles = Tiles.of(screen[..., :2], faces, drawn, size, 2.0)
    of_picture = -(-size[0] // TILE) * -(-size[1] // TILE)
    assert torch.equal(tiles.picture, (tiles.tile // of_picture).repeat_interleave(tiles.counts))
    assert 1 not in tiles.picture
    assert all((faces.diff() > 0).all() for faces in tiles.face.split(tiles.counts.tolist()))
    assert len(tiles.tile.unique()) == len(tiles)


def test_a_face_counts_as_far_as_its_reach():
    square = torch.tensor([[[TILE + 1.0, 1], [TILE + 3, 1], [TILE + 1, 3]]])
    faces, drawn, size = torch.tensor([[0, 1, 2]]), torch.ones(1, 1, dtype=torch.bool), (4 * TILE, TILE)
    assert Tiles.of(square, faces, drawn, size, 0.5).tile.tolist() == [1]
    assert Tiles.of(square, faces, drawn, size, 1.5).tile.tolist() == [0, 1]
    assert Tiles.of(square, faces, drawn, size, 1e6).tile.tolist() == [0, 1, 2, 3]
    assert not len(Tiles.of(square + 1000, faces, drawn, size, 1.5))


def test_together_is_the_picture_again(scene):
    screen, faces, drawn, size = scene
    tiles = Tiles.of(screen[..., :2], faces, drawn, size, 0.0)
    y, x = torch.meshgrid(torch.arange(size[1]), torch.arange(size[0]), indexing="ij")
    step = torch.arange(TILE)
    corner = tiles.corners[:, None, None]
    drawn_there = (corner[..., 1] + step[:, None]) * 1000 + corner[..., 0] + step
    picture = tiles.together(drawn_there, -1)
    assert picture.shape == (4, size[1], size[0])
    assert torch.equal(picture[picture >= 0], (y * 1000 + x).expand(4, -1, -1)[picture >= 0])
    assert ((rasterize(screen, faces, size).face >= 0) <= (picture >= 0)).all()

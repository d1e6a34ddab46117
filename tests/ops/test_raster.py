"""The rasteriser against a slow twin, the rules of its docstring one by one, and triangles that no mesh should have."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmrfit.ops import raster
from hmrfit.ops.raster import barycentric, interpolate, rasterize, silhouette

SIZE = (13, 9)


def naive(points, faces, size):
    """Pixel by pixel, triangle by triangle: nearest face (H, W), its depth, and how clear the answer is.

    Clear means that no centre lies within 1e-6 px of an edge and that no two faces lie within 1e-6 of each other there.
    """
    width, height = size
    face, depth = np.full((height, width), -1), np.full((height, width), np.inf)
    clear = np.ones((height, width), bool)
    for i, j in np.ndindex(height, width):
        for f, corners in enumerate(points[faces]):
            weights, margin = _weights(corners[:, :2], np.array([j + 0.5, i + 0.5]))
            clear[i, j] &= margin > 1e-6
            if (weights < 0).any():
                continue
            z = 1 / (weights / corners[:, 2]).sum()
            clear[i, j] &= abs(z - depth[i, j]) > 1e-6 * z
            if z < depth[i, j]:
                face[i, j], depth[i, j] = f, z
    return face, depth, clear


def _weights(corners, p):
    """Barycentric coordinates of p, and its distance in pixels to the nearest of the three edges' lines."""
    to = corners - p
    a, b, c = to
    parts = np.array([np.linalg.det([b, c]), np.linalg.det([c, a]), np.linalg.det([a, b])])
    edges = np.linalg.norm([b - c, c - a, a - b], axis=1)
    return parts / parts.sum(), (abs(parts) / edges).min()


def scattered(seed, count=30, size=SIZE):
    """Points in and around the image, depths of 1 to 3 m, and faces between them."""
    random = np.random.default_rng(seed)
    points = random.uniform([-0.4, -0.4, 0], [1.4, 1.4, 1], (count, 3)) * [*size, 2] + [0, 0, 1]
    faces = np.stack([random.permutation(count)[:3] for _ in range(count)])
    return torch.tensor(points), torch.tensor(faces)


def square(low, high, depth=1.0):
    """Two triangles that share the diagonal."""
    (x0, y0), (x1, y1) = low, high
    points = torch.tensor([[x0, y0, depth], [x1, y0, depth], [x1, y1, depth], [x0, y1, depth]], dtype=torch.float64)
    return points[None], torch.tensor([[0, 1, 2], [0, 2, 3]])


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_slow_twin(seed):
    points, faces = scattered(seed)
    seen = rasterize(points[None], faces, SIZE)
    face, depth, clear = naive(points.numpy(), faces.numpy(), SIZE)
    assert clear.mean() > 0.9
    assert (seen.face[0].numpy() == face)[clear].all()
    covered = clear & (face >= 0)
    np.testing.assert_allclose(seen.depth[0].numpy()[covered], depth[covered], rtol=1e-6)  # depth is kept in float32
    assert torch.isinf(seen.depth[seen.face < 0]).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_silhouette_is_where_a_face_is(seed, count):
    points, faces = scattered(seed, max(3, count))
    assert torch.equal(silhouette(points[None], faces, SIZE), rasterize(points[None], faces, SIZE).mask)


def test_a_square_covers_exactly_its_pixels():
    """Columns 100…199 and rows 50…149 of [100, 200) × [50, 150): the corner of pixel (0, 0) is (0, 0)."""
    mask = silhouette(*square((100, 50), (200, 150)), (300, 200))[0]
    rows, columns = mask.nonzero().T
    assert mask.sum() == 10_000
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (50, 149, 100, 199)


def test_edges_through_pixel_centres_belong():
    mask = silhouette(*square((2.5, 1.5), (5.5, 4.5)), (8, 8))[0]
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[1:5, 2:6] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("seed", range(5))
def test_no_holes_between_triangles(seed):
    """A fan around a random point of the image fills its polygon: every centre is some triangle's."""
    random = np.random.default_rng(seed)
    angles = np.sort(np.append(random.uniform(0, 2 * np.pi, 40), np.arange(8) * np.pi / 4))
    rim = np.stack([np.cos(angles), np.sin(angles)], 1) * 1000 + 50
    points = np.concatenate([random.uniform(20, 80, (1, 2)), rim])
    points = torch.tensor(np.column_stack([points, random.uniform(1, 3, len(points))]))
    around = torch.arange(1, len(points))
    faces = torch.stack([torch.zeros_like(around), around, around.roll(-1)], 1)
    assert silhouette(points[None].float(), faces, (100, 100)).all()


def test_the_nearest_wins_and_ties_go_to_the_first_face():
    points, faces = square((0, 0), (4, 4))
    near = points - torch.tensor([0, 0, 0.1])
    both = torch.cat([points, near, points], 1)
    seen = rasterize(both, torch.cat([faces, faces + 4, faces + 8]), (4, 4))
    assert set(seen.face.unique().tolist()) == {2, 3}
    tied = rasterize(both, torch.cat([faces + 8, faces]), (4, 4))
    assert set(tied.face.unique().tolist()) == {0, 1}


def test_neither_winding_nor_order_of_faces_changes_what_is_seen():
    points, faces = scattered(11)
    order = torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))
    seen, turned = rasterize(points[None], faces, SIZE), rasterize(points[None], faces[order].flip(1), SIZE)
    assert torch.equal(torch.where(turned.face < 0, -1, order[turned.face]), seen.face)
    assert torch.equal(seen.depth, turned.depth)


def test_depth_is_of_the_plane_in_space():
    """A slanted plane z = 2 + x under a pinhole of focal length 10 px: depth is where a pixel's ray meets it."""
    corners = torch.tensor([[-1.5, -3, 0.5], [3, -3, 5], [3, 3, 5], [-1.5, 3, 0.5]], dtype=torch.float64)
    points = torch.cat([10 * corners[:, :2] / corners[:, 2:] + 5, corners[:, 2:]], 1)[None]
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    seen = rasterize(points, faces, (10, 10))
    ray = (torch.arange(10, dtype=torch.float64) + 0.5 - 5) / 10
    expected = (2 / (1 - ray)).expand(10, 10)
    mask = seen.mask[0]
    assert mask.sum() > 50
    torch.testing.assert_close(seen.depth[0][mask].double(), expected[mask], rtol=1e-6, atol=0)  # kept in float32
    x = interpolate(seen, points, faces, corners[None, :, :1])[0, ..., 0]
    torch.testing.assert_close(x[mask], (expected - 2)[mask], rtol=1e-9, atol=1e-9)


def test_barycentric_weights_sum_to_one_and_give_the_pixel_back():
    points, faces = scattered(5)
    seen = rasterize(points[None], faces, SIZE)
    where, weights = barycentric(seen, points[None], faces)
    torch.testing.assert_close(weights.sum(1), torch.ones(len(weights), dtype=torch.float64))
    on_screen = weights * points[faces[seen.face[seen.mask]]][..., 2]  # back from the surface to the screen
    on_screen /= on_screen.sum(1, keepdim=True)
    xy = (points[faces[seen.face[seen.mask]]][..., :2] * on_screen[..., None]).sum(1)
    torch.testing.assert_close(xy, where[:, [2, 1]].double() + 0.5, atol=1e-8, rtol=0)  # float64 over slivers


def test_batch_mates_change_nothing():
    points = torch.stack([scattered(seed)[0] for seed in range(4)])
    faces = scattered(0)[1]
    together = rasterize(points, faces, SIZE)
    for b in range(4):
        alone = rasterize(points[b : b + 1], faces, SIZE)
        assert torch.equal(alone.face[0], together.face[b])
        assert torch.equal(alone.depth[0], together.depth[b])
    assert torch.equal(silhouette(points, faces, SIZE), together.mask)


def test_small_chunks_change_nothing(monkeypatch):
    points = torch.stack([scattered(seed)[0] for seed in range(3)])
    faces = scattered(0)[1]
    whole, mask = rasterize(points, faces, SIZE), silhouette(points, faces, SIZE)
    monkeypatch.setattr(raster, "CHUNK", 7)
    pieces = rasterize(points, faces, SIZE)
    assert torch.equal(whole.face, pieces.face)
    assert torch.equal(mask, silhouette(points, faces, SIZE))


def test_moving_by_whole_pixels_moves_the_picture():
    points, faces = scattered(3, size=(8, 5))
    padded = rasterize((points + torch.tensor([6.0, 6.0, 0.0]))[None], faces, (20, 17)).face
    assert torch.equal(padded[:, 6:11, 6:14], rasterize(points[None], faces, (8, 5)).face)


def test_faces_too_near_are_left_out():
    points, faces = square((0, 0), (4, 4), depth=0.04)
    assert silhouette(points, faces, (4, 4)).all()
    assert not silhouette(points, faces, (4, 4), near=0.05).any()
    assert not silhouette(points * torch.tensor([1, 1, -1]), faces, (4, 4)).any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_broken_corner_takes_away_its_faces_only(bad, axis):
    points, faces = square((0, 0), (4, 4))
    points[0, 1, axis] = bad
    assert torch.equal(silhouette(points, faces, (4, 4)), silhouette(points, faces[1:], (4, 4)))
    assert rasterize(points, faces, (4, 4)).face.max() == 1


def test_nothing_to_see():
    points, faces = square((0, 0), (4, 4))
    line = torch.tensor([[0, 0, 1], [0, 0, 0]])
    for some_points, some_faces in [(points, line), (points, faces[:0]), (points[:0], faces), (points + 100, faces)]:
        seen = rasterize(some_points, some_faces, (6, 5))
        assert seen.face.shape == (len(some_points), 5, 6)
        assert not seen.mask.any()
        assert not silhouette(some_points, some_faces, (6, 5)).any()


def test_inputs_stay_as_they_were():
    points, faces = scattered(1)
    before, faces_before = points.clone(), faces.clone()
    rasterize(points[None], faces, SIZE)
    assert torch.equal(points, before)
    assert torch.equal(faces, faces_before)


def test_wrong_shapes_are_refused():
    points, faces = square((0, 0), (4, 4))
    with pytest.raises(ValueError, match="points should have the shape"):
        rasterize(points[0], faces, (4, 4))
    with pytest.raises(ValueError, match="faces should have the shape"):
        silhouette(points, faces[:, :2], (4, 4))
    with pytest.raises(TypeError, match="faces should be integers"):
        silhouette(points, faces.float(), (4, 4))

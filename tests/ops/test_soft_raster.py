"""Soft silhouettes: pixel by pixel what the formula says, with the right derivative, and hard where nothing is soft."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hmrfit.ops.raster import silhouette
from hmrfit.ops.soft_raster import LEAST, coverage_rows, faces_in_reach, soft_silhouette

SIZE = (17, 13)
FACES = torch.tensor([[0, 1, 2], [2, 1, 3], [4, 5, 6], [0, 3, 6]])


def mesh(seed: int, count: int = 2, vertices: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    """Screen points on and around the picture, and depths."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.rand(count, vertices, 3, generator=generator, dtype=torch.float64)
    return draw[..., :2] * torch.tensor([23.0, 19.0]) - 3, 1 + draw[..., 2]


def slow_twin(xy, faces, size, softness):
    """The formula, a pixel and a triangle at a time, in plain numbers."""
    width, height = size
    picture = torch.zeros(len(xy), height, width, dtype=torch.float64)
    for image, row, column in ((i, r, c) for i in range(len(xy)) for r in range(height) for c in range(width)):
        clear = 1.0
        for face in faces.tolist():
            corners = [tuple(xy[image, v].tolist()) for v in face]
            distance = signed_distance((column + 0.5, row + 0.5), corners)
            cover = 1 / (1 + math.exp(min(distance / softness**2, 700)))
            clear *= 1 - (cover if cover >= LEAST else 0)
        picture[image, row, column] = 1 - clear
    return picture


def signed_distance(point, corners):
    turns, distances = [], []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        turns.append((bx - ax) * (point[1] - ay) - (by - ay) * (point[0] - ax))
        along = ((point[0] - ax) * (bx - ax) + (point[1] - ay) * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2)
        along = min(max(along, 0), 1)
        distances.append((ax + along * (bx - ax) - point[0]) ** 2 + (ay + along * (by - ay) - point[1]) ** 2)
    inside = min(turns) > 0 or max(turns) < 0
    return -min(distances) if inside else min(distances)


@pytest.mark.parametrize("softness", [0.4, 1.0, 3.0])
def test_it_is_what_the_formula_says(softness):
    xy, depth = mesh(1, count=1)
    expected = slow_twin(xy, FACES, SIZE, softness)
    torch.testing.assert_close(soft_silhouette(xy, depth, FACES, SIZE, softness), expected, atol=1e-12, rtol=0)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), softness=st.floats(0.3, 4))
def test_the_derivative_is_that_of_finite_differences(seed, softness):
    xy, depth = mesh(seed, count=1)
    generator = torch.Generator().manual_seed(seed)
    weight = torch.rand(1, *SIZE[::-1], generator=generator, dtype=torch.float64)
    direction = torch.randn(xy.shape, generator=generator, dtype=torch.float64)
    x = xy.clone().requires_grad_()
    (soft_silhouette(x, depth, FACES, SIZE, softness) * weight).sum().backward()
    # a step so small that no pixel comes within reach of a triangle on the way, which is a jump of up to 1e-4
    step = 1e-8 * direction
    ahead, behind = ((soft_silhouette(xy + s * step, depth, FACES, SIZE, softness) * weight).sum() for s in (1, -1))
    slope = (x.grad * direction).sum()
    torch.testing.assert_close(slope, (ahead - behind) / 2e-8, atol=1e-4, rtol=1e-4)  # 1e-14 of rounding over 1e-8


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_rows_are_the_same_derivative(seed):
    """Contracted with weights at the pixels that are not left out they are autograd's gradient."""
    xy, depth = mesh(seed, count=1)
    rows = coverage_rows(xy[0], depth[0], FACES, SIZE, 1.3, least=1e-3)
    x = xy.clone().requires_grad_()
    soft = soft_silhouette(x, depth, FACES, SIZE, 1.3)
    torch.testing.assert_close(rows.coverage.view_as(soft[0]), soft[0].detach(), atol=1e-14, rtol=0)
    left_out = torch.ones(rows.coverage.shape, dtype=torch.bool)
    left_out[rows.pixel] = False
    edge = (rows.coverage - 0.5).abs()
    assert (edge[left_out] >= 0.499).all() and (edge[~left_out] < 0.499).all()
    weight = torch.zeros(rows.coverage.shape, dtype=torch.float64)
    weight[rows.pixel] = torch.linspace(-1, 1, len(rows.pixel), dtype=torch.float64)
    (soft.flatten() * weight).sum().backward()
    gradient = torch.zeros_like(xy[0])
    gradient[rows.vertex] = torch.einsum("n,nmc->mc", weight[rows.pixel], rows.slope)
    torch.testing.assert_close(gradient, x.grad[0], atol=1e-12, rtol=1e-10)


def test_gradcheck_where_nothing_jumps():
    xy = torch.tensor([[[4.2, 3.1], [11.7, 4.4], [6.3, 9.6]]], dtype=torch.float64, requires_grad=True)
    depth = torch.ones(1, 3, dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2]])
    assert torch.autograd.gradcheck(lambda x: soft_silhouette(x, depth, faces, (8, 8), 1.5), (xy,), atol=1e-5)


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_with_hard_edges_it_is_the_hard_silhouette(seed):
    xy, depth = mesh(seed)
    soft = soft_silhouette(xy, depth, FACES, SIZE, softness=1e-4)
    hard = silhouette(torch.cat([xy, depth[..., None]], -1), FACES, SIZE)
    assert torch.equal(soft > 0.5, hard)  # no random edge passes within 3e-4 px of a centre
    assert soft.min() >= 0 and soft.max() <= 1


def test_softness_is_a_length_and_the_origin_does_not_matter():
    xy, depth = mesh(3)
    small = soft_silhouette(xy, depth, FACES, SIZE, 0.7)
    moved = soft_silhouette(xy + torch.tensor([4.0, 2.0]), depth, FACES, (SIZE[0] + 4, SIZE[1] + 2), 0.7)
    torch.testing.assert_close(moved[:, 2:, 4:], small)
    # three times as large, three times as soft: the middles of blocks of 3 × 3 are the old centres
    large = soft_silhouette(3 * xy, depth, FACES, (3 * SIZE[0], 3 * SIZE[1]), 2.1)
    torch.testing.assert_close(large[:, 1::3, 1::3], small)


def test_precision_inputs_and_batch_mates_stay():
    xy, depth = mesh(4)
    before = xy.clone()
    both = soft_silhouette(xy, depth, FACES, SIZE)
    alone = soft_silhouette(xy[1:], depth[1:], FACES, SIZE)
    torch.testing.assert_close(alone, both[1:], atol=1e-14, rtol=0)  # exp's last digit depends on a number's place
    assert torch.equal(xy, before)
    single = soft_silhouette(xy.float(), depth.float(), FACES, SIZE)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), both, atol=1e-4, rtol=0)


def test_faces_in_reach_are_those_that_add_to_a_pixel():
    xy, depth = mesh(7)
    alone = [soft_silhouette(xy, depth, FACES[i : i + 1], SIZE, 1.2) > 0 for i in range(len(FACES))]
    assert torch.equal(faces_in_reach(xy, depth, FACES, SIZE, 1.2), torch.stack(alone).sum(0))


def test_what_is_near_without_area_or_not_finite_counts_nowhere():
    xy, depth = mesh(5, count=1)
    depth[0, 4] = 0.01
    alone = soft_silhouette(xy, depth, FACES[[0, 1, 3]], SIZE)
    assert torch.equal(soft_silhouette(xy, depth, FACES, SIZE, near=0.05), alone)
    flat = torch.cat([FACES[[0, 1, 3]], torch.tensor([[1, 1, 2]])])
    assert torch.equal(soft_silhouette(xy, depth, flat, SIZE), alone)
    xy[0, 5] = torch.nan
    assert torch.equal(soft_silhouette(xy, depth, FACES, SIZE), alone)
    nothing = soft_silhouette(xy[:, :3], depth[:, :3], FACES[:0], SIZE)
    assert nothing.shape == (1, 13, 17) and not nothing.any()


def test_wrong_arguments_are_refused():
    xy, depth = mesh(6)
    with pytest.raises(ValueError, match="softness should be a number of pixels above 0"):
        soft_silhouette(xy, depth, FACES, SIZE, 0.0)
    with pytest.raises(ValueError, match="depth should have the shape"):
        soft_silhouette(xy, depth[:, :3], FACES, SIZE)

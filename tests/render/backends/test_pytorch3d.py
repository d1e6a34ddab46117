"""The built-in renderer's pixels are pytorch3d's: as it drew them once (stored), and where it is installed, now."""

import sys

import pytest
import torch
from helpers import agreed_masks

from hmrfit.camera import Camera
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.backends.pytorch3d import Pytorch3dRenderer
from hmrfit.render.rasteriser import to_screen

NEAR_EDGE = 1e-3
"""Pixels. pytorch3d computes in float32, good to 1e-5 px at 100 px, and grows faces by 5e-5 px."""

BUILTIN = BuiltinRenderer()


@pytest.fixture(scope="module")
def stored():
    return agreed_masks.load()


def edge_distance(points, faces, pixels):
    """(P,) pixels from each centre of pixels (P, 2: row, column) to the nearest edge of any face."""
    corners = points[faces, :2]
    a, b = corners, corners.roll(-1, 1)
    p = (pixels.flip(1).double() + 0.5)[:, None, None]
    along = ((p - a) * (b - a)).sum(-1) / ((b - a) ** 2).sum(-1).clamp_min(1e-12)
    return (a + along.clamp(0, 1)[..., None] * (b - a) - p).norm(dim=-1).flatten(1).amin(1)


def count_different(ours, theirs, points, faces):
    """How many pixels differ; all of them on an edge."""
    for i in range(len(ours)):
        pixels = (ours[i] != theirs[i]).nonzero()
        if len(pixels):
            assert edge_distance(points[i], faces, pixels).max() < NEAR_EDGE
    return (ours != theirs).sum().item()


def batches(scenes, step=40):
    for start in range(0, len(scenes), step):
        chosen = slice(start, start + step)
        vertices, camera = scenes.vertices(chosen), scenes.camera[chosen]
        yield chosen, (vertices, scenes.faces, camera), to_screen(vertices, camera)


def test_stored_pictures_are_worth_comparing_with(stored):
    scenes, masks, parts = stored
    share = masks.flatten(1).double().mean(1)
    assert len(scenes) >= 200
    assert (share > 0.02).sum() >= 200
    assert torch.equal(parts > 0, masks)
    assert set(parts.unique().tolist()) == set(range(7))


def test_silhouettes_equal_pytorch3d_as_stored(stored):
    scenes, masks, _ = stored
    different = sum(
        count_different(BUILTIN.silhouette(*scene), masks[chosen], points, scenes.faces)
        for chosen, scene, points in batches(scenes)
    )
    assert different <= 1e-5 * masks.numel()  # an edge passes within 1e-4 px of a centre that rarely


def test_parts_equal_pytorch3d_as_stored(stored):
    scenes, _, parts = stored
    different = sum(
        count_different(BUILTIN.parts(*scene, scenes.face_labels), parts[chosen], points, scenes.faces)
        for chosen, scene, points in batches(scenes)
    )
    assert different <= 1e-5 * parts.numel()  # as above


@pytest.mark.pytorch3d
def test_pytorch3d_draws_the_same_now(stored):
    """200 bodies and cameras in small pictures, which take pytorch3d half a minute."""
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    scenes, _, _ = stored
    theirs, labels, different, pixels = Pytorch3dRenderer(), scenes.face_labels, 0, 0
    for chosen in (slice(i, i + 20) for i in range(0, 200, 20)):
        small = scenes.camera[chosen].resize(torch.tensor([[56.0, 48.0]]))
        scene = scenes.vertices(chosen), scenes.faces, small
        ours, drawn, screen = BUILTIN.parts(*scene, labels), theirs.parts(*scene, labels), to_screen(scene[0], small)
        different += count_different(ours, drawn, screen, scenes.faces)
        different += count_different(BUILTIN.silhouette(*scene), drawn > 0, screen, scenes.faces)
        pixels += 2 * drawn.numel()
        assert torch.equal(theirs.silhouette(*scene), drawn > 0)
    assert different < 1e-4 * pixels  # 99.99 %


@pytest.mark.pytorch3d
def test_pytorch3d_finds_the_same_depth(stored):
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    scenes, _, _ = stored
    theirs, chosen = Pytorch3dRenderer(), slice(0, None, 60)
    small = scenes.camera[chosen].resize(torch.tensor([[56.0, 48.0]]))
    scene = scenes.vertices(chosen), scenes.faces, small
    depth, their_depth = BUILTIN.depth(*scene), theirs.depth(*scene)
    seen = depth.isfinite() & their_depth.isfinite()
    torch.testing.assert_close(depth[seen], their_depth[seen], atol=1e-4, rtol=0)  # float32 barycentrics


@pytest.mark.pytorch3d
def test_pytorch3d_batches_and_leaves_out_what_is_near():
    pytest.importorskip("pytorch3d", reason="needs pytorch3d, which is not on PyPI")
    points = torch.tensor([[[-1.0, -1, 1], [1, -1, 1], [0, 1, 1], [0, 0, 0.01]]]).expand(2, -1, -1).clone()
    points[1, 0, 2] = -1  # leaves no face of the second
    faces = torch.tensor([[0, 1, 3], [0, 1, 2]])
    labels, camera = torch.tensor([7, 9]), Camera.from_size(12, 10, focal=6)
    theirs, ours = (r.parts(points, faces, camera, labels) for r in (Pytorch3dRenderer(), BUILTIN))
    assert torch.equal(theirs, ours)
    assert set(theirs.unique().tolist()) == {0, 9}


def test_without_pytorch3d_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch3d.renderer", None)
    with pytest.raises(ImportError, match=r"INSTALL\.md.*BuiltinRenderer"):
        Pytorch3dRenderer()

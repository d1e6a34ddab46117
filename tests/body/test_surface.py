"""A few hundred vertices as points: the mesh's own positions, and rows that are their derivative."""

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.synthetic_body import HAND_PARENTS, synthetic_body

from hmrfit.body.smpl import SmplBody
from hmrfit.body.surface import SurfaceBody, spread_vertices, vertex_closeness
from hmrfit.fitting.parameters import GROUPS, Layout, State
from hmrfit.keypoints import COCO17

BODIES = {
    "free": free_body,
    "dense": lambda: SmplBody(synthetic_body()),
    "hand": lambda: SmplBody(synthetic_body(HAND_PARENTS)),
}


@pytest.mark.parametrize("kind", BODIES)
def test_vertices_are_where_the_mesh_has_them(kind):
    body = BODIES[kind]()
    surface, params = SurfaceBody(body, spread_vertices(body, 50)), random_params(body, 3)
    expected = body(params).vertices[:, surface.vertices]
    torch.testing.assert_close(surface.pose(params).points, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("free", [GROUPS, ("body_pose",), ("transl", "betas")], ids=["all", "pose", "no rotations"])
@pytest.mark.parametrize("kind", BODIES)
def test_rows_are_the_derivative(kind, free):
    """On the dense bodies every joint's corrective moves every vertex."""
    body = BODIES[kind]()
    surface, params = SurfaceBody(body, spread_vertices(body, 40)), random_params(body, 2)
    layout = Layout(free, len(body.parents), body.shape_count)
    person, index = torch.arange(2).repeat_interleave(15), torch.randint(0, len(surface), (30,))
    a = torch.randn(30, 3, dtype=torch.float64)

    def moved(delta):
        points = surface.pose(State(params, None).retract(delta, body.parents, layout).params).points
        return (points[person, index] * a).sum(-1)

    expected = torch.func.jacfwd(moved)(torch.zeros(layout.columns, dtype=torch.float64))
    wanted = [layout.moves(group) for group in ("transl", "betas")]
    rows = surface.rows(surface.pose(params), person, index, a, layout.rotating_index, *wanted)
    torch.testing.assert_close(rows, expected, rtol=0, atol=1e-11)


def test_vertices_are_spread():
    """No vertex of the body is farther from its nearest chosen one than the two nearest chosen are from each other."""
    body = free_body()
    chosen = body.v_template[spread_vertices(body, 200)]
    assert len(chosen.unique(dim=0)) == 200
    between = torch.cdist(chosen, chosen) + 10 * torch.eye(200)
    assert torch.cdist(body.v_template, chosen).amin(1).max() <= between.min()


def test_more_vertices_than_there_are():
    body = SmplBody(synthetic_body())
    assert len(spread_vertices(body, 10**6)) == len(body.v_template)


def test_closeness_knows_its_neighbours():
    body = free_body()
    vertices = spread_vertices(body, 200)
    near = vertex_closeness(body, vertices, COCO17, 0.12)
    torch.testing.assert_close(near.sum(1), torch.ones(200, dtype=torch.float64))
    hand = body.v_template[vertices, 0].argmax()  # the person's left is at +x
    assert COCO17[near[hand].argmax()] == "left_wrist" and near[hand].max() > 0.9

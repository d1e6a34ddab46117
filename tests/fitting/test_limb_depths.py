"""Which way limbs point: their depths, the derivatives, and how probable the other side is."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import t as student

from hmrfit.body.skeleton import MANO_RIGHT, SMPL
from hmrfit.fitting.limb_depths import limb_bones, limb_depths, other_side, towards_camera
from hmrfit.fitting.parameters import Layout, State
from hmrfit.fitting.uncertainty import Posterior
from hmrfit.keypoints import COCO17
from tests.helpers.fits import people, shipped


def states(count: int = 3) -> State:
    known = people(count, "coco17")
    return State(known.params, known.camera)


def test_bones_are_those_of_arms_and_legs() -> None:
    bones = limb_bones(SMPL)
    assert len(bones.names) == 8 and len(set(bones.names)) == 8
    place = bones.names.index("left_forearm")
    assert (SMPL.names[bones.start[place]], SMPL.names[bones.end[place]]) == ("left_elbow", "left_wrist")
    assert limb_bones(MANO_RIGHT).names == ()


def test_depth_is_along_the_ray_and_no_more_than_the_bone() -> None:
    body, state = shipped().point_body(COCO17), states()
    found, joints = limb_depths(body, state), body.pose(state.params).joints
    elbow, wrist = joints[:, SMPL.index("left_elbow")], joints[:, SMPL.index("left_wrist")]
    expected = ((wrist - elbow) * elbow / elbow.norm(dim=-1, keepdim=True)).sum(-1)
    torch.testing.assert_close(found.depth[:, limb_bones(SMPL).names.index("left_forearm")], expected)
    assert (found.depth.abs() <= found.length).all()


def test_a_mirrored_bone_has_the_opposite_depth() -> None:
    """The person seen from behind by a camera far away."""
    body, state = shipped().point_body(COCO17), states(1)
    away, turned = torch.zeros(2, 85, dtype=torch.float64)
    away[2] = 1e4
    far = state.retract(away, SMPL.parents, Layout.everything(body))
    turned[4] = np.pi  # the root about the camera's y
    behind = far.retract(turned, SMPL.parents, Layout.everything(body))
    torch.testing.assert_close(limb_depths(body, behind).depth, -limb_depths(body, far).depth, atol=1e-4, rtol=0)


def test_rows_are_derivatives_but_for_the_rays_own() -> None:
    """Far away the ray stands still."""
    body, state = shipped().point_body(COCO17), states()
    layout = Layout.everything(body)
    away = torch.zeros(layout.columns, dtype=torch.float64)
    away[2] = 1e6
    state = state.retract(away, SMPL.parents, layout)
    found, generator = limb_depths(body, state), torch.Generator().manual_seed(0)
    for _ in range(3):
        step = 1e-6 * torch.randn(layout.columns, generator=generator, dtype=torch.float64)
        ahead = limb_depths(body, state.retract(step, SMPL.parents, layout)).depth
        back = limb_depths(body, state.retract(-step, SMPL.parents, layout)).depth
        torch.testing.assert_close((ahead - back) / 2, found.rows @ step, atol=1e-8, rtol=1e-4)


@pytest.mark.parametrize("depth", [-0.3, 0.0, 0.05, 0.4])
def test_the_other_side_of_a_t_distribution(depth: float) -> None:
    own = student(7.0, depth, 0.1)
    p, mean = other_side(torch.tensor(depth).double(), torch.tensor(0.1).double(), 7.0)
    assert float(p) == pytest.approx(own.cdf(0.0))
    expected = quad(lambda u: u * own.pdf(u), -np.inf, 0.0)[0] / own.cdf(0.0)
    assert float(mean) == pytest.approx(expected, rel=1e-4)


def test_a_gaussian_is_a_t_with_very_many_degrees_of_freedom() -> None:
    p, mean = other_side(torch.zeros(1).double(), torch.ones(1).double(), 1e6)
    assert float(p) == pytest.approx(0.5) and float(mean) == pytest.approx(-((2 / np.pi) ** 0.5), rel=1e-4)


def test_probabilities_add_up_over_hypotheses() -> None:
    """Nothing unsure: 1 or 0 in each, and their weights in all."""
    body, state = shipped().point_body(COCO17), states(1)
    turned = torch.zeros(85, dtype=torch.float64)
    turned[4] = np.pi
    behind = state.retract(turned, SMPL.parents, Layout.everything(body))
    nothing = torch.zeros(1, 2, 85, 85, dtype=torch.float64)
    found = towards_camera(body, [state, behind], Posterior(torch.tensor([[0.3, 0.7]]).double(), nothing, 7.0))
    own = (limb_depths(body, state).depth < 0).double() * 0.3 + (limb_depths(body, behind).depth < 0).double() * 0.7
    torch.testing.assert_close(found, own, atol=1e-6, rtol=0)

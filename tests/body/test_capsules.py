"""Capsules: a body of tubes gives its own radii and lengths back, and on the free body they lie inside the limbs."""

import gc
import weakref

import pytest
import torch
from helpers.bodies import free_body, random_params
from helpers.fingered_body import fingered_body
from helpers.synthetic_body import synthetic_body, synthetic_hand
from helpers.tube_body import TALLER, THICKER, tube_body

from hmrfit.body.capsules import ENDS, NAMES, PARTS, SHORTEST, capsules_of
from hmrfit.body.skeleton import SMPLH, SMPLX
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import SMPL24, mirrored_name


def betas(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@pytest.mark.parametrize("shape", [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0), (-0.7, -1.5, 3.0)])
def test_a_body_of_tubes_gives_its_own_numbers_back(shape):
    data, radii, extents = tube_body()
    capsules = capsules_of(SmplBody(data))
    thicker, taller = THICKER * shape[0], 1 + TALLER * shape[1]
    radius = torch.tensor(radii) * taller + thicker
    limb = torch.tensor([direction in SMPL24 for _, direction in PARTS.values()])
    length = torch.tensor(extents) * taller - torch.where(limb, 0.0, 2 * radius)
    torch.testing.assert_close(capsules.radii(betas(*shape))[0], radius, rtol=0, atol=1e-9)
    torch.testing.assert_close(capsules.lengths(betas(*shape))[0], length, rtol=0, atol=1e-9)


def test_the_order_is_smplifys():
    """Its code speaks of capsules by number."""
    ids = {
        "hips": 0,
        "left_thigh": 1,
        "left_calf": 4,
        "spine1": 6,
        "right_foot": 8,
        "neck": 10,
        "left_shoulder": 11,
        "head": 13,
        "left_forearm": 16,
        "right_forearm": 17,
        "left_hand": 18,
        "right_hand": 19,
    }
    assert {name: NAMES.index(name) for name in ids} == ids and len(NAMES) == 20


def test_left_and_right_are_alike():
    body = free_body()
    capsules = capsules_of(body)
    mate = [NAMES.index(mirrored_name(name)) for name in NAMES]
    shapes = torch.randn(20, body.shape_count, dtype=torch.float64)
    for measure in (capsules.radii(shapes), capsules.lengths(shapes)):
        torch.testing.assert_close(measure[:, mate], measure, rtol=0, atol=2e-3)


def test_limbs_of_the_free_body_are_as_thick_as_their_skin():
    """The skin's distance from the axis, a third to two thirds along it, is the radius within a third."""
    body = free_body()
    capsules = capsules_of(body)
    owner = body.weights.argmax(1)
    none = torch.zeros(1, body.shape_count).double()
    for i, name in enumerate(NAMES):
        if not any(part in name for part in ("thigh", "calf", "upper_arm", "forearm")):
            continue
        joint, axis = int(capsules.joint[i]), capsules.axis[i]
        start = body.rest_joints[joint] + capsules.starts(none)[0, i]
        about = body.v_template[owner == joint] - start
        along = about @ axis / capsules.lengths(none)[0, i]
        distance = (about - (about @ axis)[:, None] * axis).norm(dim=1)[(along > 1 / 3) & (along < 2 / 3)]
        radius = capsules.radii(none)[0, i]
        assert len(distance) > 20 and (distance.mean() - radius).abs() < radius / 3, name


def test_the_regression_holds_for_a_shape_it_has_not_seen():
    """Measured anew on a body whose template is that shape: within 1 mm for half of the capsules, 2 cm for all."""
    body = free_body()
    shape = torch.randn(1, body.shape_count, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    other = body.to()
    other.v_template = body.shaped(shape)[0]
    measured, regressed, still = capsules_of(other), capsules_of(body), torch.zeros_like(shape)
    for of in ("radii", "lengths"):
        difference = (getattr(measured, of)(still) - getattr(regressed, of)(shape)).abs()
        assert difference.median() < 1e-3 and difference.max() < 2e-2, of


def test_spheres_lie_evenly_and_where_smplify_puts_them():
    capsules = capsules_of(free_body())
    none = torch.zeros(1, 10).double()
    lengths, radii = capsules.lengths(none)[0], capsules.radii(none)[0]
    for i, name in enumerate(NAMES):
        shares = capsules.sphere_fraction[capsules.sphere_capsule == i].sort().values
        between = max(int(lengths[i] / (2 * radii[i]) - 1), 0)
        ends = sum(ENDS.get(name, (True, True)))
        assert len(shares) == (between + ends if lengths[i] >= SHORTEST else 1), name
        steps = shares.diff()
        if ends == 2 and len(steps):
            assert shares[0] == 0 and shares[-1] == 1
            torch.testing.assert_close(steps, torch.full_like(steps, 1 / (between + 1)))


def test_spheres_move_rigidly_with_their_joint():
    """The distance of a sphere to its joint does not depend on the pose, and turning everything turns them."""
    body = free_body()
    capsules, params = capsules_of(body), random_params(body, 3)
    posed = body.points(()).pose(params)
    centers = capsules.sphere_centers(params.betas, posed.joints, posed.world)
    reach = (centers - posed.joints[:, capsules.sphere_joint]).norm(dim=-1)
    still = body.neutral(3)
    rest = body.points(()).pose(type(params)(still.global_orient, still.body_pose, params.betas, still.transl))
    at_rest = capsules.sphere_centers(params.betas, rest.joints, rest.world)
    torch.testing.assert_close(reach, (at_rest - rest.joints[:, capsules.sphere_joint]).norm(dim=-1))


@pytest.mark.parametrize("skeleton", [SMPLH, SMPLX], ids=["SMPL-H", "SMPL-X"])
def test_bodies_with_fingers_have_the_same_capsules(skeleton):
    """Fingers belong to the hand's, jaw and eyes to the head's."""
    fingered, plain = capsules_of(fingered_body(skeleton)), capsules_of(free_body())
    shapes = torch.randn(5, 10, dtype=torch.float64)
    torch.testing.assert_close(fingered.radii(shapes), plain.radii(shapes), rtol=0, atol=1e-9)
    torch.testing.assert_close(fingered.lengths(shapes), plain.lengths(shapes), rtol=0, atol=1e-9)
    assert torch.equal(fingered.joint, plain.joint)


def test_made_once_and_forgotten_with_the_body():
    data, _, _ = tube_body()
    body = SmplBody(data)
    assert capsules_of(body) is capsules_of(body)
    known = weakref.ref(body)
    del body
    gc.collect()
    assert known() is None


def test_other_precision():
    capsules = capsules_of(free_body()).to(dtype=torch.float32)
    assert capsules.radii(torch.zeros(1, 10)).dtype == torch.float32 and capsules.joint.dtype == torch.int64


def test_a_hand_and_a_cloud_of_points_are_no_bodies():
    with pytest.raises(ValueError, match=r"joints of SMPL's body; this body has no pelvis, left_hip, right_hip \.\.\."):
        capsules_of(SmplBody(synthetic_hand()))
    data = synthetic_body()
    data["weights"] = torch.eye(24)[torch.zeros(80, dtype=torch.int64)].numpy()
    with pytest.raises(ValueError, match="'left_thigh' needs vertices that move with left_hip; this body has 0"):
        capsules_of(SmplBody(data))

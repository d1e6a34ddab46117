"""The fit of hands: right and left, sets of keypoints, what else is known, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.hand_scenes import SIZE, HandScene, hand_scene

import hmrfit
from hmrfit.config import ConfigError
from hmrfit.hand import hand_pipeline
from hmrfit.hand_keypoints import hand_set
from hmrfit.ops.procrustes import similarity_align
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.result import FitResult
from hmrfit.types import BodyParams


@pytest.fixture(scope="module")
def scene() -> HandScene:
    return hand_scene("right", noise=0.005)


@pytest.fixture(scope="module")
def fitted(scene: HandScene) -> FitResult:
    return hmrfit.fit_hand(None, scene.array, image_size=SIZE, focal=scene.focal)


def pa_error(result: FitResult, scene: HandScene) -> float:
    """Millimetres over 21 points."""
    points = torch.as_tensor(result.points(scene.names)[0])
    return 1e3 * float((similarity_align(points, scene.points) - scene.points).norm(dim=-1).mean())


def test_hands_are_fitted_from_21_keypoints(scene, fitted):
    assert len(fitted) == len(scene.array) and fitted.joints.shape[1:] == (16, 3)
    assert fitted.joint_names[0] == "right_wrist"
    assert pa_error(fitted, scene) < 6.0
    assert (fitted.reprojection_error < 0.015).all()
    np.testing.assert_allclose(fitted.probability.sum(1), 1.0)
    assert not any(fitted.warnings)


def test_a_left_hand_is_the_mirror_image_of_a_right_one(scene, fitted):
    """The mirrored picture of the same keypoints, given as a left hand's."""
    mirrored = scene.array * [-1, 1, 1] + [SIZE[0], 0, 0]
    left = hmrfit.fit_hand(None, mirrored, side="left", image_size=SIZE, focal=scene.focal)
    assert left.joint_names[0] == "left_wrist"
    np.testing.assert_allclose(left.joints * [-1, 1, 1], fitted.joints, rtol=0, atol=1e-6)
    np.testing.assert_allclose(left.vertices * [-1, 1, 1], fitted.vertices, rtol=0, atol=1e-6)
    np.testing.assert_allclose(left.betas, fitted.betas, rtol=0, atol=1e-6)
    np.testing.assert_allclose(left.joint_std, fitted.joint_std, rtol=1e-4)
    assert (np.abs(left.faces[:, ::-1] - fitted.faces) == 0).all()


def test_results_of_left_hands_are_read_again(scene, tmp_path):
    left = hmrfit.fit_hand(None, hand_scene("left").array[:1], side="left", image_size=SIZE, focal=scene.focal)
    left.save(tmp_path / "hand.npz")
    again = FitResult.load(tmp_path / "hand.npz")
    np.testing.assert_allclose(again.vertices, left.vertices, rtol=0, atol=1e-5)
    assert again.joint_names == left.joint_names


@pytest.mark.parametrize("name", ["mano_native21", "interhand21", "rhd21"])
def test_sets_of_hands_are_orders_of_the_same_points(scene, fitted, name):
    places = [scene.names.index(n) if n in scene.names else 0 for n in hand_set(name, "right").layout]
    result = hmrfit.fit_hand(None, scene.array[0][places], keypoint_set=name, image_size=SIZE, focal=scene.focal)
    np.testing.assert_allclose(result.joints[0], fitted.joints[0], rtol=0, atol=1e-4)


def test_points_in_3d_say_where_a_hand_is(scene):
    """Without the focal length."""
    known = [hmrfit.Keypoints3D(scene.points[:1].numpy())]
    alone = hmrfit.fit_hand(None, scene.array[:1], image_size=SIZE)
    both = hmrfit.fit_hand(None, scene.array[:1], image_size=SIZE, focal=scene.focal, measurements=known)
    off = [np.linalg.norm(r.points(scene.names)[0][0] - scene.points[0].numpy(), axis=1).mean() for r in (alone, both)]
    assert off[1] < 0.005 < off[0]


def test_a_start_may_be_given(scene, fitted):
    again = hmrfit.fit_hand(None, scene.array, image_size=SIZE, focal=scene.focal, init=fitted)
    assert np.abs(again.joints - fitted.joints).max() < 0.01 and not again.calibrated
    assert fitted.calibrated and (fitted.joint_std[:, 1:] > 0).all()


def test_nobody_s_answer_depends_on_the_others(scene, fitted):
    alone = hmrfit.fit_hand(None, scene.array[1], image_size=SIZE, focal=scene.focal)
    np.testing.assert_allclose(alone.joints[0], fitted.joints[1], rtol=0, atol=1e-6)


def test_two_cameras_see_where_a_hand_is():
    """A left one, the second camera sixty degrees round it."""
    scene = hand_scene("left", count=1, noise=0.01)
    turn = rotvec_to_matrix(torch.tensor([0.0, np.pi / 3, 0.0])).double()
    middle = scene.points[0].mean(0)
    shift = middle - turn @ middle
    second = np.concatenate([scene.camera.project(scene.points @ turn.mT + shift)[0].numpy(), np.ones((21, 1))], 1)
    extrinsics = np.stack([np.eye(4)[:3], np.concatenate([turn.numpy(), shift[:, None].numpy()], 1)])
    cameras = [hmrfit.Camera.from_size(*SIZE, focal=scene.focal)] * 2
    seen = hand_pipeline("left").fit_views(
        [None, None], [scene.array[0], second], extrinsics, cameras=cameras, image_size=SIZE
    )
    assert seen[0].joint_names[0] == "left_wrist"
    assert np.linalg.norm(seen[0].points(scene.names)[0][0] - scene.points[0].numpy(), axis=1).mean() < 0.004


def test_frames_of_a_hand_share_its_shape_and_move_smoothly(moving):
    scene, frames, _ = moving
    alone = hmrfit.fit_hand(None, frames, image_size=SIZE, focal=scene.focal)
    result = hand_pipeline("right").fit_sequence(frames, fps=30, image_size=SIZE, focal=scene.focal)
    assert np.ptp(result.betas, axis=0).max() == 0 and len(result) == len(frames)
    assert pa_error(result, scene) < pa_error(alone, scene)
    jitter = [np.abs(np.diff(r.joints, 2, axis=0)).mean() for r in (alone, result)]
    assert jitter[1] < 0.5 * jitter[0]


def test_a_hand_whose_shape_is_known_needs_its_pose_only(moving):
    """The second of two stages: a template from a few frames, then every frame about it."""
    scene, frames, _ = moving
    template = hand_pipeline("right").fit_sequence(frames[::4], fps=7.5, smooth=0, image_size=SIZE, focal=scene.focal)
    known = [hmrfit.Shape(template.betas[0], std=1e-3)]
    result = hmrfit.fit_hand(None, frames, image_size=SIZE, focal=scene.focal, measurements=known)
    assert np.abs(result.betas - template.betas[0]).max() < 0.02


@pytest.fixture(scope="module")
def moving() -> tuple[HandScene, np.ndarray, np.ndarray]:
    """A hand of one shape that turns and bends for 16 frames: the scene with its true points, and what is seen."""
    one = hand_scene("right", count=2, seed=5)
    along = 0.5 - 0.5 * torch.cos(torch.linspace(0, torch.pi, 16, dtype=torch.float64))[:, None]
    vectors = one.params.to_rotvecs()[1]
    first, last = vectors[:1].flatten(1), vectors[1:].flatten(1)
    params = BodyParams.from_rotvecs(torch.zeros(16, 3).double(), first + along * (last - first), *_still(one, 16))
    params = replace(
        params, global_orient=rotvec_to_matrix(along * torch.tensor([0.3, 0.2, 0.5])) @ one.params.global_orient[:1]
    )
    points = hand_pipeline("right").fitter.point_body(one.names).pose(params).points
    xy = one.camera[torch.zeros(16, dtype=torch.int64)].project(points)
    box = (xy.amax(1) - xy.amin(1)).amax(1)[:, None, None]
    xy = xy + 0.02 * box * torch.randn(xy.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    frames = torch.cat([xy, torch.ones(16, 21, 1)], -1).numpy()
    return replace(one, points=points), frames, params.betas[0].numpy()


def _still(scene: HandScene, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first hand's betas and place, so many times."""
    return scene.params.betas[:1].repeat(count, 1), scene.params.transl[:1].repeat(count, 1)


def test_a_mask_says_where_unseen_fingers_are():
    """Half of the points missing."""
    scene = hand_scene("right", count=3, noise=0.005, seed=8)
    body = hand_pipeline("right").body
    vertices = body(scene.params).mesh
    draw = BuiltinRenderer().silhouette
    masks = [np.asarray(draw(vertices[[i]], body.faces, scene.camera[[i]])[0] > 0.5) for i in range(3)]
    few = scene.array.copy()
    few[:, [6, 7, 8, 10, 11, 12, 18, 19, 20], 2] = 0
    fits = [
        hmrfit.fit_hand(None, few, image_size=SIZE, focal=scene.focal, measurements=known)
        for known in ([], [hmrfit.Mask(masks)])
    ]
    assert pa_error(fits[1], scene) < 0.8 * pa_error(fits[0], scene)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"side": "rihgt"}, ValueError, "side should be 'left' or 'right'"),
        ({"keypoint_set": "hand22"}, ValueError, "There is no keypoint set of hands 'hand22'"),
        ({"keypoints": np.ones((20, 3))}, ValueError, "keypoint_set is needed for 20 points"),
        ({"config": {"BODY.PATH": "free_body"}}, ConfigError, "free_body is no hand"),
    ],
)
def test_what_is_refused(scene, change, error, message):
    given = {"keypoints": scene.array[0], **change}
    with pytest.raises(error, match=message):
        hmrfit.fit_hand(None, given.pop("keypoints"), image_size=SIZE, **given)


def test_a_mirrored_hand_s_mirror_image_is_the_hand_of_the_file():
    """Settings of a left hand, given for a right one."""
    left = hand_pipeline("left")
    assert left.body_name == "mirror:free_hand"
    assert hand_pipeline("right", left.config).body_name == "free_hand"

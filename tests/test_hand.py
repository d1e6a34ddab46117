"""The fit of hands: right and left, sets of keypoints, what else is known, what is refused."""

import numpy as np
import pytest
import torch
from helpers.hand_scenes import SIZE, HandScene, hand_scene

import hmrfit
from hmrfit.config import ConfigError
from hmrfit.hand import hand_pipeline
from hmrfit.hand_keypoints import hand_set
from hmrfit.ops.procrustes import similarity_align
from hmrfit.result import FitResult


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

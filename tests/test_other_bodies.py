"""Whole fits of other kinds of bodies: SMPL-H and SMPL-X with the shipped priors, a hand with the caller's own."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import PRIORS, demo_points
from helpers.fingered_body import fingered_arrays
from helpers.stick_hand import stick_hand

import hmrfit
from hmrfit.body.files import read_body_file, write_body_npz
from hmrfit.body.skeleton import MANO_RIGHT, SMPL, SMPLH, SMPLX, Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.config import ConfigError
from hmrfit.ops.rotation import matrix_to_rotvec
from hmrfit.result import FitResult
from hmrfit.types import BodyParams, Keypoints

KINDS = {"SMPL-H": SMPLH, "SMPL-X": SMPLX}
SIZE = (640, 480)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The free body as a file of each kind; a copy of itself too, whose betas the network does not know either."""
    folder = tmp_path_factory.mktemp("bodies")
    for name, skeleton in KINDS.items():
        write_body_npz(folder / f"{name}.npz", fingered_arrays(skeleton))
    write_body_npz(folder / "SMPL.npz", read_body_file(PRIORS / "free_body.npz"))
    return folder


@pytest.fixture(scope="module")
def fitted(folder: Path):
    """name -> the demo's person fitted on that body."""

    @cache
    def fit(name: str) -> FitResult:
        points = demo_points(SIZE[1])
        config = {"BODY.PATH": str(folder / f"{name}.npz")}
        return hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, config=config)

    return fit


def theta_of(result: FitResult, skeleton: Skeleton, joints: tuple[int, ...]) -> torch.Tensor:
    """(n, 3) rotation vectors of some joints of the first person."""
    return matrix_to_rotvec(result.params.rotations)[0, list(joints)]


@pytest.mark.parametrize("name", KINDS)
def test_the_shipped_priors_fit_bodies_with_fingers(fitted, name):
    """As they fit SMPL's: the hands' joints, which no keypoint shows, are what differs."""
    result, plain, skeleton = fitted(name), fitted("SMPL"), KINDS[name]
    assert result.joints.shape == (1, len(skeleton), 3) and result.joint_names == skeleton.names
    shared = [skeleton.index(joint) for joint in SMPL.names[:22]]
    assert np.abs(result.joints[0, shared] - plain.joints[0, :22]).max() < 0.005  # metres
    assert result.reprojection_error[0] < 0.01
    assert theta_of(result, skeleton, skeleton.body_joints).abs().amax(1).gt(0.01).sum() > 15


@pytest.mark.parametrize("name", KINDS)
def test_fingers_jaw_and_eyes_stay_at_rest_exactly(fitted, name):
    skeleton = KINDS[name]
    others = tuple(j for j in range(len(skeleton)) if j not in skeleton.body_joints)
    assert len(others) >= 30 and not theta_of(fitted(name), skeleton, others).any()
    for drawn in fitted(name).sample(3):
        assert torch.equal(drawn.rotations[:, others], torch.eye(3).double().expand(1, len(others), 3, 3))


@pytest.mark.parametrize("name", KINDS)
def test_uncertainty_is_about_the_joints_that_were_fitted(fitted, name):
    result, skeleton = fitted(name), KINDS[name]
    fingers, wrist = list(skeleton.fingers["left"]), skeleton.index("left_wrist")
    assert np.isfinite(result.joint_std).all() and (result.joint_std[0, 1:] > 0).all()
    assert (result.joint_std[0, fingers] > 0.5 * result.joint_std[0, wrist]).all()  # they go with the arm
    assert result.landmark_std.shape == (1, 17)


@pytest.mark.parametrize(("name", "columns"), [("SMPL-H", 156), ("SMPL-X", 165)])
def test_results_are_saved_with_their_full_pose(fitted, tmp_path, name, columns):
    result = fitted(name)
    result.save(tmp_path / "result.npz")
    result.save_motion(tmp_path / "motion.npz")
    with np.load(tmp_path / "result.npz") as saved, np.load(tmp_path / "motion.npz") as motion:
        assert saved["poses"].shape == motion["poses"].shape == (1, columns)
    loaded = FitResult.load(tmp_path / "result.npz")
    torch.testing.assert_close(loaded.params.rotations, result.params.rotations, rtol=0, atol=1e-6)
    np.testing.assert_allclose(loaded.joint_std, result.joint_std, atol=1e-4)


@pytest.mark.parametrize("start", ["library", "mean_pose"])
def test_other_starts(folder, start):
    config = {"BODY.PATH": str(folder / "SMPL-X.npz"), "FIT.START": start}
    result = hmrfit.fit(None, demo_points(SIZE[1]), keypoint_set="coco17", image_size=SIZE, config=config)
    assert result.reprojection_error[0] < 0.03 and np.isfinite(result.joint_std).all()
    others = tuple(j for j in range(len(SMPLX)) if j not in SMPLX.body_joints)
    assert not theta_of(result, SMPLX, others).any()


def test_discriminators_score_a_body_with_fingers(folder):
    stages = [{"weights": {"reprojection": 24, "discriminators": 1, "shape": 1}, "max_steps": 20}]
    config = {"BODY.PATH": str(folder / "SMPL-X.npz"), "FIT.START": "initial_estimate", "FIT.STAGES": stages}
    points = demo_points(SIZE[1])
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, config=config)
    assert result.reprojection_error[0] < 0.02 and result.term_cost["discriminators"][0] > 0


def test_fingers_of_a_given_start_stay_as_they_are(fitted, folder):
    """Whoever knows how the fingers are bent gives them, and they are in the answer."""
    init = fitted("SMPL-X").params
    pose = init.body_pose.clone()
    fingers = [j - 1 for j in SMPLX.fingers["right"]]
    pose[:, fingers] = torch.linalg.matrix_exp(torch.tensor([[0.0, -0.5, 0], [0.5, 0, 0], [0, 0, 0]]).double())
    init = BodyParams(init.global_orient, pose, init.betas, init.transl)
    config = {"BODY.PATH": str(folder / "SMPL-X.npz")}
    points = demo_points(SIZE[1])
    result = hmrfit.fit(None, points, keypoint_set="coco17", image_size=SIZE, config=config, init=init)
    torch.testing.assert_close(result.params.body_pose[:, fingers], pose[:, fingers], rtol=0, atol=1e-9)


def test_a_sequence_of_a_body_with_fingers(folder):
    frames = [demo_points(SIZE[1]) + np.array([shift, 0, 0]) for shift in (0.0, 3.0, 6.0, 9.0)]
    config = {"BODY.PATH": str(folder / "SMPL-H.npz")}
    result = hmrfit.fit_sequence(np.stack(frames), fps=30, keypoint_set="coco17", image_size=SIZE, config=config)
    assert len(result) == 4 and result.params.body_pose.shape[1] == 51
    fingers = [j - 1 for j in SMPLH.fingers["left"]]
    assert not matrix_to_rotvec(result.params.body_pose[:, fingers]).any()
    assert (result.reprojection_error < 0.02).all()


# ---- a hand


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Settings of a hand with a prior of its own."""
    folder = tmp_path_factory.mktemp("hand")
    write_body_npz(folder / "hand.npz", stick_hand())
    prior = {"means": np.zeros((1, 45)), "covariances": 0.3**2 * np.eye(45)[None], "weights": np.ones(1)}
    np.savez(folder / "gmm.npz", **prior)
    paths = {"BODY.PATH": str(folder / "hand.npz"), "PRIORS.GMM": str(folder / "gmm.npz")}
    return paths | {"PRIORS.LIMITS": "", "PRIORS.INITIAL_ESTIMATE": ""}


def hand_seen(orient: tuple[float, float, float]) -> tuple[Keypoints, Camera, torch.Tensor]:
    """Exact keypoints of the hand's joints and tips, half a metre away, and its joints about the wrist, metres."""
    body = SmplBody(stick_hand())
    theta = 0.25 * torch.randn(1, 45, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    place, betas = torch.tensor([[0.05, 0.0, 0.6]]).double(), torch.tensor([[0.5, 0.0]]).double()
    names, camera = (*body.joint_names, *body.landmark_names), Camera.from_size(*SIZE)
    posed = body.points(names).pose(BodyParams.from_rotvecs(torch.tensor([orient]).double(), theta, betas, place))
    keypoints = Keypoints(camera.project(posed.points), torch.ones(1, len(names)).double(), names)
    return keypoints, camera, posed.joints - posed.joints[:, :1]


@pytest.mark.parametrize("orient", [(torch.pi, 0.0, 0.0), (torch.pi - 0.3, 0.4, 0.2)])
def test_a_hand_is_fitted_with_the_callers_prior(hand, orient):
    """From joints and tips, without a start."""
    keypoints, _, truth = hand_seen(orient)
    points = torch.cat([keypoints.xy, keypoints.confidence[..., None]], -1)[0].numpy()
    result = hmrfit.fit(None, points, keypoint_set=keypoints.names, image_size=SIZE, config=hand)
    assert result.body_model.skeleton == MANO_RIGHT and result.joint_names == MANO_RIGHT.names
    assert result.reprojection_error[0] < 0.01
    off = result.joints[0] - result.joints[0, :1] - truth[0].numpy()
    assert np.linalg.norm(off, axis=1).mean() < 0.02  # metres; a picture says little of a hand's depth
    assert result.joint_std.shape == (1, 16) and result.landmark_std.shape == (1, 21)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"PRIORS.GMM": "pose_gmm"},
            r"PRIORS\.GMM: pose_gmm does not go with the body .*\. The pose prior is about",
        ),
        ({"PRIORS.LIMITS": "joint_limits"}, r"PRIORS\.LIMITS: joint_limits does not go with the body"),
        (
            {"PRIORS.INITIAL_ESTIMATE": "keypoint_hmr"},
            r"'keypoint_hmr' does not go with a hand\. .* needs a hand's 16 joints, not 24",
        ),
    ],
)
def test_priors_of_bodies_are_refused_for_a_hand(hand, change, message):
    with pytest.raises(ConfigError, match=message):
        hmrfit.fit(None, np.ones((16, 3)), keypoint_set=MANO_RIGHT.names, image_size=SIZE, config=hand | change)

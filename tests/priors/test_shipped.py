"""The shipped parameters fitted from motion: shapes, symmetry, and what they must say about plain poses."""

from pathlib import Path

import numpy as np
import pytest
from scipy.special import logsumexp

from hmrfit.assets import locate
from hmrfit.keypoints import SMPL24
from hmrfit.motion import mirror_poses

CMU_LINE = "The data used in this project was obtained from mocap.cs.cmu.edu."


def load(name: str) -> dict[str, np.ndarray]:
    with np.load(locate(name), allow_pickle=False) as data:
        return dict(data)


@pytest.fixture(scope="module")
def gmm() -> dict[str, np.ndarray]:
    return load("pose_gmm")


@pytest.fixture(scope="module")
def limits() -> dict[str, np.ndarray]:
    return load("joint_limits")


def log_density(gmm: dict[str, np.ndarray], poses: np.ndarray) -> np.ndarray:
    """(N,) nats of poses (N, 23, 3), straight from the definition."""
    x, parts = poses.reshape(len(poses), 69), []
    for w, mean, cov in zip(gmm["weights"], gmm["means"], gmm["covariances"], strict=True):
        d = x - mean
        distance = np.einsum("nd,nd->n", d, np.linalg.solve(cov, d.T).T)
        parts.append(np.log(w) - 0.5 * (distance + np.linalg.slogdet(cov)[1] + 69 * np.log(2 * np.pi)))
    return logsumexp(parts, axis=0)


def pose(**degrees: tuple[float, float, float]) -> np.ndarray:
    """(1, 23, 3), hanging arms, knees and elbows a little bent, some joints as given."""
    plain = {"left_shoulder": (0, 0, -70), "right_shoulder": (0, 0, 70)}
    plain |= {"left_elbow": (0, -20, 0), "right_elbow": (0, 20, 0), "left_knee": (10, 0, 0), "right_knee": (10, 0, 0)}
    out = np.zeros((1, 23, 3))
    for name, angles in (plain | degrees).items():
        out[0, SMPL24.index(name) - 1] = np.radians(angles)
    return out


@pytest.mark.parametrize("name", ["pose_gmm", "joint_limits", "poses"])
def test_cards_name_the_sources(name):
    card = Path(locate(name)).with_suffix(".md").read_text()
    assert CMU_LINE in card and "Licence" in card and "Rebuild" in card
    assert load(name)["joint_names"].tolist() == list(SMPL24[1:])


def test_gmm_is_a_mixture(gmm):
    assert gmm["means"].shape == (8, 69) and gmm["covariances"].shape == (8, 69, 69) and gmm["weights"].shape == (8,)
    assert all(gmm[key].dtype == np.float64 for key in ("means", "covariances", "weights"))
    assert np.isclose(gmm["weights"].sum(), 1) and (gmm["weights"] > 0.005).all()
    assert np.array_equal(gmm["covariances"], np.swapaxes(gmm["covariances"], 1, 2))
    assert min(np.linalg.eigvalsh(c)[0] for c in gmm["covariances"]) > 0.03**2  # no direction is rigid
    assert (np.linalg.norm(gmm["means"].reshape(8, 23, 3), axis=-1) < np.pi).all()


def test_the_right_hand_is_worth_the_left_one(gmm):
    """Fitted on mirrored data: mirror images differ by far less than poses do (20 nats)."""
    poses = load("poses")["poses"][:300].astype(float)
    apart = np.abs(log_density(gmm, poses) - log_density(gmm, mirror_poses(poses)))
    assert apart.mean() < 0.5


@pytest.mark.parametrize(
    ("joint", "wrong"),
    [("left_knee", (-60, 0, 0)), ("right_knee", (-60, 0, 0)), ("left_elbow", (0, 60, 0)), ("right_elbow", (0, -60, 0))],
)
def test_joints_that_bend_the_wrong_way_are_unlikely_and_forbidden(gmm, limits, joint, wrong):
    right = pose(**{joint: tuple(-np.array(wrong))})
    assert log_density(gmm, pose(**{joint: wrong})) < log_density(gmm, right) - 1
    outside = (pose(**{joint: wrong}) < limits["lower"]) | (pose(**{joint: wrong}) > limits["upper"])
    assert outside[0, SMPL24.index(joint) - 1].any()


def test_standing_is_likelier_than_the_t_pose_and_that_than_nonsense(gmm, rng):
    standing, t_pose = log_density(gmm, pose()), log_density(gmm, np.zeros((1, 23, 3)))
    nonsense = log_density(gmm, rng.normal(size=(50, 23, 3)))
    assert standing > t_pose > nonsense.max()


def test_limits_are_symmetric_and_hold_plain_poses(limits):
    lower, upper = limits["lower"], limits["upper"]
    assert lower.shape == upper.shape == (23, 3) and (lower < upper).all()
    ends = mirror_poses(np.stack([lower, upper]))
    assert np.allclose(ends.min(0), lower) and np.allclose(ends.max(0), upper)
    for held in (np.zeros((23, 3)), pose()[0], pose(left_knee=(140, 0, 0), left_hip=(-110, 0, 0))[0]):
        assert ((held >= lower) & (held <= upper)).all()
    assert (np.abs(np.stack([lower, upper])) <= np.pi).all()


def test_pose_set_keeps_the_limits(limits):
    poses = load("poses")["poses"]
    assert poses.shape == (2000, 23, 3) and poses.dtype == np.float32 and np.isfinite(poses).all()
    slack = 1e-6  # float32 rounding of values that were inside
    assert ((poses >= limits["lower"] - slack) & (poses <= limits["upper"] + slack)).all()
    assert len(np.unique(poses.round(4).reshape(2000, -1), axis=0)) == 2000


def test_pose_set_has_the_density_s_spread(gmm):
    """Knees, elbows and shoulders move about as much as the mixture says (limits cut some of it)."""
    poses = load("poses")["poses"].reshape(2000, 69)
    mean = gmm["weights"] @ gmm["means"]
    spread = np.einsum("k,kii->i", gmm["weights"], gmm["covariances"]) + gmm["weights"] @ (gmm["means"] - mean) ** 2
    for joint, axis in (("left_knee", 0), ("right_elbow", 1), ("left_shoulder", 2), ("right_hip", 0)):
        i = 3 * (SMPL24.index(joint) - 1) + axis
        assert 0.7 < poses[:, i].std() / np.sqrt(spread[i]) < 1.2, joint

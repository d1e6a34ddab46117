"""The capsule test and the mirror of priors/scripts: what they must say about plain poses."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from hmrfit.assets import locate
from hmrfit.keypoints import SMPL24
from hmrfit.motion import mirror_poses

SCRIPTS = Path(__file__).resolve().parents[2] / "priors" / "scripts"


def load(name: str) -> ModuleType:
    sys.path.insert(0, str(SCRIPTS))
    try:
        return __import__(name)
    finally:
        sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def capsules() -> ModuleType:
    return load("sample_poses")


@pytest.fixture(scope="module")
def rest(capsules) -> dict[str, np.ndarray]:
    return capsules.rest_points(Path(locate("free_body")))


def pose(**degrees: tuple[float, float, float]) -> np.ndarray:
    out = np.zeros((1, 23, 3))
    for name, angles in degrees.items():
        out[0, SMPL24.index(name) - 1] = np.radians(angles)
    return out


@pytest.mark.parametrize(
    ("what", "degrees", "hit"),
    [
        ("T-pose", {}, False),
        ("hanging arms", {"left_shoulder": (0, 0, -72), "right_shoulder": (0, 0, 72)}, False),
        ("deep squat", {s + "_hip": (-100, 0, 0) for s in ("left", "right")}, False),
        ("forearm through the belly", {"left_shoulder": (0, 0, -72), "left_elbow": (0, 0, -60)}, True),
        ("shank through the other shank", {"left_hip": (0, 0, -25)}, True),
    ],
)
def test_plain_poses(capsules, rest, what, degrees, hit):
    assert bool(capsules.collides(pose(**degrees), rest)[0]) == hit


def test_collisions_are_the_same_in_a_mirror(capsules, rest, rng):
    poses = 0.6 * rng.normal(size=(200, 23, 3))
    hits = capsules.collides(poses, rest)
    assert 0 < hits.mean() < 1
    # the free body's joints are symmetric to a fraction of a millimetre, so a few grazing contacts may differ
    assert (hits != capsules.collides(mirror_poses(poses), rest)).mean() < 0.02


def test_box_of_mirrored_poses():
    """A box holds a pose exactly when the mirrored box holds its mirror image."""
    limits = load("fit_joint_limits")
    rng = np.random.default_rng(1)
    ends = rng.normal(size=(2, 23, 3))
    box, poses = np.stack([ends.min(0), ends.max(0)]), 0.5 * rng.normal(size=(500, 23, 3))
    mirrored, seen = limits.mirror_box(box), mirror_poses(poses)
    inside = ((poses >= box[0]) & (poses <= box[1])).sum(axis=(1, 2))
    assert np.array_equal(((seen >= mirrored[0]) & (seen <= mirrored[1])).sum(axis=(1, 2)), inside)
    assert (limits.anatomy_box()[0] < limits.anatomy_box()[1]).all()


def test_flexion_signs():
    training = load("training")
    names = training.BODY_JOINTS
    for joint, axis, signs in (("knee", 0, (1.0, 1.0)), ("elbow", 1, (-1.0, 1.0))):
        expected = [
            (3 * names.index(f"{s}_{joint}") + axis, sign) for s, sign in zip(("left", "right"), signs, strict=True)
        ]
        assert training.flexion(joint) == expected

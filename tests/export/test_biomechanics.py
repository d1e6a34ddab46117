"""Markers and joint angles: read again by parsers of the tests' own, units, rate, axes, sides and signs included."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bodies import free_body

from hmrfit.export.joint_angles import joint_angles
from hmrfit.export.motion_files import write_motion
from hmrfit.export.person_motion import PersonMotion
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams

NAMES = free_body().skeleton.names
LEVEL = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))  # body's y up -> the level camera's y down


def posed(T: int = 1, fps: float = 60.0, facing: float = 0.0, **joints: tuple[float, float, float]) -> PersonMotion:
    """A person who stands before a level camera with some joints turned: rotation vectors in degrees about the body's
    axes (x left, y up, z ahead)."""
    turns = torch.zeros(T, 24, 3, dtype=torch.float64)
    for name, degrees in joints.items():
        turns[:, NAMES.index(name)] = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    R = rotvec_to_matrix(turns)
    about = rotvec_to_matrix(torch.deg2rad(torch.tensor([0.0, facing, 0.0], dtype=torch.float64)))
    root = LEVEL @ about @ R[:, 0]
    transl = torch.tensor([[0.5, 0.2, 4.0]], dtype=torch.float64).expand(T, 3) + torch.arange(T)[:, None] * 0.01
    params = BodyParams(root, R[:, 1:], torch.zeros(T, 10, dtype=torch.float64), transl)
    return PersonMotion(params, free_body(), fps, up=np.array([0.0, -1.0, 0.0]))


ONE_TURN = [
    # joint turned, degrees about x left, y up, z ahead; what it is called
    ("right_hip", (-40, 0, 0), {"hip_flexion_r": 40}),
    ("left_hip", (-40, 0, 0), {"hip_flexion_l": 40}),
    ("right_hip", (0, 0, 20), {"hip_adduction_r": 20}),
    ("left_hip", (0, 0, 20), {"hip_adduction_l": -20}),
    ("right_hip", (0, 30, 0), {"hip_rotation_r": 30}),
    ("left_hip", (0, -30, 0), {"hip_rotation_l": 30}),
    ("right_knee", (60, 0, 0), {"knee_angle_r": 60}),
    ("left_knee", (60, 0, 0), {"knee_angle_l": 60}),
    ("right_ankle", (-15, 0, 0), {"ankle_angle_r": 15}),
    ("left_ankle", (0, 0, -10), {"subtalar_angle_l": 10}),
    ("right_elbow", (0, 90, 0), {"elbow_flex_r": 90}),
    ("left_elbow", (0, -90, 0), {"elbow_flex_l": 90}),
    ("right_shoulder", (0, 0, 60), {"shoulder_elevation_r": 30, "shoulder_plane_r": 0}),
    ("left_shoulder", (0, 0, -60), {"shoulder_elevation_l": 30, "shoulder_plane_l": 0}),
    ("right_shoulder", (0, 70, 0), {"shoulder_elevation_r": 90, "shoulder_plane_r": 70}),
    ("left_shoulder", (0, -70, 0), {"shoulder_elevation_l": 90, "shoulder_plane_l": 70}),
    ("spine2", (-25, 0, 0), {"lumbar_extension": 25}),
    ("spine1", (0, 0, 12), {"lumbar_bending": 12}),
    ("spine3", (0, 12, 0), {"lumbar_rotation": 12}),
    ("head", (20, 0, 0), {"neck_extension": -20}),
    ("pelvis", (-10, 0, 0), {"pelvis_tilt": 10}),
    ("pelvis", (0, 0, 8), {"pelvis_list": 8}),
]


@pytest.mark.parametrize(("joint", "degrees", "expected"), ONE_TURN, ids=lambda v: v if isinstance(v, str) else "")
def test_one_turn_is_one_angle(joint, degrees, expected) -> None:
    """With the sign that its name has on either side, and all the others at rest, whichever way the person faces."""
    rest = joint_angles(posed())
    for facing in (0.0, 130.0):
        found = joint_angles(posed(facing=facing, **{joint: degrees}))
        for name, value in expected.items():
            assert found[name][0] == pytest.approx(value, abs=1e-6), name
        others = {name: found[name][0] - rest[name][0] for name in found if name not in expected}
        shaken = [n for n, d in others.items() if abs(d) > 1e-6 and not n.startswith(("pelvis_t", "pelvis_rotation"))]
        shoulder = [n for n in shaken if n.startswith("shoulder") and joint.endswith("shoulder")]
        assert [n for n in shaken if n not in shoulder] == []


def test_the_angles_are_those_of_the_joints_positions() -> None:
    """Signs by what the posed body does, not by the library's axes: knees go ahead, hands up, feet inwards."""
    person = posed(right_hip=(-40, 0, 0), left_knee=(50, 0, 0), left_shoulder=(0, 0, -60))
    joints = free_body().points(NAMES).pose(person.in_world()).joints[0].numpy()
    at = dict(zip(NAMES, joints, strict=True))
    ahead = np.array([0, 0, 1.0])  # a level world with y up, the person faces the camera, which looks along −z
    thigh = at["right_knee"] - at["right_hip"]
    rest = dict(zip(NAMES, free_body().points(NAMES).pose(posed().in_world()).joints[0].numpy(), strict=True))
    still = rest["right_knee"] - rest["right_hip"]
    angle = lambda v: np.degrees(np.arctan2(v @ ahead, -v[1]))  # noqa: E731
    assert angle(thigh) - angle(still) == pytest.approx(40, abs=1e-6)
    shank = at["left_ankle"] - at["left_knee"]
    assert shank @ ahead < -0.2  # a bent knee brings the foot back
    arm = at["left_wrist"] - at["left_shoulder"]
    assert arm[1] < -0.3 and arm[0] > 0  # lowered, to the person's left, which is the camera's right


def test_elevation_is_180_with_the_arm_overhead_and_jumps_nowhere() -> None:
    parts = [posed(right_shoulder=(0, 0, -a)) for a in np.linspace(-80, 80, 30)]
    params = BodyParams.cat([p.params for p in parts])
    found = joint_angles(PersonMotion(params, free_body(), 30.0, up=np.array([0.0, -1.0, 0.0])))
    assert found["shoulder_elevation_r"][-1] == pytest.approx(170, abs=1e-6)
    assert all(np.abs(np.diff(values)).max() < 20 for values in found.values())


def read_trc(path: Path) -> tuple[dict[str, str], list[str], np.ndarray, np.ndarray]:
    """(header, names, times (T,), points (T, N, 3)) as OpenSim reads them: by columns and tabs."""
    lines = path.read_text().splitlines()
    assert lines[0].split("\t")[:3] == ["PathFileType", "4", "(X/Y/Z)"]
    header = dict(zip(lines[1].split("\t"), lines[2].split("\t"), strict=True))
    names = [name for name in lines[3].split("\t")[2:] if name]
    assert lines[4].split("\t")[2:5] == ["X1", "Y1", "Z1"] and lines[5] == ""
    rows = np.array([[float(value) for value in line.split("\t")] for line in lines[6:]])
    assert rows[:, 0].tolist() == list(range(1, len(rows) + 1))
    return header, names, rows[:, 1], rows[:, 2:].reshape(len(rows), -1, 3)


@pytest.mark.parametrize("unit", ["m", "mm"])
def test_markers_are_read_again(unit, tmp_path) -> None:
    person = posed(T=5, fps=50.0)
    write_motion(tmp_path / "a.trc", person, unit=unit)
    header, names, times, points = read_trc(tmp_path / "a.trc")
    assert header["Units"] == unit and float(header["DataRate"]) == 50 and int(header["NumFrames"]) == 5
    assert int(header["NumMarkers"]) == len(names) == 25 and {"RAnkle", "LBigToe", "CHip"} <= set(names)
    np.testing.assert_allclose(times, np.arange(5) / 50, atol=1e-6)
    metres = points / (1000 if unit == "mm" else 1)
    at = {name: metres[0, i] for i, name in enumerate(names)}
    assert 1.2 < at["Nose"][1] - at["RHeel"][1] < 1.8  # y is up, and it is a person's size
    assert at["LHip"][0] > at["RHip"][0]  # faces the camera, whose right is x
    assert at["LBigToe"][2] > at["LHeel"][2]  # toes towards the camera, z
    ours = free_body().points(("right_ankle",)).pose(person.in_world()).points.numpy()[:, 0]
    np.testing.assert_allclose(metres[:, names.index("RAnkle")], ours, atol=1e-6)


def test_files_of_one_video_share_its_clock(tmp_path) -> None:
    """Somebody who comes into view after 3.2 seconds begins there; motions that begin before 0 keep their times too."""
    for begin, frame in ((3.2, 161), (-0.5, 1)):
        person = replace(posed(T=4, fps=50.0), times=begin + np.arange(4) / 50)
        write_motion(tmp_path / "a.trc", person)
        rows = np.array([line.split("\t")[:2] for line in (tmp_path / "a.trc").read_text().splitlines()[6:]], float)
        np.testing.assert_allclose(rows[:, 1], person.seconds, atol=1e-6)
        assert rows[:, 0].tolist() == list(range(frame, frame + 4))
        write_motion(tmp_path / "a.csv", person)
        table = (tmp_path / "a.csv").read_text().splitlines()[1:]
        np.testing.assert_allclose([float(line.split(",")[0]) for line in table], person.seconds, atol=1e-6)


def test_markers_on_the_floor_and_of_another_set(tmp_path) -> None:
    write_motion(tmp_path / "a.trc", posed(), on_floor=True, points="coco17")
    _, names, _, points = read_trc(tmp_path / "a.trc")
    assert len(names) == 17 and 0 < points[0, names.index("LAnkle"), 1] < 0.15
    with pytest.raises(ValueError, match="unit should be m or mm"):
        write_motion(tmp_path / "b.trc", posed(), unit="cm")


@pytest.mark.parametrize("suffix", [".mot", ".sto", ".csv"])
def test_angles_are_read_again(suffix, tmp_path) -> None:
    person = posed(T=4, fps=25.0, right_knee=(60, 0, 0))
    write_motion(tmp_path / f"a{suffix}", person)
    lines = (tmp_path / f"a{suffix}").read_text().splitlines()
    between = "," if suffix == ".csv" else "\t"
    if suffix != ".csv":
        end = lines.index("endheader")
        said = dict(line.split("=") for line in lines[1:end])
        assert (said["nRows"], said["inDegrees"]) == ("4", "yes")
        assert int(said["nColumns"]) == len(lines[end + 1].split("\t"))
        lines = lines[end + 1 :]
    names = lines[0].split(between)
    rows = np.array([[float(v) for v in line.split(between)] for line in lines[1:]])
    assert names[0] == "time" and len(set(names)) == len(names)
    np.testing.assert_allclose(rows[:, 0], np.arange(4) / 25, atol=1e-6)
    np.testing.assert_allclose(rows[:, names.index("knee_angle_r")], 60, atol=1e-5)
    np.testing.assert_allclose(rows[:, names.index("pelvis_tx")], joint_angles(person)["pelvis_tx"], atol=1e-6)

"""One rig of cameras, written in every format by code of its own here, is read as the same cameras."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from hmrfit.io.budget import file_limits
from hmrfit.io.calibration import CameraCalibration, read_calibration
from hmrfit.io.image import undistort_points

SIZE = (1088, 1920)
NAMES = ("cam01", "cam02", "cam03")
K = np.array([[[1681.2, 0, 533.0 + i], [0, 1680.9, 948.1 - 2 * i], [0, 0, 1]] for i in range(3)])
DIST = np.array([[-0.046, 0.14, 0.0006, 0.0007], [-0.05, 0.1, 0, 0], [0, 0, 0, 0]])
POSITIONS = np.array([[1.4, -1.9, 1.9], [2.6, 0.7, 1.7], [-3.2, 2.2, 2.1]])


def looking_at(position: np.ndarray) -> np.ndarray:
    """The rotation of a camera at `position` that looks at (0, 0, 1) with z up."""
    forward = np.array([0, 0, 1.0]) - position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


R = np.stack([looking_at(p) for p in POSITIONS])
T = -(R @ POSITIONS[..., None])[..., 0]


def qualisys(folder: Path) -> Path:
    cameras = ""
    for i, name in enumerate(NAMES):
        own = np.diag([1, -1, -1]) @ R[i]  # Qualisys' camera looks along -z, y up
        turn = " ".join(f'r{a + 1}{b + 1}="{own[a, b]!r}"' for a in range(3) for b in range(3)).replace(
            "np.float64", ""
        )
        turn = turn.replace("(", "").replace(")", "")
        x, y, z = 1000 * POSITIONS[i]
        k1, k2, p1, p2 = DIST[i]
        (fx, _, cx), (_, fy, cy), _ = K[i]
        cameras += f"""<camera serial="{name}" active="1"><fov_video left="8" top="16" right="{8 + SIZE[0] - 1}"
            bottom="{16 + SIZE[1] - 1}"/><transform x="{x}" y="{y}" z="{z}" {turn}/><intrinsic
            focalLengthU="{64 * fx}" focalLengthV="{64 * fy}" centerPointU="{64 * (cx + 8)}"
            centerPointV="{64 * (cy + 16)}" skew="0" radialDistortion1="{k1}" radialDistortion2="{k2}"
            radialDistortion3="0" tangentalDistortion1="{p1}" tangentalDistortion2="{p2}"/></camera>"""
    path = folder / "Calib.qca.txt"
    path.write_text(f"<?xml version='1.0'?><calibration><cameras>{cameras}</cameras></calibration>")
    return path


def pose2sim(folder: Path) -> Path:
    tables = "".join(
        f"[{name}]\nname = '{name}'\nsize = [1088.0, 1920.0]\nmatrix = {K[i].tolist()}\ndistortions = "
        f"{DIST[i].tolist()}\nrotation = {Rotation.from_matrix(R[i]).as_rotvec().tolist()}\n"
        f"translation = {T[i].tolist()}\nfisheye = false\n"
        for i, name in enumerate(NAMES)
    )
    path = folder / "Calib.toml"
    path.write_text(tables + "[metadata]\nadjusted = false\nerror = 0.0\n")
    return path


def easymocap(folder: Path) -> Path:
    for file, keys in (("intri", "K dist W H"), ("extri", "R Rot T")):
        storage = cv2.FileStorage(str(folder / f"{file}.yml"), cv2.FILE_STORAGE_WRITE)
        storage.startWriteStruct("names", cv2.FileNode_SEQ)
        for name in NAMES:
            storage.write("", name)
        storage.endWriteStruct()
        for i, name in enumerate(NAMES):
            values = {"K": K[i], "dist": DIST[i][None], "R": cv2.Rodrigues(R[i])[0], "Rot": R[i], "T": T[i][:, None]}
            for key in keys.split():
                whole = {"W": SIZE[0], "H": SIZE[1]}
                storage.write(f"{key}_{name}", values[key] if key in values else whole[key])
        storage.release()
    return folder


def colmap(folder: Path) -> Path:
    lenses = [
        f"{i + 1} OPENCV 1088 1920 {K[i][0, 0]} {K[i][1, 1]} {K[i][0, 2] + 0.5} {K[i][1, 2] + 0.5} "
        f"{' '.join(map(str, DIST[i]))}"
        for i in range(3)
    ]
    (folder / "cameras.txt").write_text("# a comment\n" + "\n".join(lenses) + "\n")
    lines = []
    for i in (2, 0, 1):  # in any order
        x, y, z, w = Rotation.from_matrix(R[i]).as_quat()
        lines += [f"{i} {w} {x} {y} {z} {T[i][0]} {T[i][1]} {T[i][2]} {i + 1} {NAMES[i]}", "" if i else "1.0 2.0 -1"]
    (folder / "images.txt").write_text("# a comment\n" + "\n".join(lines) + "\n")
    return folder


FORMATS = (qualisys, pose2sim, easymocap, colmap)


@pytest.mark.parametrize("write", FORMATS)
def test_a_rig_is_the_same_in_every_format(write, tmp_path):
    found = read_calibration(write(tmp_path))
    assert found.names == NAMES
    for i, name in enumerate(NAMES):
        np.testing.assert_allclose(found.intrinsics(name), K[i], atol=1e-6)
        np.testing.assert_allclose(found.distortion[i], DIST[i], atol=1e-9)
        assert found.image_size(i) == SIZE
    np.testing.assert_allclose(found.extrinsics[:, :, :3], R, atol=1e-6)
    np.testing.assert_allclose(found.positions, POSITIONS, atol=1e-6)
    np.testing.assert_allclose(found.camera.center[0], K[0][:2, 2] + 0.5)  # ours: the corner is (0, 0)


def test_what_points_up_is_known_where_the_format_says_it(tmp_path):
    assert read_calibration(qualisys(tmp_path)).up.tolist() == [0, 0, 1]
    assert read_calibration(pose2sim(tmp_path)).up.tolist() == [0, 0, 1]
    assert read_calibration(easymocap(tmp_path)).up is None


def test_points_go_through_the_lens_and_back(tmp_path):
    """OpenCV itself projects the points; `undistorted` gives what the pinhole sees."""
    found = read_calibration(qualisys(tmp_path))
    points = np.random.default_rng(0).normal((0, 0, 1), 0.4, size=(20, 3))
    through = cv2.projectPoints(points, R[0], T[0], K[0], DIST[0])[0][:, 0] + 0.5
    pinhole = cv2.projectPoints(points, R[0], T[0], K[0], None)[0][:, 0] + 0.5
    assert np.abs(through - pinhole).max() > 1
    seen = np.concatenate([through, np.full((20, 1), 0.7)], 1)
    np.testing.assert_allclose(found.undistorted(seen[None], "cam01")[0, :, :2], pinhole, atol=1e-4)
    np.testing.assert_array_equal(found.undistorted(seen, 0)[:, 2], 0.7)
    ours = found.camera[[0]].project(torch.tensor(points @ R[0].T + T[0])[None])[0]
    np.testing.assert_allclose(ours, pinhole, atol=1e-4)


def test_a_pair_of_opencv_has_the_first_cameras_world(tmp_path):
    """As stereo_calib.cpp writes them: x_2 = R x_1 + T."""
    between = R[1] @ R[0].T
    shift = T[1] - between @ T[0]
    lenses = {"M1": K[0], "D1": DIST[0][None], "M2": K[1], "D2": DIST[1][None]}
    poses = {"R": between, "T": 1000 * shift[:, None], "R1": np.eye(3), "P1": np.eye(3, 4)}
    for file, values in (("intrinsics", lenses), ("extrinsics", poses)):
        storage = cv2.FileStorage(str(tmp_path / f"{file}.yml"), cv2.FILE_STORAGE_WRITE)
        for key, value in values.items():
            storage.write(key, value)
        storage.release()
    found = read_calibration(tmp_path / "extrinsics.yml", scale=0.001)
    assert len(found) == 2 and any("twice the principal point" in note for note in found.notes)
    np.testing.assert_allclose(found.extrinsics[0], np.eye(3, 4), atol=1e-9)
    np.testing.assert_allclose(found.extrinsics[1], np.c_[between, shift], atol=1e-6)


def test_one_camera_of_opencvs_calibration_program(tmp_path):
    storage = cv2.FileStorage(str(tmp_path / "camera.yml"), cv2.FILE_STORAGE_WRITE)
    values = {"image_width": SIZE[0], "image_height": SIZE[1], "camera_matrix": K[0]}
    for key, value in (values | {"distortion_coefficients": DIST[0][:, None]}).items():
        storage.write(key, value)
    storage.release()
    found = read_calibration(tmp_path / "camera.yml")
    assert found.image_size(0) == SIZE and found.names == ("camera",)
    np.testing.assert_allclose(found.extrinsics[0], np.eye(3, 4))


def test_the_real_rig_is_that_of_the_stills(shared):
    """The stills' own intrinsics and extrinsics, written by others from the same calibration."""
    path = shared / "videos" / "single" / "Calib.qca.txt"
    if not path.is_file():
        pytest.skip("the videos are not here")
    found = read_calibration(path)
    for i in range(4):
        said = json.loads((shared / "photos" / f"p2s_balance_f000_cam{i + 1}.json").read_text())
        np.testing.assert_allclose(found.intrinsics(i), said["K"], atol=1e-3)
        np.testing.assert_allclose(found.distortion[i], said["dist"], atol=1e-6)
        np.testing.assert_allclose(found.extrinsics[i, :, :3], said["extrinsics"]["R"], atol=1e-6)
        np.testing.assert_allclose(1000 * found.extrinsics[i, :, 3], said["extrinsics"]["t_mm"], atol=1e-2)


HUGE = "%YAML:1.0\n---\nK: !!opencv-matrix\n   rows: 900000\n   cols: 900000\n   dt: d\n   data: [ 1. ]\n"

BOMB = """<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>
<calibration><cameras><camera serial="&b;"/></cameras></calibration>"""


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.qca.txt", BOMB, "which are not read"),
        ("a.qca.txt", "<calibration><cameras/></calibration>", "expected <calibration><cameras><camera"),
        ("a.qca.txt", "<cameras><camera serial='A'/></cameras>", "camera 'A' has no <transform>"),
        ("a.qca.txt", "no xml", "is no XML"),
        ("a.toml", "[cam]\nmatrix = [[1,0,0],[0,1,0],[0,0,1]]", r"\[cam\] has no size"),
        ("a.toml", "x = 1", "expected tables such as"),
        ("a.toml", "x = = 1", "is no TOML"),
        ("a.yml", "%YAML:1.0\n---\nfoo: 1\n", "expected camera_matrix"),
        ("a.yml", HUGE, "but has 1"),
        ("a.yml", "{{{", "FileStorage|holds no camera"),
        ("a.mp4", "", "no calibration that is read"),
    ],
)
def test_errors_say_what_was_expected(name, text, said, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        read_calibration(tmp_path / name)


def test_a_mirrored_camera_and_a_fisheye_are_refused(tmp_path):
    text = pose2sim(tmp_path).read_text()
    (tmp_path / "b.toml").write_text(text.replace("fisheye = false", "fisheye = true", 1))
    with pytest.raises(ValueError, match="fisheye lens"):
        read_calibration(tmp_path / "b.toml")
    text = qualisys(tmp_path).read_text()
    (tmp_path / "b.qca.txt").write_text(text.replace('r33="', 'r33="-'))
    with pytest.raises(ValueError, match="'cam01': the rotation is none"):
        read_calibration(tmp_path / "b.qca.txt")


def test_large_files_obey_the_budget(tmp_path):
    path = qualisys(tmp_path)
    path.write_text(path.read_text() + " " * 2_000_000)
    with file_limits(gigabytes=0.01), pytest.raises(ValueError, match="GB"):
        read_calibration(path)


def test_cameras_are_chosen_by_name(tmp_path):
    found = read_calibration(qualisys(tmp_path))
    two = found.select(["cam03", 0])
    assert isinstance(two, CameraCalibration) and two.names == ("cam03", "cam01")
    np.testing.assert_array_equal(two.extrinsics[1], found.extrinsics[0])
    with pytest.raises(ValueError, match="Did you mean 'cam02'"):
        found.select(["camera02"])
    assert undistort_points([[1.0, 2.0]], K[0], np.zeros(4)).shape == (1, 2)

"""BVH and .smpl files, and the table of formats: read back by our reader, and by what the formats' owners ask for."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import moving_people
from helpers.synthetic_body import synthetic_body, synthetic_hand, synthetic_smplh, synthetic_smplx
from scipy.spatial.transform import Rotation

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.export.bvh import smooth_euler
from hmrfit.export.motion_files import MOTION_FILES, write_motion
from hmrfit.export.person_motion import PersonMotion, frame_times
from hmrfit.motion import read_motion
from hmrfit.motion.bvh import parse_bvh
from hmrfit.ops.rotation import rotvec_to_matrix

T = 6


@pytest.fixture(scope="module")
def body() -> SmplBody:
    return load_body("free_body")


def walk(body: SmplBody, **options: object) -> PersonMotion:
    """All joints moving, fingers too, at 30 frames a second."""
    return moving_people.walk(body, 0, T, options.pop("fps", 30.0), **options)


@pytest.mark.parametrize("options", [{}, {"unit": "cm"}, {"order": "XYZ"}, {"on_floor": True}])
def test_bvh_is_read_back(tmp_path: Path, body: SmplBody, options: dict) -> None:
    """By our own reader to the last digit that is written; joints by the file's own skeleton, too."""
    person = walk(body, fps=29.97)
    write_motion(tmp_path / "walk.bvh", person, **options)
    read, world = read_motion(tmp_path / "walk.bvh"), person.in_world()
    turns = rotvec_to_matrix(torch.tensor(read.poses))
    torch.testing.assert_close(turns, world.rotations, rtol=0, atol=1e-6)
    assert read.fps == pytest.approx(29.97, abs=1e-6) and read.source == "smpl" and read.driven.all()
    joints = body(world, vertices=False).joints.numpy()
    lowest = read.transl[0, 1] - joints[0, 0, 1] if options.get("on_floor") else 0.0
    np.testing.assert_allclose(read.transl, joints[:, 0] + (0, lowest, 0), atol=2e-7)
    if options.get("on_floor"):
        assert abs(moving_people.without_correctives(body)(world).vertices[..., 1].min() + lowest) < 1e-6
    file = parse_bvh((tmp_path / "walk.bvh").read_text())
    order = [file.names.index(name) for name in body.joint_names]
    shift, scale = np.array([0, lowest, 0]), 100 if options.get("unit") == "cm" else 1
    np.testing.assert_allclose(file.joint_positions()[:, order] / scale, shift + joints, atol=2e-6)


def test_every_last_joint_of_a_bvh_has_an_end_as_far_as_the_body_goes(tmp_path: Path, body: SmplBody) -> None:
    write_motion(tmp_path / "walk.bvh", replace(walk(body), params=body.neutral(), times=None))
    lines = (tmp_path / "walk.bvh").read_text().splitlines()
    ends = {
        lines[i - 4].split()[-1]: np.array(lines[i + 2].split()[1:], float)
        for i, l in enumerate(lines)
        if "End Site" in l
    }
    lengths = {name: np.linalg.norm(end) for name, end in ends.items()}
    assert set(lengths) == {"left_foot", "right_foot", "head", "left_hand", "right_hand"}
    assert 0.15 < lengths["head"] < 0.3 and 0.03 < lengths["left_foot"] < 0.12 and 0.05 < lengths["right_hand"] < 0.2
    assert lengths["left_hand"] == pytest.approx(lengths["right_hand"], abs=1e-3)


@pytest.mark.parametrize("make", [synthetic_smplh, synthetic_smplx, synthetic_hand])
def test_bvh_of_bodies_with_fingers(tmp_path: Path, make: Callable) -> None:
    body = SmplBody(make())
    person = walk(body)
    write_motion(tmp_path / "x.bvh", person)
    file = parse_bvh((tmp_path / "x.bvh").read_text())
    order = [file.names.index(name) for name in body.joint_names]
    joints = body(person.in_world(), vertices=False).joints
    np.testing.assert_allclose(file.joint_positions()[:, order], joints, atol=5e-6)


def test_euler_angles_follow_each_other_through_the_pole_and_around() -> None:
    """A knee bent from 0 to 150 degrees and a body that turns twice: no jump, in an order whose middle angle these
    pass ±90 degrees with."""
    bend, spin = np.linspace(0, 150, 40), np.linspace(0, 720, 40)
    R = np.stack(
        [
            Rotation.from_rotvec(np.outer(np.radians(a), axis)).as_matrix()
            for a, axis in ((bend, [1, 0, 0]), (spin, [0, 1, 0]))
        ],
        1,
    )
    angles = smooth_euler(R, "ZXY")
    np.testing.assert_allclose(angles[:, 0], np.stack([0 * bend, bend, 0 * bend], 1), atol=1e-6)
    np.testing.assert_allclose(angles[:, 1], np.stack([0 * spin, 0 * spin, spin], 1), atol=1e-6)


def test_formats_without_times_fill_gaps(tmp_path: Path, body: SmplBody) -> None:
    person = walk(body, times=np.array([0, 1, 2, 5, 6, 7]) / 30)
    for suffix in (".bvh", ".npz"):
        write_motion(tmp_path / f"walk{suffix}", person)
        assert len(read_motion(tmp_path / f"walk{suffix}")) == 8
    with np.load(write_and(tmp_path / "walk.smpl", person)) as data:
        assert data["frameCount"] == 8


def write_and(path: Path, person: PersonMotion) -> Path:
    write_motion(path, person)
    return path


@pytest.mark.parametrize(
    ("make", "version", "parts"),
    [
        (synthetic_body, 0, {"bodyPose": 24}),
        (synthetic_smplh, 1, {"bodyPose": 22, "leftHandPose": 15, "rightHandPose": 15}),
        (synthetic_smplx, 2, {"bodyPose": 22, "headPose": 3, "leftHandPose": 15, "rightHandPose": 15}),
    ],
)
def test_smpl_files_have_the_codecs_arrays(tmp_path: Path, make: Callable, version: int, parts: dict) -> None:
    person = walk(SmplBody(make()), gender="female")
    with np.load(write_and(tmp_path / "walk.smpl", person)) as data:
        assert {name: data[name].shape for name in data if name.endswith("Pose")} == {
            name: (T, count, 3) for name, count in parts.items()
        }
        assert (data["codecVersion"], data["smplVersion"], data["gender"], data["frameCount"]) == (2, version, 2, T)
        rotvecs = np.concatenate([data[name] for name in parts], 1)
        world = torch.cat(person.in_world().to_rotvecs(), 1).unflatten(1, (-1, 3))
        np.testing.assert_allclose(rotvecs, world, atol=1e-6)
        known = {
            "codecVersion",
            "smplVersion",
            "gender",
            "frameCount",
            "frameRate",
            "shapeParameters",
            "bodyTranslation",
        }
        assert set(data) == known | set(parts)  # its reader refuses others


def test_a_wrong_suffix_is_answered_with_all_and_a_wrong_option_with_its_format(tmp_path: Path, body: SmplBody) -> None:
    person = walk(body)
    with pytest.raises(ValueError, match=r"\.npz \(AMASS\), \.glb.*\.bvh.*\.smpl.*'.*walk\.fbx' ends otherwise"):
        write_motion(tmp_path / "walk.fbx", person)
    with pytest.raises(ValueError, match=r"columns= is an option of \.npz; \.glb takes influences="):
        write_motion(tmp_path / "walk.glb", person, columns=72)
    with pytest.raises(ValueError, match="There is no option colour="):
        write_motion(tmp_path / "walk.bvh", person, colour="red")
    with pytest.raises(ValueError, match="unit should be m or cm"):
        write_motion(tmp_path / "walk.bvh", person, unit="inch")
    with pytest.raises(ValueError, match="order should be one of"):
        write_motion(tmp_path / "walk.bvh", person, order="ZXZ")
    assert not list(tmp_path.iterdir())
    hand = walk(SmplBody(synthetic_hand()))
    with pytest.raises(ValueError, match="hold those of SMPL"):
        write_motion(tmp_path / "hand.smpl", hand)


@pytest.mark.parametrize("suffix", MOTION_FILES)
def test_one_frame_many_frames_any_shape_any_name(tmp_path: Path, body: SmplBody, suffix: str) -> None:
    """One frame; betas of 0 and of 5; names and folders in any script; capitals in the suffix."""
    person = walk(body)
    for k, betas in enumerate((torch.zeros(1, 10), torch.full((1, 10), 5.0), torch.full((1, 10), -5.0))):
        one = replace(person.params[0], betas=betas.double())
        path = tmp_path / "Läufer 走る" / f"{k} Größe{suffix.upper()}"
        write_motion(path, replace(person, params=one, times=None, name='Zoë 走る "q"'), on_floor=True)
        assert path.stat().st_size > 500


def test_times_of_frames_by_their_numbers() -> None:
    np.testing.assert_allclose(frame_times(list("0123"), 10), [0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(frame_times(["7", "8", "11", "12"], 10), [0.7, 0.8, 1.1, 1.2])
    np.testing.assert_allclose(frame_times(["4", "6", "8"], 5), [0.4, 0.6, 0.8])  # every second one, at half the rate
    np.testing.assert_allclose(frame_times(["3", "2", "1"], 10), [0, 0.1, 0.2])  # backwards
    np.testing.assert_allclose(frame_times(["a", "b"], 10), [0, 0.1])

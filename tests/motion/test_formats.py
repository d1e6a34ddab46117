"""AMASS npz, exponential maps, DeepMimic, GLB: known answers, and error messages for what is damaged or hostile."""

import io
import pickle
import zipfile
from contextlib import suppress

import numpy as np
import pytest
from helpers.motion_files import animated_glb, cmu_bvh, cmu_expmap, deepmimic, glb
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hmrfit.body.skeleton import SMPL
from hmrfit.keypoints import SMPL24
from hmrfit.motion import read_motion, read_motions
from hmrfit.motion.deepmimic import motion_from_deepmimic
from hmrfit.motion.glb import RIGS, align, motions_from_glb
from hmrfit.motion.read import motions_from_bytes
from hmrfit.motion.rest import driven_mask, ideal_from_local, turn


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


# AMASS


@pytest.mark.parametrize(("width", "known"), [(72, 24), (156, 22), (165, 22)])
@pytest.mark.parametrize("rate", ["mocap_framerate", "mocap_frame_rate"])
def test_amass_layouts(rng, width, known, rate):
    poses, trans = 0.3 * rng.normal(size=(6, width)), rng.normal(size=(6, 3))
    data = npz(poses=poses, trans=trans, betas=rng.normal(size=16), gender=np.array("female"), **{rate: 120.0})
    motion = motions_from_bytes(data, "a")[0]
    assert np.allclose(motion.poses[:, :known].reshape(6, -1), poses[:, : 3 * known])
    assert not motion.poses[:, known:].any() and motion.driven.sum(1).tolist() == [known] * 6
    assert np.allclose(motion.transl, trans) and motion.fps == 120 and motion.betas.shape == (16,)


def test_amass_turned_upright():
    """z up, facing -y, head up: G carries the body's y to the world's z. With y up that is no turn at all."""
    upright = Rotation.from_euler("x", 90, degrees=True)
    poses = np.tile(np.concatenate([upright.as_rotvec(), np.zeros(69)]), (3, 1))
    motion = motions_from_bytes(npz(poses=poses, trans=np.array([[1.0, 2.0, 0.9]] * 3), fps=30))[0]
    assert motion.up == "z" and motion.y_up().up == "y" and motion.y_up().y_up().up == "y"
    assert np.allclose(motion.y_up().poses, 0) and np.allclose(motion.y_up().transl, [1.0, 0.9, -2.0])


def test_amass_smplx_columns(rng):
    parts = {"root_orient": rng.normal(size=(4, 3)), "pose_body": rng.normal(size=(4, 63))}
    motion = motions_from_bytes(npz(**parts, mocap_frame_rate=30.0))[0]
    assert np.allclose(motion.poses[:, 0], parts["root_orient"])
    assert np.allclose(motion.poses[:, 1:22].reshape(4, 63), parts["pose_body"])


class _Bomb:
    def __reduce__(self):
        return print, ("this must never run",)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"betas": np.zeros(10)}, "no 'poses'"),
        ({"poses": np.zeros((3, 72))}, "no frame rate"),
        ({"poses": np.zeros((3, 99)), "fps": 30}, r"expected \(T, 72\)"),
        ({"poses": np.full((3, 72), np.nan), "fps": 30}, "NaN"),
        ({"poses": np.zeros((0, 72)), "fps": 30}, "no frames"),
        ({"poses": np.zeros((3, 72)), "trans": np.zeros((2, 3)), "fps": 30}, "transl has shape"),
        ({"poses": np.zeros((3, 72)), "fps": 0.0, "mocap_framerate": -1.0}, "frame rate of"),
        ({"poses": np.array([_Bomb()], dtype=object), "fps": 30}, "never unpickled"),
    ],
)
def test_damaged_amass_files(arrays, message, capsys):
    with pytest.raises(ValueError, match=message):
        motions_from_bytes(npz(**arrays))
    assert "never run" not in capsys.readouterr().out


def test_truncated_and_false_npz(rng):
    data = npz(poses=rng.normal(size=(50, 72)), fps=30.0)
    for broken in (data[: len(data) // 2], data[:30], b"PK\x03\x04"):
        with pytest.raises(ValueError, match="AMASS npz: the file is damaged or cut off"):
            motions_from_bytes(broken)


def test_pickle_inside_npz_is_refused(capsys):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("poses.npy", pickle.dumps(_Bomb()))
    with pytest.raises(ValueError):
        motions_from_bytes(buffer.getvalue())
    assert "never run" not in capsys.readouterr().out


# Exponential maps


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda t: t.rsplit(",", 3)[0], "117 comma-separated columns"),
        (lambda t: t.replace("17", "seventeen"), "Exponential-map"),
        (lambda t: t.replace("17,", "inf,"), "NaN or infinite"),
        (lambda t: t.splitlines()[0], "first 1 are no motion"),
    ],
)
def test_damaged_exponential_maps(damage, message):
    with pytest.raises(ValueError, match=message):
        motions_from_bytes(damage(cmu_expmap([{}])).encode())


# DeepMimic


def quaternion(axis: str, degrees: float) -> list[float]:
    """w x y z."""
    return Rotation.from_euler(axis, degrees, degrees=True).as_quat()[[3, 0, 1, 2]].tolist()


def test_deepmimic_signs():
    """Its world: facing +x, right at +z. Flexed knees are negative, flexed elbows positive, about local +z."""
    frame = {"right_knee": [-0.9], "left_knee": [-0.5], "right_elbow": [1.1], "left_elbow": [0.7]}
    frame |= {"position": [2.0, 0.8, 0.3], "left_hip": quaternion("z", 40), "chest": quaternion("z", -30)}
    motion = motion_from_deepmimic(deepmimic([frame] * 3, dt=0.04))
    pose = {name: motion.poses[0, j] for j, name in enumerate(SMPL24)}
    bend_leg, bend_arm = np.radians(5.5), np.radians(4.5)
    assert np.allclose(pose["right_knee"], [0.9 - bend_leg, 0, 0], atol=1e-6)
    assert np.allclose(pose["left_elbow"], [0, -0.7 + bend_arm, 0], atol=1e-6)
    assert np.allclose(pose["right_elbow"], [0, 1.1 - bend_arm, 0], atol=1e-6)
    assert np.allclose(pose["left_hip"], [-np.radians(40), 0, 0], atol=1e-6)  # the thigh comes forward
    for spine in ("spine1", "spine2", "spine3"):
        assert np.allclose(pose[spine], [np.radians(10), 0, 0], atol=1e-6)  # bends forward in thirds
    hanging = ideal_from_local(motion.poses)[0, SMPL24.index("left_shoulder")] @ [1, 0, 0]
    assert hanging @ [0, -1, 0] > 0.8  # the left arm hangs, tilted by the chest
    assert np.allclose(motion.transl[0], [-0.3, 0.8, 2.0]) and np.isclose(motion.fps, 25)


def test_cmu_jump_repairs_undo_the_documented_faults(rng):
    """A CMU pose written as that source writes it: ankle in the spread frame, elbow axis without CMU's tilt."""
    to_world = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    ankle = Rotation.from_rotvec([0.3, -0.2, 0.25]).as_matrix()
    flexion, frame = 1.2, {}
    for side, sign in (("left", 1.0), ("right", -1.0)):
        written = turn("z", 20 * sign) @ ankle @ turn("z", -20 * sign)
        x, y, z, w = Rotation.from_matrix(to_world.T @ written @ to_world).as_quat()
        frame |= {f"{side}_ankle": [w, x, y, z], f"{side}_elbow": [flexion]}
    repaired = motion_from_deepmimic(deepmimic([frame]), cmu_jump=True)
    cmu_frame = {}
    for bone, sign in (("LeftForeArm", -1.0), ("RightForeArm", 1.0)):
        axis = sign * np.array([0, np.sqrt(0.75), -0.5])
        cmu_frame[bone] = tuple(Rotation.from_rotvec(flexion * axis).as_euler("ZYX", degrees=True))
    for bone, sign in (("LeftFoot", 1.0), ("RightFoot", -1.0)):
        turned = turn("z", 20 * sign) @ ankle @ turn("z", -20 * sign)
        cmu_frame[bone] = tuple(Rotation.from_matrix(turned).as_euler("ZYX", degrees=True))
    for side, sign in (("Left", 1.0), ("Right", -1.0)):  # hanging arms, legs brought together
        cmu_frame[f"{side}Arm"], cmu_frame[f"{side}UpLeg"] = (-90 * sign, 0, 0), (-20 * sign, 0, 0)
    original = motions_from_bytes(cmu_bvh([cmu_frame]).encode())[0]
    for part in ("hip", "knee", "ankle", "shoulder", "elbow"):
        for side in ("left", "right"):
            j = SMPL24.index(f"{side}_{part}")
            assert np.allclose(repaired.poses[0, j], original.poses[0, j], atol=1e-6), SMPL24[j]
    trunk = driven_mask(("spine2", "spine3", "neck", "head"))
    assert not repaired.driven[:, trunk].any() and repaired.driven[0, SMPL24.index("spine1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Loop": "none"}', "expected JSON with 'Frames'"),
        ('{"Frames": []}', "rows of 44 numbers"),
        ('{"Frames": [[1, 2, 3]]}', "rows of 44 numbers"),
        ('{"Frames": 7}', "expected JSON"),
        ('{"Frames": [[', "expected JSON"),
        ('{"Frames":' + "[" * 100000, "DeepMimic"),
        (deepmimic([{"root": [0.0, 0.0, 0.0, 0.0]}]), "quaternion is zero"),
        (deepmimic([{"root": [float("nan")] * 4}]), "NaN"),
    ],
)
def test_damaged_deepmimic_files(text, message):
    with pytest.raises(ValueError, match=message):
        motions_from_bytes(text.encode())


# GLB


def skeleton_nodes(skeleton) -> list[dict]:
    """A stick figure in T-pose: thighs and arms not quite along the ideal directions, so that `align` has work."""
    names = skeleton.nodes()
    offsets = {"hip": (0.1, 0, 0), "knee": (0.02, -0.4, 0.01), "ankle": (0, -0.4, -0.03), "foot": (0, -0.05, 0.1)}
    offsets |= {"collar": (0.05, 0.1, 0), "shoulder": (0.1, 0, 0), "elbow": (0.3, 0, -0.02), "wrist": (0.25, 0, 0.01)}
    nodes = [{"name": names[joint]} for joint in SMPL24[:22]]
    for j, joint in enumerate(SMPL24[:22]):
        side, _, part = joint.rpartition("_")
        offset = np.array(offsets.get(part, (0, 0.12, 0))) * ([-1, 1, 1] if side == "right" else [1, 1, 1])
        nodes[j]["translation"] = [float(v) for v in offset]
        if j:
            nodes[SMPL.parents[j]].setdefault("children", []).append(j)
    return nodes


def test_glb_clip_turns_what_it_says():
    """An elbow keyed from straight to 90 degrees in one second, LINEAR: half way it is at 45; the rest clip is rest."""
    skeleton = RIGS[0]
    j = SMPL24.index("left_elbow")
    bent = Rotation.from_euler("y", -90, degrees=True).as_quat().tolist()
    clips = {skeleton.rest_clip: {0: [(0.0, [0, 0, 0, 1])]}, "bend": {j: [(0.0, [0, 0, 0, 1]), (1.0, bent)]}}
    (motion,) = motions_from_glb(animated_glb(skeleton_nodes(skeleton), clips))
    assert motion.name == "bend" and len(motion) == 31 and motion.fps == 30
    assert np.array_equal(motion.driven[0], driven_mask(["left_elbow"]) | motion.driven[0])
    assert not motion.driven[0, SMPL24.index("left_collar")]  # never keyed
    ideal = ideal_from_local(motion.poses)
    turned = ideal[15, j] @ ideal[0, j].T
    assert np.allclose(turned, turn("y", -45), atol=1e-5)  # float32 quaternions
    forearm = ideal[0, j] @ [1, 0, 0]
    assert np.allclose(forearm, np.array([0.25, 0, 0.01]) / np.hypot(0.25, 0.01), atol=1e-6)


def test_glb_steps_hold_their_value():
    skeleton = RIGS[1]
    j = SMPL24.index("right_knee")
    bent = Rotation.from_euler("x", 90, degrees=True).as_quat().tolist()
    clips = {skeleton.rest_clip: {0: [(0.0, [0, 0, 0, 1])]}, "bend": {j: [(0.0, [0, 0, 0, 1]), (1.0, bent)]}}
    (motion,) = motions_from_glb(animated_glb(skeleton_nodes(skeleton), clips, "STEP"))
    flexion = np.degrees(motion.poses[:, j, 0])
    assert np.ptp(flexion[:30]) < 1e-4 and np.isclose(flexion[30] - flexion[29], 90, atol=0.2)


def simple_glb(**changes: object) -> bytes:
    content = {"nodes": [{"name": "a"}], "animations": [{"name": "x", "samplers": [], "channels": []}]}
    return glb(content | changes, b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (simple_glb(), "unknown skeleton"),
        (simple_glb(nodes=[{"children": [0]}]), "loop"),
        (simple_glb(nodes=[{"children": [5]}]), "does not exist"),
        (simple_glb(nodes=7), "cannot be read"),
        (simple_glb()[:25], "Truncated"),
        (b"glTF" + bytes(40), "version 0"),
    ],
)
def test_damaged_glb_files(data, message):
    with pytest.raises(ValueError, match=message):
        motions_from_bytes(data)


@given(at=st.integers(20, 3000), value=st.integers(0, 255))
def test_glb_damage_is_a_value_error(at, value):
    """One byte changed anywhere: motions or a ValueError, nothing else."""
    skeleton = RIGS[0]
    clips = {skeleton.rest_clip: {0: [(0.0, [0, 0, 0, 1])]}, "c": {3: [(0.0, [0, 0, 0, 1]), (0.1, [0, 0, 1, 0])]}}
    data = bytearray(animated_glb(skeleton_nodes(skeleton), clips))
    data[at % len(data)] = value
    with suppress(ValueError), np.errstate(all="ignore"):
        motions_from_glb(bytes(data))


@given(seed=st.integers(0, 10**6))
def test_align_carries_one_direction_to_the_other(seed):
    a, b = np.random.default_rng(seed).normal(size=(2, 3))
    for target in (b, a, -a):
        carried = align(a, target) @ a / np.linalg.norm(a)
        assert np.allclose(carried, target / np.linalg.norm(target), atol=1e-9)


# Dispatch


def test_files_are_recognised_by_their_contents(tmp_path, rng):
    files = {
        "a.bvh": cmu_bvh([{}]).encode(),
        "b.txt": cmu_expmap([{}]).encode(),
        "c.txt": deepmimic([{}]).encode(),
        "d.npz": npz(poses=np.zeros((2, 156)), mocap_framerate=60.0),
    }
    sources = {"a": "cmu_motionbuilder", "b": "cmu_expmap", "c": "deepmimic", "d": "amass_smplh"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        motion = read_motion(tmp_path / name)
        assert motion.source == sources[motion.name] and motion.name == name[0]
    assert read_motion(tmp_path / "c.txt", dialect="cmu_jump").source == "cmu_jump"


def test_several_clips_ask_for_one(tmp_path):
    skeleton = RIGS[0]
    keys = {0: [(0.0, [0, 0, 0, 1]), (0.2, [0, 0, 1, 0])]}
    path = tmp_path / "a.glb"
    path.write_bytes(animated_glb(skeleton_nodes(skeleton), {skeleton.rest_clip: keys, "Walk": keys, "Run": keys}))
    assert [m.name for m in read_motions(path)] == ["Walk", "Run"]
    assert read_motion(path, clips=["Run"]).name == "Run"
    with pytest.raises(ValueError, match="2 clips"):
        read_motion(path)
    with pytest.raises(ValueError, match="no clip 'Jump'"):
        read_motion(path, clips=["Jump"])


def test_an_option_that_the_format_does_not_take_is_refused():
    for data, option, words in (
        (npz(poses=np.zeros((3, 72)), fps=30.0), {"skip": 1}, "AMASS npz takes fps, not skip="),
        (b"glTF", {"fps": 30.0}, "GLB takes clips, not fps="),
        (b'{"Frames": []}', {"fps": 30.0}, "DeepMimic text takes no options, not fps="),
    ):
        with pytest.raises(ValueError, match=words):
            motions_from_bytes(data, **option)


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"hello", b"\x80\x04K\x01."])
def test_unknown_bytes_are_an_error_that_names_the_path(tmp_path, data):
    path = tmp_path / "x.dat"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"x\.dat.*no known motion"):
        read_motion(path)
    with pytest.raises(FileNotFoundError, match="no motion file"):
        read_motion(tmp_path / "absent.bvh")

"""The readers on real recordings, which are not part of the repository: the figures of the reference page."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from helpers.asf_amc import bone_directions, read_amc

from hmrfit.keypoints import SMPL24
from hmrfit.motion import Motion, load_frames, read_folder, read_pool, split
from hmrfit.motion.bvh import motion_from_bvh, parse_bvh
from hmrfit.motion.cmu import motion_from_expmap
from hmrfit.motion.deepmimic import WORLD, bone_rotations, motion_from_deepmimic, parse_deepmimic
from hmrfit.motion.glb import FPS, RIGS, clip_times, global_transforms, motions_from_glb, parse_glb
from hmrfit.motion.pool import read_archive, split_lists
from hmrfit.motion.rest import ideal_from_local

IDEAL = {"hip": (0.0, -1.0, 0.0), "knee": (0.0, -1.0, 0.0), "shoulder": (1.0, 0.0, 0.0), "elbow": (1.0, 0.0, 0.0)}
SIDES = (("left", 1.0), ("right", -1.0))
SMALL = ("animdraw_fair1", "deepmimic", "jump_extra")

WANTED = {
    "cmu_bvh": ["01_01.bvh", "03_01.bvh", "05_11.bvh", "05_20.bvh", "07_01.bvh", "09_01.bvh"],
    "verify": ["01.asf", "01_01.amc", "03.asf", "03_01.amc", "05_11_daz.bvh", "05_20_daz.bvh"],
    "cmu_expmap": ["test/running/running_1.txt", "test/walking/walking_1.txt"],
    "cmu_jump": ["13_13.txt", "127_03.txt", "16_40.txt", "43_02.txt", "85_02.txt"],
    "cmu_max_bvh": ["jumping_jacks.bvh"],
    "deepmimic": ["humanoid3d_walk.txt", "humanoid3d_run.txt", "humanoid3d_kick.txt"],
    "animdraw_fair1": ["dab.bvh"],
}


@pytest.fixture(scope="module")
def mocap(shared) -> Path:
    folder = shared / "mocap"
    if not (folder / "MANIFEST.json").is_file():
        pytest.skip(f"{folder} is not here: it holds the real motion, which is not part of hmrfit")
    return folder


@pytest.fixture(scope="module")
def files(mocap) -> dict[str, bytes]:
    """The few files that these tests look at, "archive/name" -> bytes, read straight from the archives."""
    found = {}
    for source, names in WANTED.items():
        wanted = {f"{source}/{name}" for name in names}
        with tarfile.open(mocap / f"{source}.tar.xz", "r|xz") as archive:
            for member in archive:
                if member.name in wanted:
                    found[member.name] = archive.extractfile(member).read()
                    wanted.discard(member.name)
                if not wanted:
                    break
        assert not wanted
    return found


def text(files: dict[str, bytes], name: str) -> str:
    return files[name].decode()


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between directions (..., 3); accurate near 0, unlike an arccos."""
    cross = np.linalg.norm(np.cross(a, b), axis=-1)
    return np.degrees(np.arctan2(cross, (a * b).sum(-1)))


def limb_directions(motion: Motion) -> dict[str, np.ndarray]:
    """Where thighs, shanks, upper arms and forearms point, (T, 3) each, from the SMPL rotations alone."""
    ideal = ideal_from_local(motion.poses)
    return {
        f"{side}_{part}": ideal[:, SMPL24.index(f"{side}_{part}")] @ (np.array(direction) * [sign, 1, 1])
        for side, sign in SIDES
        for part, direction in IDEAL.items()
    }


def test_golden_frame(files):
    """The inserted T-pose of any MotionBuilder file; the page rounds to 0.1 degree."""
    motion = motion_from_bvh(text(files, "cmu_bvh/07_01.bvh"), skip=0)
    expected = {"left_hip": (0, 0, -1), "right_hip": (0, 0, 1), "neck": (2, 0, 0), "head": (2, 0, 0)}
    for side, sign in SIDES:
        expected |= {f"{side}_knee": (-5.5, 0, 0), f"{side}_ankle": (5.5, 0, 0), f"{side}_elbow": (0, 4.5 * sign, 0)}
        expected |= {f"{side}_shoulder": (-30.3, -3.3 * sign, -6.4 * sign), f"{side}_wrist": (30, sign, -0.3 * sign)}
    for j, name in enumerate(SMPL24):
        assert np.allclose(np.degrees(motion.poses[0, j]), expected.get(name, (0, 0, 0)), atol=0.06), name


@pytest.mark.parametrize("trial", ["01_01", "03_01"])
def test_bvh_against_the_original_asf_amc(files, trial):
    """Independent kinematics of the CMU originals. Page: at most 0.07 degrees (one skeleton's forearm is not on x)."""
    motion = motion_from_bvh(text(files, f"cmu_bvh/{trial}.bvh"))
    asf, frames = text(files, f"verify/{trial[:2]}.asf"), read_amc(text(files, f"verify/{trial}.amc"))
    assert len(frames) == len(motion)
    ours = limb_directions(motion)
    bones = {"hip": "femur", "knee": "tibia", "shoulder": "humerus", "elbow": "radius"}
    for t in range(0, len(motion), 97):
        original = bone_directions(asf, frames[t])
        for name, directions in ours.items():
            side, part = name.split("_")
            assert angle(directions[t], original[side[0] + bones[part]]) < 0.1, (name, t)


@pytest.mark.parametrize(
    ("name", "skip", "pairs"),
    [
        (
            "cmu_bvh/05_20.bvh",
            1,
            {
                "hip": ("UpLeg", "Leg"),
                "knee": ("Leg", "Foot"),
                "shoulder": ("Arm", "ForeArm"),
                "elbow": ("ForeArm", "Hand"),
            },
        ),
        (
            "cmu_max_bvh/jumping_jacks.bvh",
            0,
            {
                "hip": ("Hip", "Knee"),
                "knee": ("Knee", "Ankle"),
                "shoulder": ("Shoulder", "Elbow"),
                "elbow": ("Elbow", "Wrist"),
            },
        ),
        (
            "animdraw_fair1/dab.bvh",
            1,
            {
                "hip": ("UpLeg", "Leg"),
                "knee": ("Leg", "Foot"),
                "shoulder": ("Arm", "ForeArm"),
                "elbow": ("ForeArm", "Hand"),
            },
        ),
    ],
)
def test_limbs_against_the_files_own_kinematics(files, name, skip, pairs):
    """Joint positions by the file's own offsets; fair1 has z up, (x, y, z) -> (x, z, -y)."""
    bvh, motion = parse_bvh(text(files, name)), motion_from_bvh(text(files, name))
    positions = bvh.joint_positions()[skip:]
    if "fair1" in name:
        positions = np.stack([positions[..., 0], positions[..., 2], -positions[..., 1]], axis=-1)
    for limb, directions in limb_directions(motion).items():
        side, part = limb.split("_")
        start, end = (bvh.names.index(side.capitalize() + bone) for bone in pairs[part])
        assert angle(directions, positions[:, end] - positions[:, start]).max() < 0.1, limb


@pytest.mark.parametrize(
    ("trial", "medians"),
    [
        ("05_20", {"hip": 1.6, "knee": 1.7, "shoulder": 0.8, "elbow": 0.9}),
        ("05_11", {"hip": 2.2, "knee": 3.8, "shoulder": 2.2, "elbow": 2.2}),
    ],
)
def test_daz_twins(files, trial, medians):
    """The same trial in DAZ's retarget, frame i of one being frame i of the other: the page's medians, rounded up."""
    one = motion_from_bvh(text(files, f"cmu_bvh/{trial}.bvh"), skip=3)
    other = motion_from_bvh(text(files, f"verify/{trial}_daz.bvh"), skip=3)
    n = min(len(one), len(other))
    ours, twin = limb_directions(one[:n]), limb_directions(other[:n])
    for part, median in medians.items():
        apart = np.concatenate([angle(ours[f"{side}_{part}"], twin[f"{side}_{part}"]) for side, _ in SIDES])
        assert np.median(apart) < median, part


def test_deepmimic_limbs_are_its_own(files):
    for name in ("humanoid3d_walk", "humanoid3d_kick"):
        apart = _against_own_kinematics(text(files, f"deepmimic/{name}.txt"), cmu_jump=False)
        assert max(a.max() for a in apart.values()) < 0.01


def test_cmu_jump_forearms_leave_its_wrong_kinematics(files):
    """The repair turns forearms by up to 30 degrees (page: mean 21.5, max 30.0 over all); the rest stays exactly."""
    forearms = []
    for name in WANTED["cmu_jump"]:
        apart = _against_own_kinematics(text(files, f"cmu_jump/{name}"), cmu_jump=True)
        forearms.append(apart.pop("elbow"))
        assert max(a.max() for a in apart.values()) < 0.01, name
    forearms = np.concatenate(forearms)
    assert 15 < forearms.mean() < 25 and 29.9 < forearms.max() < 30.01


def _against_own_kinematics(content: str, cmu_jump: bool) -> dict[str, np.ndarray]:
    ours = limb_directions(motion_from_deepmimic(content, cmu_jump=cmu_jump))
    bones, apart = bone_rotations(parse_deepmimic(content)), {part: [] for part in IDEAL}
    for limb, directions in ours.items():
        down = (WORLD @ bones[limb])[..., 1] * -1.0
        apart[limb.split("_")[1]].append(angle(directions, down))
    return {part: np.concatenate(values) for part, values in apart.items()}


def test_people_walk_forwards(files):
    """Mean cosine of velocity and facing in walks and runs. Page: 0.96, 0.91, 0.985, 0.90 over all of each source."""
    motions = [motion_from_bvh(text(files, f"cmu_bvh/{name}.bvh")) for name in ("07_01", "09_01")]
    motions += [motion_from_expmap(text(files, f"cmu_expmap/{name}")) for name in WANTED["cmu_expmap"]]
    motions += [motion_from_deepmimic(text(files, f"deepmimic/humanoid3d_{name}.txt")) for name in ("walk", "run")]
    motions += [
        motion_from_deepmimic(text(files, f"cmu_jump/{name}.txt"), cmu_jump=True) for name in ("16_40", "127_03")
    ]
    for motion in motions:
        step = max(1, round(motion.fps / 15))
        velocity = np.diff(motion.transl[::step, [0, 2]], axis=0)
        facing = ideal_from_local(motion.poses[::step])[:-1, 0][:, [0, 2], 2]
        moving = np.linalg.norm(velocity, axis=1) * 15 > 0.3
        cosine = (velocity * facing).sum(1) / np.linalg.norm(velocity, axis=1) / np.linalg.norm(facing, axis=1)
        assert cosine[moving].mean() > 0.85, motion.source


def test_people_have_human_size(files):
    """The pelvis of a walking person is 0.75 to 1.1 m above the ground, in metres, in every source."""
    for motion in (
        motion_from_bvh(text(files, "cmu_bvh/07_01.bvh")),
        motion_from_expmap(text(files, "cmu_expmap/test/walking/walking_1.txt")),
        motion_from_deepmimic(text(files, "deepmimic/humanoid3d_walk.txt")),
        motion_from_bvh(text(files, "cmu_max_bvh/jumping_jacks.bvh")),
        motion_from_bvh(text(files, "animdraw_fair1/dab.bvh")),
    ):
        assert 0.75 < np.median(motion.transl[:, 1]) < 1.1, motion.source


def test_knees_and_elbows_bend_the_right_way(files):
    """Flexion is +x at the knees, -y at the left elbow, +y at the right one, in every source."""
    for motion in (
        motion_from_bvh(text(files, "cmu_bvh/09_01.bvh")),
        motion_from_bvh(text(files, "verify/05_20_daz.bvh"), skip=3),
        motion_from_bvh(text(files, "cmu_max_bvh/jumping_jacks.bvh")),
        motion_from_bvh(text(files, "animdraw_fair1/dab.bvh")),
        motion_from_expmap(text(files, "cmu_expmap/test/running/running_1.txt")),
        motion_from_deepmimic(text(files, "deepmimic/humanoid3d_run.txt")),
    ):
        for joint, axis, sign in (
            ("left_knee", 0, 1),
            ("right_knee", 0, 1),
            ("left_elbow", 1, -1),
            ("right_elbow", 1, 1),
        ):
            flexion = np.degrees(sign * motion.poses[:, SMPL24.index(joint), axis])
            assert np.median(flexion) > 0 and flexion.min() > -25, (motion.source, joint)


def test_glb_limbs_point_where_their_nodes_do(mocap):
    """Bone directions from the file's own node positions, the first clips of the base file."""
    name = "mesh2motion/human-base-animations.train.glb"
    with tarfile.open(mocap / "mesh2motion.tar.xz") as archive:
        data = archive.extractfile(name).read()
    gltf, nodes = parse_glb(data), RIGS[0].nodes()
    ends = {"hip": "knee", "knee": "ankle", "shoulder": "elbow", "elbow": "wrist"}
    clips = list(gltf.clips)[:6]
    for motion in motions_from_glb(data, clips):
        frames = global_transforms(gltf, motion.name, clip_times(gltf, motion.name, FPS))
        for limb, directions in limb_directions(motion).items():
            side, part = limb.split("_")
            bone = frames[nodes[f"{side}_{ends[part]}"]][1] - frames[nodes[limb]][1]
            assert angle(directions, bone).max() < 0.1, (motion.name, limb)


@pytest.fixture(scope="module")
def small_pool(mocap, tmp_path_factory) -> Path:
    """A folder like `mocap` with its smallest archives only."""
    folder = tmp_path_factory.mktemp("mocap")
    manifest = json.loads((mocap / "MANIFEST.json").read_text())
    (folder / "MANIFEST.json").write_text(json.dumps({source: manifest[source] for source in SMALL}))
    for source in SMALL:
        (folder / f"{source}.tar.xz").symlink_to(mocap / f"{source}.tar.xz")
    return folder


def test_pool_of_the_small_archives(small_pool, tmp_path):
    pool = read_pool(small_pool, cache=tmp_path / "pool.npz")
    assert {m.source for m in pool} == set(SMALL) and all(10 <= m.fps <= 24 for m in pool)
    again = read_pool(small_pool, cache=tmp_path / "pool.npz")
    assert [m.name for m in again] == [m.name for m in pool]
    for one, two in zip(pool, again, strict=True):
        assert np.array_equal(one.poses, two.poses) and np.array_equal(one.driven, two.driven)
    parts = {part: load_frames(pool, part) for part in ("train", "validation", "test")}
    assert "cartwheel" in parts["test"]["label"] and "cartwheel" not in parts["train"]["label"]
    assert sum(len(p["poses"]) for p in parts.values()) == sum(map(len, pool))


def test_manifest_rate_and_names_win(mocap):
    manifest = json.loads((mocap / "MANIFEST.json").read_text())
    motions = list(read_archive(mocap / "animdraw_fair1.tar.xz", manifest["animdraw_fair1"]))
    assert [m.name for m in motions] == ["fair1/dab", "fair1/jumping"] and motions[1].fps == 119.875


def test_split_names_exist_and_partners_stay_together(mocap):
    """Two recordings of one CMU trial, and the two dancers 60_xx and 61_xx, share a split."""
    manifest = json.loads((mocap / "MANIFEST.json").read_text())
    entries = [entry for part in manifest.values() for entry in part]
    names = {entry["id"] for entry in entries}
    assert all(name in names for part in split_lists().values() for name in part)
    together: dict[str, set[str]] = {}
    for entry in entries:
        if entry.get("cmu"):
            together.setdefault(entry["cmu"].replace("61_", "60_"), set()).add(split(entry["id"]))
    assert all(len(parts) == 1 for parts in together.values())


def test_whole_classes_are_held_out(mocap):
    manifest = json.loads((mocap / "MANIFEST.json").read_text())
    content = json.loads((Path(split.__code__.co_filename).parent / "split.json").read_text())
    for part in manifest.values():
        for entry in part:
            if entry["label"] in content["whole_classes_in_test"]:
                assert split(entry["id"]) == "test", entry["id"]


def test_missing_archives_are_named(tmp_path, mocap):
    (tmp_path / "MANIFEST.json").write_text((mocap / "MANIFEST.json").read_text())
    with pytest.raises(FileNotFoundError, match=r"cmu_bvh\.tar\.xz is missing"):
        next(read_folder(tmp_path))

"""Cleaning, thinning, duplicates, weights and splits, on motion made here."""

import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.motion_files import cmu_bvh
from scipy.spatial.transform import Rotation

from hmrfit.keypoints import SMPL24
from hmrfit.motion import Motion, load_frames, read_folder, read_pool, split
from hmrfit.motion.clean import CORE, broken_frames, clean, joint_speed, twist_about_y, unlike_frames
from hmrfit.motion.pool import SPLITS, class_weights, drop_duplicates, read_archive, split_lists, thin
from hmrfit.motion.rest import turn


def make(frames: int = 60, fps: float = 30.0, **joints: tuple[float, float, float]) -> Motion:
    """A motion that stands still, some joints held at the given degrees."""
    poses = np.zeros((frames, 24, 3))
    for name, degrees in joints.items():
        poses[:, SMPL24.index(name)] = np.radians(degrees)
    return Motion(poses, np.zeros((frames, 3)), fps, np.ones(24, bool), name="made", label="still")


def with_pulse(motion: Motion, joint: str, degrees: tuple[float, float, float], frames: slice) -> Motion:
    poses = motion.poses.copy()
    poses[frames, SMPL24.index(joint)] = np.radians(degrees)
    return Motion(poses, motion.transl, motion.fps, motion.driven, motion.name, motion.label)


@pytest.mark.parametrize(
    ("joint", "degrees"),
    [
        ("left_hip", (0, 95, 0)),
        ("right_ankle", (90, 0, 0)),
        ("left_knee", (-30, 0, 0)),
        ("right_knee", (175, 0, 0)),
        ("left_elbow", (0, 30, 0)),
        ("right_elbow", (0, -30, 0)),
        ("spine2", (125, 0, 0)),
        ("head", (0, 115, 0)),
        ("left_collar", (0, 0, 75)),
    ],
)
def test_impossible_joints_break_a_frame(joint, degrees):
    assert broken_frames(make(**{joint: degrees})).all()
    assert not broken_frames(make(**{joint: tuple(0.5 * np.array(degrees))})).any()


def test_flexed_elbows_and_knees_are_fine():
    flexed = make(left_elbow=(0, -140, 0), right_elbow=(0, 140, 0), left_knee=(140, 0, 0), right_hip=(-120, 0, 0))
    assert not broken_frames(flexed).any()


def test_a_jump_takes_its_neighbours_along():
    """60 degrees in one frame at 120 a second is 7200 degrees a second; two frames of padding on either side."""
    motion = with_pulse(make(fps=120.0), "left_hip", (60, 0, 0), slice(30, 32))
    bad = np.flatnonzero(broken_frames(motion))
    assert bad.tolist() == list(range(28, 35)) and len(clean(motion)) == 53
    assert not broken_frames(with_pulse(make(fps=120.0), "left_hip", (15, 0, 0), slice(30, 32))).any()


def test_stray_wrists_only_lose_themselves():
    motion = with_pulse(make(), "left_wrist", (130, 0, 0), slice(10, 20))
    cleaned = clean(motion)
    j = SMPL24.index("left_wrist")
    assert len(cleaned) == len(motion) and not cleaned.poses[:, j].any()
    assert not cleaned.driven[10:20, j].any() and cleaned.driven[:9, j].all() and cleaned.driven[:, j - 1].all()
    assert motion.driven.all() and motion.poses[15, j].any()  # the input is as it was


def test_nothing_left_is_none():
    assert clean(make(head=(0, 115, 0))) is None


def test_speed_by_hand():
    motion = make(frames=3, fps=10.0)
    motion.poses[2, 4] = np.radians([0, 0, 9])
    assert np.allclose(joint_speed(motion.poses, 10.0)[:, 4], [0, 0, 90])
    assert joint_speed(motion.poses[:1], 10.0).shape == (1, 24)


def test_twist_of_a_swung_thigh():
    """Twist 40 about the bone, then swing 70 forward: the twist is 40."""
    rotvec = Rotation.from_matrix(turn("x", -70) @ turn("y", 40)).as_rotvec()[None]
    assert np.allclose(twist_about_y(rotvec), 40)


def test_unlike_frames_against_the_slow_obvious_twin(rng):
    poses = np.repeat(0.5 * rng.normal(size=(12, 24, 3)), 5, axis=0) + 0.014 * rng.normal(size=(60, 24, 3))
    keep: list[int] = []
    for i in range(len(poses)):
        for j in keep:
            apart = Rotation.from_rotvec(poses[i, CORE]).inv() * Rotation.from_rotvec(poses[j, CORE])
            if np.sqrt((apart.magnitude() ** 2).mean()) < np.radians(2.0):
                break
        else:
            keep.append(i)
    assert np.flatnonzero(unlike_frames(poses)).tolist() == keep and 12 < len(keep) < 60


def test_standing_still_is_one_frame():
    assert unlike_frames(make().poses).tolist() == [True] + [False] * 59


def test_thinning_changes_the_rate_with_the_frames():
    thinned = thin(make(frames=120, fps=120.0))
    assert len(thinned) == 15 and thinned.fps == 15.0
    assert thin(make(fps=16.0)).fps == 16.0


def test_duplicates_count_within_a_split_only():
    name = sorted(split_lists()["test"])[0]
    pool = drop_duplicates([make(), replace(make(), name="other"), replace(make(), name=name)])
    assert [m.name for m in pool] == ["made", name] and [len(m) for m in pool] == [1, 1]


def test_weights_fall_with_the_root_of_the_class():
    weight = class_weights(np.array(["a"] * 100 + ["b"] * 4))
    assert np.isclose(weight.mean(), 1) and np.isclose(weight[-1] / weight[0], 5)


def test_split_is_by_name_and_lists_do_not_overlap():
    lists = split_lists()
    assert not lists["test"] & lists["validation"] and lists["test"] and lists["validation"]
    assert split("mb/06_02") == "test" and split("another/sequence") == "train"
    assert split(make()) == "train"


def test_splits_that_do_not_exist():
    with pytest.raises(ValueError, match="Unknown split 'tests'"):
        load_frames([make()], "tests")
    with pytest.raises(ValueError, match="no motion in the split 'test'"):
        load_frames([make()], "test")
    frames = load_frames([make(frames=4)], "all")
    assert frames["poses"].shape == (4, 24, 3) and set(frames) == {"poses", "driven", "label", "weight", "name"}


def walk(seed: int, frames: int = 40) -> bytes:
    """Legs that swing enough for frames to differ, no jump."""
    swing = 40 * np.sin(np.linspace(0, 6, frames))
    bones = {"LeftUpLeg": (-20, 0, 1), "RightUpLeg": (20, 0, -1)}
    turns = [{n: (z, 20.0 * seed, x * a) for n, (z, _, x) in bones.items()} for a in swing]
    return cmu_bvh(turns, 1 / 30).encode()


def test_any_folder_of_motion_is_a_pool(tmp_path):
    for seed, name in enumerate(("walk/one.bvh", "walk/two.bvh", "run/three.bvh")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(walk(seed))
    (tmp_path / "notes.md").write_text("not a motion")
    pool = read_pool(tmp_path)
    assert {m.name: m.label for m in pool} == {"run/three": "run", "walk/one": "walk", "walk/two": "walk"}
    frames = load_frames(pool, "train")
    assert len(frames["poses"]) == sum(map(len, pool)) > 20 and frames["driven"].any()


def test_folders_without_motion(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        list(read_folder(tmp_path / "absent"))
    with pytest.raises(FileNotFoundError, match="no motion files"):
        list(read_folder(tmp_path))
    (tmp_path / "bad.bvh").write_text("HIERARCHY")
    with pytest.raises(ValueError, match=r"bad\.bvh"):
        read_pool(tmp_path)


def test_the_cache_notices_other_files(tmp_path):
    folder, cache = tmp_path / "motion", tmp_path / "pool.npz"
    folder.mkdir()
    (folder / "one.bvh").write_bytes(walk(0))
    first = read_pool(folder, cache)
    assert np.array_equal(read_pool(folder, cache)[0].poses, first[0].poses)
    (folder / "two.bvh").write_bytes(walk(1))
    assert len(read_pool(folder, cache)) == 2
    cache.write_bytes(b"no cache at all")
    assert len(read_pool(folder, cache)) == 2


def archive_of(folder: Path, members: dict[str, bytes], entries: list[dict]) -> Path:
    path = folder / "mine.tar.xz"
    with tarfile.open(path, "w:xz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    (folder / "MANIFEST.json").write_text(json.dumps({"mine": entries}))
    return path


def test_archives_are_read_in_memory_by_the_manifest(tmp_path):
    """Only what the manifest lists is read, nothing is written, whatever names the archive holds."""
    entries = [{"file": "a.bvh", "id": "x/a", "label": "walk", "subject": "s", "native_fps": 60.0}]
    members = {"../../evil.bvh": walk(1), "/tmp/evil.bvh": walk(2), "mine/a.bvh": walk(0), "mine/b.bvh": b"junk"}
    archive_of(tmp_path, members, entries)
    (motion,) = read_folder(tmp_path)
    assert (motion.name, motion.label, motion.subject, motion.source, motion.fps) == ("x/a", "walk", "s", "mine", 60.0)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["MANIFEST.json", "mine.tar.xz"]


def test_truncated_archives(tmp_path):
    entries = [{"file": "a.bvh", "id": "x/a", "label": "walk", "native_fps": 60.0}]
    path = archive_of(tmp_path, {"mine/a.bvh": walk(0)}, entries)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match=r"mine\.tar\.xz cannot be read"):
        list(read_archive(path, entries))


def test_motion_checks_itself():
    for change, message in (
        ({"poses": np.zeros((3, 22, 3))}, "poses has shape"),
        ({"transl": np.zeros((3, 2))}, "transl has shape"),
        ({"transl": np.full((3, 3), np.inf)}, "NaN or infinite"),
        ({"fps": 0.0}, "frame rate of 0"),
        ({"driven": np.ones(22, bool)}, "driven has shape"),
    ):
        fields = {"poses": np.zeros((3, 24, 3)), "transl": np.zeros((3, 3)), "fps": 30.0, "driven": np.ones(24, bool)}
        with pytest.raises(ValueError, match=message):
            Motion(**fields | change)


def test_the_three_splits_are_all_there_is():
    assert set(SPLITS) == {"train", "validation", "test"}

"""SPIN's npz: what is written comes back, the half pixel is added once, and damaged files get error messages."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hmrfit.datasets.spin_npz import SpinDataset, damaged_rows, read_spin_npz, read_static_fits, write_spin_npz
from hmrfit.keypoints import OPENPOSE25, SPIN24


def dataset(count: int = 5) -> SpinDataset:
    """Every field filled."""
    rng = np.random.default_rng(1)

    def seen(rows: int, size: int) -> np.ndarray:
        return np.concatenate([rng.normal(100, 20, (count, rows, size)), rng.integers(0, 2, (count, rows, 1))], -1)

    names = np.array([f"images/im{i:04d}.jpg" for i in range(count)])
    return SpinDataset(
        imgname=names,
        center=rng.normal(100, 9, (count, 2)),
        scale=rng.uniform(0.5, 2, count),
        part=seen(24, 2),
        openpose=seen(25, 2),
        S=seen(24, 3),
        pose=rng.normal(0, 0.3, (count, 72)),
        shape=rng.normal(size=(count, 10)),
        has_smpl=np.array([1, 0, 1, 1, 0][:count], np.float64),
        gender=np.array(["m", "f", "m", "f", "f"][:count]),
        maskname=names,
        partname=names,
    )


def test_what_is_written_comes_back(tmp_path):
    before = dataset()
    write_spin_npz(tmp_path / "a.npz", before)
    after = read_spin_npz(tmp_path / "a.npz")
    assert after.known().keys() == before.known().keys()
    for name, value in before.known().items():
        np.testing.assert_array_equal(getattr(after, name), value)


def test_only_boxes_and_names_are_needed(tmp_path):
    np.savez(tmp_path / "a.npz", imgname=["a.jpg"], center=[[3, 4]], scale=[1], unheard_of=[7])
    read = read_spin_npz(tmp_path / "a.npz")
    assert read.known().keys() == {"imgname", "center", "scale"}
    assert not read.smpl_known().any() and not read.keypoints().confidence.any() and not read.joints()[1].any()
    assert (read.params().body_pose == torch.eye(3)).all()


def test_names_of_older_files_are_bytes(tmp_path):
    np.savez(tmp_path / "a.npz", imgname=np.array([b"a.jpg"]), center=[[3, 4]], scale=[1])
    assert read_spin_npz(tmp_path / "a.npz").imgname.tolist() == ["a.jpg"]


def test_rows_are_chosen_together():
    chosen = dataset()[np.array([3, 0])]
    np.testing.assert_array_equal(chosen.pose, dataset().pose[[3, 0]])
    assert chosen.gender.tolist() == ["f", "m"] and len(dataset()[2]) == 1


def test_without_flags_every_pose_counts_as_true():
    assert replace(dataset(), has_smpl=None).smpl_known().all()
    assert dataset().smpl_known().tolist() == [True, False, True, True, False]
    assert (dataset().params().betas[1] == 0).all()


def test_keypoints_are_ours_half_a_pixel_on():
    keypoints = dataset().keypoints()
    assert keypoints.names == OPENPOSE25 + SPIN24
    seen = torch.as_tensor(dataset().part[..., 2] > 0)
    np.testing.assert_allclose(keypoints.xy[:, 25:][seen], dataset().part[..., :2][seen] + 0.5)
    assert (keypoints.xy[:, 25:][~seen] == 0).all()


def test_the_box_is_two_hundred_times_the_scale():
    crop = replace(dataset(), scale=np.full(5, 1.5)).crop(0, 64)
    assert crop.side == 300 and crop.resolution == 64 and crop.center == tuple(dataset().center[0])


@pytest.mark.parametrize(
    "name, value", [("part", 2.5), ("S", np.inf), ("pose", np.nan), ("scale", -1.0), ("center", np.nan)]
)
def test_damaged_people_are_named(tmp_path, name, value):
    broken = dataset()
    array = getattr(broken, name).copy()
    array[2] = np.nan if name == "part" else value
    if name in ("part", "S"):
        array[2, :, -1] = 1
    broken = replace(broken, **{name: array})
    assert damaged_rows(broken)[name].nonzero()[0].tolist() == [2]
    with pytest.raises(ValueError, match=name):
        write_spin_npz(tmp_path / "a.npz", broken)
    assert not list(tmp_path.iterdir())
    np.savez(tmp_path / "a.npz", **broken.known())
    with pytest.raises(ValueError, match=f"`{name}` of 1, first row 2"):
        read_spin_npz(tmp_path / "a.npz")
    np.testing.assert_array_equal(
        read_spin_npz(tmp_path / "a.npz", drop_damaged=True).imgname, dataset().imgname[[0, 1, 3, 4]]
    )


def test_nan_that_is_never_read_is_no_damage():
    broken = dataset()
    part = np.where(broken.part[..., 2:] > 0, broken.part, np.array([np.nan, np.nan, 0]))
    pose = broken.pose.copy()
    pose[1] = np.nan  # has_smpl is 0
    quiet = replace(broken, part=part, pose=pose)
    assert not damaged_rows(quiet)
    assert quiet.keypoints().xy.isfinite().all() and quiet.params().rotations.isfinite().all()


def test_files_of_another_format(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileNotFoundError, match="dataset_extras"):
        read_spin_npz(path)
    write_spin_npz(path, dataset())
    whole = path.read_bytes()
    for end in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:end])
        with pytest.raises(ValueError, match="damaged"):
            read_spin_npz(path)
    np.savez(path, imgname=["a"], centre=[[1, 2]], scale=[1])
    with pytest.raises(ValueError, match=r"no field `center`.*'centre'"):
        read_spin_npz(path)
    np.savez(path, imgname=["a"], center=[[1, 2]], scale=[1], part=np.zeros((1, 14, 3)))
    with pytest.raises(ValueError, match=r"`part`.*\(1, 24, 3\).*\(1, 14, 3\)"):
        read_spin_npz(path)
    np.savez(path, imgname=np.array(["a", None], object), center=[[1, 2]] * 2, scale=[1, 1])
    with pytest.raises(ValueError, match="never unpickled"):
        read_spin_npz(path)
    with pytest.raises(ValueError, match="belong together"):
        replace(dataset(), shape=None)


def test_static_fits(tmp_path):
    fits = np.random.default_rng(0).normal(size=(5, 82))
    np.save(tmp_path / "fits.npy", fits)
    fitted = read_static_fits(tmp_path / "fits.npy", dataset())
    np.testing.assert_array_equal(np.concatenate([fitted.pose, fitted.shape], 1), fits)
    with pytest.raises(ValueError, match="another file"):
        read_static_fits(tmp_path / "fits.npy", dataset()[:4])
    with pytest.raises(FileNotFoundError, match="static_fits"):
        read_static_fits(tmp_path / "none.npy", dataset())
    (tmp_path / "fits.npy").write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        read_static_fits(tmp_path / "fits.npy", dataset())

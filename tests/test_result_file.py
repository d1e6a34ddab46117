"""The file that a result is saved as: it comes back whole, numpy alone understands it, and damage is noticed."""

import errno
import os
from pathlib import Path
from typing import IO

import numpy as np
import pytest
import torch
from helpers.two_people import SIZE, fit_two_people, write_photo

import hmrfit
from hmrfit import result_file
from hmrfit.io import atomic
from hmrfit.ops.rotation import geodesic_angle


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photo(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def result(photo: Path) -> hmrfit.FitResult:
    return fit_two_people(photo)


@pytest.fixture
def saved(result: hmrfit.FitResult, tmp_path: Path) -> Path:
    result.save(tmp_path / "result.npz")
    return tmp_path / "result.npz"


def test_what_is_saved_comes_back(result: hmrfit.FitResult, saved: Path, photo: Path) -> None:
    loaded = hmrfit.FitResult.load(saved)
    # rotations are written as rotation vectors in float64: back to within rounding
    np.testing.assert_allclose(loaded.vertices, result.vertices, atol=1e-12)
    for name in ("betas", "trans", "cost", "steps", "status", "hypothesis_cost"):
        assert np.array_equal(getattr(loaded, name), getattr(result, name)), name
    for name in ("warnings", "person_ids", "focal_known", "image_size", "rows", "names"):
        assert getattr(loaded, name) == getattr(result, name), name
    for name in ("versions", "focal_source", "body", "body_kind", "gender", "conditioned_on", "fingerprint"):
        assert getattr(loaded.origin, name) == getattr(result.origin, name), name
    assert loaded.origin.image_path == photo and loaded.keypoints.names == result.keypoints.names
    assert torch.equal(loaded.keypoints.xy, result.keypoints.xy)
    assert {k: v.tolist() for k, v in loaded.term_cost.items()} == {k: v.tolist() for k, v in result.term_cost.items()}
    assert len(loaded.hypotheses) == len(result.hypotheses)
    angle = geodesic_angle(loaded.hypotheses[-1].body_pose, result.hypotheses[-1].body_pose)
    assert angle.max() < 1e-6  # an angle from a cosine near 1 has half the digits
    assert np.array_equal(loaded.overlay(sides=False), result.overlay(sides=False))


def test_saving_twice_gives_the_same_numbers(saved: Path, tmp_path: Path) -> None:
    hmrfit.FitResult.load(saved).save(tmp_path / "again.npz")
    with np.load(saved) as first, np.load(tmp_path / "again.npz") as second:
        assert first.files == second.files
        for key in first.files:
            if first[key].dtype.kind == "f":
                np.testing.assert_allclose(first[key], second[key], atol=1e-12, err_msg=key)
            else:
                assert np.array_equal(first[key], second[key]), key


def test_what_the_keypoints_were_taken_for_is_in_the_file(saved: Path, tmp_path: Path) -> None:
    """Who made them and the noise, a row a person; files of earlier versions do not say it."""
    loaded = hmrfit.FitResult.load(saved)
    with np.load(saved) as data:
        assert data["keypoint_source"].tolist() == list(loaded.keypoint_source) == ["detector"] * 2
        assert np.array_equal(data["keypoint_std"], loaded.keypoint_std) and (data["keypoint_std"] > 0.005).all()
        old = {k: data[k] for k in data.files if k not in ("keypoint_source", "keypoint_std")}
    assert list(loaded[1].keypoint_source) == ["detector"] and loaded[1].keypoint_std.shape == (1, 17)
    np.savez(tmp_path / "old.npz", **old)
    before = hmrfit.FitResult.load(tmp_path / "old.npz")
    assert list(before.keypoint_source) == [] and before.keypoint_std is None and str(before)
    assert np.array_equal(before.joint_std, loaded.joint_std)


def test_results_of_earlier_versions_are_read(result: hmrfit.FitResult, saved: Path, tmp_path: Path) -> None:
    """They name every body neutral, have no up and the rate 1, and by `apart` alone they are known to be a sequence."""
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files if k not in ("rows", "conditioned_on", "fingerprint")}
    arrays |= {"mocap_framerate": np.array(1.0), "stamp": np.array("of three people")}
    np.savez(tmp_path / "a.npz", **arrays | {"body": np.array("bodies/SMPL_FEMALE.pkl")})
    loaded = hmrfit.FitResult.load(tmp_path / "a.npz")
    assert (loaded.rows, loaded.fps, loaded.up, loaded.origin.gender) == ("people", None, None, "female")
    np.savez(tmp_path / "b.npz", **arrays | {"apart": np.array("the other frames")})
    loaded = hmrfit.FitResult.load(tmp_path / "b.npz")
    assert loaded.origin.conditioned_on == "the other frames" and loaded.origin.fingerprint == "of three people"
    assert loaded.is_sequence and loaded.fps is None and str(loaded).splitlines()[0].endswith(": 2 frames")
    with pytest.raises(ValueError, match="frame rate of this sequence is not known"):
        loaded.save_motion(tmp_path / "walk.npz")


@pytest.mark.parametrize(
    ("source", "known"),
    [
        ("given, in pixels", True),
        ("the keypoints' file (K)", True),
        ("the photograph's EXIF: 28 mm (35 mm)", True),
        ("assumed, the image's diagonal; depth and lean depend on it", False),
        ("fitted beside the people, about given: right to about 30 %", False),
    ],
)
def test_earlier_versions_say_in_a_sentence_whether_the_focal_length_is_known(
    saved: Path, tmp_path: Path, source: str, known: bool
) -> None:
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files if k != "focal_known"} | {"focal_source": np.array(source)}
    np.savez(tmp_path / "a.npz", **arrays)
    assert hmrfit.FitResult.load(tmp_path / "a.npz").focal_known == known


@pytest.mark.parametrize(
    "name, value",
    [
        ("status", 77),
        ("status", np.nan),
        ("reason", -500),
        ("steps", -3),
        ("steps", np.inf),
        ("image_size", np.nan),
        ("warnings", '"low"'),
        ("warnings", "[[3]]"),
        ("warnings", "[]"),
        ("versions", "[1]"),
    ],
)
def test_what_no_fit_gives_is_refused_when_it_is_read(
    saved: Path, tmp_path: Path, name: str, value: float | str
) -> None:
    with np.load(saved) as data:
        changed = dict(data)
    changed[name] = np.array(value) if isinstance(value, str) else np.full(changed[name].shape, value)
    np.savez(tmp_path / "changed.npz", **changed)
    with pytest.raises(ValueError, match=f"damaged result: .*{name}"):
        hmrfit.FitResult.load(tmp_path / "changed.npz")


@pytest.mark.parametrize(
    "change",
    [{"rows": "animals"}, {"gender": "both"}, {"fps": -1.0}, {"fps": np.nan}, {"up": np.zeros(3)}, {"up": np.zeros(2)}],
)
def test_damaged_words_are_noticed(saved: Path, tmp_path: Path, change: dict) -> None:
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files}
    np.savez(tmp_path / "bad.npz", **arrays | {k: np.array(v) for k, v in change.items()})
    with pytest.raises(ValueError, match="damaged result"):
        hmrfit.FitResult.load(tmp_path / "bad.npz")


def test_the_file_explains_itself_to_numpy(result: hmrfit.FitResult, saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as data:
        assert data["image_size"].tolist() == list(SIZE)
        assert data["keypoints"].shape == (2, 17, 3) and data["keypoint_names"][0] == "nose"
        np.testing.assert_allclose(data["term_cost"].sum(1), data["cost"], rtol=1e-9)  # sums in another order
        assert dict(zip(data["term_names"], data["term_cost"][0], strict=True))["anchor"] >= 0
        assert data["image"] == "ein bild.png"


def test_other_suffixes_are_refused(result: hmrfit.FitResult, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"saved as \.npz"):
        result.save(tmp_path / "result.json")
    assert not list(tmp_path.iterdir())


def test_files_cut_off_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    for share in np.linspace(0, 0.999, 15):
        saved.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=r"result\.npz"):
            hmrfit.FitResult.load(saved)


def test_flipped_bytes_are_noticed_or_harmless(saved: Path) -> None:
    whole = saved.read_bytes()
    for at in np.random.default_rng(0).integers(0, len(whole), 25):
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        saved.write_bytes(bytes(broken))
        try:
            hmrfit.FitResult.load(saved)
        except ValueError as error:
            assert "result.npz" in str(error)


def test_what_is_no_result(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no result"):
        hmrfit.FitResult.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", poses=np.zeros((3, 72)))
    with pytest.raises(ValueError, match=r"is no result of hmrfit.*It holds poses"):
        hmrfit.FitResult.load(tmp_path / "other.npz")
    with np.load(saved) as data:
        arrays = {k: data[k] for k in data.files}
    np.savez(tmp_path / "less.npz", **{k: v for k, v in arrays.items() if k != "betas"})
    with pytest.raises(ValueError, match="damaged result: it lacks 'betas'"):
        hmrfit.FitResult.load(tmp_path / "less.npz")
    np.savez(tmp_path / "nan.npz", **arrays | {"trans": np.full((2, 3), np.nan)})
    with pytest.raises(ValueError, match="trans holds 6 NaN"):
        hmrfit.FitResult.load(tmp_path / "nan.npz")
    np.savez(tmp_path / "shape.npz", **arrays | {"poses": np.zeros((2, 72, 1))})
    with pytest.raises(ValueError, match="poses should have the shape"):
        hmrfit.FitResult.load(tmp_path / "shape.npz")


def test_python_objects_are_refused_and_nothing_runs(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    np.savez(tmp_path / "evil.npz", format=np.array(result_file.FORMAT), poses=np.array([Evil()], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        hmrfit.FitResult.load(tmp_path / "evil.npz")
    assert not (tmp_path / "ran").exists()


def test_a_disk_full_in_the_middle_keeps_the_old_result(
    result: hmrfit.FitResult, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write, written = saved.read_bytes(), atomic.npy.write_array, []

    def half(file: IO[bytes], array: np.ndarray, **more: bool) -> None:
        if len(written) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.append(array)
        write(file, array, **more)

    monkeypatch.setattr(atomic.npy, "write_array", half)
    with pytest.raises(OSError, match=r"result\.npz.*disk is full"):
        result.save(saved)
    assert saved.read_bytes() == before and len(list(saved.parent.iterdir())) == 1

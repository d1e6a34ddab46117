"""A reader finds the old file or the whole new one."""

import errno
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hmrfit.io import atomic
from hmrfit.io.atomic import atomic_write, check_writable, sweep, write_npz


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_file_appears_whole_and_nothing_else_stays(tmp_path):
    target = tmp_path / "made" / "result.npz"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".npz"  # numpy and OpenCV go by the suffix
        np.savez(temporary, a=np.arange(3))
        assert not target.exists()
    assert left_in(target.parent) == ["result.npz"]
    assert np.load(target)["a"].tolist() == [0, 1, 2]


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "plain").write_text("")
    with atomic_write(tmp_path / "atomic") as temporary:
        temporary.write_text("")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file(tmp_path, error):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(error), atomic_write(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert left_in(tmp_path) == ["a.txt"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's always full device")
def test_a_disk_that_is_full_in_the_middle_of_a_write(tmp_path):
    target = tmp_path / "a.bin"
    target.write_text("old")
    with pytest.raises(OSError, match=r"a\.bin.*disk is full.*untouched") as caught, atomic_write(target) as temporary:
        temporary.write_bytes(b"half")
        with Path("/dev/full").open("wb") as full:  # a real ENOSPC from the system
            full.write(b"x" * 10_000_000)
    assert caught.value.errno == errno.ENOSPC
    assert target.read_text() == "old"
    assert left_in(tmp_path) == ["a.bin"]


def test_a_disk_that_says_only_at_the_end_that_it_is_full(tmp_path, monkeypatch):
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(atomic, "_flush", full)
    with pytest.raises(OSError, match="disk is full"), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("all of it")
    assert left_in(tmp_path) == []


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    def refuse(**keywords):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / ".x"))

    monkeypatch.setattr(atomic.tempfile, "mkstemp", refuse)  # tests may run as root, which may write anywhere
    with (
        pytest.raises(PermissionError, match=r"Could not write.*may not write there.*another folder"),
        atomic_write(tmp_path / "x"),
    ):
        pass


def test_a_file_where_a_folder_should_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a file, not a folder"), atomic_write(tmp_path / "file" / "x"):
        pass


def test_a_folder_where_a_file_should_be(tmp_path):
    with pytest.raises(IsADirectoryError, match="That is a folder"), atomic_write(tmp_path):
        pass
    assert left_in(tmp_path) == []


def test_errors_about_other_files_are_not_about_ours(tmp_path):
    with pytest.raises(FileNotFoundError) as caught, atomic_write(tmp_path / "a"):
        Path("/nowhere/else").read_text()
    assert caught.value.filename == "/nowhere/else"
    assert left_in(tmp_path) == []


def test_a_name_as_long_as_the_disk_allows(tmp_path):
    target = tmp_path / ("ä" * 125 + ".npz")  # 254 bytes
    with atomic_write(target) as temporary:
        temporary.write_text("x")
    assert left_in(tmp_path) == [target.name]


def test_what_a_killed_process_left_is_swept(tmp_path):
    code = f"""
import os, signal
from hmrfit.io.atomic import atomic_write
with atomic_write({str(tmp_path / "a.jpg")!r}) as temporary:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(left_in(tmp_path)) == 1
    assert sweep(tmp_path) == 1
    assert left_in(tmp_path) == []


def test_only_what_is_left_over_and_ours_is_swept(tmp_path):
    with atomic_write(tmp_path / "a.jpg") as running:
        machine = running.name.split("-")[1]
        gone = subprocess.Popen([sys.executable, "-c", ""])
        gone.wait()
        for name in (
            f".hmrfit-{machine}-{gone.pid}-abcd_123.jpg",  # of a process that is gone
            ".hmrfit-00000000-1-abcd_old.jpg",  # of another machine, long ago
            ".hmrfit-00000000-1-abcd_new.jpg",  # of another machine, now
            ".hmrfit-mine.jpg",
            ".a.jpg",
            "b.jpg",
        ):
            (tmp_path / name).write_text("")
        os.utime(tmp_path / ".hmrfit-00000000-1-abcd_old.jpg", (0, 0))
        folder = tmp_path / f".hmrfit-{machine}-{gone.pid}-abcd_124.jpg"
        folder.mkdir()
        assert sweep(tmp_path) == 2
        kept = [".a.jpg", ".hmrfit-00000000-1-abcd_new.jpg", ".hmrfit-mine.jpg", "b.jpg", folder.name, running.name]
        assert left_in(tmp_path) == sorted(kept)
    assert sweep(tmp_path / "nowhere") == 0


def test_whether_a_folder_can_be_written_is_known_before(tmp_path):
    check_writable(tmp_path)
    assert left_in(tmp_path) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="is a file, not a folder"):
        check_writable(tmp_path / "file")


def test_arrays_are_the_same_however_they_lie_in_the_file(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {
        "few": np.arange(3),
        "many": np.zeros((100, 40)),
        "digits": rng.normal(size=(100, 40)),
        "word": np.array("a"),
    }
    found = []
    for name, whole in (("memory.npz", atomic.WHOLE), ("streamed.npz", 0)):
        monkeypatch.setattr(atomic, "WHOLE", whole)
        write_npz(tmp_path / name, arrays, stored=("digits",))
        with zipfile.ZipFile(tmp_path / name) as archive:
            found.append({entry.filename: entry.compress_size < entry.file_size for entry in archive.infolist()})
        with np.load(tmp_path / name) as data:
            assert list(data) == list(arrays)
            assert all(np.array_equal(data[key], arrays[key]) for key in arrays)
    smaller = {"few.npy": False, "many.npy": True, "digits.npy": False, "word.npy": False}
    assert found == [smaller, smaller]

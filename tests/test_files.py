"""A reader finds the old file or the whole new one."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from hmrfit import files
from hmrfit.files import atomic_write


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

    monkeypatch.setattr(files, "_flush", full)
    with pytest.raises(OSError, match="disk is full"), atomic_write(tmp_path / "a") as temporary:
        temporary.write_text("all of it")
    assert left_in(tmp_path) == []


def test_a_folder_that_may_not_be_written(tmp_path, monkeypatch):
    def refuse(**keywords):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(tmp_path / ".x"))

    monkeypatch.setattr(files.tempfile, "mkstemp", refuse)  # tests may run as root, whom nothing is forbidden
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

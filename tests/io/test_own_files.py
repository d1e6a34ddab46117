"""A file of ours is known by itself, wherever it lies; an edited one, and every other, is the user's."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from hmrfit.io.image import read_image, write_image
from hmrfit.io.own_files import (
    PLACES,
    check_own,
    holds_our_format,
    is_own,
    kind_of,
    own_file,
    refuse_others,
    remove_own,
)
from hmrfit.render.meshes import write_mesh

IMAGE = np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)
TRIANGLE = torch.tensor([[0.0, 0, 2], [1, 0, 2], [0, 1, 2]]), torch.tensor([[0, 1, 2]])


def write_plain(path: Path) -> None:
    """Something of the format that the suffix names, as the library writes it."""
    if path.suffix in (".jpg", ".png"):
        write_image(path, IMAGE)
    elif path.suffix in (".obj", ".ply", ".glb"):
        write_mesh(path, *TRIANGLE)
    elif path.suffix in (".npz", ".smpl"):
        content = io.BytesIO()
        np.savez_compressed(content, format=np.array("hmrfit test"), a=np.arange(50))
        path.write_bytes(content.getvalue())
    else:
        path.write_text(json.dumps({"a": {"b": 1}}) + "\n")


@pytest.fixture(params=[suffix for suffix in PLACES if suffix != ".parquet"])  # see test_parquet.py
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / f"a{request.param}"
    with own_file(path, "drawing") as temporary:
        write_plain(temporary)
    return path


def test_a_file_carries_the_remark_that_it_is_ours(ours: Path) -> None:
    assert kind_of(ours) == "drawing"
    assert is_own(ours)
    check_own(ours)
    refuse_others([ours])


def test_it_is_still_read_as_before(ours: Path, tmp_path: Path) -> None:
    plain = tmp_path / f"plain{ours.suffix}"
    write_plain(plain)
    if ours.suffix in (".jpg", ".png"):
        np.testing.assert_array_equal(read_image(ours), read_image(plain))
    elif ours.suffix in (".obj", ".ply", ".glb"):
        read, expected = (trimesh.load(p, force="mesh", process=False) for p in (ours, plain))
        np.testing.assert_array_equal(read.vertices, expected.vertices)
    elif ours.suffix in (".npz", ".smpl"):
        assert np.load(ours)["a"].tolist() == list(range(50))
    elif ours.suffix == ".json":
        assert json.loads(ours.read_text())["a"] == {"b": 1}


def test_a_copy_of_another_name_is_ours(ours: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere" / f"other{ours.suffix}"
    copy.parent.mkdir()
    copy.write_bytes(ours.read_bytes())
    assert is_own(copy)


def test_an_edited_one_is_not(ours: Path) -> None:
    data = ours.read_bytes()
    for i in {0, len(data) // 3, len(data) // 2, len(data) - 1}:
        changed = bytearray(data)
        changed[i] ^= 1
        ours.write_bytes(changed)
        assert not is_own(ours) or ours.suffix in (".npz", ".smpl"), (
            i
        )  # an archive whose end is damaged is one that is cut off
    ours.write_bytes(data + b"x")
    assert not is_own(ours)
    with pytest.raises(FileExistsError, match=r"not hmrfit's, so it is not overwritten"):
        check_own(ours)
    assert not remove_own(ours)
    assert ours.read_bytes() == data + b"x"


def test_the_kind_cannot_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with own_file(path, "drawing") as temporary:
        write_image(temporary, IMAGE)
    path.write_bytes(path.read_bytes().replace(b"hmrfit: drawing", b"hmrfit: drawinh"))
    assert not is_own(path)


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    write_image(path, IMAGE)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.jpg"), own_file(path, "drawing") as temporary:
        write_image(temporary, IMAGE)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.jpg"]


def test_not_even_when_they_come_in_between(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with pytest.raises(FileExistsError), own_file(path, "drawing") as temporary:
        write_image(temporary, IMAGE)
        path.write_text("mine")
    assert path.read_text() == "mine"


def test_a_link_is_the_users_wherever_it_leads(ours: Path, tmp_path: Path) -> None:
    link = tmp_path / f"link{ours.suffix}"
    link.symlink_to(ours)
    assert not is_own(link)
    dangling = tmp_path / "dangling.jpg"
    dangling.symlink_to(tmp_path / "nothing")
    for path in (link, dangling, tmp_path):
        with pytest.raises(FileExistsError):
            refuse_others([path])


def test_all_that_is_in_the_way_is_named(tmp_path: Path) -> None:
    for i in range(8):
        (tmp_path / f"{i}.jpg").write_bytes(b"mine")
    with pytest.raises(FileExistsError, match=r"0\.jpg.*4\.jpg' and 3 more"):
        refuse_others(tmp_path / f"{i}.jpg" for i in range(10))


def test_an_archive_that_is_cut_off_may_be_made_again(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with own_file(path, "result") as temporary:
        write_plain(temporary)
    path.write_bytes(path.read_bytes()[:90])
    assert is_own(path)
    np.savez(path, keypoints=np.zeros((17, 3)))
    path.write_bytes(path.read_bytes()[:90])
    assert not is_own(path)


def test_results_are_known_by_what_they_hold(tmp_path: Path) -> None:
    write_plain(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", format=np.array("mine"), keypoints=np.zeros((17, 3)))
    np.savez(tmp_path / "c.npz", keypoints=np.zeros((17, 3)))
    assert [holds_our_format(tmp_path / f"{name}.npz") for name in "abc"] == [True, False, False]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert kind_of(tmp_path / "pipe.jpg") is None
    assert not is_own(tmp_path / "pipe.jpg")

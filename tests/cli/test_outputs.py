"""Names of files differ from every input and from each other; the folders that hold inputs."""

import os
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hmrfit.cli.outputs import LONGEST_NAME, Outputs, Wanted, output_names, outputs_in

ANY_NAME = st.text(st.characters(codec=None, exclude_characters="/\0"), min_size=1, max_size=8)


@given(st.lists(st.tuples(st.sampled_from("xy"), ANY_NAME), max_size=12, unique=True))
def test_any_names_give_names_that_differ_everywhere(given_paths: list[tuple[str, str]]) -> None:
    paths = [Path(folder, f"{name}.jpg") for folder, name in given_paths]
    names = output_names(paths)
    assert list(names) == list(dict.fromkeys(paths))
    keys = [unicodedata.normalize("NFC", name).casefold() for name in names.values()]
    assert len(set(keys)) == len(keys) and "index" not in keys
    for name in names.values():
        assert name.isprintable() and not set(name) & set('\\/:*?"<>|')
        assert 0 < len(name.encode()) <= 255 - len(".hmrfit.html")


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["x/a.jpg", "x/b b.png"], ["a", "b b"]),
        (["x/a.jpg", "x/a.png", "x/a.JPG"], ["a", "a_png", "a_JPG"]),
        (["x/a.jpg", "x/A.jpg"], ["a", "A_jpg"]),
        (["cam1/1.jpg", "cam2/1.jpg", "cam3/1.jpg"], ["1", "cam2_1", "cam3_1"]),
        (["x/index.jpg"], ["x_index"]),
        (["x/a\x1b[2J.jpg", "x/caf\udce9.jpg"], ["a_[2J", "caf_"]),
        (["x/ .jpg"], ["photograph"]),
    ],
)
def test_names_of_files(paths: list[str], names: list[str]) -> None:
    assert list(output_names(list(map(Path, paths))).values()) == names


def test_long_names_are_shortened_and_differ() -> None:
    stems = [f"{'ä' * 120}{i}" for i in range(3)]
    names = list(output_names([Path(f"{stem}.jpg") for stem in stems]).values())
    assert len(set(names)) == 3 and all(len(name.encode()) <= LONGEST_NAME for name in names)
    assert all(name.startswith("ä" * 80) for name in names)


def test_very_many_photographs_of_one_name_have_names() -> None:
    """In linear time: in quadratic time this would take minutes."""
    paths = [Path(f"x/a.{i}") for i in range(10)] + [Path(f"{i}/../x/a.jpg") for i in range(20_000)]
    assert len(set(output_names(paths).values())) == len(set(paths))


def test_which_folders_hold_inputs(tmp_path: Path) -> None:
    photo = tmp_path / "p" / "a.jpg"
    photo.parent.mkdir()
    photo.touch()
    (tmp_path / "link").symlink_to(tmp_path / "p")
    (tmp_path / "kp").mkdir()
    (tmp_path / "k.json").touch()
    keypoints = [tmp_path / "kp", tmp_path / "k.json"]
    folders = ("p", "link", "kp", ".", "new", "p/new")
    infixes = [outputs_in(tmp_path / out, [photo], keypoints).infix for out in folders]
    assert infixes == [".hmrfit"] * 4 + ["", ""]
    assert outputs_in(tmp_path, [tmp_path / "thumbnails" / "a.jpg"]).infix == ".hmrfit"


def test_a_folder_that_cannot_be_written_is_known_before(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        Outputs(tmp_path / "file" / "out").prepare(["a"], Wanted())
    outputs = Outputs(tmp_path / "out")
    outputs.prepare(["a"], Wanted(mesh="glb"))
    assert os.listdir(tmp_path / "out") == []


def test_only_its_own_names_are_about_a_result(tmp_path: Path) -> None:
    """A picture is removed with the result it shows, and no other is."""
    outputs = Outputs(tmp_path)
    for path in (*outputs.about("a"), *outputs.about("ab")):
        assert path.name.split(".")[0] in ("a", "ab")
    assert set(outputs.wanted("a", Wanted(mesh="ply"))[1:]) <= set(outputs.about("a"))


def test_names_take_a_few_steps_a_photograph() -> None:
    """However many there are: the steps of the interpreter are counted, not the time."""

    def steps(count: int, folders: int) -> int:
        paths, taken = [Path(f"{i % folders}/{i // folders}.jpg") for i in range(count)], 0

        def count_line(*_: object) -> object:
            nonlocal taken
            taken += 1
            return count_line

        before = sys.gettrace()
        sys.settrace(count_line)
        try:
            output_names(paths)
        finally:
            sys.settrace(before)
        return taken

    for folders in (1, 100):
        assert steps(400, folders) < 2.2 * steps(200, folders)

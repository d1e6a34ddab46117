"""Names of one kind of thing: found, listed, answered with the nearest, and never given twice."""

import sys

import pytest

from hmrfit.ops.registry import Registry


@pytest.fixture
def animals(tmp_path, monkeypatch) -> Registry[object]:
    """A registry whose folder holds one file, which registers two entries."""
    folder = tmp_path / "made_up_animals"
    folder.mkdir()
    (folder / "__init__.py").write_text("from hmrfit.ops.registry import Registry\nR = Registry('animal', __name__)\n")
    (folder / "cats.py").write_text(
        "from made_up_animals import R\n"
        "@R.register('tiger')\ndef tiger(): return 'striped'\n"
        "@R.register('lion')\ndef lion(): return 'plain'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import made_up_animals

    yield made_up_animals.R
    for name in ("made_up_animals", "made_up_animals.cats"):
        sys.modules.pop(name, None)


def test_files_of_the_folder_and_entries_of_others_are_found(animals):
    animals.register("zebra")(lambda: "both")
    assert animals.names() == ("lion", "tiger", "zebra")
    assert animals.find("tiger")() == "striped" and animals.find("zebra")() == "both"


def test_a_wrong_name_is_answered_with_the_nearest_and_all(animals):
    with pytest.raises(ValueError, match=r"There is no animal 'tigre'\. Did you mean 'tiger'\? Known: lion, tiger\."):
        animals.find("tigre")


def test_a_name_is_given_once(animals):
    tiger = animals.find("tiger")
    assert animals.register("tiger")(tiger) is tiger  # the same again, as after a reload
    with pytest.raises(ValueError, match="The name 'tiger' is taken by another animal"):
        animals.register("tiger")(lambda: "of paper")

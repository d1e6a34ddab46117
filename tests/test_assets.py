"""Parameters are found in the places that the page names, in that order, whole or not at all."""

import json
from pathlib import Path

import pytest

from hmrfit import assets
from hmrfit.assets import DamagedAsset, checksum, locate


@pytest.fixture(autouse=True)
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A house of its own: package, checkout and home all under tmp_path."""
    for folder in ("site/hmrfit", "site/priors", "home"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setattr(assets, "PACKAGE", tmp_path / "site" / "hmrfit")
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path / "home"))
    return tmp_path


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_the_checkout_then_the_wheel_then_home_then_a_given_folder(house: Path) -> None:
    """Each next place wins over the ones before it."""
    for place in ("site/priors", "site/hmrfit/_priors", "home", "mine"):
        file = put(house / place / "free_body.npz")
        given = house / "mine" if place == "mine" else None
        assert locate("free_body", given) == file


def test_home_is_in_the_users_folder_by_default(house: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMRFIT_HOME")
    monkeypatch.setenv("HOME", str(house))
    assert assets.home() == house / ".hmrfit"


def test_a_path_is_taken_as_it_is(house: Path) -> None:
    file = put(house / "elsewhere" / "body.pkl")
    assert locate("smpl_neutral", file) == file
    assert locate(str(file)) == file
    for missing in (locate_missing("free_body", house / "none.npz"), locate_missing(str(house / "none.npz"))):
        assert "none.npz" in missing


def locate_missing(*args) -> str:
    with pytest.raises(FileNotFoundError) as error:
        locate(*args)
    return str(error.value)


@pytest.mark.parametrize("file", ["SMPL_NEUTRAL.pkl", "smpl_neutral.npz", "basicModel_neutral_lbs_10_207_0_v1.0.0.pkl"])
def test_files_of_others_are_found_under_their_published_names(house: Path, file: str) -> None:
    put(house / "home" / file)
    assert locate("smpl_neutral") == house / "home" / file


@pytest.mark.parametrize("name", assets.EXTERNAL)
def test_a_missing_file_of_others_names_its_page_and_the_free_way(house: Path, name: str) -> None:
    message = locate_missing(name)
    assert assets.EXTERNAL[name].page in message and str(house / "home") in message and "free_body" in message


def test_an_unknown_name_is_answered_with_the_nearest_and_the_places(house: Path) -> None:
    put(house / "site" / "priors" / "pose_gmm.npz")
    message = locate_missing("pose_gm")
    assert "Did you mean 'pose_gmm'?" in message
    assert str(house / "home") in message and str(house / "site" / "priors") in message


def test_a_checksum_is_kept_where_it_is_written(house: Path) -> None:
    body = put(house / "site" / "priors" / "free_body.npz")
    table = {"free_body.npz": checksum(body), "other.npz": "0"}
    put(house / "site" / "priors" / assets.CHECKSUMS, json.dumps(table))
    unlisted = put(house / "site" / "priors" / "joint_limits.npz")
    assert locate("free_body") == body and locate("joint_limits") == unlisted
    body.write_text("y")
    with pytest.raises(DamagedAsset, match=r"free_body\.npz.*sha256"):
        locate("free_body")


def test_recorded_checksums_are_the_ones_that_are_checked(house: Path) -> None:
    files = [put(house / "site" / "priors" / f"{name}.npz", name) for name in ("free_body", "pose_gmm")]
    for file in files:
        assets.record_checksum(file)
    assert locate("free_body") == files[0]
    files[0].write_text("changed")
    with pytest.raises(DamagedAsset):
        locate("free_body")
    assets.record_checksum(files[0])
    assert [locate(file.stem) for file in files] == files


def test_checksums_are_sha256(house: Path) -> None:
    """The published test vector of FIPS 180-2."""
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert checksum(put(house / "abc", "abc")) == expected

"""Readers of hands' data sets, on tiny downloads of their layouts."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from helpers.hand_folders import (
    K,
    dexycb_folder,
    freihand_folder,
    ho3d_folder,
    in_order,
    interhand_folder,
    rhd_folder,
    write_json,
)

from hmrfit.datasets import HAND_READERS, read_hands
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.pickles import RefusedFile


def to_hand21(data: HandDataset) -> np.ndarray:
    """The joints in hand21's order."""
    names = [n.replace("wrist_mano", "hand_root") for n in hand_set(data.order, "right").names]
    return data.joints[:, [names.index(n) for n in hand_set("hand21", "right").names]]


def test_freihand(tmp_path: Path) -> None:
    joints = freihand_folder(tmp_path)
    data = read_hands("freihand", tmp_path)
    np.testing.assert_array_equal(data.joints, joints)
    assert data.vertices is not None and data.vertices.shape == (3, 12, 3) and data.order == "hand21"
    seen = joints @ K.T
    np.testing.assert_allclose(data.keypoints_2d[..., :2], seen[..., :2] / seen[..., 2:] + 0.5)
    assert data.image is not None and data.image[2] == "evaluation/rgb/00000002.jpg"
    (tmp_path / "evaluation_verts.json").unlink()
    assert read_hands("freihand", tmp_path).vertices is None


def test_ho3d_is_turned_from_opengls_axes(tmp_path: Path) -> None:
    joints = ho3d_folder(tmp_path)
    data = read_hands("ho3d", tmp_path)
    np.testing.assert_allclose(data.joints, joints, atol=1e-12)
    assert (data.joints[..., 2] > 0).all() and data.order == "mano_native21"
    np.testing.assert_array_equal(data.K[0], K)
    train = read_hands("ho3d", tmp_path, "train")
    assert train.names.tolist() == ["SM1/0000", "SM1/0002"]  # the one without a hand is left out
    np.testing.assert_allclose(train.joints, joints[[0, 2]], atol=1e-6)
    (tmp_path / "evaluation" / "SM1" / "meta" / "0000.pkl").unlink()
    assert np.isnan(read_hands("ho3d", tmp_path).K[0]).all()


def test_interhand_is_brought_into_the_camera(tmp_path: Path) -> None:
    camera, valid = interhand_folder(tmp_path)
    data = read_hands("interhand", tmp_path)
    assert data.side.tolist() == ["right", "right", "left"] and data.picture.tolist() == [0, 1, 1]
    assert data.group.tolist() == ["single", "interacting", "interacting"]
    np.testing.assert_allclose(data.joints, np.stack([camera[0, :21], camera[1, :21], camera[1, 21:]]), atol=1e-12)
    np.testing.assert_array_equal(data.valid[1], valid[1, :21] > 0)
    assert data.keypoints_2d[1, 3].tolist() == [0, 0, 0] and data.keypoints_2d[1, 4, 2] == 1


def test_rhd(tmp_path: Path) -> None:
    points = rhd_folder(tmp_path)
    data = read_hands("rhd", tmp_path)
    assert data.side.tolist() == ["left", "right", "right"] and data.order == "rhd21"
    np.testing.assert_allclose(data.joints, [points[0, :21], points[0, 21:], points[1, 21:]], atol=1e-6)
    seen = data.joints @ K.T
    np.testing.assert_allclose(data.keypoints_2d[..., :2], seen[..., :2] / seen[..., 2:] + 0.5, atol=1e-3)


def test_dexycb_counts_samples_without_a_hand(tmp_path: Path) -> None:
    joints = dexycb_folder(tmp_path)
    data = read_hands("dexycb", tmp_path, "s1_val")
    flat = joints.reshape(-1, 21, 3)
    assert data.names.tolist() == [str(i) for i in range(len(flat)) if i not in (0, 16)]
    np.testing.assert_allclose(data.joints, flat[[int(n) for n in data.names]])
    assert set(data.side[:15]) == {"right"} and set(data.side[15:]) == {"left"}
    np.testing.assert_array_equal(data.K[0], K)


def test_all_orders_are_the_same_hand(tmp_path: Path) -> None:
    """Index tips stand where index tips are, whatever the order of the data set."""
    for name, write in (("freihand", freihand_folder), ("ho3d", ho3d_folder)):
        write(tmp_path / name)
    first, second = (to_hand21(read_hands(name, tmp_path / name)) for name in ("freihand", "ho3d"))
    np.testing.assert_allclose(first, second, atol=1e-12)
    np.testing.assert_array_equal(in_order(first, "rhd21")[:, 1], first[:, 4])


@pytest.mark.parametrize("name", HAND_READERS)
def test_what_is_missing_is_said_with_the_expected_tree(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"(?s)not whole.*Expected:.*ROOT/"):
        read_hands(name, tmp_path)


def test_unknown_names_are_answered(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"'freihnd'\. Did you mean 'freihand'"):
        read_hands("freihnd", tmp_path)
    with pytest.raises(ValueError, match=r"no split 's0_tst'\. Did you mean 's0_test'"):
        read_hands("dexycb", tmp_path, "s0_tst")


def test_damaged_files_are_named(tmp_path: Path) -> None:
    freihand_folder(tmp_path)
    write_json(tmp_path / "evaluation_K.json", [K.tolist()])
    with pytest.raises(ValueError, match=r"evaluation_K.json' is damaged.*1 sample, but 3"):
        read_hands("freihand", tmp_path)
    write_json(tmp_path / "evaluation_xyz.json", [np.zeros((20, 3)).tolist()])
    with pytest.raises(ValueError, match=r"evaluation_xyz.json' is damaged.*\(21, 3\)"):
        read_hands("freihand", tmp_path)


class Hostile:
    """Runs a command when it is unpickled the usual way."""

    def __reduce__(self) -> tuple:
        return (print, ("run",))


def test_nothing_of_a_pickle_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rhd_folder(tmp_path / "rhd")
    (tmp_path / "rhd/evaluation/anno_evaluation.pickle").write_bytes(pickle.dumps({0: Hostile()}))
    with pytest.raises(RefusedFile, match="Nothing in it has been run"):
        read_hands("rhd", tmp_path / "rhd")
    ho3d_folder(tmp_path / "ho3d")
    (tmp_path / "ho3d/evaluation/SM1/meta/0000.pkl").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(RefusedFile, match="Nothing in it has been run"):
        read_hands("ho3d", tmp_path / "ho3d")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("text", ["a: &x [1]\nb: *x\n", "!!python/object/apply:os.system [ls]", "x" * 200_000])
def test_yaml_is_plain(tmp_path: Path, text: str) -> None:
    dexycb_folder(tmp_path, sequences=1, frames=1)
    next((tmp_path).glob("2020*/*/meta.yml")).write_text(text)
    with pytest.raises(ValueError, match=r"meta.yml' is damaged"):
        read_hands("dexycb", tmp_path, "s1_val")

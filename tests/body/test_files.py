"""Body files as others wrote them are read exactly, wrong ones answered with what is wrong, hostile ones refused."""

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
from helpers.python2_pickles import dumps, smpl_pickle
from helpers.synthetic_body import synthetic_body, synthetic_hand, synthetic_smplh, synthetic_smplx

from hmrfit.body.files import check_body, read_body_file, write_body_npz
from hmrfit.io.budget import file_limits
from hmrfit.io.pickles import RefusedFile


@pytest.fixture
def body() -> dict[str, np.ndarray]:
    return synthetic_body()


def assert_same(read: dict[str, np.ndarray], body: dict[str, np.ndarray]) -> None:
    for name in set(body) - {"kintree_table"}:
        assert np.array_equal(read[name], body[name]), name
    assert read["kintree_table"][0].tolist() == [-1, *body["kintree_table"][0, 1:].tolist()]


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_published_smpl_pickles_are_read_exactly(tmp_path: Path, body: dict, protocol: int) -> None:
    """Python-2 strings, chumpy's Select of a Ch, SciPy's csc under its old name, Fortran order: the same numbers."""
    (tmp_path / "smpl.pkl").write_bytes(smpl_pickle(body, protocol))
    assert_same(read_body_file(tmp_path / "smpl.pkl"), body)


@pytest.mark.parametrize("make", [synthetic_smplh, synthetic_smplx, synthetic_hand])
def test_hands_and_larger_trees_keep_their_own_fields(tmp_path: Path, make: Callable[[], dict]) -> None:
    body = make()
    (tmp_path / "body.pkl").write_bytes(smpl_pickle({**body, "joint2num": {"Pelvis": 0}}))
    np.savez(tmp_path / "body.npz", **body, joint2num=np.array({"Pelvis": 0}, dtype=object))
    for name in ("body.pkl", "body.npz"):
        read = read_body_file(tmp_path / name)
        assert_same(read, body)
        assert "joint2num" not in read and "bs_type" not in read


def test_an_npz_comes_back_as_it_was_written(tmp_path: Path, body: dict) -> None:
    names = np.array(["nose", "left_ear"])
    write_body_npz(tmp_path / "body.npz", {**body, "landmark_names": names})
    assert_same(read_body_file(tmp_path / "body.npz"), {**body, "landmark_names": names})


def test_pickle_to_npz_keeps_every_number(tmp_path: Path, body: dict) -> None:
    (tmp_path / "smpl.pkl").write_bytes(smpl_pickle(body))
    write_body_npz(tmp_path / "smpl.npz", read_body_file(tmp_path / "smpl.pkl"))
    assert_same(read_body_file(tmp_path / "smpl.npz"), body)


def test_the_kind_of_file_is_told_by_its_content(tmp_path: Path, body: dict) -> None:
    (tmp_path / "named.npz").write_bytes(smpl_pickle(body))
    assert_same(read_body_file(tmp_path / "named.npz"), body)


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path, body: dict) -> None:
    for name in ("a.npz", "b.npz"):
        write_body_npz(tmp_path / name, body)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_regressor_may_be_stored_as_triplets(tmp_path: Path, body: dict) -> None:
    sparse = scipy.sparse.coo_matrix(body["J_regressor"])
    rest = {name: array for name, array in body.items() if name != "J_regressor"}
    triplets = {"row": sparse.row, "col": sparse.col, "data": sparse.data, "shape": sparse.shape}
    np.savez(tmp_path / "t.npz", **rest, **{f"J_regressor_{part}": value for part, value in triplets.items()})
    assert_same(read_body_file(tmp_path / "t.npz"), body)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"col": [1000, 0]}, "outside its shape"),
        ({"col": [-1, 0]}, "outside its shape"),
        ({"row": [0.0, 1.0]}, "do not go with"),
        ({"row": [0]}, "do not go with"),
        ({"data": ["a", "b"]}, "do not go with"),
        ({"shape": [10**9, 10**9]}, "no shape"),
        ({"shape": [2.0, 2.0]}, "no shape"),
        ({"shape": ["2", "2"]}, "no shape"),
        ({"shape": 4}, "no shape"),
    ],
)
def test_triplets_that_do_not_fit_are_refused(tmp_path: Path, body: dict, changed: dict, message: str) -> None:
    triplets = {"row": [0, 1], "col": [0, 1], "data": [1.0, 2.0], "shape": [2, 2], **changed}
    np.savez(tmp_path / "t.npz", **body, **{f"extra_{part}": value for part, value in triplets.items()})
    with pytest.raises(RefusedFile, match=rf"t\.npz.*{message}"):
        read_body_file(tmp_path / "t.npz")


def test_members_of_python_objects_are_never_opened(tmp_path: Path, body: dict) -> None:
    """SMPL-X's npz holds dictionaries as pickled objects: left out where not needed, missing where needed."""
    np.savez(tmp_path / "x.npz", **body, joint2num=np.array({"Pelvis": 0}, dtype=object))
    assert_same(read_body_file(tmp_path / "x.npz"), body)
    np.savez(tmp_path / "x.npz", **{**body, "weights": np.array([Hostile(tmp_path / "canary")], dtype=object)})
    with pytest.raises(ValueError, match="lacks weights"):
        read_body_file(tmp_path / "x.npz")
    assert not (tmp_path / "canary").exists()


class Hostile:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.canary}",)


def test_a_hostile_pickle_is_refused_and_nothing_runs(tmp_path: Path, body: dict) -> None:
    path, canary = tmp_path / "smpl.pkl", tmp_path / "canary"
    path.write_bytes(pickle.dumps({**body, "extra": Hostile(canary)}, 2))
    with pytest.raises(RefusedFile, match=r"posix\.system"):
        read_body_file(path)
    assert not canary.exists()
    pickle.loads(path.read_bytes())
    assert canary.exists(), "the attack of this test is not one"


@pytest.mark.parametrize("kind", ["npz", "pkl"])
def test_truncated_and_foreign_files_are_refused(tmp_path: Path, body: dict, kind: str) -> None:
    whole = tmp_path / f"whole.{kind}"
    if kind == "npz":
        write_body_npz(whole, body)
    else:
        whole.write_bytes(smpl_pickle(body))
    raw = whole.read_bytes()
    part = tmp_path / f"part.{kind}"
    for damaged in (raw[: len(raw) // 2], raw[:-1], b"", b"not a body at all"):
        part.write_bytes(damaged)
        with pytest.raises(RefusedFile, match=r"part\."):
            read_body_file(part)


def test_an_npz_with_a_flipped_byte_is_refused(tmp_path: Path, body: dict) -> None:
    write_body_npz(tmp_path / "body.npz", body)
    raw = bytearray((tmp_path / "body.npz").read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    (tmp_path / "body.npz").write_bytes(raw)
    with pytest.raises(RefusedFile, match="damaged"):
        read_body_file(tmp_path / "body.npz")


def test_a_zip_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", v_template=np.zeros((100_000, 3)))
    assert (tmp_path / "bomb.npz").stat().st_size < 100_000
    with file_limits(gigabytes=0.001), pytest.raises(RefusedFile, match=r"bomb\.npz.*would take"):
        read_body_file(tmp_path / "bomb.npz")


def test_a_header_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000, 3), }"
    with zipfile.ZipFile(tmp_path / "claim.npz", "w") as archive:
        archive.writestr("v_template.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(RefusedFile, match="damaged"):
        read_body_file(tmp_path / "claim.npz")


def test_no_file_and_no_dictionary(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_body_file(tmp_path / "nowhere.pkl")
    (tmp_path / "list.pkl").write_bytes(dumps([1, 2]))
    with pytest.raises(RefusedFile, match="list"):
        read_body_file(tmp_path / "list.pkl")


def loop(parents: np.ndarray) -> np.ndarray:
    changed = parents.copy()
    changed[0, 4] = 7
    return changed


WRONG = {
    "missing": (lambda b: b.pop("weights"), "lacks weights"),
    "template": (lambda b: b.update(v_template=b["v_template"][:, :2]), "v_template"),
    "shapes": (lambda b: b.update(shapedirs=b["shapedirs"][:-1]), "shapedirs"),
    "poses": (lambda b: b.update(posedirs=b["posedirs"][..., :-1]), "posedirs.*207"),
    "regressor": (lambda b: b.update(J_regressor=b["J_regressor"].T), "J_regressor"),
    "weights": (lambda b: b.update(weights=b["weights"][:, :-1]), "weights"),
    "half weights": (lambda b: b.update(weights=b["weights"] / 2), "add up to 0.5, not 1"),
    "nan": (lambda b: b.update(v_template=b["v_template"] * np.nan), "v_template.*NaN"),
    "text": (lambda b: b.update(v_template=b["v_template"].astype(str)), "numbers"),
    "loop": (lambda b: b.update(kintree_table=loop(b["kintree_table"])), "joint 4 has the parent 7"),
    "other tree": (
        lambda b: b["kintree_table"].__setitem__((0, 5), 1),
        "as SMPL, but another tree.*joint 5 is 1, not 2",
    ),
    "few names": (lambda b: b.update(joint_names=np.array(["a", "b"])), "24 joints needs as many names, not 2"),
    "second root": (lambda b: b["kintree_table"].__setitem__((0, 3), 2**32 - 1), "joint 3"),
    "faces out": (lambda b: b.update(f=b["f"] + 1), "counted from 0"),
    "float faces": (lambda b: b.update(f=b["f"] + 0.5), "integers"),
    "quads": (lambda b: b.update(f=np.zeros((5, 4), int)), "f should have"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_body_is_said(tmp_path: Path, body: dict, name: str) -> None:
    spoil, message = WRONG[name]
    check_body(body)
    spoil(body)
    np.savez(tmp_path / "wrong.npz", **body)
    with pytest.raises(ValueError, match=message):
        check_body(body)
    with pytest.raises(ValueError, match=r"wrong\.npz"):
        read_body_file(tmp_path / "wrong.npz")
    with pytest.raises(ValueError, match=message):
        write_body_npz(tmp_path / "written.npz", body)
    assert not (tmp_path / "written.npz").exists()


def test_writing_refuses_objects_and_other_suffixes(tmp_path: Path, body: dict) -> None:
    with pytest.raises(ValueError, match=r"\.npz"):
        write_body_npz(tmp_path / "body.pkl", body)
    with pytest.raises(ValueError, match="joint2num"):
        write_body_npz(tmp_path / "body.npz", {**body, "joint2num": {"Pelvis": 0}})
    assert list(tmp_path.iterdir()) == []

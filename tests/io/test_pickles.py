"""Pickles are read as data: what arrays are made of comes back, anything else is refused, and nothing ever runs."""

import io
import os
import pickle
import struct
import time
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from helpers.python2_pickles import chumpy_state, dumps, fake_class, instance
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hmrfit.io import pickles
from hmrfit.io.budget import TooLarge, file_limits
from hmrfit.io.pickles import RefusedFile, as_numbers, read_pickle


@pytest.fixture
def read(tmp_path: Path):
    """Reads bytes as a pickle file; the canary file must not exist afterwards."""
    canary = tmp_path / "canary"

    def read_bytes(raw: bytes) -> Any:
        path = tmp_path / "file.pkl"
        path.write_bytes(raw.replace(b"CANARY", str(canary).encode()))
        try:
            return read_pickle(path)
        finally:
            assert not canary.exists(), "something in the pickle has run"

    return read_bytes


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | hnp.arrays(
        st.sampled_from([np.int8, np.uint32, ">i8", np.float16, ">f4", np.float64, bool, "S3", "U2"]),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=3),
    ),
    lambda children: (
        st.lists(children, max_size=3)
        | st.tuples(children, children)
        | st.dictionaries(st.text(), children, max_size=3)
    ),
    max_leaves=8,
)


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        kind = a.dtype.kind
        alike = isinstance(b, np.ndarray) and a.shape == b.shape and kind == b.dtype.kind
        return alike and np.array_equal(a, b, equal_nan=kind == "f")
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(value=plain, protocol=st.integers(0, 5))
def test_plain_values_and_arrays_come_back(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    path = tmp_path_factory.getbasetemp() / "plain.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert same(value, read_pickle(path))


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_keep_their_order_and_numbers(read, protocol: int, order: str) -> None:
    array = np.asarray(np.random.default_rng(0).normal(size=(4, 3, 5)), order=order)
    assert np.array_equal(read(pickle.dumps(array, protocol)), array)
    assert np.array_equal(read(pickle.dumps(np.float64(1.5), protocol)), 1.5)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_python_2_strings_keep_every_byte(read, protocol: int) -> None:
    raw = bytes(range(256)) + b"'\"\\\n"
    assert read(dumps({"raw": raw}, protocol)) == {"raw": raw.decode("latin1")}
    assert np.array_equal(read(dumps(np.arange(300.0), protocol)), np.arange(300.0))


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_matrices_of_todays_scipy(read, form: str, kind: str) -> None:
    dense = np.random.default_rng(0).normal(size=(4, 6)) * (np.random.default_rng(1).random((4, 6)) < 0.4)
    sparse = getattr(scipy.sparse, f"{form}_{kind}")(dense)
    for protocol in range(6):
        assert np.array_equal(read(pickle.dumps(sparse, protocol)), dense)


def test_elements_named_twice_are_summed(read) -> None:
    twice = scipy.sparse.coo_matrix(([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    assert np.array_equal(read(pickle.dumps(twice)), [[0, 3], [5, 0]])


def test_chumpy_values_are_their_arrays(read) -> None:
    x = np.arange(24.0).reshape(2, 3, 4)
    with (
        fake_class("chumpy.ch.Ch") as ch,
        fake_class("chumpy.reordering.Select") as select,
        fake_class("chumpy.reordering.Reshape") as reshape,
        fake_class("chumpy.reordering.transpose") as transpose,
    ):
        leaf = instance(ch, **chumpy_state(x=x))
        made = {
            "leaf": leaf,
            "select": instance(select, **chumpy_state(a=leaf, idxs=np.array([5, 0]), preferred_shape=(2, 1))),
            "flat": instance(select, **chumpy_state(a=leaf, idxs=np.array([5, 0]))),
            "reshape": instance(reshape, **chumpy_state(a=leaf, newshape=(6, 4))),
            "transpose": instance(transpose, **chumpy_state(a=leaf, axes=(2, 0, 1))),
        }
        values = [read(dumps(made, protocol)) for protocol in (0, 1, 2)]
    for value in values:
        assert np.array_equal(value["leaf"], x)
        assert np.array_equal(value["select"], [[5], [0]])
        assert np.array_equal(value["flat"], [5, 0])
        assert np.array_equal(value["reshape"], x.reshape(6, 4))
        assert np.array_equal(value["transpose"], x.transpose(2, 0, 1))


class Calls:
    """Pickles as a call of `function`, with whatever __reduce__ may return beside."""

    def __init__(self, function: Any, *rest: Any) -> None:
        self.reduced = (function, *rest)

    def __reduce__(self) -> tuple:
        return self.reduced


HOSTILE_CALLS = {
    "system": (os.system, "posix.system"),
    "exec": (exec, "exec"),
    "eval": (eval, "eval"),
    "getattr": (getattr, "getattr"),
    "import": (__import__, "__import__"),
    "open": (open, "open"),
    "ordered": (OrderedDict, "collections.OrderedDict"),
    "load": (np.load, "numpy.load"),
    "loads": (pickle.loads, "loads"),
}


@pytest.mark.parametrize("name", HOSTILE_CALLS)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_calls_are_refused_by_name(read, name: str, protocol: int) -> None:
    function, named = HOSTILE_CALLS[name]
    raw = pickle.dumps({"v_template": np.zeros(3), "x": Calls(function, ("touch CANARY",))}, protocol)
    with pytest.raises(RefusedFile, match=named.replace(".", r"\.")) as message:
        read(raw)
    assert "Nothing in it has been run" in str(message.value)


OPCODE_ATTACKS = {
    "named instance": (b"(S'touch CANARY'\nios\nsystem\n.", "os.system"),
    "instance": (b"(cos\nsystem\nS'touch CANARY'\no.", "os.system"),
    "known class as instance": (b"(inumpy\ndtype\n.", "old-style"),
    "import inside numpy": (b"cnumpy.f2py.crackfortran\nmyeval\n(S'1'\ntR.", "numpy.f2py.crackfortran.myeval"),
    "dotted name": (b"\x80\x04\x8c\x05numpy\x8c\x10core.os.system_x\x93.", "numpy.core.os.system_x"),
    "dotted method": (b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.", "numpy.ndarray.tofile"),
    "getattr chain": (b"c__builtin__\ngetattr\n(cnumpy\ndtype\nS'type'\ntR.", "getattr"),
    "call of a made value": (b"cnumpy\ndtype\n(S'f8'\nI00\nI01\ntR(S'x'\ntR.", "calls something"),
    "call of a list": (b"](tR.", "calls something"),
    "state of a class": (b"cnumpy\ndtype\n(dS'x'\nI1\nsb.", "sets the state"),
    "state of a dict": (b"}(dS'x'\nI1\nsb.", "sets the state"),
    "persistent id": (b"Pfile\n.", "persistent"),
    "binary persistent id": (b"S'file'\nQ.", "persistent"),
    "extension registry": (b"\x80\x02\x82\x01.", "extension"),
    "wide extension registry": (b"\x80\x02\x84\x01\x00\x00\x00.", "extension"),
    "out-of-band buffer": (b"\x80\x05\x97.", "opcode"),
    "keyword call": (b"\x80\x04cnumpy\ndtype\n)}\x92.", "opcode"),
    "tuple as key": (b"}(I1\nt(I1\nts.", "damaged"),
    "list as key": (b"}]I1\ns.", "damaged"),
    "items for a number": (b"I1\nI2\na.", "damaged"),
    "odd number of items": (b"(I1\nd.", "damaged"),
    "empty stack": (b".", "damaged.*nothing on the stack"),
    "no mark": (b"t.", "damaged"),
    "unknown memo": (b"g7\n.", "damaged"),
    "negative length": (b"T\xff\xff\xff\xff.", "ends too early"),
    "endless length": (b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f.", "ends too early"),
    "giant decimal": (b"L" + b"9" * 100_000 + b"L\n.", "damaged"),
    "empty file": (b"", "ends too early"),
    "text": (b"hello, world\n", "no pickle"),
    "picture": (b"\x89PNG\r\n\x1a\n", None),
}


@pytest.mark.parametrize("name", OPCODE_ATTACKS)
def test_opcodes_that_no_array_needs_are_refused(read, name: str) -> None:
    raw, message = OPCODE_ATTACKS[name]
    with pytest.raises(RefusedFile, match=message):
        read(raw)


def test_python_itself_would_have_run_the_classic() -> None:
    """The attack above is a real one: the usual reader resolves the very same bytes to os.system."""
    asked = []

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            asked.append((module, name))
            return lambda command: None

    Watching(io.BytesIO(OPCODE_ATTACKS["named instance"][0])).load()
    assert asked == [("os", "system")]


def array_state(shape: tuple, type_args: tuple, type_state: Any, data: Any) -> bytes:
    """An array's pickle with every part chosen freely."""
    dtype = Calls(np.dtype, type_args, type_state) if type_state else Calls(np.dtype, type_args)
    reconstruct = np.zeros(1).__reduce__()[0]
    return pickle.dumps(Calls(reconstruct, (np.ndarray, (0,), b"b"), (1, shape, dtype, False, data)), 2)


PLAIN_STATE = (3, "<", None, None, None, -1, -1, 0)


def test_the_array_builder_builds(read) -> None:
    raw = array_state((2,), ("f8", False, True), PLAIN_STATE, np.arange(2.0).tobytes())
    assert np.array_equal(read(raw), [0, 1])


@pytest.mark.parametrize(
    "raw",
    [
        array_state((1,), ("O8", False, True), PLAIN_STATE, [1]),
        array_state((1,), ("O", False, True), None, b"\0" * 8),
        array_state((1,), ("f8", False, True), PLAIN_STATE, [1.0]),
        array_state((1,), ("V8", False, True), (3, "|", None, ("x",), {"x": (1, 0)}, 8, 1, 16), b"\0" * 8),
        array_state((1,), ("f8,f8",), None, b"\0" * 16),
        array_state((1,), ("M8[us]",), None, b"\0" * 8),
        array_state((1,), ("U0",), None, b""),
        array_state((1,), (["f8"],), None, b"\0" * 8),
        array_state((2,), ("f8",), None, b"\0" * 8),
        array_state((10**12,), ("f8",), None, b"\0" * 8),
        array_state((-1,), ("f8",), None, b"\0" * 8),
        array_state((1.0,), ("f8",), None, b"\0" * 8),
        array_state("f8", ("f8",), None, b"\0" * 8),
        pickle.dumps(np.array([{}, None], dtype=object), 2),
        pickle.dumps(np.array([{}, None], dtype=object), 5),
        pickle.dumps(np.zeros(1, dtype=[("a", "f4"), ("b", "O")]), 2),
    ],
)
def test_arrays_of_anything_but_numbers_and_text_are_refused(read, raw: bytes) -> None:
    with pytest.raises(RefusedFile):
        read(raw)


@pytest.mark.parametrize(
    "changed",
    [
        {"indices": np.array([0, 7])},
        {"indices": np.array([0, -1])},
        {"indices": np.array([0.0, 1.0])},
        {"indices": np.array([0])},
        {"indptr": np.array([0, 2])},
        {"indptr": np.array([0, 3, 2])},
        {"indptr": np.array([0, 1, 5])},
        {"indptr": np.array([1, 1, 2])},
        {"indptr": [0, 1, 2]},
        {"_shape": (10**9, 10**9)},
        {"_shape": (-2, 2)},
        {"data": np.array([[1.0, 2.0]])},
    ],
)
def test_sparse_matrices_that_point_outside_themselves_are_refused(read, changed: dict) -> None:
    state = {"_shape": (2, 2), "data": np.ones(2), "indices": np.array([0, 1]), "indptr": np.array([0, 1, 2])}
    with fake_class("scipy.sparse.csc.csc_matrix") as csc:
        good, bad = dumps(instance(csc, **state)), dumps(instance(csc, **{**state, **changed}))
    assert np.array_equal(read(good), np.eye(2))
    with pytest.raises(RefusedFile):
        read(bad)


def laughs(levels: int) -> Any:
    value: Any = [1.0]
    for _ in range(levels):
        value = [value] * 10
    return value


def test_shared_values_do_not_multiply(read) -> None:
    """10^30 leaves by sharing: read as what it is, thirty lists; and refused as an array's numbers."""
    start = time.process_time()
    value = read(pickle.dumps(laughs(30)))
    assert value[0] is value[9]
    with fake_class("chumpy.ch.Ch") as ch:
        raw = dumps(instance(ch, x=laughs(30)))
    with pytest.raises(RefusedFile, match="list"):
        read(raw)
    assert time.process_time() - start < 10  # multiplied out it would take longer than the universe has


def test_the_same_data_named_often_is_refused(read) -> None:
    """One string of 80 kB in the file, a hundred arrays of it."""
    reconstruct, dtype, data = np.zeros(1).__reduce__()[0], np.dtype("f8"), np.zeros(10_000).tobytes()
    parts = [Calls(reconstruct, (np.ndarray, (0,), b"b"), (1, (10_000,), dtype, False, data)) for _ in range(100)]
    raw = pickle.dumps(parts)
    assert len(raw) < 100_000
    assert len(read(raw)) == 100
    with file_limits(gigabytes=0.002), pytest.raises(RefusedFile, match=r"would take.*file_limits\(gigabytes"):
        read(raw)


def test_values_that_contain_themselves_and_deep_nests_are_refused(read) -> None:
    circle: list = []
    circle.append(circle)
    with pytest.raises(RefusedFile, match="contains itself"):
        read(pickle.dumps(circle))
    with pytest.raises(RefusedFile, match="deeper"):
        read(b"]" + b"\x85" * 100_000 + b".")


def test_endless_programs_are_refused(read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_STEPS", 1000)
    with pytest.raises(RefusedFile, match="steps"):
        read(b"N0" * 1000 + b"N.")


def test_giant_files_are_not_read(read) -> None:
    raw = pickle.dumps(np.zeros(100))
    with file_limits(gigabytes=1e-6), pytest.raises(RefusedFile, match="would take"):
        read(raw)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_truncated_file_is_refused_wherever_it_ends(read, protocol: int) -> None:
    raw = pickle.dumps({"a": np.arange(4.0), "b": ["x", 1, None], "c": scipy.sparse.csc_matrix(np.eye(2))}, protocol)
    for end in range(0, len(raw), 3):
        with pytest.raises(RefusedFile):
            read(raw[:end])


@given(
    raw=st.binary(max_size=60),
    start=st.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"](", b"}(", b"cnumpy\ndtype\n("]),
)
def test_noise_is_refused_or_read_and_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes, start: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "noise.pkl"
    path.write_bytes(start + raw)
    with suppress(RefusedFile):
        read_pickle(path)


@given(position=st.integers(0, 10_000), value=st.integers(0, 255))
def test_a_changed_byte_is_refused_or_read_and_never_anything_else(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    raw = bytearray(pickle.dumps({"a": np.arange(4.0), "c": scipy.sparse.csc_matrix(np.eye(2))}, 2))
    raw[position % len(raw)] = value
    path = tmp_path_factory.getbasetemp() / "changed.pkl"
    path.write_bytes(raw)
    with suppress(RefusedFile):
        read_pickle(path)


def test_memo_numbers_cost_nothing(read) -> None:
    """A memo is kept by number, not as a table as long as its largest number (which can take all memory)."""
    assert read(b"N" + b"r" + struct.pack("<I", 2**32 - 1) + b"j" + struct.pack("<I", 2**32 - 1) + b".") is None


def test_numbers_that_are_named_often_are_counted_as_often() -> None:
    """8 bytes each, however few of them are in memory: half of the gigabytes holds 625,000 numbers of 10 MB."""
    row = [1.0] * 999  # a list counts as one more
    with file_limits(gigabytes=0.01):
        fine = as_numbers([row] * 620, "it")
        assert fine.shape == (620, 999) and fine.dtype == np.float64 and (fine == 1).all()
        with pytest.raises(TooLarge):
            as_numbers([row] * 630, "it")
        with pytest.raises(TooLarge):
            as_numbers([np.ones(999)] * 630, "it")
    assert as_numbers([[1, 2], [3, 4]], "it").tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_a_text_that_is_turned_to_bytes_often_is_counted_as_often(read) -> None:
    """Half a megabyte in the file, which a memo gives again and again; a file may take 5 MB of 10."""
    text = b"X" + struct.pack("<I", 500_000) + b"a" * 500_000 + b"q\x00"
    once = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
    with file_limits(gigabytes=0.01):
        assert read(b"\x80\x02(" + text + 2 * once + b"l.")[1:] == [b"a" * 500_000] * 2
        with pytest.raises(RefusedFile, match="of memory"):
            read(b"\x80\x02(" + text + 20 * once + b"l.")


@pytest.mark.parametrize("parts", [(b"K\x01", b"\x8c\x04name"), (b"\x8c\x06module", b"K\x01")])
def test_names_that_are_no_text_are_refused(read, parts: tuple[bytes, bytes]) -> None:
    with pytest.raises(RefusedFile, match="a name that is not text"):
        read(b"\x80\x04" + b"".join(parts) + b"\x93.")

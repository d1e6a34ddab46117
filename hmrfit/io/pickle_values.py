"""What the nodes of a pickle stand for: arrays, numbers, sparse matrices, chumpy's values. See `hmrfit.io.pickles`.

Every array is made here, by `np.frombuffer` on bytes of the file and with a type of plain numbers or text; a sparse
matrix becomes dense,  A[row_i, column_i] += data_i,  after its indices were checked; a chumpy value becomes its `x`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmrfit.io.budget import LARGE, Meter, TooLarge, brief, check_bytes, uncollected
from hmrfit.io.pickles import Name, Node, RefusedFile, read_pickle_tree

PLAIN_TYPE = re.compile(r"(b1|[iu][1248]|f[248]|S[1-9]\d{0,3}|U[1-9]\d{0,3})")
MAX_SIDE = 1 << 40
"""Rows or columns of a sparse matrix: larger numbers are none that numpy can count with."""

MAX_DEPTH = 40


def read_pickle(path: str | Path) -> Any:
    """The values of a pickle file without running it: plain Python values and numpy arrays.

    Sets come as lists, Python 2's strings as str (Latin-1), sparse matrices dense, chumpy values as their arrays.

    Raises:
        FileNotFoundError: no such file.
        RefusedFile: it asks for anything that is not data, is damaged, or is made to exhaust the machine.
    """
    meter = Meter("it")
    with uncollected(LARGE + 1):
        return _read(path, meter)


def _read(path: str | Path, meter: Meter) -> Any:
    tree = read_pickle_tree(path, meter)
    try:
        return _Meaning(meter).of(tree)
    except (RefusedFile, TooLarge) as error:
        raise RefusedFile(f"'{path}' was refused: {error} Nothing in it has been run.") from None


class _Meaning:
    """Each value is worked out once, so what the file shares stays shared and cannot multiply; but a short file can
    name the same data a thousand times. So whatever is made is counted before it is made."""

    def __init__(self, meter: Meter) -> None:
        self.known: dict[int, Any] = {}
        self.depth = 0
        self.meter = meter

    def of(self, value: Any) -> Any:
        if not isinstance(value, dict | list | tuple | Node | Name):
            return value
        if id(value) not in self.known:
            self.known[id(value)] = _UNFINISHED
            self.known[id(value)] = self._descend(value)
        if self.known[id(value)] is _UNFINISHED:
            raise RefusedFile("a value contains itself.")
        return self.known[id(value)]

    def _descend(self, value: Any) -> Any:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise RefusedFile(f"its values are nested deeper than {MAX_DEPTH}.")
        try:
            return self._work_out(value)
        finally:
            self.depth -= 1

    def _work_out(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.of(v) for key, v in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self.of(v) for v in value)
        if isinstance(value, Name):
            return value
        args, state = self.of(value.args), self.of(value.state)
        try:
            return _MAKERS[value.name](args, state, self.meter)
        except (RefusedFile, TooLarge):
            raise
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            said = f"{type(error).__name__}: {brief(str(error))}"
            raise RefusedFile(f"a {value.name} in it is damaged ({said}).") from None


_UNFINISHED = object()


def _bytes(raw: Any) -> bytes:
    return raw.encode("latin1") if isinstance(raw, str) else raw


def _dtype(args: tuple, state: Any, meter: Meter) -> np.dtype:
    """numpy.dtype('f8', False, True) with the state (version, byte order, subtype, names, fields, ...)."""
    if not PLAIN_TYPE.fullmatch(args[0]):
        raise RefusedFile(f"an array in it has the type {brief(args[0])!r}; only plain numbers and text are read.")
    order = "|" if state is None else state[1]
    if order not in ("<", ">", "|", "=") or (state is not None and any(part is not None for part in state[2:5])):
        raise RefusedFile("an array in it has a structured type; only plain numbers and text are read.")
    return np.dtype(args[0]).newbyteorder(order)


def _plain(data: Any, dtype: Any, shape: Any, fortran: bool, meter: Meter) -> np.ndarray:
    """The array of these bytes; its size is exactly that of the bytes."""
    if not isinstance(dtype, np.dtype) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 8:
        raise RefusedFile("an array in it has no plain type and shape.")
    if not isinstance(data, bytes | str):
        raise RefusedFile("an array in it holds objects; only plain numbers and text are read.")
    meter.add(2 * len(data))
    flat = np.frombuffer(_bytes(data), dtype) if len(data) else np.empty(0, dtype)
    array = flat.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="), order="C")
    meter.free(len(data))
    return array


def _array(args: tuple, state: Any, meter: Meter) -> np.ndarray:
    """_reconstruct(ndarray, (0,), b'b') with the state ([version,] shape, dtype, fortran, data)."""
    shape, dtype, fortran, data = state[-4:]
    return _plain(data, dtype, shape, fortran, meter)


def _from_buffer(args: tuple, state: Any, meter: Meter) -> np.ndarray:
    data, dtype, shape, order = args
    return _plain(data, dtype, shape, order == "F", meter)


def _scalar(args: tuple, state: Any, meter: Meter) -> Any:
    return _plain(args[1], args[0], (), False, meter)[()]


def _checked_shape(state: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = (int(n) for n in state.get("_shape", state.get("shape")))
    return rows, columns


def dense_from_triplets(
    shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, data: np.ndarray, meter: Meter
) -> np.ndarray:
    """A[row_i, column_i] += data_i; as in SciPy, an element named twice is summed.

    Raises:
        RefusedFile: the indices are no integers, or do not fit the shape or the data. TooLarge: A is.
    """
    if min(shape) < 0 or max(shape) > MAX_SIDE:
        raise RefusedFile(f"a sparse matrix in it has the shape ({shape[0]}, {shape[1]}).")
    for index, size in ((rows, shape[0]), (columns, shape[1])):
        if index.dtype.kind not in "iu" or data.dtype.kind not in "biuf" or index.shape != data.shape or data.ndim != 1:
            raise RefusedFile("a sparse matrix in it has indices that do not go with its data.")
        if index.size and (index.min() < 0 or index.max() >= size):
            raise RefusedFile("a sparse matrix in it has indices outside its shape.")
    meter.add(shape[0] * shape[1] * data.dtype.itemsize + 32 * data.size)
    out = np.zeros(shape, data.dtype)
    np.add.at(out, (rows.astype(np.int64), columns.astype(np.int64)), data)
    return out


def _decompressed(
    shape: tuple[int, int], data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, by_column: bool, meter: Meter
) -> np.ndarray:
    """SciPy's csc when `by_column`, else its csr: entries indptr[i]:indptr[i+1] belong to column (row) i."""
    major = shape[1] if by_column else shape[0]
    meter.add(32 * (indptr.size + data.size))
    steps = np.diff(indptr.astype(np.int64))
    if indptr.shape != (major + 1,) or indptr[0] != 0 or indptr[-1] != len(data) or (steps < 0).any():
        raise RefusedFile("a sparse matrix in it has pointers that do not go with its data.")
    own = np.repeat(np.arange(major), steps)
    rows, columns = (indices, own) if by_column else (own, indices)
    return dense_from_triplets(shape, rows, columns, data, meter)


Maker = Callable[[tuple, Any, Meter], Any]


def _compressed(by_column: bool) -> Maker:
    return lambda args, state, meter: _decompressed(
        _checked_shape(state), state["data"], state["indices"], state["indptr"], by_column, meter
    )


def _triplets(args: tuple, state: Any, meter: Meter) -> np.ndarray:
    rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
    return dense_from_triplets(_checked_shape(state), rows, columns, state["data"], meter)


def _numbers(value: Any) -> np.ndarray:
    """An array or a number; never a list, whose sharing could make it endless."""
    if isinstance(value, int | float | np.ndarray | np.generic) and np.asarray(value).dtype.kind in "biuf":
        return np.asarray(value)
    raise RefusedFile(f"a chumpy value in it holds a {type(value).__name__} where numbers belong.")


def _selected(args: tuple, state: Any, meter: Meter) -> np.ndarray:
    """chumpy's Select: a.ravel()[idxs], reshaped."""
    values, chosen = _numbers(state["a"]), _numbers(state["idxs"])
    meter.add(values.nbytes + chosen.size * (values.itemsize + 8))
    chosen = values.ravel()[chosen]
    return chosen.reshape(state.get("preferred_shape", chosen.shape))


def _reshaped(args: tuple, state: Any, meter: Meter) -> np.ndarray:
    values = _numbers(state["a"])
    meter.add(values.nbytes)
    return values.reshape(state["newshape"])


def _reconstructed(args: tuple, state: Any, meter: Meter) -> Any:
    """copyreg._reconstructor(cls, object, None): protocol 0's and 1's way to say cls with this state."""
    if not isinstance(args[0], Name) or args[1] != Name("builtins.object"):
        raise RefusedFile("it makes an object in a way that no array needs.")
    return _MAKERS[args[0].path]((), state, meter)


def _encoded(args: tuple, state: Any, meter: Meter) -> bytes:
    if args[1:] not in (("latin1",), ("latin-1",)):
        raise RefusedFile("it encodes bytes by something else than latin1, which is all that is known.")
    meter.add(len(args[0]))
    return args[0].encode("latin1")


def _as_bytes(args: tuple, state: Any, meter: Meter) -> bytes:
    """bytes(b"...") or bytes(), as Python 2 and 3 write them."""
    if not args:
        return b""
    meter.add(len(args[0]))
    return _bytes(args[0])


def _as_list(args: tuple, state: Any, meter: Meter) -> list:
    """set([...]), kept as a list."""
    items = args[0] if args else []
    if type(items) not in (list, tuple):
        raise RefusedFile(f"it makes a set of a {type(items).__name__}.")
    meter.add(64 + 8 * len(items))
    return list(items)


def _no_value(args: tuple, state: Any, meter: Meter) -> Any:
    raise RefusedFile("it calls something that makes no value.")


_MAKERS: dict[str, Maker] = {
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _dtype,
    **{f"scipy.sparse.csc.csc_{kind}": _compressed(by_column=True) for kind in ("matrix", "array")},
    **{f"scipy.sparse.csr.csr_{kind}": _compressed(by_column=False) for kind in ("matrix", "array")},
    **{f"scipy.sparse.coo.coo_{kind}": _triplets for kind in ("matrix", "array")},
    "chumpy.ch.Ch": lambda args, state, meter: _numbers(state["x"]),
    "chumpy.reordering.Select": _selected,
    "chumpy.reordering.Reshape": _reshaped,
    "chumpy.reordering.transpose": lambda args, state, meter: np.transpose(_numbers(state["a"]), state.get("axes")),
    "copyreg._reconstructor": _reconstructed,
    "builtins.set": _as_list,
    "builtins.bytes": _as_bytes,
    "_codecs.encode": _encoded,
    "builtins.object": _no_value,
    "numpy.ndarray": _no_value,
}
"""What each known name makes of (args, state); the meter counts it first."""


def as_numbers(value: Any, what: str) -> np.ndarray:
    """An array, or lists of them in lists, as float64: what a pickle shares is multiplied out here, so it is counted.

    Raises:
        TooLarge: more than the budget. ValueError, TypeError: no numbers.
    """
    check_bytes(8 * _spread_out(value, {}), what)
    return np.asarray(value, np.float64)


def _spread_out(value: Any, known: dict[int, int]) -> int:
    """How many numbers it holds, each counted as often as it is named."""
    if not isinstance(value, list | tuple):
        return int(np.size(value)) if isinstance(value, np.ndarray) else 1
    if id(value) not in known:
        known[id(value)] = 1 + sum(_spread_out(v, known) for v in value)
    return known[id(value)]

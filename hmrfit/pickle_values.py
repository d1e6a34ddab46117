"""What the nodes of a pickle stand for: arrays, numbers, sparse matrices, chumpy's values. See `hmrfit.pickles`.

Every array is made here, by `np.frombuffer` on bytes of the file and with a type of plain numbers or text; a sparse
matrix becomes dense,  A[row_i, column_i] += data_i,  after its indices were checked; a chumpy value becomes its `x`.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hmrfit.pickles import Name, Node, RefusedFile, read_pickle_tree

PLAIN_TYPE = re.compile(r"(b1|[iu][1248]|f[248]|S[1-9]\d{0,3}|U[1-9]\d{0,3})")
MAX_DENSE = 1 << 27
"""Elements of a sparse matrix written out: a gigabyte. SMPL-X's joint regressor has 0.6 million."""
MAX_TOTAL = 4 << 30
"""Bytes of all arrays together, so that a short file cannot name the same data a thousand times."""
MAX_DEPTH = 40


def read_pickle(path: str | Path) -> Any:
    """The values of a pickle file without running it: plain Python values and numpy arrays.

    Sets come as lists, Python 2's strings as str (Latin-1), sparse matrices dense, chumpy values as their arrays.

    Raises:
        FileNotFoundError: no such file.
        RefusedFile: it asks for anything that is not data, is damaged, or is made to exhaust the machine.
    """
    tree = read_pickle_tree(path)
    try:
        return _Meaning().of(tree)
    except RefusedFile as error:
        raise RefusedFile(f"'{path}' was refused: {error} Nothing in it has been run.") from None


class _Meaning:
    """Each value is worked out once, so what the file shares stays shared and cannot multiply."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}
        self.depth = 0
        self.total = 0

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
            return self._counted(_MAKERS[value.name](args, state))
        except RefusedFile:
            raise
        except (KeyError, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError) as error:
            raise RefusedFile(f"a {value.name} in it is damaged ({type(error).__name__}: {error}).") from None

    def _counted(self, value: Any) -> Any:
        self.total += getattr(value, "nbytes", 0)
        if self.total > MAX_TOTAL:
            raise RefusedFile(f"its arrays together are larger than {MAX_TOTAL >> 30} GiB.")
        return value


_UNFINISHED = object()


def _bytes(raw: Any) -> bytes:
    return raw.encode("latin1") if isinstance(raw, str) else raw


def _dtype(args: tuple, state: Any) -> np.dtype:
    """numpy.dtype('f8', False, True) with the state (version, byte order, subtype, names, fields, ...)."""
    if not PLAIN_TYPE.fullmatch(args[0]):
        raise RefusedFile(f"an array in it has the type {args[0]!r}; only plain numbers and text are read.")
    order = "|" if state is None else state[1]
    if order not in ("<", ">", "|", "=") or (state is not None and any(part is not None for part in state[2:5])):
        raise RefusedFile("an array in it has a structured type; only plain numbers and text are read.")
    return np.dtype(args[0]).newbyteorder(order)


def _plain(data: Any, dtype: Any, shape: Any, fortran: bool) -> np.ndarray:
    """The array of these bytes; its size is exactly that of the bytes."""
    if not isinstance(dtype, np.dtype) or not all(type(n) is int and n >= 0 for n in shape) or len(shape) > 8:
        raise RefusedFile("an array in it has no plain type and shape.")
    if not isinstance(data, bytes | str):
        raise RefusedFile("an array in it holds objects; only plain numbers and text are read.")
    flat = np.frombuffer(_bytes(data), dtype) if len(data) else np.empty(0, dtype)
    array = flat.reshape(shape, order="F" if fortran else "C")
    return array.astype(dtype.newbyteorder("="), order="C")


def _array(args: tuple, state: Any) -> np.ndarray:
    """_reconstruct(ndarray, (0,), b'b') with the state ([version,] shape, dtype, fortran, data)."""
    shape, dtype, fortran, data = state[-4:]
    return _plain(data, dtype, shape, fortran)


def _from_buffer(args: tuple, state: Any) -> np.ndarray:
    data, dtype, shape, order = args
    return _plain(data, dtype, shape, order == "F")


def _scalar(args: tuple, state: Any) -> Any:
    return _plain(args[1], args[0], (), False)[()]


def _checked_shape(state: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = (int(n) for n in state.get("_shape", state.get("shape")))
    if min(rows, columns) < 0 or rows * columns > MAX_DENSE:
        raise RefusedFile(f"a sparse matrix in it has the shape ({rows}, {columns}), which is too large.")
    return rows, columns


def dense_from_triplets(shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, data: np.ndarray) -> np.ndarray:
    """A[row_i, column_i] += data_i; as in SciPy, an element named twice is summed.

    Raises:
        RefusedFile: the indices are no integers, or do not fit the shape or the data.
    """
    for index, size in ((rows, shape[0]), (columns, shape[1])):
        if index.dtype.kind not in "iu" or data.dtype.kind not in "biuf" or index.shape != data.shape or data.ndim != 1:
            raise RefusedFile("a sparse matrix in it has indices that do not go with its data.")
        if index.size and (index.min() < 0 or index.max() >= size):
            raise RefusedFile("a sparse matrix in it has indices outside its shape.")
    out = np.zeros(shape, data.dtype)
    np.add.at(out, (rows.astype(np.int64), columns.astype(np.int64)), data)
    return out


def _decompressed(
    shape: tuple[int, int], data: np.ndarray, indices: np.ndarray, indptr: np.ndarray, by_column: bool
) -> np.ndarray:
    """SciPy's csc when `by_column`, else its csr: entries indptr[i]:indptr[i+1] belong to column (row) i."""
    major = shape[1] if by_column else shape[0]
    steps = np.diff(indptr.astype(np.int64))
    if indptr.shape != (major + 1,) or indptr[0] != 0 or indptr[-1] != len(data) or (steps < 0).any():
        raise RefusedFile("a sparse matrix in it has pointers that do not go with its data.")
    own = np.repeat(np.arange(major), steps)
    return (
        dense_from_triplets(shape, indices, own, data) if by_column else dense_from_triplets(shape, own, indices, data)
    )


def _compressed(by_column: bool) -> Callable[[tuple, Any], np.ndarray]:
    return lambda args, state: _decompressed(
        _checked_shape(state), state["data"], state["indices"], state["indptr"], by_column
    )


def _triplets(args: tuple, state: Any) -> np.ndarray:
    rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
    return dense_from_triplets(_checked_shape(state), rows, columns, state["data"])


def _numbers(value: Any) -> np.ndarray:
    """An array or a number; never a list, whose sharing could make it endless."""
    if isinstance(value, int | float | np.ndarray | np.generic) and np.asarray(value).dtype.kind in "biuf":
        return np.asarray(value)
    raise RefusedFile(f"a chumpy value in it holds a {type(value).__name__} where numbers belong.")


def _selected(args: tuple, state: Any) -> np.ndarray:
    """chumpy's Select: a.ravel()[idxs], reshaped."""
    chosen = _numbers(state["a"]).ravel()[_numbers(state["idxs"])]
    return chosen.reshape(state.get("preferred_shape", chosen.shape))


def _reconstructed(args: tuple, state: Any) -> Any:
    """copyreg._reconstructor(cls, object, None): protocol 0's and 1's way to say cls with this state."""
    if not isinstance(args[0], Name) or args[1] != Name("builtins.object"):
        raise RefusedFile("it makes an object in a way that no array needs.")
    return _MAKERS[args[0].path]((), state)


def _encoded(args: tuple, state: Any) -> bytes:
    if args[1:] not in (("latin1",), ("latin-1",)):
        raise RefusedFile(f"it encodes bytes by {args[1:]}; only latin1 is known.")
    return args[0].encode("latin1")


def _no_value(args: tuple, state: Any) -> Any:
    raise RefusedFile("it calls something that makes no value.")


_MAKERS: dict[str, Callable[[tuple, Any], Any]] = {
    "numpy.core.multiarray._reconstruct": _array,
    "numpy.core.multiarray.scalar": _scalar,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": _dtype,
    **{f"scipy.sparse.csc.csc_{kind}": _compressed(by_column=True) for kind in ("matrix", "array")},
    **{f"scipy.sparse.csr.csr_{kind}": _compressed(by_column=False) for kind in ("matrix", "array")},
    **{f"scipy.sparse.coo.coo_{kind}": _triplets for kind in ("matrix", "array")},
    "chumpy.ch.Ch": lambda args, state: _numbers(state["x"]),
    "chumpy.reordering.Select": _selected,
    "chumpy.reordering.Reshape": lambda args, state: _numbers(state["a"]).reshape(state["newshape"]),
    "chumpy.reordering.transpose": lambda args, state: np.transpose(_numbers(state["a"]), state.get("axes")),
    "copyreg._reconstructor": _reconstructed,
    "builtins.set": lambda args, state: list(args[0]) if args else [],
    "builtins.bytes": lambda args, state: _bytes(args[0]) if args else b"",
    "_codecs.encode": _encoded,
    "builtins.object": _no_value,
    "numpy.ndarray": _no_value,
}
"""What each known name makes of (args, state)."""

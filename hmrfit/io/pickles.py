"""Pickles read as data: a machine that builds values and calls nothing; then arrays are made of what it built.

A pickle is a program for a small stack machine, and the usual reader runs it: that is how a file can start anything.
This one runs only the part that stacks values. Where the program asks for a call it writes down what was asked:

    GLOBAL           module, name   -> the name, when `MAKERS` has it; else the whole file is refused
    REDUCE, NEWOBJ   name, args     -> Node(name, args)       instead of name(*args)
    BUILD            node, state    -> node.state = state     instead of node.__setstate__(state)

Then `MAKERS` says which array a node stands for. Every array is made by `np.frombuffer` on bytes of the file and with a
type of plain numbers or text; a sparse matrix becomes dense, A[row_i, column_i] += data_i, after its indices were
checked; a chumpy value becomes its `x`. Python 2's byte strings become str by Latin-1, one character for one byte, so
that nothing is lost.
"""

import codecs
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.bounded import read_bytes
from hmrfit.io.budget import LARGE, Meter, TooLarge, brief, check_bytes, uncollected
from hmrfit.ops.how_many import how_many

MAX_STEPS = 1_000_000
"""Published body files have some hundreds of opcodes; beyond this a file is made to exhaust, not to be read."""

LATIN = bytes(range(0xC4))
"""The bytes of characters up to U+00FF in UTF-8: Python 3 writes bytes as such texts in its older protocols."""

ALIASES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core": "numpy.core",
    "scipy.sparse._": "scipy.sparse.",
}


class RefusedFile(ValueError):
    """A file that asks for more than data, is damaged, or is made to exhaust the machine. Nothing of it was run."""


@dataclass(frozen=True, slots=True)
class Name:
    """A known global, by name only."""

    path: str


@dataclass(eq=False, slots=True)
class Node:
    """What a call would have made: the callable's name, its arguments, and the state given afterwards."""

    name: str
    args: tuple
    state: Any = None


def read_pickle(path: str | Path, most_steps: int | None = None) -> Any:
    """The values of a pickle file without running it: plain Python values and numpy arrays.

    Sets come as lists, Python 2's strings as str (Latin-1), sparse matrices dense, chumpy values as their arrays.

    Args:
        most_steps: of the pickle's program; None for `MAX_STEPS`.
    Raises:
        FileNotFoundError: no such file.
        RefusedFile: it asks for anything that is not data, is damaged, or is made to exhaust the machine.
    """
    meter = Meter("it")
    try:
        with uncollected(LARGE + 1):
            data = read_bytes(path)
            meter.add(len(data))
            tree = Machine(data, meter).run(most_steps)
            meter.free(len(data))
            del data
            return _Meaning(meter).of(tree)
    except (RefusedFile, TooLarge) as error:
        why = str(error).replace(f"'{path}'", "it", 1)
        raise RefusedFile(f"'{path}' was refused: {why} Nothing in it has been run.") from None


class Machine:
    """The stack, the memo and the reading position of one pickle."""

    def __init__(self, data: bytes, meter: Meter) -> None:
        self.data = data
        self.meter = meter
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self, most_steps: int | None = None) -> Any:
        most_steps = MAX_STEPS if most_steps is None else most_steps
        for _ in range(most_steps):
            code = self.take(1)
            if code == b".":
                return self.pop()
            step = _STEPS.get(code)
            if step is None:
                raise RefusedFile(_unknown_opcode(code, self.at == 1))
            try:
                step(self)
            except (RefusedFile, TooLarge):
                raise
            except (IndexError, KeyError, ValueError, TypeError, AttributeError, OverflowError, struct.error) as error:
                raise RefusedFile(
                    f"it is damaged at byte {self.at}, or no pickle ({type(error).__name__}: {brief(str(error))})."
                ) from None
        raise RefusedFile(f"it takes more than {how_many(most_steps, 'steps')}; body files take hundreds.")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if count < 0 or self.at + count > len(self.data):
            raise RefusedFile(f"it ends too early, at byte {len(self.data)}: truncated, or not a pickle.")
        self.at += count
        return self.data[self.at - count : self.at]

    def line(self) -> str:
        """The next line, without its end."""
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise RefusedFile("it ends in the middle of a line: truncated, or not a pickle.")
        line, self.at = self.data[self.at : end], end + 1
        self.meter.add(4 * len(line))
        return line.decode("latin1")

    def number(self, form: str) -> Any:
        """One number in `struct`'s form."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def sized(self, form: str) -> bytes:
        """Bytes that follow their own length."""
        count = self.number(form)
        self.meter.add(min(max(count, 0), len(self.data)))
        return self.take(count)

    def text(self, form: str) -> str:
        """The same in UTF-8. One character beyond Latin-1 makes all of them two or four bytes wide."""
        raw = self.sized(form)
        if not raw.isascii() and raw.translate(None, LATIN):
            self.meter.add(3 * len(raw))
        return raw.decode("utf-8", "surrogatepass")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def pop(self) -> Any:
        if not self.stack or (self.marks and self.marks[-1] >= len(self.stack)):
            raise RefusedFile(f"it is damaged at byte {self.at}, or no pickle (nothing on the stack).")
        return self.stack.pop()

    def pop_marked(self) -> list[Any]:
        """Everything above the last mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def pop_tuple(self, count: int) -> None:
        self.push(tuple([self.pop() for _ in range(count)][::-1]))

    def dup(self) -> None:
        value = self.pop()
        self.stack += [value, value]

    def remember(self, key: int) -> None:
        self.memo[key] = self.stack[-1]

    def extend(self, values: list[Any]) -> None:
        """APPEND, APPENDS, ADDITEMS: the container below is a list (sets are kept as lists)."""
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError(f"items for a {type(target).__name__}")
        target += values

    def set_items(self, flat: list[Any]) -> None:
        """SETITEM, SETITEMS: keys are strings or small integers, whose hashes cannot be made to collide."""
        target = self.stack[-1]
        if type(target) is not dict:
            raise TypeError(f"keys for a {type(target).__name__}")
        target.update(_pairs(flat))

    def name(self, module: str, name: str) -> Name:
        if type(module) is not str or type(name) is not str:
            raise TypeError("a name that is not text")
        return Name(_known(module, name))

    def call(self, args: Any, what: Any) -> None:
        """REDUCE and its relatives: written down, not done."""
        if type(what) is not Name or type(args) is not tuple:
            raise RefusedFile("it calls something that is not one of the known names.")
        self.push(Node(what.path, args))

    def persistent(self, said: Any) -> Any:
        """What stands for an object outside of the file."""
        raise RefusedFile(_unknown_opcode(b"Q", False))

    def build(self) -> None:
        state, node = self.pop(), self.stack[-1]
        if type(node) is not Node:
            raise RefusedFile("it sets the state of something that is no array.")
        node.state = state


def _known(module: str, name: str) -> str:
    """The name under its oldest module, or a refusal that says which one was asked for."""
    path = f"{module}.{name}"
    for new, old in ALIASES.items():
        if path.startswith(new):
            path = old + path.removeprefix(new)
    if path not in MAKERS:
        raise RefusedFile(
            f"it asks for {brief(f'{module}.{name}')}, which is no part of an array, a sparse matrix or a chumpy "
            "value. If you trust where it comes from, convert it to .npz with the program that wrote it."
        )
    return path


def _pairs(flat: list[Any]) -> dict[Any, Any]:
    for key in flat[::2]:
        if not (type(key) in (str, bytes) or (type(key) is int and abs(key) < 1 << 31)):
            raise TypeError(f"a {type(key).__name__} as key")
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _unknown_opcode(code: bytes, first: bool) -> str:
    if code in b"PQ":
        return "it refers to objects outside the file (persistent ids)."
    if code in b"\x82\x83\x84":
        return "it refers to Python's extension registry."
    if first:
        return "it is not a pickle."
    return f"it uses the opcode {code!r}, which no array needs."


def _integer_line(text: str) -> int | bool:
    """Protocol 0 writes True as 01 and False as 00."""
    return text == "01" if text in ("00", "01") else int(text.removesuffix("L"))


def _string_line(text: str) -> str:
    if len(text) < 2 or text[0] != text[-1] or text[0] not in "'\"":
        raise ValueError("a string without quotes")
    return codecs.escape_decode(text[1:-1].encode("latin1"))[0].decode("latin1")


def _long(raw: bytes) -> int:
    return int.from_bytes(raw, "little", signed=True)


Step = Callable[[Machine], Any]

_CONSTANTS: dict[bytes, Step] = {
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"I": lambda m: _integer_line(m.line()),
    b"L": lambda m: int(m.line().removesuffix("L")),
    b"J": lambda m: m.number("<i"),
    b"K": lambda m: m.number("<B"),
    b"M": lambda m: m.number("<H"),
    b"\x8a": lambda m: _long(m.sized("<B")),
    b"\x8b": lambda m: _long(m.sized("<i")),
    b"F": lambda m: float(m.line()),
    b"G": lambda m: m.number(">d"),
    b"S": lambda m: _string_line(m.line()),
    b"T": lambda m: m.sized("<i").decode("latin1"),
    b"U": lambda m: m.sized("<B").decode("latin1"),
    b"V": lambda m: m.line().encode("latin1").decode("raw-unicode-escape"),
    b"X": lambda m: m.text("<I"),
    b"\x8c": lambda m: m.text("<B"),
    b"\x8d": lambda m: m.text("<Q"),
    b"B": lambda m: m.sized("<I"),
    b"C": lambda m: m.sized("<B"),
    b"\x8e": lambda m: m.sized("<Q"),
    b"\x96": lambda m: m.sized("<Q"),
    b"]": lambda m: [],
    b"}": lambda m: {},
    b")": lambda m: (),
    b"\x8f": lambda m: [],
    b"l": lambda m: m.pop_marked(),
    b"d": lambda m: _pairs(m.pop_marked()),
    b"t": lambda m: tuple(m.pop_marked()),
    b"\x91": lambda m: m.pop_marked(),
    b"g": lambda m: m.memo[int(m.line())],
    b"h": lambda m: m.memo[m.number("<B")],
    b"j": lambda m: m.memo[m.number("<I")],
    b"c": lambda m: m.name(m.line(), m.line()),
}
"""Opcodes that push one value."""


def _instance(m: Machine) -> None:
    """INST and OBJ, of Python 2's old classes: the class stands in the program, or just above the mark."""
    raise RefusedFile("it makes an instance of an old-style class, which no array is.")


def _pushing(value: Step) -> Step:
    return lambda m: m.push(value(m))


def _named_instance(m: Machine) -> None:
    m.name(m.line(), m.line())
    _instance(m)


_STEPS: dict[bytes, Step] = {
    **{code: _pushing(value) for code, value in _CONSTANTS.items()},
    b"\x80": lambda m: m.take(1),
    b"\x95": lambda m: m.take(8),
    b"(": lambda m: m.marks.append(len(m.stack)),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.pop_marked(),
    b"2": lambda m: m.dup(),
    b"\x85": lambda m: m.pop_tuple(1),
    b"\x86": lambda m: m.pop_tuple(2),
    b"\x87": lambda m: m.pop_tuple(3),
    b"a": lambda m: m.extend([m.pop()]),
    b"e": lambda m: m.extend(m.pop_marked()),
    b"\x90": lambda m: m.extend(m.pop_marked()),
    b"s": lambda m: m.set_items([m.pop(), m.pop()][::-1]),
    b"u": lambda m: m.set_items(m.pop_marked()),
    b"p": lambda m: m.remember(int(m.line())),
    b"q": lambda m: m.remember(m.number("<B")),
    b"r": lambda m: m.remember(m.number("<I")),
    b"\x94": lambda m: m.remember(len(m.memo)),
    b"\x93": lambda m: m.push(m.name(*[m.pop(), m.pop()][::-1])),
    b"R": lambda m: m.call(m.pop(), m.pop()),
    b"\x81": lambda m: m.call(m.pop(), m.pop()),
    b"b": lambda m: m.build(),
    b"Q": lambda m: m.push(m.persistent(m.pop())),
    b"i": _named_instance,
    b"o": _instance,
}
"""Every opcode this machine knows; the letters are Python's own (its `pickle` module lists them)."""


# ---- what the nodes stand for

PLAIN_TYPE = re.compile(r"(b1|[iu][1248]|f[248]|S[1-9]\d{0,3}|U[1-9]\d{0,3})")
"""The types of plain numbers and texts, as numpy writes them."""

MAX_SIDE = 1 << 40
"""Rows or columns of a sparse matrix: larger numbers are none that numpy can count with."""

MAX_DEPTH = 40
"""Lists, dictionaries and nodes within one another."""


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
            return MAKERS[value.name](args, state, self.meter)
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


def _plain(data: Any, dtype: Any, shape: Any, fortran: bool, meter: Meter) -> NDArray:
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


def _array(args: tuple, state: Any, meter: Meter) -> NDArray:
    """_reconstruct(ndarray, (0,), b'b') with the state ([version,] shape, dtype, fortran, data)."""
    shape, dtype, fortran, data = state[-4:]
    return _plain(data, dtype, shape, fortran, meter)


def _from_buffer(args: tuple, state: Any, meter: Meter) -> NDArray:
    data, dtype, shape, order = args
    return _plain(data, dtype, shape, order == "F", meter)


def _scalar(args: tuple, state: Any, meter: Meter) -> Any:
    return _plain(args[1], args[0], (), False, meter)[()]


def _checked_shape(state: Mapping[str, Any]) -> tuple[int, int]:
    rows, columns = (int(n) for n in state.get("_shape", state.get("shape")))
    return rows, columns


def dense_from_triplets(
    shape: tuple[int, int], rows: NDArray, columns: NDArray, data: NDArray, meter: Meter
) -> NDArray:
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
    shape: tuple[int, int], data: NDArray, indices: NDArray, indptr: NDArray, by_column: bool, meter: Meter
) -> NDArray:
    """SciPy's csc when `by_column`, else its csr: entries indptr[i]:indptr[i+1] belong to column (row) i."""
    major = shape[1] if by_column else shape[0]
    meter.add(32 * (indptr.size + data.size))
    pointers = indptr.astype(np.int64)
    steps: NDArray[np.int64] = pointers[1:] - pointers[:-1]
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


def _triplets(args: tuple, state: Any, meter: Meter) -> NDArray:
    rows, columns = state["coords"] if "coords" in state else (state["row"], state["col"])
    return dense_from_triplets(_checked_shape(state), rows, columns, state["data"], meter)


def _numbers(value: Any) -> NDArray:
    """An array or a number; never a list, whose sharing could make it endless."""
    if isinstance(value, int | float | np.ndarray | np.generic) and np.asarray(value).dtype.kind in "biuf":
        return np.asarray(value)
    raise RefusedFile(f"a chumpy value in it holds a {type(value).__name__} where numbers belong.")


def _selected(args: tuple, state: Any, meter: Meter) -> NDArray:
    """chumpy's Select: a.ravel()[idxs], reshaped."""
    values, chosen = _numbers(state["a"]), _numbers(state["idxs"])
    meter.add(values.nbytes + chosen.size * (values.itemsize + 8))
    chosen = values.ravel()[chosen]
    return chosen.reshape(state.get("preferred_shape", chosen.shape))


def _reshaped(args: tuple, state: Any, meter: Meter) -> NDArray:
    values = _numbers(state["a"])
    meter.add(values.nbytes)
    return values.reshape(state["newshape"])


def _reconstructed(args: tuple, state: Any, meter: Meter) -> Any:
    """copyreg._reconstructor(cls, object, None): protocol 0's and 1's way to say cls with this state."""
    if not isinstance(args[0], Name) or args[1] != Name("builtins.object"):
        raise RefusedFile("it makes an object in a way that no array needs.")
    return MAKERS[args[0].path]((), state, meter)


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


MAKERS: dict[str, Maker] = {
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


def as_numbers(value: Any, what: str) -> NDArray:
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

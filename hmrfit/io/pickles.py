"""Pickles read as data: a machine that builds values and calls nothing.

A pickle is a program for a small stack machine, and the usual reader runs it: that is how a file can start anything.
This one runs only the part that stacks values. Where the program asks for a call it writes down what was asked:

    GLOBAL           module, name   -> the name, when `KNOWN` has it; else the whole file is refused
    REDUCE, NEWOBJ   name, args     -> Node(name, args)       instead of name(*args)
    BUILD            node, state    -> node.state = state     instead of node.__setstate__(state)

`hmrfit.io.pickle_values` then says which array a node stands for. Python 2's byte strings become str by Latin-1, one
character for one byte, so that nothing is lost.
"""

import codecs
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmrfit.io.bounded import read_bytes
from hmrfit.io.budget import Meter, TooLarge, brief

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

KNOWN = frozenset(
    {
        "numpy.core.multiarray._reconstruct",
        "numpy.core.multiarray.scalar",
        "numpy.core.numeric._frombuffer",
        "numpy.ndarray",
        "numpy.dtype",
        "scipy.sparse.csc.csc_matrix",
        "scipy.sparse.csr.csr_matrix",
        "scipy.sparse.coo.coo_matrix",
        "scipy.sparse.csc.csc_array",
        "scipy.sparse.csr.csr_array",
        "scipy.sparse.coo.coo_array",
        "chumpy.ch.Ch",
        "chumpy.reordering.Select",
        "chumpy.reordering.Reshape",
        "chumpy.reordering.transpose",
        "copyreg._reconstructor",
        "builtins.object",
        "builtins.set",
        "builtins.bytes",
        "_codecs.encode",
    }
)
"""The names a pickle may mention, under their oldest modules. They are compared, never imported."""


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


def read_pickle_tree(path: str | Path, meter: Meter | None = None) -> Any:
    """The values in a pickle file: dicts, lists, tuples, strings, bytes, numbers, None, and `Node`s.

    Args:
        meter: counts the bytes that the values take; the file's own beside them while it is read.
    Raises:
        FileNotFoundError: no such file. RefusedFile: it asks for anything else, or is damaged, or is too large.
    """
    meter = meter or Meter("it")
    try:
        data = read_bytes(path)
        meter.add(len(data))
        tree = Machine(data, meter).run()
        meter.free(len(data))
        return tree
    except TooLarge as error:
        raise RefusedFile(_refused(path, str(error).replace(f"'{path}'", "it", 1))) from None
    except RefusedFile as error:
        raise RefusedFile(_refused(path, str(error))) from None


def _refused(path: str | Path, why: str) -> str:
    return f"'{path}' was refused: {why} Nothing in it has been run."


class Machine:
    """The stack, the memo and the reading position of one pickle."""

    def __init__(self, data: bytes, meter: Meter) -> None:
        self.data = data
        self.meter = meter
        self.at = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MAX_STEPS):
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
        raise RefusedFile(f"it takes more than {MAX_STEPS} steps; body files take hundreds.")

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
    if path not in KNOWN:
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


def _named_instance(m: Machine) -> None:
    m.name(m.line(), m.line())
    _instance(m)


_STEPS: dict[bytes, Step] = {
    **{code: lambda m, value=value: m.push(value(m)) for code, value in _CONSTANTS.items()},
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

"""What a file of torch.save would take, before torch reads it: its pickle is followed by the machine that runs nothing.

    Σ over storages  elements · itemsize        what is read
    Σ over tensors   Π shape · itemsize         what a copy takes: a tensor of stride 0 has any size on one number

Two layouts: a zip of `data.pkl` and a member for each storage, stored as they are; and, before torch 1.6, five pickles
in a row, then the storages.
"""

import math
import zipfile
from pathlib import Path
from typing import Any

from hmrfit.io.bounded import check_directory, check_regular, read_bytes
from hmrfit.io.budget import Meter, check_bytes
from hmrfit.io.pickles import Machine, Name, Node, RefusedFile
from hmrfit.ops.how_many import how_many

ITEM_SIZES = {
    "Double": 8, "Long": 8, "ComplexDouble": 16, "ComplexFloat": 8, "Float": 4, "Int": 4, "Half": 2, "BFloat16": 2,
    "Short": 2, "Char": 1, "Byte": 1, "Bool": 1, "Untyped": 1,
}  # fmt: skip
"""Bytes of an element, by the name of its storage's class; 8 for any other."""

LEGACY_PICKLES = 5
"""A magic number, the version, the machine, the values, the storages' names."""

MOST_DEPTH = 100


class _Described(Machine):
    """A machine that also takes names that are not known and storages by their description: nothing is made of them."""

    def name(self, module: str, name: str) -> Name:
        if type(module) is not str or type(name) is not str:
            raise TypeError("a name that is not text")
        return Name(f"{module}.{name}")

    def persistent(self, said: Any) -> Node:
        """('storage', class, key, device, elements, ...)"""
        return Node("storage", said if type(said) is tuple else ())

    def build(self) -> None:
        """The state of a dictionary or of a class: kept where it can be looked at."""
        state, target = self.pop(), self.stack[-1]
        if type(target) is Node:
            target.state = (target.state, state)

    def set_items(self, flat: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is Node:  # an OrderedDict
            target.state = (target.state, flat)
        elif type(target) is dict:
            target.update(zip(map(_key, flat[::2]), flat[1::2], strict=True))
        else:
            raise TypeError(f"keys for a {type(target).__name__}")


def _key(value: Any) -> Any:
    return value if type(value) in (str, bytes, int, bool) or value is None else id(value)


def check_torch_file(path: Path) -> None:
    """That what the file describes may be read.

    Raises:
        FileNotFoundError: no such file. TooLarge: more than the budget. ValueError: damaged, nested without end.
    """
    what, size = f"'{path}'", check_regular(path)
    check_bytes(size, what)
    with path.open("rb") as file:
        programs = [_zipped(file, what)] if file.read(4) == b"PK\x03\x04" else _in_a_row(path, what)
    storages: dict[Any, int] = {}
    tensors = sum(_measure(program, storages) for program in programs)
    check_bytes(max(size, 2 * sum(storages.values())), what)
    check_bytes(max(tensors, size), what)


def _zipped(file: Any, what: str) -> Any:
    """What `data.pkl` says. Members are stored as they are, so none is larger than the file."""
    check_directory(file, what)
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("its members are packed, which torch.save never does")
        check_bytes(2 * sum(member.file_size for member in members), what)
        pickles = [member for member in members if member.filename.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"it has {how_many(len(pickles), 'members')} data.pkl; torch.save writes one")
        return _Described(archive.read(pickles[0]), Meter(what)).run()


def _in_a_row(path: Path, what: str) -> list[Any]:
    data, found = read_bytes(path), []
    machine = _Described(data, Meter(what))
    for _ in range(LEGACY_PICKLES):
        found.append(machine.run())
        machine.stack, machine.marks, machine.memo = [], [], {}
    return found


def _measure(tree: Any, storages: dict[Any, int]) -> int:
    """Bytes that all tensors of a tree would take as copies; its storages are written down by their keys.

    Raises:
        RefusedFile: nested too deeply.
    """
    seen, total = set(), 0
    waiting: list[tuple[Any, int]] = [(tree, 0)]
    while waiting:
        value, depth = waiting.pop()
        if not isinstance(value, dict | list | tuple | Node) or id(value) in seen:
            continue
        if depth > MOST_DEPTH:
            raise RefusedFile(f"its values are nested deeper than {MOST_DEPTH}")
        seen.add(id(value))
        if isinstance(value, Node):
            total += _tensor(value, storages)
            inside = [*value.args, value.state]
        else:
            inside = list(value.values() if isinstance(value, dict) else value)
        waiting += [(v, depth + 1) for v in inside]
    return total


def _tensor(node: Node, storages: dict[Any, int]) -> int:
    """Bytes of the tensor that a call of `_rebuild_tensor` and its relatives would make; a storage is written down."""
    if node.name == "storage":
        kind, key, count = (node.args[i] if len(node.args) > i else None for i in (1, 2, 4))
        if type(count) is not int or count < 0:
            raise RefusedFile("a storage in it has no size")
        storages[_key(key)] = max(count * _item_size(kind), storages.get(_key(key), 0))
        return 0
    if not node.name.startswith("torch._utils._rebuild") or len(node.args) < 3:
        return 0
    storage, shape = node.args[0], node.args[2]
    if type(shape) is not tuple or not all(type(n) is int and n >= 0 for n in shape):
        return 0
    kind = storage.args[1] if isinstance(storage, Node) and len(storage.args) > 1 else None
    return math.prod(shape) * _item_size(kind)


def _item_size(kind: Any) -> int:
    name = kind.path.rpartition(".")[2].removesuffix("Storage") if isinstance(kind, Name) else ""
    return ITEM_SIZES.get(name, 8)

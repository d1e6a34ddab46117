"""Arrays of a file -> parameters of a network, strictly: all of them, or a table of what is missing, unexpected or of
another shape.

Nothing in a file is ever run: npz without Python objects, torch files by their tensors alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hmrfit.io.bounded import read_npz
from hmrfit.io.budget import TooLarge, brief
from hmrfit.io.torch_files import check_torch_file

COUNTER = "num_batches_tracked"
"""A counter of batch norm that no forward pass reads; older files lack it."""

MOST_ROWS = 40


Array = np.ndarray | Tensor
"""Of an npz, or of a file of torch.save."""


class CheckpointMismatch(ValueError):
    """The file is readable, but its arrays are not this network's; the message holds the table."""


@dataclass(frozen=True)
class WeightSource:
    """Where one of our parameters comes from: the arrays of the file, and what makes ours of them."""

    names: tuple[str, ...]
    change: Callable[..., Tensor] = lambda tensor: tensor


def load_from(
    module: nn.Module,
    arrays: Mapping[str, Tensor],
    sources: Mapping[str, WeightSource],
    what: str,
    unused: Callable[[str], bool] = lambda name: False,
) -> None:
    """Fills the module's parameters, strictly.

    Args:
        sources: for every parameter. unused: says of an array's name that it may be left over.
        what: file and network, the beginning of the error.
    Raises:
        CheckpointMismatch: with a table of missing, unexpected and misshapen arrays; the module is as it was.
    """
    state = dict(module.state_dict())
    needed = {name for source in sources.values() for name in source.names}
    rows = [("unexpected", name, _shape(arrays[name])) for name in arrays if name not in needed and not unused(name)]
    for ours, target in state.items():
        source = sources[ours]
        lacking = [name for name in source.names if name not in arrays]
        if not lacking:
            state[ours] = value = _changed(source, arrays)
            if value is None or value.shape != target.shape:
                found = " + ".join(_shape(arrays[name]) for name in source.names)
                rows.append(("shape", " + ".join(source.names), f"{found}, for {_shape(target)} here"))
        elif not ours.endswith(COUNTER):
            rows += [("missing", name, f"for {ours} {_shape(target)}") for name in lacking]
    if rows:
        raise CheckpointMismatch(f"{what}:\n{table(rows)}")
    module.load_state_dict(state)


def check_fits(module: nn.Module, arrays: Mapping[str, Tensor], what: str) -> None:
    """That every parameter is among the arrays, with its shape; of a module without memory, before one is made.

    Raises:
        CheckpointMismatch: with a table, as `load_from`.
    """
    rows = []
    for name, target in module.state_dict().items():
        if name not in arrays:
            rows += [("missing", name, f"for {name} {_shape(target)}")] if not name.endswith(COUNTER) else []
        elif arrays[name].shape != target.shape:
            rows.append(("shape", name, f"{_shape(arrays[name])}, for {_shape(target)} here"))
    if rows:
        needed = set(module.state_dict())
        rows += [("unexpected", name, _shape(arrays[name])) for name in arrays if name not in needed]
        raise CheckpointMismatch(f"{what}:\n{table(rows)}")


def _changed(source: WeightSource, arrays: Mapping[str, Tensor]) -> Tensor | None:
    """The value, or None where the arrays have shapes that the change cannot take."""
    try:
        return source.change(*(arrays[name] for name in source.names))
    except (RuntimeError, IndexError, ValueError):
        return None


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(map(str, tensor.shape))})"


def table(rows: Sequence[tuple[str, str, str]]) -> str:
    """Rows of (kind, name, remark) as aligned text; the kinds counted, long tables cut."""
    rows = sorted(set(rows))
    kinds = [row[0] for row in rows]
    head = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    width = max(len(name) for _, name, _ in rows[:MOST_ROWS])
    lines = [f"  {kind:<11} {name:<{width}}  {remark}" for kind, name, remark in rows[:MOST_ROWS]]
    more = [f"  … and {len(rows) - MOST_ROWS} more"] if len(rows) > MOST_ROWS else []
    return "\n".join([head, *lines, *more])


def as_tensors(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Numbers as tensors, floating ones in float32."""
    for name, value in arrays.items():
        if not isinstance(value, Tensor) and value.dtype.kind not in "biuf":
            raise ValueError(f"`{brief(name)}` should hold numbers, not {value.dtype}.")
    tensors = {name: torch.as_tensor(value) for name, value in arrays.items()}
    return {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}


def read_arrays(path: str | PathLike[str]) -> dict[str, Array]:
    """The named arrays of an npz, or the named tensors of a file of torch.save; nothing in it is run.

    Of a torch file the dictionary under `model` or `state_dict` is taken where there is one, and the prefix `module.`
    of DataParallel is taken off.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint '{path}'. Give the path of a .npz, .pt or .pth file.")
    return _read_npz(path) if path.suffix == ".npz" else _read_torch(path)


def _read_npz(path: Path) -> dict[str, Array]:
    try:
        return {**read_npz(path)}
    except TooLarge:
        raise
    except ValueError as error:
        raise ValueError(f"'{path}' cannot be read as an npz of plain arrays ({error}). Fetch it again.") from error


def read_torch_file(path: Path) -> Any:
    """What torch.save wrote, tensors and plain values; nothing of it is run.

    Raises:
        ValueError: damaged, or it holds more than tensors. TooLarge: its tensors would take more than the budget.
    """
    try:
        check_torch_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except TooLarge:
        raise
    except Exception as error:  # torch raises a dozen kinds for damaged and for refused files
        reason = brief((str(error) or type(error).__name__).splitlines()[0], 200)
        raise ValueError(
            f"'{path}' cannot be read as weights ({reason}). It is damaged, or holds more than "
            "tensors, which is not run. Save its state_dict() alone with torch.save, and try that file."
        ) from error


def _read_torch(path: Path) -> dict[str, Array]:
    data = read_torch_file(path)
    for key in ("model", "state_dict"):
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
    named = data if isinstance(data, Mapping) else {}
    tensors: dict[str, Array] = {
        str(name).removeprefix("module."): t for name, t in named.items() if isinstance(t, Tensor)
    }
    if not tensors:
        raise ValueError(f"'{path}' holds no named tensors. Expected a state_dict as torch.save writes it.")
    return tensors

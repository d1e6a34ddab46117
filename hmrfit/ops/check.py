"""Checks whose error messages say what was expected, what came, what to do next, and the nearest right name.

Shapes are written as words, one per axis: a number is that size, a symbol is any size but the same wherever it stands,
and a leading `...` is any number of axes:

    sizes = check_shape(xy, "B K 2", "xy")
    check_shape(confidence, "B K", "confidence", sizes)
"""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

LONGEST_NAME = 100
"""Characters of a name that are compared: longer names come from damaged files, and take minutes."""


INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.uint32, torch.int64, torch.uint64)

ALIKE = 0.6
"""How alike two names are that differ by a slip of the pen: 2 · letters in common, in order / letters of both."""


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be, or None where none is spelled nearly so."""
    near = _near_names(name, known)
    return near[0] if near else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The half sentence for an error, " Did you mean 'x'?", with its leading space; empty where no name is near."""
    near = [f"'{one}'" for one in _near_names(name, known)]
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _near_names(name: str, known: Iterable[str]) -> list[str]:
    """All names of the family of which `name` is the first part, as h36m of h36m-p1; else the one that is spelled most
    alike; else the shortest that begins with it. Nothing is guessed from what a name means: .obj is not .fbx."""
    lowered = {k.lower(): k for k in known if len(k) <= LONGEST_NAME}
    name = name.lower()[:LONGEST_NAME]
    if family := [k for k in lowered if name and k.startswith(f"{name}-")]:
        return [lowered[k] for k in family]
    suffix = name[:1] == "." and all(k[:1] == "." for k in lowered)
    bare = {k[suffix:]: k for k in lowered}  # the dot, which all have in common, is no likeness
    words = {"_".join(sorted(k.split("_"))): k for k in bare}
    near = get_close_matches(name[suffix:], bare, n=1, cutoff=ALIKE)
    near = near or [words[k] for k in get_close_matches("_".join(sorted(name.split("_"))), words, n=1, cutoff=ALIKE)]
    near = near or sorted((k for k in bare if len(name) > 1 and k.startswith(name[suffix:])), key=len)[:1]
    return [lowered[bare[k]] for k in near]


def _misfit(shape: tuple[int, ...], axes: list[str], sizes: dict[str, int]) -> bool:
    """Whether a shape does not follow its pattern; the sizes of new symbols are written into `sizes`."""
    if axes and axes[0] == "...":
        axes = axes[1:]
        shape = shape[len(shape) - len(axes) :] if len(shape) >= len(axes) else shape
    if len(shape) != len(axes):
        return True
    return any(
        size != (int(a) if a.isdigit() else sizes.setdefault(a, size)) for a, size in zip(axes, shape, strict=True)
    )


def check_shape(
    x: object, pattern: str, name: str, sizes: Mapping[str, int] | None = None, hint: str = ""
) -> dict[str, int]:
    """That `x` (array or tensor) has the shape `pattern` says; returns the sizes of the pattern's symbols.

    Args:
        sizes: of symbols that earlier checks have found; they must agree.
        hint: a last sentence for the error, what to do.
    Raises:
        TypeError: `x` has no shape. ValueError: the shape is another one.
    """
    shape = getattr(x, "shape", None)
    if shape is None:
        raise TypeError(
            f"{name} should be an array or tensor of shape ({_written(pattern, sizes)}), not {type(x).__name__}."
        )
    found = dict(sizes or {})
    if _misfit(tuple(shape), pattern.split(), found):
        raise ValueError(
            f"{name} should have the shape ({_written(pattern, sizes)}), but has {tuple(shape)}. {hint}".rstrip()
        )
    return found


def _written(pattern: str, sizes: Mapping[str, int] | None) -> str:
    """`B K 2` with B = 4 known -> `B=4, K, 2`."""
    return ", ".join(f"{a}={sizes[a]}" if sizes and a in sizes else a for a in pattern.split())


def check_finite(x: ArrayLike | torch.Tensor, name: str, hint: str = "") -> None:
    """That an array or tensor holds neither NaN nor infinity.

    Raises:
        ValueError: says how many there are and where the first one is.
    """
    finite = np.asarray(torch.isfinite(x).cpu() if isinstance(x, torch.Tensor) else np.isfinite(x))
    if finite.all():
        return
    first = tuple(int(i) for i in np.argwhere(~finite)[0])
    at = f" (the first at {list(first)})" if first else ""
    raise ValueError(
        f"{name} holds {int((~finite).sum())} NaN or infinite numbers of {finite.size}{at}. {hint}".rstrip()
    )


def numbers(
    value: object,
    name: str,
    what: str,
    shape: tuple[int, ...] | None = None,
    low: float = -np.inf,
    high: float = np.inf,
    finite: bool = True,
) -> NDArray[np.float64]:
    """Real numbers as float64, from numbers, sequences, arrays and tensors.

    Args:
        name, what: "height" should be "metres, one number or one for each person": how the error messages speak.
        shape: what the numbers should have; one number stands for all of them. None leaves the shape open.
        low, high: where they should lie. finite: whether NaN and infinity are refused; else None is NaN.
    Raises:
        TypeError: text, booleans, complex numbers, other objects. ValueError: another shape, or other numbers.
    """
    array = _real_array(value, may_be_none=not finite)
    if array is None:
        raise TypeError(f"{name} should be {what}, not {brief_repr(value)}.")
    if shape is not None and array.shape not in ((), shape):
        raise ValueError(f"{name} should be {what}, but has the shape {array.shape}.")
    if finite and not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise ValueError(f"{name} should be {what}, but holds {count} NaN or infinite numbers of {array.size}.")
    outside = array[(array < low) | (array > high)]
    if outside.size:
        raise ValueError(f"{name} should be {what}, between {low:g} and {high:g}, but is {outside.flat[0]:g}.")
    return array if shape is None or array.shape == shape else np.broadcast_to(array, shape).copy()


def to_float64(record: object, *names: str) -> None:
    """The fields `names` of a frozen record as float64 arrays; None stays. For `__post_init__`: in integers of 8 or 16
    bits, as detectors give them, sums and differences wrap, and halves hold no pixel above 2,048 exactly."""
    for name in names:
        value = getattr(record, name)
        if value is not None:
            object.__setattr__(record, name, np.asarray(value, np.float64))


def not_integer(value: Any) -> Any:
    """A tensor of integers as float64, for the same reason; everything else stays as it is, 32 bits too."""
    is_integer = isinstance(value, torch.Tensor) and value.dtype in INTEGERS
    return value.double() if is_integer else value


def _real_array(value: object, may_be_none: bool) -> NDArray[np.float64] | None:
    """As a float64 array of its own; None where that is no array of real numbers."""
    try:
        array = np.asarray(value.detach().cpu() if isinstance(value, torch.Tensor) else value)
        if array.dtype.kind == "O" and not all(_is_real(v) or (v is None and may_be_none) for v in array.flat):
            return None
        with np.errstate(over="ignore"):  # what 64 bits cannot hold is infinite, and refused as such
            return array.astype(np.float64) if array.dtype.kind in "iufO" else None
    except OverflowError:  # an integer of hundreds of digits
        return np.array(np.inf)
    except (TypeError, ValueError, RuntimeError):  # lists of different lengths, objects that are no arrays
        return None


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def brief_repr(value: object, longest: int = 60) -> str:
    """A value as an error message can show it: short, whatever it is."""
    try:
        text = repr(value)
    except Exception:  # a repr may fail in any way: an integer of 5,000 digits does
        text = f"something of type {type(value).__name__}"
    return text if len(text) <= longest else f"{text[: longest - 1]}…"

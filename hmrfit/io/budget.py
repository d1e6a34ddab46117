"""What reading one file may take: 2 GB of memory and 64 megapixels, unless the user says otherwise.

    claimed bytes · what the reader makes of each  <=  0.5 · gigabytes · 10⁹       checked before anything is allocated
    width · height                                 <=  megapixels · 10⁶

A file of a few kilobytes can claim any size. The other half is for what Python, torch and the fit take beside:
0.9 GB after ten thousand fits.

    with hmrfit.file_limits(gigabytes=8, megapixels=200):       in Python, for this thread
        hmrfit.fit("panorama.png", ...)
    HMRFIT_GIGABYTES=8 HMRFIT_MEGAPIXELS=200 hmrfit fit ...     from a shell, for everything
"""

import gc
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

FOR_FILES = 0.5
"""Of the gigabytes: what a file's contents may take of them."""

MOST = 10**40
"""Larger claims are as good as this one: a file can write a number that is no float any more."""

LARGE = 1 << 20

VARIABLES = {"gigabytes": "HMRFIT_GIGABYTES", "megapixels": "HMRFIT_MEGAPIXELS"}


class TooLarge(ValueError):
    """A file that would take more than the limits allow. Nothing was allocated for it."""


class FileLimits(NamedTuple):
    """What reading one file may take."""

    gigabytes: float = 2.0
    megapixels: float = 64.0

    @property
    def bytes(self) -> int:
        """What a file's contents may take."""
        return int(FOR_FILES * self.gigabytes * 1e9)


DEFAULT = FileLimits()

_asked: ContextVar[FileLimits | None] = ContextVar("hmrfit_file_limits", default=None)
_environment: Mapping[str, str] = {}


def use_environment(variables: Mapping[str, str]) -> None:
    """Where `VARIABLES` are looked up from now on; `hmrfit` itself names the process's own."""
    global _environment
    _environment = variables


def limits() -> FileLimits:
    """The limits that hold now: those of `file_limits`, else the environment's, else the defaults.

    Raises:
        ValueError: a variable of the environment is no number above 0.
    """
    asked = _asked.get()
    if asked is not None:
        return asked
    said = {name: _environment[v] for name, v in VARIABLES.items() if _environment.get(v)}
    return DEFAULT._replace(**{n: _positive(value, VARIABLES[n]) for n, value in said.items()}) if said else DEFAULT


@contextmanager
def file_limits(gigabytes: float | None = None, megapixels: float | None = None) -> Iterator[FileLimits]:
    """Within the block, in this thread, reading one file may take so much; what is None stays as it was.

    Args:
        gigabytes: of memory, 10⁹ bytes each; `math.inf` for no limit.
        megapixels: of an image, 10⁶ pixels each.
    Raises:
        ValueError, TypeError: not a number above 0.
    """
    asked = {"gigabytes": gigabytes, "megapixels": megapixels}
    new = limits()._replace(**{name: _positive(v, name) for name, v in asked.items() if v is not None})
    token = _asked.set(new)
    try:
        yield new
    finally:
        _asked.reset(token)


def _positive(value: float | str, name: str) -> float:
    """A number above 0; infinity becomes the largest float, with which one can calculate."""
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    except TypeError:
        raise TypeError(f"{name} should be a number above 0, not {type(value).__name__}.") from None
    if not number > 0:
        raise ValueError(f"{name} should be a number above 0, but is {str(value)[:40]!r}.")
    return min(number, 1e200)


def check_bytes(count: int, what: str) -> None:
    """That so many bytes may be taken. what: the file, the beginning of the error message.

    Raises:
        TooLarge: says how much it would be, and how the limit is raised.
    """
    allowed, count = limits(), min(count, MOST)
    if count > allowed.bytes:
        raise TooLarge(
            f"{what} would take about {_amount(count / 1e9)} GB of memory; a file may take "
            f"{allowed.bytes / 1e9:.3g} of the {allowed.gigabytes:g} GB that are allowed. "
            f"{_advice('gigabytes', count / FOR_FILES / 1e9)}"
        )


def check_pixels(width: int, height: int, what: str) -> None:
    """That an image of this size may be decoded; see `check_bytes`."""
    allowed, millions = limits().megapixels, min(width * height, MOST) / 1e6
    if millions > allowed:
        raise TooLarge(
            f"{what} says that it has {width} × {height} pixels, {_amount(millions)} megapixels; at most {allowed:g} "
            f"are read. {_advice('megapixels', millions)}"
        )


def _advice(name: str, needed: float) -> str:
    number = f"{math.ceil(needed * 1.05):d}" if needed < 1e6 else "..."
    return (
        f"If it is meant to be so large, allow it: `with hmrfit.file_limits({name}={number}):` in Python, or "
        f"{VARIABLES[name]}={number} in the environment."
    )


def _amount(number: float) -> str:
    return f"{number:.3g}" if number < 1e6 else "more than a million"


class Meter:
    """Adds up what is taken of one file, and refuses before it is too much."""

    def __init__(self, what: str) -> None:
        self.what, self.taken, self.allowed = what, 0, limits().bytes

    def add(self, count: int) -> None:
        """So many bytes more, about to be allocated. Raises: TooLarge."""
        if self.taken + count > self.allowed:
            check_bytes(self.taken + count, self.what)
        self.taken += count

    def free(self, count: int) -> None:
        """So many bytes less."""
        self.taken -= count


@contextmanager
def uncollected(size: int) -> Iterator[None]:
    """Without Python's search for cycles, which takes most of the time where a file makes millions of lists.

    Args:
        size: bytes of the file; below `LARGE` nothing is changed.
    """
    collecting = gc.isenabled() and size > LARGE
    if collecting:
        gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def brief(value: object, most: int = 80) -> str:
    """Text for an error message, however long a hostile file made it."""
    text = value[: most + 1] if isinstance(value, str) else str(value)
    text = text.replace("\n", " ")
    return text if len(text) <= most else f"{text[:most]}…"

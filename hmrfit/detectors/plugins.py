"""Which detectors there are: classes that installed packages list under the entry point group "hmrfit.detectors".

    entry_points={"hmrfit.detectors": ["mine = my_package.my_module:MyDetector"]}         in the package's setup.py

hmrfit's own are listed there in the same way, and here for a checkout that is not installed. A module is imported, and
weights are read, when its detector is asked for.
"""

from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from hmrfit.ops.check import brief_repr, did_you_mean

GROUP = "hmrfit.detectors"

BUILT_IN = {
    "rtmlib": "hmrfit.detectors.rtmlib:Rtmlib",
    "movenet": "hmrfit.detectors.movenet:MoveNet",
    "mediapipe": "hmrfit.detectors.mediapipe:MediaPipe",
}
"""name -> where it is, the most accurate one first; setup.py has the same lines."""

INSTALL = "hmrfit detector install movenet"
"""The one command that brings a detector."""

HELP = f"Keypoints are missing, and no detector is installed that could find them. This command brings one: {INSTALL}"


def kinds() -> dict[str, EntryPoint]:
    """Every detector by name, hmrfit's own first; a package may not replace one of these."""
    others = {point.name: point for point in entry_points(group=GROUP)}
    return {**others, **{name: EntryPoint(name, place, GROUP) for name, place in BUILT_IN.items()}}


def names() -> list[str]:
    """hmrfit's own in their order, then the others by name."""
    return [*BUILT_IN, *sorted(set(kinds()) - set(BUILT_IN))]


def kind_of_detector(name: str) -> Any:
    """The class of a detector.

    Raises:
        ValueError: no detector has that name. ImportError: its module cannot be imported.
    """
    known = kinds()
    if name not in known:
        near = did_you_mean(name, known)
        raise ValueError(f"There is no detector {brief_repr(name)}.{near} There are: {', '.join(names())}.")
    return known[name].load()


def missing(name: str) -> str | None:
    """None where the detector can run; else the command that brings what is missing."""
    try:
        ask = getattr(kind_of_detector(name), "missing", None)
        return ask() if callable(ask) else None
    except ImportError as error:
        return f"its module cannot be imported ({error})"


def ready() -> Iterator[str]:
    """The names of the detectors that can run, in the order of `names`."""
    return (name for name in names() if missing(name) is None)

"""hmrfit detector install | list."""

from typing import Any

from hmrfit.detectors.plugins import kind_of_detector, missing, names
from hmrfit.io.printable import printable
from hmrfit.ops.how_many import how_many


def detector_command(action: str, name: str = "", source: str | None = None) -> int:
    """Brings a detector's weights, or lists all detectors. 0: done."""
    return list_detectors() if action == "list" else install_detector(name, source)


def install_detector(name: str, source: str | None = None) -> int:
    """Brings the weights of one.

    Raises:
        ValueError, OSError, ImportError: one sentence; nothing was changed.
    """
    kind: Any = kind_of_detector(name)
    install = getattr(kind, "install", None)
    if not callable(install):
        lacking = missing(name)
        print(f"{name} is installed." if lacking is None else f"{name} is brought by: {lacking}")
        return 0 if lacking is None else 1
    print(f"{printable(name)}: in {printable(str(install(source)))}")
    return 0


def list_detectors() -> int:
    """One line each: its name, its keypoints, what is missing. The first that is ready is the default."""
    first = True
    for name in names():
        lacking = missing(name)
        state = f"missing: {lacking}" if lacking else "ready, the default" if first else "ready"
        first = first and lacking is not None
        keypoints = "" if lacking and lacking.startswith("its module") else _keypoints(name)
        print(printable(f"{name:12s} {keypoints:14s} {state}"))
    return 0


def _keypoints(name: str) -> str:
    found = getattr(kind_of_detector(name), "keypoint_set", "")
    return found if isinstance(found, str) else how_many(len(found), "keypoints")

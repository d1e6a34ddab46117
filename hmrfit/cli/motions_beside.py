"""The motion files beside a person's result: written where they are missing, removed with the result they are of.

person_1.npz    person_1_amass.npz  person_1.glb  person_1.bvh  person_1.trc  ...
"""

import filecmp
import os
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from hmrfit.cli.outputs import write_own
from hmrfit.export.amass import ADD_ONS_RATE
from hmrfit.io.own_files import PLACES, is_own, remove_own
from hmrfit.result import FitResult, WorldResult

AMASS = "_amass.npz"


def motions_beside(result: Path, endings: Sequence[str]) -> list[Path]:
    """The motion files of a result."""
    return [result.with_name(f"{result.stem}{ending}") for ending in endings]


def write_missing_motions(file: Path, endings: Sequence[str], result: FitResult | WorldResult) -> None:
    """Writes those that are not there."""
    for path in motions_beside(file, endings):
        if not os.path.lexists(path):
            _write(path, result)


def remove_motions(file: Path, endings: Sequence[str], load: Callable[[Path], FitResult | WorldResult]) -> None:
    """Removes the motion files of a result that is to be replaced, while it is still there.

    A .bvh, .trc or .mot has no room for a remark, so it has to be what that result says, to the last digit; else it is
    the user's and stays.
    """
    old = _loaded(file, load)
    for path in motions_beside(file, endings):
        if path.suffix in PLACES:
            remove_own(path)
        elif old is not None and path.is_file() and not path.is_symlink():
            with tempfile.TemporaryDirectory() as folder:
                _write(again := Path(folder) / path.name, old)
                if filecmp.cmp(again, path, shallow=False):
                    path.unlink()


def _write(path: Path, result: FitResult | WorldResult) -> None:
    """One motion file, over nothing that is there."""
    if path.suffix in PLACES:
        rate = ADD_ONS_RATE if path.name.endswith(AMASS) and (result.fps or 0) < ADD_ONS_RATE else None
        write_own(path, "motion", partial(result.save_motion, fps=rate))
    else:
        result.save_motion(path)  # whole or not at all by itself; a .trc names itself


def _loaded(file: Path, load: Callable[[Path], FitResult | WorldResult]) -> FitResult | WorldResult | None:
    """The result that is there, if it is one of ours."""
    try:
        return load(file) if is_own(file) else None
    except (ValueError, OSError):
        return None

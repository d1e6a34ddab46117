"""The people or frames of a result: their names, choosing among them (`result[i]`, `result[a:b]`), printing them."""

import operator
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, Self

import numpy as np
import torch

from hmrfit.fitting.focal import FittedEnergy
from hmrfit.report.result_text import acceptance, described, joined, reprojection, summary, warning_lines
from hmrfit.types import TensorRecord


class InRows:
    """The part of FitResult that knows its rows, people of one photograph or frames of one person; `hmrfit.result` has
    all that it asks of itself."""

    def __repr__(self) -> str:
        what, share = described(self.rows, self.names, self.fps), self._share()
        return f"FitResult({what}, reprojection {share}, focal {self.focal_source})"

    def __str__(self) -> str:
        """One screen: people or frames, reprojection, focal length, whether it was accepted, warnings."""
        known = None if self.reason is None else self.accepted.tolist()
        level = "not known (up=): views, meshes and motion files take the camera as level"
        if self.up is not None:
            level = f"({', '.join(f'{u:.2f}' for u in self.up)}) in the camera frame"
        facts = [
            ("reprojection", self._share()),
            ("focal length", f"{self.camera.focal[0, 0]:.0f} px ({self.focal_source})"),
            ("accepted", acceptance(known, self.verdict, self.rows, self.names)),
            ("up", level),
        ]
        facts += [(f"given {name}", value) for name, value in self.measurements.items()]
        title = f"FitResult of {self.name}: {described(self.rows, self.names, self.fps)}"
        absent = [f"person {who} is left out: {reason}" for who, reason in self.left_out.items()]
        return summary(title, facts, [*absent, *warning_lines(self.warnings, self.rows, self.names)])

    def _share(self) -> str:
        return reprojection(self.reprojection_error, self.rows, self.names)

    def __getitem__(self, index: int | slice) -> Self:
        """One person or frame, or some of them, as a result of its own. Raises IndexError where there is none."""
        rows = rows_of(index, len(self), self.rows)
        kept = part_of({f.name: getattr(self, f.name) for f in fields(self)}, rows) | {"stamp": ""}
        if self.is_sequence:  # its picture is of one frame, and which is not known
            kept |= {"person_ids": [self.names[i] for i in rows], "image": None, "image_path": None}
            step = index.step if isinstance(index, slice) else None
            kept |= {"fps": None if self.fps is None else self.fps / abs(step or 1)}
        return type(self)(**kept)

    def __iter__(self) -> Iterator[Self]:
        return (self[i] for i in range(len(self)))

    @property
    def names(self) -> list[str]:
        """N, of the people or frames: their ids, else numbers."""
        return joined(self.person_ids, len(self))

    @property
    def is_sequence(self) -> bool:
        """Whether it holds several frames of one person."""
        return self.rows == "frames" and len(self) > 1

    def _at_one_moment(self, what: str) -> None:
        """Refuses to put the frames of a sequence into one picture."""
        if self.is_sequence:
            raise ValueError(
                f"This result is a sequence of {len(self)} frames, which do not belong into one {what}. Take one, "
                f"result[i].{what}(...), or write the motion: result.save_motion('walk.npz')."
            )


def rows_of(index: Any, count: int, what: str) -> list[int]:
    """The rows that an index (a whole number or a slice) chooses of `count`.

    Raises:
        IndexError: there is no such row. TypeError: it is neither.
    """
    if isinstance(index, slice):
        rows = list(range(count)[index])
        if not rows:
            raise IndexError(f"This slice chooses none of the {count} {what}.")
        return rows
    try:
        row = operator.index(index)
    except TypeError:
        raise TypeError(f"A result is indexed by a whole number or a slice, not {type(index).__name__}.") from None
    if not -count <= row < count:
        raise IndexError(f"This result has {count} {what}, numbered from 0; there is no {row}.")
    return [row % count]


def part_of(fields: Mapping[str, Any], rows: list[int]) -> dict[str, Any]:
    """The fields of a FitResult -> those of some of its rows. What belongs to all of them stays as it is."""
    count = len(fields["params"])
    return {name: value if name == "up" else _picked(value, rows, count) for name, value in fields.items()}


def _picked(value: Any, rows: list[int], count: int) -> Any:
    if isinstance(value, TensorRecord):
        return value[torch.tensor(rows)]
    if isinstance(value, FittedEnergy):
        return replace(value, observation=value.observation[torch.tensor(rows)])
    if isinstance(value, np.ndarray) and value.ndim and len(value) == count:
        return value[rows]
    if isinstance(value, dict):
        return {key: _picked(entry, rows, count) for key, entry in value.items()}
    if isinstance(value, list) and value and is_dataclass(value[0]):
        return [_picked(entry, rows, count) for entry in value]  # hypotheses, each of all people
    if isinstance(value, list) and len(value) == count:
        return [value[i] if isinstance(value[i], str) else list(value[i]) for i in rows]
    return value

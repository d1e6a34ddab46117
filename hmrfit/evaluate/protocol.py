"""What an evaluation protocol is: named numbers from predictions and truth, with what a reader needs to compare them.

    protocol = make_protocol("h36m-p2-spin", Setting(body))
    data = protocol.load(root)                                              # people and their truth
    for rows in chunks:
        protocol.update(protocol.prediction(predictions[rows], data[rows]), protocol.target(data[rows]))
    protocol.summary()                                                      # -> Summary, JSON or a table

Adding one is one class in one file of `protocols`, under `@register`; `hmrfit evaluate` then knows its name, and the
synthetic benchmark runs it where it has people in the layout of its `dataset`. No two quantities share a name:
Human3.6M's "protocol 2" of HMR and of SPIN differ in joints, alignment and mean, so they are `h36m-p2-hmr` and
`h36m-p2-spin`.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from hmrfit.body.smpl import SmplBody
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.predictions import Json, Predictions
from hmrfit.io.own_files import own_file
from hmrfit.keypoints import SPIN24
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.how_many import how_many
from hmrfit.ops.registry import Registry
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.rasteriser import Renderer
from hmrfit.version import __version__

MILLIMETRES = 1000.0
"""In a metre: lengths are metres inside and millimetres in a summary."""

Compared = TypeVar("Compared")
"""What a protocol compares: joints, keypoints, masks."""


@dataclass(frozen=True)
class Measure:
    """One number with its unit, which way is better, and what the truth itself would score."""

    name: str  # "MPJPE"
    value: float  # NaN where there was nothing to measure
    unit: str  # "mm", "%", "of 1"
    better: Literal["lower", "higher"]
    best: float  # 0 mm; 100 %; 30/31 of 100 % for the AUC over 31 thresholds

    @property
    def heading(self) -> str:
        """Name and unit, for the head of a table."""
        return f"{self.name} ({self.unit})"

    @property
    def digits(self) -> int:
        """Digits after the point, in tables."""
        return 4 if self.unit == "of 1" else 2

    @property
    def written(self) -> str:
        """The value, in tables."""
        return f"{self.value:.{self.digits}f}"


@dataclass(frozen=True)
class Summary:
    """The numbers of one run of one protocol, with what a reader needs to compare them with published ones."""

    protocol: str  # the registered name
    measures: tuple[Measure, ...]
    joint_set: str  # which joints, how many, or which classes
    regressor: str  # where the joints come from on the predicted body
    alignment: str  # what was removed before measuring
    box_source: str  # where the box came from that the predictor was given
    samples: int  # people or images that were scored
    missing: int = 0  # people without a usable prediction or truth; they are in no mean
    groups: Mapping[str, tuple[Measure, ...]] = field(default_factory=dict)  # by action, activity, sequence
    classes: Mapping[str, tuple[Measure, ...]] = field(default_factory=dict)  # of single classes or parts
    problems: Mapping[str, str] = field(default_factory=dict)  # row -> why it is missing, where that is known
    mean: str = "over people"  # what is averaged before what
    run: Mapping[str, Json] = field(default_factory=dict)  # predictor and settings
    version: str = __version__

    def __getitem__(self, name: str) -> float:
        """A measure's value by name."""
        values = {measure.name: measure.value for measure in self.measures}
        if name not in values:
            raise KeyError(f"{self.protocol} has no measure '{name}'.{did_you_mean(name, values)}")
        return values[name]

    def to_json(self) -> str:
        """Strict JSON: a NaN is null."""
        return json.dumps(_plain(asdict(self)), indent=1, ensure_ascii=False, allow_nan=False)

    def to_table(self) -> str:
        """Markdown: a line per group, the total last; below, what the numbers are of."""
        head = ["", *(m.heading for m in self.measures)]
        rows = [[name, *(m.written for m in measures)] for name, measures in self.groups.items()]
        rows.append(["all" if self.groups else self.protocol, *(m.written for m in self.measures)])
        return f"{markdown([head, *rows])}\n\n{self.protocol}: {self.conditions}"

    @property
    def conditions(self) -> str:
        """How many were scored, and what the numbers are of, in sentences."""
        return (
            f"{self.samples} scored, {self.missing} missing. Joints or classes: {self.joint_set}. Regressor: "
            f"{self.regressor}. Alignment: {self.alignment}. Mean: {self.mean}. Box: {self.box_source}. "
            f"hmrfit {self.version}."
        )

    def save(self, folder: str | PathLike, stem: str | None = None) -> tuple[Path, Path]:
        """Writes `<stem>.json` and `<stem>.md` into a folder, by default named after the protocol; returns both."""
        json_file, table = (Path(folder) / f"{stem or self.protocol}{suffix}" for suffix in (".json", ".md"))
        for path, text in ((json_file, self.to_json()), (table, self.to_table())):
            with own_file(path, "numbers") as temporary:
                temporary.write_text(text + "\n", encoding="utf-8")
        return json_file, table


@dataclass(frozen=True)
class Details:
    """Errors of single people, for histograms and to find the worst. N samples in the order of the updates."""

    samples: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # measure -> (N,), in its unit
    joints: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)  # measure -> (N, K)
    joint_names: tuple[str, ...] = ()
    groups: NDArray[np.str_] | None = None  # (N,)
    confusion: NDArray[np.int64] | None = None  # (C, C) pixels: truth's class in rows, prediction's in columns
    class_names: tuple[str, ...] = ()
    rows: NDArray[np.int64] | None = None  # (N,) the samples' numbers among all updates, from 0; the others are missing


@dataclass(frozen=True, eq=False)
class EvaluationData:
    """The people of one data set that a protocol scores, in their order, and the folder of their files."""

    root: Path
    people: SpinDataset
    masks_root: Path | None = None  # the folder of maskname and partname, where it is another one
    slot_names: tuple[str, ...] = SPIN24  # what `part` holds: some data sets file other definitions in SPIN's slots
    groups: NDArray[np.str_] | None = None  # (N,) action, activity or sequence, for tables
    sequences: NDArray[np.str_] | None = None  # (N,) for means that are taken over a sequence first

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, rows: int | slice | list[int] | NDArray[np.int64] | NDArray[np.bool_]) -> "EvaluationData":
        """The people chosen by a number, a slice, indices or a mask."""
        rows = [rows] if isinstance(rows, int) else rows
        groups, sequences = (None if value is None else value[rows] for value in (self.groups, self.sequences))
        return replace(self, people=self.people[rows], groups=groups, sequences=sequences)

    def image_path(self, row: int) -> Path:
        """The image of one person."""
        folder = self.root.parent if self.root.is_file() else self.root
        return folder / str(self.people.imgname[row])


@dataclass(frozen=True)
class Setting:
    """What a protocol scores with. Everything has a default but the body.

    regressors: "h36m" and "extra" -> the path of J_regressor_h36m.npy (17, V) or J_regressor_extra.npy (9, V); without
        them the body's own named points take their place, and the summary says so.
    """

    body: SmplBody  # of the predictions; float64
    gendered: Mapping[str, SmplBody] = field(default_factory=dict)  # "m", "f": 3DPW's truth; else `body`
    regressors: Mapping[str, str | PathLike] = field(default_factory=dict)
    renderer: Renderer = field(default_factory=BuiltinRenderer)
    part_labels: NDArray[np.int64] | None = None  # (V,) 1..6; else the body's own, else by its skinning weights
    masks_root: Path | None = None  # the folder of UPi-S1h, where it is not the data's own


class Protocol(ABC, Generic[Compared]):
    """One way of measuring. `load`, `prediction` and `target` bring data into the form that `update` compares.

    An instance adds up its updates; a new evaluation needs a new instance. Order and size of the updates change nothing
    in the summary (beyond the last digit).
    """

    name: ClassVar[str]
    title: ClassVar[str]  # one line, for listings
    dataset: ClassVar[str] = ""  # its name in hmrfit.datasets; the synthetic benchmark takes the place of that data set
    headline: ClassVar[tuple[str, ...]] = ()  # the measures that papers print; (): all of them
    gendered: ClassVar[bool] = False  # whether the truth is posed by bodies of its genders

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    @abstractmethod
    def load(self, root: Path) -> EvaluationData:
        """The people to predict, with their truth, below `root`: a download's folder, or that of a SPIN-format npz.

        Raises:
            FileNotFoundError, ValueError: missing or damaged, with the expected tree.
        """

    @abstractmethod
    def prediction(self, predictions: Predictions, data: EvaluationData) -> Compared:
        """What `update` compares, of B predictions for these B people."""

    @abstractmethod
    def target(self, data: EvaluationData) -> Compared:
        """The same of the truth."""

    @abstractmethod
    def update(self, prediction: Compared, target: Compared) -> None:
        """Adds B people. A person with NaN is left out alone, and counted as missing."""

    @abstractmethod
    def summary(self) -> Summary:
        """The numbers so far.

        Raises:
            ValueError: no person was scored.
        """

    def details(self) -> Details:
        """Errors of single people and joints, or a confusion matrix, where the protocol keeps them."""
        return Details()


PROTOCOLS: Registry[type[Protocol[Any]]] = Registry("protocol", "hmrfit.evaluate.protocols")
"""Those of `hmrfit.evaluate.protocols`, and a user's own."""

P = TypeVar("P", bound=type[Protocol[Any]])


def register(protocol: P) -> P:
    """Class decorator: the protocol can be asked for by its `name`.

    Raises:
        ValueError: the name is another protocol's.
    """
    PROTOCOLS.register(protocol.name)(protocol)
    return protocol


def make_protocol(name: str, setting: Setting) -> Protocol[Any]:
    """A protocol, ready to be updated.

    Raises:
        ValueError: there is no such protocol; with the nearest name, and all of them.
    """
    return PROTOCOLS.find(name)(setting)


def empty_error(protocol: Protocol[Any], missing: int) -> ValueError:
    """What `summary` raises where there is nothing to average."""
    lost = f"; {how_many(missing, 'people lack', 'person lacks')} a usable prediction or truth" if missing else ""
    return ValueError(f"{protocol.name} has scored no person{lost}. Is the split empty, or did every prediction fail?")


def _plain(value: Any) -> Any:
    """JSON values with null for what is not finite."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table of cells, its head first, in columns."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    lines = [rows[0], ["-" * width for width in widths], *rows[1:]]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines
    )

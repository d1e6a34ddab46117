"""3D joints against the truth's: what Human3.6M's, MPI-INF-3DHP's and 3DPW's protocols share.

    d_k = |(x_k − x_root) − (y_k − y_root)|,      d'_k = |s R x_k + t − y_k| with the best similarity of each person

Every measure is a mean over a person's joints first and over people then (all have the same joints). Millimetres.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.regressors import read_regressor, regressed_body
from hmrfit.body.smpl import SmplBody
from hmrfit.datasets.download import SPIN_SLOTS
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.metrics import AUC_BEST, aligned_distances, auc, pck
from hmrfit.evaluate.predictions import Predictions
from hmrfit.evaluate.protocol import (
    MILLIMETRES,
    Details,
    EvaluationData,
    Measure,
    Protocol,
    Setting,
    Summary,
    nobody_letter,
)
from hmrfit.keypoints import SPIN24
from hmrfit.types import BodyParams

PCK_AT = 150.0
"""Millimetres."""


@dataclass(frozen=True)
class Joints:
    """B people's joints, metres in the camera frame, whatever the origin."""

    xyz: Tensor  # (B, K, 3)
    root: Tensor  # (B, 3), what is brought together
    vertices: Tensor | None = None  # (B, V, 3)
    groups: NDArray[np.str_] | None = None  # (B,) the truth's action, activity or sequence
    sequences: NDArray[np.str_] | None = None  # (B,) where means are taken of sequences first


@dataclass(frozen=True)
class Distances:
    """Millimetres."""

    plain: Tensor  # (B, K) roots together
    aligned: Tensor  # (B, K) after a similarity
    vertices: Tensor  # (B,) mean over the mesh, roots together; NaN without meshes


@dataclass(frozen=True)
class Quantity:
    """How a measure follows from distances, and what it is."""

    of: Callable[[Distances], Tensor]  # -> (B,)
    unit: str
    better: Literal["lower", "higher"]
    best: float


QUANTITIES = {
    "MPJPE": Quantity(lambda d: d.plain.mean(-1), "mm", "lower", 0.0),
    "PA-MPJPE": Quantity(lambda d: d.aligned.mean(-1), "mm", "lower", 0.0),
    "PVE": Quantity(lambda d: d.vertices, "mm", "lower", 0.0),
    "PCK@150": Quantity(lambda d: pck(d.plain, PCK_AT), "%", "higher", 100.0),
    "AUC": Quantity(lambda d: auc(d.plain, PCK_AT), "%", "higher", AUC_BEST),
    "PA-PCK@150": Quantity(lambda d: pck(d.aligned, PCK_AT), "%", "higher", 100.0),
    "PA-AUC": Quantity(lambda d: auc(d.aligned, PCK_AT), "%", "higher", AUC_BEST),
}


class PoseProtocol(Protocol):
    """Subclasses say which joints, which root, which measures; and bring the truth (`load`, `target`)."""

    joints: ClassVar[tuple[str, ...]]
    root: ClassVar[tuple[str, ...]]  # their mean is the origin
    joint_set: ClassVar[str]
    regressor: ClassVar[str]  # a kind of hmrfit.body.regressors
    measures: ClassVar[tuple[str, ...]] = ("MPJPE", "PA-MPJPE")
    box_source: ClassVar[str]
    mean_said: ClassVar[str] = "over people"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._joint_source = JointSource(setting, self.regressor, (*self.joints, *self.root))
        self._regressor_said = self._joint_source.said
        self._values: dict[str, list[Tensor]] = {name: [] for name in self.measures}
        self._distances: list[Distances] = []
        self._groups: list[NDArray[np.str_]] = []
        self._sequences: list[NDArray[np.str_]] = []
        self._rows: list[NDArray[np.int64]] = []
        self._missing = 0

    @abstractmethod
    def load(self, root: Path) -> EvaluationData:
        """See `Protocol`."""

    @abstractmethod
    def target(self, data: EvaluationData) -> Joints:
        """The truth's joints."""

    def prediction(self, predictions: Predictions, data: EvaluationData) -> Joints:
        """The predictions' own joints where they hold all of the protocol's by name; else those of the body."""
        names = (*self.joints, *self.root)
        if predictions.joints is not None and set(names) <= set(predictions.joint_names):
            self._regressor_said = "the predictions themselves"
            points = predictions.joints[:, [predictions.joint_names.index(name) for name in names]]
            return self._split(points)
        points = self._joint_source(predictions.params)
        return self._split(points, self._vertices(self.setting.body, predictions.params))

    def update(self, prediction: Joints, target: Joints) -> None:
        """Counts B people in."""
        x, y = ((side.xyz - side.root[:, None]) * MILLIMETRES for side in (prediction, target))
        good = (x.isfinite() & y.isfinite()).all(-1).all(-1)
        rows = good.nonzero()[:, 0]
        self._rows.append(rows.numpy() + sum(map(len, self._rows)) + self._missing)
        self._missing += int((~good).sum())
        x, y = x[rows], y[rows]
        vertices = _vertex_errors(prediction, target, rows)
        distances = Distances((x - y).norm(dim=-1), aligned_distances(x, y), vertices)
        self._distances.append(distances)
        for name, values in self._values.items():
            values.append(QUANTITIES[name].of(distances))
        unknown = np.full(len(good), "")
        self._groups.append((unknown if target.groups is None else target.groups)[rows.numpy()])
        self._sequences.append((unknown if target.sequences is None else target.sequences)[rows.numpy()])

    def summary(self) -> Summary:
        """See `Protocol`."""
        values = self._all_values()
        count = len(next(iter(values.values())))
        if not count:
            raise nobody_letter(self, self._missing)
        groups, everybody = np.concatenate(self._groups), np.ones(count, bool)
        named = {name: self._measures(values, groups == name) for name in dict.fromkeys(groups) if name}
        return Summary(
            self.name,
            self._measures(values, everybody),
            self.joint_set,
            self._regressor_said,
            self.alignment,
            self.box_source,
            count,
            self._missing,
            named,
            self.mean_said,
        )

    @property
    def alignment(self) -> str:
        """In words."""
        root = " and ".join(self.root)
        where = f"the middle of {root}" if len(self.root) > 1 else root
        return f"{where} together; PA: best similarity of each person, no reflection"

    def details(self) -> Details:
        """Errors of every person and joint."""
        if not self._distances:
            return Details()
        joints = {
            "MPJPE": torch.cat([d.plain for d in self._distances]).numpy(),
            "PA-MPJPE": torch.cat([d.aligned for d in self._distances]).numpy(),
        }
        groups, rows = np.concatenate(self._groups), np.concatenate(self._rows)
        return Details(self._all_values(), joints, self.joints, groups, rows=rows)

    def mean(self, values: NDArray[np.float64], rows: NDArray[np.bool_]) -> float:
        """Over the people chosen; protocols that take means of means say so themselves."""
        return float(values[rows].mean())

    def _all_values(self) -> dict[str, NDArray[np.float64]]:
        return {name: torch.cat(v).numpy() if v else np.zeros(0) for name, v in self._values.items()}

    def _measures(self, values: dict[str, NDArray[np.float64]], rows: NDArray[np.bool_]) -> tuple[Measure, ...]:
        return tuple(
            Measure(name, self.mean(values[name], rows), q.unit, q.better, q.best)
            for name, q in ((name, QUANTITIES[name]) for name in self.measures)
        )

    def _split(self, points: Tensor, vertices: Tensor | None = None) -> Joints:
        """Points of joints and root names -> joints."""
        K = len(self.joints)
        return Joints(points[:, :K], points[:, K:].mean(1), vertices)

    def _vertices(self, body: SmplBody, params: BodyParams) -> Tensor | None:
        return body(params).vertices if "PVE" in self.measures else None


class JointSource:
    """Joints of posed bodies by name: through the user's regressor where there is one, else the body's own points."""

    def __init__(self, setting: Setting, kind: str, names: Sequence[str], body: SmplBody | None = None) -> None:
        body = setting.body if body is None else body
        path = setting.regressors.get(kind)
        if path is None:
            self._points: PointBody = body.points(names)
            self.said = f"the body's own named points, for the regressor '{kind}'"
        else:
            matrix = read_regressor(kind, path, len(body.v_template))
            self._points = regressed_body(body, kind, matrix).points(names)
            self.said = f"{Path(path).name} ({kind})"

    def __call__(self, params: BodyParams) -> Tensor:
        """(B, K, 3) metres."""
        return self._points.pose(params).points


def slot_joints(people: SpinDataset, names: Sequence[str]) -> Tensor:
    """(N, K, 3) of the field S by our names; NaN where the data set does not know them."""
    if people.S is None:
        return torch.full((len(people), len(names), 3), torch.nan, dtype=torch.float64)
    S = torch.as_tensor(people.S)[:, [SPIN24.index(SPIN_SLOTS.get(name, name)) for name in names]]
    return torch.where(S[..., 3:] > 0, S[..., :3], torch.nan)


def _vertex_errors(prediction: Joints, target: Joints, rows: Tensor) -> Tensor:
    """(B,) millimetres; NaN where there are no meshes, or of different bodies."""
    x, y = prediction.vertices, target.vertices
    if x is None or y is None or x.shape != y.shape:
        return prediction.xyz.new_full((len(rows),), torch.nan)
    apart = (x - prediction.root[:, None])[rows] - (y - target.root[:, None])[rows]
    return MILLIMETRES * apart.norm(dim=-1).mean(-1)

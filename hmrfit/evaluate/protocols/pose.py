"""3D joints against the truth's: what the protocols of Human3.6M, MPI-INF-3DHP and 3DPW share.

    d_k = |(x_k − x_root) − (y_k − y_root)|,      d'_k = |s R x_k + t − y_k| with the best similarity of each person

Every measure is a mean over the joints of a person, then over people. Millimetres.
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
    empty_error,
)
from hmrfit.keypoints import SPIN24
from hmrfit.types import BodyParams, TensorRecord

PCK_AT = 150.0
"""Millimetres."""


@dataclass(frozen=True)
class Joints(TensorRecord):
    """The joints of B people, metres, axes of the camera frame; the origin is arbitrary."""

    xyz: Tensor  # (B, K, 3)
    root: Tensor  # (B, 3), the origin of the comparison
    vertices: Tensor | None = None  # (B, V, 3)
    groups: NDArray[np.str_] | None = None  # (B,) the truth's action, activity or sequence
    sequences: NDArray[np.str_] | None = None  # (B,) where means are taken over a sequence first


@dataclass(frozen=True)
class Distances:
    """Of B people, millimetres."""

    plain: Tensor  # (B, K) with both roots at the origin
    aligned: Tensor  # (B, K) after a similarity
    vertices: Tensor  # (B,) mean over the mesh, both roots at the origin; NaN without meshes


@dataclass(frozen=True)
class Quantity:
    """How a measure follows from distances, its unit and its best value."""

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


class PoseProtocol(Protocol[Joints]):
    """Subclasses name the joints, the root and the measures, and read the truth (`load`, `target`)."""

    joints: ClassVar[tuple[str, ...]]
    root: ClassVar[tuple[str, ...]]  # their mean is the origin
    joint_set: ClassVar[str]
    regressor: ClassVar[str]  # a kind of hmrfit.body.regressors
    measures: ClassVar[tuple[str, ...]] = ("MPJPE", "PA-MPJPE")
    box_source: ClassVar[str]
    mean_over: ClassVar[str] = "over people"

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._joint_source = JointSource(setting, self.regressor, (*self.joints, *self.root))
        self._regressor = self._joint_source.description
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
        """The predictions' own joints where they have all of the protocol's by name; else those of the body."""
        names = (*self.joints, *self.root)
        if predictions.joints is not None and set(names) <= set(predictions.joint_names):
            self._regressor = "the predictions themselves"
            points = predictions.joints[:, [predictions.joint_names.index(name) for name in names]]
            return self._split(points)
        points = self._joint_source(predictions.params)
        return self._split(points, self._vertices(self.setting.body, predictions.params))

    def update(self, prediction: Joints, target: Joints) -> None:
        """Adds B people."""
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
            raise empty_error(self, self._missing)
        groups, everybody = np.concatenate(self._groups), np.ones(count, bool)
        named = {name: self._measures(values, groups == name) for name in dict.fromkeys(groups) if name}
        return Summary(
            self.name,
            self._measures(values, everybody),
            self.joint_set,
            self._regressor,
            self.alignment,
            self.box_source,
            count,
            self._missing,
            named,
            mean=self.mean_over,
        )

    @property
    def alignment(self) -> str:
        """What is removed before measuring, in words."""
        root = " and ".join(self.root)
        origin = f"the middle of {root}" if len(self.root) > 1 else root
        return f"{origin} at the origin; PA: best similarity of each person, no reflection"

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
        """The mean over the chosen people; protocols that take means of means override it."""
        return float(values[rows].mean())

    def _all_values(self) -> dict[str, NDArray[np.float64]]:
        return {name: torch.cat(v).numpy() if v else np.zeros(0) for name, v in self._values.items()}

    def _measures(self, values: dict[str, NDArray[np.float64]], rows: NDArray[np.bool_]) -> tuple[Measure, ...]:
        return tuple(
            Measure(name, self.mean(values[name], rows), q.unit, q.better, q.best)
            for name, q in ((name, QUANTITIES[name]) for name in self.measures)
        )

    def _split(self, points: Tensor, vertices: Tensor | None = None) -> Joints:
        """Points (B, K + roots, 3) -> joints, and the mean of the roots."""
        K = len(self.joints)
        return Joints(points[:, :K], points[:, K:].mean(1), vertices)

    def _vertices(self, body: SmplBody, params: BodyParams) -> Tensor | None:
        return body(params).mesh if "PVE" in self.measures else None


class JointSource:
    """Joints of posed bodies by name: by the user's regressor where there is one, else the body's own points.

    description: which of the two, in words.
    """

    def __init__(self, setting: Setting, kind: str, names: Sequence[str], body: SmplBody | None = None) -> None:
        body = setting.body if body is None else body
        path = setting.regressors.get(kind)
        if path is None:
            self._points: PointBody = body.points(names)
            self.description = f"the body's own named points, for the regressor '{kind}'"
        else:
            matrix = read_regressor(kind, path, len(body.v_template))
            self._points = regressed_body(body, kind, matrix).points(names)
            self.description = f"{Path(path).name} ({kind})"

    def __call__(self, params: BodyParams) -> Tensor:
        """(B, K, 3) metres."""
        return self._points.pose(params).points


def slot_joints(people: SpinDataset, names: Sequence[str]) -> Tensor:
    """(N, K, 3) metres, the field S by the library's joint names; NaN where the data set does not know them."""
    if people.S is None:
        return torch.full((len(people), len(names), 3), torch.nan, dtype=torch.float64)
    S = torch.as_tensor(people.S)[:, [SPIN24.index(SPIN_SLOTS.get(name, name)) for name in names]]
    return torch.where(S[..., 3:] > 0, S[..., :3], torch.nan)


def _vertex_errors(prediction: Joints, target: Joints, rows: Tensor) -> Tensor:
    """(B,) millimetres; NaN where there are no meshes, or meshes of different bodies."""
    x, y = prediction.vertices, target.vertices
    if x is None or y is None or x.shape != y.shape:
        return prediction.xyz.new_full((len(rows),), torch.nan)
    difference = (x - prediction.root[:, None])[rows] - (y - target.root[:, None])[rows]
    return MILLIMETRES * difference.norm(dim=-1).mean(-1)

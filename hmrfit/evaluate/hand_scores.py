"""Scores of predicted hands as the public scorers of FreiHAND, HO-3D and InterHand2.6M compute them.

    X̂ = ‖Y‖ s (X − X̄)/‖X − X̄‖ Rᵀ + Ȳ      K = (Y − Ȳ)ᵀ (X − X̄) of unit norms,  U S Vᵀ = K,  R = U Vᵀ,  s = tr S

A similarity in which R **may be a reflection**: FreiHAND and HO-3D align keypoints and vertices so, each on their own
(vertices of another mesh by the keypoints' alignment). Body protocols never reflect (`ops.procrustes`), so numbers of
the two kinds cannot be compared.

    error     mean over points of the mean over hands of |x − y|
    AUC       per point: the trapezoid over 100 thresholds t = 0 … 50 mm of the fraction of hands with |x − y| ≤ t;
              then the mean over points
    F@t       2 p r / (p + r) of nearest neighbours of vertices nearer than t (strictly), both ways; mean over hands
    scale-translation aligned (HO-3D)     X |Y_4 − Y_0| / |X_4 − X_0|, the wrists together
    MRRPE (InterHand2.6M)     |(X_left − X_right) − (Y_left − Y_right)| of the wrists of two hands

Sources: `eval.py` of lmb-freiburg/freihand (5ea4ab9) and shreyashampali/ho3d (2fd6ee1); Moon et al., ECCV 2020.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import trapezoid
from scipy.spatial import cKDTree

from hmrfit.ops.check import check_shape

Points = NDArray[np.float64]

TINY = 1e-8
"""Added to both norms, as the scorers do: it moves a score by a millionth of a per cent."""

THRESHOLDS = np.linspace(0.0, 0.05, 100)
"""Metres, of the AUC."""

F_THRESHOLDS = (0.005, 0.015)
"""Metres."""

WRIST, MIDDLE_KNUCKLE = 0, 4
"""In MANO's order of joints, which HO-3D has."""


@dataclass(frozen=True)
class Similarity:
    """The alignment of one set of points (K, 3) onto another, reflections among them."""

    rotation: Points  # (3, 3) R
    scale: float  # s times the target's norm
    norm: float  # of the source about its mean
    center: Points  # (3,) of the source
    target_center: Points  # (3,)

    @classmethod
    def of(cls, source: Points, target: Points) -> "Similarity":
        """Of two sets of as many points, metres."""
        centers = source.mean(0), target.mean(0)
        X, Y = source - centers[0], target - centers[1]
        norms = np.linalg.norm(X) + TINY, np.linalg.norm(Y) + TINY
        U, S, Vt = np.linalg.svd((Y / norms[1]).T @ (X / norms[0]))
        return cls(U @ Vt, float(S.sum() * norms[1]), float(norms[0]), *centers)

    def own(self, points: Points) -> Points:
        """The points that it was made of, aligned."""
        return (points - self.center) / self.norm @ self.rotation.T * self.scale + self.target_center

    def others(self, points: Points) -> Points:
        """Other points, of another mesh, as the scorers align them: about their own mean, and **not divided by the
        source's norm**, so that they shrink to about a tenth. A fault of the public code, kept for its numbers."""
        center = points.mean(0)
        moved = self.target_center - self.center + center
        return (points - center) @ self.rotation.T * self.scale + moved


def scale_translation_aligned(source: Points, target: Points) -> Points:
    """(K, 3) `source` with the target's length from wrist to middle knuckle, on its wrist; of MANO's order."""
    size = [np.linalg.norm(points[MIDDLE_KNUCKLE] - points[WRIST]) for points in (source, target)]
    scaled = (source / size[0] if size[0] > 0 else source) * size[1]
    return scaled - scaled[WRIST] + target[WRIST]


def f_scores(predicted: Points, target: Points) -> list[float]:
    """F@5 and F@15 mm of vertices (V, 3) and (V', 3)."""
    to_predicted, to_target = cKDTree(predicted).query(target)[0], cKDTree(target).query(predicted)[0]
    found: list[float] = []
    for threshold in F_THRESHOLDS:
        precision, recall = float((to_predicted < threshold).mean()), float((to_target < threshold).mean())
        total = precision + recall
        found.append(2 * precision * recall / total if total > 0 else 0.0)
    return found


def auc(errors: Points) -> float:
    """Of errors (N, K), metres."""
    fraction = (errors[:, :, None] <= THRESHOLDS).mean(0)
    return float((trapezoid(fraction, THRESHOLDS, axis=1) / (THRESHOLDS[-1] - THRESHOLDS[0])).mean())


@dataclass
class HandScores:
    """Adds up hands, and gives the numbers of FreiHAND, and those of HO-3D where `wrist_aligned` is asked for.

    Whether vertices are of the truth's own mesh is said by the first hand, for all.
    """

    wrist_aligned: bool = False
    _errors: dict[str, list[Points]] = field(default_factory=dict)
    _f: dict[str, list[list[float]]] = field(default_factory=dict)
    _same_mesh: bool | None = None

    def update(
        self, joints: Points, vertices: Points | None, true_joints: Points, true_vertices: Points | None
    ) -> None:
        """One hand: joints (21, 3), and vertices where both sides have them; metres, camera frame."""
        check_shape(joints, "21 3", "joints")
        check_shape(true_joints, "21 3", "the true joints")
        alignment = Similarity.of(joints, true_joints)
        self._add("joints", joints, true_joints)
        self._add("aligned joints", alignment.own(joints), true_joints)
        if self.wrist_aligned:
            self._add("scale-translation joints", scale_translation_aligned(joints, true_joints), true_joints)
        if vertices is None or true_vertices is None:
            return
        if self._same_mesh is None:
            self._same_mesh = len(vertices) == len(true_vertices)
        if self._same_mesh:
            aligned = Similarity.of(vertices, true_vertices).own(vertices)
            self._add("vertices", vertices, true_vertices)
            self._add("aligned vertices", aligned, true_vertices)
        else:
            aligned = alignment.others(vertices)
        self._f.setdefault("F", []).append(f_scores(vertices, true_vertices))
        self._f.setdefault("aligned F", []).append(f_scores(aligned, true_vertices))

    def _add(self, name: str, points: Points, truth: Points) -> None:
        self._errors.setdefault(name, []).append(np.linalg.norm(points - truth, axis=1))

    def __len__(self) -> int:
        return len(self._errors.get("joints", ()))

    def numbers(self) -> Mapping[str, float]:
        """Errors in millimetres, AUC and F of 1: "joints", "joints AUC", "aligned joints", ..., "F@5", "aligned F@15".

        Raises:
            ValueError: no hand was scored.
        """
        if not len(self):
            raise ValueError("No hand was scored. Is the data set empty, or did every prediction fail?")
        found: dict[str, float] = {}
        for name, errors in self._errors.items():
            table = np.stack(errors)
            found[name] = float(1000 * table.mean(0).mean())
            found[f"{name} AUC"] = auc(table)
        for name, scores in self._f.items():
            means = np.mean(scores, axis=0)
            found |= {f"{name}@{1000 * t:.0f}": float(m) for t, m in zip(F_THRESHOLDS, means, strict=True)}
        return found


def wrist_relative_error(joints: Points, truth: Points, valid: NDArray[np.bool_] | None = None) -> float:
    """InterHand2.6M's MPJPE of one hand, metres: mean distance of valid joints (K,) with both wrists at the origin.

    Args:
        joints, truth: (K, 3), the wrist first.
    """
    away = np.linalg.norm((joints - joints[0]) - (truth - truth[0]), axis=1)
    return float(away.mean() if valid is None else away[valid].mean())


def relative_root_error(left: Points, right: Points, true_left: Points, true_right: Points) -> float:
    """InterHand2.6M's MRRPE, metres: the error of the left wrist (3,) relative to the right one."""
    return float(np.linalg.norm((left - right) - (true_left - true_right)))

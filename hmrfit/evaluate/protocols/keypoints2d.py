"""2D keypoints: the predicted body's points, projected into the image, against the annotated ones.

    d_k = |Π(X_k) − x_k| / box,     PCK@t = fraction of all annotated keypoints with d_k < t

box is the longest side of the bounding box of the person's annotated keypoints. AUC@0.1 is the mean of PCK@t over 31
thresholds t = 0 .. 0.1, so the truth scores 30/31. Pooled over the keypoints of all people, as evaluations of LSP and
COCO do; other papers divide by the torso or the head, which are other quantities.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hmrfit.datasets import open_dataset
from hmrfit.datasets.download import SPIN_SLOTS
from hmrfit.evaluate.metrics import AUC_BEST, auc, pck
from hmrfit.evaluate.predictions import Predictions
from hmrfit.evaluate.protocol import (
    Details,
    EvaluationData,
    Measure,
    Protocol,
    Setting,
    Summary,
    empty_error,
    register,
)
from hmrfit.evaluate.protocols.pose import JointSource
from hmrfit.keypoints import COCO17, LSP14, OPENPOSE25, SPIN24

THRESHOLDS = (0.05, 0.1)
FARTHEST = 0.1

_COCO_SLOT = {SPIN_SLOTS.get(name, name): name for name in COCO17}
COCO_SLOTS = tuple(_COCO_SLOT.get(slot, slot) for slot in SPIN24)
"""The keypoints in the slots of a file of COCO."""


@dataclass(frozen=True)
class ImagePoints:
    """The keypoints of B people in pixels of the full image."""

    xy: Tensor  # (B, K, 2)
    seen: Tensor  # (B, K) bool: annotated, or predicted


class Keypoints2D(Protocol[ImagePoints]):
    """What the protocols of single data sets share."""

    joints: ClassVar[tuple[str, ...]]
    slots: ClassVar[tuple[str, ...]] = SPIN24
    joint_set: ClassVar[str]
    box_source: ClassVar[str]

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._source = JointSource(setting, "extra", self.joints)
        self._distances: list[Tensor] = []  # (B, K), NaN where not annotated
        self._rows: list[Tensor] = []
        self._missing = 0

    def load(self, root: Path) -> EvaluationData:
        """The rows of SPIN's file or of the download."""
        people = open_dataset(self.dataset, root)
        if people.part is None:
            raise ValueError(
                f"The data in '{root}' has no annotated keypoints (`part`), with which {self.name} compares."
            )
        return EvaluationData(root, people, slot_names=self.slots)

    def prediction(self, predictions: Predictions, data: EvaluationData) -> ImagePoints:
        """The body's points, projected by the predicted camera."""
        xy = predictions.camera.project(self._source(predictions.params))
        return ImagePoints(xy, predictions.done[:, None].expand(xy.shape[:2]))

    def target(self, data: EvaluationData) -> ImagePoints:
        """The annotated keypoints."""
        everything = data.people.keypoints()
        columns = [len(OPENPOSE25) + data.slot_names.index(name) for name in self.joints]
        return ImagePoints(everything.xy[:, columns], everything.confidence[:, columns] > 0)

    def update(self, prediction: ImagePoints, target: ImagePoints) -> None:
        """Adds B people; one with a NaN keypoint, or with fewer than two annotated, is missing."""
        seen = target.seen
        low = torch.where(seen[..., None], target.xy, torch.inf).amin(1)
        high = torch.where(seen[..., None], target.xy, -torch.inf).amax(1)
        box = (high - low).amax(-1)
        distances = (prediction.xy - target.xy).norm(dim=-1) / box[:, None]
        good = (box > 0) & box.isfinite() & (distances.isfinite() | ~seen).all(1) & prediction.seen.all(1)
        self._rows.append(good.nonzero()[:, 0] + sum(map(len, self._rows)) + self._missing)
        self._missing += int((~good).sum())
        self._distances.append(torch.where(seen, distances, torch.nan)[good])

    def summary(self) -> Summary:
        """See `Protocol`."""
        distances = self._all()
        if not len(distances):
            raise empty_error(self, self._missing)
        pooled = distances[distances.isfinite()][None]
        measures = [Measure(f"PCK@{t:g}", pck(pooled, t).item(), "%", "higher", 100.0) for t in THRESHOLDS]
        return Summary(
            self.name,
            (
                *measures,
                Measure(f"AUC@{FARTHEST:g}", auc(pooled, FARTHEST).item(), "%", "higher", AUC_BEST),
                Measure("mean distance", 100 * pooled.mean().item(), "% of the box", "lower", 0.0),
            ),
            self.joint_set,
            self._source.description,
            "none",
            self.box_source,
            len(distances),
            self._missing,
            mean="over the annotated keypoints of all people",
        )

    def details(self) -> Details:
        """The mean distance of each person and the distances of the keypoints, in % of the box."""
        distances = 100 * self._all().numpy()
        mean = np.nanmean(distances, 1) if len(distances) else np.zeros(0)
        rows = torch.cat(self._rows).numpy() if self._rows else np.zeros(0, np.int64)
        return Details({"mean distance": mean}, {"distance": distances}, self.joints, rows=rows)

    def _all(self) -> Tensor:
        none = torch.zeros(0, len(self.joints), dtype=torch.float64)
        return torch.cat([none, *self._distances])


@register
class LspKeypoints(Keypoints2D):
    """LSP's test half."""

    headline = ("PCK@0.05", "PCK@0.1", "AUC@0.1")
    name, dataset, joints = "2d-lsp", "lsp-test", LSP14
    title = "2D keypoints of LSP's test half, 14 joints, all of them annotated"
    joint_set = "14 of LSP"
    box_source = "around the 14 true 2D joints, times 1.2"


@register
class CocoKeypoints(Keypoints2D):
    """COCO's validation people whose twelve limb joints are annotated."""

    name, dataset, joints, slots = "2d-coco", "coco-val", COCO17, COCO_SLOTS
    title = "2D keypoints of COCO's validation people with whole limbs, 17 joints, those annotated"
    joint_set = "17 of COCO, those annotated"
    box_source = "the annotated box, times 1.2"

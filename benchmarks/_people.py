"""Labelled real people from keypoint files: which have a 3D truth, over which points it is scored, and where it holds.

A file is JSON: "keypoints" [x, y, confidence] of the set "format", "size" of the image, and where there are, "image"
and "mask" (paths beside it), "keypoints3d" [x, y, z] in millimetres in the camera's frame, "K", "set" (the data set).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from _common import skip
from torch import Tensor

from hmrfit.keypoints import PAIRED, find_part, resolve_set

LIMB_POINTS = tuple(f"{side}_{part}" for side in ("left", "right") for part in PAIRED)
"""The 12 points that 3D is scored over, by base name: each set has its own hips."""

MISMATCHED = re.compile(r"p2s_.*_cam[13]$")
"""People whose 2D labels do not belong to their 3D truth: Pose2Sim's first and third camera, where the projected truth
misses the labels by 2.7 and 3.1 % of the box (the second and fourth: 1.0 and 1.2 %)."""


@dataclass(frozen=True)
class LabelledPerson:
    """One person's file."""

    file: Path
    about: dict[str, Any]

    @property
    def name(self) -> str:
        return self.file.stem

    @property
    def data_set(self) -> str:
        """As the file names it, else how its own name begins."""
        named = {"coco": "coco_mini", "cocomm": "coco_mmpose", "p2s": "pose2sim"}
        prefix = self.name.split("_")[0]
        return str(self.about.get("set") or named.get(prefix, prefix))

    @property
    def camera(self) -> str:
        """Of a data set with several, else "-"."""
        found = re.search(r"cam\w+$", self.name)
        return found[0] if found else "-"

    @property
    def names(self) -> tuple[str, ...]:
        """The keypoint set's."""
        return resolve_set(self.about["format"])

    @property
    def image(self) -> Path | None:
        """The photograph, where there is one."""
        return self.file.parent / self.about["image"] if self.about.get("image") else None

    @property
    def has_3d(self) -> bool:
        return "keypoints3d" in self.about

    def truth(self) -> Tensor | None:
        """(12, 3) metres, camera frame, NaN where a point has none; None where there is none, or none that belongs to
        the labels."""
        if not self.has_3d or MISMATCHED.search(self.name):
            return None
        points = torch.tensor([[torch.nan] * 3 if p is None else p[:3] for p in self.about["keypoints3d"]]).double()
        return points[limb_index(self.names)] / 1e3


def limb_index(names: Sequence[str]) -> list[int]:
    """Where a keypoint set has the 12 limb points."""
    places = [find_part(names, part) for part in LIMB_POINTS]
    return [place for place in places if place is not None]


def labelled_people(folder: Path, deep: bool = True) -> list[LabelledPerson]:
    """Every person's file of a folder, and of those below it; the benchmark is skipped where there is none."""
    files = sorted(folder.rglob("*.json") if deep else folder.glob("*.json"))
    if not files:
        skip(f"there are no keypoint files (*.json) in '{folder}'")
    return [LabelledPerson(file, json.loads(file.read_text())) for file in files]

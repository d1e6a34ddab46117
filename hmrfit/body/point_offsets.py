"""Where somebody's keypoints lie on the body, off the points that the body has by these names.

    x_k = Σ_b G_b u_kb + w_kb x_b + w_kb G_b d_k             d_k metres, in the axes of the resting body

A detector's hip or ankle is not where ours is, but it is at the same place of everybody's body: d_k turns with the
bones. `hmrfit adapt` learns it of keypoints alone (`train.detector_points`).

    file     npz: names (N,) text, offsets (N, 3) metres, body (its name), notes (JSON)
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import read_npz
from hmrfit.ops.check import check_finite, check_shape

FARTHEST = 0.3
"""Metres. A point that lies farther off is another point."""

MOST_NAMES = 1000


@dataclass(frozen=True)
class PointOffsets:
    """d_k of N names, of one body."""

    names: tuple[str, ...]
    offsets: Tensor  # (N, 3) float64 metres
    body: str = "free_body"
    notes: Mapping[str, Any] = field(default_factory=dict)

    def of(self, names: Sequence[str]) -> Tensor:
        """(K, 3) of a keypoint set; 0 for names that are not known."""
        found = torch.zeros(len(names), 3, dtype=torch.float64)
        for k, name in enumerate(names):
            if name in self.names:
                found[k] = self.offsets[self.names.index(name)]
        return found

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the file. Raises ValueError: the name does not end in .npz."""
        if Path(path).suffix != ".npz":
            raise ValueError(f"Offsets of keypoints are written as .npz; '{path}' ends otherwise.")
        arrays = {"names": np.array(self.names), "offsets": self.offsets.numpy(), "body": np.array(self.body)}
        write_npz(path, {**arrays, "notes": np.array(json.dumps(dict(self.notes)))})

    @classmethod
    def from_file(cls, path: str | PathLike[str]) -> "PointOffsets":
        """Reads a file that `save` wrote.

        Raises:
            FileNotFoundError, ValueError: it is another file, or damaged.
        """
        arrays = read_npz(path)
        missing = {"names", "offsets", "body"} - set(arrays)
        if missing:
            raise ValueError(f"'{path}' holds no offsets of keypoints ({', '.join(sorted(missing))} missing).")
        names, offsets = arrays["names"], arrays["offsets"]
        if names.ndim != 1 or names.dtype.kind != "U" or len(names) > MOST_NAMES:
            raise ValueError(f"'{path}': names should be a list of texts, at most {MOST_NAMES}.")
        check_shape(offsets, "N 3", "offsets", {"N": len(names)})
        check_finite(offsets, "offsets")
        values = torch.as_tensor(offsets.astype(np.float64))
        if len(values) and float(values.norm(dim=1).max()) > FARTHEST:
            raise ValueError(f"'{path}': a keypoint lies more than {FARTHEST} m off. Metres are expected.")
        return cls(tuple(map(str, names)), values, str(arrays["body"]))

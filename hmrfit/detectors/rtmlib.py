"""RTMPose by the package rtmlib: YOLOX finds people, RTMPose their keypoints (code and weights Apache-2.0).

rtmlib fetches the weights on first use and checks nothing. Their publisher states no checksum of the files, so none can
be pinned here: the sha256 of each is written down when it is first used (HOME/rtmlib.json), and every later use has to
find the same. Results in rtmlib's pixels have centres at integers.
"""

import json
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib.metadata import version
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hmrfit.assets import checksum, home
from hmrfit.camera import PIXEL_CENTER
from hmrfit.detectors.detector import Boxes, DamagedWeights, Detection, NoDetector
from hmrfit.detectors.weights import combined
from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import read_json
from hmrfit.io.image import Image
from hmrfit.ops.check import did_you_mean

COMMAND = "pip install 'hmrfit[detect]'"
RECORD = "rtmlib.json"
"""In HOME: {file name: sha256} of the weights when they were first used."""

MODES = ("balanced", "performance", "lightweight")
"""rtmlib's own choices of a person detector and a pose network."""


class Rtmlib:
    """RTMPose's body of 17 keypoints.

    Args:
        mode: one of `MODES`. files: instead, the ONNX files of a YOLOX and a RTMPose. sizes: the (height, width) of the
            first one's input and the (width, height) of the second one's, as rtmlib has them.
    """

    name: ClassVar[str] = "rtmlib"
    keypoint_set = "coco17"
    confidence = "the peak of RTMPose's distributions along x and y, the smaller one, about 0 to 1; no probability"
    min_confidence = 0.3

    def __init__(
        self,
        mode: str = "balanced",
        files: tuple[str | Path, str | Path] | None = None,
        sizes: tuple[tuple[int, int], tuple[int, int]] | None = None,
    ) -> None:
        lacking = self.missing()
        if lacking is not None:
            raise NoDetector(f"The detector 'rtmlib' is not installed. This brings it: {lacking}")
        if mode not in MODES:
            raise ValueError(f"mode should be one of {', '.join(MODES)}, not '{mode}'.{did_you_mean(mode, MODES)}")
        import rtmlib

        known = rtmlib.Body.MODE[mode]
        finder, pose = files or (known["det"], known["pose"])
        finder_size, pose_size = sizes or (known["det_input_size"], known["pose_input_size"])
        self._finder = _loaded(rtmlib.YOLOX, str(finder), finder_size)
        self._pose = _loaded(rtmlib.RTMPose, str(pose), pose_size)
        checksums = {Path(tool.onnx_model).name: checksum(tool.onnx_model) for tool in (self._finder, self._pose)}
        if files is None:
            check_recorded(checksums)
        self.fingerprint = f"rtmlib {version('rtmlib')}, {combined(checksums)}"

    @classmethod
    def missing(cls) -> str | None:
        """None where the package is there; else the command that brings it. Its weights come on first use."""
        return None if find_spec("rtmlib") and find_spec("onnxruntime") else COMMAND

    def detect(self, image: Image, boxes: Boxes | None = None) -> list[Detection]:
        """The people of a picture, or the one in each box."""
        bgr = np.ascontiguousarray(image[:, :, ::-1])
        if boxes is None:
            corners = np.asarray(self._finder(bgr), np.float64).reshape(-1, 4)
        else:
            corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1) - PIXEL_CENTER
        if not len(corners):
            return []  # rtmlib would take the whole picture for a person
        xy, scores = self._pose(bgr, bboxes=list(corners))
        return [_person(*one) for one in zip(xy, scores, corners, strict=True)]


def _person(xy: NDArray, scores: NDArray, corners: NDArray) -> Detection:
    confidence = np.asarray(scores, np.float64).clip(0, 1)
    x0, y0, x1, y1 = (corners + PIXEL_CENTER).tolist()
    box = (x0, y0, x1 - x0, y1 - y0)
    return Detection(np.asarray(xy, np.float64) + PIXEL_CENTER, confidence, float(confidence.mean()), box)


def _loaded(tool: Any, model: str, size: Sequence[int]) -> Any:
    """One of rtmlib's tools without its own remark on stdout; it fetches a model that is a URL.

    Raises:
        OSError: the weights could not be fetched.
    """
    try:
        with redirect_stdout(StringIO()):
            return tool(model, model_input_size=tuple(size), backend="onnxruntime", device="cpu")
    except OSError as error:  # urllib's errors are such
        raise OSError(
            f"rtmlib could not fetch its weights from {model} ({error}). Is there a network? Another detector: "
            "hmrfit detector install movenet"
        ) from None


def check_recorded(checksums: dict[str, str]) -> None:
    """That weights are those that were used first; of new ones the checksums are written down.

    Raises:
        DamagedWeights: one has changed. OSError: the record cannot be written.
    """
    record = home() / RECORD
    known = read_json(record) if record.is_file() else {}
    if not isinstance(known, dict):
        raise ValueError(f"'{record}' should hold file names and their checksums. Delete it, and they are noted again.")
    changed = [name for name, value in checksums.items() if known.get(name, value) != value]
    if changed:
        raise DamagedWeights(
            f"The weights {', '.join(changed)} of rtmlib are not those that were used before: their sha256 is another. "
            f"Delete them in rtmlib's cache, so that they are fetched again; if the change is meant, delete '{record}'."
        )
    if not checksums.keys() <= known.keys():
        with atomic_write(record) as temporary:
            temporary.write_text(json.dumps({**known, **checksums}, indent=1, sort_keys=True) + "\n")

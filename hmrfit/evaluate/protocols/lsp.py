"""LSP segmentation: the foreground and six parts of the predicted body against Unite the People's masks.

    lsp-spin    the body seen by SPIN's camera, f = 5000, t = (tx, ty, 2 f / (224 s)), in 224 × 224 pixels of the crop;
                copied back into the image by its nearest pixels
    lsp-full    the body seen by its own camera at the image's full resolution: no crop, no rounding, no far camera

Both pool the pixels of all images (`hmrfit.evaluate.segmentation`). Parts are the labels of the body's surface, so even
a perfect fit does not score 1: annotators draw the borders elsewhere.

The masks are of UPi-S1h:
    ROOT/data/lsp/im1001_segmentation.png, im1001_part_segmentation.png ... im2000_...
"""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.parts import part_labels
from hmrfit.camera import Camera, translation_to_weak
from hmrfit.datasets import open_dataset
from hmrfit.datasets.spin_npz import BOX_UNIT, SpinDataset
from hmrfit.evaluate.masks import SPIN_RESOLUTION, read_mask, spin_window, uncrop
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
from hmrfit.evaluate.segmentation import PART_CLASSES, Masks, SegmentationCounts
from hmrfit.ops.how_many import how_many
from hmrfit.render.rasteriser import label_faces
from hmrfit.types import BodyParams

SPIN_FOCAL = 5000.0

MASK_TREE = """\
  MASKS/data/lsp/im1001_segmentation.png ... im2000_segmentation.png
  MASKS/data/lsp/im1001_part_segmentation.png ... im2000_part_segmentation.png      (upi-s1h.zip)"""


class LspSegmentation(Protocol[Sequence[Masks | str]]):
    """What the two share: data, masks, counting."""

    dataset = "lsp-test"
    headline = ("FG accuracy", "FG F1", "parts accuracy", "parts F1")
    rendering: ClassVar[str]  # in words

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        given = setting.part_labels
        labels = part_labels(setting.body) if given is None else torch.as_tensor(given)
        self._labels = "a label file" if given is not None else "the body's own labels or skinning weights"
        self._face_labels = label_faces(labels, setting.body.faces)
        self._counts = SegmentationCounts()

    def load(self, root: Path) -> EvaluationData:
        """LSP's test half and the folder of its masks.

        Raises:
            FileNotFoundError: masks are missing, with the tree that is expected. ValueError: the data names no masks.
        """
        people = open_dataset(self.dataset, root)
        if people.maskname is None or people.partname is None:
            raise ValueError(
                f"The data in '{root}' has no `maskname` and `partname`. Give LSP's own download, or the "
                "lsp_dataset_test.npz that SPIN's preprocessing or hmrfit.datasets makes of it."
            )
        names = [*people.maskname.tolist(), *people.partname.tolist()]
        return EvaluationData(root, people, masks_root=self._masks_root(root, names))

    def _masks_root(self, root: Path, names: Sequence[str]) -> Path:
        """The first folder that holds the first of these masks; all of them must be there."""
        folder = root.parent if root.is_file() else root
        given = self.setting.masks_root
        folders = [Path(given)] if given is not None else [folder, folder / "upi-s1h"]
        found = next((f for f in folders if names and (f / names[0]).is_file()), folders[0])
        missing = [name for name in names if not (found / name).is_file()]
        if missing:
            raise FileNotFoundError(
                f"{len(missing)} of {how_many(len(names), 'masks are', 'mask is')} not in '{found}', the first is "
                f"'{missing[0]}'. Expected:\n"
                f"{MASK_TREE}\nUnpack UPi-S1h again, or name its folder (--masks)."
            )
        return found

    def target(self, data: EvaluationData) -> list[Masks | str]:
        """The true masks; for one that cannot be read, why."""
        root, people = data.masks_root, data.people
        assert root is not None and people.maskname is not None and people.partname is not None, "see `load`"
        pairs = zip(people.maskname, people.partname, strict=True)
        return [_read_masks(root / str(mask), root / str(part)) for mask, part in pairs]

    def prediction(self, predictions: Predictions, data: EvaluationData) -> list[Masks | str]:
        """The rendered masks; where there is no prediction, a text that says so."""
        good = (predictions.done & _finite(predictions)).nonzero()[:, 0]
        masks: list[Masks | str] = ["there is no prediction"] * len(predictions)
        if len(good):
            for row, parts in zip(good.tolist(), self.draw(predictions[good], data[good.numpy()]), strict=True):
                masks[row] = Masks(parts > 0, parts)
        return masks

    @abstractmethod
    def draw(self, predictions: Predictions, data: EvaluationData) -> list[NDArray[np.uint8]]:
        """Part labels (H, W) of each of B people, at the image's size."""

    def render(self, vertices: Tensor, camera: Camera) -> NDArray[np.uint8]:
        """Vertices (B, V, 3) -> part labels (B, H, W); one camera, or one each of the same size."""
        setting = self.setting
        return setting.renderer.parts(vertices, setting.body.faces, camera, self._face_labels).cpu().numpy()

    def update(self, prediction: Sequence[Masks | str], target: Sequence[Masks | str]) -> None:
        """Adds B images; one without both masks, or with masks of different sizes, is missing."""
        self._counts.update(prediction, target)

    def summary(self) -> Summary:
        """See `Protocol`."""
        counts = self._counts
        if not counts.images:
            raise empty_error(self, len(counts.problems))
        foreground, parts = counts.foreground, counts.parts
        measures = (
            Measure("FG accuracy", foreground.accuracy, "of 1", "higher", 1.0),
            Measure("FG F1", foreground.mean_f1, "of 1", "higher", 1.0),
            Measure("parts accuracy", parts.accuracy, "of 1", "higher", 1.0),
            Measure("parts F1", parts.mean_f1, "of 1", "higher", 1.0),
        )
        of_part = {
            name: (Measure("F1", value, "of 1", "higher", 1.0),)
            for name, value in zip(PART_CLASSES, parts.f1.tolist(), strict=True)
        }
        return Summary(
            self.name,
            measures,
            f"{len(PART_CLASSES)} classes: {', '.join(PART_CLASSES)}; F1 is the mean over the classes",
            self._labels,
            self.rendering,
            "around the 14 true 2D joints, times 1.2",
            counts.images,
            len(counts.problems),
            mean="over the pooled pixels of all images",
            classes=of_part,
            problems=counts.problems,
        )

    def details(self) -> Details:
        """The confusion matrix of parts (the last class: not counted), and every image's F1."""
        counts = self._counts
        scores = {name: np.array(values) for name, values in counts.of_image.items()}
        every = range(counts.images + len(counts.problems))
        rows = np.array([row for row in every if str(row) not in counts.problems], np.int64)
        return Details(scores, confusion=counts.parts.matrix, class_names=(*PART_CLASSES, "ignored"), rows=rows)


@register
class LspSpin(LspSegmentation):
    """As SPIN's eval.py."""

    name = "lsp-spin"
    title = "LSP foreground and part segmentation as SPIN runs it: 224 pixels, f = 5000, copied back by nearest pixels"
    rendering = "rendered in the 224-pixel crop by a camera of f = 5000 px, copied back by nearest pixels"

    def draw(self, predictions: Predictions, data: EvaluationData) -> list[NDArray[np.uint8]]:
        """In the crop, then in the image."""
        people, sizes = data.people, predictions.camera.size.round().int().tolist()
        windows = [spin_window(c, float(s)) for c, s in zip(people.center, people.scale, strict=True)]
        crops = self.crops(predictions, people)
        return [uncrop(*each) for each in zip(crops, windows, sizes, strict=True)]

    def crops(self, predictions: Predictions, people: SpinDataset) -> NDArray[np.uint8]:
        """Part labels (B, 224, 224) as SPIN renders them."""
        weak = weak_of_box(predictions, people)
        depth = 2 * SPIN_FOCAL / (SPIN_RESOLUTION * weak[:, 0] + 1e-9)
        transl = torch.cat([weak[:, 1:], depth[:, None]], 1)
        params = predictions.params
        posed = self.setting.body(BodyParams(params.global_orient, params.body_pose, params.betas, transl))
        return self.render(posed.mesh, Camera.from_size(SPIN_RESOLUTION, SPIN_RESOLUTION, SPIN_FOCAL))


@register
class LspFull(LspSegmentation):
    """At full resolution."""

    name = "lsp-full"
    title = "LSP foreground and part segmentation at the image's resolution, seen by the predicted camera"
    rendering = "rendered at the image's full resolution by the predicted camera"

    def draw(self, predictions: Predictions, data: EvaluationData) -> list[NDArray[np.uint8]]:
        """In the image."""
        vertices, camera = self.setting.body(predictions.params).mesh, predictions.camera
        return [self.render(vertices[i : i + 1], camera[i])[0] for i in range(len(vertices))]


def weak_of_box(predictions: Predictions, people: SpinDataset) -> Tensor:
    """(B, 3) s, tx, ty in the crop of the data's box: the prediction's own where it has one, else from its depth."""
    center, side = torch.as_tensor(people.center), BOX_UNIT * torch.as_tensor(people.scale)
    derived = translation_to_weak(predictions.params.transl, center, side, predictions.camera)
    own = predictions.weak_camera
    return derived if own is None else torch.where(own.isfinite().all(1, keepdim=True), own, derived)


def _finite(predictions: Predictions) -> Tensor:
    """(B,) bool, whether a body and its camera are finite."""
    params, camera = predictions.params, predictions.camera
    parts = (params.rotations.flatten(1), params.betas, params.transl, camera.focal, camera.center, camera.size)
    return torch.cat(parts, 1).isfinite().all(1)


def _read_masks(mask: Path, part: Path) -> Masks | str:
    try:
        return Masks(read_mask(mask) > 0, read_mask(part))
    except (OSError, ValueError) as error:
        return str(error)

"""What may be known about people beside their keypoints: records of tensors, one row a person.

Each record is what one term looks at; a record that is None was not given, and a person of whom it says nothing has
weight or confidence 0 in it. All lengths are metres in the camera frame, all pixels those of the full image.
"""

from dataclasses import dataclass

from torch import Tensor

from hmrfit.types import TensorRecord


@dataclass(frozen=True)
class MaskEvidence(TensorRecord):
    """The person's mask as a map of distances and as an outline; made by `hmrfit.fitting.mask_map.mask_evidence`."""

    distance: Tensor  # (B, R, R) float32, signed distance to the mask's edge, outside positive, a share of the box
    low: Tensor  # (B, 2) pixels, where the map's first node is
    cell: Tensor  # (B,) pixels from node to node
    outline: Tensor  # (B, Q, 2) pixels
    normal: Tensor  # (B, Q, 2) unit, away from the mask
    length: Tensor  # (B, Q) 1 where the outline is the person's edge, 0 where the image cuts it or there is none
    trusted: Tensor  # (B, K) 1 where a keypoint is seen and lies in the mask


@dataclass(frozen=True)
class SilhouetteEvidence(TensorRecord):
    """The mask as a small square picture; made by `hmrfit.fitting.terms.silhouette.silhouette_evidence`."""

    coverage: Tensor  # (B, R, R) share of each pixel that is mask
    known: Tensor  # (B, R, R) 1 where the pixel lies in the image
    low: Tensor  # (B, 2) pixels of the image, the picture's corner
    side: Tensor  # (B,) pixels of the image


@dataclass(frozen=True)
class PointEvidence(TensorRecord):
    """Named points measured in 3D, as a depth camera or several views give them."""

    xyz: Tensor  # (B, K3, 3)
    confidence: Tensor  # (B, K3)


@dataclass(frozen=True)
class Measure(TensorRecord):
    """A number or several, known up to a standard deviation; inf where it is not known."""

    value: Tensor  # (B,) or (B, S)
    std: Tensor  # as `value`


@dataclass(frozen=True)
class GroundEvidence(TensorRecord):
    """The floor, as a plane n . x = offset, and who stands on it."""

    up: Tensor  # (B, 3) unit normal, pointing up
    offset: Tensor  # (B,)
    weight: Tensor  # (B,) 1 where there is a floor, 0 where nothing is known


@dataclass(frozen=True)
class ViewEvidence(TensorRecord):
    """The same people seen by V more cameras at the same instant:  x_view = rotation x + translation."""

    rotation: Tensor  # (B, V, 3, 3) from the fit's camera frame to the view's
    translation: Tensor  # (B, V, 3)
    focal: Tensor  # (B, V, 2)
    center: Tensor  # (B, V, 2)
    xy: Tensor  # (B, V, K, 2)
    confidence: Tensor  # (B, V, K)
    box_size: Tensor  # (B, V)


@dataclass(frozen=True)
class Evidence(TensorRecord):
    """All that is known about B people beside their keypoints in the image."""

    mask: MaskEvidence | None = None
    silhouette: SilhouetteEvidence | None = None
    points: PointEvidence | None = None
    height: Measure | None = None
    shape: Measure | None = None
    ground: GroundEvidence | None = None
    views: ViewEvidence | None = None

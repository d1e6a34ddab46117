"""The nouns of the library: body parameters, body output, keypoints. Tensors with names, shapes and units, no behaviour
beyond slicing, moving and checking. The camera has a file of its own.

Shapes: B people, J joints, V vertices, K keypoints, S betas. Metres, radians, pixels of the full image.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from hmrfit.ops.check import not_integer
from hmrfit.ops.presence import expected_extremes, presence, shown
from hmrfit.ops.rotation import matrix_to_rotvec, rotvec_to_matrix


@dataclass(frozen=True)
class TensorRecord:
    """What the records below share: applying one function to every tensor they hold. A field may be a tensor, a record,
    a table of either by name, or a list of either; everything else belongs to all rows and stays."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        """The same record with `function` applied to each tensor, records inside records too; None and names stay."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {name: _mapped(value, function) for name, value in values.items() if _holds_tensors(value)}
        return replace(self, **changed)

    def to(self, *where: torch.device | str | torch.dtype) -> Self:
        """Every tensor on a device, and those of floating point in a dtype, whichever of the two is given."""
        dtype = next((w for w in where if isinstance(w, torch.dtype)), None)
        device = next((w for w in where if not isinstance(w, torch.dtype)), None)
        return self.map(lambda t: t.to(device=device, dtype=dtype if t.is_floating_point() else None))

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Self:
        """The people chosen by a number, a slice, an index tensor or a mask; the leading dimension stays.

        Raises:
            IndexError: there is no such person; so a loop over a record ends.
        """
        if isinstance(index, int):
            if not -self._rows() <= index < self._rows():
                raise IndexError(f"There is no person {index}: this {type(self).__name__} holds {self._rows()}.")
            index = slice(index, index + 1 or None)
        return self.map(lambda t: t[index])

    def _rows(self) -> int:
        """B, from the first tensor there is."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | TensorRecord):
                return len(value) if isinstance(value, Tensor) else value._rows()
        return 0

    def with_rows(self, index: Tensor, source: Self) -> Self:
        """The same record with the people at `index` taken from `source`; an optional part that one lacks goes."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {n: _with_rows(v, index, getattr(source, n)) for n, v in values.items() if _holds_tensors(v)}
        return replace(self, **changed)

    @classmethod
    def cat(cls, records: Sequence[Self]) -> Self:
        """Several batches as one. An optional tensor that one of them lacks is left out."""
        columns = {field.name: [getattr(record, field.name) for record in records] for field in fields(records[0])}
        joined = {name: _joined(values) for name, values in columns.items() if any(map(_holds_tensors, values))}
        return replace(records[0], **joined)


def _holds_tensors(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(isinstance(v, Tensor | TensorRecord) for v in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, Tensor | TensorRecord)


def _mapped(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, dict):
        return {name: _mapped(part, function) for name, part in value.items()}
    if isinstance(value, list):
        return [_mapped(part, function) for part in value]
    return value.map(function) if isinstance(value, TensorRecord) else function(value)


def _with_rows(value: Any, index: Tensor, source: Any) -> Any:
    if source is None:
        return None
    if isinstance(value, dict):
        return {name: _with_rows(part, index, source[name]) for name, part in value.items()}
    if isinstance(value, list):
        return [_with_rows(part, index, other) for part, other in zip(value, source, strict=True)]
    if isinstance(value, TensorRecord):
        return value.with_rows(index, source)
    return value.index_copy(0, index, source[index])


def _joined(values: Sequence[Any]) -> Any:
    first = values[0]
    if any(value is None for value in values):
        return None
    if isinstance(first, dict):
        return {name: _joined([value[name] for value in values]) for name in first}
    if isinstance(first, list):
        return [_joined(parts) for parts in zip(*values, strict=True)]
    return torch.cat(list(values)) if isinstance(first, Tensor) else type(first).cat(values)


class RecordTable(TensorRecord, Mapping[str, TensorRecord]):
    """Records by name, one row a person in each; itself a record. It does not change."""

    def __init__(self, records: Mapping[str, TensorRecord] | None = None) -> None:
        self._records = dict(records or {})

    def __getitem__(self, key: Any) -> Any:
        """The record of a name; or, by an index, the people chosen from every record."""
        return self._records[key] if isinstance(key, str) else super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __len__(self) -> int:
        return len(self._records)

    def map(self, function: Callable[[Tensor], Tensor]) -> Self:
        return type(self)({name: record.map(function) for name, record in self._records.items()})

    def _rows(self) -> int:
        return next((record._rows() for record in self._records.values()), 0)

    def with_rows(self, index: Tensor, source: Self) -> Self:
        return type(self)({name: record.with_rows(index, source[name]) for name, record in self._records.items()})

    @classmethod
    def cat(cls, records: Sequence[Self]) -> Self:
        return cls({name: type(record).cat([r[name] for r in records]) for name, record in records[0].items()})


@dataclass(frozen=True)
class BodyParams(TensorRecord):
    """Θ without the camera. Rotation matrices, body -> camera for `global_orient`, child -> parent for the others."""

    global_orient: Tensor  # (B, 3, 3)
    body_pose: Tensor  # (B, J-1, 3, 3)
    betas: Tensor  # (B, S)
    transl: Tensor  # (B, 3) metres, added after posing

    def __post_init__(self) -> None:
        for name in ("global_orient", "body_pose", "betas", "transl"):
            object.__setattr__(self, name, not_integer(getattr(self, name)))

    def __len__(self) -> int:
        return self.transl.shape[0]

    @property
    def rotations(self) -> Tensor:
        """All joints' rotations (B, J, 3, 3), the root first."""
        return torch.cat([self.global_orient[:, None], self.body_pose], 1)

    @classmethod
    def from_rotvecs(cls, global_orient: Tensor, body_pose: Tensor, betas: Tensor, transl: Tensor) -> Self:
        """From rotation vectors (B, 3) and (B, (J-1)*3) or (B, J-1, 3), as files and the smplx package hold them."""
        body_pose = body_pose.reshape(body_pose.shape[0], -1, 3)
        return cls(rotvec_to_matrix(global_orient.reshape(-1, 3)), rotvec_to_matrix(body_pose), betas, transl)

    def to_rotvecs(self) -> tuple[Tensor, Tensor]:
        """(global_orient (B, 3), body_pose (B, (J-1)*3)) as rotation vectors in radians."""
        every = matrix_to_rotvec(self.rotations)
        return every[:, 0], every[:, 1:].flatten(1)


@dataclass(frozen=True)
class BodyOutput(TensorRecord):
    """A posed body in the camera frame, metres."""

    joints: Tensor  # (B, J, 3)
    landmarks: Tensor  # (B, K, 3), in the order the body was asked for
    vertices: Tensor | None = None  # (B, V, 3)

    @property
    def mesh(self) -> Tensor:
        """(B, V, 3) the vertices of a body that was posed with them.

        Raises:
            ValueError: it was posed without.
        """
        if self.vertices is None:
            raise ValueError("This body was posed with vertices=False; pose it with them.")
        return self.vertices


@dataclass(frozen=True)
class Keypoints(TensorRecord):
    """2D keypoints in pixels of the full image, (0, 0) the corner of the top-left pixel. Confidence 0 means unseen."""

    xy: Tensor  # (B, K, 2)
    confidence: Tensor  # (B, K) in [0, 1]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("xy", "confidence"):
            object.__setattr__(self, name, not_integer(getattr(self, name)))

    def __len__(self) -> int:
        return self.xy.shape[0]

    def of_points(self, places: Sequence[int]) -> Self:
        """Some of everybody's keypoints."""
        own = list(places)
        names = tuple(self.names[k] for k in own)
        return replace(self, xy=self.xy[:, own], confidence=self.confidence[:, own], names=names)

    def rearranged(self, sources: Tensor) -> Self:
        """Keypoint k of each person from where sources (B, K) says."""
        sources = sources.to(self.xy.device)
        xy = self.xy.gather(1, sources[..., None].expand(-1, -1, 2))
        return replace(self, xy=xy, confidence=self.confidence.gather(1, sources))

    @cached_property
    def presence(self) -> Tensor:
        """(B, K) how far each keypoint counts as seen, a continuous function of its confidence (`ops.presence`)."""
        return presence(self.confidence)

    @cached_property
    def shown(self) -> Tensor:
        """(B, K) how far each keypoint is looked at, a continuous function of its confidence (`ops.presence`)."""
        return shown(self.confidence)

    @property
    def weight(self) -> Tensor:
        """(B, K) q c: how far each keypoint is looked at, times its confidence. What it counts in the energy."""
        return self.shown * self.confidence

    @property
    def relative_confidence(self) -> Tensor:
        """(B, K) confidence over the person's greatest."""
        return self.confidence / self.confidence.amax(1, keepdim=True).clamp_min(
            torch.finfo(self.confidence.dtype).tiny
        )

    def bounds(self) -> tuple[Tensor, Tensor]:
        """Least and greatest (x, y) over the seen keypoints, each counting as far as it is present: two (B, 2); 0 where
        none is seen."""
        return self._bounds

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor]:
        p = self.presence
        if not ((p == 0) | (p == 1)).all():
            return expected_extremes(self.xy, p)
        seen = (p > 0)[..., None]  # the same numbers, quicker
        low = torch.where(seen, self.xy, torch.inf).amin(1)
        high = torch.where(seen, self.xy, -torch.inf).amax(1)
        nothing = ~seen.any(1)
        return low.masked_fill(nothing, 0.0), high.masked_fill(nothing, 0.0)

    def box_size(self) -> Tensor:
        """(B,) the longest side of the bounding box of the visible keypoints, pixels: the unit of every percentage."""
        low, high = self.bounds()
        return (high - low).amax(-1)


@dataclass(frozen=True)
class Regression(TensorRecord):
    """Θ₀, what a network says of a person in a square crop.

    x̂ = s (X_xy + (tx, ty)) in the crop's [-1, 1], X the body posed with translation 0, which a network's `params` hold.
    `camera.weak_to_translation` turns the weak camera into a translation before the full image's camera; what knows
    that camera (`KeypointHmr.predict`) has put it there.
    """

    params: BodyParams
    weak_camera: Tensor  # (B, 3) s, tx, ty

    def __len__(self) -> int:
        return len(self.params)

    def theta(self) -> Tensor:
        """(B, 3 + 3J + S), 85 numbers for SMPL, as released code lays them out: [camera 3 | pose 72 | betas 10]."""
        global_orient, body_pose = self.params.to_rotvecs()
        return torch.cat([self.weak_camera, global_orient, body_pose, self.params.betas], -1)

    @classmethod
    def from_theta(cls, theta: Tensor, joints: int) -> Self:
        """The inverse of `theta`: (B, 3 + 3J + S) with J = `joints` and whatever is left as betas."""
        camera, pose, betas = theta.tensor_split([3, 3 + 3 * joints], -1)
        params = BodyParams.from_rotvecs(pose[:, :3], pose[:, 3:], betas, torch.zeros_like(camera))
        return cls(params, camera)

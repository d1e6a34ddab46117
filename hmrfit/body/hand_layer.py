"""Hands by the numbers of others: what a pose, betas and the output mean in each implementation of MANO.

    θ = a + μ             rotation vectors a (45,) of the 15 finger joints     \
    θ = c C + μ           coefficients c (n,) of the first n components        /  μ = 0 where `flat_hand_mean` is True

                  mean added    pose                 tips       keypoints        their unit    betas of a left hand
    smplx         yes           6 components         smplx      mano_native21    metres        as in its file
    manopth       no            6 components         manopth    hand21           millimetres   as in its file
    freihand      yes           rotation vectors     freihand   hand21           metres        -
    ho3d          no            rotation vectors     ho3d       mano_native21    metres        -
    interhand     yes           rotation vectors     smplx      mano_native21    metres        mirrored
    dexycb        yes           45 components        manopth    hand21           metres        as in its file
    hmrfit        no            rotation vectors     smplx      mano_native21    metres        mirrored

"Mean added" is the trap: smplx.MANO adds the file's mean pose to rotation vectors too, unless `flat_hand_mean=True`.
Another one: its MANO takes 45 numbers for rotation vectors even with `use_pca=True`, its SMPL-H and manopth take them
for coefficients. The root turns about the wrist in all of these, and the translation comes last. Here everything is
in metres: manopth's numbers are a thousand times as large.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from hmrfit.body.hands import HandPoses
from hmrfit.body.landmarks import MANO_VERTEX_COUNT, mano_tips
from hmrfit.body.mirrored import side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.hand_keypoints import hand_set
from hmrfit.ops.check import did_you_mean, numbers
from hmrfit.ops.how_many import how_many
from hmrfit.types import BodyParams, TensorRecord

FINGER_NUMBERS = 45
"""Of the rotation vectors of 15 joints."""


@dataclass(frozen=True)
class HandConvention:
    """What the numbers of one implementation mean."""

    flat_hand_mean: bool  # whether a pose of zeros is the flat hand; else it is the file's mean pose
    pca: int | None  # a pose is coefficients of so many components; None: rotation vectors
    tips: str  # by whose definition, see `landmarks.MANO_TIPS`
    order: str  # of the 21 keypoints, see `hand_keypoints.HAND_SETS`
    unit: float = 1.0  # metres in one of its units
    left_shapes: Literal["file", "mirrored"] = "mirrored"  # which betas a left hand has, see `left_shapes`


CONVENTIONS = {
    "hmrfit": HandConvention(True, None, "smplx", "mano_native21"),
    "smplx": HandConvention(False, 6, "smplx", "mano_native21", left_shapes="file"),
    "manopth": HandConvention(True, 6, "manopth", "hand21", 1e-3, "file"),
    "freihand": HandConvention(False, None, "freihand", "hand21"),
    "ho3d": HandConvention(True, None, "ho3d", "mano_native21"),
    "interhand": HandConvention(False, None, "smplx", "mano_native21"),
    "dexycb": HandConvention(False, FINGER_NUMBERS, "manopth", "hand21", left_shapes="file"),
}
"""Implementations and data sets."""


def find_convention(name: str) -> HandConvention:
    """A convention by name.

    Raises:
        ValueError: there is none; with the nearest name, and all of them.
    """
    if name not in CONVENTIONS:
        near = did_you_mean(name, CONVENTIONS)
        raise ValueError(f"There is no convention of hands '{name}'.{near} Known: {', '.join(CONVENTIONS)}.")
    return CONVENTIONS[name]


def whole_pose(poses: HandPoses | None, pose: Tensor, flat_hand_mean: bool, pca: int | None) -> Tensor:
    """θ (B, 45) of a pose (B, 45) of rotation vectors, or (B, n) coefficients.

    Raises:
        ValueError: another number of columns, or a file without mean and components.
    """
    expected = FINGER_NUMBERS if pca is None else pca
    if pose.shape[-1] != expected:
        what = "rotation vectors of 15 joints" if pca is None else "coefficients"
        raise ValueError(
            f"The pose of a hand should hold {expected} {what}, but has {how_many(pose.shape[-1], 'numbers')}."
        )
    if pca is None and flat_hand_mean:
        return pose
    if poses is None:
        raise ValueError(
            "This file has no hands_mean and hands_components, which coefficients and poses about a mean need. Give "
            "rotation vectors with flat_hand_mean=True, or MANO's own file."
        )
    if pca is not None and pca > len(poses.components):
        raise ValueError(
            f"This file has {how_many(len(poses.components), 'components')} of poses, and {pca} are asked for."
        )
    theta = pose if pca is None else pose @ poses.components[:pca]
    return theta if flat_hand_mean else theta + poses.mean


def with_tips(body: SmplBody, definition: str) -> SmplBody:
    """The same hand with finger tips by another definition.

    Raises:
        ValueError: the file is not on MANO's template, whose vertices they are.
    """
    found = mano_tips(body.skeleton, definition)
    if len(body.v_template) != MANO_VERTEX_COUNT or side_of(body.skeleton) is None:
        raise ValueError(
            f"Tips by the definition of {definition} are vertices of MANO's template of {MANO_VERTEX_COUNT}, and this "
            f"body has {len(body.v_template)}: leave tips out, and its own are taken."
        )
    other = copy.copy(body)
    other.landmark_names = tuple(found)
    other.landmark_regressor = torch.zeros_like(body.v_template[:, 0]).repeat(len(found), 1)
    other.landmark_regressor[torch.arange(len(found)), list(found.values())] = 1.0
    return other


@dataclass(frozen=True)
class HandOutput(TensorRecord):
    """B posed hands, metres."""

    vertices: Tensor  # (B, V, 3)
    joints: Tensor  # (B, 16, 3) in MANO's order
    keypoints: Tensor  # (B, 21, 3) in the convention's order


class HandLayer:
    """A hand that takes the numbers of others; made by `hmrfit.load_hand`."""

    def __init__(self, body: SmplBody, convention: HandConvention) -> None:
        """
        Raises:
            ValueError: the body is no hand, or has other tips than the convention asks for.
        """
        side = side_of(body.skeleton)
        if side is None:
            raise ValueError(f"This body hangs on '{body.skeleton.root}', and is no hand. Give a hand's file.")
        if len(body.v_template) == MANO_VERTEX_COUNT:
            body = with_tips(body, convention.tips)
        self.body, self.convention, self.side = body, convention, side
        self.keypoint_names = hand_set(convention.order, side).names
        self._points = body.points(self.keypoint_names)

    @property
    def pose_size(self) -> int:
        """3 + n, the numbers of a pose."""
        return 3 + (FINGER_NUMBERS if self.convention.pca is None else self.convention.pca)

    def params(self, pose: ArrayLike, betas: ArrayLike | None = None, transl: ArrayLike | None = None) -> BodyParams:
        """Our parameters of others' numbers.

        Args:
            pose: (B, 3 + n) or (3 + n,): the root's rotation vector, and the fingers' as the convention has them.
            betas: (B, S), (S,), or one row for all; fewer are filled with zeros. transl: (B, 3) or (3,), metres.
        Raises:
            ValueError, TypeError: other shapes.
        """
        theta = self._rows(pose, "pose", self.pose_size)
        B, none = len(theta), theta.new_zeros(len(theta), 3)
        shape = theta.new_zeros(1, self.body.shape_count) if betas is None else self._rows(betas, "betas")
        place = none if transl is None else self._rows(transl, "transl", 3)
        for name, rows in (("betas", shape), ("transl", place)):
            if len(rows) not in (1, B):
                raise ValueError(f"{name} should hold one row, or {B} as the pose does, but holds {len(rows)}.")
        own, how = self.body.hands.get(self.side), self.convention
        fingers = whole_pose(own, theta[:, 3:], how.flat_hand_mean, how.pca)
        return BodyParams.from_rotvecs(theta[:, :3], fingers, shape.expand(B, -1), place.expand(B, -1))

    def __call__(
        self,
        pose: ArrayLike,
        betas: ArrayLike | None = None,
        transl: ArrayLike | None = None,
        center: str | None = None,
    ) -> HandOutput:
        """Poses B hands, see `params`.

        Args:
            center: the keypoint that is moved to the origin, as manopth's `center_idx`, by a name without its side such
                as "middle_knuckle" or "hand_root".
        """
        params = self.params(pose, betas, transl)
        output, keypoints = self.body(params), self._points.pose(params).points
        assert output.vertices is not None
        found = HandOutput(output.vertices, output.joints, keypoints)
        if center is None:
            return found
        name = f"{self.side}_{center}"
        if not self.body.has_point(name):
            raise ValueError(f"This hand has no point '{center}'.{did_you_mean(name, self.keypoint_names)}")
        at = self.body.points([name]).pose(params).points
        return found.map(lambda t: t - at)

    def _rows(self, values: ArrayLike, name: str, columns: int | None = None) -> Tensor:
        """(B, columns) in the body's precision; tensors keep their gradients."""
        tensor = values if isinstance(values, Tensor) else torch.as_tensor(numbers(values, name, "numbers"))
        tensor = tensor[None] if tensor.ndim == 1 else tensor
        if tensor.ndim != 2 or (columns is not None and tensor.shape[1] != columns):
            raise ValueError(
                f"{name} should have the shape (B, {columns or 'S'}), but has {tuple(tensor.shape)}. Here a pose is "
                f"the root's rotation vector and {how_many(self.pose_size - 3, 'numbers')} of the fingers."
            )
        return tensor.to(self.body.v_template)


def smplx_hand_poses(
    body: SmplBody,
    hand_poses: Sequence[Tensor],
    flat_hand_mean: bool = False,
    use_pca: bool = True,
    num_pca_comps: int = 6,
) -> Tensor:
    """The rotation vectors (B, 45 n) of all fingers of a body with n hands, of smplx.SMPLH's or smplx.MANO's arguments.

    Args:
        hand_poses: (B, `num_pca_comps`) or (B, 45) each, of the left, then the right hand; of a hand's file its own.
    Raises:
        ValueError: another number of hands or columns.
    """
    sides = tuple(body.skeleton.fingers)
    if len(hand_poses) != len(sides):
        raise ValueError(
            f"This body has {how_many(len(sides), 'hands')} ({', '.join(sides)}), but {len(hand_poses)} are posed."
        )
    off = len(sides) == 1 and num_pca_comps == FINGER_NUMBERS  # smplx.MANO then takes 45 rotation angles
    pca = num_pca_comps if use_pca and not off else None
    each = [whole_pose(body.hands.get(s), p, flat_hand_mean, pca) for s, p in zip(sides, hand_poses, strict=True)]
    return torch.cat(each, -1)

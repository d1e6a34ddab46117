"""MANO's hands, and others of its format, for those who have its numbers: `load_hand`."""

from dataclasses import replace
from typing import Literal

import torch

from hmrfit.assets import locate
from hmrfit.body.files import read_body_file
from hmrfit.body.hand_layer import HandLayer, find_convention, with_tips
from hmrfit.body.mirrored import mirrored_hand, side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.hand_keypoints import HAND_SIDES
from hmrfit.ops.check import brief_repr

MOST_SHAPES = 10

Components = int | Literal["none"] | None


def load_hand(
    path: str = "free_hand",
    *,
    like: str = "hmrfit",
    side: str | None = None,
    flat_hand_mean: bool | None = None,
    pca: Components = None,
    tips: str | None = None,
    order: str | None = None,
    left_shapes: Literal["file", "mirrored"] | None = None,
    dtype: torch.dtype = torch.float64,
) -> HandLayer:
    """A hand in MANO's format that takes and gives numbers as another implementation or data set does.

        mano = hmrfit.load_hand("mano_right", like="smplx", pca=12)      # hands_mean is added to its poses
        hand = mano(pose, betas, transl)                                 # pose (B, 3 + 12)
        hand.vertices, hand.joints, hand.keypoints                       # metres; (B, 778, 3), (B, 16, 3), (B, 21, 3)
        mano.params(pose, betas, transl)                                 # for `hmrfit.fit_hand(init=...)`

    Args:
        path: "free_hand", "mano_right", "mano_left", or a file in MANO's format, .pkl (nothing in it is run) or .npz.
        like: "smplx", "manopth", "freihand", "ho3d", "interhand", "dexycb", or "hmrfit": `body.hand_layer` has the
            table of what they mean. What follows changes single points of it.
        side: "left" or "right"; of a file of the other hand the mirror image is taken.
        flat_hand_mean: whether a pose of zeros is the flat hand (else it is the file's mean pose).
        pca: a pose is so many coefficients; "none": rotation vectors.
        tips: by whose definition: "smplx", "manopth", "freihand", "ho3d", "3dhand"; of MANO's own template only.
        order: of the keypoints: "hand21", "mano_native21", ...
        left_shapes: "file": betas of MANO_LEFT as its file has them, with which a hand grows to one side and shrinks to
            the other; "mirrored": the same betas are the same hand on both sides.

    Raises:
        ValueError, FileNotFoundError: a name that is not known, no hand, or a file that cannot be read.
    """
    convention = find_convention(like)
    if pca is not None and pca != "none" and (isinstance(pca, bool) or not isinstance(pca, int) or not 1 <= pca <= 45):
        raise ValueError(f"pca should be a number of components from 1 to 45, or 'none', not {brief_repr(pca)}.")
    if side is not None and side not in HAND_SIDES:
        raise ValueError(f"side should be 'left' or 'right', not {brief_repr(side)}.")
    if left_shapes not in (None, "file", "mirrored"):
        raise ValueError(f"left_shapes should be 'file' or 'mirrored', not {brief_repr(left_shapes)}.")
    convention = replace(
        convention,
        flat_hand_mean=convention.flat_hand_mean if flat_hand_mean is None else bool(flat_hand_mean),
        tips=tips or convention.tips,
        order=order or convention.order,
        left_shapes=left_shapes or convention.left_shapes,
    )
    if pca is not None:
        # smplx.MANO switches its components off where all 45 are asked for
        off = pca == "none" or (pca == 45 and like == "smplx")
        convention = replace(convention, pca=None if off else int(pca))
    body = SmplBody(read_body_file(locate(path), convention.left_shapes == "file"), dtype, MOST_SHAPES)
    if side is not None and side_of(body.skeleton) not in (side, None):
        body = mirrored_hand(body)
    if tips is not None:
        body = with_tips(body, tips)
    return HandLayer(body, convention)

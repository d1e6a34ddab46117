"""The mirror image of a hand: of a right hand's file the left hand, so that there is never a second file.

    v -> M v,     R -> M R M,     M = diag(−1, 1, 1);      a rotation vector (x, y, z) -> (x, −y, −z)
    P'_(i, jk) = m_i m_j m_k P_(i, jk)                     of the pose correctives v + P vec(R − I)

Faces are reversed, betas stay: the same betas are the same hand on the other side. (MANO's left file has the shape
directions of the right one unmirrored: its betas are another hand's.)
"""

import copy
from dataclasses import replace

from torch import Tensor

from hmrfit.body.skeleton import MANO_LEFT, MANO_RIGHT, Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import mirrored_name

FLIP = (-1.0, 1.0, 1.0)
"""M's diagonal."""

TURN_FLIP = (1.0, -1.0, -1.0)
"""Of a rotation vector."""


def side_of(skeleton: Skeleton) -> str | None:
    """ "left" or "right" of a hand's skeleton; None of another body's."""
    return next((side for side in skeleton.fingers if skeleton.root == f"{side}_wrist"), None)


def mirrored_skeleton(skeleton: Skeleton) -> Skeleton:
    """The other hand's."""
    names = tuple(map(mirrored_name, skeleton.names))
    known = next((hand for hand in (MANO_LEFT, MANO_RIGHT) if hand.names == names), None)
    return known or replace(skeleton, names=names)


def mirrored_hand(body: SmplBody) -> SmplBody:
    """The other hand of a person who has this one.

    Raises:
        ValueError: the body is no hand.
    """
    if side_of(body.skeleton) is None:
        raise ValueError(f"Only hands have a mirror image here, and this body hangs on '{body.skeleton.root}'.")
    m = body.v_template.new_tensor(FLIP)
    other = copy.copy(body)
    other.skeleton = mirrored_skeleton(body.skeleton)
    other.v_template, other.rest_joints = body.v_template * m, body.rest_joints * m
    other.shapedirs, other.joint_shapes = body.shapedirs * m[:, None], body.joint_shapes * m[:, None]
    turned = (m[:, None, None] * m[:, None] * m).flatten(1)  # (3, 9)
    other.posedirs = body.posedirs * turned.repeat(1, len(body.skeleton) - 1)
    other.faces = body.faces.flip(1)
    other.landmark_names = tuple(map(mirrored_name, body.landmark_names))
    sided = {"left": "right", "right": "left"}
    other.hands = {sided[side]: poses.map(mirrored_turns) for side, poses in body.hands.items()}
    return other


def mirrored_turns(theta: Tensor) -> Tensor:
    """Rotation vectors (..., 3 n) of a hand's joints as those of its mirror image."""
    return theta * theta.new_tensor(TURN_FLIP).repeat(theta.shape[-1] // 3)

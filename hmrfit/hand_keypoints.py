"""Keypoint sets of one hand: 21 or 25 points in the orders in which data sets and detectors have them.

    hand21          the wrist; thumb cmc, mcp, ip, tip; index mcp, pip, dip, tip; middle; ring; little finger
                    (OpenPose, COCO-WholeBody, FreiHAND, MediaPipe, OneHand10K, Panoptic, manopth's output, DexYCB)
    mano_native21   MANO's 16 joints (index, middle, little, ring finger, thumb) and the tips of thumb to little finger
                    (smplx with its vertices, HO-3D)
    interhand21     InterHand2.6M's one hand: thumb to little finger, the tip first, the wrist last
    rhd21           RHD's one hand: the wrist, then every finger, the tip first
    webxr25         WebXR's: hand21 and the metacarpals of four fingers, which are ignored

A finger's mcp is its `knuckle` here, as in the body's sets. "The wrist" is three points: where annotators have it
(`hand_root`), MANO's first joint (`wrist_mano`), and WebXR's (`wrist_webxr`), which lies 12 mm nearer to the elbow.
Names have a side in front (`right_index_tip`), so that a hand's points are the same ones on a body.
"""

from collections.abc import Sequence

from hmrfit.keypoints import FINGER_JOINTS, FINGERS, THUMB_JOINTS, KeypointSet
from hmrfit.ops.check import brief_repr, did_you_mean
from hmrfit.ops.how_many import how_many

HAND_SIDES = ("left", "right")

WRIST = "hand_root"

_POINTS = {
    finger: [f"{finger}_{j}" for j in (THUMB_JOINTS if finger == "thumb" else FINGER_JOINTS)] for finger in FINGERS
}
_MANO_FINGERS = ("index", "middle", "pinky", "ring", "thumb")

HAND_SETS: dict[str, tuple[str | None, ...]] = {
    "hand21": (WRIST, *(point for finger in FINGERS for point in _POINTS[finger])),
    "mano_native21": (
        "wrist_mano",
        *(point for finger in _MANO_FINGERS for point in _POINTS[finger][:3]),
        *(_POINTS[finger][3] for finger in FINGERS),
    ),
    "interhand21": (*(point for finger in FINGERS for point in reversed(_POINTS[finger])), WRIST),
    "rhd21": (WRIST, *(point for finger in FINGERS for point in reversed(_POINTS[finger]))),
    "webxr25": (
        "wrist_webxr",
        *(point for finger in FINGERS for point in ([] if finger == "thumb" else [None]) + _POINTS[finger]),
    ),
}
"""Name -> points without their side; None is ignored."""


def hand_set(name: str | Sequence[str | None], side: str) -> KeypointSet:
    """A set of one hand's keypoints, or names of one's own without a side, as points of a left or right hand.

    Raises:
        ValueError: there is no such set or side.
    """
    if side not in HAND_SIDES:
        raise ValueError(f"side should be 'left' or 'right', the person's own, not {brief_repr(side)}.")
    if isinstance(name, str) and name not in HAND_SETS:
        near = did_you_mean(name, HAND_SETS)
        raise ValueError(f"There is no keypoint set of hands '{name}'.{near} There are: {', '.join(HAND_SETS)}.")
    points = HAND_SETS[name] if isinstance(name, str) else tuple(name)
    return KeypointSet(tuple(None if point is None else f"{side}_{point}" for point in points))


USUAL_SETS = {21: "hand21", 25: "webxr25"}
"""What so many points are taken for where no set is named."""


def names_of_hand(
    shape: Sequence[int], keypoint_set: str | Sequence[str | None] | None, side: str
) -> tuple[str | None, ...] | None:
    """The points of a set of hands with their side, None for those that are ignored; or None, where the keypoints say
    themselves what they are.

    Args:
        shape: (..., K, 3) of the keypoints; () for a file's.

    Raises:
        ValueError: no such set, or none is named and the number of points does not tell which it is.
    """
    if keypoint_set is not None:
        if not isinstance(keypoint_set, str) and any(str(name).startswith(_PREFIXES) for name in keypoint_set):
            return tuple(keypoint_set)
        return hand_set(keypoint_set, side).layout
    count = int(shape[-2]) if len(shape) > 1 else int(shape[0]) // 3 if len(shape) == 1 and shape[0] % 3 == 0 else 0
    if not count:
        return None
    if count in (2, 3) and len(shape) == 2:
        raise ValueError(f"keypoints of a hand should have the shape (K, 3), but have {tuple(shape)}: transpose them.")
    if count not in USUAL_SETS:
        raise ValueError(
            f"keypoint_set is needed for {how_many(count, 'points')} of a hand: one of {', '.join(HAND_SETS)}, or "
            "their names."
        )
    return hand_set(USUAL_SETS[count], side).layout


_PREFIXES = tuple(f"{side}_" for side in HAND_SIDES)


def hand_sets_of_size(count: int) -> list[str]:
    """The names of the sets with so many points, to say what an unnamed array might be."""
    return [name for name, points in HAND_SETS.items() if len(points) == count]

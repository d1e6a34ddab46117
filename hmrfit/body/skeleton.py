"""What is true of a kind of body: the names of its joints, their tree, limbs, parts and mirror.

    SMPL    24 = 22 of the body + left_hand, right_hand              MANO  16 = one wrist + 15 fingers, left or right
    SMPL-H  52 = 22 of the body + 15 left and 15 right fingers
    SMPL-X  55 = 22 of the body + jaw, left and right eye + fingers

Joints stand in the order of the published files; their names are those of the smplx package, except that its
`left_eye_smplhf` is `left_eye_joint` here (`left_eye` is the keypoint on the surface). All else follows from the names
and the parents, so a body with other joints has a skeleton too, as soon as its file names them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hmrfit.keypoints import SIDES, SMPL24, flip_permutation, part_of
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.how_many import how_many

ROOT_PARENT = -1

PART_NAMES = ("head", "torso", "right_arm", "left_arm", "right_leg", "left_leg")
"""The six parts in which Unite the People and SPIN label a body, in the order of their labels 1 to 6."""

SIX_PARTS = {"hip": "torso", "neck": "torso", "spine": "torso", "head": "head"} | {
    side + part: side + limb
    for side in SIDES
    for limb, parts in {"arm": ("shoulder", "elbow", "hand"), "leg": ("hip", "knee", "foot")}.items()
    for part in parts
}
"""Part of a name (`keypoints.part_of`) -> which of the six it belongs to."""


@dataclass(frozen=True)
class Limb:
    """Two bones that may be bent towards the camera or away from it and look the same: an arm or a leg.

    The upper bone runs from the first joint to the second, the lower one on to the third. A straight limb bends about
    `hinge`, an axis of the first joint's frame; a turn about it with the sign `overbent` bends it the wrong way.
    """

    name: str
    joints: tuple[str, str, str]
    hinge: str  # "x" or "y"
    overbent: float

    @property
    def axis(self) -> int:
        """0, 1 or 2 for x, y or z."""
        return "xyz".index(self.hinge)


LIMBS = (
    Limb("left_arm", ("left_shoulder", "left_elbow", "left_wrist"), "y", 1.0),
    Limb("right_arm", ("right_shoulder", "right_elbow", "right_wrist"), "y", -1.0),
    Limb("left_leg", ("left_hip", "left_knee", "left_ankle"), "x", -1.0),
    Limb("right_leg", ("right_hip", "right_knee", "right_ankle"), "x", -1.0),
)
"""Of bodies whose rest pose is the T-pose with y up: the arms lie along x."""


@dataclass(frozen=True)
class Skeleton:
    """J named joints and their tree. Every joint but the first, the root, has an earlier one as parent.

    Raises:
        ValueError: names that are not J different ones, or parents that are no such tree.
    """

    kind: str  # "SMPL", "SMPL-H", ...; "" for a body of other joints
    names: tuple[str, ...]
    parents: tuple[int, ...]  # -1 for the root
    up: tuple[float, float, float] = (0.0, 1.0, 0.0)  # in the frame of the rest pose

    def __post_init__(self) -> None:
        if len(self.names) != len(self.parents):
            raise ValueError(
                f"A skeleton of {how_many(len(self.parents), 'joints')} needs as many names, not {len(self.names)}."
            )
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"Two joints are called '{twice}'. Names of joints should differ.")
        wrong = [j for j, p in enumerate(self.parents) if not (p == ROOT_PARENT if j == 0 else 0 <= p < j)]
        if not self.parents or wrong:
            raise ValueError(
                "The parents of a skeleton should be -1 for the first joint and an earlier joint for every other one, "
                f"not {list(self.parents)[:8]}."
            )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def root(self) -> str:
        """The name of the joint that all others hang on: the pelvis of a body, the wrist of a hand."""
        return self.names[0]

    @property
    def pose_size(self) -> int:
        """3 J: the numbers of a pose written as rotation vectors, the root's among them."""
        return 3 * len(self)

    @property
    def surface(self) -> str:
        """What motion files call the kind (`surface_model_type`): smpl, smplh, smplx."""
        return self.kind.lower().replace("-", "")

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: j for j, name in enumerate(self.names)}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def index(self, name: str) -> int:
        """The place of the joint of this name.

        Raises:
            ValueError: there is none; names the nearest one.
        """
        if name not in self._places:
            raise ValueError(f"This skeleton has no joint '{name}'.{did_you_mean(name, self.names)}")
        return self._places[name]

    def columns(self, names: Sequence[str]) -> tuple[int, ...]:
        """The columns of θ (B, 3 (J-1)), the pose without the root, that hold these joints' rotation vectors."""
        return tuple(3 * (self.index(name) - 1) + axis for name in names for axis in range(3))

    def below(self, name: str) -> tuple[int, ...]:
        """A joint and all that hangs on it, ascending."""
        found = [self.index(name)]
        for joint in range(found[0] + 1, len(self)):
            if self.parents[joint] in found:
                found.append(joint)
        return tuple(found)

    @cached_property
    def mirror(self) -> tuple[int, ...]:
        """p such that joint j of the mirrored body is joint p[j] of the original. A hand's joints stay: its mirror
        image is the other hand."""
        return tuple(flip_permutation(self.names))

    @cached_property
    def limbs(self) -> tuple[Limb, ...]:
        """The arms and legs that this skeleton has whole."""
        return tuple(limb for limb in LIMBS if all(name in self for name in limb.joints))

    @cached_property
    def part_of_joints(self) -> tuple[str | None, ...]:
        """For each joint which of PART_NAMES it moves: by its name, else its parent's; None where neither is known."""
        parts: list[str | None] = []
        for name, parent in zip(self.names, self.parents, strict=True):
            own = SIX_PARTS.get("spine" if name.startswith("spine") else part_of(name) or "")
            parts.append(own or (parts[parent] if parent >= 0 else None))
        return tuple(parts)

    @cached_property
    def parts(self) -> Mapping[str, tuple[int, ...]]:
        """The joints of the six PART_NAMES, and of `left_hand` and `right_hand`: the wrist and all below it, which are
        joints of the arm too. A part that this skeleton lacks is empty."""
        six = {part: tuple(j for j, own in enumerate(self.part_of_joints) if own == part) for part in PART_NAMES}
        hands = {f"{side}hand": self.below(f"{side}wrist") if f"{side}wrist" in self else () for side in SIDES}
        return six | hands

    @property
    def trunk(self) -> tuple[int, ...]:
        """The joints of the torso: pelvis, spine, neck and collars."""
        return self.parts["torso"]

    @cached_property
    def fingers(self) -> Mapping[str, tuple[int, ...]]:
        """ "left" and "right", where there are any: the joints of that hand's fingers, base to tip, in their order."""
        found = {
            side[:-1]: [j for j, name in enumerate(self.names) if _FINGER_JOINT[side].match(name)] for side in SIDES
        }
        return {side: tuple(joints) for side, joints in found.items() if joints}

    @cached_property
    def body_joints(self) -> tuple[int, ...]:
        """The joints that this body shares with SMPL, which the shipped priors are about: 22 of SMPL-H and SMPL-X, all
        of SMPL's own, none of a hand. The others (fingers, jaw, eyes) have no prior and stay as they are."""
        if self.root != SMPL24[0]:
            return ()
        return tuple(j for j, name in enumerate(self.names) if name in SMPL24)

    @property
    def driven(self) -> tuple[int, ...]:
        """The joints, the root first, that a fit turns unless a prior of others is about more: `body_joints`, or all
        of a body that has none."""
        return self.body_joints or tuple(range(len(self)))

    def shared_with(self, names: Sequence[str]) -> tuple[str, ...]:
        """The joints but the root that are among `names`, in this skeleton's order: what a prior about those names can
        say of this body."""
        known = set(names)
        return tuple(name for name in self.names[1:] if name in known)


FINGER_ORDER = ("index", "middle", "pinky", "ring", "thumb")
"""In MANO's files, and in all that have its hands."""

_FINGER_JOINT = {side: re.compile(rf"{side}({'|'.join(FINGER_ORDER)})\d$") for side in SIDES}


def _finger_names(side: str) -> tuple[str, ...]:
    """Three joints of each finger, from its base to the last before the tip."""
    return tuple(f"{side}{finger}{k}" for finger in FINGER_ORDER for k in (1, 2, 3))


def _finger_parents(first: int, wrist: int) -> tuple[int, ...]:
    """Of the 15 joints that begin at `first`."""
    return tuple(wrist if k % 3 == 0 else first + k - 1 for k in range(15))


_BODY = SMPL24[:22]
_BODY_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
_HEAD, _LEFT_WRIST, _RIGHT_WRIST = (_BODY.index(name) for name in ("head", "left_wrist", "right_wrist"))
_FACE = ("jaw", "left_eye_joint", "right_eye_joint")
_LEFT, _RIGHT = map(_finger_names, SIDES)


def _with_fingers(count: int) -> tuple[int, ...]:
    """The parents of both hands' fingers behind `count` other joints."""
    return _finger_parents(count, _LEFT_WRIST) + _finger_parents(count + 15, _RIGHT_WRIST)


SMPL = Skeleton("SMPL", SMPL24, (*_BODY_PARENTS, _LEFT_WRIST, _RIGHT_WRIST))
SMPLH = Skeleton("SMPL-H", (*_BODY, *_LEFT, *_RIGHT), (*_BODY_PARENTS, *_with_fingers(22)))
SMPLX = Skeleton("SMPL-X", (*_BODY, *_FACE, *_LEFT, *_RIGHT), (*_BODY_PARENTS, *[_HEAD] * 3, *_with_fingers(25)))
MANO_LEFT = Skeleton("MANO", ("left_wrist", *_LEFT), (-1, *_finger_parents(1, 0)))
MANO_RIGHT = Skeleton("MANO", ("right_wrist", *_RIGHT), (-1, *_finger_parents(1, 0)))

KINDS = (SMPL, SMPLH, SMPLX, MANO_LEFT, MANO_RIGHT)
"""The kinds of bodies that a file is recognised as without naming its joints."""


def skeleton_of(data: Mapping[str, NDArray]) -> Skeleton:
    """The skeleton of a body file's arrays: by its `joint_names` where it has them, else by its tree.

    A hand's file does not say which one it is: the fingers of a right hand lie towards -x from the wrist.

    Raises:
        ValueError: unnamed joints that are no known kind's, or names that do not fit the tree.
    """
    own = data["kintree_table"][0]
    parents = (ROOT_PARENT, *(int(p) for p in own[1:]))
    if "joint_names" in data:
        stored = np.asarray(data["joint_names"])
        if stored.ndim != 1 or stored.dtype.kind not in "US":
            raise ValueError(
                f"joint_names should hold {how_many(len(parents), 'texts')}, not {stored.dtype} of {stored.shape}."
            )
        names = tuple(stored.astype(np.str_).tolist())
        known = next((kind for kind in KINDS if (kind.names, kind.parents) == (names, parents)), None)
        return known or Skeleton("", names, parents)
    found = [kind for kind in KINDS if kind.parents == parents]
    if not found:
        raise ValueError(_unknown(parents))
    if len(found) == 1:
        return found[0]
    wrist = data["J_regressor"][0] @ data["v_template"]
    return MANO_RIGHT if data["v_template"][:, 0].mean() <= wrist[0] else MANO_LEFT


def _unknown(parents: tuple[int, ...]) -> str:
    """What is said of a tree that is no known kind's."""
    kinds = ", ".join(f"{kind.kind} ({len(kind)})" for kind in KINDS[:-1])
    own = "Name its joints in a field joint_names, and it is read with these."
    alike = next((kind for kind in KINDS if len(kind) == len(parents)), None)
    if alike is None:
        return f"it has {how_many(len(parents), 'joints')} and does not name them; those of {kinds} are known. {own}"
    at = next(j for j, (a, b) in enumerate(zip(parents, alike.parents, strict=True)) if a != b)
    return (
        f"it has as many joints as {alike.kind}, but another tree: the parent of joint {at} is "
        f"{parents[at]}, not {alike.parents[at]}. {own}"
    )

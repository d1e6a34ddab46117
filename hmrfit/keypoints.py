"""Keypoint sets by name. A set is a tuple of names; flips, selections, limbs and conversions follow from the names.

The same name means the same anatomical point: `right_hip` is SMPL's hip joint, `right_hip_lsp` is where annotators of
LSP click, `right_hip_coco` where those of COCO do. Annotators of all sets, and detectors after them, agree on shoulders
and knees, `right_shoulder_coco` and `right_knee_coco`, which are a little off the joints; elbows, wrists and ankles are
the joints in every set. `left_` and `right_` are the person's own sides.

A set may have parts that are ignored, as faces are: files hold their points, and readers drop them. Fingers are read
where a body has them (`KeypointSet.with_hands`). Adding a set is one line:
`register_keypoint_set("mine", ("nose", "left_wrist", ...))`.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Literal, get_args

from hmrfit.ops.check import brief_repr, did_you_mean

KeypointsFrom = Literal["labelled", "detector", "exact"]
"""Where keypoints come from: labelled by people, from a detector, or exact: of the body's own points, noisy or not."""

SOURCES: tuple[KeypointsFrom, ...] = get_args(KeypointsFrom)

SMPL24 = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip

COCO17 = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder_coco", "right_shoulder_coco", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip_coco", "right_hip_coco", "left_knee_coco", "right_knee_coco",
    "left_ankle", "right_ankle",
)  # fmt: skip

OPENPOSE25 = (
    "nose", "neck_openpose", "right_shoulder_coco", "right_elbow", "right_wrist", "left_shoulder_coco", "left_elbow",
    "left_wrist", "mid_hip_coco", "right_hip_coco", "right_knee_coco", "right_ankle", "left_hip_coco", "left_knee_coco",
    "left_ankle", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip

OPENPOSE18 = (
    "nose", "neck_openpose", "right_shoulder_coco", "right_elbow", "right_wrist", "left_shoulder_coco", "left_elbow",
    "left_wrist", "right_hip_coco", "right_knee_coco", "right_ankle", "left_hip_coco", "left_knee_coco", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip
"""OpenPose's older COCO model."""

OPENPOSE25B = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder_coco", "right_shoulder_coco", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip_coco", "right_hip_coco", "left_knee_coco", "right_knee_coco",
    "left_ankle", "right_ankle", "neck_lsp", "head_top", "left_big_toe", "left_small_toe", "left_heel",
    "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""OpenPose's BODY_25B: as many numbers as BODY_25, in another order."""

LSP14 = (
    "right_ankle", "right_knee_coco", "right_hip_lsp", "left_hip_lsp", "left_knee_coco", "left_ankle", "right_wrist",
    "right_elbow", "right_shoulder_coco", "left_shoulder_coco", "left_elbow", "left_wrist", "neck_lsp", "head_top",
)  # fmt: skip

MPII16 = (
    "right_ankle", "right_knee_coco", "right_hip_lsp", "left_hip_lsp", "left_knee_coco", "left_ankle", "pelvis_mpii",
    "thorax_mpii", "neck_lsp", "head_top", "right_wrist", "right_elbow", "right_shoulder_coco", "left_shoulder_coco",
    "left_elbow", "left_wrist",
)  # fmt: skip

H36M17 = (
    "pelvis_h36m", "right_hip_h36m", "right_knee", "right_ankle", "left_hip_h36m", "left_knee", "left_ankle",
    "spine_h36m", "neck_h36m", "jaw_h36m", "head_h36m", "left_shoulder_coco", "left_elbow", "left_wrist",
    "right_shoulder_coco", "right_elbow", "right_wrist",
)  # fmt: skip
"""Human3.6M's own order, right leg first (the rows of SPIN's J_regressor_h36m have the left leg first)."""

MEDIAPIPE33 = (
    "nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer",
    "left_ear", "right_ear", "left_mouth", "right_mouth", "left_shoulder_coco", "right_shoulder_coco", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_pinky_knuckle", "right_pinky_knuckle", "left_index_knuckle",
    "right_index_knuckle", "left_thumb_knuckle", "right_thumb_knuckle", "left_hip_coco", "right_hip_coco",
    "left_knee_coco", "right_knee_coco", "left_ankle", "right_ankle", "left_heel", "right_heel", "left_foot_index",
    "right_foot_index",
)  # fmt: skip

SPIN24 = (
    *LSP14, "pelvis_mpii", "thorax_mpii", "spine_h36m", "jaw_h36m", "head_h36m", "nose", "left_eye", "right_eye",
    "left_ear", "right_ear",
)  # fmt: skip
"""The "ground truth superset" of SPIN's npz files."""

HALPE26 = (
    *COCO17, "head_top", "neck_openpose", "mid_hip_coco", "left_big_toe", "right_big_toe", "left_small_toe",
    "right_small_toe", "left_heel", "right_heel",
)  # fmt: skip
"""AlphaPose's and RTMPose's body with feet."""

FEET6 = ("left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel")

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
THUMB_JOINTS, FINGER_JOINTS = ("cmc", "knuckle", "ip", "tip"), ("knuckle", "pip", "dip", "tip")
"""From the wrist to the tip."""


def _hand(side: str, tips_first: bool = False) -> tuple[str, ...]:
    """The 20 points of the fingers of one hand."""
    joints = {finger: THUMB_JOINTS if finger == "thumb" else FINGER_JOINTS for finger in FINGERS}
    step = -1 if tips_first else 1
    return tuple(f"{side}_{finger}_{joint}" for finger, names in joints.items() for joint in names[::step])


HANDS42 = tuple(name for side in ("left", "right") for name in (f"{side}_hand_root", *_hand(side)))
HAND_POINTS = frozenset(HANDS42)
HAND_WRISTS = frozenset(f"{side}_wrist_{set_}" for side in ("left", "right") for set_ in ("mano", "webxr"))
"""Where MANO and WebXR begin a hand: points of sets of single hands."""

_OF_HANDS = HAND_POINTS | HAND_WRISTS

FINGER_ONLY = frozenset(name for name in HANDS42 if name.endswith(("_cmc", "_ip", "_pip", "_dip")))
"""The points of hands that no set of a whole body has for something else: where one of them is, there is a hand."""

FACE68 = tuple(f"face_{i}" for i in range(68))
"""iBUG's 68 points: jaw line, brows, nose, eyes, mouth."""

GOLIATH_ARMS = (
    "left_olecranon", "right_olecranon", "left_cubital_fossa", "right_cubital_fossa", "left_acromion",
    "right_acromion", "neck_goliath",
)  # fmt: skip
GOLIATH_FACE = tuple(f"goliath_face_{i}" for i in range(70, 308))
"""Face, ears and eyes, in Sapiens's own order."""

GOLIATH308 = (
    *COCO17[:9], *COCO17[11:], *FEET6, *_hand("right", True), "right_wrist", *_hand("left", True), "left_wrist",
    *GOLIATH_ARMS, *GOLIATH_FACE,
)  # fmt: skip
"""Sapiens's: the wrists stand behind their fingers."""


@dataclass(frozen=True)
class KeypointSet:
    """Which keypoint each row of a file is, and which of them are used."""

    layout: tuple[str | None, ...]  # every point in the order of files; None is ignored too
    ignored: frozenset[str] = frozenset()

    @cached_property
    def rows(self) -> tuple[int, ...]:
        """The places of the points that are used."""
        return tuple(i for i, name in enumerate(self.layout) if name is not None and name not in self.ignored)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The points that are used: what a body is asked for."""
        return tuple(name for name in self.layout if name is not None and name not in self.ignored)

    @cached_property
    def with_hands(self) -> "KeypointSet":
        """The same set with the points of its hands used; itself, where it has none that are ignored."""
        ignored = self.ignored - HAND_POINTS
        return self if ignored == self.ignored else KeypointSet(self.layout, ignored)


_SETS: dict[str, KeypointSet] = {
    "smpl24": KeypointSet(SMPL24),
    "coco17": KeypointSet(COCO17),
    "openpose25": KeypointSet(OPENPOSE25),
    "openpose25b": KeypointSet(OPENPOSE25B),
    "openpose18": KeypointSet(OPENPOSE18),
    "lsp14": KeypointSet(LSP14),
    "mpii16": KeypointSet(MPII16),
    "h36m17": KeypointSet(H36M17),
    "mediapipe33": KeypointSet(MEDIAPIPE33),
    "spin24": KeypointSet(SPIN24),
    "spin49": KeypointSet(OPENPOSE25 + SPIN24),
    "halpe26": KeypointSet(HALPE26),
    "halpe136": KeypointSet(HALPE26 + FACE68 + HANDS42, frozenset(FACE68 + HANDS42)),
    "coco_wholebody133": KeypointSet(COCO17 + FEET6 + FACE68 + HANDS42, frozenset(FACE68 + HANDS42)),
    "openpose135": KeypointSet(
        (*OPENPOSE25B, *_hand("left"), *_hand("right"), *FACE68, "right_pupil", "left_pupil"),
        frozenset((*_hand("left"), *_hand("right"), *FACE68, "right_pupil", "left_pupil")),
    ),
    "openpose67": KeypointSet((*OPENPOSE25, *HANDS42), HAND_POINTS),
    "mediapipe75": KeypointSet(
        (*(None if name in HAND_POINTS else name for name in MEDIAPIPE33), *HANDS42), HAND_POINTS
    ),
    "goliath308": KeypointSet(GOLIATH308, frozenset(_hand("right") + _hand("left") + GOLIATH_ARMS + GOLIATH_FACE)),
}

_OTHER_NAMES = {
    "body25": "openpose25", "body25b": "openpose25b", "body135": "openpose135", "openposebody25": "openpose25",
    "coco18": "openpose18", "openposecoco": "openpose18", "openposecoco18": "openpose18",
    "mediapipe": "mediapipe33", "mediapipepose": "mediapipe33", "blazepose": "mediapipe33",
    "blazepose33": "mediapipe33", "cocowholebody": "coco_wholebody133", "wholebody": "coco_wholebody133",
    "wholebody133": "coco_wholebody133", "halpefullbody136": "halpe136", "halpe26body": "halpe26",
    "body25hands": "openpose67", "mediapipeholistic": "mediapipe75", "holistic": "mediapipe75",
    "mediapipeholistic75": "mediapipe75", "holistic75": "mediapipe75",
    "goliath": "goliath308", "sapiens": "goliath308", "sapiens308": "goliath308", "human36m17": "h36m17",
}  # fmt: skip
"""Names that others use for these sets, in the form of `plain_set_name`."""

SETS_BY_COUNT = {
    26: "halpe26",
    67: "openpose67",
    75: "mediapipe75",
    133: "coco_wholebody133",
    135: "openpose135",
    136: "halpe136",
    308: "goliath308",
}
"""Numbers of keypoints that only one detector writes: these sets are recognised without a name."""

SIDES = ("left_", "right_")
"""How the names of what has a side begin."""

PART_WORDS = {
    "foot": ("ankle", "foot", "toe", "heel"),
    "head": ("head", "face", "nose", "eye", "ear", "mouth", "lip", "jaw", "chin"),
    "hip": ("hip", "pelvis"),
    "knee": ("knee",),
    "neck": ("neck", "thorax", "collar"),
    "shoulder": ("shoulder",),
    "elbow": ("elbow",),
    "hand": ("wrist", "hand", "thumb", "index", "forefinger", "middle", "ring", "pinky", "finger"),
}
"""How the words begin that make a name a sign of a part of the body; the first part that has one counts, so that
`left_foot_index` is of the foot."""

LIMB_PARTS = {"arm": ("elbow", "hand"), "leg": ("knee", "foot")}
"""What moves with a limb: not where it is joined to the trunk."""

LIMBS = ("left_arm", "right_arm", "left_leg", "right_leg")
"""As `limb_of` calls them."""

PAIRED = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
"""The joints of the limbs, by base name without the side."""

COMMON14 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head",
)  # fmt: skip
"""The 14 SMPL joints over which our benchmarks average."""

LIMB_CHAINS = (
    ("left_hip", "left_knee", "left_ankle", "left_big_toe"),
    ("right_hip", "right_knee", "right_ankle", "right_big_toe"),
    ("left_shoulder", "left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow", "right_wrist"),
    ("left_shoulder", "right_shoulder"),
    ("left_hip", "right_hip"),
    ("left_shoulder", "left_hip"),
    ("right_shoulder", "right_hip"),
    ("neck", "head"),
    ("neck", "nose"),
    ("nose", "left_eye", "left_ear"),
    ("nose", "right_eye", "right_ear"),
)
"""What is joined by a line when a skeleton is drawn, by base name (`left_hip` stands for any left hip of the set)."""


def keypoint_sets() -> dict[str, tuple[str, ...]]:
    """Every known set, built in or registered: name -> the names of its points that are used."""
    return {name: known.names for name, known in _SETS.items()}


def register_keypoint_set(name: str, names: Sequence[str | None], ignored: Collection[str] = ()) -> tuple[str, ...]:
    """Add a keypoint set. Names that no body defines are noticed when a body is asked for them.

    Args:
        names: of every point, in the order of your arrays and files.
        ignored: those of them that are not used: files hold them, and no body has to know them. None in `names` is
            ignored as well.
    Returns: the names of the points that are used.

    Raises:
        ValueError: `name` stands for another set already, or none of the points is used.
    """
    if isinstance(names, str):
        raise TypeError(f"The keypoints of set '{name}' should be a list of names, but are the text '{names}'.")
    unknown = sorted(set(ignored) - set(names))
    if unknown:
        raise ValueError(f"Keypoint set '{name}' has no point '{unknown[0]}' that could be ignored.")
    new = KeypointSet(tuple(names), frozenset(ignored))
    if not new.names:
        raise ValueError(f"Keypoint set '{name}' is empty. Expected at least one keypoint name.")
    known = _known_set(name)
    if known is not None and _SETS[known] != new:
        raise ValueError(f"Keypoint set '{name}' exists already with other names. Choose another name for yours.")
    _SETS[known or name] = new
    return new.names


def plain_set_name(name: str) -> str:
    """Without regard to case and punctuation: `BODY_25` -> `body25`."""
    return re.sub(r"[\W_]+", "", name.lower())


def _known_set(name: str) -> str | None:
    """The set that is meant, or None."""
    if name in _SETS:
        return name
    plain = plain_set_name(name)
    plain = plain_set_name(_OTHER_NAMES.get(plain, plain))
    return next((known for known in _SETS if plain_set_name(known) == plain), None)


def find_set(keypoint_set: str | Sequence[str | None]) -> KeypointSet:
    """A set's name, without regard to case and punctuation, or the names themselves -> the set.

    Names that are all of a known set's, as its files have them, are that set.

    Raises:
        ValueError: no set has that name. Names the nearest one.
    """
    if not isinstance(keypoint_set, str):
        names = tuple(keypoint_set) if isinstance(keypoint_set, Iterable) else (keypoint_set,)
        if not all(name is None or isinstance(name, str) for name in names):
            raise TypeError(
                f"keypoint_set should be a set's name, or a list of keypoint names, not {brief_repr(keypoint_set)}."
            )
        return next((known for known in _SETS.values() if known.layout == names), KeypointSet(names))
    known = _known_set(keypoint_set)
    if known is None:
        hint = did_you_mean(keypoint_set, _SETS)
        raise ValueError(
            f"Unknown keypoint set '{keypoint_set}'.{hint} Known sets: {', '.join(_SETS)}; of one hand, those of "
            "hmrfit.fit_hand."
        )
    return _SETS[known]


def has_hands(names: Collection[str]) -> bool:
    """Whether points of fingers are among these: more than the knuckles and tips that bodies without fingers have."""
    return not FINGER_ONLY.isdisjoint(names)


def body_places(names: Sequence[str]) -> tuple[int, ...]:
    """The places of the points that are of no hand, of a body's set with hands; all of another set."""
    others = tuple(k for k, name in enumerate(names) if name not in _OF_HANDS) if has_hands(names) else ()
    return others or tuple(range(len(names)))


def resolve_set(keypoint_set: str | Sequence[str | None]) -> tuple[str, ...]:
    """A set's name, or the names themselves -> the names of the points that are used. `find_set` has all of them."""
    return find_set(keypoint_set).names


def sets_of_size(count: int) -> list[str]:
    """The names of the sets with `count` keypoints, to say what an unnamed array might be."""
    return [name for name, known in _SETS.items() if len(known.layout) == count]


def mirrored_name(name: str) -> str:
    """`left_knee` <-> `right_knee`; names without a side stay."""
    if name.startswith("left_"):
        return "right_" + name[len("left_") :]
    if name.startswith("right_"):
        return "left_" + name[len("right_") :]
    return name


def flip_permutation(names: Sequence[str]) -> list[int]:
    """p such that keypoint i of the mirrored picture is keypoint p[i] of the original, from the names alone.

    Of a name that stands several times in the set (spin49), the n-th is exchanged with the n-th of the other side.
    """
    places: dict[str, list[int]] = {}
    for i, name in enumerate(names):
        places.setdefault(name, []).append(i)
    seen: dict[str, int] = {}
    permutation = []
    for i, name in enumerate(names):
        nth = seen[name] = seen.get(name, -1) + 1
        others = places.get(mirrored_name(name), [])
        permutation.append(others[nth] if nth < len(others) else i)
    return permutation


def base_name(name: str) -> str:
    """The plain body part of a definition: `left_hip_coco` -> `left_hip`, `head_top` -> `head`."""
    for suffix in ("_coco", "_lsp", "_mpii", "_h36m", "_openpose"):
        name = name.removesuffix(suffix)
    return {"thorax": "neck", "mid_hip": "pelvis", "head_top": "head"}.get(name, name)


def nearest_definition(name: str, known: Collection[str]) -> str | None:
    """The name among those that are known: itself, else its plain body part, a joint a centimetre or two away."""
    return next((one for one in (name, base_name(name)) if one in known), None)


@lru_cache(maxsize=1024)
def part_of(name: str) -> str | None:
    """The part of the body that a keypoint or joint of this name is a sign of; None where no word of it is known.

    `left_heel` -> `left_foot`, `right_index_knuckle` -> `right_hand`, `left_ear` -> `head`, `mid_hip_coco` -> `hip`.
    """
    base = base_name(name)
    words = base.split("_")
    part = next((part for part, known in PART_WORDS.items() if any(word.startswith(known) for word in words)), None)
    sided = part not in (None, "head", "neck") and base.startswith(SIDES)
    return f"{words[0]}_{part}" if sided else part


def limb_of(name: str) -> str | None:
    """`left_arm`, `right_arm`, `left_leg`, `right_leg` or `head`, of what moves with it: shoulders, hips and neck are
    the trunk's, and None."""
    part = part_of(name)
    if part == "head":
        return part
    side, _, plain = (part or "").rpartition("_")
    limb = next((limb for limb, parts in LIMB_PARTS.items() if plain in parts), None)
    return f"{side}_{limb}" if side and limb else None


def find_part(names: Sequence[str], part: str) -> int | None:
    """The index of the keypoint of that base name, whichever definition the set has; None where it has none."""
    exact = [i for i, name in enumerate(names) if name == part]
    loose = [i for i, name in enumerate(names) if base_name(name) == part]
    return next(iter(exact or loose), None)


def limbs(names: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of indices to join by lines when the keypoints of this set are drawn."""
    pairs: list[tuple[int, int]] = []
    for chain in LIMB_CHAINS:
        found = [i for i in (find_part(names, part) for part in chain) if i is not None]
        pairs += pairwise(found)
    return pairs

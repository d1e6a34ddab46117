"""Which points they are: the names that a file gives its keypoints, and the set that the caller asks for -> ours.

A foreign name becomes (side, part) without regard to case, punctuation and the order of its words: `LShoulder`,
`LEFT_SHOULDER`, `shoulder_l` and `left shoulder` are one. What a part means depends on the names beside it: `left_hip`
of a file is `left_hip_coco` unless the other names are those of LSP, MPII, Human3.6M or SMPL. So:

    1. names among which are definitions of ours (`left_hip_coco`) are ours as they stand;
    2. else the first of `NAMINGS` that has all of the names gives their meaning, each point once;
    3. else every name means what it does in the one that has most of them, or in the next that has it.

Points of faces, fingers and the like are ignored. Any other name is refused: it is no point of a human body.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

from hmrfit.hand_keypoints import HAND_SETS, HAND_SIDES, hand_set
from hmrfit.keypoints import FINGERS, SETS_BY_COUNT, KeypointSet, find_set, has_hands, keypoint_sets, sets_of_size
from hmrfit.ops.check import did_you_mean
from hmrfit.ops.how_many import how_many

DeclaredSet = str | Sequence[str | None] | None
"""What a file says of its keypoints: the name of a set (or its format or number of points says it), or their names,
None for one without a name, which is ignored."""

AskedSet = str | Sequence[str | None] | None
"""What the caller asks for."""

Key = tuple[str | None, str]
"""(side, part) of a name."""

DEFINITIONS = ("_coco", "_lsp", "_mpii", "_h36m", "_openpose")
"""Endings of our names that say which definition of a point it is; files of others do not write them."""

PARTS = {
    "sho": "shoulder", "shldr": "shoulder", "elb": "elbow", "wri": "wrist", "kne": "knee", "ank": "ankle",
    "nosetip": "nose", "topofhead": "headtop", "tophead": "headtop",
    "vertex": "headtop", "crown": "headtop", "headbottom": "upperneck", "bottomhead": "upperneck",
    "hipcenter": "midhip", "hipcentre": "midhip", "centerhip": "midhip", "centrehip": "midhip", "hipmid": "midhip",
    "middlehip": "midhip", "midpelvis": "midhip", "hips": "midhip", "halluxtoe": "bigtoe", "hallux": "bigtoe",
    "toebig": "bigtoe", "littletoe": "smalltoe", "toesmall": "smalltoe", "toelittle": "smalltoe", "pinkytoe":
    "smalltoe", "toe": "footindex", "toes": "footindex", "toetip": "footindex", "foottip": "footindex",
    "innereye": "eyeinner", "outereye": "eyeouter", "mouthcorner": "mouth", "clavicle": "collar",
}  # fmt: skip
"""Other words for a part."""

NAMINGS: tuple[tuple[str, dict[Key, str]], ...] = (
    ("coco17", {}),
    ("openpose25", {(None, "hip"): "mid_hip_coco", (None, "root"): "mid_hip_coco"}),
    ("openpose18", {}),
    ("lsp14", {(None, "head"): "head_top", (None, "upperneck"): "neck_lsp"}),
    ("mpii16", {(None, "head"): "head_top", (None, "upperneck"): "neck_lsp", (None, "root"): "pelvis_mpii"}),
    ("halpe26", {(None, "head"): "head_top", (None, "hip"): "mid_hip_coco", (None, "root"): "mid_hip_coco"}),
    ("openpose25b", {(None, "head"): "head_top", (None, "upperneck"): "neck_lsp"}),
    (
        "mediapipe33",
        {
            (side, part): f"{side}_{part}_knuckle"
            for side in ("left", "right")
            for part in ("thumb", "index", "pinky")
        },
    ),
    (
        "h36m17",
        {
            (None, "root"): "pelvis_h36m", (None, "hip"): "pelvis_h36m", (None, "midhip"): "pelvis_h36m",
            (None, "belly"): "spine_h36m", (None, "torso"): "spine_h36m", (None, "thorax"): "neck_h36m",
            (None, "neckbase"): "jaw_h36m", (None, "necknose"): "jaw_h36m", (None, "nose"): "jaw_h36m",
            (None, "headtop"): "head_h36m", ("left", "foot"): "left_ankle", ("right", "foot"): "right_ankle",
        },
    ),
    ("smpl24", {(None, "root"): "pelvis"}),
    ("spin49", {(side, f"{finger}tip"): f"{side}_{finger}_tip" for side in ("left", "right") for finger in FINGERS}),
)  # fmt: skip
"""The sets by whose words a file is understood, in this order, each with further words of its own; last, points that
bodies have beyond all sets."""

IGNORED = re.compile(
    r"face|brow|lash|eyelid|lidline|creaseline|iris|pupil|nostril|nosebridge|noseroot|noselower|noseupper|ofnose"
    r"|(^|inner|outer|upper|lower)lip|mouth|glabella|labiomental|^chin|ofchin|cheek|contour|helix|tragus|crus|concha|earlobe|jawline|tongue|tooth|teeth"
    r"|cupidbow|midpointbetween|^jaw\d|^eye\d|^ear\d|^nose\d"
    r"|finger|knuckle|palm|metacarp|handroot|^hand\d|^(thumb|index|forefinger|pinky|pinkie)"
    r"|^(middle|ring|little)(\d|tip|mcp|pip|dip|first|second|third)|olecranon|cubitalfossa|acromion|goliath"
)
"""Parts of a person that no body here has as points."""

HAND_POINTS = frozenset(n for points in HAND_SETS for side in HAND_SIDES for n in hand_set(points, side).names)
"""All points of the sets of hands."""

FINGER_JOINT = re.compile(r"(left|right)_(index|middle|pinky|ring|thumb)[123]")
"""Joints of MANO's hands, by their own names."""

NUMBERED = re.compile(r"(kp|kps|kpt|keypoint|point|pt|joint|landmark|label|node|k|p)?[\W_]*\d+", re.IGNORECASE)
"""Names that say nothing."""


_hands_wanted: ContextVar[bool] = ContextVar("hmrfit_hands_wanted", default=False)


@contextmanager
def reading_hands() -> Iterator[None]:
    """Within the block, in this thread, the points of hands are read beside the body's, where a set has them."""
    token = _hands_wanted.set(True)
    try:
        yield
    finally:
        _hands_wanted.reset(token)


_why_without_hands: ContextVar[str] = ContextVar("hmrfit_why_without_hands", default="")


@contextmanager
def leaving_hands_out(why: str) -> Iterator[None]:
    """Within the block, in this thread, people whose hands are seen are warned that these are left out, and why."""
    token = _why_without_hands.set(why)
    try:
        yield
    finally:
        _why_without_hands.reset(token)


@dataclass(frozen=True)
class Chosen:
    """Which rows of a file are which of our points."""

    names: tuple[str, ...]
    rows: tuple[int, ...] | None  # None: all of them
    warning: str | None = None
    hands: tuple[int, ...] = ()  # rows that are left out, of which whoever is seen there is warned ...
    why: str = ""  # ... with this reason


@cache
def key_of(name: str) -> Key:
    """A name's side and part: `RBigToe` -> ("right", "bigtoe")."""
    apart = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    words = [word for word in re.split(r"[\W_]+", apart.lower()) if word]
    sides = {"left": "left", "l": "left", "lt": "left", "right": "right", "r": "right", "rt": "right"}
    at = next((i for i, word in enumerate(words) if word in sides), None)
    if at is not None and len(words) > 1:
        return sides[words[at]], _part("".join(words[:at] + words[at + 1 :]))
    whole = "".join(words)
    for side in ("left", "right"):
        for rest in (whole.removeprefix(side), whole.removesuffix(side), whole.removeprefix(side[0])):
            if rest != whole and (side, _part(rest)) in _known_keys():
                return side, _part(rest)
    return None, _part(whole)


def _part(joined: str) -> str:
    return PARTS.get(joined, joined)


def _own_key(name: str) -> Key:
    """Of one of our names without the ending of its definition: `left_hip_coco` -> ("left", "hip")."""
    return _whole_key(_plain(name))


def _plain(name: str) -> str:
    """One of our names without its definition."""
    return next((name.removesuffix(ending) for ending in DEFINITIONS if name.endswith(ending)), name)


def _whole_key(name: str) -> Key:
    """Of one of our names as it stands."""
    side, _, part = name.partition("_")
    return (side, _part(part.replace("_", ""))) if side in ("left", "right") else (None, _part(name.replace("_", "")))


@cache
def _namings() -> tuple[dict[Key, str], ...]:
    """Of every set of `NAMINGS`: key -> our name."""
    sets = [(find_set(known).names, more) for known, more in NAMINGS]
    return tuple({_own_key(n): n for n in names} | {_whole_key(n): n for n in names} | more for names, more in sets)


@cache
def _known_keys() -> frozenset[Key]:
    return frozenset(key for naming in _namings() for key in naming)


@cache
def _own_names() -> dict[str, str]:
    """The names of the built-in sets: letters and digits only -> as they are written."""
    return {_letters(name): name for naming in _namings() for name in naming.values()}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.lower())


def says_nothing(names: Iterable[str | None]) -> bool:
    """Whether the names are only numbers, as annotation tools give them."""
    return all(name is None or NUMBERED.fullmatch(str(name).strip()) for name in names)


def match_names(given: Sequence[str | None], what: str) -> tuple[str | None, ...]:
    """The names of a file -> ours, in its order; None for a part that is ignored, or has no name.

    Raises:
        ValueError: a name is no point of a human body, or two names are one point. Names the nearest known ones.
    """
    names = tuple(str(name) for name in given if name is not None)
    matched = iter(_match_all(names, what))
    return tuple(None if name is None else next(matched) for name in given)


def _match_all(names: tuple[str, ...], what: str) -> tuple[str | None, ...]:
    matched, unknown = _matched(names)
    registered = {name for of_set in keypoint_sets().values() for name in of_set} if unknown else ()
    matched = tuple(n if n in unknown and n in registered else ours for n, ours in zip(names, matched, strict=True))
    unknown = tuple(name for name in unknown if name not in registered)
    if unknown:
        plain = sorted(map(_plain, _own_names().values()))
        listed = ", ".join(f"'{name}'" for name in unknown[:6]) + (", ..." if len(unknown) > 6 else "")
        raise ValueError(
            f"{what}: {listed} {'is no point' if len(unknown) == 1 else 'are no points'} of a human body that hmrfit "
            f"knows.{did_you_mean(unknown[0], plain)} If they are, give all {len(names)} names in the file's order as "
            "keypoint_set, None for a point that is to be ignored."
        )
    used = [name for name in matched if name is not None]
    if not used:
        raise ValueError(f"{what}: none of its {len(names)} names is a point of the body: {', '.join(names[:4])}, ...")
    twice = sorted({name for name in used if used.count(name) > 1}) if not _are_ours(names) else []
    if twice:
        same = " and ".join(f"'{n}'" for n, ours in zip(names, matched, strict=True) if ours == twice[0])
        raise ValueError(f"{what}: {same} are one point. Give the names as keypoint_set, None for one to ignore.")
    return matched


def _are_ours(names: Sequence[str]) -> bool:
    """Whether they are hmrfit's own, with definitions."""
    own = _own_names()
    return all(_letters(n) in own for n in names) and any(own[_letters(n)].endswith(DEFINITIONS) for n in names)


@cache
def _matched(names: tuple[str, ...]) -> tuple[tuple[str | None, ...], tuple[str, ...]]:
    """(our names, those that are unknown)."""
    if _are_ours(names):
        return tuple(_own_names()[_letters(name)] for name in names), ()
    keys = [key_of(name) for name in names]
    body = [key for key in keys if key in _known_keys()]
    unknown = tuple(n for n, key in zip(names, keys, strict=True) if key not in _known_keys() and not _ignored(key))
    namings = sorted(_namings(), key=lambda naming: _misfit(naming, body))
    found = [next((naming[key] for naming in namings if key in naming), None) for key in keys]
    return tuple(found), unknown


def _ignored(key: Key) -> bool:
    return bool(IGNORED.search(key[1]))


def _misfit(naming: dict[Key, str], keys: Sequence[Key]) -> tuple[int, bool]:
    """The less, the better a naming has a file's points: how many it tells apart, and whether it has no others."""
    points = {naming[key] for key in keys if key in naming}
    return -len(points), points != set(naming.values())


def asked_set(asked: str | Sequence[str | None]) -> KeypointSet:
    """The caller's set. Names that are ours stay; if some are not, the list is understood as a file's is.

    So are those that are exactly the words of a known set (COCO's 17, say), unless all of them are SMPL's joints. A
    list with names that are unknown here stays as it is: a body may define them.
    """
    return _in_our_words(find_set(asked))


@cache
def _in_our_words(known: KeypointSet) -> KeypointSet:
    names, own = known.names, set(_own_names().values())
    if any(FINGER_JOINT.fullmatch(name) for name in names) or set(names) <= HAND_POINTS:
        return known  # a body with hands, or a hand, defines them
    if has_hands(names):
        rest = _in_our_words(KeypointSet(tuple(None if n in HAND_POINTS else n for n in known.layout))).layout
        layout = tuple(n if n in HAND_POINTS else other for n, other in zip(known.layout, rest, strict=True))
        return KeypointSet(layout, known.ignored | (HAND_POINTS & set(names)))
    if set(names) <= own and (_are_ours(names) or set(names) <= set(find_set("smpl24").names)):
        return known
    matched, unknown = _matched(names)
    keys = {key_of(name) for name in names}
    if unknown or (set(names) <= own and not any({_own_key(n) for n in find_set(s).names} == keys for s, _ in NAMINGS)):
        return known
    ours = dict(zip(names, matched, strict=True))
    return KeypointSet(tuple(None if name is None else ours.get(name) for name in known.layout))


def choose_points(count: int, declared: DeclaredSet, asked: AskedSet, what: str) -> Chosen:
    """Which points the `count` keypoints are: what the caller asked for, in the order that the file's own names say.

    Raises:
        ValueError: neither says it, or the count is another one. Lists the sets of that size.
    """
    named = None if declared is None or isinstance(declared, str) else tuple(declared)
    if named is not None and len(named) != count:
        raise ValueError(
            f"{what} holds {how_many(count, 'keypoints')}, but names {len(named)}: {', '.join(map(str, named[:4]))}, "
            "... Give the "
            f"{count} names as keypoint_set."
        )
    if named is not None and says_nothing(named):
        if asked is None:
            raise ValueError(
                f"{what} calls its {how_many(count, 'keypoints')} {named[0]} to {named[-1]}, which does not say "
                "which they are. "
                f"{_advice(count)}"
            )
        named, declared = None, None
    if asked is not None:
        return _as_asked(count, named, asked, what)
    if named is not None:
        return _of(KeypointSet(match_names(named, what)))
    choice = SETS_BY_COUNT.get(count) if declared is None else declared
    if choice is None:
        raise ValueError(f"{what} holds {how_many(count, 'keypoints')}, but does not say which. {_advice(count)}")
    return _of(_of_size(find_set(choice), count, choice, what))


def _as_asked(count: int, named: tuple[str | None, ...] | None, asked: str | Sequence[str | None], what: str) -> Chosen:
    known = _of_size(asked_set(asked), count, asked, what)
    if named is None:
        return _of(known)
    matched, unknown = _matched(tuple(str(name) for name in named if name is not None))
    found = iter(matched)
    own = KeypointSet(tuple(None if name is None else next(found) for name in named))
    if not unknown and sorted(own.names) == sorted(known.names):
        return _of(own)  # the same points, and the file says in which order
    label = f"'{asked}'" if isinstance(asked, str) else "the given names"
    listed = ", ".join(map(str, named[:3]))
    return _of(known, f"The file calls its keypoints {listed}, ...; they were taken as {label}, as keypoint_set says.")


def _of(known: KeypointSet, warning: str | None = None) -> Chosen:
    whole, why = known.with_hands, _why_without_hands.get()
    known = whole if _hands_wanted.get() else known
    rows = None if len(known.rows) == len(known.layout) else known.rows
    hands = tuple(sorted(set(whole.rows) - set(known.rows))) if why else ()
    return Chosen(known.names, rows, warning, hands, why)


def _of_size(known: KeypointSet, count: int, choice: str | Sequence[str | None], what: str) -> KeypointSet:
    if len(known.layout) != count:
        label = f"'{choice}'" if isinstance(choice, str) else "the given set"
        raise ValueError(
            f"{what} holds {how_many(count, 'keypoints')}, but {label} has {len(known.layout)}. {_others(count)}"
        )
    return known


def _candidates(count: int) -> str:
    return " or ".join(f"keypoint_set='{name}'" for name in sets_of_size(count))


def _advice(count: int) -> str:
    """For keypoints that nothing names."""
    return f"Say which set they are: {_candidates(count)}." if sets_of_size(count) else _no_such_size(count)


def _others(count: int) -> str:
    """For keypoints that are not as many as their set has."""
    return f"For {count}: {_candidates(count)}." if sets_of_size(count) else _no_such_size(count)


def _no_such_size(count: int) -> str:
    sizes = ", ".join(f"{name} ({len(find_set(name).layout)})" for name in keypoint_sets())
    return (
        f"No known set has {how_many(count, 'keypoints')}: {sizes}. Add yours with register_keypoint_set(name, names), "
        f"or give the {count} names as keypoint_set."
    )

"""What geometry can tell about keypoints before a fit: another frame, another set, left and right swapped.

Warnings, not errors: a person may really stand on their hands. Lengths are measured in the body's own scale S, pixels:
the greatest of several bones, each divided by its usual share of the trunk, since a picture only shortens bones.
Sides are measured along l, the direction of the person's left in the picture if they face the camera:

    u = (mid shoulders − mid hips)/|·|,   l = (−u_y, u_x),   width(part) = (left − right)·l / S

so the widths of shoulders, hips, knees and elbows have one sign, + seen from the front and − from behind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hmrfit.keypoints import find_part, limbs, resolve_set, sets_of_size
from hmrfit.ops.check import check_shape

FEWEST = 6
"""Fewer seen keypoints than this leave most of the body to the prior."""

CONFIDENT = 0.3
"""Keypoints below this share of the best one's confidence say nothing about sides."""

SMALLEST_BOX = 16.0
"""Pixels. In a smaller person, rounding alone turns a forearm by ten degrees."""

BONE_SHARES = {
    ("shoulder", "hip"): 1.0, ("hip", "knee"): 0.85, ("knee", "ankle"): 0.8, ("shoulder", "elbow"): 0.6,
    ("elbow", "wrist"): 0.5,
}  # fmt: skip
"""Usual lengths over the trunk's (shoulder to hip), on each side."""

SHOULDER_SHARE = 0.7
"""The same for the width of the shoulders, which only counts for S: from the side it is nothing."""

FEWEST_BONES, UNEVEN, BETTER = 5, 0.45, 0.6
"""For a wrong set: bones that must be seen, the unevenness from which we ask, how much less of it another must have."""

ABSURD_UNEVENNESS, ABSURD_SPREAD = 1.1, 0.45
"""What no set has: 2,400 people posed by motion and seen from all around have at most 1.1 and 0.41."""

SURE_WIDTH = {"shoulder": 0.25, "hip": 0.12, "knee": 0.12, "elbow": 0.15, "ankle": 0.08, "wrist": 0.08}
"""Widths over S from which a sign counts: about a third of what is seen from the front."""

FRONTAL_HIPS = 0.2
"""Legs are told from the front or from behind only: seen obliquely, a step crosses them (of 2,417 people posed by
motion and seen from all around, 1.9 % with hips of 0.12, 0.1 % with these)."""


_index, _limbs = cache(find_part), cache(limbs)
"""Asked for the same few sets again and again."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """Named access to the keypoints that count."""

    names: tuple[str, ...]
    xy: NDArray[np.float64]  # (K, 2) pixels
    seen: NDArray[np.bool_]  # (K,)

    def point(self, part: str) -> NDArray[np.float64] | None:
        index = _index(self.names, part)
        return None if index is None or not self.seen[index] else self.xy[index]

    def points(self, *parts: str) -> list[NDArray[np.float64]] | None:
        """All of them, or None."""
        found = [self.point(part) for part in parts]
        return None if any(p is None for p in found) else found

    @cached_property
    def scale(self) -> float:
        """S, pixels; 0 where no bone is seen."""
        shares = {("left_shoulder", "right_shoulder"): SHOULDER_SHARE}
        for (part, next_part), share in BONE_SHARES.items():
            shares |= {(f"{side}_{part}", f"{side}_{next_part}"): share for side in ("left", "right")}
        bones = [(self.points(*ends), share) for ends, share in shares.items()]
        return max([float(np.linalg.norm(b[0] - b[1])) / share for b, share in bones if b is not None], default=0.0)

    @cached_property
    def left(self) -> NDArray[np.float64] | None:
        """l, or None where the trunk is not seen or points at the camera."""
        trunk = self.points("left_shoulder", "right_shoulder", "left_hip", "right_hip")
        if trunk is None:
            return None
        up = (trunk[0] + trunk[1] - trunk[2] - trunk[3]) / 2
        length = float(np.linalg.norm(up))
        return None if length <= 0.4 * self.scale else np.array([-up[1], up[0]]) / length

    def width(self, part: str) -> float:
        """(left − right)·l / S of a pair; 0 where it is not sure."""
        pair, l = self.points(f"left_{part}", f"right_{part}"), self.left
        if pair is None or l is None:
            return 0.0
        width = float((pair[0] - pair[1]) @ l) / self.scale
        return width if abs(width) > SURE_WIDTH[part] else 0.0


def check_keypoints(
    names: Sequence[str] | str,
    xy: ArrayLike,
    confidence: ArrayLike | None = None,
    image_size: tuple[int, int] | None = None,
) -> list[str]:
    """What looks wrong with one person's keypoints, a sentence each with what to do; an empty list where all is well.

    Args:
        names: K keypoint names, or a set's name. xy: (K, 2) pixels of the full image. confidence: (K,), 1 where absent.
        image_size: (width, height), pixels.
    Raises:
        ValueError: as many names as keypoints are needed.
    """
    names = resolve_set(names)
    xy = np.asarray(xy, np.float64)
    confidence = np.ones(len(xy)) if confidence is None else np.asarray(confidence, np.float64)
    check_shape(xy, f"{len(names)} 2", "xy", hint="One row for each name of the keypoint set.")
    check_shape(confidence, f"{len(names)}", "confidence")
    seen = (confidence > 0) & np.isfinite(xy).all(1)
    if not seen.any():
        return ["No keypoint has a confidence above 0: nobody is seen."]
    frame = _frame_warnings(xy, seen, image_size)
    if frame:
        return frame  # sides and bones mean nothing in a wrong frame
    sure = _Seen(names, xy, seen & (confidence >= CONFIDENT * confidence[seen].max()))
    other_set = _wrong_set(sure)
    if other_set:
        return [other_set]  # sides mean nothing under wrong names
    few = f"Only {seen.sum()} of {len(xy)} keypoints are seen: most of the body will be the prior's guess."
    return [few] * (int(seen.sum()) < FEWEST) + _side_warnings(sure)


def _frame_warnings(xy: NDArray, seen: NDArray, size: tuple[int, int] | None) -> list[str]:
    """Coordinates that cannot be pixels of this image."""
    points = xy[seen]
    if len(points) > 1 and np.abs(points).max() <= 2.0:
        return ["All coordinates lie within ±2: they look normalised. Multiply them to pixels of the full image."]
    extent = float((points.max(0) - points.min(0)).max())
    if len(points) >= FEWEST and extent < SMALLEST_BOX:
        return [f"The person spans only {extent:.1f} pixels. Are these pixels of the full image?"]
    if (zeros := int((points == 0).all(1).sum())) and zeros < len(points):
        return [f"{zeros} keypoints lie at exactly (0, 0) with confidence above 0. If they are unseen, give them 0."]
    return _outside(points, size) if size is not None else []


def _share_outside(points: NDArray, size: NDArray) -> float:
    """Of the points, those more than a tenth of the image outside of it."""
    return float(((points < -0.1 * size) | (points > 1.1 * size)).any(1).mean())


def _outside(points: NDArray, size: tuple[int, int]) -> list[str]:
    limits = np.asarray(size, np.float64)
    outside = _share_outside(points, limits)
    if outside < 0.3:
        return []
    low, high = points.min(0), points.max(0)
    swapped = _share_outside(points[:, ::-1], limits) == 0
    hint = "With x and y exchanged they would fit." if swapped else "Are they of another image, crop or scale?"
    return [
        f"{outside:.0%} of the keypoints lie far outside of the image of {size[0]} × {size[1]} pixels "
        f"(x {low[0]:.0f} to {high[0]:.0f}, y {low[1]:.0f} to {high[1]:.0f}). {hint}"
    ]


def unevenness(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> float | None:
    """Mean of log(longest / length) over arms, legs and trunk, each length divided by its usual share of the trunk.

    0.1 to 0.4 for people on photographs, 0.31 for bones in random directions, 0.9 (0.5 to 1.4) for shuffled names.
    None where fewer than five bones are seen.
    """
    lengths = [
        float(np.linalg.norm(xy[a] - xy[b])) / share
        for (part, next_part), share in BONE_SHARES.items()
        for side in ("left_", "right_")
        if (a := _index(names, side + part)) is not None and (b := _index(names, side + next_part)) is not None
        if seen[a] and seen[b]
    ]
    if len(lengths) < FEWEST_BONES or max(lengths) == 0:
        return None
    return float(np.minimum(np.log(max(lengths) / np.maximum(lengths, 1e-9)), 3).mean())


def bone_spread(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> float:
    """Mean length of what is joined below the head, over the box: 0.2 under right names, 0.45 under shuffled ones."""
    face = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}
    joined = [(a, b) for a, b in _limbs(names) if seen[a] and seen[b] and not {names[a], names[b]} & face]
    box = float((xy[seen].max(0) - xy[seen].min(0)).max())
    return float(np.mean([np.linalg.norm(xy[a] - xy[b]) for a, b in joined])) / box if joined and box > 0 else 0.0


def _wrong_set(body: _Seen) -> str | None:
    """Whether another set of the same size makes a better body of the same numbers, or no body can be made of them."""
    claimed = unevenness(body.names, body.xy, body.seen)
    if claimed is None:
        return None
    others = {n: unevenness(resolve_set(n), body.xy, body.seen) for n in sets_of_size(len(body.names))}
    better = {n: u for n, u in others.items() if u is not None and u < BETTER * claimed}
    if claimed > UNEVEN and better:
        return (
            f"These {len(body.names)} keypoints make a more likely body as '{min(better, key=better.get)}': under the "
            "given names, the lengths of arms, legs and trunk do not go together. Check keypoint_set."
        )
    if claimed > ABSURD_UNEVENNESS or bone_spread(body.names, body.xy, body.seen) > ABSURD_SPREAD:
        return "The lengths of arms, legs and trunk do not go together: is the keypoints' order another one?"
    return None


def _side_warnings(body: _Seen) -> list[str]:
    """The most telling disagreement between the sides of face, shoulders, hips, legs and arms."""
    shoulders, hips = body.width("shoulder"), body.width("hip")
    face = face_side(body)
    if shoulders > 0 and hips > 0 and _looks_away(body):
        return [_swapped("The whole body", "it faces the camera, but of the head only ears are seen, no eye or nose")]
    if face < 0 and shoulders <= 0 and hips <= 0:
        return [_swapped("The whole body", "the face is seen from the front, but its left is on its right")]
    if face < 0:
        return [_swapped("The face", "its left and right lie the other way round than the shoulders' or hips'")]
    if face > 0 and shoulders < 0 and hips < 0:
        return [_swapped("Everything but the face", "the face looks at the camera, the body away from it")]
    if shoulders * hips < 0:
        return [_swapped("Shoulders or hips", "they face opposite ways")]
    crossed = {
        "The legs": abs(hips) > FRONTAL_HIPS and _opposite(body, hips, "knee", "ankle"),
        "The arms": _opposite(body, shoulders, "elbow", "wrist"),
    }
    return [_swapped(part, "they cross from one side of the body to the other") for part, yes in crossed.items() if yes]


def _opposite(body: _Seen, trunk: float, *parts: str) -> bool:
    """Whether a limb's pairs all lie the other way round than the trunk's."""
    return all(trunk * body.width(part) < 0 for part in parts)


def _swapped(part: str, why: str) -> str:
    return f"{part} may have left and right swapped: {why}. `left_` means the person's own left."


def face_side(body: _Seen) -> float:
    """+1 where the face's left and right lie as on a visible face, −1 where mirrored, 0 where it cannot be told.

    Both eyes and the nose: their triangle has one orientation on every visible face. Nose and one ear: a head that
    shows its left ear looks to the picture's left.
    """
    eyes = body.points("nose", "left_eye", "right_eye")
    up = _head_up(body)
    if eyes is not None:
        nose, left, right = eyes
        return _face_of_eyes(nose, left, right, up, body.scale)
    ears = {side: body.points("nose", f"{side}_ear") for side in ("left", "right")}
    one = [side for side, pair in ears.items() if pair is not None]
    if len(one) != 1 or up is None:
        return 0.0
    nose, ear = ears[one[0]]
    outward = float((ear - nose) @ np.array([-up[1], up[0]])) * (1 if one[0] == "left" else -1)
    return float(np.sign(outward)) if abs(outward) > 0.1 * body.scale else 0.0


def _looks_away(body: _Seen) -> bool:
    """Whether the set has nose and eyes, none of them is seen, and both ears are: the back of a head."""
    known = all(_index(body.names, part) is not None for part in ("nose", "left_eye", "right_eye"))
    hidden = not any(body.points(part) for part in ("nose", "left_eye", "right_eye"))
    return known and hidden and body.points("left_ear", "right_ear") is not None


def _head_up(body: _Seen) -> NDArray | None:
    """From the middle of the shoulders to the nose, unit length."""
    found = body.points("nose", "left_shoulder", "right_shoulder")
    if found is None:
        return None
    up = found[0] - (found[1] + found[2]) / 2
    length = float(np.linalg.norm(up))
    return up / length if length > 0.15 * body.scale else None


def _face_of_eyes(nose: NDArray, left: NDArray, right: NDArray, up: NDArray | None, scale: float) -> float:
    """The triangle's orientation, where the shoulders (if seen) agree and it is not too thin to tell."""
    across, rise = left - right, (left + right) / 2 - nose
    if min(np.linalg.norm(across), np.linalg.norm(rise)) < 0.02 * scale or np.linalg.norm(across) == 0:
        return 0.0
    local = float(np.sign(across @ np.array([-rise[1], rise[0]])))
    if up is None:
        return local
    return local if local * float(across @ np.array([-up[1], up[0]])) > 0 else 0.0

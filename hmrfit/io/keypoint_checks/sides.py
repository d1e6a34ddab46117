"""Left and right: whether head, trunk and limbs agree on the person's own sides, and whether x and y are exchanged.

Four explanations of the keypoints are compared: as they are, and with left and right exchanged in the whole body, in
the face, or in all but the face. Each costs what the least strained body costs that looks like it:

    min over ψ of   E(head turned by ψ)  +  strain(ψ to the shoulders)  +  strain(ψ to the hips)

where the widths of shoulders and hips give how far the trunk is turned, and a neck and a waist turn only so far. An
explanation that costs CONVINCING less than the keypoints as they are is named. Exchanged limbs show by crossing from
side to side.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.keypoint_checks.body import SeenBody, across, find
from hmrfit.io.keypoint_checks.head import HEAD_PARTS, YAWS, Head
from hmrfit.keypoints import PAIRED

CONVINCING, CONVINCING_PLACES = 3.0, 4.5
"""Logarithm of how many times likelier another explanation must be than the keypoints as they are: where it is known
which points of the face are hidden, and where only their places speak. Of labelled people with any sure point of a face
98 % are caught with 3, 87 with 4.5. Of 3,000 right people in varied motion, seen from all around, 0.5 and 0.3 % are
doubted: a tenth of their points is missing, and three in a hundred of the face are wrongly seen or hidden."""

ALIKE = 1.0
"""Where the face alone explains it as well as the whole body, so near that nothing tells them apart."""

SHOULDER_WIDTH, HIP_WIDTH = 0.62, 0.38
"""Of S, seen from the front."""

TRUNK_METRES = 0.506
"""What S stands for, of an average adult."""

MOST_TURN, TURN_STD = np.radians([[50.0], [75.0]]), np.radians(15.0)
"""How far the head turns from the shoulders and from the hips without strain, and beyond."""

MOST_TWIST = np.radians(75.0)
"""Between shoulders and hips."""

MOST_STRAIN = 12.0

EITHER_SIDE = np.array([[1.0], [-1.0]])

SURELY = 0.5
"""A point of the face counts as seen from this share of the best confidence: detectors put a hidden nose somewhere with
0.1 to 0.4 of it."""

SHOWS_THROUGH = ("movenet",)
"""Detectors that score a point of the face as high where it is behind the head: MoveNet's were 0.53 to 0.91 of the best
one for six people seen from behind, 0.12 to 1.0 for 35 others."""

UNIFORM = 0.9
"""Confidences that are all at least this share of the best one do not say what is hidden."""


@dataclass(frozen=True)
class Crossing:
    """From where two limbs are exchanged rather than crossed. Of 8,600 people posed by motion (much of it dance) and
    seen from all around 0.1 % are beyond, of people with exchanged limbs half or more."""

    trunk: float  # width of the pair that the limbs hang from
    middle: float  # width of knees or elbows, on the wrong side
    end: float  # width of ankles or wrists, on the wrong side
    spread: float  # a limb that really crosses goes on outwards: its end is farther out than this times its middle
    other: float  # width of the trunk's other pair


LEGS_CROSS = Crossing(0.2, 0.2, 0.08, 1.8, 0.3)
ARMS_CROSS = Crossing(0.2, 0.2, 0.08, np.inf, -np.inf)

LIMBS = {
    "The legs": (("hip", "knee", "ankle"), "shoulder", LEGS_CROSS),
    "The arms": (("shoulder", "elbow", "wrist"), "hip", ARMS_CROSS),
}
"""Which parts of a limb are exchanged, the other pair of the trunk, and from where on."""

ALONG, STRAIGHT = np.cos(np.radians(40.0)), np.cos(np.radians(30.0))
"""How near trunk and legs are to the picture's x axis where x and y may be exchanged; and the trunk where only that
tells it."""

LEG_SHARE, LEGS_OUT = 1.65, 0.5
"""Length of a leg over the trunk's, and how much of it is seen where it is stretched out."""

FULLY = 0.5
"""Of the widths from the front: who is seen so far from behind."""

AXES = (
    "x and y may be exchanged: the body lies with its head to the left and shows its back; with x and y exchanged it "
    "stands upright and faces the camera. Give x first, as in `keypoints[:, [1, 0, 2]]`.",
    "x and y may be exchanged: the body lies with its head to the left, and its left and right are mirrored; with x "
    "and y exchanged it stands upright and they are not. Give x first, as in `keypoints[:, [1, 0, 2]]`.",
)
"""Where no face says that the body is mirrored, and where one does."""

SWAPPED = "may have left and right swapped"
"""What all warnings of exchanged sides say."""

WHOLE, FACE, REST = "The whole body", "The face", "Everything but the face"


def side_warnings(
    body: SeenBody,
    confidence: NDArray[np.float64],
    image_size: tuple[int, int] | None = None,
    detector: str | None = None,
) -> list[str]:
    """The most telling disagreement between the sides of face, shoulders, hips, legs and arms.

    Args:
        confidence: (K,), to tell what is surely seen. image_size: (width, height), that exchanged axes have to fit.
        detector: where the keypoints come from, if that is known.
    """
    turned = trunk_turns(body)
    shoulders, hips = turned
    if shoulders is not None and hips is not None and abs(shoulders - hips) > MOST_TWIST:
        return [swapped("Shoulders or hips", "they face opposite ways")]
    head = find_head(body, confidence, detector)
    part = None if head is None else _likelier(head, turned)
    if _exchanged(body, head, part) and _fits(body.xy[body.seen][:, ::-1], image_size):
        return [AXES[part is not None]]
    if head is not None and part is not None:
        return [swapped(part, _reason(part, head))]
    crossed = [part for part, limb in LIMBS.items() if _cross(body, *limb)]
    return [swapped(part, "they cross from one side of the body to the other") for part in crossed]


def trunk_turns(body: SeenBody) -> tuple[float | None, float | None]:
    """(shoulders, hips): how far they are turned from facing the camera, 0 to π; None where they are not seen."""
    if body.up is None:
        return None, None
    turn = {
        part: math.acos(min(max(body.widths[part] / full, -1.0), 1.0))
        for part, full in (("shoulder", SHOULDER_WIDTH), ("hip", HIP_WIDTH))
    }
    return turn["shoulder"], turn["hip"]


def find_head(body: SeenBody, confidence: NDArray[np.float64], detector: str | None = None) -> Head | None:
    """The head, upright as from the shoulders to the face; None where set or picture have none, or no shoulders."""
    places = [place for part in HEAD_PARTS if (place := find(body.names, part)) is not None]
    shoulders = body.shoulders
    if len(places) < len(HEAD_PARTS) or shoulders is None or body.scale <= 0:
        return None
    middle, xy = (shoulders[0] + shoulders[1]) / 2, body.xy[places]
    placed, best = body.seen[places], confidence[body.seen].max()
    up = xy[placed].sum(0) / placed.sum() - middle if placed.any() else body.up
    if up is None or not math.hypot(*up) > 0:
        return None
    up = up / math.hypot(*up)
    metres = np.where(placed[:, None], xy - middle, 0.0) * (TRUNK_METRES / body.scale)
    sure = confidence[places] >= SURELY * best
    hidden = not shows_through(detector) and bool(says_what_is_hidden(body.names, body.xy, body.seen, confidence))
    return Head(metres @ across(up) + 1j * (metres @ up), placed, placed & sure, ~placed, hidden)


def shows_through(detector: str | None) -> bool:
    """Whether it is known of a detector that faces show through heads."""
    return detector is not None and detector.startswith(SHOWS_THROUGH)


def says_what_is_hidden(
    names: tuple[str, ...], xy: NDArray[np.float64], sure: NDArray[np.bool_], confidence: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(...) whether a face that is given is a face that is seen, of one person or many: xy (..., K, 2), sure (..., K).

    Scores of detectors, and points that are left out, say it. So do whole pixels: a person who saw the face clicked
    them. Points without either may be projected from 3D, the nose through the back of the head; MediaPipe gives the
    nose of people seen from behind with a visibility of 0.99. Only points of head and limbs count: in a set that is
    larger than what was measured, others are unseen in every person.
    """
    if "left_eye_inner" in names:
        return np.zeros(xy.shape[:-2], bool)
    places = head_and_limbs(names)
    scores, xy = confidence[..., places], xy[..., places, :]
    differ = scores.min(-1) < UNIFORM * scores.max(-1)
    return np.asarray(~sure[..., places].all(-1) | differ | (2 * xy == np.round(2 * xy)).all((-2, -1)))


@cache
def head_and_limbs(names: tuple[str, ...]) -> NDArray[np.int64]:
    """The places of those that the set has."""
    limbs = [f"{side}_{part}" for side in ("left", "right") for part in PAIRED]
    return np.array([i for part in (*HEAD_PARTS, *limbs) if (i := find(names, part)) is not None], np.int64)


def _likelier(head: Head, turned: tuple[float | None, float | None]) -> str | None:
    """The part whose exchange explains the keypoints far better, None where nothing does."""
    back = tuple(None if angle is None else np.pi - angle for angle in turned)
    energies, strain = head.energies(), _strain(*turned)
    given = float((energies + strain).min())
    least = CONVINCING if head.hidden_is_unseen else CONVINCING_PLACES
    if given < least:  # no energy is below 0
        return None
    mirrored, strain_back = head.mirrored().energies(), _strain(*back)
    costs = {
        WHOLE: float((mirrored + strain_back).min()) - ALIKE,
        FACE: float((mirrored + strain).min()),
        REST: float((energies + strain_back).min()),
    }
    best = min(costs, key=costs.__getitem__)
    return best if given - costs[best] > least + ALIKE * (best == WHOLE) else None


def _strain(shoulders: float | None, hips: float | None) -> NDArray[np.float64]:
    """(yaws,) of a head turned by each yaw; none where the trunk's turn is not known."""
    if shoulders is None or hips is None:
        return np.zeros(len(YAWS))
    return head_strain(np.array([shoulders, hips]))


def head_strain(turned: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., yaws) of a head turned by each yaw. turned: (..., 2) the shoulders and the hips, to either side."""
    turns = (turned[..., None, :] * EITHER_SIDE)[..., None]  # (..., 2 sides, 2, 1)
    away = np.abs((YAWS - turns + np.pi) % (2 * np.pi) - np.pi)
    beyond = np.maximum(away - MOST_TURN, 0.0) / TURN_STD
    return np.asarray(np.minimum(0.5 * beyond * beyond, MOST_STRAIN).sum(-2).min(-2))


def _reason(part: str, head: Head) -> str:
    """What one sees."""
    if part == FACE:
        return "its left and right lie the other way round than the shoulders' or hips'"
    if part == REST:
        return "the face looks at the camera, the body away from it"
    nose, left_eye, right_eye, *_ = head.placed
    if not (nose or left_eye or right_eye):
        return "it faces the camera, but of the head only ears are seen, no eye or nose"
    if nose and left_eye and right_eye:
        return "the face is seen from the front, but its left is on its right"
    return "the head is seen from the side, but from the other side than the one whose eye or ear is seen"


def _exchanged(body: SeenBody, head: Head | None, mirrored: str | None) -> bool:
    """Whether x and y are exchanged: the trunk lies along −x, and the body is mirrored or, upright, seen from behind.

    An exchange mirrors, and lays a standing person down with the head to the left. A face that is seen says whether the
    body is mirrored. One that may show through the back of the head does not: then a body that lies like that, its legs
    stretched out behind it and its back to the camera, is taken for one that stands and shows its front. Nothing is
    said without a face: athletes do lie like that.
    """
    if body.up is None or body.up[0] > -ALONG or head is None:
        return False
    if head.hidden_is_unseen:
        return mirrored == WHOLE
    widths = body.widths["shoulder"] / SHOULDER_WIDTH, body.widths["hip"] / HIP_WIDTH
    return body.up[0] < -STRAIGHT and max(widths) < -FULLY and _legs_continue(body)


def _fits(xy: NDArray[np.float64], size: tuple[int, int] | None) -> bool:
    """Whether most points lie in the image."""
    return size is None or float(((xy >= 0) & (xy <= np.asarray(size, np.float64))).all(1).mean()) > 0.7


def _legs_continue(body: SeenBody) -> bool:
    """Whether both legs point along +x, hip to ankle, and are seen in more than half of their length."""
    seen = (body.points(f"{side}_hip", f"{side}_ankle") for side in ("left", "right"))
    legs = [leg for leg in seen if leg is not None]
    if len(legs) < 2:
        return False
    along = np.array([ankle - hip for hip, ankle in legs]) / (LEG_SHARE * body.scale)
    return bool((along[:, 0] > np.maximum(LEGS_OUT, ALONG * np.hypot(*along.T))).all())


def _cross(body: SeenBody, parts: tuple[str, str, str], other: str, least: Crossing) -> bool:
    """Whether both limbs lie wholly on the side of the other."""
    widths = [body.widths[part] for part in (*parts, other) if part in body.widths]
    if len(widths) < len(parts) + 1:
        return False
    side = math.copysign(1.0, widths[0])
    trunk, middle, end, across_trunk = (side * width for width in widths)
    crossed = trunk > least.trunk and middle < -least.middle and end < -least.end
    return bool(crossed and end > least.spread * middle and across_trunk > least.other)


def swapped(part: str, why: str) -> str:
    """The warning that left and right of a part are exchanged."""
    return f"{part} {SWAPPED}: {why}. `left_` means the person's own left."

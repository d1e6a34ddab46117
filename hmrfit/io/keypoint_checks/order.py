"""Whether the names that keypoints were given go together with where they lie: another set, or an order of no set.

unevenness = mean over arms, legs and trunk of log(longest / length), each length over its usual share of the trunk
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from hmrfit.io.keypoint_checks.body import SeenBody, bone_lengths
from hmrfit.keypoints import limbs, resolve_set, sets_of_size
from hmrfit.ops.how_many import how_many

FEWEST_BONES, UNEVEN, BETTER = 5, 0.45, 0.6
"""For a wrong set: bones that must be seen, the unevenness from which we ask, how much less of it another must have."""

ABSURD_UNEVENNESS, ABSURD_SPREAD = 1.1, 0.45
"""What no set has: 2,400 people posed by motion and seen from all around have at most 1.1 and 0.41."""

LONGEST_RATIO = 3.0
"""The logarithm at which a bone that is a point counts."""

_FACE = {"nose", "left_eye", "right_eye", "left_ear", "right_ear"}


@cache
def joined(names: tuple[str, ...]) -> NDArray[np.int64]:
    """(N, 2) what is joined below the head."""
    pairs = [pair for pair in limbs(names) if not {names[i] for i in pair} & _FACE]
    return np.array(pairs, np.int64).reshape(-1, 2)


def unevenness(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> float | None:
    """Mean of log(longest / length) over arms, legs and trunk, each length divided by its usual share of the trunk.

    0.1 to 0.4 for people on photographs, 0.31 for bones in random directions, 0.9 (0.5 to 1.4) for shuffled names.
    None where fewer than five bones are seen.
    """
    return _unevenness(bone_lengths(names, xy, seen))


def _unevenness(lengths: NDArray) -> float | None:
    if len(lengths) < FEWEST_BONES or lengths.max() == 0:
        return None
    return float(np.minimum(np.log(lengths.max() / np.maximum(lengths, 1e-9)), LONGEST_RATIO).mean())


def bone_spread(names: tuple[str, ...], xy: NDArray, seen: NDArray) -> float:
    """Mean length of what is joined below the head, over the box: 0.2 under right names, 0.45 under shuffled ones."""
    ends = joined(names)
    ends = ends[seen[ends].all(1)]
    box = float((xy[seen].max(0) - xy[seen].min(0)).max())
    if not len(ends) or not box > 0:
        return 0.0
    apart = xy[ends[:, 0]] - xy[ends[:, 1]]
    return float(np.hypot(apart[:, 0], apart[:, 1]).mean()) / box


def wrong_order(body: SeenBody) -> str | None:
    """Whether another set of the same size makes a better body of the same numbers, or no body can be made of them."""
    claimed = _unevenness(body.lengths)
    if claimed is None:
        return None
    if claimed > UNEVEN:
        other = _better_set(body, claimed)
        if other:
            return (
                f"These {how_many(len(body.names), 'keypoints')} make a more likely body as '{other}': under the "
                "given names, the "
                "lengths of arms, legs and trunk do not go together. Check keypoint_set."
            )
    if claimed > ABSURD_UNEVENNESS or bone_spread(body.names, body.xy, body.seen) > ABSURD_SPREAD:
        return "The lengths of arms, legs and trunk do not go together: is the keypoints' order another one?"
    return None


def _better_set(body: SeenBody, claimed: float) -> str | None:
    """The set of the same size under which the bones go together far better; it must explain as many bones as are seen.

    A set whose bones happen to be unseen has few of them to disagree, so it would win by what is missing.
    """
    better = {}
    for name in sets_of_size(len(body.names)):
        lengths = bone_lengths(resolve_set(name), body.xy, body.seen)
        other = _unevenness(lengths)
        if other is not None and len(lengths) >= len(body.lengths) and other < BETTER * claimed:
            better[name] = other
    return min(better, key=better.__getitem__) if better else None

"""What a fit shows of keypoints: those that are not this body's, since it cannot reach them.

    d_k = |Π(X_k) − x_k| / box;   warned of are those k with  d_k > FAR  and  d_k > ½ max d

A fit meets a person's keypoints within a few percent of the box, whatever the pose. One that stays far from some was
held back by the others: those are another person's, exchanged, or nowhere. A body leans towards what is wrong, so
keypoints beside it are missed too, but by less.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FAR = 0.09
"""Of the box. Of 1,200 people in validation motion (1 % noise) one has a keypoint so far off, of people with somebody
else's forearm or shank, or with one keypoint 30 % of the box away, four in five."""

BESIDE = 0.5

MOST_NAMED = 4


def unmet_keypoints(names: Sequence[str], distance: NDArray[np.float64]) -> str | None:
    """A sentence about keypoints that the body cannot reach, None where it reaches all.

    Args:
        names: K. distance: (K,) of the fitted body's keypoints to those given, fractions of the box; 0
            where one is unseen.
    """
    farthest = float(distance.max(initial=0.0))
    if not farthest > FAR:
        return None
    order = np.argsort(-distance, kind="stable")
    far = [i for i in order if distance[i] > max(FAR, BESIDE * farthest)]
    shown = ", ".join(f"{names[i]} ({distance[i]:.0%})" for i in far[:MOST_NAMED])
    more = f" and {len(far) - MOST_NAMED} more" if len(far) > MOST_NAMED else ""
    return (
        f"The body cannot reach {shown}{more}, in percent of the box: another person's, of the other side, or nowhere? "
        "Look at the overlay, and give wrong keypoints the confidence 0."
    )

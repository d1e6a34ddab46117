"""How much of a person the keypoints show, whatever set they are of and however it is padded.

    n = Σ_k p_k        how many keypoints are seen;  p as in `ops.presence`
    h = 1 − (1/13) Σ_parts max_{k of the part} p_k        the fraction of the body of which nothing is seen

The parts are the head, and of each side shoulder, elbow, wrist, hip, knee and ankle. A fraction of the set's own length
would change with names that are added and never seen, and with how many points a set spends on the face; it stands in
only where a set's names speak of none of these parts.
"""

from functools import lru_cache

import torch
from torch import Tensor

from hmrfit.keypoints import SIDES, part_of
from hmrfit.types import Keypoints

PARTS = ("head", *(side + part for side in SIDES for part in ("shoulder", "elbow", "hand", "hip", "knee", "foot")))
"""The parts of a body, as `keypoints.part_of` names them: wrists count as hands and ankles as feet."""


def hidden_fraction(keypoints: Keypoints) -> Tensor:
    """h (B,) of the people, in [0, 1]."""
    places = _parts(keypoints.names, keypoints.presence.device)
    if places is None:
        return 1 - keypoints.presence.mean(1)
    p = torch.nn.functional.pad(keypoints.presence, (0, 1))  # the last column is no keypoint
    return 1 - p[:, places].amax(-1).mean(1)


@lru_cache(maxsize=64)
def _parts(names: tuple[str, ...], device: torch.device) -> Tensor | None:
    """Places (13, n) of each part's keypoints, filled up with K for none; None where no name speaks of a part."""
    found = [[k for k, name in enumerate(names) if part_of(name) == part] for part in PARTS]
    width = max(map(len, found))
    if not width:
        return None
    return torch.tensor([places + [len(names)] * (width - len(places)) for places in found], device=device)

"""A pose of one kind of body on another: joints of one name keep their rotation, the others are at rest.

    R'_j = R_i  where joint j of the other body has the name of joint i,      I  elsewhere

SMPL's pose on a body with fingers is the same pose with flat hands; the other way, what the fingers did is left out.
"""

import torch

from hmrfit.body.skeleton import Skeleton
from hmrfit.types import BodyParams


def transferred(params: BodyParams, own: Skeleton, other: Skeleton) -> BodyParams:
    """The pose of `params` (B, J of `own`) for a body of `other`'s joints; betas and translation as they are.

    Betas are of one body: those of another shape space should be replaced. Both skeletons hang on the same root.

    Raises:
        ValueError: they do not, as a hand's and a body's.
    """
    if own == other:
        return params
    if own.root != other.root:
        raise ValueError(f"A pose about '{own.root}' says nothing of a body that hangs on '{other.root}'.")
    rotations = params.rotations
    found = torch.eye(3).to(rotations).repeat(len(params), len(other), 1, 1)
    shared = [name for name in other.names if name in own]
    found[:, [other.index(name) for name in shared]] = rotations[:, [own.index(name) for name in shared]]
    return BodyParams(found[:, 0], found[:, 1:], params.betas, params.transl)

"""Which joints a prior is about, and where a body's pose has them.

    θ (B, 3 (J-1))  ->  θ[:, columns] (B, D)        three columns for every joint that prior and body share

A file of a prior names its joints (`joint_names`). One that does not is about SMPL's where their number says so, as in
the files of SMPLify and SMPLify-X; else about all joints of whatever body has as many.
"""

from collections.abc import Sequence
from os import PathLike

import numpy as np

from hmrfit.body.skeleton import SMPL, SMPLX, Skeleton
from hmrfit.io.bounded import read_npz
from hmrfit.ops.how_many import how_many

BODY_JOINTS = tuple(SMPLX.names[j] for j in SMPLX.body_joints[1:])
"""Those that SMPL, SMPL-H and SMPL-X share, without the root."""

KNOWN = {len(names): names for names in (SMPL.names[1:], BODY_JOINTS)}
"""What 23 and 21 joints without names are."""


def joints_in_file(path: str | PathLike[str], count: int) -> tuple[str, ...]:
    """The names of the `count` joints that the prior of an npz is about; () where they are not known.

    Raises:
        ValueError: another number of names, or no texts.
    """
    stored = read_npz(path, ("joint_names",)).get("joint_names")
    if stored is None:
        return KNOWN.get(count, ())
    if stored.shape != (count,) or stored.dtype.kind not in "US":
        raise ValueError(
            f"{path}: joint_names should hold {how_many(count, 'texts')}, not {stored.dtype} of {stored.shape}."
        )
    return tuple(stored.astype(np.str_).tolist())


def shared_joints(names: Sequence[str], count: int, skeleton: Skeleton, what: str) -> tuple[str, ...]:
    """The body's joints that a prior about `count` joints of these names speaks of, in the body's order.

    Args:
        what: the beginning of an error message, as "The pose prior is about".
    Raises:
        ValueError: the body has none of them, or they have no names and are not as many as the body's.
    """
    own = skeleton.names[1:]
    if not names and count == len(own):
        return own
    if not names:
        raise ValueError(
            f"{what} {count} joints that it does not name; this body has {len(own)} without its root. Add "
            "joint_names to the file of the prior."
        )
    shared = skeleton.shared_with(names)
    if not shared:
        raise ValueError(
            f"{what} {', '.join(names[:3])}{' ...' * (len(names) > 3)}; this body has none of these joints. "
            f"It has {', '.join(own[:3])}{' ...' * (len(own) > 3)}."
        )
    return shared

"""The finger poses that MANO's files describe, and SMPL-H's and SMPL-X's for either hand.

    θ = μ + c C,      θ (45,) rotation vectors of the 15 finger joints, 0 the flat hand;  c (n,) the first n of C's rows

The smplx package adds μ to every pose it is given unless `flat_hand_mean=True`: what its files call `hand_pose` is then
θ − μ. Here a pose is always θ itself, the whole rotation of every joint, so fingers that nothing moves are flat, and a
`hand_pose` of such a file is added to `mean` before it is used. C (`hands_components`) are the principal components of
the poses that the hand was learned from, the widest first.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.ops.check import check_finite, check_shape
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import TensorRecord


@dataclass(frozen=True)
class HandPoses(TensorRecord):
    """Mean and principal components of the pose of one hand with F finger joints; radians."""

    mean: Tensor  # (3 F,)
    components: Tensor  # (N, 3 F)

    def rotvecs(self, coefficients: Tensor | None = None) -> Tensor:
        """θ (B, F, 3) of coefficients (B, n), n up to N; (F, 3), the mean pose, of None."""
        theta = self.mean
        if coefficients is not None:
            theta = theta + coefficients @ self.components[: coefficients.shape[-1]]
        return theta.unflatten(-1, (-1, 3))

    def rotations(self, coefficients: Tensor | None = None) -> Tensor:
        """The same as matrices, (B, F, 3, 3) or (F, 3, 3): what `BodyParams.body_pose` holds of these joints."""
        return rotvec_to_matrix(self.rotvecs(coefficients))


def hand_poses_of(data: Mapping[str, NDArray], skeleton: Skeleton, dtype: torch.dtype) -> dict[str, HandPoses]:
    """ "left" and "right" of a body file's arrays, those that it describes.

    Raises:
        ValueError: fields of other shapes than the skeleton's fingers need, or NaN.
    """
    found: dict[str, HandPoses] = {}
    for side, joints in skeleton.fingers.items():
        ending = "" if len(skeleton.fingers) == 1 else side[0]
        fields = [f"hands_mean{ending}", f"hands_components{ending}"]
        if not all(field in data for field in fields):
            continue
        mean, components = (np.asarray(data[field]) for field in fields)
        check_shape(mean, str(3 * len(joints)), fields[0])
        check_shape(components, f"N {3 * len(joints)}", fields[1])
        for field, values in zip(fields, (mean, components), strict=True):
            check_finite(values, field)
        found[side] = HandPoses(*(torch.as_tensor(v.astype(np.float64), dtype=dtype) for v in (mean, components)))
    return found

"""Bodies after a rigid motion of the world, x -> R x + t.

`global_orient` turns a body about its pelvis J0(beta), not about the origin, so

    global_orient -> R global_orient,      transl -> R (J0 + transl) + t − J0.
"""

from dataclasses import replace

from torch import Tensor

from hmrfit.types import BodyParams


def turned(params: BodyParams, pelvis: Tensor, shapes: Tensor, rotation: Tensor, translation: Tensor) -> BodyParams:
    """The same bodies, moved.

    Args:
        pelvis: (3,) of the mean shape at rest, metres. shapes: (3, S), how betas move it.
        rotation: (3, 3) or (B, 3, 3). translation: (3,) or (B, 3) metres.
    """
    about = pelvis + params.betas @ shapes.T
    moved = (rotation @ (about + params.transl)[..., None]).squeeze(-1) + translation - about
    return replace(params, global_orient=rotation @ params.global_orient, transl=moved)

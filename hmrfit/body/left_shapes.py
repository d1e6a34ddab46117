"""The shapes of MANO's left hand: its file holds those of the right hand, not mirrored.

    S_left = M S_right,   M = diag(−1, 1, 1)        what the same hand on the other side needs
    S_left = S_right                                what MANO_LEFT.pkl holds

so that with its own betas a hand grows to one side and shrinks to the other. The cure that the field has agreed on
(smplx's issue 48) turns the sign of x, once, on loading. The first component is the size of the hand, which grows along
all axes alike: its x has the wrong sign where

    g_x (g_y + g_z) < 0,        g = Σ_v (T_v − T̄) S_v1        element by element.

A file that is cured already passes this test, so nothing is turned twice.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from hmrfit.body.landmarks import MANO_VERTEX_COUNT
from hmrfit.body.skeleton import MANO_LEFT, skeleton_of


def has_right_hands_shapes(data: Mapping[str, NDArray]) -> bool:
    """Whether these are the arrays of MANO's left hand, with the shapes of the right one."""
    template, shapes = np.asarray(data["v_template"]), np.asarray(data["shapedirs"])
    if len(template) != MANO_VERTEX_COUNT or not shapes.shape[-1] or skeleton_of(data) != MANO_LEFT:
        return False
    growth = ((template - template.mean(0)) * shapes[..., 0]).sum(0)
    return bool(growth[0] * (growth[1] + growth[2]) < 0)


def with_left_shapes(data: Mapping[str, NDArray]) -> dict[str, NDArray]:
    """The same arrays; where they are those of MANO's left hand as published, with shapes of a left hand."""
    if not has_right_hands_shapes(data):
        return dict(data)
    shapes = np.array(data["shapedirs"])
    shapes[:, 0] *= -1
    return {**data, "shapedirs": shapes}

"""A right hand made by hand: 21 joints in the order of hand21, flat or bent, for tests that need no model."""

import math

import torch
from torch import Tensor

FINGER_LENGTHS = (
    (0.038, 0.037, 0.031, 0.028),
    (0.086, 0.041, 0.025, 0.022),
    (0.084, 0.043, 0.029, 0.022),
    (0.081, 0.039, 0.027, 0.022),
    (0.077, 0.030, 0.020, 0.019),
)
"""Metres, thumb to little finger, from the wrist outwards."""

FAN = (40.0, 10.0, 0.0, -9.0, -20.0)
"""Degrees, how far each root bone points aside from the middle finger, to the thumb's side."""

BONES = [(0 if k == 0 else 4 * f + k, 4 * f + k + 1) for f in range(5) for k in range(4)]
"""The two points of each of the 20 bones."""


def right_hand(flexion: float = 0.0, arch: float = 8.0) -> Tensor:
    """(21, 3) metres, the palm towards −y, fingers along −z, the thumb towards −x: a right hand seen from its back.

    Args:
        flexion: degrees of every joint. arch: degrees by which the outer root bones drop towards the palm.
    """
    joints = [torch.zeros(3, dtype=torch.float64)]
    for lengths, aside in zip(FINGER_LENGTHS, FAN, strict=True):
        angle, drop = math.radians(aside), math.radians(arch) * (aside / 40) ** 2
        forward = torch.tensor([-math.sin(angle), 0.0, -math.cos(angle)], dtype=torch.float64)
        down = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
        place, bend = torch.zeros(3, dtype=torch.float64), drop
        for k, length in enumerate(lengths):
            bend = bend + (math.radians(flexion) if k else 0.0)
            place = place + length * (math.cos(bend) * forward + math.sin(bend) * down)
            joints.append(place)
    return torch.stack(joints)

"""Synthetic people whose fingers are bent: whole bodies with hands, and keypoints whose noise suits the part.

    keypoint + n,    n of a body's point: `noise` of the body's box,    of a hand's point: `hand_noise` of that hand's

Each coordinate is Gaussian; the boxes are those of the clean points, whether in the picture or not.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.mirrored import mirrored_turns
from hmrfit.body.skeleton import SMPL
from hmrfit.body.smpl import SmplBody
from hmrfit.keypoints import HAND_POINTS, SIDES, body_places
from hmrfit.synthetic.people import Corruption, People, Views, make_people
from hmrfit.types import Keypoints

HANDS_VIEWS = Views(elevation=(-10.0, 25.0), fill=(0.6, 0.9), size=(1280, 960))


def people_with_hands(
    body: SmplBody,
    poses: Tensor,
    fingers: Tensor,
    names: Sequence[str],
    generator: torch.Generator,
    views: Views = HANDS_VIEWS,
    noise: float = 0.01,
    hand_noise: float = 0.02,
) -> People:
    """B people with two hands each.

    Args:
        body: of SMPL-H's or SMPL-X's joints. poses: (B, 69) rotation vectors of SMPL's joints but the root, radians.
        fingers: (B, 2, 45) of the left and the right hand, both as of a right hand, in MANO's order.
        names: of the keypoints.
    """
    whole = poses.new_zeros(len(poses), body.skeleton.pose_size - 3)
    shared = [name for name in SMPL.names[1:] if name in body.skeleton]
    whole[:, list(body.skeleton.columns(shared))] = poses[:, [c for n in shared for c in SMPL.columns([n])]]
    for hand, side in enumerate(SIDES):
        joints = [body.joint_names[j] for j in body.skeleton.fingers[side[:-1]]]
        bent = fingers[:, hand]
        whole[:, list(body.skeleton.columns(joints))] = mirrored_turns(bent) if side == "left_" else bent
    upright = torch.cat([whole.new_zeros(len(whole), 3), whole], 1).unflatten(1, (-1, 3))
    people = make_people(body, upright, tuple(names), generator, views, Corruption(noise=0.0, missing=0.0))
    return replace(people, keypoints=with_noise(people.clean, noise, hand_noise, generator))


def with_noise(clean: Keypoints, noise: float, hand_noise: float, generator: torch.Generator) -> Keypoints:
    """The keypoints with the noise of their part."""
    sigma = torch.zeros_like(clean.confidence)
    parts = [(list(body_places(clean.names)), noise)]
    for side in SIDES:
        own = [k for k, name in enumerate(clean.names) if name in HAND_POINTS and name.startswith(side)]
        parts.append((own, hand_noise))
    for places, level in parts:
        if places:
            xy = clean.xy[:, places]
            sigma[:, places] = level * (xy.amax(1) - xy.amin(1)).amax(-1, keepdim=True)
    away = torch.randn(clean.xy.shape, generator=generator, dtype=clean.xy.dtype)
    return Keypoints(clean.xy + sigma[..., None] * away, clean.confidence, clean.names)

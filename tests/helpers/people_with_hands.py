"""Synthetic people with hands, of the shipped poses and the hands' pose prior."""

from functools import cache

import numpy as np
import torch

from hmrfit.assets import locate
from hmrfit.build import load_body
from hmrfit.keypoints import find_set
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.people import People
from hmrfit.synthetic.people_with_hands import people_with_hands


@cache
def some_people(count: int, keypoint_set: str = "coco_wholebody133", seed: int = 0) -> People:
    generator = torch.Generator().manual_seed(seed)
    with np.load(locate("poses")) as data:
        poses = torch.as_tensor(data["poses"][:: len(data["poses"]) // count][:count]).double().flatten(1)
    fingers = PoseGmm.from_file(locate("hand_pose_gmm")).sample(2 * count, generator).unflatten(0, (-1, 2))
    names = find_set(keypoint_set).with_hands.names
    return people_with_hands(load_body("free_body_h"), poses, fingers, names, generator)

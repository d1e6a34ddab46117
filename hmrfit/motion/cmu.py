"""The CMU skeleton as its BVH and exponential-map conversions share it.

Rest: arms along +-x, palms down, legs spread by 20 degrees, feet flat, face +z. What has to be undone to reach the
ideal T-pose (all constants measured, degrees):

* legs: Rz(+20) left, Rz(-20) right, after every bone below the pelvis;
* upper arm and forearm: Rx(-30), not the hand. CMU's elbow is a pure hinge about (0, -.866, .5) left,
  (0, .866, -.5) right, so the elbow crease faces forward and 30 degrees up at rest; SMPL's faces forward;
* head: Rx(-12), the mean pitch of CMU's zero head over walking and standing (people differ by +-10);
* neck: the equal half of the way from the upper spine to the head.

CMU's clavicles hold no information (identically 0 in these files) and its fingers are constant.
"""

from collections.abc import Mapping

import numpy as np

from hmrfit.motion.rest import halfway, turn

UNIT = 0.0254 / 0.45
"""Metres per unit of length: CMU scales inches by 0.45."""
LEG_SPREAD, ARM_TWIST, HEAD_PITCH = 20.0, -30.0, -12.0

_SIDES = (("left", "Left", 1.0), ("right", "Right", -1.0))
_LEG = (("hip", "UpLeg"), ("knee", "Leg"), ("ankle", "Foot"), ("foot", "ToeBase"))
_ARM = (("shoulder", "Arm"), ("elbow", "ForeArm"))
_HAND = ("wrist", "FingerBase")  # its rotation holds the wrist's and the hand's

BONES = frozenset(
    ["Hips", "LowerBack", "Spine", "Spine1", "Head"]
    + [f"{side}{bone}" for _, side, _ in _SIDES for _, bone in (*_LEG, *_ARM, _HAND)]
)
"""The bones that are read, by their MotionBuilder names."""


def ideal_from_cmu(bones: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """H of the SMPL joints from the global rotations of the CMU bones (MotionBuilder names), each (T, 3, 3).

    Toes and fingers may be missing; the wrist is then missing too.
    """
    ideal = {"pelvis": bones["Hips"], "spine1": bones["LowerBack"], "spine2": bones["Spine"]}
    ideal["spine3"] = bones["Spine1"]
    ideal["head"] = bones["Head"] @ turn("x", HEAD_PITCH)
    ideal["neck"] = halfway(ideal["spine3"], ideal["head"])
    for side, prefix, sign in _SIDES:
        rests = [(pair, turn("z", sign * LEG_SPREAD)) for pair in _LEG]
        rests += [(pair, turn("x", ARM_TWIST)) for pair in _ARM] + [(_HAND, np.eye(3))]
        for (joint, bone), rest in rests:
            if prefix + bone in bones:
                ideal[f"{side}_{joint}"] = bones[prefix + bone] @ rest
    return ideal

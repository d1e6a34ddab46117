"""Fit priors/hand_limits.npz: what the bones and joints of hands do, for `hmrfit.priors.biomechanics`.

    python priors/scripts/fit_hand_limits.py --poses fingers21.npz

--poses: as `build_free_hand.py` takes them. Hulls of (flexion, abduction) are of all poses; corners are dropped
while 99.95 % of the poses stay inside (Spurr et al. 2020), and a hull is widened by three degrees: the poses of few
people do not reach the end of anybody's joint. Lengths are those of the free hand's shapes, palms those of the sources.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import ConvexHull

sys.path.insert(0, str(Path(__file__).parent))

from free_hand_pose import ASIDE
from free_hand_source import LENGTHS

from hmrfit.assets import record_checksum
from hmrfit.io.atomic import write_npz
from hmrfit.priors.biomechanics import Hulls, bones_of, joint_angles, mirrored_hands, palm_of

INSIDE = 0.9995
WIDER = np.deg2rad(3.0)
CORNERS = 16
"""Of the hull with the most."""

LENGTH_RANGE = 0.18
"""Of a bone about its mean: 2.7 standard deviations of the free hand's shapes, size and the finger's own length."""

PALM_RANGE = 1.15
"""By which the intervals of the palm are wider than the sources': they are four hands."""


def hands_of(path: Path) -> np.ndarray:
    """(N, 21, 3) right hands whose fingers have no abduction where there is none."""
    with np.load(path) as data:
        joints, left = torch.as_tensor(data["xyz"].astype(float)), torch.as_tensor(data["side"] == "left")
    hands = torch.where(left[:, None, None], mirrored_hands(joints), joints)
    aside = joint_angles(bones_of(hands))[..., 1].abs().view(-1, 5, 3)[:, 1:, 1:]
    return hands[(aside < ASIDE).flatten(1).all(1)].numpy()


def hull_of(points: np.ndarray) -> np.ndarray:
    """(E, 2) corners, counter-clockwise, of as few corners as hold INSIDE of the points, widened by WIDER."""
    corners = points[ConvexHull(points).vertices]
    while len(corners) > 4:
        held = [_held(np.delete(corners, i, 0), points) for i in range(len(corners))]
        best = int(np.argmax(held))
        if held[best] < INSIDE:
            break
        corners = np.delete(corners, best, 0)
    ring = WIDER * np.stack([np.cos(t := np.linspace(0, 2 * np.pi, 12, endpoint=False)), np.sin(t)], 1)
    wide = (corners[:, None] + ring).reshape(-1, 2)
    wide = wide[ConvexHull(wide).vertices]
    while len(wide) > CORNERS:  # those that cost the least area
        area = [ConvexHull(np.delete(wide, i, 0)).volume for i in range(len(wide))]
        wide = np.delete(wide, int(np.argmax(area)), 0)
    return wide


def _held(corners: np.ndarray, points: np.ndarray) -> float:
    distance = Hulls(torch.as_tensor(corners)[None]).signed_distance(torch.as_tensor(points)[:, None])
    return float((distance <= 1e-9).double().mean())


def fit(path: Path) -> dict[str, np.ndarray]:
    """length (20, 2), curvature (4, 2), angle (4, 2), corners (15, CORNERS, 2)."""
    bones = bones_of(torch.as_tensor(hands_of(path)))
    angles = joint_angles(bones).numpy()
    hulls = [hull_of(angles[:, j]) for j in range(15)]
    corners = np.stack([np.concatenate([h, np.repeat(h[-1:], CORNERS - len(h), 0)]) for h in hulls])
    palm = palm_of(bones)
    lengths = LENGTHS.reshape(-1)
    return {
        "length": np.stack([(1 - LENGTH_RANGE) * lengths, (1 + LENGTH_RANGE) * lengths], 1),
        "curvature": _interval(palm.curvature.numpy()),
        "angle": _interval(palm.angle.numpy()),
        "corners": corners,
    }


def _interval(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [0.001, 0.999], axis=0)
    middle, half = (low + high) / 2, PALM_RANGE * (high - low) / 2
    return np.stack([middle - half, middle + half], 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", type=Path, required=True, help="npz with xyz, side, source")
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parents[1] / "hand_limits.npz")
    arguments = parser.parse_args()
    arrays = fit(arguments.poses)
    write_npz(arguments.out, arrays)
    record_checksum(arguments.out)
    spans = np.rad2deg(arrays["corners"])
    print(json.dumps({"flexion": [[round(float(s[:, 0].min())), round(float(s[:, 0].max()))] for s in spans]}))


if __name__ == "__main__":
    main()

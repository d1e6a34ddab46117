"""Build priors/free_body_h.npz, the free body with the free hand on both arms, in SMPL-H's format (52 joints).

    python priors/scripts/build_free_body_h.py          # from priors/free_body.npz and priors/free_hand.npz, a minute

Deterministic: the same two files, numpy and scipy give the same arrays.

    hand's vertex v:   J_wrist(β) + T_v + Σ_k S_vk (M β)_k,      M (10, 20) `hand_betas`: the hand's betas of a body's

T and S are the hand's own template and shape directions about its wrist. The body's first ten betas change the size of
the hand with that of the body, the other ten are the hand's own: what the body does not say of its size, lengths of the
fingers, width and thickness. So a hand alone with the betas M β is the body's hand, wherever only the hand's joints
move it; between x = 45 mm, on the forearm, and −30 mm the wrist's weight rises from 0 to 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import free_body_correctives as correctives
import join_hand as join
from build_free_hand import SIZE, enclosing

from hmrfit.assets import record_checksum
from hmrfit.body.skeleton import MANO_LEFT, MANO_RIGHT, PART_NAMES, SMPL, SMPLH
from hmrfit.io.atomic import write_npz

PRIORS = Path(__file__).parents[1]
SEED = 2026

HAND_AT, FOREARM_AT = 0.015, 0.03
"""Metres from the wrist towards the elbow: where the hand and where the forearm are cut. Their sections differ there by
at most 4 mm."""

LED_FROM = 0.11
"""Metres from the wrist: from here on the forearm is led to the hand's rim."""

BENDS_FROM, BENDS_TO = 0.045, -0.03
"""Metres from the wrist towards the elbow: where the wrist's skinning weight is 0, and where it is 1. Twists are spread
over the forearm by correctives. Between 32 and −18 mm a bend of 60 degrees left a knob and a crease."""

OWN_SIZE = 0.49
"""How much of the hand's first beta, its size (5.5 %), the body's betas leave open: they make hands differ by 4.8 %
already, and both together by what hands differ by."""

FLIP = np.array([-1.0, 1.0, 1.0])

HAND_POINTS = ("thumb_knuckle", "index_knuckle", "pinky_knuckle", "thumb_tip", "index_tip", "middle_tip", "ring_tip")
"""Landmarks of the free body that the hand's own stand for; and the little finger's tip."""


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    """Of an npz, numbers in float64."""
    with np.load(path) as data:
        return {name: v.astype(float) if (v := data[name]).dtype.kind == "f" else v for name in data.files}


class Joined:
    """The right half of the body with the hand, and what its vertices come from.

    channels (n, 3, 1 + 20): place and shape directions. part: "body", "seam" or "hand" as 0, 1, 2.
    """

    def __init__(self, body: dict[str, np.ndarray], hand: dict[str, np.ndarray]) -> None:
        self.body, self.hand = body, hand
        wrist = SMPL.index("right_wrist")
        rest = body["J_regressor"] @ body["v_template"]
        self.joints = 0.5 * (rest + rest[list(SMPL.mirror)] * FLIP)
        self.wrist = self.joints[wrist]
        moves = np.einsum("v,vcs->cs", body["J_regressor"][wrist], body["shapedirs"])
        self.hand_betas = self._hand_betas(moves)
        self._cut()
        self._join(moves)

    def _hand_betas(self, moves: np.ndarray) -> np.ndarray:
        """M (10, 20): sizes of the free body's own hand, by least squares over it; then the hand's own."""
        of_hand = self.body["weights"][:, list(SMPL.below("right_wrist"))].sum(1) > 0.99
        away = self.body["v_template"][of_hand] - self.wrist
        grown = self.body["shapedirs"][of_hand] - moves
        larger = np.einsum("vc,vcs->s", away, grown) / (away * away).sum()
        found = np.concatenate([np.zeros((10, 10)), np.eye(10)], 1)
        found[0, :10], found[0, 10] = larger / SIZE, OWN_SIZE
        return found

    def _cut(self) -> None:
        body, hand = self.body, self.hand
        places, faces = body["v_template"] - self.wrist, body["f"].astype(int)
        half = (body["v_template"][faces][:, :, 0] < -1e-9).any(1)
        faces = faces[half]
        arm = (body["v_template"][faces][:, :, 0] < 0.6 * self.wrist[0]).all(1)
        self.forearm = join.cut(places.copy(), faces, FOREARM_AT, 1, arm)
        self.own_wrist = hand["J_regressor"][0] @ hand["v_template"]
        faces = hand["f"].astype(int)
        self.of_hand = join.cut(hand["v_template"] - self.own_wrist, faces, HAND_AT, -1, np.ones(len(faces), bool))

    def _join(self, moves: np.ndarray) -> None:
        body, hand = self.body, self.hand
        own = np.concatenate([(body["v_template"] - self.wrist)[..., None], body["shapedirs"]], 2)
        own = np.concatenate([own, np.zeros((len(own), 3, 10))], 2)
        theirs = np.einsum("vck,ks->vcs", hand["shapedirs"], self.hand_betas)
        theirs[..., :10] += moves
        theirs = np.concatenate([(hand["v_template"] - self.own_wrist)[..., None], theirs], 2)
        a, b = (
            (cut.mix @ x.reshape(len(x), -1)).reshape(-1, 3, 21)
            for cut, x in ((self.forearm, own), (self.of_hand, theirs))
        )
        angle_a, angle_b = (join.angle_of(x[rim, :, 0]) for x, rim in ((a, self.forearm.rim), (b, self.of_hand.rim)))
        change = join.at_angles(angle_a, angle_b, b[self.of_hand.rim]) - a[self.forearm.rim]
        change[:, 0, 0] = 0.0  # the cuts are apart along the arm
        led = np.flatnonzero((a[:, 0, 0] < LED_FROM) & (a[:, 0, 0] < -self.wrist[0] - 0.3))
        share = join.smooth(a[led, 0, 0], LED_FROM, FOREARM_AT)[:, None, None]
        a[led] += share * join.at_angles(join.angle_of(a[led, :, 0]), angle_a, change)
        rim = b[self.of_hand.rim]
        middle = 0.5 * (rim + join.at_angles(angle_b, join.angle_of(a[self.forearm.rim, :, 0]), a[self.forearm.rim]))
        n, m = len(a), len(middle)
        seam = np.arange(n, n + m)
        places = np.concatenate([a, middle, b])
        strip = join.sewn(a[self.forearm.rim, :, 0], self.forearm.rim, middle[..., 0], seam)
        after = np.roll(np.arange(m), -1)
        edge = n + m + self.of_hand.rim
        quads = np.concatenate([np.stack([seam[after], seam, edge], 1), np.stack([edge[after], seam[after], edge], 1)])
        self.faces = np.concatenate([self.forearm.faces, strip, quads, n + m + self.of_hand.faces])
        self.channels = places
        self.channels[..., 0] += self.wrist
        self.part = np.repeat([0, 1, 2], [n, m, len(b)])
        self.from_body = np.concatenate([self.forearm.kept, np.full(m + len(b), -1)])
        self.from_hand = np.concatenate([np.full(n + m, -1), self.of_hand.kept])

    def weights(self) -> np.ndarray:
        """(n, 52) skinning weights: the body's, the hand's, and the wrist's as `BENDS_FROM` says."""
        n = len(self.part)
        out = np.zeros((n, 52))
        of_arm = np.zeros((n, 24))
        of_arm[self.part == 0] = self.forearm.mix @ self.body["weights"]
        names = SMPL.names
        for j, name in enumerate(names):
            out[:, SMPLH.index(name if name in SMPLH else name.replace("hand", "wrist"))] += of_arm[:, j]
        elbow, wrist = SMPLH.index("right_elbow"), SMPLH.index("right_wrist")
        fingers = list(SMPLH.fingers["right"])
        out[self.part == 1, wrist] = 1.0
        ours = self.of_hand.mix @ self.hand["weights"]
        out[self.part == 2, wrist], out[np.ix_(self.part == 2, fingers)] = ours[:, 0], ours[:, 1:]
        x = self.channels[:, 0, 0] - self.wrist[0]
        bends = join.smooth(x, BENDS_FROM, BENDS_TO)
        both = out[:, elbow] + out[:, wrist]
        arm = (self.channels[:, 0, 0] < self.wrist[0] + 0.2) & (both > 0)
        out[arm, wrist], out[arm, elbow] = (bends * both)[arm], ((1 - bends) * both)[arm]
        out[out < 1e-4] = 0
        return out / out.sum(1, keepdims=True)


def regressor(joined: Joined) -> np.ndarray:
    """(52, n) rows of the right half and the midline: the body's joints where their vertices are left, else again."""
    n = len(joined.part)
    out = np.zeros((52, n))
    hand = np.flatnonzero(joined.from_hand >= 0)
    for k, name in enumerate(MANO_RIGHT.names):
        row, kept = joined.hand["J_regressor"][k], joined.from_hand[hand]
        lost = np.setdiff1d(np.flatnonzero(row), kept)
        own = np.zeros(n)
        own[hand] = row[kept] if not len(lost) else _wrist_row(joined, kept)
        out[SMPLH.index(name)] = own
    return out


def _wrist_row(joined: Joined, kept: np.ndarray) -> np.ndarray:
    """The hand's row of its wrist on the vertices that are left, over hands of all shapes."""
    hand = joined.hand
    shapes = np.concatenate([np.zeros((1, 10)), 2 * np.eye(10), -2 * np.eye(10)])
    vertices = hand["v_template"] + np.einsum("hs,vcs->hvc", shapes, hand["shapedirs"])
    near = kept[np.linalg.norm(hand["v_template"][kept] - joined.own_wrist, axis=1) < 0.045]
    row = np.zeros(len(hand["v_template"]))
    row[near] = enclosing(vertices[:, near], np.einsum("v,hvc->hc", hand["J_regressor"][0], vertices))
    return row[kept]


def posedirs(joined: Joined, weights: np.ndarray) -> np.ndarray:
    """(n, 3, 51, 9): the body's where nothing has changed, learnt again on the lower arm, and the fingers' own."""
    n = len(weights)
    out = np.zeros((n, 3, 51, 9))
    body = joined.body["posedirs"].reshape(-1, 3, 23, 9)
    shared = [SMPL.index(name) - 1 for name in SMPLH.names[1:22]]
    kept = joined.from_body >= 0
    out[kept, :, :21] = body[joined.from_body[kept]][:, :, shared]
    again = np.flatnonzero(joined.channels[:, 0, 0] < joined.wrist[0] + 0.2)
    of_24 = np.zeros((len(again), 24))
    of_24[:, [SMPL.index(name) for name in SMPLH.names[:22]]] = weights[again][:, :22]
    of_24[:, SMPL.index("right_wrist")] += weights[np.ix_(again, SMPLH.fingers["right"])].sum(1)
    learnt = correctives.of_vertices(joined.channels[again, :, 0], of_24, joined.joints, SEED)
    out[again, :, :21] = learnt[:, :, shared]
    fingers = np.array(SMPLH.fingers["right"]) - 1
    hand = joined.of_hand.mix @ joined.hand["posedirs"].reshape(-1, 3 * 135)
    out[np.ix_(joined.part == 2, range(3), fingers)] = hand.reshape(-1, 3, 15, 9)
    return correctives.rounded(out)


def landmarks(joined: Joined, number: np.ndarray, count: int) -> tuple[list[str], np.ndarray]:
    """(names, rows (K, count)) of the whole: the body's but those of its old hands, and the hand's on both sides."""
    body, hand = joined.body, joined.hand
    gone = {f"{side}_{name}" for side in ("left", "right") for name in (*HAND_POINTS, "pinky_tip")}
    names, rows = [], []
    for name, row in zip(body["landmark_names"].tolist(), body["landmark_regressor"], strict=True):
        if name in gone:
            continue
        used = np.flatnonzero(row)
        if (number[used] < 0).any():
            raise ValueError(f"The landmark {name} is of vertices that the hand has replaced.")
        own = np.zeros(count)
        own[number[used]] = row[used]
        names, rows = [*names, name], [*rows, own]
    places = np.flatnonzero(joined.from_hand >= 0)
    n, mirror = len(joined.part), whole_mirror(joined)
    for name, row in zip(hand["landmark_names"].tolist(), hand["landmark_regressor"], strict=True):
        own = np.zeros(n)
        own[places] = row[joined.from_hand[places]]
        if own.sum() < 0.999:  # WebXR's wrist lies where the forearm is now
            continue
        right = np.concatenate([own, np.zeros(count - n)])
        names += [name, name.replace("right_", "left_")]
        rows += [right, right[mirror]]
    return names, np.stack(rows)


def whole_mirror(joined: Joined) -> np.ndarray:
    """(V,) of the whole: the right half's vertices, the midline's among them, then the left one's."""
    middle = np.abs(joined.channels[:, 0, 0]) < 1e-9
    n = len(middle)
    mirror = np.arange(n)
    mirror[~middle] = n + np.arange((~middle).sum())
    return np.concatenate([mirror, np.flatnonzero(~middle)])


def mirrored_columns(half: np.ndarray) -> np.ndarray:
    """Correctives (n, 3, 51, 9) of the mirror image: R ↦ S R S flips the entries between x and the other axes."""
    sign = FLIP[:, None, None] * np.outer(FLIP, FLIP).ravel()
    return half[:, :, np.array(SMPLH.mirror[1:]) - 1] * sign


def build() -> dict[str, np.ndarray]:
    """Every array of the file, by name."""
    body, hand = (arrays_of(PRIORS / f"{name}.npz") for name in ("free_body", "free_hand"))
    joined = Joined(body, hand)
    mirror = whole_mirror(joined)
    n, V = len(joined.part), len(mirror)
    left = mirror[n:]  # the right vertex of each left one
    whole = lambda half, flipped: np.concatenate([half, flipped[left]])  # noqa: E731
    middle = mirror[:n] == np.arange(n)
    channels = joined.channels.copy()
    channels[middle, 0] = 0
    channels = whole(channels, channels * FLIP[:, None])
    half_weights = joined.weights()
    half_weights[middle] = 0.5 * (half_weights[middle] + half_weights[middle][:, list(SMPLH.mirror)])
    weights = whole(half_weights, half_weights[:, list(SMPLH.mirror)])
    dirs = posedirs(joined, half_weights)
    dirs = whole(dirs, mirrored_columns(dirs)).reshape(V, 3, 459)
    faces = np.concatenate([joined.faces, mirror[joined.faces][:, ::-1]])
    number = np.full(len(body["v_template"]), -1)
    kept = joined.from_body >= 0
    number[joined.from_body[kept]] = np.flatnonzero(kept)
    other = body["mirror"].astype(int)
    missing = (number < 0) & (number[other] >= 0)
    number[missing] = mirror[number[other[missing]]]
    rows = regressor(joined)
    J = np.zeros((52, V))
    for j, name in enumerate(SMPLH.names):
        if name in MANO_RIGHT.names:
            J[j, :n] = rows[j]
        elif name not in MANO_LEFT.names:
            own = body["J_regressor"][SMPL.index(name)]
            used = np.flatnonzero(own)
            if (number[used] < 0).any():
                raise ValueError(f"The joint {name} is found by vertices that the hand has replaced.")
            J[j, number[used]] = own[used]
    for name in MANO_LEFT.names:
        J[SMPLH.index(name)] = J[SMPLH.index(name.replace("left_", "right_"))][mirror]
    names, marks = landmarks(joined, number, V)
    sums = np.stack([weights[:, list(SMPLH.parts[part])].sum(1) for part in PART_NAMES], 1)
    turned = np.tile([1.0, -1.0, -1.0], 15)
    return {
        "v_template": channels[..., 0].astype(np.float32),
        "f": faces.astype(np.uint32),
        "shapedirs": channels[..., 1:].astype(np.float32),
        "posedirs": dirs.astype(np.float32),
        "J_regressor": J.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack([np.where(np.array(SMPLH.parents) < 0, 2**32 - 1, SMPLH.parents), np.arange(52)]),
        "joint_names": np.array(SMPLH.names),
        "landmark_names": np.array(names),
        "landmark_regressor": marks.astype(np.float32),
        "part_labels": (sums.argmax(1) + 1).astype(np.uint8),
        "part_names": np.array(PART_NAMES),
        "mirror": mirror,
        "shape_variance": body["shape_variance"].astype(np.float32),
        "hand_betas": joined.hand_betas.astype(np.float32),
        "hands_meanl": hand["hands_mean"] * turned,
        "hands_meanr": hand["hands_mean"],
        "hands_componentsl": hand["hands_components"] * turned,
        "hands_componentsr": hand["hands_components"],
        "hands_deviations": hand["hands_deviations"],
        "meta": np.array(json.dumps(_meta(hand))),
    }


def _meta(hand: dict[str, np.ndarray]) -> dict[str, object]:
    of_hand = json.loads(str(hand["meta"]))["betas"]
    return {
        "name": "hmrfit free body with hands",
        "version": 1,
        "command": "python priors/scripts/build_free_body_h.py",
        "betas": [*(f"free_body's {i}" for i in range(1, 11)), *(f"hands: {name}" for name in of_hand)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--out", type=Path, default=PRIORS / "free_body_h.npz")
    arguments = parser.parse_args()
    write_npz(arguments.out, build())
    record_checksum(arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()

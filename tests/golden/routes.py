"""Whole fits by every route of the library: one small function a route, from inputs and chosen people to arrays.

Only the public names `hmrfit.*` are used, so these functions can be rewritten when those change. `ROUTES` says how many
people the record has of each route and how many of them the tests fit again.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import hmrfit

Arrays = dict[str, NDArray]
Chosen = NDArray[np.int64]

SETS = ("openpose25", "coco17", "lsp14")
SIZE = (1024, 768)
HAND_SIZE, HAND_FOCAL = (640, 480), 600.0
MASK_SCALE = 4
"""Masks are kept at a quarter of the image's size."""

CAMERAS, SEQUENCES, FRAMES, FPS = 3, 6, 24, 30.0
EXACT = {"keypoint_source": "exact"}
"""Invented people's points are the body's own."""

HYPOTHESES = 4
"""Columns of probabilities that are kept."""

SOLES = ("left_heel", "right_heel", "left_big_toe", "right_big_toe", "left_small_toe", "right_small_toe")

STAGES = [
    {"weights": {"gmm": 1.0, "shape": 1.0, "upright": 8.0, "reprojection_wide": 200.0}, "max_steps": 5, "keep": 2},
    {"weights": {"gmm": 1.0, "shape": 2.0, "joint_limits": 1.0, "reprojection": 30.0}, "max_steps": 40, "ftol": 1e-6},
]


def recorded(result: hmrfit.FitResult) -> Arrays:
    """What is kept of a result, a row a person."""
    found = result.probability[:, :HYPOTHESES]
    return {
        "poses": result.poses,
        "betas": result.betas,
        "transl": result.trans,
        "cost": result.cost,
        "accepted": result.accepted,
        "std": result.joint_std,
        "probability": np.pad(found, ((0, 0), (0, HYPOTHESES - found.shape[1]))),
    }


def stacked(rows: list[Arrays]) -> Arrays:
    """Records of one person each as one record; a person's views or frames stay an axis of their own."""
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def joined(rows: list[Arrays]) -> Arrays:
    """Records of some people each as one record."""
    return {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}


def fitted(inputs: Mapping[str, NDArray], people: Any, keypoint_set: str = "coco17", **more: Any) -> hmrfit.FitResult:
    """These people of one photograph, nobody left out. Their keypoints are exact; the settings of `config` here lead to
    energies that do not ask."""
    source = {} if "config" in more else EXACT
    result = hmrfit.fit(
        None, inputs[keypoint_set][people], keypoint_set=keypoint_set, image_size=SIZE, **source, **more
    )
    assert len(result) == len(people), result.left_out
    return result


def each(inputs: Mapping[str, NDArray], chosen: Chosen, **more: Callable[[int], Any]) -> list[hmrfit.FitResult]:
    """One call of `fit` a person; each argument is made from the person's number."""
    return [fitted(inputs, [i], **{name: made(i) for name, made in more.items()}) for i in chosen]


def openpose25(inputs: Arrays, chosen: Chosen) -> Arrays:
    """The default fit, many people at once."""
    result = fitted(inputs, chosen, "openpose25")
    return recorded(result) | {"joints": result.joints, "landmark_std": result.landmark_std}


def coco17(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen))


def lsp14(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen, "lsp14"))


def one_by_one(inputs: Arrays, chosen: Chosen) -> Arrays:
    """One person a call, which NumPy alone computes."""
    return joined([recorded(result) for result in each(inputs, chosen)])


def from_scratch(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Without an initial estimate: from the poses of a library."""
    return recorded(fitted(inputs, chosen, config={"PRIORS.INITIAL_ESTIMATE": ""}))


def without_errors(inputs: Arrays, chosen: Chosen) -> Arrays:
    """The initial estimate is one start of several, with nothing that says how wrong it is."""
    return recorded(fitted(inputs, chosen, config={"PRIORS.ERROR_MODEL": ""}))


def _start(inputs: Arrays, chosen: Chosen) -> hmrfit.BodyParams:
    poses, betas, transl = (torch.tensor(inputs[n][chosen]).double() for n in ("init_poses", "shape", "transl"))
    return hmrfit.BodyParams.from_rotvecs(poses[:, :3], poses[:, 3:], betas, transl)


def _cameras(inputs: Arrays, chosen: Any) -> hmrfit.Camera:
    """The true ones."""
    one_each = [hmrfit.Camera.from_size(*SIZE, focal=float(inputs["focal"][i])) for i in chosen]
    return hmrfit.Camera.cat(one_each)


def init(inputs: Arrays, chosen: Chosen) -> Arrays:
    start = _start(inputs, chosen)
    return recorded(fitted(inputs, chosen, init=start, camera=_cameras(inputs, chosen)))


def init_std(inputs: Arrays, chosen: Chosen) -> Arrays:
    start = _start(inputs, chosen)
    return recorded(fitted(inputs, chosen, init=start, init_std=8.0, camera=_cameras(inputs, chosen)))


def _masks(inputs: Arrays, chosen: Chosen) -> list[NDArray[np.bool_]]:
    return [
        np.unpackbits(inputs["mask"][i], axis=-1).astype(bool).repeat(MASK_SCALE, 0).repeat(MASK_SCALE, 1)
        for i in chosen
    ]


def mask(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen, measurements=[hmrfit.Mask(_masks(inputs, chosen))]))


def silhouette(inputs: Arrays, chosen: Chosen) -> Arrays:
    """The soft silhouette beside the mask's own term."""
    masks = _masks(inputs, chosen)
    known = [hmrfit.Mask(masks), hmrfit.Silhouette(masks, weight=30.0)]
    return recorded(fitted(inputs, chosen, measurements=known))


def height(inputs: Arrays, chosen: Chosen) -> Arrays:
    """A third of the people have none."""
    given = [None if i % 3 == 2 else float(inputs["height"][i]) for i in chosen]
    return recorded(fitted(inputs, chosen, measurements=[hmrfit.Height(given, 0.01)]))


def shape(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen, measurements=[hmrfit.Shape(inputs["shape"][chosen], 0.2)]))


def keypoints_3d(inputs: Arrays, chosen: Chosen) -> Arrays:
    known = [hmrfit.Keypoints3D(inputs["smpl24_3d"][chosen], "smpl24")]
    return recorded(fitted(inputs, chosen, camera=_cameras(inputs, chosen), measurements=known))


def relative_3d(inputs: Arrays, chosen: Chosen) -> Arrays:
    known = [hmrfit.Keypoints3D(inputs["smpl24_3d"][chosen], "smpl24", relative=True)]
    return recorded(fitted(inputs, chosen, measurements=known))


def _floor(inputs: Arrays, i: int) -> hmrfit.Floor:
    *up, offset = inputs["floor"][i].tolist()
    return hmrfit.Floor(up, offset, [SOLES[inputs["contact"][i]]])


def ground(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Each person has a floor of their own, so each has a call."""
    found = each(inputs, chosen, measurements=lambda i: [_floor(inputs, i)], camera=lambda i: _cameras(inputs, [i]))
    return joined([recorded(result) for result in found])


def together(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Mask, height and points in 3D at once, with OpenPose's keypoints."""
    points = hmrfit.Keypoints3D(inputs["smpl24_3d"][chosen], "smpl24")
    known = [hmrfit.Mask(_masks(inputs, chosen)), points, hmrfit.Height(inputs["height"][chosen])]
    return recorded(fitted(inputs, chosen, "openpose25", camera=_cameras(inputs, chosen), measurements=known))


def focal(inputs: Arrays, chosen: Chosen) -> Arrays:
    """One focal length for all."""
    return recorded(fitted(inputs, chosen, focal=1500.0))


def camera(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Everybody's true camera."""
    return recorded(fitted(inputs, chosen, camera=_cameras(inputs, chosen)))


def _with_focal(result: hmrfit.FitResult) -> Arrays:
    return recorded(result) | {"focal": result.camera.focal.numpy()}


def free_focal(inputs: Arrays, chosen: Chosen) -> Arrays:
    """People of one photograph share it, so each has a call."""
    return joined([_with_focal(result) for result in each(inputs, chosen, focal=lambda i: "free")])


def shared_focal(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Photographs of three people: one and the next two."""
    found = [fitted(inputs, (i + np.arange(3)) % len(inputs["coco17"]), focal="free") for i in chosen]
    return stacked([_with_focal(result) for result in found])


def focal_effect(inputs: Arrays, chosen: Chosen) -> Arrays:
    """What another focal length would change, and bodies drawn from what is likely."""
    result = fitted(inputs, chosen)
    longer, shorter = result.focal_effect(), result.focal_effect(0.8)
    moves = {"depth_longer": longer.depth, "joints_longer": longer.joints}
    moves |= {"depth_shorter": shorter.depth, "joints_shorter": shorter.joints}
    return {name: np.asarray(value) for name, value in moves.items()} | {"samples": _samples(inputs, chosen)}


def _samples(inputs: Arrays, chosen: Chosen) -> NDArray[np.float64]:
    """(N, 2, 85) of one person a call: the draws of several people come from one stream."""
    drawn = [result.sample(2, seed=1) for result in each(inputs, chosen)]
    flat = lambda p: torch.cat([*p.to_rotvecs(), p.betas, p.transl], 1)  # noqa: E731
    return np.stack([torch.cat([flat(p) for p in both]).numpy() for both in drawn])


def smplify(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen, config="fit_smplify"))


def spin(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen, config="fit_spin"))


def stages(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Stages of the user's own, from the library and the initial estimate."""
    return recorded(fitted(inputs, chosen, config={"FIT.STAGES": STAGES, "FIT.HYPOTHESES": 3}))


def stages_in_turn(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Stages of the user's own from the initial estimate alone, the first of which moves a part of the body."""
    moved = [STAGES[0] | {"free": ["transl", "global_orient"]}, STAGES[1]]
    return recorded(fitted(inputs, chosen, config={"FIT.STAGES": moved, "FIT.START": "initial_estimate"}))


def weights(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Weights of the user's own. (When the record was made, a weight of `shape` beside these changed nothing.)"""
    return recorded(fitted(inputs, chosen, weights={"keypoints": 3.0, "joint_limits": 2.0}))


def discriminators(inputs: Arrays, chosen: Chosen) -> Arrays:
    return recorded(fitted(inputs, chosen, terms=["discriminators"]))


def term(inputs: Arrays, chosen: Chosen) -> Arrays:
    """A term of the user's own: the wrists are as high as each other, and the first beta is near 1."""

    def level(state: Any, output: Any, observation: Any) -> torch.Tensor:
        apart = output.joints[:, 20, 1:2] - output.joints[:, 21, 1:2]
        return torch.cat([5.0 * apart, 2.0 * (state.params.betas[:, :1] - 1.0)], 1)

    return recorded(fitted(inputs, chosen, terms=[level], weights={"level": 2.0}))


def views(inputs: Arrays, chosen: Chosen) -> Arrays:
    """One person before several cameras."""
    rows = []
    for i in chosen:
        keypoints, extrinsics = list(inputs["views"][i]), inputs["extrinsics"][i]
        cameras = [_cameras(inputs, [i])] * CAMERAS
        given = {"keypoint_set": "coco17", "cameras": cameras, "image_size": SIZE}
        found = hmrfit.fit_views([None] * CAMERAS, keypoints, extrinsics, **given)
        rows.append(joined([recorded(result) for result in found]))
    return stacked(rows)


def sequence(inputs: Arrays, chosen: Chosen) -> Arrays:
    """One person in many frames; the second half of the sequences is not smoothed."""
    rows = []
    for i in chosen:
        smooth = {} if i < SEQUENCES // 2 else {"smooth": 0.0}
        given = {"keypoint_set": "coco17", "image_size": SIZE, "focal": float(inputs["focal"][i])}
        rows.append(recorded(hmrfit.fit_sequence(inputs["frames"][i], fps=FPS, **EXACT, **given, **smooth)))
    return stacked(rows)


def hand(inputs: Arrays, chosen: Chosen) -> Arrays:
    """Right hands by 21 keypoints."""
    result = hmrfit.fit_hand(None, inputs["hand21"][chosen], image_size=HAND_SIZE, focal=HAND_FOCAL, **EXACT)
    return recorded(result)


@dataclass(frozen=True)
class Route:
    """How a route is fitted, how many people the record has, and how many of them the tests fit again."""

    fit: Callable[[Arrays, Chosen], Arrays]
    people: int
    tested: int


ROUTES = {
    "openpose25": Route(openpose25, 200, 12),
    "coco17": Route(coco17, 200, 12),
    "lsp14": Route(lsp14, 200, 12),
    "one_by_one": Route(one_by_one, 200, 6),
    "from_scratch": Route(from_scratch, 200, 5),
    "without_errors": Route(without_errors, 200, 5),
    "init": Route(init, 200, 5),
    "init_std": Route(init_std, 200, 5),
    "mask": Route(mask, 200, 3),
    "silhouette": Route(silhouette, 8, 1),
    "height": Route(height, 200, 5),
    "shape": Route(shape, 200, 5),
    "keypoints_3d": Route(keypoints_3d, 200, 5),
    "relative_3d": Route(relative_3d, 200, 5),
    "ground": Route(ground, 100, 2),
    "together": Route(together, 200, 3),
    "focal": Route(focal, 200, 5),
    "camera": Route(camera, 200, 5),
    "free_focal": Route(free_focal, 60, 2),
    "shared_focal": Route(shared_focal, 10, 1),
    "focal_effect": Route(focal_effect, 20, 3),
    "smplify": Route(smplify, 200, 2),
    "spin": Route(spin, 200, 3),
    "stages": Route(stages, 200, 3),
    "stages_in_turn": Route(stages_in_turn, 200, 3),
    "weights": Route(weights, 200, 5),
    "discriminators": Route(discriminators, 200, 2),
    "term": Route(term, 200, 2),
    "views": Route(views, 40, 2),
    "sequence": Route(sequence, SEQUENCES, 2),
    "hand": Route(hand, 60, 8),
}

CHAOTIC: dict[str, tuple[int, ...]] = {
    "smplify": (0, 20, 61, 65, 78, 125, 128, 167, 178),
    "spin": (3, 11, 20, 26, 49, 57, 74, 78, 101, 115, 167),
}
"""People who are not in the record of a route: their fits end up to 0.05 elsewhere where only rounding differs (other
vector instructions: AVX2 alone, SSE alone). Nobody else's fit by these two routes moved by more than 2e-6. The energies
of SMPLify and SPIN have long flat valleys: these people take 60 to 200 steps, where others take 20 to 50, and most of
them are stopped on the way, by the number of steps or because a step gains too little."""

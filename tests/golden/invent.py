"""The people of the golden record, invented from the free body: what fits see of them, and what else is known.

Only this file here reaches into the library. The inputs are kept in the record, so the fits can be repeated when the
synthetic people have changed, or when this file does not run any more.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.assets import locate
from hmrfit.body.rigid import turned
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.terms.ground import SOLES
from hmrfit.fitting.terms.height import HeightTerm
from hmrfit.hand_keypoints import hand_set
from hmrfit.keypoints import resolve_set
from hmrfit.ops.rotation import quaternion_to_matrix, rotvec_to_matrix
from hmrfit.priors.gmm import PoseGmm
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.synthetic.people import Corruption, People, Views, corrupt, make_people
from hmrfit.types import BodyParams, Keypoints

from .routes import CAMERAS, FRAMES, HAND_FOCAL, HAND_SIZE, MASK_SCALE, SEQUENCES, SETS, Arrays

PEOPLE, HANDS = 200, 60
SEEN = Corruption((0.005, 0.02), (0.0, 0.15), occluder=0.15, truncated=True, swapped=0.03, unsure=0.3, stray=0.3)
VIEWS = Views(tilted=0.05, beyond=0.1)
CALM = Corruption(0.01, 0.05)
"""Of views and frames."""


def invent() -> Arrays:
    """All inputs, the first axis being people (or sequences), coarse enough to be short in a file."""
    random = torch.Generator().manual_seed(2024)
    body = SmplBody.from_file(locate("free_body"))
    people = _people(body, random)
    truth = people.params
    given = {name: _seen(people, name, random) for name in SETS}
    noise = torch.randn(PEOPLE, 24, 3, generator=random, dtype=torch.float64)
    given |= {
        "poses": _coarse(torch.cat(truth.to_rotvecs(), 1), 12),
        "betas": _coarse(truth.betas, 10),
        "transl": _coarse(truth.transl, 12),
        "focal": _coarse(people.camera.focal[:, 0], 2),
        "init_poses": _coarse(torch.cat(truth.to_rotvecs(), 1) + np.deg2rad(8) * noise.flatten(1), 12),
        "shape": _coarse(truth.betas + 0.1 * noise.flatten(1)[:, :10], 10),
        "height": _coarse(HeightTerm(body).of(truth.betas), 10),
        "smpl24_3d": _coarse(people.joints + 0.02 * noise.flip(1), 10),
        "mask": _masks(body, people),
    }
    given |= _floors(body, people) | _views(body, people, random) | _sequences(body, people, random)
    return given | hands()


def hands() -> Arrays:
    """Right hands in draws of the pose prior, seen from everywhere, 2 % noise, a tenth of the points missing."""
    random = torch.Generator().manual_seed(2026)
    body, gmm = SmplBody.from_file(locate("free_hand")), PoseGmm.from_file(locate("hand_pose_gmm"))
    names = hand_set("hand21", "right").names
    zero, betas = torch.zeros(HANDS, 3).double(), torch.randn(HANDS, 10, generator=random, dtype=torch.float64)
    params = BodyParams.from_rotvecs(zero, gmm.sample(HANDS, random), betas, zero + torch.tensor([0.0, 0.0, 0.5]))
    quaternions = torch.randn(HANDS, 4, generator=random, dtype=torch.float64)
    params = replace(params, global_orient=quaternion_to_matrix(quaternions))
    points = body.points(names).pose(params).points
    xy = Camera.from_size(*HAND_SIZE, focal=HAND_FOCAL, count=HANDS).project(points)
    seen = corrupt(Keypoints(xy, torch.ones(xy.shape[:2]).double(), names), Corruption(0.02, 0.1), random)
    return {"hand21": torch.cat([seen.xy, seen.confidence[..., None]], -1).numpy().astype(np.float32)}


def _people(body: SmplBody, random: torch.Generator) -> People:
    """With the points of all sets together."""
    with np.load(locate("poses"), allow_pickle=False) as file:
        poses = torch.from_numpy(file["poses"][:PEOPLE]).double()
    upright = torch.cat([torch.zeros(PEOPLE, 1, 3).double(), poses], 1)
    names = tuple(dict.fromkeys(n for keypoints in SETS for n in resolve_set(keypoints)))
    return make_people(body, upright, names, random, VIEWS, SEEN)


def _seen(people: People, keypoint_set: str, random: torch.Generator) -> NDArray[np.float32]:
    """(N, K, 3) as a detector of these points might give them."""
    names = resolve_set(keypoint_set)
    rows = [people.clean.names.index(n) for n in names]
    clean = Keypoints(people.clean.xy[:, rows], people.clean.confidence[:, rows], names)
    return _rows(corrupt(clean, SEEN, random, people.camera.size))


def _rows(keypoints: Keypoints) -> NDArray[np.float32]:
    """x and y to a 32nd of a pixel, confidence to a 64th; whoever has some confidence keeps some."""
    confidence = torch.where(keypoints.confidence > 0, keypoints.confidence.clamp_min(1 / 64), 0.0)
    return np.concatenate([_coarse(keypoints.xy, 5), _coarse(confidence[..., None], 6)], -1)


def _coarse(values: Tensor, bits: int) -> NDArray[np.float32]:
    """Rounded to 2^-bits, which float32 holds exactly for what is small enough."""
    return (np.round(values.numpy() * 2**bits) / 2**bits).astype(np.float32)


def _masks(body: SmplBody, people: People) -> NDArray[np.uint8]:
    """(N, H, W / 8) bits of silhouettes, `MASK_SCALE` times smaller than the image."""
    camera = people.camera
    small = Camera(camera.focal / MASK_SCALE, camera.center / MASK_SCALE, camera.size / MASK_SCALE)
    vertices = body(people.params).vertices
    drawn = [BuiltinRenderer().silhouette(vertices[[i]], body.faces, small[i])[0].numpy() for i in range(PEOPLE)]
    return np.packbits(np.stack(drawn), axis=-1)


def _floors(body: SmplBody, people: People) -> Arrays:
    """Each person stands on the lowest point of the soles: up, offset and the number of that point."""
    up = people.params.global_orient[..., 1]
    soles = body.points(SOLES).pose(people.params).points
    height, lowest = (soles * up[:, None]).sum(-1).min(1)
    return {"floor": _coarse(torch.cat([up, height[:, None]], 1), 14), "contact": lowest.numpy().astype(np.uint8)}


def _views(body: SmplBody, people: People, random: torch.Generator) -> Arrays:
    """The same people from further cameras in a ring about the pelvis."""
    names = resolve_set("coco17")
    points = body.points(names)
    keypoints, extrinsics = [], []
    for c in range(CAMERAS):
        angle = torch.tensor([0.0, 1.2 * c, 0.0]).double()
        R = _round(rotvec_to_matrix(angle)).expand(PEOPLE, 3, 3)
        pelvis = people.joints[:, 0]
        t = _round(pelvis - (R @ pelvis[..., None])[..., 0])
        moved = [turned(people.params[i], body.rest_joints[0], body.joint_shapes[0], R[i], t[i]) for i in range(PEOPLE)]
        clean = people.camera.project(points.pose(BodyParams.cat(moved)).points)
        keypoints.append(_rows(corrupt(Keypoints(clean, torch.ones(PEOPLE, 17).double(), names), CALM, random)))
        extrinsics.append(torch.cat([R, t[..., None]], -1).numpy().astype(np.float32))
    return {"views": np.stack(keypoints, 1), "extrinsics": np.stack(extrinsics, 1)}


def _round(values: Tensor) -> Tensor:
    """To what float32 holds."""
    return values.float().double()


def _sequences(body: SmplBody, people: People, random: torch.Generator) -> Arrays:
    """Motions from one person's pose to another's and on to a third's, along their rotation vectors, while walking."""
    names, pose = resolve_set("coco17"), people.params.to_rotvecs()[1]
    points, along = body.points(names), torch.linspace(0, 2, FRAMES).double()[:, None]
    swing = torch.cat([(1 - along).clamp_min(0), 1 - (1 - along).abs(), (along - 1).clamp_min(0)], 1)
    frames = []
    for s in range(SEQUENCES):
        first = people.params[[s] * FRAMES]
        way = torch.cat([0.4 * along, 0 * along, 0.3 * along], 1)
        body_pose = rotvec_to_matrix((swing @ pose[3 * s : 3 * s + 3]).unflatten(1, (-1, 3)))
        turn = rotvec_to_matrix(torch.cat([0 * along, 0.5 * along, 0 * along], 1))
        orient, transl = first.global_orient @ turn, first.transl + way
        params = replace(first, global_orient=orient, body_pose=body_pose, transl=transl)
        clean = people.camera[[s] * FRAMES].project(points.pose(params).points)
        frames.append(_rows(corrupt(Keypoints(clean, torch.ones(FRAMES, 17).double(), names), CALM, random)))
    return {"frames": np.stack(frames)}

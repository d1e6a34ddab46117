"""Synthetic images of hands: the n-th hand of a dataset, drawn on demand, with the whole truth.

    a hand   = a pose of the prior within the limits of joints, random betas, any orientation, a skin, with some chance
               a sleeve, a forearm that is a tube; lamp, sky, backdrop and camera of `fast_renderer`
    a crop   = the square of CROP times the keypoints' box, as Boukhayma et al. (CVPR 2019) cut it

The skin lies between three colours, pale, brown and dark, chosen by eye. The
palm is paler than the back, finger tips and knuckles are redder, nails shine. All hands are right ones: a left hand is
the mirror image of its picture. A hand depends on the dataset's seed and its own number alone.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hmrfit.body.mirrored import side_of
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.image import Image
from hmrfit.network.encoders import to_tensor
from hmrfit.ops.rotation import quaternion_to_matrix, rotvec_to_matrix
from hmrfit.priors.biomechanics import HandLimits, bones_of, joint_angles
from hmrfit.priors.gmm import PoseGmm
from hmrfit.render.shading import texture, vertex_normals
from hmrfit.synthetic.dataset import scene_generator
from hmrfit.synthetic.fast_renderer import Drawn, develop, lit_surface, numpy_generator, occlude
from hmrfit.types import BodyParams, TensorRecord

CROP = 2.2
"""The crop's side over the longest side of the keypoints' box (Boukhayma's released code)."""

SKIN = ((0.70, 0.46, 0.35), (0.40, 0.21, 0.12), (0.075, 0.036, 0.022))
"""Linear albedo of pale, brown and dark skin."""

PALM = (0.55, 0.36, 0.27)
"""What a palm has whatever the back of the hand has, to a part."""

NAIL = (0.72, 0.47, 0.40)

BLOOD = (1.06, 0.86, 0.84)
"""Times the albedo at finger tips and knuckles."""

CELL, FINE = 0.012, 0.002
"""Metres: blotches of the skin, and its creases."""

DISTANCE = (0.3, 0.9)
"""Metres from the camera, log-uniform."""

ASIDE = 0.35
"""Tangent of the angle to the camera's axis, at most."""

FOREARM, RING, RINGS = 0.22, 20, 6
"""Metres, and how finely the tube is made."""

OFFERED = 5
"""Draws of the prior for every pose that is kept: those that leave their joints' limits least."""

HAND21 = hand_set("hand21", "right").names


@dataclass(frozen=True)
class HandSample(TensorRecord):
    """B right hands, or left ones mirrored, cut out of their pictures. What is unknown has a flag 0; its numbers are
    not read."""

    images: Tensor  # (B, 3, R, R) uint8 RGB
    masks: Tensor  # (B, R, R) bool, where the hand is visible
    has_mask: Tensor  # (B,) bool
    keypoints: Tensor  # (B, 21, 2) hand21, pixels of the crop
    confidence: Tensor  # (B, 21)
    points: Tensor  # (B, 21, 3) metres about the wrist, camera frame
    has_points: Tensor  # (B,) bool
    params: BodyParams  # the truth in the training's own model, at the origin
    has_params: Tensor  # (B,) bool

    def __len__(self) -> int:
        return len(self.images)


def hand_poses(gmm: PoseGmm, limits: HandLimits, body: SmplBody, count: int, seed: int = 0) -> Tensor:
    """(count, 45) rotation vectors: of OFFERED times as many draws of the prior those that leave the limits of joints
    least, in the mean over the joints. body: a right hand, float64."""
    generator = torch.Generator().manual_seed(seed)
    theta = gmm.sample(OFFERED * count, generator)
    zero = theta.new_zeros(len(theta), max(body.shape_count, 3))
    params = BodyParams.from_rotvecs(zero[:, :3], theta, zero[:, : body.shape_count], zero[:, :3])
    angles = joint_angles(bones_of(body.points(HAND21).pose(params).points))
    outside = limits.hulls.signed_distance(angles).clamp_min(0).mean(1)
    return theta[outside.argsort(stable=True)[:count].sort().values]


@dataclass(frozen=True)
class HandStyle:
    """How hands look. A range is uniform, a single number a probability."""

    box_scale: float = 0.1  # the crop's side times 1 ± this
    box_shift: float = 0.06  # its middle moves by up to this fraction of its side
    sleeve: float = 0.4  # the forearm is in cloth
    covered: float = 0.15  # something lies over a part of the hand


class HandScenes(Dataset[HandSample]):
    """`count` hands by number."""

    def __init__(
        self,
        body: SmplBody,
        poses: Tensor,
        count: int = 100_000,
        resolution: int = 256,
        style: HandStyle | None = None,
        seed: int = 0,
    ) -> None:
        """
        Args:
            body: a right hand, float64. poses: (N, 45) rotation vectors, one of which is drawn for each hand.
        Raises:
            ValueError: the body is no right hand.
        """
        if side_of(body.skeleton) != "right":
            raise ValueError(f"Hands are drawn of a right hand's file, and this body hangs on '{body.skeleton.root}'.")
        self.body, self.poses, self.count, self.resolution = body, poses, count, resolution
        self.style, self.seed = style or HandStyle(), seed
        self.points, self.skin = body.points(HAND21), Skin(body)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> HandSample:
        """Hand `index`, as a batch of one. Raises IndexError: there is none."""
        if not 0 <= index < self.count:
            raise IndexError(f"There is no hand {index}: this dataset has {self.count}.")
        generator = scene_generator(self.seed, index)
        params = self._drawn(generator)
        points = self.points.pose(params).points
        camera = crop_camera(points, self.resolution, self.style, generator)
        image, mask = self.skin.draw(params, camera, self.style, generator)
        xy = camera.project(points)
        inside = ((xy >= 0) & (xy < self.resolution)).all(-1)
        known = torch.ones(1, dtype=torch.bool)
        return HandSample(
            images=to_tensor(image),
            masks=torch.from_numpy(mask)[None],
            has_mask=known,
            keypoints=xy.float(),
            confidence=inside.float(),
            points=(points - points[:, :1]).float(),
            has_points=known,
            params=replace(params, transl=torch.zeros_like(params.transl)).to(torch.float32),
            has_params=known,
        )

    def _drawn(self, generator: torch.Generator) -> BodyParams:
        """A hand before the camera, uniform over all orientations."""
        theta = self.poses[torch.randint(len(self.poses), (1,), generator=generator)].double()
        normal = torch.randn(1, 4 + self.body.shape_count, generator=generator, dtype=torch.float64)
        at = torch.rand(3, generator=generator, dtype=torch.float64)
        depth = DISTANCE[0] * (DISTANCE[1] / DISTANCE[0]) ** at[2]
        aside = ASIDE * (2 * at[:2] - 1)
        transl = (torch.cat([aside, torch.ones(1)]) * depth)[None] - self.body.rest_joints[:1]
        rotations = rotvec_to_matrix(theta.unflatten(1, (-1, 3)))
        return BodyParams(quaternion_to_matrix(normal[:, :4]), rotations, normal[:, 4:].clamp(-2.5, 2.5), transl)


def crop_camera(points: Tensor, resolution: int, style: HandStyle, generator: torch.Generator) -> Camera:
    """The camera of the square crop around the points (1, K, 3): of focal length 1 before it is cut."""
    change = 2 * torch.rand(3, generator=generator, dtype=torch.float64) - 1
    xy = points[..., :2] / points[..., 2:]
    low, high = xy.amin(1), xy.amax(1)
    side = CROP * (1 + style.box_scale * change[0]) * (high - low).amax(1, keepdim=True)
    middle = (low + high) / 2 + style.box_shift * change[1:] * side
    scale = resolution / side
    size = torch.full((1, 2), float(resolution), dtype=torch.float64)
    return Camera(scale.expand(1, 2), (side / 2 - middle) * scale, size)


# ---- what hands look like


class Skin:
    """Draws hands: where palm, nails and knuckles are, is found on the flat hand once."""

    def __init__(self, body: SmplBody) -> None:
        """body: a right hand, flat at rest, its back towards +y, fingers towards −x."""
        self.body = body.to(dtype=torch.float32)
        rest = self.body.v_template
        normals = vertex_normals(rest[None], self.body.faces)[0]
        tips = self._places([name for name in HAND21 if name.endswith("_tip")])
        ends = self._places([name for name in HAND21 if name.endswith(("_dip", "thumb_ip"))])
        knuckles = self._places([name for name in HAND21 if name.endswith(("_knuckle", "_pip", "_dip", "thumb_ip"))])
        back = normals[:, 1]
        along = torch.nn.functional.normalize(tips - ends, dim=1)
        offset = rest[:, None] - tips
        before = -(offset * along).sum(-1)  # metres behind the tip
        beside = (offset + before[..., None] * along)[..., 2].abs()
        nail = ((before > 0.001) & (before < 0.012) & (beside < 0.006)).any(1) & (back > 0.5)
        red = torch.cat([(-torch.cdist(rest, at) / 0.012).exp().amax(1, keepdim=True) for at in (tips, knuckles)], 1)
        palm = (-2.5 * back).sigmoid()
        hand = torch.stack([palm, nail.float(), red.amax(1), torch.zeros_like(palm)], 1)
        self.tube, self.tube_faces = forearm_tube(rest, first=len(rest))
        inner = (-2.5 * vertex_normals(self.tube[None], self.tube_faces - len(rest))[0, :, 1]).sigmoid()
        fading = 1 - 0.7 * (self.tube[:, 0] - self.tube[:, 0].min()) / FOREARM
        none = torch.zeros_like(inner)
        arm = torch.stack([inner * fading, none, none, torch.ones_like(inner)], 1)
        self.faces = torch.cat([self.body.faces, self.tube_faces])
        self.rest = torch.cat([torch.cat([rest, hand], 1), torch.cat([self.tube, arm], 1)])

    def _places(self, names: list[str]) -> Tensor:
        return self.body.points(names).pose(self.body.neutral()).points[0]

    def draw(
        self, params: BodyParams, camera: Camera, style: HandStyle, generator: torch.Generator
    ) -> tuple[Image, NDArray[np.bool_]]:
        """(picture, where the hand is seen in it) of one hand before one camera, whose size is the picture's."""
        rng = numpy_generator(generator)
        posed = self.body(params.to(torch.float32))
        wrist = posed.joints[:, :1]
        arm = wrist + (self.tube - self.body.rest_joints[:1]) @ params.global_orient.float().mT
        mesh = torch.cat([posed.mesh, arm], 1)[0]
        light, seen = lit_surface(mesh, self.faces, self.rest, self._paint(style, rng), camera, rng)
        face = seen.face[0].numpy()
        mask = (face >= 0) & (face < len(self.body.faces))
        picture = develop(light, rng)
        return _covered(picture, mask, rng) if rng.random() < style.covered else (picture, mask)

    def _paint(self, style: HandStyle, rng: np.random.Generator) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """A skin and perhaps a sleeve: (M, 7) places at rest, palm, nail, red, arm -> albedo (M, 3), gloss (M,)."""
        pale, brown, dark = (np.array(color) for color in SKIN)
        tone = rng.uniform(0, 2)  # 0 pale, 1 brown, 2 dark
        back = pale ** max(0, 1 - tone) * brown ** (1 - abs(1 - tone)) * dark ** max(0, tone - 1)
        back = back * rng.uniform(0.88, 1.12, 3)
        front = back ** (1 - 0.45) * np.array(PALM) ** 0.45 * rng.uniform(0.95, 1.05, 3)
        nails = back**0.5 * np.array(NAIL) ** 0.5
        cloth = rng.uniform(0.02, 0.9, 3) * rng.uniform(0.2, 1.0) if rng.random() < style.sleeve else None
        noise = torch.from_numpy(rng.random((64, 64), dtype=np.float32))
        redness, rough, gloss = rng.uniform(0.3, 1.5), rng.uniform(0.05, 0.25), rng.uniform(0.02, 0.35)
        cuff = rng.uniform(0.0, 0.03)

        def paint(own: Tensor) -> tuple[Tensor, Tensor]:
            rest, palm, nail, red, arm = own.split([3, 1, 1, 1, 1], 1)
            as_row = lambda color: own.new_tensor(color)[None]  # noqa: E731
            albedo = torch.lerp(as_row(back), as_row(front), palm.clamp(0, 1))
            albedo = albedo * as_row(np.array(BLOOD) ** redness) ** red.clamp(0, 1)
            blotches = texture(noise, rest[:, 0] / CELL, rest[:, 2] / CELL + 7 * rest[:, 1] / CELL)
            creases = texture(noise, rest[:, 0] / FINE, (rest[:, 2] + rest[:, 1]) / (3 * FINE))
            albedo = albedo * (1 + rough * (0.6 * blotches + 0.4 * creases - 0.5))[:, None]
            albedo = torch.where(nail > 0.5, as_row(nails), albedo)
            shine = gloss * (1 + 1.5 * (nail[:, 0] > 0.5))
            if cloth is not None:
                sleeve = (arm > 0.5) & (rest[:, :1] > cuff)
                weave = 0.8 + 0.4 * texture(noise, rest[:, 0] / 0.004, rest[:, 2] / 0.004)
                albedo = torch.where(sleeve, as_row(cloth) * weave[:, None], albedo)
                shine = torch.where(sleeve[:, 0], 0.02, shine)
            return albedo.clamp(0, 1), shine

        return paint


def forearm_tube(rest: Tensor, first: int) -> tuple[Tensor, Tensor]:
    """(vertices (N, 3), faces) of a tube with the cross-section of the hand's open end, which widens towards the elbow
    (+x). first: the number of its first vertex. It begins inside of the hand."""
    end = rest[rest[:, 0] > rest[:, 0].max() - 0.012]
    middle, half = (end.amax(0) + end.amin(0))[1:] / 2, (end.amax(0) - end.amin(0))[1:] / 2
    turn = 2 * torch.pi * torch.arange(RING) / RING
    along = torch.linspace(0, FOREARM, RINGS)
    wide = 0.97 + 0.45 * along / FOREARM
    yz = middle + wide[:, None, None] * half * torch.stack([turn.cos(), turn.sin()], 1)
    x = (rest[:, 0].max() - 0.008 + along)[:, None, None].expand(-1, RING, 1)
    ring, place = torch.meshgrid(torch.arange(RINGS - 1), torch.arange(RING), indexing="ij")
    a, b = ring * RING + place, ring * RING + (place + 1) % RING
    faces = torch.stack([torch.stack([a, b, a + RING], -1), torch.stack([b, b + RING, a + RING], -1)]).reshape(-1, 3)
    return torch.cat([x, yz], -1).reshape(-1, 3).to(rest), faces + first


def _covered(picture: Image, mask: NDArray[np.bool_], rng: np.random.Generator) -> tuple[Image, NDArray[np.bool_]]:
    drawn = occlude(Drawn(picture, mask), rng, most=0.35)
    return drawn.image, drawn.mask

"""Synthetic people as hard as real ones: rare poses, bodies that no shape space holds, labels that mean other points.

    pose, recombined and tumbled or seated  ->  a body with segments of its own  ->  a camera of any pitch and lens
    ->  the points as this person's annotator defines them  ->  their pixels  ->  what happens to them (`label_errors`)

Person n is a function of the seed and n alone. Nothing is rendered. Two truths stand beside the keypoints: the body's
own points as the library defines them, and as they were labelled, 1 to 2 cm away; real people have only the second.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.skeleton import Skeleton
from hmrfit.camera import Camera
from hmrfit.keypoints import flip_permutation
from hmrfit.ops.rotation import quaternion_to_matrix, rotvec_to_matrix
from hmrfit.ops.row_random import RowRandom
from hmrfit.ops.skinning import kinematic_tree
from hmrfit.priors.limits import JointLimits
from hmrfit.synthetic.label_errors import (
    FEWEST,
    at_least_some,
    behind_something,
    behind_table,
    beyond_border,
    blanked,
    borrowed_limb,
    detection_quality,
    face_turned_away,
    hidden,
    mislabelled,
    person_area,
    quality_factor,
    stated_confidence,
)
from hmrfit.synthetic.people import SWAPPED, People, exchange_sides, place_before, view_rotations
from hmrfit.types import BodyParams, Keypoints, TensorRecord


@dataclass(frozen=True)
class Hardness:
    """How much of everything. Single numbers are fractions of the people unless they say otherwise.

    Label noise, segments, definitions, the tenth that is recombined, pitch and lens are as real people were found to
    be. The other amounts were chosen so that the set is hard: two of three people are cut or hidden behind something,
    and one in six has a gross error, as often as detectors make one.
    """

    recombined: float = 0.1  # every limb of another pose, in any orientation
    bent: float = 3.0  # of the recombined, all joints further than in their frames, by up to this factor: gymnasts
    seated: float = 0.2
    table: float = 0.7  # of the seated, their legs hidden by it
    turned_camera: float = 0.3  # of the others, any pitch and a wide roll; the rest are seen as people are
    pitch: tuple[float, float] = (-60.0, 90.0)  # degrees, the camera above (+) or below the person
    usual_pitch: tuple[float, float] = (8.0, 12.0)  # mean and standard deviation, degrees
    roll: float = 30.0  # standard deviation, degrees, of the turned cameras
    usual_roll: float = 4.0
    lens_mm: tuple[float, float] = (14.0, 200.0)  # log-uniform, 35 mm equivalent
    fill: tuple[float, float] = (0.3, 1.5)  # the person's largest extent as a fraction of the image's shorter side
    cut: float = 0.4  # before the image's border
    beyond: float = 0.9  # the largest fraction of those beyond the border
    size: tuple[int, int] = (1024, 768)
    segments: float = 0.05  # standard deviation of every segment's length about the shape space's, left and right alike
    sides: float = 0.01  # the same of each side by itself
    definitions: tuple[float, float] = (0.01, 0.02)  # metres between the labelled point and the body's own
    detected: float = 0.67  # not clicked: half of these say honestly how good each point is, half say too much
    occluded: float = 0.2
    missing: tuple[float, float] = (0.0, 0.2)  # of a person's points, each by itself
    swapped: float = 0.08
    borrowed: float = 0.08  # a limb of another person's


@dataclass(frozen=True)
class HardPeople(TensorRecord):
    """B people with their truth."""

    people: People  # `clean`: the body's own points in the image; `params`: without the segments' own lengths
    points: Tensor  # (B, K, 3) the body's own points, camera frame, metres
    labelled: Tensor  # (B, K, 3) the points that the labels mean
    kinds: dict[str, Tensor]  # what befell a person -> (B,) bool

    def __len__(self) -> int:
        return len(self.labelled)


class HardPeopleMaker:
    """Makes the people of one seed, by number.

    Args:
        body: the points of the keypoint set, in the precision and on the device of the people that are made.
        poses: (N, 24, 3) world poses to draw from, y up, rotation vectors. weight: (N,) how often each is drawn.
        limits: of the joints, none of which is bent further than these or its frame.
    """

    def __init__(
        self,
        body: PointBody,
        poses: Tensor,
        weight: Tensor,
        seed: int = 0,
        how: Hardness | None = None,
        limits: JointLimits | None = None,
    ) -> None:
        self.body, self.poses, self.seed, self.how = body, poses.to(body.rest_joints), seed, how or Hardness()
        self.edges = (weight.double() / weight.double().sum()).cumsum(0).to(body.rest_joints.device)
        self.limits = (limits or JointLimits.none(body.skeleton)).to(body.rest_joints.device)
        owner = body.pair_weight.new_zeros(len(body.names), len(body.parents))
        owner.index_put_((body.pair_point, body.pair_bone), body.pair_weight, accumulate=True)
        self.bone_of_point = owner.argmax(1)

    def people(self, rows: Tensor) -> HardPeople:
        """Those of the numbers `rows` (B,) int64."""
        how, like = self.how, self.body.rest_joints
        random = RowRandom(self.seed, rows.to(like.device))
        recombined = random.chance("recombined", how.recombined)
        seated = ~recombined & random.chance("seated", how.seated)
        turned = random.chance("turned camera", how.turned_camera)
        rotations = rotvec_to_matrix(self.pose(recombined, seated, random))
        view = self.view(recombined, turned, random).to(like)
        betas = random.normal("shape", self.body.joint_shapes.shape[-1]).to(like)
        params = BodyParams(view @ rotations[:, 0], rotations[:, 1:], betas, like.new_zeros(len(rows), 3))
        points, joints, world = self.stretched(self.body.pose(params), random)
        transl, camera = self.placed(points, joints, random)
        points, joints = points + transl[:, None], joints + transl[:, None]
        labelled = points + self.definition_offsets(world, random)
        height = ((points - joints[:, :1]) * view[:, None, :, 1]).sum(-1)
        clean = Keypoints(camera.project(points), like.new_ones(points.shape[:2]), self.body.names)
        exact = replace(clean, xy=camera.project(labelled))
        keypoints, kinds = corrupted(exact, labelled, height, seated, camera.size, how, random)
        people = People(replace(params, transl=transl), camera, clean, keypoints, joints)
        kinds |= {"recombined": recombined, "seated": seated, "turned camera": turned | recombined}
        return HardPeople(people, points, labelled, kinds)

    def frames(self, name: str, random: RowRandom) -> Tensor:
        """(B, 24, 3) poses drawn by their weight."""
        place = torch.searchsorted(self.edges, random.uniform(name)).clamp_max(len(self.poses) - 1)
        return self.poses[place]

    def pose(self, recombined: Tensor, seated: Tensor, random: RowRandom) -> Tensor:
        """(B, 24, 3) world poses: frames, some with every limb of another's, some seated."""
        pose, skeleton = self.frames("pose", random), self.body.skeleton
        for limb in ("left_hip", "right_hip", "left_collar", "right_collar"):
            joints = torch.isin(torch.arange(len(skeleton)), torch.tensor(skeleton.below(limb))).to(pose.device)
            other = self.frames(f"another's {limb}", random)
            pose = torch.where((recombined[:, None] & joints)[..., None], other, pose)
        bent = random.uniform("bent further", low=1.0, high=self.how.bent).to(pose)
        bent = torch.where(recombined, bent, 1.0)[:, None, None]
        pose = torch.cat([pose[:, :1], self.within_limits(pose[:, 1:], bent * pose[:, 1:])], 1)
        return torch.where(seated[:, None, None], sat_down(pose, skeleton, random), pose)

    def within_limits(self, pose: Tensor, bent: Tensor) -> Tensor:
        """Joints (B, J − 1, 3) bent no further than the limits, or than they were."""
        low, high = (bound.view(pose.shape[1:]).to(pose) for bound in (self.limits.lower, self.limits.upper))
        return bent.clamp(torch.minimum(pose, low), torch.maximum(pose, high))

    def view(self, any_way: Tensor, turned: Tensor, random: RowRandom) -> Tensor:
        """(B, 3, 3) world to camera: any orientation, any pitch and wide roll, or as people are photographed."""
        how = self.how
        mean, std = how.usual_pitch
        pitch = torch.where(
            turned,
            random.uniform("pitch", low=how.pitch[0], high=how.pitch[1]),
            (mean + std * random.normal("usual pitch")).clamp(*how.pitch),
        )
        roll = torch.where(turned, how.roll, how.usual_roll) * random.normal("roll")
        heading = random.uniform("heading", low=-math.pi, high=math.pi)
        usual, _ = view_rotations(heading, torch.deg2rad(pitch), torch.deg2rad(roll))
        tumbled = quaternion_to_matrix(random.normal("tumble", 4))
        return torch.where(any_way[:, None, None], tumbled, usual)

    def stretched(self, posed: PosedPoints, random: RowRandom) -> tuple[Tensor, Tensor, Tensor]:
        """(points (B, K, 3), joints (B, J, 3), world rotations) of bodies each of whose segments has its own length.

        f_b scales about joint b all that is fixed to it:  x'_c = x'_b + f_b (x_c − x_b),   u'_b = f_b u_b
        """
        body, J = self.body, len(self.body.parents)
        mirrored = list(body.skeleton.mirror)
        both = random.normal("segments", J)
        own = self.how.segments * (both + both[:, mirrored]) / math.sqrt(2)
        middle = torch.tensor([m == j for j, m in enumerate(mirrored)], device=own.device)
        own = torch.where(middle, own / math.sqrt(2), own) + self.how.sides * random.normal("sides", J)
        factor = (1 + own).to(posed.joints)
        tree = kinematic_tree(body.parents, factor.device)
        bones = (posed.joints - posed.joints[:, tree.up]) * factor[:, tree.up, None]
        joints = posed.joints[:, :1] + tree.ancestors.to(bones) @ bones
        bone, weight = body.pair_bone, body.pair_weight[:, None]
        fixed = factor[:, bone, None] * (posed.pairs - weight * posed.joints[:, bone])
        return body.gather @ (fixed + weight * joints[:, bone]), joints, posed.world

    def placed(self, points: Tensor, joints: Tensor, random: RowRandom) -> tuple[Tensor, Camera]:
        """(translation (B, 3), camera): some of the people cut by the border, with enough points left to be labelled;
        who has not stands in the middle."""
        how, like = self.how, joints
        lens, fill = log_uniform("lens", how.lens_mm, random), random.uniform("fill", low=how.fill[0], high=how.fill[1])
        beyond = torch.where(random.chance("cut", how.cut), how.beyond, 0.0)[:, None]
        across = random.uniform("across", 2, low=-1.0, high=1.0).to(like)
        put = lambda across: place_before(joints, how.size, lens.to(like), fill.to(like), across, beyond.to(like))  # noqa: E731
        (aside, camera), (middle, _) = put(across), put(torch.zeros_like(across))
        seen = Keypoints(camera.project(points + aside[:, None]), points[..., 0], self.body.names)
        enough = (~beyond_border(seen, camera.size)).sum(1) > FEWEST
        return torch.where(enough[:, None], aside, middle), camera

    def definition_offsets(self, world: Tensor, random: RowRandom) -> Tensor:
        """(B, K, 3) metres from the body's own points to what this person's annotator means by them: fixed to the bone
        that carries the point, the right side's as a mirror shows the left's."""
        names = self.body.names
        K, (low, high) = len(names), self.how.definitions
        mirrored = flip_permutation(names)
        first = [min(k, m) for k, m in enumerate(mirrored)]
        away = torch.nn.functional.normalize(random.normal("definition", K, 3), dim=-1)
        away = (away * random.uniform("definition's size", K, 1, low=low, high=high))[:, first]
        sign = torch.tensor([[-1.0 if m < k else 1.0, 1.0, 1.0] for k, m in enumerate(mirrored)], device=away.device)
        return (world[:, self.bone_of_point] @ (away * sign).to(world)[..., None]).squeeze(-1)


def corrupted(
    exact: Keypoints,
    points: Tensor,
    height: Tensor,
    seated: Tensor,
    size: Tensor,
    how: Hardness,
    random: RowRandom,
) -> tuple[Keypoints, dict[str, Tensor]]:
    """(keypoints as a fit gets them, what befell whom).

    Args:
        exact: as labelled, without an error. points: (B, K, 3) the same in the camera frame.
        height: (B, K) metres above the pelvis. seated: (B,) who may sit at a table. size: (B, 2) pixels.
    """
    K = len(exact.names)
    detected = random.chance("detected", how.detected)
    inflated = detected & random.chance("inflated", 0.5)
    table = seated & random.chance("table", how.table)
    occluded = ~table & random.chance("occluded", how.occluded)
    borrowed, swapped = random.chance("borrowed", how.borrowed), random.chance("swapped", how.swapped)
    quality = detection_quality(detected, K, random).to(exact.xy)
    found = mislabelled(exact, person_area(exact), quality_factor(quality), random)
    found = borrowed_limb(found, borrowed, random)
    found = replace(found, confidence=stated_confidence(quality, inflated, ~detected))
    outside = beyond_border(found, size)
    inside = found.confidence * ~outside
    lost = random.uniform("missing", K) < random.uniform("missing share", 1, low=how.missing[0], high=how.missing[1])
    gone = outside | lost | face_turned_away(points, exact.names)
    gone = gone | behind_something(exact, occluded, random) | behind_table(height, table, random)
    found = blanked(at_least_some(hidden(found, gone), inside, random))
    found = exchange_sides(found, swapped, random.integer("where swapped", len(SWAPPED)))
    kinds = {
        "cut by the border": outside.sum(1) >= 2,
        "behind a table": table,
        "occluded": occluded,
        "another's limb": borrowed,
        "sides swapped": swapped,
        "confidence honest": detected & ~inflated,
        "confidence inflated": inflated,
        "confidence flat": ~detected,
    }
    return found, kinds


def sat_down(pose: Tensor, skeleton: Skeleton, random: RowRandom) -> Tensor:
    """(B, J, 3) the same people on a seat: upright or leaning back a little, thighs forward, shanks down; trunk and
    arms stay as they were."""
    seated, degrees = pose.clone(), math.pi / 180
    about_x = lambda name, mean, std: (mean + std * random.normal(name)) * degrees  # noqa: E731
    seated[:, 0] = 0.0
    seated[:, 0, 0] = about_x("lean", -5.0, 8.0).to(pose)
    for side, out in (("left", 1.0), ("right", -1.0)):
        hip, knee, ankle = (skeleton.index(f"{side}_{part}") for part in ("hip", "knee", "ankle"))
        legs = torch.zeros_like(pose[:, hip])
        legs[:, 0] = -about_x(f"{side} hip bent", 85.0, 12.0).to(pose)
        legs[:, 1] = out * about_x(f"{side} hip out", 8.0, 10.0).to(pose)
        seated[:, hip] = legs
        seated[:, knee] = 0.0
        seated[:, knee, 0] = about_x(f"{side} knee bent", 85.0, 20.0).clamp(5 * degrees, 135 * degrees).to(pose)
        seated[:, ankle] = 0.0
    return seated


def log_uniform(name: str, bounds: tuple[float, float], random: RowRandom) -> Tensor:
    """(B,) between the bounds, their logarithms alike."""
    return random.uniform(name, low=math.log(bounds[0]), high=math.log(bounds[1])).exp()

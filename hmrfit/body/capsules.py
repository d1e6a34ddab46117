"""Twenty capsules inside an SMPL-format body, and spheres along them: what SMPLify's interpenetration term looks at.

    length_i = l_i + L_i beta,    radius_i = r_i + R_i beta,    start_i = s_i + S_i beta            (about the joint)
    sphere at fraction f:   o = start_i + f length_i u_i,     posed  c = x_j + G_j o,   j the capsule's joint

(Bogo et al., ECCV 2016, section 3.3.) SMPLify regresses lengths and radii to its shape space once and ships the result
for SMPL; here both are regressed for the body at hand, from its own vertices, skinning weights and shape directions:

    radius   of the circle that fits a part's vertices best, seen along the axis u_i (a linear least squares)
    length   between the joints at both ends of a limb; elsewhere as far as the part reaches, less a radius at each end

over shapes drawn from the unit normal, each number then by least squares on (beta, 1).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hmrfit.body.skeleton import Skeleton
from hmrfit.body.smpl import SmplBody

PARTS: dict[str, tuple[tuple[str, ...], str]] = {
    "hips": (("pelvis",), "x"),
    "left_thigh": (("left_hip",), "left_knee"),
    "right_thigh": (("right_hip",), "right_knee"),
    "spine": (("spine1",), "x"),
    "left_calf": (("left_knee",), "left_ankle"),
    "right_calf": (("right_knee",), "right_ankle"),
    "spine1": (("spine2",), "x"),
    "left_foot": (("left_ankle", "left_foot"), "longest"),
    "right_foot": (("right_ankle", "right_foot"), "longest"),
    "spine2": (("spine3",), "x"),
    "neck": (("neck",), "y"),
    "left_shoulder": (("left_collar",), "x"),
    "right_shoulder": (("right_collar",), "x"),
    "head": (("head",), "y"),
    "left_upper_arm": (("left_shoulder",), "left_elbow"),
    "right_upper_arm": (("right_shoulder",), "right_elbow"),
    "left_forearm": (("left_elbow",), "left_wrist"),
    "right_forearm": (("right_elbow",), "right_wrist"),
    "left_hand": (("left_wrist", "left_hand"), "longest"),
    "right_hand": (("right_wrist", "right_hand"), "longest"),
}
"""SMPLify's capsules in its order: the joints whose vertices they stand for (they move with the first), and where the
axis points: to the next joint, along an axis of the rest pose, or the way the part is longest. A joint that is not
here (fingers, jaw, eyes) belongs to its parent's capsule."""

NAMES = tuple(PARTS)
ENDS: Mapping[str, tuple[bool, bool]] = {
    "left_thigh": (False, True),
    "right_thigh": (False, True),
    "left_upper_arm": (False, False),
    "right_upper_arm": (False, False),
}
"""Where there is no sphere at one of the ends (the hip's, both of the upper arm's): it would lie inside a neighbour."""

SHAPES_A_NUMBER = 4
"""Random shapes for every number of a regression; it has S + 1."""

SHORTEST = 1e-3
"""Metres. Shorter capsules are one sphere."""


@dataclass(frozen=True, eq=False)
class Capsules:
    """Capsules c of a body with S betas, n spheres along them. Metres, the rest pose's axes. The last column of a
    regression is the mean shape's value."""

    joint: Tensor  # (c,) what each moves with
    axis: Tensor  # (c, 3) unit vectors
    start: Tensor  # (c, 3, S + 1) from the joint to the axis' beginning
    length: Tensor  # (c, S + 1) of the axis: the caps reach a radius further
    radius: Tensor  # (c, S + 1)
    sphere_capsule: Tensor  # (n,)
    sphere_fraction: Tensor  # (n,) where along the axis: 0 its start, 1 its end

    def lengths(self, betas: Tensor) -> Tensor:
        """(B, c) metres, not below 0."""
        return _regressed(self.length, betas).clamp_min(0)

    def radii(self, betas: Tensor) -> Tensor:
        """(B, c) metres, at least a fifth of the mean shape's."""
        return torch.maximum(_regressed(self.radius, betas), 0.2 * self.radius[:, -1])

    def starts(self, betas: Tensor) -> Tensor:
        """(B, c, 3) metres about the joints."""
        return _regressed(self.start, betas)

    @property
    def sphere_joint(self) -> Tensor:
        """(n,) the joint that each sphere moves with."""
        return self.joint[self.sphere_capsule]

    def sphere_radii(self, betas: Tensor) -> Tensor:
        """(B, n) metres."""
        return self.radii(betas)[:, self.sphere_capsule]

    def sphere_centers(self, betas: Tensor, joints: Tensor, world: Tensor) -> Tensor:
        """(B, n, 3) of posed joints (B, J, 3) with world rotations (B, J, 3, 3), in the frame of the joints."""
        along = self.sphere_fraction * self.lengths(betas)[:, self.sphere_capsule]
        offset = self.starts(betas)[:, self.sphere_capsule] + along[..., None] * self.axis[self.sphere_capsule]
        joint = self.sphere_joint
        return joints[:, joint] + (world[:, joint] @ offset[..., None]).squeeze(-1)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> "Capsules":
        """The same capsules elsewhere or in another precision."""
        values = (getattr(self, f.name) for f in fields(self))
        return Capsules(*(v.to(device=device, dtype=dtype if v.is_floating_point() else None) for v in values))


_KNOWN: "WeakKeyDictionary[SmplBody, Capsules]" = WeakKeyDictionary()


def capsules_of(body: SmplBody) -> Capsules:
    """The capsules of a body, regressed once and kept as long as the body is.

    Raises:
        ValueError: the body lacks one of the joints that capsules move with, or a part of it vertices.
    """
    if body not in _KNOWN:
        _KNOWN[body] = _regress(body)
    return _KNOWN[body]


def _regressed(coefficients: Tensor, betas: Tensor) -> Tensor:
    """(..., S + 1) at betas (B, S) -> (B, ...)."""
    return torch.einsum("...s,bs->b...", coefficients[..., :-1], betas) + coefficients[..., -1]


def _regress(body: SmplBody) -> Capsules:
    """Measure every capsule on random shapes, and regress what was measured."""
    joints = _joint_indices(body.skeleton)
    S = body.shape_count
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(SHAPES_A_NUMBER * (S + 1), S, generator=generator, dtype=torch.float64).to(body.v_template)
    betas = torch.cat([draws, -draws])  # with their opposites, so that squares do not tilt the slopes
    shaped = torch.cat([body.v_template[None], body.shaped(betas)])  # the mean shape first
    rest = body.J_regressor @ shaped
    area = _vertex_areas(body.v_template, body.faces)
    capsule = torch.tensor(_capsule_of_joints(body.skeleton), device=body.weights.device)[body.weights.argmax(1)]
    axes, measured = [], []
    for i, (name, (owners, direction)) in enumerate(PARTS.items()):
        part = (capsule == i).nonzero()[:, 0]
        if len(part) < 4:
            raise ValueError(
                f"The capsule '{name}' needs vertices that move with {' or '.join(owners)}; this body has {len(part)}. "
                "Is it a whole body?"
            )
        own, end = joints[owners[0]], joints.get(direction)
        axis = _axis(direction, shaped[0, part], area[part], rest[0], joints, own)
        start, length, radius = _measure(shaped[:, part], area[part], axis, rest, end, own)
        axes.append(axis)
        measured.append(torch.cat([start, length[:, None], radius[:, None]], 1)[1:])
    design = torch.cat([betas, torch.ones_like(betas[:, :1])], 1)
    values = torch.stack(measured, 1)  # (N, c, 5)
    fitted = torch.linalg.lstsq(design, values.flatten(1)).solution.unflatten(1, values.shape[1:]).permute(1, 2, 0)
    joint = torch.tensor([joints[owners[0]] for owners, _ in PARTS.values()], device=capsule.device)
    spheres = _spheres(fitted[:, 3, -1].clamp_min(0), fitted[:, 4, -1])
    return Capsules(joint, torch.stack(axes), fitted[:, :3], fitted[:, 3], fitted[:, 4], *spheres)


def _joint_indices(skeleton: Skeleton) -> dict[str, int]:
    """Name -> index of the joints that capsules move with, and of those that their axes run to."""
    needed = dict.fromkeys(name for owners, direction in PARTS.values() for name in (owners[0], direction))
    joints = {name: skeleton.index(name) for name in needed if name in skeleton}
    missing = [owners[0] for owners, _ in PARTS.values() if owners[0] not in joints]
    if missing:
        raise ValueError(
            f"Capsules are laid along the joints of SMPL's body; this body has no {', '.join(missing[:3])}"
            f"{' ...' * (len(missing) > 3)}."
        )
    return joints


def _capsule_of_joints(skeleton: Skeleton) -> list[int]:
    """(J,) which capsule each joint's vertices belong to."""
    named = {name: i for i, (owners, _) in enumerate(PARTS.values()) for name in owners}
    capsules: list[int] = []
    for name, parent in zip(skeleton.names, skeleton.parents, strict=True):
        capsules.append(named.get(name, capsules[parent] if parent >= 0 else -1))
    return capsules


def _vertex_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """(V,) a third of the faces around each, so that dense places count no more than others; never quite 0."""
    corners = vertices[faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1) / 6
    total = vertices.new_zeros(len(vertices)).index_add(0, faces.flatten(), area.repeat_interleave(3))
    return total + 1e-3 * total.mean()


def _axis(direction: str, points: Tensor, area: Tensor, rest: Tensor, joints: Mapping[str, int], own: int) -> Tensor:
    """The unit vector (3,) along a part's points (P, 3), away from its joint where it has a sense."""
    if direction in joints:
        return torch.nn.functional.normalize(rest[joints[direction]] - rest[own], dim=0)
    if direction in ("x", "y"):
        return torch.eye(3).to(points)["xy".index(direction)]
    about = points - (area @ points) / area.sum()
    axis = torch.linalg.eigh((about * area[:, None]).T @ about)[1][:, -1]
    return axis * torch.sign(axis @ (points.mean(0) - rest[own]))


def _measure(
    points: Tensor, area: Tensor, axis: Tensor, rest: Tensor, end: int | None, own: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Start about the joint (N, 3), length (N,) and radius (N,) of the capsule of one part's points (N, P, 3)."""
    center, radius = _circle(points, area, axis)
    if end is not None:
        low, high = rest[:, own] @ axis, rest[:, end] @ axis
    else:
        along = points @ axis
        low, high = along.amin(1) + radius, along.amax(1) - radius
        middle = 0.5 * (low + high)
        low, high = torch.minimum(low, middle), torch.maximum(high, middle)
    return center + low[:, None] * axis - rest[:, own], high - low, radius


def _circle(points: Tensor, area: Tensor, axis: Tensor) -> tuple[Tensor, Tensor]:
    """The circle that fits points (N, P, 3) seen along the axis: centre (N, 3) on the plane through the origin, radius.

    |p - c|² = r² is linear in c and r² - |c|²:  2 p·c + (r² - |c|²) = |p|²  (Kåsa).
    """
    flat = points - (points @ axis)[..., None] * axis
    plane = torch.linalg.svd(axis[None])[2][1:]  # (2, 3)
    q = flat @ plane.T
    middle = (area @ q) / area.sum()
    q = q - middle[:, None]
    rows = torch.cat([2 * q, torch.ones_like(q[..., :1])], -1)
    weighted = rows * area[:, None]
    solved = torch.linalg.solve(weighted.mT @ rows, (weighted.mT @ q.square().sum(-1, keepdim=True))).squeeze(-1)
    center = solved[:, :2]
    radius = (solved[:, 2] + center.square().sum(-1)).clamp_min(0).sqrt()
    return (center + middle) @ plane, radius


def _spheres(length: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """(capsule, fraction) of every sphere: both ends, and floor(length/(2 radius) - 1) between, evenly."""
    capsule: list[int] = []
    fractions: list[float] = []
    for i, name in enumerate(NAMES):
        ends = ENDS.get(name, (True, True))
        between = max(int(length[i] / (2 * radius[i]) - 1), 0)
        inner = [k / (between + 1) for k in range(1, between + 1)]
        found = [0.5] if length[i] < SHORTEST else [0.0] * ends[0] + inner + [1.0] * ends[1]
        capsule += [i] * len(found)
        fractions += found
    return torch.tensor(capsule, device=length.device), torch.tensor(fractions).to(length)

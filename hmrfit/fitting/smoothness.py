"""How smooth a motion is: points carried by every bone, twice differenced in time, and their equations.

    E = 1/2 sum_t |a_t / s|²,      a_t = (x_(t-1) - 2 x_t + x_(t+1)) / dt²

Couples frames t and t' by J_t^T J_t', which is summed over points without the points' Jacobians. Joint j moves the
points p below it by omega x d, d = x_p - x_j, and with k at or above j, w = 1/(s dt²)²,

    B_j  = sum_p w_p [d_j]x^T [d'_j]x  =  tr(A_j) I - A_j^T,       A_j = sum_p w_p d_j d'_j^T,   b_j = sum_p w_p d_j
    (j, k)  =  B_j + (b_j . v) I - v b_j^T,     v = x'_j - x'_k            and alike of j above k, by x_k - x_j and b'_k

a few sums over the points below each joint instead of a product of 3 M rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.skeleton import Skeleton
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import MIN_DEPTH
from hmrfit.fitting.parameters import Layout
from hmrfit.ops.rotation_last import last
from hmrfit.ops.skinning import ancestor_matrix
from hmrfit.types import BodyParams, TensorRecord

ACCELERATION = {
    "knee": 7.0,
    "ankle": 9.0,
    "foot": 12.0,
    "elbow": 5.0,
    "wrist": 7.0,
    "hand": 10.0,
}
"""m/s², root mean square over 94 recorded movements of the training split at 30 frames a second, in a typical one."""

TRUNK_ACCELERATION = 3.0

BANDS = 2
"""How many frames ahead a frame is coupled to."""

MARKER = 0.1
"""Metres from the joint, where the two further points of each bone are."""


@dataclass(frozen=True)
class Poses(TensorRecord):
    """Of the camera in T frames: x_camera = rotation x_world + translation."""

    rotation: Tensor  # (T, 3, 3)
    translation: Tensor  # (T, 3) metres


@dataclass(frozen=True)
class Smoothness:
    """The smoothness residuals: points of every bone, twice differenced in time.

    points: three of every bone, as `bone_points` makes them. scale: (M,) 1/(s dt²), s the points' acceleration.
    depth: z0, metres. poses: of the T frames' camera; None where it stands still somewhere. cuts: the frames,
    ascending, that do not follow on the one before them.
    """

    points: PointBody
    scale: Tensor
    depth: float
    poses: Poses | None = None
    cuts: Sequence[int] = ()

    @classmethod
    def of(
        cls, body: SmplBody, fps: float, depth: float, smooth: float = 1.0, poses: Poses | None = None
    ) -> "Smoothness":
        """For frames 1/fps seconds apart. smooth: multiplies the residuals' weight."""
        fingers = {body.joint_names[j] for joints in body.skeleton.fingers.values() for j in joints}
        names = ["hand" if name in fingers else name for name in body.joint_names]
        limit = [next((v for part, v in ACCELERATION.items() if part in n), TRUNK_ACCELERATION) for n in names]
        scale = torch.tensor(limit).to(body.v_template).reciprocal().repeat_interleave(3) * fps**2
        return cls(bone_points(body), scale * (smooth / 3) ** 0.5, depth, poses)

    def __getitem__(self, part: slice) -> "Smoothness":
        """Of some of the frames, which follow on each other."""
        return replace(self, poses=None if self.poses is None else self.poses[part], cuts=())

    def of_every(self, frames: Tensor) -> "Smoothness":
        """Of some of the frames (n,), evenly apart but for the last, as of a sequence of fewer frames a second."""
        apart = int(frames[1] - frames[0])
        poses = None if self.poses is None else self.poses[frames]
        return replace(self, scale=self.scale / apart**2, poses=poses, cuts=())

    def cost(self, params: BodyParams, part: slice | None = None) -> float:
        """E of the smoothness; of the second differences that begin in a part of the frames."""
        first, stop = (0, len(params)) if part is None else (part.start, min(part.stop + 2, len(params)))
        there = slice(first, stop)
        kept = within(len(params), self.cuts)[first : stop - 2, None, None] if stop - first > 2 else None
        if kept is None:
            return 0.0
        return float(0.5 * (self[there].scaled_of(params[there]).diff(n=2, dim=0).square() * kept).sum())

    def scaled_of(self, params: BodyParams) -> Tensor:
        """x / (s dt²) (T, M, 3)."""
        return self.scaled(*self._posed(params))

    def _posed(self, params: BodyParams) -> tuple[PosedPoints, Tensor]:
        """The mean shape's points about the pelvis, and where the pelvis is (T, 3), metres."""
        still = torch.zeros_like(params.transl) - self.points.rest_joints[0]
        posed = self.points.pose(replace(params, betas=torch.zeros_like(params.betas), transl=still))
        return posed, params.transl + self.points.rest_joints[0]

    def scaled(self, posed: PosedPoints, pelvis: Tensor) -> Tensor:
        """x / (s dt²) (T, M, 3)."""
        if self.poses is not None:
            about = posed.points + (pelvis - self.poses.translation)[:, None]
            return (about @ self.poses.rotation) * self.scale[:, None]
        z = pelvis[:, 2:].clamp_min(MIN_DEPTH)
        path = self.depth * torch.cat([pelvis[:, :2] / z, z.log()], -1)
        return (posed.points + path[:, None]) * self.scale[:, None]

    def around(self, params: BodyParams, layout: Layout, part: slice) -> "Around":
        """What the equations of a part of the frames are made of."""
        T = len(params)
        wide = slice(max(part.start - BANDS, 0), min(part.stop + BANDS, T))
        carried, x = self[wide].carried(params[wide], layout)
        pull = banded_product(stencil(T, self.cuts)[:, wide].to(x), x)
        own = slice(part.start - wide.start, part.stop - wide.start)
        begin = slice(part.start, min(part.stop, T - BANDS))
        accelerated = x[own.start : own.start + max(begin.stop - begin.start, 0) + BANDS].diff(n=2, dim=0)
        cost = float(0.5 * (accelerated.square() * within(T, self.cuts)[begin, None, None]).sum())
        return Around(carried[own], carried[own.start :], cost, carried[own].pulled(pull[own]))

    def path_derivative(self, pelvis: Tensor) -> Tensor:
        """(T, 3, 3): how the pelvis's translation moves all points."""
        eye = torch.eye(3).to(pelvis)
        if self.poses is not None:
            return eye.expand(len(pelvis), 3, 3)
        z = pelvis[:, 2, None, None].clamp_min(MIN_DEPTH)
        return self.depth / z * (eye - eye[2] * (pelvis / z[:, 0])[..., None] * (1 - eye[2])[:, None])

    def carried(self, params: BodyParams, layout: Layout) -> tuple["Carried", Tensor]:
        """(what the equations of these frames are made of, x / (s dt²) (T, M, 3))."""
        posed, pelvis = self._posed(params)
        below = Below.of(self.points.skeleton, tuple(layout.rotating_index.tolist()))
        return self._carried(posed, pelvis, below, layout.moves("transl")), self.scaled(posed, pelvis)

    def _carried(self, posed: PosedPoints, pelvis: Tensor, below: "Below", moves: bool) -> "Carried":
        path = self.path_derivative(pelvis) if moves else None
        joints = posed.joints[:, below.joints]
        square = self.scale.square()
        moment = below.carries.mT @ (square[:, None] * posed.points)
        weight = below.carries.mT @ square
        world = None if self.poses is None else self.poses.rotation
        return Carried(
            posed.points, joints, moment - weight[:, None] * joints, moment, path, world, self.scale, weight, below
        )


@dataclass(frozen=True)
class Below:
    """Which points each of n turning joints carries, and which of these joints are on one chain."""

    joints: Tensor  # (n,)
    carries: Tensor  # (M, n) 1 where point p is at or below joint j
    first: Tensor  # (P,) j, and
    second: Tensor  # (P,) k of the ordered pairs of joints on one chain, places among the n
    lower: Tensor  # (P,) the lower one of the two
    down: int  # of so many pairs, the first ones, j is at or below k

    @staticmethod
    @lru_cache
    def of(skeleton: Skeleton, joints: tuple[int, ...]) -> "Below":
        """For the points of `bone_points`; made once."""
        index = torch.tensor(joints, dtype=torch.int64)
        above = ancestor_matrix(skeleton.parents).double()
        under = above[index][:, index] > 0  # (j, k) is j at or below k?
        down, up = under.nonzero(), (under.T & ~under).nonzero()
        first, second = torch.cat([down, up]).unbind(1)
        lower = torch.cat([down[:, 0], up[:, 1]])
        return Below(index, above[:, index].repeat_interleave(3, 0), first, second, lower, len(down))

    def entries(self, first: int) -> Tensor:
        """(9 P,) where the pairs' blocks (3, 3, P) lie in a matrix whose first joint has the column `first`."""
        N, axis = first + 3 * len(self.joints), torch.arange(3)[:, None]
        rows, columns = first + 3 * self.first + axis, first + 3 * self.second + axis
        return (rows[:, None] * N + columns).flatten()


@dataclass(frozen=True)
class Carried:
    """Frames of a motion, as their equations need them; see the module.

    points: (T, M, 3) x. joints: (T, n, 3) x_j. lever: (T, n, 3) b_j. moment: (T, n, 3) sum_p w_p x_p. path: (T, 3, 3)
    by which the pelvis's translation moves all points; None where it does not. world: (T, 3, 3) the cameras' rotations,
    where the world is known. scale: (M,) the root of w. weight: (n,) sum_p w_p.
    """

    points: Tensor
    joints: Tensor
    lever: Tensor
    moment: Tensor
    path: Tensor | None
    world: Tensor | None
    scale: Tensor
    weight: Tensor
    below: Below

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, part: slice) -> "Carried":
        """Some of the frames."""
        of = lambda values: None if values is None else values[part]  # noqa: E731
        return replace(
            self,
            points=self.points[part],
            joints=self.joints[part],
            lever=self.lever[part],
            moment=self.moment[part],
            path=of(self.path),
            world=of(self.world),
        )

    @classmethod
    def cat(cls, parts: Sequence["Carried"]) -> "Carried":
        """Frames of one motion after each other; last in memory, as `product` wants them."""

        last = lambda name: torch.cat([getattr(one, name).permute(2, 1, 0) for one in parts], 2).permute(2, 1, 0)  # noqa: E731
        some = lambda name: torch.cat([getattr(one, name) for one in parts])  # noqa: E731
        return replace(
            parts[0],
            points=last("points"),
            joints=last("joints"),
            lever=last("lever"),
            moment=last("moment"),
            path=None if parts[0].path is None else some("path"),
            world=None if parts[0].world is None else some("world"),
        )

    def _seen_from(self, other: "Carried") -> tuple["Carried", Tensor | None]:
        """(these frames turned into the cameras of others', the turns), as far as there is a world."""
        if self.world is None or other.world is None:
            return self, None
        turn = other.world @ self.world.mT
        points, joints, lever, moment = (part @ turn.mT for part in (self.points, self.joints, self.lever, self.moment))
        path = None if self.path is None else turn @ self.path
        return replace(self, points=points, joints=joints, lever=lever, moment=moment, path=path), turn

    def product(self, later: "Carried", factor: Tensor) -> Tensor:
        """factor (T,) times J^T J' (T, N, N) of these frames and as many others, N the columns without the betas'."""
        later, turn = later._seen_from(self)
        (T, n), first = self.joints.shape[:2], 0 if self.path is None else 3
        N = first + 3 * n
        entries = self.points.new_zeros(N * N, T)
        entries.index_copy_(0, self.below.entries(first), self._pairs(later).mul_(factor).flatten(0, 2))
        if self.path is not None and later.path is not None:
            self._add_path(entries.view(N, N, T), later, factor)
        whole = entries.T.contiguous().view(T, N, N)
        if turn is not None:
            own = whole[:, :, first:].unflatten(2, (n, 3))
            own.copy_(own @ turn[:, None])
        return whole

    def _add_path(self, entries: Tensor, later: "Carried", factor: Tensor) -> None:
        """The rows and columns (N, N, T) of the pelvis's translation: P^T P', -P^T [b']x and [b]x P', column by column
        of P the cross products p × b' and b × p'."""
        assert self.path is not None and later.path is not None
        path, ways = (last(part) * factor for part in (self.path, later.path))  # (3, 3, T)
        total = self.scale.square().sum() * (last(self.path)[:, :, None] * ways[:, None]).sum(0)
        entries[:3, :3] = total
        n = self.joints.shape[1]
        lever, behind = (part.permute(1, 2, 0) for part in (later.lever, self.lever))  # (n, 3, T)
        ahead, back = entries[:3, 3:].unflatten(1, (n, 3)), entries[3:, :3].unflatten(0, (n, 3))
        for r, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
            torch.mul(path[k, :, None], lever[None, :, j], out=ahead[:, :, r])
            ahead[:, :, r].addcmul_(path[j, :, None], lever[None, :, k], value=-1)
            torch.mul(behind[:, j, None], ways[k], out=back[:, r])
            back[:, r].addcmul_(behind[:, k, None], ways[j], value=-1)

    def _pairs(self, later: "Carried") -> Tensor:
        """(3, 3, P, T) of every pair of joints on one chain; frames come last, which are many."""
        own, scale = self.below, self.scale[:, None]
        last = lambda part: part.permute(2, 1, 0).contiguous()  # noqa: E731  (3, ., T)
        x, y = last(self.points) * scale, last(later.points) * scale
        joints, lever, moment = last(self.joints), last(self.lever), last(self.moment)
        later_joints, later_lever = last(later.joints), last(later.lever)
        A = own.carries.T @ (y[:, None] * x)  # (3, 3, n, T): A_j^T, once the joint's place is taken off
        A -= later_joints[:, None] * moment
        A -= later_lever[:, None] * joints
        trace = A[0, 0] + A[1, 1] + A[2, 2]
        B = A.neg_()
        B.diagonal(dim1=0, dim2=1).add_(trace[..., None])
        m, (j, k) = own.down, (own.first, own.second)
        u = torch.cat([lever[:, j[:m]], joints[:, k[m:]] - joints[:, j[m:]]], 1)
        v = torch.cat([later_joints[:, j[:m]] - later_joints[:, k[:m]], later_lever[:, k[m:]]], 1)
        found = B[:, :, own.lower].addcmul_(v[:, None], u, value=-1)
        found.diagonal(dim1=0, dim2=1).add_((u * v).sum(0)[..., None])
        return found

    def pulled(self, pull: Tensor) -> Tensor:
        """J^T q (T, N) of numbers q (T, M, 3) on the scaled points."""
        if self.world is not None:
            pull = pull @ self.world.mT
        force = self.scale[:, None] * pull
        torque = self.below.carries.mT @ torch.linalg.cross(self.points, force, dim=-1)
        torque = torque - torch.linalg.cross(self.joints, self.below.carries.mT @ force, dim=-1)
        turning = torque.flatten(1)
        if self.path is None:
            return turning
        return torch.cat([(force.sum(1)[:, None] @ self.path).squeeze(1), turning], 1)


@dataclass(frozen=True)
class Around:
    """Of m frames: themselves and those after them, E of the second differences that begin with them, and the
    gradient (m, N) of all that they are in."""

    carried: Carried | None
    after: Carried | None
    cost: float
    gradient: Tensor | None

    @classmethod
    def of_cost(cls, cost: float) -> "Around":
        """E alone."""
        return cls(None, None, cost, None)

    def products(self, factors: Sequence[Tensor]) -> list[Tensor]:
        """Of k = 0, 1, ..: factor (n_k,) times J^T J' of the first n_k frames and those k later; all in one call."""
        assert self.carried is not None and self.after is not None
        own = [self.carried[: len(factor)] for factor in factors]
        later = [self.after[k : k + len(factor)] for k, factor in enumerate(factors)]
        found = Carried.cat(own).product(Carried.cat(later), torch.cat(list(factors)))
        return list(found.split([len(factor) for factor in factors]))


def bone_points(body: SmplBody) -> PointBody:
    """Three points of every bone (3 J): its joint, and MARKER away along the bone's own x and z."""
    J, S = len(body.parents), body.shape_count
    bone = torch.arange(J).repeat_interleave(3)
    offset = MARKER * torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 1]]).repeat(J, 1).to(body.v_template)
    zeros = offset.new_zeros
    return PointBody(
        [f"{name}_{i}" for name in body.joint_names for i in range(3)],
        body.skeleton,
        body.rest_joints,
        body.joint_shapes,
        torch.arange(3 * J),
        bone,
        torch.ones_like(offset[:, 0]),
        offset,
        zeros(3 * J, 3, S),
        zeros(3 * J, 3, 9 * (J - 1)),
    )


def within(count: int, cuts: Sequence[int]) -> Tensor:
    """(T - 2,) bool: are frames t, t + 1, t + 2 consecutive?"""
    kept = torch.ones(max(count - 2, 0), dtype=torch.bool)
    for cut in cuts:
        kept[max(cut - 2, 0) : cut] = False
    return kept


def stencil(count: int, cuts: Sequence[int] = ()) -> Tensor:
    """(3, T): the diagonals of D^T D, D the second differences of T frames; (k, t) is between t and t + k."""
    D, kept = torch.zeros(3, count, dtype=torch.float64), within(count, cuts).double()
    for place, coefficient in enumerate((1.0, -2.0, 1.0)):
        for other, second in enumerate((1.0, -2.0, 1.0)):
            if other >= place:
                D[other - place, place : count - 2 + place] += coefficient * second * kept
    return D


def banded_product(G: Tensor, x: Tensor) -> Tensor:
    """The symmetric banded matrix of `stencil` times x (T, ...)."""
    shape = (-1, *[1] * (x.ndim - 1))
    total = G[0].view(shape) * x
    for k in (1, 2):
        between = G[k, : len(x) - k].view(shape)
        total[:-k] += between * x[k:]
        total[k:] += between * x[:-k]
    return total

"""The default energy of the frames of a sequence, and their smoothness, with frames last in memory.

The terms that `hmrfit.fitting.people_last` knows are computed there, of frames that share their shape; other terms of a
stage as ever, and added.
"""

from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.camera import MIN_DEPTH
from hmrfit.fitting.energy import StageProblem
from hmrfit.fitting.parameters import Layout, State
from hmrfit.fitting.people_last import PeopleLast
from hmrfit.fitting.posed_last import Sums
from hmrfit.fitting.smoothness import BANDS, Around, Below, Carried, Smoothness, within
from hmrfit.fitting.solver import BatchedSystem
from hmrfit.ops.rotation_last import cross, first, last, turned


class FramesLast:
    """The energy of a stage's frames and their smoothness, a piece at a time.

    Args:
        frames: all of them. people: the terms that are known with frames last. motion: their smoothness, where there is
            one.
    """

    def __init__(self, frames: StageProblem, people: PeopleLast, motion: Smoothness | None) -> None:
        self.frames, self.people, self.layout, self.motion = frames, people, frames.layout, motion
        others = people.others
        self.others = replace(frames.stage, weights=others, warm_up={}, rank_by=()) if others else None
        self.smooth = None if motion is None or motion.poses is not None else SmoothFrames(motion, frames.layout)

    @classmethod
    def of(cls, frames: StageProblem, motion: Smoothness | None) -> "FramesLast | None":
        """None where `PeopleLast` has no such form."""
        people = PeopleLast.of(frames.body, frames.layout, frames.terms, frames.stage.weights)
        return None if people is None else cls(frames, people, motion)

    def cost(self, state: State, part: slice) -> float:
        """E of some of the frames, and of the second differences that begin there."""
        sums, around = self._at(state, part, None)
        return float(sums.cost.sum()) + (0.0 if around is None else around.cost)

    def linearize(
        self, state: State, part: slice, kind: torch.dtype = torch.float64
    ) -> tuple[BatchedSystem, Around | None]:
        """(each frame's own equations, what those of the smoothness are made of). kind: of the numbers in the Hessian
        and in what it is made of; where they are single, the gradient has seven digits."""
        sums, around = self._at(state, part, kind)
        assert sums.hessian is not None
        return BatchedSystem(sums.cost, sums.gradient, sums.hessian), around

    def _at(self, state: State, part: slice, kind: torch.dtype | None) -> tuple[Sums, Around | None]:
        """kind: None where E alone is wanted."""
        T, motion = len(state), self.motion
        smooth = motion is not None and T > BANDS
        wide = slice(max(part.start - BANDS, 0), min(part.stop + BANDS, T)) if smooth and self.smooth else part
        params = state.params[wide]
        rotations, transl = last(params.rotations), last(params.transl)
        world = self.people.world_of(rotations)
        own = slice(part.start - wide.start, part.stop - wide.start)
        around = None
        if smooth and motion is not None:
            if self.smooth is not None:
                around = self.smooth.around(world, transl, part, wide, T, kind)
            else:
                around = motion.around(state.params, self.layout, part)
        cut = lambda values: values[..., own].contiguous()  # noqa: E731
        one_shape = last(params.betas[own.start : own.start + 1])
        posed = self.people.pose(cut(rotations), cut(world), cut(transl), one_shape)
        frames, those = self.frames.select(part), state[part]
        sums = self.people.sums(posed, those, frames.observation, kind)
        if self.others is not None:
            self._add_others(frames, those, sums)
        return sums, around

    def _add_others(self, frames: StageProblem, state: State, sums: Sums) -> None:
        """The terms that are not known here."""
        assert self.others is not None
        rest = frames.with_stage(self.others)
        if sums.hessian is None:
            sums.cost += rest.cost_at(state)
            return
        system = rest.linearize(state)
        sums.cost, sums.gradient, sums.hessian = (
            sums.cost + system.cost,
            sums.gradient + system.gradient,
            sums.hessian + system.hessian,
        )


class SmoothFrames:
    """`Smoothness.around` with frames last, for a camera that stands still."""

    def __init__(self, motion: Smoothness, layout: Layout) -> None:
        points = motion.points
        self.motion, self.points, self.moves = motion, points, layout.moves("transl")
        self.below = Below.of(points.skeleton, tuple(layout.rotating_index.tolist()))
        self.below_single = replace(self.below, carries=self.below.carries.float())
        bones = points.rest_joints - points.rest_joints[points.up]
        self.bones = bones[..., None]  # that of the root is 0: the pelvis is where the points are seen from

    def around(
        self, world: Tensor, transl: Tensor, part: slice, wide: slice, T: int, kind: torch.dtype | None
    ) -> Around:
        """world: (J, 3, 3, t), transl: (3, t) of the frames of `wide`. kind: of the numbers of the Hessian; None: E
        alone."""
        motion, body, t = self.motion, self.points, transl.shape[-1]
        along = turned(world.index_select(0, body.up), self.bones)
        joints = (body.above @ along.flatten(1)).view_as(along)
        points = turned(world.index_select(0, body.pair_bone), body.offset[..., None])
        points.addcmul_(joints.index_select(0, body.pair_bone), body.pair_weight[:, None, None])
        pelvis = transl + body.rest_joints[0][:, None]
        z = pelvis[2:].clamp_min(MIN_DEPTH)
        path = motion.depth * torch.cat([pelvis[:2] / z, z.log()])
        scale = motion.scale[:, None, None]
        x = (points + path) * scale
        kept = within(T, motion.cuts)[wide.start : max(wide.stop - BANDS, 0)].to(x)
        pull = x.new_zeros(*x.shape[:2], t + BANDS)  # the second differences, two frames later
        accelerated = pull[..., BANDS:t]
        torch.sub(x[..., 2:], x[..., 1:-1], out=accelerated)
        accelerated -= x[..., 1:-1]
        accelerated += x[..., :-2]
        accelerated *= kept
        begin = slice(part.start - wide.start, min(part.stop, T - BANDS) - wide.start)
        cost = 0.5 * float(accelerated[..., begin].square().sum()) if begin.stop > begin.start else 0.0
        if kind is None:
            return Around.of_cost(cost)
        force = pull[..., 2:] - pull[..., 1:-1]
        force -= pull[..., 1:-1]
        force += pull[..., :-2]
        force *= scale
        below = self.below
        own = joints.index_select(0, below.joints)
        carries, square = below.carries.T, motion.scale.square()
        torque = (carries @ cross(points, force).flatten(1)).view_as(own)
        torque -= cross(own, (carries @ force.flatten(1)).view_as(own))
        moment = ((carries * square) @ points.flatten(1)).view_as(own)
        weight = carries @ square
        gradient = first(torque).flatten(1)
        ways = motion.path_derivative(pelvis.T) if self.moves else None
        if ways is not None:
            gradient = torch.cat([(force.sum(0).T[:, None] @ ways).squeeze(1), gradient], 1)
        frames = lambda values: values.to(kind).permute(2, 0, 1)  # noqa: E731  first in name, last in memory
        carried = Carried(
            points=frames(points),
            joints=frames(own),
            lever=frames(moment - weight[:, None, None] * own),
            moment=frames(moment),
            path=None if ways is None else ways.to(kind),
            world=None,
            scale=motion.scale.to(kind),
            weight=weight,
            below=below if kind == torch.float64 else self.below_single,
        )
        there = slice(part.start - wide.start, part.stop - wide.start)
        return Around(carried[there], carried[there.start :], cost, gradient[there])

"""The default energy of many people with the people last in memory: the numbers of `StageProblem.linearize` in half of
its time, of single numbers in a quarter.

The operations are those of `hmrfit.ops.rotation_last`. Only what is multiplied as large matrices, a person's rows and
what goes together in the anchor, comes person by person. Where all are frames of one person with one shape, rest joints
and offsets are those of one body.

The terms are those of the default fit: keypoints with Student's t, the anchor, and the joint limits; of hands those of
`hmrfit.fitting.hands_last`. `others` are the stage's remaining ones, for the caller to add.
"""

from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.camera import MIN_DEPTH
from hmrfit.fitting.hands_last import TermLast, term_last
from hmrfit.fitting.parameters import GROUPS, Layout, Observation, State
from hmrfit.fitting.posed_last import Log, PosedFrames, Sums
from hmrfit.fitting.solver import BatchedSystem
from hmrfit.fitting.terms.anchor import AnchorPrior
from hmrfit.fitting.terms.base import Term
from hmrfit.fitting.terms.joint_limits import JointLimitPrior
from hmrfit.fitting.terms.reprojection import StudentReprojection
from hmrfit.ops.rotation_last import (
    cross,
    first,
    last,
    log,
    mT_product,
    product,
    product_mT,
    right_jacobian_inverse,
    turned,
)
from hmrfit.ops.skinning import kinematic_tree

KNOWN = (StudentReprojection, AnchorPrior, JointLimitPrior)


def kind_of(term: Term) -> type[Term] | None:
    """Which of the known terms this is; a subclass is none of them."""
    return type(term) if type(term) in KNOWN else None


class PeopleLast:
    """The known terms of a stage.

    Args:
        terms, weights: by name, all of the stage's.
    """

    def __init__(
        self, body: PointBody, layout: Layout, terms: Mapping[str, Term], weights: Mapping[str, float]
    ) -> None:
        self.body, self.layout, self.rows = body, layout, _rows_of(body, layout)
        self.tree = kinematic_tree(body.parents, body.rest_joints.device)
        self.terms: dict[type[Term], tuple[Term, float]] = {}
        self.of_hands: list[TermLast] = []
        self.others: dict[str, float] = {}
        for name, weight in weights.items():
            kind = kind_of(terms[name])
            if weight and kind is not None:
                self.terms[kind] = terms[name], weight
            elif weight and (of_hand := term_last(terms[name], weight, layout)) is not None:
                self.of_hands.append(of_hand)
            elif weight:
                self.others[name] = weight
        self.by_theta = JointLimitPrior in self.terms or any(term.by_theta for term in self.of_hands)

    @classmethod
    def of(
        cls, body: PointBody, layout: Layout, terms: Mapping[str, Term], weights: Mapping[str, float]
    ) -> "PeopleLast | None":
        """None where the stage is not such as the module describes: keypoints count, and every group moves."""
        kinds = [kind for name, weight in weights.items() if weight and (kind := kind_of(terms[name]))]
        plain = len(set(kinds)) == len(kinds) and StudentReprojection in kinds
        like = body.rest_joints
        here = like.dtype == torch.float64 and not like.is_cuda
        return cls(body, layout, terms, weights) if plain and here and all(map(layout.moves, GROUPS)) else None

    def linearize(self, state: State, observation: Observation) -> BatchedSystem:
        """Cost, gradient and Hessian of the known terms."""
        sums = self.sums(self._at(state), state, observation, torch.float64)
        assert sums.hessian is not None
        return BatchedSystem(sums.cost, sums.gradient, sums.hessian)

    def cost(self, state: State, observation: Observation) -> Tensor:
        """(B,) that of the known terms alone."""
        return self.sums(self._at(state), state, observation, None).cost

    def sums(self, posed: PosedFrames, state: State, observation: Observation, kind: torch.dtype | None) -> Sums:
        """What the known terms add up to.

        Args:
            posed: the people of `state`. kind: of the numbers in the Hessian and in what it is made of; where they are
                single, the gradient has seven digits. None: the cost alone.
        """
        count, turning = len(state), len(self.layout.rotating)
        zeros = lambda *shape: posed.points.new_zeros(*shape, count)  # noqa: E731
        sums = Sums(zeros(), zeros(self.layout.columns).T.contiguous(), None)
        self._add_keypoints(posed, observation, state, sums, kind)
        blocks = None if kind is None else zeros(turning, 3, 3)
        phi, posed.theta = self._logs(posed, observation)
        self._add_anchor(phi, posed, observation, state, sums, blocks)
        self._add_limits(posed.theta, posed, sums, blocks)
        for term in self.of_hands:
            term.add(posed, sums, kind)
        if sums.hessian is not None and blocks is not None:
            add_blocks(sums.hessian, self.layout.slice("global_orient").start, first(blocks))
        return sums

    def _at(self, state: State) -> PosedFrames:
        params = state.params
        rotations = last(params.rotations)
        return self.pose(rotations, self.world_of(rotations), last(params.transl), last(params.betas))

    def world_of(self, rotations: Tensor) -> Tensor:
        """G (J, 3, 3, B), level by level of the tree."""
        tree = self.tree
        root, *rest = rotations.index_select(0, tree.by_level).split(tree.level_sizes)
        placed = [root]
        for above, local in zip(tree.above, rest, strict=True):
            placed.append(product(placed[-1].index_select(0, above), local))
        return torch.cat(placed).index_select(0, tree.place)

    def pose(self, rotations: Tensor, world: Tensor, transl: Tensor, betas: Tensor) -> PosedFrames:
        """Bodies of these betas (S, B), or of one shape (S, 1), their world rotations known."""
        body, B = self.body, transl.shape[-1]
        bones = body.rest_joints[..., None] + body.joint_shapes @ betas
        bones = torch.cat([bones[:1], (bones - bones.index_select(0, body.up))[1:]])
        offset = body.offset[..., None] + body.offset_shapes @ betas
        along = turned(world.index_select(0, body.up), bones)
        along[0] = bones[0]
        joints = (body.above @ along.flatten(1)).view_as(along) + transl
        if len(body.active_pairs):
            feature = rotations.index_select(0, body.active_joints) - body.eye[..., None]
            change = body.offset_poses.flatten(2).flatten(0, 1) @ feature.view(-1, B)
            offset = offset.expand(-1, -1, B).index_add(0, body.active_pairs, change.view(-1, 3, B))
        pairs = turned(world.index_select(0, body.pair_bone), offset)
        pairs.addcmul_(joints.index_select(0, body.pair_bone), body.pair_weight[:, None, None])
        points = (body.gather @ pairs.flatten(1)).view(-1, 3, B).addcmul_(body.missing_weight[..., None], transl)
        return PosedFrames(rotations, world, joints, pairs, points, betas)

    def _add_keypoints(
        self, posed: PosedFrames, observation: Observation, state: State, sums: Sums, kind: torch.dtype | None
    ) -> None:
        """As `StudentReprojection`."""
        term, weight = self.terms[StudentReprojection]
        assert isinstance(term, StudentReprojection)
        seen, points = observation, posed.points
        noise = term.sigma if seen.noise is None else seen.noise
        unit = last((1 / (noise * seen.box_size[:, None])).expand_as(seen.keypoints.confidence))
        root = last(seen.weights.sqrt())
        focal, center, xy = last(state.camera.focal), last(state.camera.center), last(seen.keypoints.xy)
        depth = points[:, 2, None].clamp_min(MIN_DEPTH)
        scale = focal / depth  # (K, 2, B)
        flat = scale * points[:, :2]
        white = (flat + center - xy) * unit[:, None]
        square = (white * white).sum(1)
        if term.nu == torch.inf:
            g, slope = torch.ones_like(square), torch.ones_like(square)
        else:
            z = square / term.nu
            small = z < 1e-8
            safe = torch.where(small, 1.0, z)
            g, slope = torch.where(small, 1 - 0.25 * z, (safe.log1p() / safe).sqrt()), 1 / (1 + z)
        residuals = (weight**0.5 * root * g)[:, None] * white  # (K, 2, B)
        sums.cost += 0.5 * residuals.square().sum((0, 1))
        if kind is None:
            return
        sink = torch.where(points[:, 2, None] > MIN_DEPTH, -flat / depth, 0.0)  # of the pixel, as a point goes away
        radial = (slope / g - g) / square.clamp_min(1e-12)
        pulled = torch.cat([white * scale, (white * sink).sum(1, keepdim=True)], 1)  # white . dPi
        strength = weight**0.5 * root * unit
        a = (strength * radial)[:, None, None] * pulled[:, :, None] * white[:, None]  # (K, 3, 2, B)
        direct = (strength * g)[:, None]
        a[:, 2] += direct * sink
        for axis in range(2):
            a[:, axis, axis] += (direct * scale)[:, axis]
        rows = self.rows.of(posed.to(kind), a.to(kind))
        sums.hessian = rows.mT @ rows
        sums.gradient += (first(residuals.flatten(0, 1)).to(kind)[:, None] @ rows)[:, 0]

    def _logs(self, posed: PosedFrames, observation: Observation) -> tuple[Log, Log]:
        """(φ of the turning joints, log R of the body joints), where a term looks at them; in one call."""
        anchor, turning = observation.anchor, self.layout.rotating_index
        n = len(turning) if AnchorPrior in self.terms and anchor is not None else 0
        wanted = [posed.rotations[1:]] if self.by_theta else []
        if n and anchor is not None:
            theirs = last(anchor.rotations[:, turning])
            wanted.insert(0, mT_product(theirs, posed.rotations.index_select(0, turning)))
        if not wanted:
            nothing = posed.points[:0], posed.points[:0, 0]
            return nothing, nothing
        v, angle = log(torch.cat(wanted))
        return (v[:n], angle[:n]), (v[n:], angle[n:])

    def _add_anchor(
        self, phi: Log, posed: PosedFrames, observation: Observation, state: State, sums: Sums, blocks: Tensor | None
    ) -> None:
        """As `AnchorPrior`."""
        anchor = observation.anchor
        if AnchorPrior not in self.terms or anchor is None:
            return
        weight, layout, params = self.terms[AnchorPrior][1], self.layout, state.params
        anchor = anchor.prepared(layout.chart)
        assert anchor.common is not None
        turning, n = layout.rotating_index, len(layout.rotating)
        about = last(anchor.world[:, turning])
        error = torch.cat([first(turned(about, phi[0])).flatten(1), params.betas - anchor.betas], 1)
        precision = anchor.scale[:, layout.chart] ** -2
        together = torch.baddbmm(
            (error * precision)[..., None], anchor.common, (error[:, None] @ anchor.common).mT, alpha=-1
        )
        pull = together[..., 0]
        away = (params.transl - anchor.transl) / anchor.transl_std
        sums.cost += 0.5 * weight * ((pull * error).sum(1) + away.square().sum(1))
        if blocks is None or sums.hessian is None:
            return
        start = layout.slice("global_orient").start
        T = product_mT(product(about, right_jacobian_inverse(*phi)), posed.world.index_select(0, turning))
        pulled = first(turned(T.transpose(1, 2), last(pull[:, : 3 * n]).view(n, 3, -1))).flatten(1)
        sums.gradient[:, start : start + 3 * n] += weight * pulled
        sums.gradient[:, start + 3 * n :] += weight * pull[:, 3 * n :]
        sums.gradient[:, :start] += weight * away / anchor.transl_std
        common = anchor.common.to(sums.hessian)
        moved, by_joint = torch.empty_like(common), first(T).to(common)[..., None]  # (B, n, 3, 3, 1)
        theirs, ours = (part[:, : 3 * n].unflatten(1, (n, 3)) for part in (common, moved))
        torch.mul(by_joint[:, :, 0], theirs[:, :, 0, None], out=ours)  # Tᵀ A, row by row: each has the rank's numbers
        ours.addcmul_(by_joint[:, :, 1], theirs[:, :, 1, None]).addcmul_(by_joint[:, :, 2], theirs[:, :, 2, None])
        moved[:, 3 * n :] = common[:, 3 * n :]
        sums.hessian[:, start:, start:].baddbmm_(moved, moved.mT, alpha=-weight)
        diagonal = sums.hessian.diagonal(dim1=1, dim2=2)
        diagonal[:, start + 3 * n :] += weight * precision[:, 3 * n :]
        diagonal[:, :start] += weight * anchor.transl_std**-2
        strength = last(weight * precision[:, : 3 * n]).view(n, 3, 1, -1)
        blocks += mT_product(T, strength * T)

    def _add_limits(self, found: Log, posed: PosedFrames, sums: Sums, blocks: Tensor | None) -> None:
        """As `JointLimitPrior`: mostly nobody is outside."""
        if JointLimitPrior not in self.terms:
            return
        term, weight = self.terms[JointLimitPrior]
        assert isinstance(term, JointLimitPrior)
        limits = term.limits
        theta, angle = found
        low, high = (limit.view(-1, 3, 1) for limit in (limits.lower, limits.upper))
        r = ((theta - high).clamp_min(0) + (theta - low).clamp_max(0)) / limits.softness
        outside = (r != 0).flatten(1).any(1)
        if not bool(outside.any()):
            return
        sums.cost += 0.5 * weight * r.square().sum((0, 1))
        joints = (outside[self.layout.body_index - 1]).nonzero()[:, 0]  # of those that move
        if blocks is None or not len(joints):
            return
        place = self.layout.body_index[joints] - 1
        r, own = r[place], right_jacobian_inverse(theta[place], angle[place])
        T = product_mT(own, posed.world.index_select(0, place + 1))
        columns = self.layout.slice("body_pose").start + 3 * joints[:, None] + torch.arange(3)
        pulled = turned(T.transpose(1, 2), weight / limits.softness * r)
        sums.gradient.index_add_(1, columns.flatten(), first(pulled).flatten(1))
        strength = (weight / limits.softness**2) * (r != 0).to(r)[:, :, None]
        blocks.index_add_(
            0, joints + len(self.layout.rotating) - len(self.layout.body_joints), mT_product(T, strength * T)
        )


def add_blocks(hessian: Tensor, start: int, blocks: Tensor) -> None:
    """Blocks (B, n, 3, 3) onto the diagonal of (B, P, P), from column `start` on."""
    one, row, column = hessian.stride()
    own = hessian[:, start:, start:].as_strided(blocks.shape, (one, 3 * (row + column), row, column))
    own += blocks


_ROWS: WeakKeyDictionary[PointBody, dict[Layout, "Rows"]] = WeakKeyDictionary()


def _rows_of(body: PointBody, layout: Layout) -> "Rows":
    """Made once."""
    known = _ROWS.setdefault(body, {})
    if layout not in known:
        known[layout] = Rows(body, layout)
    return known[layout]


class Rows:
    """`PointBody.rows` with people last: what moves which point stands in a table, made once."""

    def __init__(self, body: PointBody, layout: Layout) -> None:
        part = body.joint_columns(layout.rotating)
        self.part, self.shapes, self.width = part, body.joint_shapes.shape[-1], layout.columns
        self.joints, self.corrects = len(body.parents), bool(len(body.active_pairs) and len(part.active_joints))
        K, P = len(body.names), layout.columns
        axes, two = torch.arange(3)[:, None], torch.arange(2)
        turns, betas = layout.slice("global_orient").start, layout.slice("betas").start
        at = lambda point, column: (2 * point[:, None, None] + two) * P + column[..., None]  # noqa: E731
        every = torch.arange(K)
        moved = at(every, axes.T.expand(K, 3))
        by = at(part.reached, turns + 3 * part.by[:, None] + axes.T)
        shaped = at(every, betas + torch.arange(self.shapes).expand(K, -1))
        shaping, constant = _shaping(body)
        constants = part.pairs_below, part.weight_below[..., None], shaping, constant, part.offset_poses.mT.contiguous()
        self.constants = {
            kind: tuple(values.to(kind) for values in constants) for kind in (torch.float32, torch.float64)
        }
        self.table = torch.zeros(2 * K * P, dtype=torch.int64)  # 0: nothing
        places = torch.cat([of_some.flatten() for of_some in (moved, by, shaped)])
        self.table[places] = 1 + torch.arange(len(places))
        point, joint = part.active_points[:, None], part.active_places[part.near]  # (t, 1), (t, j)
        of_entry = (2 * point[..., None] + two) * P + turns + 3 * joint[..., None]  # (t, j, 2)
        self.changed = (of_entry + axes[..., None, None]).flatten()  # (3, t, j, 2)

    def of(self, posed: PosedFrames, a: Tensor) -> Tensor:
        """(B, 2 K, P) from covectors a (K, 3, 2, B) on the points."""
        part, B = self.part, a.shape[-1]
        pairs_below, weight_below, shaping, constant, offset_poses = self.constants[a.dtype]
        K, M, S = len(a), len(part.reached), self.shapes
        values = a.new_empty(1 + 6 * (K + M) + 2 * K * S, B)
        nothing, moved, by, shaped = values.split([1, 6 * K, 6 * M, 2 * K * S])
        nothing.zero_()
        moved.view_as(a).copy_(a)
        d = (pairs_below @ posed.pairs.flatten(1)).view(M, 3, B)
        d.addcmul_(weight_below, posed.joints.index_select(0, part.holder), value=-1)
        cross(d[:, :, None], a.index_select(0, part.reached), by.view(M, 3, 2, B))
        across = posed.world.transpose(1, 2).reshape(self.joints * 3, 3 * B)  # columns before rows
        D = (shaping @ across).view(K, S, 3, B) + constant
        of_shape = shaped.view(K, S, 2, B)
        torch.mul(D[:, :, 0, None], a[:, None, 0], out=of_shape)
        of_shape.addcmul_(D[:, :, 1, None], a[:, None, 1]).addcmul_(D[:, :, 2, None], a[:, None, 2])
        rows = values.index_select(0, self.table)
        if self.corrects:
            self._add_correctives(rows, posed, a, offset_poses)
        return rows.T.contiguous().view(B, 2 * K, self.width)

    def _add_correctives(self, rows: Tensor, posed: PosedFrames, a: Tensor, offset_poses: Tensor) -> None:
        """As `PointBody` has them."""
        part, B = self.part, a.shape[-1]
        covectors, world = a.index_select(0, part.point), posed.world.index_select(0, part.bone)
        pulled = world[:, 0, :, None] * covectors[:, 0, None]  # (n, 3, 2, B) in the bones' frames
        pulled.addcmul_(world[:, 1, :, None], covectors[:, 1, None]).addcmul_(
            world[:, 2, :, None], covectors[:, 2, None]
        )
        t, near = part.near.shape
        pulled = pulled.index_select(0, part.slots.flatten()).view(t, -1, 2 * B)  # (t, 3 s, 2 B)
        by_entry = (offset_poses @ pulled).view(t, 9, near, 2, B)
        h, g = (posed.world.index_select(0, index) for index in (part.active_joints, part.active_parents))
        turn = a.new_empty(3, len(h), 3, 3, B)  # d R_rc / d omega = h_c × g_r, the columns of G_j and of G_p
        for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
            torch.mul(h[:, j, None], g[:, k, :, None], out=turn[i])
            turn[i].addcmul_(h[:, k, None], g[:, j, :, None], value=-1)
        turn = turn.index_select(1, part.near.flatten()).view(3, t, near, 9, 1, B)
        change = by_entry[None, :, 0] * turn[:, :, :, 0]
        for entry in range(1, 9):
            change.addcmul_(by_entry[:, entry], turn[:, :, :, entry])
        rows.index_add_(0, self.changed, change.flatten(0, 3))


def _shaping(body: PointBody) -> tuple[Tensor, Tensor]:
    """(M (K S, 3 J), c (K, S, 3, 1)): dx_k/dβ = sum_b G_b M_kb + c_k; M_kb are the offsets of the point's own pairs at
    the bone, and the bones that begin there and carry the point, as far as they do."""
    K, J, S = len(body.names), len(body.parents), body.joint_shapes.shape[-1]
    M = body.offset.new_zeros(K, J, 3, S)
    M.index_put_((body.pair_point, body.pair_bone), body.offset_shapes, accumulate=True)
    carried = body.gather @ (body.pair_weight[:, None] * body.above[body.pair_bone])  # (K, J)
    M.index_add_(1, body.up[1:], carried[:, 1:, None, None] * body.bone_shapes[1:])
    constant = carried[:, 0, None, None] * body.bone_shapes[0]
    return M.permute(0, 3, 1, 2).reshape(K * S, 3 * J), constant.mT[..., None].contiguous()

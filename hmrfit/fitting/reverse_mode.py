"""Derivatives of a term that has none of its own: reverse mode to what it looks at, from there the body's closed form.

A residual looks at rotations R_j, betas, transl, joints x_j and observed points y_k. A backward pass says how it
changes with them: A_j (3×3), b, t, f_j and f_k. Read f as forces on the body. A point's force acts on its pairs
(`body.points`: y = sum_n p_n, p_n = G u_n + w_n x_bone), so that bone j carries the force F_j and the moment M_j

    F_j = f_j + sum_{n of j} w_n f_n,           M_j = x_j × f_j + sum_{n of j} p_n × f_n

and what joint i carries is summed over all joints at or below it:

    transl     t + sum_j f_j + sum_k f_k
    omega_i    sum_{j below i} M_j - x_i × sum_{j below i} F_j  +  [ A_i : G_pᵀ [e]x G_i ]_e  +  the pose correctives'
    betas      b + sum_i (sum_{j below i} F_j) · G_p s_i  +  sum_n (G_nᵀ f_n) · U_n

with s_i the bones' and U_n the pairs' derivatives by the betas. Forward mode needs a pass through the whole body for
every column; for one person and a residual of three numbers it takes 100 times as long.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Generic, Protocol, TypeVar
from weakref import ref

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.points import PosedPoints
from hmrfit.camera import Camera
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm, TorchTerm
from hmrfit.fitting.parameters import Linearization, State
from hmrfit.ops.rotation import hat
from hmrfit.types import BodyParams

Array = NDArray[np.float64]
A = TypeVar("A", Array, Tensor)

MOST_COPIES = 128
"""Of one person, as many as a term has residuals. A term with more is derived as a batch of one."""

_SPIN = hat(torch.eye(3, dtype=torch.float64)).reshape(3, 9).T.contiguous()
"""(9, 3): from a matrix C to C : [e]x for the three axes e."""


@dataclass(frozen=True)
class Covectors(Generic[A]):
    """The derivatives of M residuals, of B people (B, M, ...) or of one (M, ...), by what they look at."""

    global_orient: A | None = None  # (..., 3, 3)
    body_pose: A | None = None  # (..., J-1, 3, 3)
    betas: A | None = None  # (..., S)
    transl: A | None = None  # (..., 3)
    joints: A | None = None  # (..., J, 3)
    points: A | None = None  # (..., K, 3)

    @cached_property
    def pulled_joints(self) -> NDArray[np.int64]:
        """Indices of the joints of one person that are looked at, mostly a few."""
        return np.flatnonzero(np.asarray(self.joints).any((0, 2)))


def rows_in_reverse(e: Linearization, residuals: Callable[[Linearization], Tensor]) -> tuple[Tensor, Tensor] | None:
    """(residuals (B, M), Jacobian (B, M, P)), a backward pass a residual; None where forward mode has to do it: for
    more residuals than columns, or a function that has no derivatives in reverse mode."""
    p, posed = e.state.params, e.posed
    given = (p.global_orient, p.body_pose, p.betas, p.transl, posed.joints, posed.points)
    if any(part.requires_grad for part in given):
        return None
    parts = [part.detach().requires_grad_() for part in given]
    state, posed = _as_variables(parts, e.state.camera)
    looked_at = Linearization(e.body, state, e.observation, e.layout)
    looked_at.posed = posed
    try:
        with torch.enable_grad():
            r = residuals(looked_at)
            if r.shape[1] > e.layout.columns:
                return None
            by_row = [_gradients(r[:, m].sum(), parts) for m in range(r.shape[1])] if r.requires_grad else []
    except Exception:  # whatever is wrong with it, forward mode says so
        return None
    found: Covectors[Tensor] = Covectors(*(_stacked(part) for part in zip(*by_row, strict=True)))
    return r.detach(), pull_back(e, found, r.shape[1])


def _as_variables(parts: Sequence[Tensor], camera: Camera) -> tuple[State, PosedPoints]:
    """The state and the posed body of parts as in `Covectors`. What else a posed body has (its world rotations, its
    pairs) is empty: a term that looks at it is not for reverse mode."""
    orient, pose, betas, transl, joints, points = parts
    nothing = joints.new_empty(0)
    posed = PosedPoints(points, joints, nothing, nothing, nothing)
    return State(BodyParams(orient, pose, betas, transl), camera), posed


def _gradients(value: Tensor, parts: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    return torch.autograd.grad(value, parts, retain_graph=True, allow_unused=True)


def _stacked(by_row: Sequence[Tensor | None]) -> Tensor | None:
    """(B, M, ...) of the gradients (B, ...) of M residuals, None where none of them looks at this."""
    known = next((g for g in by_row if g is not None), None)
    return None if known is None else torch.stack([torch.zeros_like(known) if g is None else g for g in by_row], 1)


def pull_back(e: Linearization, c: Covectors[Tensor], count: int) -> Tensor:
    """Covectors of `count` residuals -> their rows (B, M, P)."""
    body, layout, world = e.body, e.layout, e.posed.world
    rows = e.state.params.transl.new_zeros(len(e.state), count, layout.columns)
    moves, shapes = rows[..., layout.slice("transl")], rows[..., layout.slice("betas")]
    turns = rows.new_zeros(*rows.shape[:2], len(body.parents), 3)
    above = world[:, body.up]
    above[:, 0] = body.eye
    spin = _SPIN.to(rows)
    if c.transl is not None and layout.moves("transl"):
        moves += c.transl
    if c.betas is not None and layout.moves("betas"):
        shapes += c.betas
    if c.global_orient is not None:
        turns[:, :, 0] += (c.global_orient @ world[:, None, 0].mT).flatten(-2) @ spin
    if c.body_pose is not None:
        turns[:, :, 1:] += (above[:, None, 1:] @ c.body_pose @ world[:, None, 1:].mT).flatten(-2) @ spin
    force, moment = torch.zeros_like(turns), torch.zeros_like(turns)
    if c.joints is not None:
        force, moment = force + c.joints, moment + torch.linalg.cross(e.posed.joints[:, None], c.joints)
    if c.points is not None:
        f = c.points[:, :, body.pair_point]
        weighted, turned = body.pair_weight[:, None] * f, torch.linalg.cross(e.posed.pairs[:, None], f)
        force, moment = (a.index_add(2, body.pair_bone, b) for a, b in ((force, weighted), (moment, turned)))
        own = (f[..., None, :] @ world[:, None, body.pair_bone]).squeeze(-2)  # in the bones' frames
        if layout.moves("betas"):
            shapes += own.flatten(2) @ body.offset_shapes.flatten(0, 1)
        _add_correctives(turns, own, e)
        if layout.moves("transl"):
            moves += (body.missing_weight * c.points).sum(2)
    if c.joints is not None or c.points is not None:
        if layout.moves("transl"):
            moves += force.sum(2)
        carried = body.above.T @ force
        turns += body.above.T @ moment - torch.linalg.cross(e.posed.joints[:, None], carried)
        if layout.moves("betas"):
            shapes += carried.flatten(2) @ (above @ body.bone_shapes).flatten(1, 2)
    first = layout.slice("global_orient").start
    rotating = turns[:, :, layout.rotating_index].flatten(2)
    rows[..., first : first + rotating.shape[-1]] = rotating
    return rows


def _add_correctives(turns: Tensor, own: Tensor, e: Linearization) -> None:
    """The pose correctives' part of points, whose covectors are `own` (B, M, N, 3) in their bones' frames."""
    body, world = e.body, e.posed.world
    if not len(body.active_pairs):
        return
    dR = (
        world[:, body.up[body.active_joints]].mT[:, :, None] @ hat(body.eye) @ world[:, body.active_joints, None]
    )  # (B, m, 3, 3, 3)
    by_entry = torch.einsum("bmnc,ncjq->bmjq", own[:, :, body.active_pairs], body.offset_poses)
    turns[:, :, body.active_joints] += torch.einsum("bmjq,bjwq->bmjw", by_entry, dR.flatten(-2))


def pull_back_one(e: NumpyLinearization, c: Covectors[Array], count: int) -> Array:
    """`pull_back` for one person: (M, P)."""
    body, x, posed = e.body, e.x, e.posed
    n, J = len(body.rotating), body.J
    rows = np.zeros((count, 3 + 3 * n + body.S))
    moves, turns, shapes = rows[:, :3], rows[:, 3 : 3 + 3 * n], rows[:, 3 + 3 * n :]
    if c.transl is not None:
        moves += c.transl
    if c.betas is not None:
        shapes += c.betas
    if c.global_orient is not None:
        turns[:, :3] += (c.global_orient @ x.world[0].T).reshape(count, 9) @ _SPIN_OF_ONE
    if c.body_pose is not None:
        joints = body.rotating[1:]
        by_joint = x.world[body.up[joints]] @ c.body_pose[:, joints - 1] @ x.world[joints].transpose(0, 2, 1)
        turns[:, 3:] += (by_joint.reshape(count, -1, 9) @ _SPIN_OF_ONE).reshape(count, -1)
    if c.joints is not None:
        pulled = c.pulled_joints
        f, above = c.joints[:, pulled], body.above[pulled]
        arms = (posed.joints[pulled, None] - posed.joints) * above[:, :, None]  # (j, i, 3), 0 where i is not above j
        levers = (arms.reshape(-1, 3) @ _HAT_OF_ONE).reshape(len(pulled), J, 3, 3).transpose(0, 3, 1, 2)
        if n < J:
            levers = levers[:, :, body.rotating]
        turns += f.reshape(count, -1) @ levers.reshape(-1, 3 * n)
        moves += f.sum(1)
        shapes += (above.T @ f).reshape(count, -1) @ e.bone_steps.reshape(-1, body.S)
    if c.points is not None:
        f = c.points[:, body.point]
        force, moment = (body.pairs_of_bones @ part for part in (body.weight * f, _cross(posed.pairs, f)))
        carried = body.above.T @ force
        lever = body.above.T @ moment - _cross(posed.joints, carried)
        turns += lever[:, body.rotating].reshape(count, -1)
        moves += force.sum(1) + (body.missing * c.points).sum(1)
        own = (f[:, :, None] @ posed.bones).reshape(count, -1)  # in the bones' frames
        shapes += own @ body.offset_shapes + carried.reshape(count, -1) @ e.bone_steps.reshape(-1, body.S)
        if len(body.active_joints):
            rows[:, 3 + body.active_columns] += own[:, body.active_pair_columns] @ body.corrective_derivatives(x)
    return rows


_SPIN_OF_ONE = _SPIN.numpy()
_ORIENTATION, _HAT_OF_ONE = -_SPIN_OF_ONE, np.ascontiguousarray(_SPIN_OF_ONE.T)
"""(9, 3): from the products a_i b_j to a × b;  (3, 9): from a to [a]x."""


def _cross(a: Array, b: Array) -> Array:
    """a × b of (n, 3) and (M, n, 3); numpy's own takes five times as long."""
    return (a[:, :, None] * b[:, :, None, :]).reshape(*b.shape[:2], 9) @ _ORIENTATION


class DerivedTerm(Protocol):
    """A `Term`, as far as `ReverseTerm` knows it."""

    def residuals(self, e: Linearization) -> Tensor:
        """(B, M)."""

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Add cost, gradient and Hessian of a batch to the sums."""


class ReverseTerm:
    """The NumPy form of a term that has only residuals.

    As many copies of the person as the term has residuals go through it side by side, so that one backward pass gives
    the derivatives of all residuals. A term that does not give every copy the residuals of the person alone is computed
    as a batch of one.
    """

    def __init__(self, term: DerivedTerm) -> None:
        self.term = term
        self.way: NumpyTerm | None = None

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        """Add its cost, gradient and Hessian to the sums."""
        if self.way is None:
            kind = _kind_of(self.term, e)
            self.way = TorchTerm(self.term) if kind is None else _CopiedTerm(self.term, kind, e)
        self.way.add(e, sums, weight)


@dataclass(frozen=True)
class _Kind:
    """What is known of a term that copies can go through.

    repeated: it needs its observation repeated too; the others can do with one row of it, as they take numbers of it.
    affine: its derivatives by what it looks at do not depend on the pose, as far as was seen.
    """

    count: int
    repeated: bool
    affine: bool


_KINDS: dict[int, tuple[ref[DerivedTerm], _Kind | None]] = {}
"""By the terms' ids, as long as they live: terms need not be hashable."""


def _kind_of(term: DerivedTerm, e: NumpyLinearization) -> _Kind | None:
    """Found at the first pose that a term meets; None for those that copies cannot go through."""
    known = _KINDS.get(id(term))
    if known is None or known[0]() is not term:
        key = id(term)
        known = _KINDS[key] = ref(term, lambda _: _KINDS.pop(key, None)), _try(term, e)
    return known[1]


def _try(term: DerivedTerm, e: NumpyLinearization) -> _Kind | None:
    """Copies go through a term if each has the residuals that the person has alone."""
    values = _values(e)
    for repeated in (False, True):
        try:
            alone = _Copies(e, 1, True).residuals(term, values).detach().numpy()
            count = alone.shape[1]
            if not 0 < count <= MOST_COPIES:
                return None
            copies = _Copies(e, count, repeated)
            r, covectors = copies.derivatives(term, values)
        except Exception:  # the next may be able to, and what is wrong with the term is said by the way in torch
            continue
        if r.shape == (count, count) and np.allclose(r, alone, rtol=1e-9, atol=1e-12, equal_nan=True):
            return _Kind(count, repeated, _seems_affine(term, copies, values, copies.slopes(covectors)))
    return None


def _seems_affine(term: DerivedTerm, copies: "_Copies", values: Array, slopes: Array) -> bool:
    """Has the term, to the last bit, the same derivatives a little away from here?"""
    away = 1e-3 * np.random.default_rng(0).standard_normal(len(values))
    try:
        _, covectors = copies.derivatives(term, values + away)
    except Exception:  # these values are no pose
        return False
    return np.array_equal(copies.slopes(covectors), slopes)


@dataclass(frozen=True)
class _Derivatives:
    """Of an affine term, at the values (V,) at which they were taken."""

    values: Array
    residuals: Array  # (M,)
    covectors: Covectors[Array]
    slopes: Array  # (M, V), the covectors in one row
    rounding: float  # how far a predicted residual may be off


class _CopiedTerm:
    """A term over copies of one person.

    The derivatives of an affine term are taken once. Its residuals are computed at every pose, and where they are not
    what these derivatives predict, the derivatives are taken again.
    """

    def __init__(self, term: DerivedTerm, kind: _Kind, e: NumpyLinearization) -> None:
        self.term, self.affine, self.copies = term, kind.affine, _Copies(e, kind.count, kind.repeated)
        self.known: _Derivatives | None = None

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        """Add cost, gradient and Hessian to the sums."""
        values = _values(e)
        r, covectors = self._predicted(values) or self._derived(values)
        sums.add_rows(r, pull_back_one(e, covectors, len(r)), weight)

    def _predicted(self, values: Array) -> tuple[Array, Covectors[Array]] | None:
        """Residuals and derivatives, where the known ones still hold to rounding."""
        if self.known is None:
            return None
        known = self.known
        with torch.no_grad():
            r = self.copies.residuals(self.term, values)[0].numpy()
        off = r - known.residuals - known.slopes @ (values - known.values)
        return (r, known.covectors) if np.abs(off).max() <= known.rounding else None

    def _derived(self, values: Array) -> tuple[Array, Covectors[Array]]:
        """Residuals and derivatives, taken anew."""
        r, covectors = self.copies.derivatives(self.term, values)
        if self.affine:
            slopes = self.copies.slopes(covectors)
            size = (np.abs(slopes) @ np.abs(values) + np.abs(r[0])).max()
            self.known = _Derivatives(values, r[0].copy(), covectors, slopes, 1e-13 * float(size))
        return r[0], covectors


class _Copies:
    """Equal copies of one person, in memory that every pose is written to."""

    def __init__(self, e: NumpyLinearization, count: int, repeated: bool) -> None:
        self.problem, self.each = e.problem, torch.from_numpy(np.eye(count))
        camera, self.observation = e.problem.seen(count) if repeated and count > 1 else e.problem.alone
        J, S, K = len(e.posed.joints), len(e.x.betas), len(e.posed.points)
        shapes = ((3, 3), (J - 1, 3, 3), (S,), (3,), (J, 3), (K, 3))
        ends = (*accumulate(map(math.prod, shapes), initial=0),)
        self.memory = np.empty((count, ends[-1]))
        pieces = (self.memory[:, a:b].reshape(count, *s) for (a, b), s in zip(pairwise(ends), shapes, strict=True))
        self.parts = [torch.from_numpy(piece).requires_grad_() for piece in pieces]
        self.state, self.posed = _as_variables(self.parts, camera)

    def residuals(self, term: DerivedTerm, values: Array) -> Tensor:
        """(copies, M)."""
        self.memory[...] = values
        looked_at = Linearization(self.problem.points, self.state, self.observation, self.problem.layout)
        looked_at.posed = self.posed
        return term.residuals(looked_at)

    def derivatives(self, term: DerivedTerm, values: Array) -> tuple[Array, Covectors[Array]]:
        """The residuals (copies, M) and the derivatives of residual m of copy m."""
        with torch.enable_grad():
            r = self.residuals(term, values)
        found = torch.autograd.grad(r, self.parts, self.each, allow_unused=True) if r.requires_grad else ()
        return r.detach().numpy(), Covectors(*(None if g is None else g.numpy() for g in found))

    def slopes(self, covectors: Covectors[Array]) -> Array:
        """The same derivatives by the whole row of values: (M, V)."""
        c, count = covectors, len(self.each)
        found = zip((c.global_orient, c.body_pose, c.betas, c.transl, c.joints, c.points), self.parts, strict=True)
        flat = [np.zeros((count, p[0].numel())) if g is None else g.reshape(count, -1) for g, p in found]
        return np.concatenate(flat, 1)


def _values(e: NumpyLinearization) -> Array:
    """What a term looks at, in the order of `Covectors`, in one row."""
    x, posed = e.x, e.posed
    return np.concatenate((x.rotations.ravel(), x.betas, x.transl, posed.joints.ravel(), posed.points.ravel()))

"""Is a term fit to be minimised? `check_term` asks what the solver relies on and says what is wrong.

    residuals r(state) of B people: (B, M), float64, finite;  dr/d delta by forward-mode autodiff = by differences
    [r(x + h e_i) - r(x - h e_i)] / 2h = the term's own Jacobian;  g = J^T r, H = J^T J;  inputs as they were;
    every person's residuals their own: batch independence

The terms are tried on a made-up body in random poses, so nothing has to be installed, and no file is read.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hmrfit.body.points import PointBody
from hmrfit.body.skeleton import SMPL
from hmrfit.camera import Camera
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.parameters import GROUPS, UPRIGHT, Linearization, Observation, State
from hmrfit.fitting.placing import middle_of_box
from hmrfit.fitting.terms.base import ResidualFunction, Term, as_term
from hmrfit.keypoints import COCO17, base_name
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.types import BodyParams, Keypoints, RecordTable, TensorRecord

STEP = 1e-6
"""Of the differences, metres and radians: rounding leaves 1e-16/STEP = 1e-10 of a residual, curvature STEP² = 1e-12."""

TOLERANCE = 1e-6
"""Relative to the largest residual or derivative, at least 1: ten thousand times what STEP leaves."""

STICK_CM = (
    (0, 0, 0),
    (8, -8, 0),
    (-8, -8, 0),
    (0, 11, -2),
    (10, -48, 0),
    (-10, -48, 0),
    (0, 25, 0),
    (9, -88, -3),
    (-9, -88, -3),
    (0, 31, 1),
    (11, -94, 9),
    (-11, -94, 9),
    (0, 52, -2),
    (8, 43, -1),
    (-8, 43, -1),
    (0, 60, 3),
    (18, 46, -2),
    (-18, 46, -2),
    (43, 46, -4),
    (-43, 46, -4),
    (68, 46, -4),
    (-68, 46, -4),
    (76, 46, -5),
    (-76, 46, -5),
)
"""Rest joints of the made-up body, about where an adult's are in the T-pose; y up, the person's left at +x."""


def check_term(term: Term | ResidualFunction, at: Linearization | None = None) -> None:
    """Try a term, or a plain function (state, output, observation) -> (B, M), and say what is wrong with it.

    Args:
        term: what would go into `Fitter(terms=[...])`.
        at: where to try it, with at least two people; by default `sample_evaluation()`.

    Raises:
        TypeError: it returns no tensor, or forward-mode autodiff cannot pass through it.
        ValueError: shape, precision, numbers, derivative, changed inputs, or people who depend on each other.
    """
    term, at = as_term(term), at or sample_evaluation()
    r = _checked_residuals(term, at)
    _check_separate(term, at, r)
    automatic = _automatic_jacobian(term, at)
    _compare(
        term, at, "forward-mode autodiff", automatic, "finite differences", finite_difference_jacobian(term, at), r
    )
    own = term.jacobian(at)
    _compare(term, at, "its own jacobian()", own, "forward-mode autodiff", automatic, r)
    _check_sums(term, at, r, own)


def sample_evaluation(
    body: PointBody | None = None, names: Sequence[str] = COCO17, count: int = 4, seed: int = 0
) -> Linearization:
    """People in random poses in front of cameras, their keypoints a little off and some unseen.

    Args:
        body: as `SmplBody.points(names)` gives it, float64; by default a made-up one of SMPL's 24 joints.
        names: the keypoints of the made-up body.
    """
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    body = body or stick_body(names, seed)
    orient = rotvec_to_matrix(0.5 * draw(count, 3)) @ torch.tensor(UPRIGHT).double()
    pose = rotvec_to_matrix(0.4 * draw(count, len(body.parents) - 1, 3))
    transl = torch.tensor([0.0, 0.0, 5.0]).double() + 0.3 * draw(count, 3)
    state = State(
        BodyParams(orient, pose, draw(count, body.joint_shapes.shape[-1]), transl),
        Camera.from_size(1024, 768, count=count),
    )
    seen = state.camera.project(body.pose(state.params).points)
    confidence = (draw(count, len(body.names)).abs() * 0.8).clamp(0.1, 1.0)
    confidence[:, -1] = 0.0
    keypoints = Keypoints(seen + 15 * draw(*seen.shape), confidence, body.names)
    return Linearization(body, state, Observation.of(keypoints))


def stick_body(names: Sequence[str] = COCO17, seed: int = 0) -> PointBody:
    """A made-up body of SMPL's joints with random shapes and correctives; what is no joint hangs near its own one."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    K, J, S = len(names), len(SMPL), 10
    nearest = [SMPL.index(n if n in SMPL else base_name(n) if base_name(n) in SMPL else "head") for n in names]
    loose = torch.tensor([name not in SMPL for name in names]).double()[:, None, None]
    return PointBody(
        names,
        SMPL,
        torch.tensor(STICK_CM).double() / 100,
        0.01 * draw(J, 3, S),
        torch.arange(K),
        torch.tensor(nearest),
        torch.ones(K, dtype=torch.float64),
        (loose * 0.08 * draw(K, 3, 1)).squeeze(-1),
        loose * 0.01 * draw(K, 3, S),
        loose * 0.005 * draw(K, 3, 9 * (J - 1)),
    )


def finite_difference_jacobian(term: Term, e: Linearization, step: float = STEP) -> Tensor:
    """(B, M, P) by central differences, every person beside themselves moved along every column, both ways."""
    B, P = len(e.state), e.layout.columns
    many = torch.arange(B).repeat_interleave(2 * P)
    steps = step * torch.eye(P).to(e.state.params.transl)
    state = e.state[many].retract(torch.cat([steps, -steps]).repeat(B, 1), e.body.parents, e.layout)
    r = term.residuals(Linearization(e.body, state, e.observation[many], e.layout)).reshape(B, 2, P, -1)
    return ((r[:, 0] - r[:, 1]) / (2 * step)).mT


def normal_equations(term: Term, e: Linearization, weight: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """(cost (B,), gradient (B, P), Hessian (B, P, P)) as the term's `add` has them."""
    sums = NormalEquations(e)
    term.add(e, sums, weight)
    return sums.finish(e)


def _checked_residuals(term: Term, e: Linearization) -> Tensor:
    """The residuals, after their shape, precision, finiteness and manners."""
    given = (*_tensors(e.state), *_tensors(e.observation), *_tensors(e.output))
    before = [t.clone() for t in given]
    r = term.residuals(e)
    if not all(torch.equal(was, now) for was, now in zip(before, given, strict=True)):
        raise ValueError(f"Term '{term.name}' changes its inputs in place. Work on a copy: x = x.clone().")
    if not isinstance(r, Tensor):
        raise TypeError(f"Term '{term.name}' should return a tensor (B, M), not {type(r).__name__}.")
    B = len(e.state)
    if r.ndim != 2 or r.shape[0] != B or r.shape[1] == 0:
        raise ValueError(
            f"Term '{term.name}' should return residuals (B, M) = ({B}, M), but returns {tuple(r.shape)}. Flatten all "
            "but the first dimension; a single residual is [:, None]."
        )
    if r.dtype != e.state.params.transl.dtype:
        raise ValueError(
            f"Term '{term.name}' returns {r.dtype}, but the state is {e.state.params.transl.dtype}. Constants should "
            "take the state's type, for example with .to(output.joints)."
        )
    if not r.isfinite().all():
        person, row = (~r.isfinite()).nonzero()[0].tolist()
        raise ValueError(f"Term '{term.name}' is not finite: residual {row} of person {person} is {r[person, row]}.")
    return r


def _tensors(record: TensorRecord) -> list[Tensor]:
    """Every tensor of a record, those of records inside too."""
    found: list[Tensor] = []

    def keep(t: Tensor) -> Tensor:
        found.append(t)
        return t

    record.map(keep)
    return found


def _check_separate(term: Term, e: Linearization, r: Tensor) -> None:
    """Another order of people gives the same residuals in that order, and each person alone the same as in company."""
    B, bound = len(e.state), TOLERANCE * max(1.0, r.abs().max().item())
    for index, what in [
        (torch.arange(B).flip(0), "in another order"),
        *((torch.tensor([i]), "alone") for i in range(B)),
    ]:
        again = term.residuals(Linearization(e.body, e.state[index], e.observation[index], e.layout))
        if again.shape != r[index].shape or not (again - r[index]).abs().max() <= bound:
            raise ValueError(
                f"Term '{term.name}' gives a person other residuals {what}: people must not depend on who else is in "
                "the batch. Look for a mean, a sum, a maximum or a fixed index over dimension 0."
            )


def _automatic_jacobian(term: Term, e: Linearization) -> Tensor:
    """By forward-mode autodiff, whatever the term has of its own."""
    try:
        return term.forward_jacobian(e)
    except Exception as error:  # whatever torch says, the reader needs to know what it was about
        raise TypeError(
            f"Forward-mode autodiff cannot pass through term '{term.name}': {error} Write it with torch operations "
            "only (no numpy, .item() or in-place changes), or give it its own jacobian(e) and try that against "
            "finite_difference_jacobian."
        ) from error


def _compare(term: Term, e: Linearization, what: str, a: Tensor, other: str, b: Tensor, r: Tensor) -> None:
    """Two Jacobians (B, M, P) are the same, or the worst entry is named."""
    if a.shape != b.shape:
        raise ValueError(f"Term '{term.name}': {what} has the shape {tuple(a.shape)}, {other} {tuple(b.shape)}.")
    bound = TOLERANCE * max(1.0, r.abs().max().item(), b.nan_to_num(0).abs().max().item())
    wrong = ~((a - b).abs() <= bound)
    if wrong.any():
        difference = (a - b).abs().nan_to_num(torch.inf)
        person, row, column = worst = tuple(int(i) for i in torch.unravel_index(difference.argmax(), a.shape))
        raise ValueError(
            f"Term '{term.name}': the derivative of residual {row} of person {person} along {_column_name(e, column)} "
            f"is {a[worst]:.6g} by {what} and {b[worst]:.6g} by {other}. Look for .detach(), rounding, or a jump."
        )


def _column_name(e: Linearization, column: int) -> str:
    """`body_pose column 4`, numbered within its group."""
    for group in GROUPS:
        part = e.layout.slice(group)
        if part.start <= column < part.stop:
            return f"{group} column {column - part.start}"
    raise IndexError(column)


def _check_sums(term: Term, e: Linearization, r: Tensor, J: Tensor) -> None:
    """`add` is the same cost, gradient and Gauss-Newton Hessian as the rows, times the weight."""
    weight = 0.7
    rows = (0.5 * r.square().sum(-1), (r[:, None] @ J).squeeze(1), J.mT @ J)
    for name, found, expected in zip(
        ("cost", "gradient", "Hessian"), normal_equations(term, e, weight), rows, strict=True
    ):
        bound = TOLERANCE * max(1.0, expected.abs().max().item())
        if not (found - weight * expected).abs().max() <= bound:
            raise ValueError(
                f"Term '{term.name}': add() gives another {name} than its residuals and Jacobian do; expected weight "
                "times ½|r|², Jᵀr and JᵀJ."
            )


def try_terms(
    terms: Sequence[Term | ResidualFunction],
    body: PointBody,
    keypoints: Keypoints,
    camera: Camera,
    measurements: RecordTable | None = None,
) -> None:
    """Try each term once where a fit of these people will: in some pose, about where they are.

    Raises:
        TypeError, ValueError: a term raises, returns something else than finite residuals (B, M), or cannot be derived.
    """
    if not terms:
        return
    observation = Observation.of(keypoints, measurements)
    made_up = sample_evaluation(body, count=len(keypoints)).state.params
    transl = middle_of_box(observation, camera) - body.rest_joints[0]
    e = Linearization(body, State(replace(made_up, transl=transl), camera), observation)
    for term in map(as_term, terms):
        try:
            residuals, jacobian = _checked_residuals(term, e), term.jacobian(e)
            finite = all(part.isfinite().all() for part in (jacobian, *normal_equations(term, e)))
        except Exception as error:
            if isinstance(error, TypeError | ValueError) and str(error).startswith("Term '"):
                raise
            raise ValueError(
                f"Term '{term.name}' cannot be computed: {type(error).__name__}: {error} Try it with hmrfit.check_term."
            ) from error
        if jacobian.shape != (*residuals.shape, e.layout.columns) or not finite:
            raise ValueError(
                f"Term '{term.name}' has a derivative or a square that is not finite. Look for the root, logarithm or "
                "norm of 0, and for numbers above 1e100."
            )

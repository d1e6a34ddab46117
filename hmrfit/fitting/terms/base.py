"""The terms of the energy: each a function from a posed body to residuals, its cost half their sum of squares.

    E = sum_i  weight_i · 1/2 |r_i|²

A term is anything with a `name` and `residuals(e: Linearization) -> (B, M)`. Its Jacobian comes from `jacobian(e)` if
it has one, else from autodiff, in reverse mode where that can be done (`hmrfit.fitting.reverse_mode`). Beside it a term
may have a form in NumPy for one person (`numpy_form`); one that has none is computed in torch. Any Python function
(state, output, observation) -> (B, M) becomes a term with `FunctionTerm(fn)`, or by just being put into
`Fitter(terms=[fn])`; its name is the function's.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import isroutine
from typing import ClassVar, TypeVar

import torch
from torch import Tensor

from hmrfit.body.points import PointBody, PosedPoints
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera
from hmrfit.fitting.normal_equations import NormalEquations
from hmrfit.fitting.numpy_path import NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation, State
from hmrfit.fitting.reverse_mode import rows_in_reverse
from hmrfit.io.photo import Photo
from hmrfit.ops.check import brief_repr, did_you_mean
from hmrfit.types import BodyOutput, TensorRecord

RecordT = TypeVar("RecordT", bound=TensorRecord)

MOST_WEIGHT = 1e12
"""Of a term. Beyond it, rounding decides what the other terms say."""

ResidualFunction = Callable[[State, BodyOutput, Observation], Tensor]


class Term:
    """A term of the energy. Subclasses give `residuals`, and `jacobian` or `add` where they can do better."""

    name: str = "term"
    points_only: ClassVar[bool] = False
    """True for a term that needs only those joints whose rotation moves a keypoint: the fit may then leave the others
    out and let the pose prior fill them in."""

    has_numpy_form: ClassVar[bool] = False
    """Is `numpy_form` that of what the term computes? A subclass that changes another method does not have it."""

    def __init_subclass__(cls) -> None:
        changed = {name: value for name, value in vars(cls).items() if not name.startswith("__")}
        if "numpy_form" in changed:
            cls.has_numpy_form = True
        elif any(isroutine(value) or isinstance(value, property) for value in changed.values()):
            cls.has_numpy_form = False

    def beside(self, observation: Observation) -> Observation:
        """What the stage's terms, this one among them, see of the observation: a measurement may say of another one how
        far it is believed."""
        return observation

    def prepare(self, observation: Observation, layout: Layout) -> Observation:
        """What does not change during a stage, put beside the observation once."""
        return observation

    def fill(self, state: State, observation: Observation, layout: Layout) -> State:
        """The state with the joints that the stage left out where this term would have them; most terms cannot say."""
        return state

    def residuals(self, e: Linearization) -> Tensor:
        """(B, M)."""
        raise NotImplementedError(f"{type(self).__name__} must define residuals(e) -> (B, M).")

    def cost(self, e: Linearization) -> Tensor:
        """(B,) half the residuals' sum of squares."""
        return 0.5 * self.residuals(e).square().sum(-1)

    def jacobian(self, e: Linearization) -> Tensor:
        """(B, M, P): in reverse mode, if that can be done with at most as many passes as there are columns."""
        derived = rows_in_reverse(e, self.residuals)
        return self.forward_jacobian(e) if derived is None else derived[1]

    def forward_jacobian(self, e: Linearization) -> Tensor:
        """(B, M, P), by forward-mode autodiff: one step shared by the whole batch keeps the cost at P passes."""

        def moved(delta: Tensor) -> Tensor:
            state = e.state.retract(delta, e.body.parents, e.layout)
            return self.residuals(Linearization(e.body, state, e.observation, e.layout))

        return torch.func.jacfwd(moved)(e.state.params.transl.new_zeros(e.layout.columns))

    def add(self, e: Linearization, sums: NormalEquations, weight: float) -> None:
        """Add cost, gradient and Hessian to the sums."""
        automatic = type(self).jacobian is Term.jacobian
        derived = rows_in_reverse(e, self.residuals) if automatic else None
        jacobian = self.forward_jacobian if automatic else self.jacobian
        sums.add_rows(*(derived or (self.residuals(e), jacobian(e))), weight)

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm | None:
        """The term for one person of the observation in NumPy, faster than in torch; None: there is none."""
        return None


class FunctionTerm(Term):
    """A plain Python function as a term."""

    def __init__(self, function: ResidualFunction, name: str | None = None) -> None:
        self.function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__))

    def residuals(self, e: Linearization) -> Tensor:
        return self.function(e.state, e.output, e.observation)


class PointTerm(Term):
    """A term that looks at named points of its own, and their derivatives."""

    points: PointBody

    def posed(self, e: Linearization) -> PosedPoints:
        """Its points in the camera frame."""
        return self.points.pose(e.state.params, e.state.world)

    def rows(self, e: Linearization, posed: PosedPoints, covectors: Tensor) -> Tensor:
        """Covectors (B, K, R, 3) on its points -> (B, K, R, P)."""
        wanted = [e.layout.moves(group) for group in ("transl", "betas")]
        return self.points.rows(posed, covectors, e.layout.rotating, *wanted)


@dataclass(frozen=True)
class Staged:
    """A term with its weights: in the last stage, and in the stages before it, 0 where it is not in those."""

    term: Term
    last: float
    before: float = 0.0


@dataclass(frozen=True)
class Known:
    """What a measurement says of the N people of a photograph."""

    record: TensorRecord  # N rows; those of people of whom nothing is known have weight or confidence 0
    terms: tuple[Staged, ...]  # that look at the record
    summary: str = ""  # for `FitResult.measurements`
    warnings: tuple[tuple[str, ...], ...] = ()  # of each person, where the measurement is implausible


class Measurement(ABC):
    """Something that is known beside the keypoints in the image. Each kind is one class, in the file of its term.

    All lengths are metres in the camera frame (in `fit_views`: in the world of the extrinsics), all pixels those of
    the full image. What is given one for each person counts the people as the caller counts them: people who are left
    out have theirs.
    """

    name: ClassVar[str]
    """Of its record in `Observation.measurements`, and of its term in the last stage."""

    @abstractmethod
    def read(self, photo: Photo, body: SmplBody) -> Known:
        """Checks what was given, before any work.

        Raises:
            ValueError, TypeError, FileNotFoundError: what was expected, what came, what to do.
        """

    def in_view(self, index: int, count: int) -> "Measurement":
        """Of one of `count` views of a person; what is known of the person is known in every view."""
        return self

    def seen_from(self, record: TensorRecord, rotation: Tensor, translation: Tensor) -> TensorRecord:
        """The record in other frames, x -> R x + t with R (N, 3, 3), t (N, 3). Most records have no frame."""
        return record

    def upright(self, camera: Camera | None) -> Tensor | None:
        """(3,) what points up by it, in the camera frame, or in the world of the extrinsics where there is no one
        camera; None: it says nothing of that."""
        return None

    def check_in_camera(self, record: TensorRecord) -> None:
        """That a record in the camera's frame can be of what the camera sees. Errors: ValueError."""
        return  # most kinds lie nowhere


def record_of(observation: Observation, kind: type[RecordT], name: str) -> RecordT:
    """The record of a measurement that a term looks at.

    Raises:
        ValueError: nothing of the kind was given.
    """
    record = observation.measurements.get(name)
    if not isinstance(record, kind):
        raise ValueError(f"The term '{name}' looks at a measurement that was not given: pass it in measurements=[...].")
    return record


def as_term(term: Term | ResidualFunction) -> Term:
    """Terms stay, functions are wrapped."""
    return term if isinstance(term, Term) else FunctionTerm(term)


def terms_by_name(terms: Sequence[Term | ResidualFunction]) -> dict[str, Term]:
    """name -> term; two terms of one name are refused."""
    found: dict[str, Term] = {}
    for term in map(as_term, terms):
        if term.name in found:
            raise ValueError(f"Two terms are named '{term.name}'. Give one of them another name.")
        found[term.name] = term
    return found


def check_point(name: object, body: SmplBody, what: str) -> None:
    """That a body defines a point of this name; `what` is said in the error."""
    if not isinstance(name, str) or not body.has_point(name):
        known = (*body.joint_names, *body.landmark_names)
        raise ValueError(f"{what}: this body defines no point {brief_repr(name)}.{did_you_mean(str(name), known)}")

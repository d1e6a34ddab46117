"""Whether somebody is a man or a woman, and how old: what the shape is likely to be then.

    gender, age   r = A (β − m),   AᵀA = Σ⁻¹ − I,   AᵀA m = Σ⁻¹ μ          p(β | gender, age) = N(μ, Σ)

μ and Σ are those of people of the sex and age (`priors/shape_by_person.md`); of an age that is known to some years, and
of both sexes where the gender is not known, of their mixture. The other terms hold people for adults of either sex,
N(0, I): that is divided out. Directions in which Σ is wider than I say nothing. Where both are known, the term `age`
looks at both, and `gender` at nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hmrfit.body.smpl import SmplBody
from hmrfit.fitting.numpy_path import NumpyLinearization, NumpySums, NumpyTerm
from hmrfit.fitting.parameters import Layout, Linearization, Observation
from hmrfit.fitting.terms.base import Known, Measurement, Staged, Term, record_of
from hmrfit.fitting.terms.height import HeightTerm
from hmrfit.io.bounded import read_npz
from hmrfit.io.photo import Photo
from hmrfit.ops.check import brief_repr, did_you_mean, numbers
from hmrfit.ops.how_many import how_many
from hmrfit.types import RecordTable, TensorRecord

SHAPES = "shape_by_person.npz"
"""The file of μ and Σ, beside the body's own."""

WEIGHT = 7.0
"""As the anchor's, whose N(0, I) it replaces."""

WORDS = {"female": 1, "woman": 1, "girl": 1, "f": 1, "male": 2, "man": 2, "boy": 2, "m": 2}
"""What a gender may be, in lower case -> its place behind "unknown"."""

SEXES = ("unknown", "female", "male")

Ages = tuple[NDArray[np.float64], NDArray[np.float64]]
"""(N,) years, and the share of each."""

ADULTS: Ages = np.linspace(18.0, 65.0, 11), np.full(11, 1 / 11)
"""People whose age is not known, as the body's betas have them."""

AGES, AGE_STDS = (3.0, 90.0), (0.0, 30.0)
"""Years: what an age and its standard deviation may be. Younger children are outside of the body's shapes."""

LEAST_AGE = 5.0
TOO_YOUNG = (
    "Children under 5 years are outside of the body's shapes: the surface is off by two centimetres, and looks like a "
    "small adult's."
)
YOUNG = 18.0
"""Years. The body's shapes are those of adults, and networks were trained on them."""

AGE_STD = 1.0
NODES = np.polynomial.hermite_e.hermegauss(7)
"""Of the quadrature over an age's normal distribution."""


@dataclass(frozen=True)
class ShapeOfPerson(TensorRecord):
    """A and A m (B, 3, S, S) and (B, 3, S), of a gender that is unknown, female, male; and which of them is known."""

    factor: Tensor
    offset: Tensor
    gender: Tensor  # (B,) int64: 0 unknown, 1, 2
    known: Tensor  # (B,) 1 where there is something to say, else 0
    young: Tensor  # (B,) bool: children, of whom A and A m are those of N(μ, Σ) itself


@dataclass(frozen=True, eq=False)
class Gender(Measurement):
    """Whether people are men or women, boys or girls. An adult is meant where no `Age` is given beside it.

    Args:
        gender: "male" or "female" ("man", "woman", "boy", "girl"), or one a person and None where it is not known.
    """

    name: ClassVar[str] = "gender"
    gender: str | Sequence[str | None]

    def read(self, photo: Photo, body: SmplBody) -> Known:
        which = _read_genders(self.gender, photo.given)[list(photo.rows)]
        shapes = shapes_of(body)
        record = _record([shapes.exchanged(*ADULTS)] * len(which), which, which > 0, np.zeros(len(which), bool))
        words = [f"{SEXES[g]}, {_height(body, shapes, g, ADULTS)} if grown up" if g else "unknown" for g in which]
        return Known(record, (Staged(GenderTerm(), WEIGHT, WEIGHT),), _said(words))


@dataclass(frozen=True, eq=False)
class Age(Measurement):
    """How old people are, from 3 years on.

    Args:
        years: one number, or one a person and None where it is not known.
        std: years, its standard deviation, 1 by default.
    """

    name: ClassVar[str] = "age"
    years: float | Sequence[float | None]
    std: float | Sequence[float] = AGE_STD

    def read(self, photo: Photo, body: SmplBody) -> Known:
        years, std = _read_ages(self, photo.given)
        years, std, shapes = years[list(photo.rows)], std[list(photo.rows)], shapes_of(body)
        nodes = [_nodes(*pair) for pair in zip(years, std, strict=True)]
        young = years < YOUNG
        exchanged = [shapes.exchanged(*one, own=bool(child)) for one, child in zip(nodes, young, strict=True)]
        record = _record(exchanged, np.zeros(len(years), int), np.isfinite(years), young)
        words = [
            f"{y:g} ± {s:g} years, {_height(body, shapes, 0, one)}" if np.isfinite(y) else "unknown"
            for y, s, one in zip(years, std, nodes, strict=True)
        ]
        warnings = tuple((TOO_YOUNG,) if y < LEAST_AGE else () for y in years)
        return Known(record, (Staged(AgeTerm(), WEIGHT, WEIGHT),), _said(words), warnings)


class _ShapeTerm(Term):
    """r = A β − A m of the gender that is known."""

    def given(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """A (B, S, S) and A m (B, S)."""
        raise NotImplementedError

    def residuals(self, e: Linearization) -> Tensor:
        factor, offset = self.given(e.observation)
        return (factor @ e.state.params.betas[..., None]).squeeze(-1) - offset

    def jacobian(self, e: Linearization) -> Tensor:
        factor, _ = self.given(e.observation)
        jacobian = factor.new_zeros(*factor.shape[:2], e.layout.columns)
        if e.layout.moves("betas"):
            jacobian[:, :, e.layout.slice("betas")] = factor
        return jacobian

    def numpy_form(self, observation: Observation, row: int, layout: Layout) -> NumpyTerm:
        factor, offset = (t[0].numpy() for t in self.given(observation[row : row + 1]))
        return _NumpyShape(factor, offset)


class GenderTerm(_ShapeTerm):
    """An adult of this gender; nothing where the age is known."""

    name = "gender"

    def given(self, observation: Observation) -> tuple[Tensor, Tensor]:
        own = record_of(observation, ShapeOfPerson, Gender.name)
        age = observation.measurements.get(Age.name)
        left = own.known if not isinstance(age, ShapeOfPerson) else own.known * (1 - age.known)
        return _of_gender(own, own.gender, left)


class AgeTerm(_ShapeTerm):
    """A person of this age, and of this gender where it is known."""

    name = "age"

    def given(self, observation: Observation) -> tuple[Tensor, Tensor]:
        own = record_of(observation, ShapeOfPerson, Age.name)
        gender = observation.measurements.get(Gender.name)
        return _of_gender(own, gender.gender if isinstance(gender, ShapeOfPerson) else own.gender, own.known)


@dataclass(frozen=True)
class Children:
    """Those of B people who are known to be children: what a network for adults says of their shape is wrong."""

    people: Tensor  # (B,) bool
    mean: Tensor  # (B, S), 0 of adults
    covariance: Tensor  # (B, S, S), I of adults
    said: RecordTable  # the measurements without what is said of the children


def children(measurements: RecordTable) -> Children | None:
    """The children among the people of whom these measurements are; None where there are none."""
    age, gender = measurements.get(Age.name), measurements.get(Gender.name)
    if not isinstance(age, ShapeOfPerson) or not bool(age.young.any()):
        return None
    which = gender.gender if isinstance(gender, ShapeOfPerson) else age.gender
    factor, offset = _of_gender(age, which, torch.ones_like(age.known))
    eye = torch.eye(offset.shape[1]).to(factor)
    factor = torch.where(age.young[:, None, None], factor, eye)
    mean = torch.linalg.solve(factor, (offset * age.young[:, None])[..., None]).squeeze(-1)
    covariance = torch.linalg.inv(factor.mT @ factor)
    said = RecordTable({**measurements, Age.name: replace(age, known=age.known * ~age.young)})
    if isinstance(gender, ShapeOfPerson):
        said = RecordTable({**said, Gender.name: replace(gender, known=gender.known * ~age.young)})
    return Children(age.young, mean, covariance, said)


def _of_gender(record: ShapeOfPerson, gender: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    people = torch.arange(len(gender), device=gender.device)
    return record.factor[people, gender] * known[:, None, None], record.offset[people, gender] * known[:, None]


class _NumpyShape:
    """r = A β − A m for one person."""

    def __init__(self, factor: NDArray[np.float64], offset: NDArray[np.float64]) -> None:
        self.factor, self.offset, self.curvature = factor, offset, factor.T @ factor

    def add(self, e: NumpyLinearization, sums: NumpySums, weight: float) -> None:
        r, S = self.factor @ e.x.betas - self.offset, len(self.offset)
        sums.cost += weight * (0.5 * float(r @ r))
        sums.gradient[-S:] += weight * (self.factor.T @ r)
        sums.hessian[-S:, -S:] += weight * self.curvature


@dataclass(frozen=True)
class Shapes:
    """The file: betas and statures of both sexes on a grid of ages."""

    ages: NDArray[np.float64]  # (N,) years
    mean: NDArray[np.float64]  # (2, N, S)
    covariance: NDArray[np.float64]  # (2, N, S, S)
    body: str  # sha256 of the shapedirs that the betas are of

    def mixture(
        self, gender: int, years: NDArray[np.float64], shares: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(μ, Σ) of people of these ages, weighted; of both sexes alike for gender 0."""
        sexes = (0, 1) if gender == 0 else (gender - 1,)
        means = np.concatenate([self._at(self.mean[s], years) for s in sexes])
        within = np.concatenate([self._at(self.covariance[s], years) for s in sexes])
        weights = np.tile(shares, len(sexes)) / len(sexes)
        mean = weights @ means
        away = means - mean
        return mean, np.tensordot(weights, within, 1) + (weights[:, None] * away).T @ away

    def _at(self, grid: NDArray[np.float64], years: NDArray[np.float64]) -> NDArray[np.float64]:
        """A grid (N, ...) at these ages, linear between its own."""
        at = np.interp(years, self.ages, np.arange(len(self.ages)))
        low = np.minimum(at.astype(int), len(self.ages) - 2)
        part = (at - low).reshape(-1, *[1] * (grid.ndim - 1))
        return (1 - part) * grid[low] + part * grid[low + 1]

    def exchanged(
        self, years: NDArray[np.float64], shares: NDArray[np.float64], own: bool = False
    ) -> list[tuple[NDArray, NDArray]]:
        """(A, A m) of each gender: the precision and the mean that turn N(0, I) into N(μ, Σ); own: those of N(μ, Σ)."""
        return [_precision(*self.mixture(gender, years, shares), 0.0 if own else 1.0) for gender in range(3)]


def _precision(
    mean: NDArray[np.float64], covariance: NDArray[np.float64], known: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """In the axes of Σ = V diag(s) Vᵀ: precisions p = max(1/s − known, 0), A = √p Vᵀ, A m = (1/s) Vᵀμ / √p."""
    variance, axes = np.linalg.eigh(covariance)
    precision = 1 / variance - known
    root = np.sqrt(np.maximum(precision, 0))
    inverse = np.divide(1, root, out=np.zeros_like(root), where=precision > LEAST_PRECISION)
    root = np.where(precision > LEAST_PRECISION, root, 0)
    return root[:, None] * axes.T, inverse * (axes.T @ mean) / variance


LEAST_PRECISION = 0.05
"""Of a direction that says anything: below, its mean would be that of almost nothing."""


@cache
def shapes_by_person(file: Path) -> Shapes:
    """What a file says. Errors: those of `read_npz`."""
    data = read_npz(file)
    ages, mean, covariance = (data[name].astype(np.float64) for name in ("ages", "mean", "covariance"))
    return Shapes(ages, mean, covariance, str(data["shapedirs_sha256"]))


def shapes_of(body: SmplBody) -> Shapes:
    """The file beside a body's, where its betas are this body's. ValueError: there is none."""
    file = None if body.file is None else body.file.with_name(SHAPES)
    shapes = shapes_by_person(file) if file is not None and file.is_file() else None
    own = np.ascontiguousarray(body.shapedirs.cpu().numpy().astype(np.float32))
    if shapes is None or hashlib.sha256(own.tobytes()).hexdigest() != shapes.body:
        raise ValueError(
            "Gender and Age are about the betas of the free body, and this is another. Of SMPL, choose the body of the "
            "gender (BODY.PATH: smpl_female), and give a Height or a Shape."
        )
    return shapes


def _record(
    exchanged: list[list[tuple[NDArray, NDArray]]], gender: NDArray, known: NDArray, young: NDArray
) -> ShapeOfPerson:
    factor = torch.tensor(np.stack([np.stack([A for A, _ in one]) for one in exchanged]))
    offset = torch.tensor(np.stack([np.stack([b for _, b in one]) for one in exchanged]))
    said = torch.tensor(known.astype(np.float64))
    return ShapeOfPerson(factor, offset, torch.tensor(gender), said, torch.tensor(young))


def _nodes(years: float, std: float) -> Ages:
    """The normal distribution about an age; adults where it is not known."""
    if not np.isfinite(years):
        return ADULTS
    return years + std * NODES[0], NODES[1] / NODES[1].sum()


def _height(body: SmplBody, shapes: Shapes, gender: int, ages: Ages) -> str:
    """How tall such people are, and how different, in words."""
    mean, covariance = shapes.mixture(gender, *ages)
    term = HeightTerm(body)
    slope = term.slope.numpy()
    return f"{float(term.mean) + slope @ mean:.2f} ± {(slope @ covariance @ slope) ** 0.5:.2f} m tall"


def _said(words: Sequence[str]) -> str:
    return ", ".join(words[:1] if len(set(words)) == 1 else words)


def _read_genders(gender: object, count: int) -> NDArray[np.int64]:
    each = [gender] * count if isinstance(gender, str) else gender
    if not isinstance(each, list | tuple) or len(each) != count:
        raise ValueError(
            f"gender should be 'male' or 'female', or a list with one for each of the {how_many(count, 'people')} "
            "(None where it is "
            f"not known), not {brief_repr(gender)}."
        )
    for one in each:
        if one is not None and (not isinstance(one, str) or one.strip().lower() not in WORDS):
            near = did_you_mean(str(one), WORDS)
            raise ValueError(
                f"gender should be 'male' or 'female', not {brief_repr(one)}.{near} Leave it out if it is unknown."
            )
    return np.array([0 if one is None else WORDS[one.strip().lower()] for one in each], np.int64)


def _read_ages(age: Age, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Years, NaN where not known, and their standard deviations."""
    each = f"one number or one for each of the {how_many(count, 'people')}"
    given, holes = age.years, np.zeros(count, bool)
    if isinstance(given, list | tuple) and len(given) == count:
        holes = np.array([y is None for y in given])
        given = [AGES[0] if y is None else y for y in given]
    years = numbers(given, "age", f"years, {each} (None where it is not known)", (count,), *AGES)
    std = numbers(age.std, "std", f"years, the standard deviation of an age, {each}", (count,), *AGE_STDS)
    return np.where(holes, np.nan, years), np.array(std)

"""Levenberg-Marquardt: known answers, scipy's, batch independence, and the same steps for one problem as in a batch."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.optimize import least_squares
from torch import Tensor

from hmrfit.fitting.solver import NU_MAX, STATUS, BatchedSystem, NumpySystem, Options, Solution, solve
from hmrfit.types import TensorRecord

THOROUGH = Options(max_steps=300, ftol=1e-14, gtol=1e-12)


@dataclass(frozen=True)
class Point(TensorRecord):
    """x (B, P) and each sample's own data (B, ...)."""

    x: Tensor


class Residuals:
    """A problem from residuals r(x (P,), data (...)) -> (M,) of one sample."""

    def __init__(self, fn, data: Tensor) -> None:
        self.fn, self.data = fn, data

    def linearize(self, point: Point, warm_up: bool = False) -> BatchedSystem:
        r = torch.func.vmap(self.fn)(point.x, self.data)
        J = torch.func.vmap(torch.func.jacfwd(self.fn))(point.x, self.data)
        return BatchedSystem(0.5 * r.square().sum(-1), (r[:, None] @ J).squeeze(1), J.mT @ J)

    def retract(self, point: Point, delta: Tensor) -> Point:
        return Point(point.x + delta)

    def select(self, index: Tensor) -> "Residuals":
        return Residuals(self.fn, self.data[index])


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def linear(x: Tensor, data: Tensor) -> Tensor:
    return data[:, :-1] @ x - data[:, -1]


def rosenbrock(x: Tensor, data: Tensor) -> Tensor:
    return torch.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]])


def curves(x: Tensor, data: Tensor) -> Tensor:
    """A sum of two exponentials through 12 noisy points."""
    t = torch.linspace(0, 3, 12, dtype=torch.float64)
    return x[0] * torch.exp(-x[1] * t) + x[2] * torch.exp(-x[3] * t) - data


def noisy_curves(count: int) -> Tensor:
    t = torch.linspace(0, 3, 12, dtype=torch.float64)
    return 2 * torch.exp(-0.5 * t) + torch.exp(-3 * t) + 0.05 * draw(count, 12)


START = torch.tensor([1.0, 0.3, 0.5, 2.0]).double()


def solve_from(fn, data: Tensor, x: Tensor, options: Options = THOROUGH) -> Solution:
    return solve(Residuals(fn, data), Point(x), options)


def test_linear_least_squares_in_one_step():
    data = draw(5, 8, 4)
    solution = solve_from(linear, data, draw(5, 3), Options(max_steps=1, damping=1e-9))
    expected = torch.linalg.lstsq(data[..., :3], data[..., 3:]).solution.squeeze(-1)
    torch.testing.assert_close(solution.x.x, expected, rtol=0, atol=1e-6)  # the damping's share of the step
    assert (solution.steps == 1).all()


def test_linear_problems_end_with_no_gradient():
    data = draw(5, 8, 4)
    solution = solve_from(linear, data, draw(5, 3))
    expected = torch.linalg.lstsq(data[..., :3], data[..., 3:]).solution.squeeze(-1)
    torch.testing.assert_close(solution.x.x, expected, rtol=0, atol=1e-10)
    assert set(solution.status.tolist()) <= {1, 2} and solution.steps.max() < 12


def test_rosenbrock():
    x = torch.tensor([[-1.2, 1.0], [0.0, 0.0], [3.0, -2.0], [1.0, 1.0]]).double()
    solution = solve_from(rosenbrock, torch.zeros(4, 1), x)
    torch.testing.assert_close(solution.x.x, torch.ones(4, 2).double(), rtol=0, atol=1e-8)
    assert solution.cost.max() < 1e-16
    assert solution.steps[3] == 0 and solution.status[3] == 2  # it was there already


def test_scipy_finds_the_same_minima():
    data = noisy_curves(20)
    solution = solve_from(curves, data, START.expand(20, 4))
    for b in range(20):
        one = lambda x, b=b: curves(torch.as_tensor(x), data[b]).numpy()  # noqa: E731
        best = least_squares(one, START.numpy(), method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
        assert solution.cost[b].item() <= best.cost * (1 + 1e-9)
        np.testing.assert_allclose(solution.x.x[b], best.x, atol=1e-4)  # cost is flat to 1e-16 within its root


def test_batch_independence_also_beside_a_nan():
    """Damping, acceptance and stop are each sample's own."""
    data, x = noisy_curves(6), START.expand(6, 4).clone()
    x[2] += torch.tensor([5.0, 0.0, -3.0, 4.0])  # a slow one
    together = solve_from(curves, data, x)
    sick = data.clone()
    sick[1, 3] = torch.nan
    beside = solve_from(curves, sick, x)
    for b in range(6):
        alone = solve_from(curves, data[b : b + 1], x[b : b + 1])
        # 1e-9: matrix products of other batch sizes round differently, 1e-16 a step, through flat valleys
        torch.testing.assert_close(alone.x.x[0], together.x.x[b], rtol=0, atol=1e-9)
        if b != 1:
            torch.testing.assert_close(beside.x.x[b], together.x.x[b], rtol=0, atol=1e-9)
            assert beside.status[b] == together.status[b] and beside.steps[b] == together.steps[b]
    assert len(set(together.steps.tolist())) > 1  # they did leave at different times


def test_the_cost_never_rises():
    data, x = noisy_curves(10), START + draw(10, 4)
    costs = [solve_from(curves, data, x, Options(max_steps=n, ftol=0, gtol=0)).cost for n in range(12)]
    assert all((after <= before).all() for before, after in pairwise(costs))
    assert (costs[-1] < costs[0]).all()


def test_the_cost_is_that_of_the_point():
    data, x = noisy_curves(10), START + draw(10, 4)
    for steps in (0, 1, 5, 100):
        solution = solve_from(curves, data, x, Options(max_steps=steps))
        expected = 0.5 * torch.func.vmap(curves)(solution.x.x, data).square().sum(-1)
        torch.testing.assert_close(solution.cost, expected)


def cliff(x: Tensor, data: Tensor) -> Tensor:
    """Minimum 0 at 3, but not finite beyond `data`."""
    return torch.where(x < data, x - 3, torch.nan)


def test_a_sample_that_goes_wrong_ends_at_its_best_place():
    """The full step lands on NaN: it is rejected, shorter ones are taken, and the end is finite and better."""
    data = torch.tensor([[2.0], [10.0], [-5.0]]).double()
    solution = solve_from(cliff, data, torch.zeros(3, 1).double(), Options(max_steps=100))
    assert 0 < solution.x.x[0, 0] < 2 and solution.cost[0] < 4.5
    assert solution.x.x[1, 0].item() == pytest.approx(3)
    assert solution.x.x[2, 0] == 0 and solution.cost[2].isnan() and solution.status[2] == 4


def test_a_sample_whose_hessian_is_not_finite_keeps_its_start():
    def spike(x: Tensor, data: Tensor) -> Tensor:
        return (x - data).abs().sqrt()  # derivative 1/0 at x = data

    solution = solve_from(spike, torch.tensor([[1.0]]).double(), torch.tensor([[1.0]]).double())
    assert solution.x.x.isfinite().all() and solution.cost.item() == 0


@pytest.mark.parametrize(
    ("fn", "start", "options", "status"),
    [
        (rosenbrock, [-1.2, 1.0], Options(max_steps=2), 0),
        (curves, START.tolist(), Options(max_steps=300, ftol=1e-3, gtol=0.0), 1),
        (rosenbrock, [1.0, 1.0], Options(), 2),
        (lambda x, data: torch.where(x == 0, x + 1, x + 2), [0.0], Options(max_steps=300), 3),
        (lambda x, data: x / 0, [0.0], Options(), 4),
    ],
    ids=STATUS,
)
def test_every_status(fn, start, options, status):
    data = noisy_curves(1)
    solution = solve_from(fn, data, torch.tensor([start]).double(), options)
    assert solution.status.tolist() == [status]
    assert len(STATUS[status]) > 20 and STATUS[status].endswith(".")


def test_columns_that_nothing_depends_on_stay():
    fn = lambda x, data: x[:2] - data  # noqa: E731
    solution = solve_from(fn, draw(4, 2), torch.full((4, 3), 7.0).double())
    assert solution.x.x[:, 2].tolist() == [7.0] * 4 and solution.cost.max() < 1e-12


def test_no_steps_at_all():
    x = draw(3, 2)
    solution = solve_from(rosenbrock, torch.zeros(3, 1), x, Options(max_steps=0))
    assert torch.equal(solution.x.x, x) and solution.status.tolist() == [0, 0, 0]


def test_the_predicted_fall_is_the_models():
    """Without damping it is what the quadratic model falls by, half of g^T H^-1 g."""
    data, x = draw(4, 8, 4), draw(4, 3)
    problem = Residuals(linear, data)
    at = problem.linearize(Point(x))
    delta, predicted = at.step(torch.full((4,), 1e-12).double())
    fall = at.cost - problem.linearize(Point(x + delta)).cost
    torch.testing.assert_close(predicted, fall, rtol=1e-6, atol=0)  # the floor under the diagonal is 1e-9 of it


def test_the_start_is_not_changed():
    x = START.expand(3, 4).clone()
    before = x.clone()
    solve_from(curves, noisy_curves(3), x)
    assert torch.equal(x, before)


class Alone:
    """One sample of a batched problem, in NumPy."""

    def __init__(self, problem: Residuals) -> None:
        self.problem = problem

    def linearize(self, x: np.ndarray, warm_up: bool = False) -> NumpySystem:
        found = self.problem.linearize(Point(torch.tensor(x)[None]), warm_up)
        return NumpySystem(float(found.cost), found.gradient[0].numpy(), found.hessian[0].numpy())

    def retract(self, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return x + delta


@pytest.mark.parametrize(
    ("fn", "start", "options"),
    [
        (rosenbrock, [-1.2, 1.0], THOROUGH),
        (rosenbrock, [-1.2, 1.0], Options(max_steps=3)),
        (lambda x, data: torch.stack([x[0] - 1, x[0] - 3]), [9.0], Options(max_steps=50, ftol=1e-3, gtol=1e-30)),
        (lambda x, data: torch.stack([x[0] - 1, x[0] - 3]), [9.0], Options(max_steps=50, ftol=1e-30, gtol=1e-3)),
        (lambda x, data: 1 + 1e3 * (x - x.detach()) + x.detach() ** 2 * 1e6, [0.0], Options(max_steps=90)),
    ],
)
def test_one_by_one_is_as_in_a_batch(fn, start: list, options: Options):
    """The same point, cost, status and number of steps, however it ends."""
    problem = Residuals(fn, torch.zeros(1, 1).double())
    batch = solve(problem, Point(torch.tensor([start]).double()), options)
    alone = solve(Alone(problem), np.array(start), options)
    assert (alone.status, alone.steps) == (int(batch.status), int(batch.steps))
    np.testing.assert_allclose(
        alone.x, batch.x.x[0], rtol=1e-6, atol=1e-12
    )  # rounding grows on the way down the valley
    assert alone.cost == pytest.approx(float(batch.cost), rel=1e-6, abs=1e-15)


class SpentByAStep(NumpySystem):
    """Equations that a step uses up, as those of a sequence."""

    spent = False

    def step(self, damping: float) -> tuple[np.ndarray, float]:
        found = super().step(damping)
        self.spent = True
        self.gradient, self.hessian = self.gradient * np.nan, self.hessian * np.nan
        return found


class Spending(Alone):
    """The same problem with such equations."""

    def linearize(self, x: np.ndarray, warm_up: bool = False) -> SpentByAStep:
        found = super().linearize(x, warm_up)
        return SpentByAStep(found.cost, found.gradient, found.hessian)


@pytest.mark.parametrize("warm_up_steps", [0, 2])
def test_equations_that_a_step_uses_up_are_made_anew(warm_up_steps):
    """After a rejection, of which the way down this valley has some; the steps are the same."""
    options = Options(max_steps=60, damping=1e-6, warm_up_steps=warm_up_steps)
    start, problem = np.array([-1.2, 1.0]), Residuals(rosenbrock, torch.zeros(1, 1).double())
    kept, spent = (solve(kind(problem), start, options) for kind in (Alone, Spending))
    assert (kept.x == spent.x).all() and (kept.cost, kept.status, kept.steps) == (spent.cost, spent.status, spent.steps)
    costs = [solve(Alone(problem), start, replace(options, max_steps=n)).cost for n in range(kept.steps)]
    assert len(set(costs)) < len(costs)  # some steps were rejected


@dataclass
class Announced:
    """Equations at a cost, whose step is announced to lower it by `predicted`; keeps the dampings it was asked with."""

    cost: float
    predicted: float
    asked: list[float]
    spent = False

    def step(self, damping: float) -> tuple[float, float]:
        self.asked.append(damping)
        return 1.0, self.predicted

    def scaled_gradient(self) -> float:
        return 1.0


class Gains:
    """x counts the steps taken; the k-th step tried lowers the cost by gain_k of what it announces, which is 1."""

    def __init__(self, gains: tuple[float, ...]) -> None:
        self.gains, self.asked, self.cost = iter(gains), [], 100.0

    def linearize(self, x: float, warm_up: bool = False) -> Announced:
        if self.asked:
            cost = self.cost - next(self.gains)
            self.cost = min(cost, self.cost)
            return Announced(cost, 1.0, self.asked)
        return Announced(self.cost, 1.0, self.asked)

    def retract(self, x: float, delta: float) -> float:
        return x + delta


@pytest.mark.parametrize(
    ("gain", "factor"), [(0.25, 1.125), (0.5, 1.0), (0.75, 0.875), (0.9, 0.488), (1.0, 0.1), (1.8, 0.1)]
)
def test_the_damping_follows_nielsens_rule(gain: float, factor: float):
    """Accepted: by max(0.1, 1 − (2 gain − 1)³), nu 2 again. Rejected: by nu, which doubles."""
    problem = Gains((gain, -1.0, -1.0, gain, -1.0, 0.5))
    solve(problem, 0.0, Options(max_steps=6, damping=1e-2, ftol=0.0))
    factors = [b / a for a, b in pairwise(problem.asked)]
    np.testing.assert_allclose(factors, [factor, 2, 4, factor, 2], rtol=1e-12)


def test_a_rejected_step_asks_for_a_least_damping():
    """Where good steps made it small; where it is larger already, nu decides."""
    problem = Gains((1.0, -1.0, -1.0, 0.5, -1.0))
    solve(problem, 0.0, Options(max_steps=5, damping=1e-3, ftol=0.0, rejected_damping=0.1))
    np.testing.assert_allclose(problem.asked, [1e-3, 1e-4, 0.1, 0.4, 0.4], rtol=1e-12)


def test_after_twenty_rejections_in_a_row_no_step_is_tried():
    """nu, which doubles from 2, has come to NU_MAX."""
    found = solve(Gains((-1.0,) * 40), 0.0, Options(max_steps=40))
    assert (found.status, found.steps, found.x, found.cost) == (3, 20, 0.0, 100.0) and NU_MAX == 2.0**20


@pytest.mark.parametrize(("gain", "ftol", "status"), [(0.05, 1e-3, 0), (1.8, 0.015, 0), (0.5, 0.015, 1)])
def test_it_stops_where_neither_the_fall_nor_what_was_predicted_is_more_than_ftol(gain, ftol, status):
    """Of the cost, about 100; 1 is predicted, and gain is the fall."""
    found = solve(Gains((gain, 0.5)), 0.0, Options(max_steps=2, ftol=ftol))
    assert found.steps == (1 if status else 2) and solve(Gains((gain,)), 0.0, Options(1, ftol)).status == status


class Warming(Residuals):
    """During the warm-up steps another energy stands in; sample 0's only rises, so every step of it is rejected."""

    def linearize(self, point: Point, warm_up: bool = False) -> BatchedSystem:
        if not warm_up:
            return super().linearize(point)
        rising = self.data[:, 0] > 0
        cost = torch.where(rising, 1 + 1e6 * point.x[:, 0].abs(), 0.5 * (point.x[:, 0] - 2).square())
        gradient = torch.where(rising, torch.ones_like(cost), point.x[:, 0] - 2)[:, None]
        return BatchedSystem(cost, gradient, torch.ones(len(cost), 1, 1).double())

    def select(self, index: Tensor) -> "Warming":
        return Warming(self.fn, self.data[index])


def test_a_rejected_warm_up_step_leaves_its_sample_where_it_is():
    """One sample's warm-up energy falls, the other's rises: alone, together and one by one they end alike, at the
    minimum of the energy that counts."""
    options = Options(max_steps=40, warm_up_steps=3, ftol=1e-12, gtol=1e-10)
    shifted = lambda x, data: torch.stack([x[0] - 5 - data[0], 0.3 * x[0]])  # noqa: E731
    problem = Warming(shifted, torch.tensor([[1.0], [0.0]]).double())
    both = solve(problem, Point(torch.zeros(2, 1).double()), options)
    expected = torch.tensor([[6.0], [5.0]]).double() / 1.09
    torch.testing.assert_close(both.x.x, expected, rtol=1e-6, atol=0)
    for i in (0, 1):
        one = problem.select(torch.tensor([i]))
        alone = solve(one, Point(torch.zeros(1, 1).double()), options)
        single = solve(Alone(one), np.zeros(1), options)
        assert torch.equal(alone.x.x[0], both.x.x[i]) and int(alone.steps) == int(both.steps[i]) == single.steps
        assert single.x[0] == pytest.approx(both.x.x[i, 0].item(), rel=1e-9) and single.status == int(both.status[i])
        assert single.cost == pytest.approx(float(both.cost[i]))


@pytest.mark.parametrize("steps", [1, 2])
def test_after_the_warm_up_costs_are_of_the_energy_that_counts(steps):
    """Also of a sample whose last warm-up step was rejected, as it led where that energy is not a number."""
    own = lambda x, data: torch.stack([(x[0] + 0.5).sqrt() - 3, data[0] + 0 * x[0]])  # noqa: E731
    problem = Warming(own, torch.tensor([[3.0], [-3.0]]).double())
    options = Options(max_steps=steps, warm_up_steps=steps)
    both = solve(problem, Point(torch.tensor([[0.0], [4.9]]).double()), options)
    alone = solve(Alone(problem.select(torch.tensor([0]))), np.zeros(1), options)
    assert both.x.x[0, 0] == alone.x[0] == 0 and both.x.x[1, 0] < 3
    torch.testing.assert_close(both.cost, problem.linearize(both.x).cost, rtol=1e-12, atol=0)
    assert alone.cost == pytest.approx(float(both.cost[0]), rel=1e-12)


def test_a_sample_whose_warm_up_steps_are_rejected_does_not_move():
    """After the warm-up alone: sample 0 is where it began in all but the last step, which arrives at the own energy."""
    flat = lambda x, data: 0 * x  # noqa: E731
    problem = Warming(flat, torch.tensor([[1.0], [0.0]]).double())
    ended = solve(problem, Point(torch.zeros(2, 1).double()), Options(max_steps=2, warm_up_steps=3))
    assert ended.x.x[0, 0] == 0 and ended.x.x[1, 0] > 1.5


class Cheaper(Residuals):
    """The same with a way to the cost alone; counts the samples that each way is asked about."""

    def __init__(self, fn, data: Tensor, asked: dict[str, int] | None = None) -> None:
        super().__init__(fn, data)
        self.asked = {"equations": 0, "cost": 0} if asked is None else asked

    def linearize(self, point: Point, warm_up: bool = False) -> BatchedSystem:
        self.asked["equations"] += len(point.x)
        return super().linearize(point)

    def cost_at(self, point: Point, warm_up: bool = False) -> Tensor:
        self.asked["cost"] += len(point.x)
        return 0.5 * torch.func.vmap(self.fn)(point.x, self.data).square().sum(-1)

    def select(self, index: Tensor) -> "Cheaper":
        return Cheaper(self.fn, self.data[index], self.asked)


class CheaperAlone(Alone):
    def cost_at(self, x: np.ndarray, warm_up: bool = False) -> float:
        return float(self.problem.cost_at(Point(torch.tensor(x)[None]), warm_up))


def bent(x: Tensor, data: Tensor) -> Tensor:
    """From 0 on far steeper than the equations at 0 say: a step that was taken for the last one is not."""
    return torch.stack([x[0] - 1.0, 30.0 + 0 * x[0], data[0] * (x[0] - 1e-3).clamp_min(0) * 20])


@pytest.mark.parametrize(
    "options", [Options(60, ftol=1e-3), Options(60, ftol=1e-3, warm_up_steps=2), Options(3, gtol=0.0)]
)
def test_at_the_end_of_a_last_step_only_the_cost_is_asked_for(options: Options):
    data, x = noisy_curves(64), START.expand(64, 4)
    plain, problem = solve(Residuals(curves, data), Point(x), options), Cheaper(curves, data)
    found = solve(problem, Point(x), options)
    assert problem.asked["cost"] > 16
    assert problem.asked["equations"] < int(plain.steps.sum()) + 64 - 16
    torch.testing.assert_close(found.x.x, plain.x.x, rtol=0, atol=1e-14)
    assert torch.equal(found.status, plain.status) and torch.equal(found.steps, plain.steps)
    alone = solve(CheaperAlone(Cheaper(curves, data[:1])), START.numpy(), options)
    np.testing.assert_allclose(alone.x, found.x.x[0], rtol=0, atol=1e-12)
    assert (alone.status, alone.steps) == (int(found.status[0]), int(found.steps[0]))


def test_equations_are_made_where_a_step_was_not_the_last():
    data, x = torch.linspace(0, 1, 32).double()[:, None], torch.zeros(32, 1).double()
    options = Options(max_steps=60, ftol=2e-3)
    plain, problem = solve(Residuals(bent, data), Point(x), options), Cheaper(bent, data)
    found = solve(problem, Point(x), options)
    assert problem.asked["cost"] > 0 and int(found.steps.max()) > int(found.steps.min())
    torch.testing.assert_close(found.x.x, plain.x.x, rtol=0, atol=1e-12)
    assert torch.equal(found.steps, plain.steps)


class Root:
    """½ (sign(x) |x|^¾)² of one number: Gauss-Newton's steps are a third too long, and fall short of what they say."""

    def linearize(self, x: np.ndarray, warm_up: bool = False) -> NumpySystem:
        r, J = np.sign(x) * np.abs(x) ** 0.4, 0.4 * np.abs(x) ** -0.6
        return NumpySystem(0.5 * float(r @ r), J * r, np.diag(J * J))

    def retract(self, x: np.ndarray, delta: np.ndarray) -> np.ndarray:
        return x + delta


def test_steps_that_fall_short_are_shortened():
    """x -> x - 2.5 x leads beyond the other side: without a shorter step it is rejected again and again."""
    options = Options(max_steps=6, ftol=1e-6, gtol=0.0, damping=1e-9)
    plain, short = (solve(Root(), np.ones(1), replace(options, shorten=on)) for on in (False, True))
    assert abs(short.x[0]) < 0.01 < abs(plain.x[0])
    assert short.fall == pytest.approx(0.5 - short.cost) and abs(short.before[0]) > abs(short.x[0])

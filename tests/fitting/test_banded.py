"""The bordered block-banded solver: its steps are those of the dense equations."""

import math

import pytest
import torch
from helpers.measured import draw

from hmrfit.fitting.banded import Bordered
from hmrfit.fitting.solver import added_to_diagonal


def random_system(T: int, n: int, S: int, bands: int) -> Bordered:
    """Positive definite: J^T J of rows that each see some neighbouring frames and what is shared."""
    J = torch.zeros(3 * T, n, T, n, dtype=torch.float64)
    for row in range(3 * T):
        first = row % T
        J[row, :, first : first + bands + 1] = draw(n, min(bands + 1, T - first), n)
    whole = torch.cat([J.flatten(0, 1).flatten(1), draw(3 * T * n, S)], 1)
    H = whole.T @ whole
    A = H[: T * n, : T * n].view(T, n, T, n)
    blocks = tuple(torch.stack([A[t, :, t + k] for t in range(T - k)]) for k in range(bands + 1))
    return Bordered.of(blocks, H[: T * n, T * n :].reshape(T, n, S), H[T * n :, T * n :], draw(T, n), draw(S))


@pytest.mark.parametrize(
    ("T", "n", "S", "bands"), [(7, 4, 3, 2), (5, 6, 2, 1), (4, 3, 5, 0), (3, 2, 1, 2), (40, 9, 10, 2)]
)
def test_the_block_solver_is_the_dense_one(T, n, S, bands):
    """To 1e-9 of the largest entry; and the predicted fall is that of the quadratic model."""
    for damping in (0.0, 0.3):
        system = random_system(T, n, S, bands)
        whole, gradient = system.dense()
        diagonal = whole.diagonal()
        added = torch.diag(added_to_diagonal(diagonal, diagonal.max().item(), damping))
        expected = -torch.linalg.solve(whole + added, gradient)
        step, fall = system.step(damping)
        found = torch.cat([part.flatten() for part in step])
        assert (found - expected).abs().max() <= 1e-9 * expected.abs().max()
        assert fall == pytest.approx(-(expected @ gradient + 0.5 * expected @ whole @ expected).item(), rel=1e-9)


def test_a_step_spends_the_equations():
    """They are factorised where they lie, so that there is room for one set of them."""
    system = random_system(7, 4, 3, 2)
    memory, before = system.right, system.right.clone()
    assert not system.spent
    system.step(0.1)
    assert system.spent and (memory != before).any()
    again = Bordered.zeros(7, 4, 3, 2, system)
    assert again.right.data_ptr() == memory.data_ptr() and not again.spent and not again.border.any()


def test_what_is_not_positive_definite_has_no_step():
    for part in ("diagonal_blocks", "corner"):
        system = random_system(5, 3, 2, 1)
        setattr(system, part, -getattr(system, part))
        (x, y), fall = system.step(0.0)
        assert math.isnan(fall) and not x.any() and not y.any() and system.spent


def test_the_scaled_gradient_is_the_dense_ones():
    system = random_system(5, 3, 2, 1)
    whole, gradient = system.dense()
    expected = (gradient.abs() / whole.diagonal().sqrt()).max().item()
    assert system.scaled_gradient() == pytest.approx(expected, rel=1e-12)
    system.gradient[2, 1] = math.nan
    assert math.isnan(system.scaled_gradient())

"""Spheres that keep apart, against SMPLify's formula written out number by number."""

import math

import pytest
import torch
from helpers.bodies import free_body, random_params

from hmrfit.body.capsules import NAMES, capsules_of
from hmrfit.priors.sphere_overlap import MAY_NOT_MEET, SphereOverlap

PAIRS_BY_NUMBER = [
    *((a, b) for a in (0, 3, 6, 9) for b in (16, 17, 18, 19)),
    (4, 5), (7, 5), (8, 7), (8, 4), (11, 16), (12, 17), (18, 19),
]  # fmt: skip


def overlap() -> SphereOverlap:
    return SphereOverlap(capsules_of(free_body()))


def spheres(count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres and radii of a few bodies in random poses."""
    body, capsules = free_body(), capsules_of(free_body())
    params = random_params(body, count, pose=1.0, seed=2)
    posed = body.points(()).pose(params)
    return capsules.sphere_centers(params.betas, posed.joints, posed.world), params.betas


def test_the_pairs_are_smplifys():
    numbers = [(NAMES.index(a), NAMES.index(b)) for a, b in MAY_NOT_MEET]
    assert sorted(numbers) == sorted(PAIRS_BY_NUMBER) and len(numbers) == 23


def slow_energy(centers: torch.Tensor, radii: torch.Tensor, capsule: list[int]) -> float:
    """sum exp(-d²/(2 ((a R_p)² + (a R_q)²)))² over the pairs, a = 0.3, one by one."""
    total = 0.0
    for p in range(len(radii)):
        for q in range(len(radii)):
            if (capsule[p], capsule[q]) in PAIRS_BY_NUMBER:
                d2 = sum((centers[p, i] - centers[q, i]).item() ** 2 for i in range(3))
                rho = (0.3 * radii[p].item()) ** 2 + (0.3 * radii[q].item()) ** 2
                total += math.exp(-(d2 / rho) / 2) ** 2
    return total


def test_half_the_sum_of_squares_is_the_square_of_smplifys_number():
    """Its code returns sqrt(total) and weighs it by w: w² total."""
    prior = overlap()
    centers, betas = spheres(8)
    cost = 0.5 * prior.residuals(centers, prior.squared_widths(betas)).square().sum(1)
    radii, capsule = prior.capsules.sphere_radii(betas), prior.capsules.sphere_capsule.tolist()
    expected = [slow_energy(c, r, capsule) for c, r in zip(centers, radii, strict=True)]
    torch.testing.assert_close(cost, torch.tensor(expected, dtype=torch.float64), rtol=1e-10, atol=1e-14)
    assert cost.max() > 1e-3


def test_derivative_by_the_centres():
    prior = overlap()
    centers, betas = spheres(2)
    widths = prior.squared_widths(betas)
    r, by_first = prior.derivatives(centers, widths)
    torch.testing.assert_close(r, prior.residuals(centers, widths))
    weight = torch.randn_like(r)
    centers.requires_grad_()
    (expected,) = torch.autograd.grad((weight * prior.residuals(centers, widths)).sum(), centers)
    pull = weight[..., None] * by_first
    found = torch.zeros_like(centers).index_add(1, prior.first, pull).index_add(1, prior.second, -pull)
    torch.testing.assert_close(found, expected.detach(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("apart", [0.0, 1.0, 2.0, 3.0])
def test_touching_costs_next_to_nothing(apart):
    """At apart radii of distance, for two spheres as thick: exp(-apart²/(4 · 0.09)); touching is at 2."""
    prior = overlap()
    widths = prior.squared_widths(torch.zeros(1, 10).double())
    centers = torch.zeros(1, len(prior.capsules.sphere_fraction), 3).double()
    left, right = (NAMES.index(f"{side}_calf") for side in ("left", "right"))
    capsule = prior.capsules.sphere_capsule
    pair = ((capsule[prior.first] == left) & (capsule[prior.second] == right)).nonzero()[0, 0]
    radius = prior.capsules.radii(torch.zeros(1, 10).double())[0, left]
    centers[0, prior.first[pair], 0] = apart * radius
    r = prior.residuals(centers, widths)[0, pair].item()
    assert r == pytest.approx(math.sqrt(2) * math.exp(-(apart**2) / (4 * 0.09)), rel=0.05, abs=1e-6)

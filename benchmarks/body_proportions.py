"""Proportions of the free body beside published anthropometry.

    python benchmarks/body_proportions.py

Measured on the T-pose of people drawn with β ~ N(0, I), and of the mean at ±2 of each of the first components. The
published side is the even mixture of the sexes of ANSUR II (Gordon et al. 2014), for the span of ANSUR (Gordon et al.
1989): mean m = (m₁ + m₂)/2, variance s² = (s₁² + s₂²)/2 + (m₁ − m₂)²/4. All in millimetres.
"""

import argparse
from collections.abc import Sequence

import numpy as np
from _common import ROOT, finish

BODY = ROOT / "priors" / "free_body.npz"
PUBLISHED = {
    "stature": ((1756, 69), (1629, 64)),
    "span": ((1823, 82), (1672, 80)),
    "biacromial": ((415, 19), (365, 18)),
    "hip_breadth": ((342, 22), (345, 25)),
}
"""name: (mean, standard deviation) of men and of women, rounded; span with straight fingers, biacromial over bones."""


def measures(vertices: np.ndarray, joints: np.ndarray) -> dict[str, np.ndarray]:
    """Stature, span (fingers a little bent), distance of the shoulder joints, hip breadth; (B,) each, mm."""
    x, y = vertices[..., 0], vertices[..., 1]
    hips, shoulders = joints[:, 1:3, 1].mean(1, keepdims=True), joints[:, 16:18]
    at_hips = np.abs(y - hips) < 0.08
    return {
        "stature": 1e3 * np.ptp(y, axis=1),
        "span": 1e3 * np.ptp(x, axis=1),
        "shoulder_joints": 1e3 * (shoulders[:, 0, 0] - shoulders[:, 1, 0]),
        "hip_breadth": 1e3 * 2 * np.where(at_hips, x, 0).max(1),
    }


def of_betas(body: dict[str, np.ndarray], betas: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of people with these betas (B, S)."""
    parts = [_measured(body, some) for some in np.array_split(betas, max(1, len(betas) // 100))]
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _measured(body: dict[str, np.ndarray], betas: np.ndarray) -> dict[str, np.ndarray]:
    vertices = body["v_template"] + np.einsum("vdk,bk->bvd", body["shapedirs"], betas)
    return measures(vertices, body["J_regressor"] @ vertices)


def mixture(men: tuple[float, float], women: tuple[float, float]) -> tuple[float, float]:
    """(mean, standard deviation) of the even mixture."""
    variance = (men[1] ** 2 + women[1] ** 2) / 2 + (men[0] - women[0]) ** 2 / 4
    return (men[0] + women[0]) / 2, variance**0.5


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args(arguments)
    with np.load(BODY) as file:
        body = {name: file[name] for name in ("v_template", "shapedirs", "J_regressor")}
    people = of_betas(body, np.random.default_rng(0).normal(size=(1000, 10)))
    mean = of_betas(body, np.zeros((1, 10)))
    for name, (men, women) in PUBLISHED.items():
        m, s = mixture(men, women)
        print(f"published {name:16s} {m:7.0f} ± {s:.0f}   men {men[0]} ± {men[1]}, women {women[0]} ± {women[1]}")
    summary = {}
    for name, x in people.items():
        summary[name] = {"mean": float(mean[name][0]), "sd": float(x.std())}
        print(f"free body {name:16s} {mean[name][0]:7.0f} ± {x.std():.0f}")
    for k in range(10):
        ends = of_betas(body, np.eye(10)[[k, k]] * [[-2.0], [2.0]])
        print(f"β{k + 1:<2d} at -2, +2: " + ", ".join(f"{n} {x[0]:.0f} {x[1]:.0f}" for n, x in ends.items()))
    finish(benchmark="body_proportions", **summary)


if __name__ == "__main__":
    main()

"""Fit priors/shape_by_person.npz: the free body's betas of men and women, boys and girls, by age.

    pip install 'hmrfit[body]' && python priors/scripts/fit_shape_by_person.py

    p(β | sex, age) = N(mean, covariance)        of `PEOPLE` people of that sex, aged within half a year of it

People are drawn as the free body's adults are (`free_body_people`), with the statures of their age; each is brought to
the T-pose, and its betas are the least-squares fit of its vertices. Deterministic; about five minutes on two cores.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

import free_body_people as people_
import free_body_source as source_
from scipy.spatial import cKDTree

from hmrfit.assets import locate, record_checksum
from hmrfit.io.atomic import write_npz

SEED, PEOPLE = 2026, 200
AGES = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 25, 35, 45, 55, 65, 75, 85)
GROWTH = {
    "man": (
        *(0.953, 1.025, 1.092, 1.157, 1.220, 1.281, 1.336, 1.388, 1.437, 1.493, 1.564, 1.641, 1.701, 1.736),
        people_.STATURE["man"][0],
    ),
    "woman": (
        *(0.942, 1.010, 1.079, 1.151, 1.215, 1.276, 1.329, 1.382, 1.443, 1.512, 1.573, 1.604, 1.619, 1.625),
        people_.STATURE["woman"][0],
    ),
}
"""Median statures in metres at 3, 4, ... 16 and 18 years: CDC 2000 growth charts (Kuczmarski 2002), rounded, quoted
from memory of the tables; grown up as in the free body, ANSUR II."""
SPREAD, SPREAD_GROWING = 0.0393, 0.048
"""Standard deviation of stature over its mean: of adults (ANSUR II) and children; from 11 to 15 years (CDC 2000)."""
SHRINKING = 0.0006
"""Of stature, lost in a year after 55 (Sorkin 1999: 3 to 5 cm from 30 to 70 years, most of it late)."""
SPAN = {"man": (0.985, 1.038), "woman": (0.985, 1.026)}
"""Arm span over stature: of children up to 8 years (Engelbach 1932), and of the free body's adults (ANSUR)."""
LEAST_STD = 0.2
"""Of a beta: people vary in more than the phenotypes of anny do."""


def published_stature(sex: str, age: float) -> tuple[float, float]:
    """(mean, standard deviation), metres."""
    mean = np.interp(age, (*range(3, 17), 18), GROWTH[sex]) * (1 - SHRINKING * max(age - 55, 0))
    return float(mean), float(mean) * (SPREAD_GROWING if 11 <= age <= 15 else SPREAD)


class _About:
    """Ages within half a year."""

    def __init__(self, age: float) -> None:
        self.age = age

    def sample(self, shape: tuple[int, ...]) -> torch.Tensor:
        return self.age - 0.5 + torch.rand(shape, dtype=torch.float64)


class _OneSex:
    """anny's gender axis, within 15 % of one end, as the free body's adults are drawn."""

    def __init__(self, sex: str) -> None:
        self.sex = sex

    def sample(self, shape: tuple[int, ...]) -> torch.Tensor:
        from_end = 0.15 * torch.rand(shape, dtype=torch.float64)
        return 1 - from_end if self.sex == "woman" else from_end


def sample(source: source_.Source, sex: str, age: float, seed: int) -> people_.People:
    """People of one sex and age, with the published statures and spans."""
    from anny.shape_distribution import SimpleShapeDistribution

    before = torch.get_rng_state()
    torch.manual_seed(seed)
    _, drawn = SimpleShapeDistribution(source.model, _About(age), _OneSex(sex)).sample(PEOPLE)
    torch.set_rng_state(before)
    phenotypes = np.stack([drawn[k].numpy() for k in source.model.phenotype_labels], 1).astype(np.float64)
    phenotypes = people_.with_stature(source, phenotypes, *published_stature(sex, age))
    rng = np.random.default_rng(seed)
    leg = 1 + people_.SPREAD_LEG * rng.normal(size=PEOPLE)
    parts = 1 + people_.SPREAD_PARTS * rng.normal(size=(2, PEOPLE))
    arm = arm_factor(source, phenotypes, sex, age) * (1 + people_.SPREAD_ARM * rng.normal(size=PEOPLE))
    return people_.People(phenotypes, np.stack([arm * parts[0], arm / parts[0], leg * parts[1], leg / parts[1]], 1))


def arm_factor(source: source_.Source, phenotypes: np.ndarray, sex: str, age: float) -> float:
    """How much longer than anny's arms are, so that the mean span is the published one."""
    some, joints = people_.t_posed(source, people_.People(phenotypes[:40], np.ones((40, 4))))
    stature, span = (np.ptp(some[..., axis], axis=1).mean() for axis in (1, 0))
    arms = span - (joints[:, 16, 0] - joints[:, 17, 0]).mean()
    small, grown = SPAN[sex]
    wanted = stature * np.interp(age, (8, 18), (small, grown))
    return float(1 + (wanted - span) / arms)


def betas_of(bodies: np.ndarray, template: np.ndarray, shapedirs: np.ndarray) -> tuple[np.ndarray, float]:
    """T-posed bodies (B, V, 3) -> betas (B, S), and the mean distance that they leave, millimetres."""
    away = (bodies - template).reshape(len(bodies), -1)
    directions = shapedirs.reshape(-1, shapedirs.shape[-1])
    betas = np.linalg.lstsq(directions, away.T, rcond=None)[0].T
    left = (away - betas @ directions.T).reshape(bodies.shape)
    return betas, 1e3 * float(np.linalg.norm(left, axis=-1).mean())


def fit() -> dict[str, np.ndarray]:
    """Every array of the file, by name."""
    with np.load(locate("free_body"), allow_pickle=False) as body:
        template, shapedirs = body["v_template"].astype(np.float64), body["shapedirs"].astype(np.float64)
        fingerprint = hashlib.sha256(body["shapedirs"].tobytes()).hexdigest()
    source = source_.load()
    adults, _ = people_.t_posed(source, people_.sample_adults(source, 2000, SEED))
    distance, keep = cKDTree(adults.mean(0)).query(template)
    if distance.max() > 1e-3:
        raise ValueError("anny's mean adult is not the free body's template: build the free body with this anny first.")
    cells: dict[str, list[np.ndarray | float]] = {"mean": [], "covariance": [], "residual": [], "stature": []}
    for s, sex in enumerate(("woman", "man")):
        for k, age in enumerate(AGES):
            bodies, _ = people_.t_posed(source, sample(source, sex, age, SEED + 100 * s + k), keep)
            betas, left = betas_of(bodies, template, shapedirs)
            stature = np.ptp(bodies[..., 1], axis=1)
            cells["mean"].append(betas.mean(0))
            cells["covariance"].append(np.cov(betas.T) + LEAST_STD**2 * np.eye(betas.shape[1]))
            cells["residual"].append(left)
            cells["stature"].append(float(stature.mean()))
            print(
                f"{sex} {age:3d}  {stature.mean():.3f} ± {stature.std():.3f} m, the betas leave {left:.1f} mm",
                flush=True,
            )
    grid = {name: np.stack(values).reshape(2, len(AGES), *np.shape(values[0])) for name, values in cells.items()}
    about = {"command": "python priors/scripts/fit_shape_by_person.py", "anny": source_.anny_version(), "seed": SEED}
    return {
        "sexes": np.array(("female", "male")),
        "ages": np.array(AGES, np.float64),
        **{name: values.astype(np.float32) for name, values in grid.items()},
        "shapedirs_sha256": np.array(fingerprint),
        "meta": np.array(json.dumps(about | {"people": PEOPLE, "least_std": LEAST_STD})),
    }


def main() -> None:
    target = Path(__file__).parents[1] / "shape_by_person.npz"
    write_npz(target, fit())
    record_checksum(target)
    print(f"{target}: {target.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()

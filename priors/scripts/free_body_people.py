"""The adults whose shapes the body learns: anny's phenotypes, published statures and limb lengths, all in T-pose.

anny's adults vary in build and sex, but given the stature hardly in the length of arms and legs (women: 6 mm of span,
people: about 45), and its women's arms are short (span 0.97 of stature, people 1.03). So, in T-pose, where limbs lie
along the axes, arms are stretched along x and legs along y; the trunk gives back what the legs take from the stature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from free_body_pose import chain, dqs, t_pose_rotations
from free_body_source import JOINT_NAMES, Source, joint_of

# Where the pelvis joint of every body is put, close to SMPL's habit, so that weak-perspective cameras carry over.
PELVIS = np.array([0.0, -0.22, 0.03])
# Mean and standard deviation of stature in metres: ANSUR II (Gordon 2014, 4,082 men and 1,986 women).
STATURE = {"man": (1.756, 0.069), "woman": (1.629, 0.064)}
# Factors of arm length: they bring the span, fingers straightened, to 1.035 of stature (men) and 1.025 (women).
ARM = {"man": 1.02, "woman": 1.07}
# Standard deviations of the factors: whole arm, whole leg, and upper part against lower part of either.
SPREAD_ARM, SPREAD_LEG, SPREAD_PARTS = 0.03, 0.020, 0.015


@dataclass(frozen=True)
class People:
    """phenotypes: (N, P) of anny; limbs: (N, 4) length factors of upper arm, forearm and hand, thigh, shin."""

    phenotypes: np.ndarray
    limbs: np.ndarray

    def __getitem__(self, some) -> People:
        return People(self.phenotypes[some], self.limbs[some])

    def __len__(self) -> int:
        return len(self.phenotypes)


def sample_adults(source: Source, count: int, seed: int) -> People:
    """`count` adults of 18 to 65 years, half women, half men; stature as published, limbs as said above."""
    phenotypes = with_published_stature(source, sample_phenotypes(source, count, seed))
    rng = np.random.default_rng(seed)
    woman = _women(source, phenotypes)
    arm = np.where(woman, ARM["woman"], ARM["man"]) * (1 + SPREAD_ARM * rng.normal(size=count))
    leg = 1 + SPREAD_LEG * rng.normal(size=count)
    parts = 1 + SPREAD_PARTS * rng.normal(size=(2, count))
    return People(phenotypes, np.stack([arm * parts[0], arm / parts[0], leg * parts[1], leg / parts[1]], 1))


def _women(source: Source, phenotypes: np.ndarray) -> np.ndarray:
    return phenotypes[:, source.model.phenotype_labels.index("gender")] > 0.5


def sample_phenotypes(source: Source, count: int, seed: int) -> np.ndarray:
    """(count, P) phenotypes from anny's shape distribution, half women, half men.

    anny draws its gender evenly between the two ends; people are nearer to the ends, so it is drawn within 15 % of one.
    """
    from anny.shape_distribution import SimpleShapeDistribution

    generator_state = torch.get_rng_state()
    torch.manual_seed(seed)
    model = source.model
    age = torch.distributions.Uniform(torch.tensor(18.0, dtype=model.dtype), torch.tensor(65.0, dtype=model.dtype))
    distribution = SimpleShapeDistribution(model, age, _TwoSexes())
    _, phenotypes = distribution.sample(count)
    torch.set_rng_state(generator_state)
    return np.stack([phenotypes[k].numpy() for k in model.phenotype_labels], 1).astype(np.float64)


class _TwoSexes:
    """anny's gender axis: 0 is male, 1 female."""

    def sample(self, shape: tuple[int, ...]) -> torch.Tensor:
        female = torch.arange(shape[0]) % 2
        return female + (1 - 2 * female) * 0.15 * torch.rand(shape, dtype=torch.float64)


def with_published_stature(source: Source, phenotypes: np.ndarray) -> np.ndarray:
    """The same people with the height phenotype changed so that each sex's stature has ANSUR II's mean and spread."""
    woman = _women(source, phenotypes)
    out = phenotypes.copy()
    for chosen, sex in ((~woman, "man"), (woman, "woman")):
        out[chosen] = with_stature(source, phenotypes[chosen], *STATURE[sex])
    return out


def with_stature(source: Source, phenotypes: np.ndarray, mean: float, deviation: float) -> np.ndarray:
    """The same people with anny's height phenotype changed so that stature has this mean and deviation, metres.

    Vertices are linear in the height phenotype, so two secant steps are plenty.
    """
    height = source.model.phenotype_labels.index("height")
    y = source.model.template_vertices[:, 2].numpy()
    ends = np.concatenate([np.argsort(y)[:60], np.argsort(y)[-20:]])
    people, tried = phenotypes.copy(), phenotypes.copy()
    before = _stature(source, people, ends)
    wanted = mean + deviation * (before - before.mean()) / before.std()
    tried[:, height] += 0.05
    for _ in range(2):
        slope = (_stature(source, tried, ends) - before) / (tried[:, height] - people[:, height])
        people, tried = tried, tried.copy()
        before = _stature(source, people, ends)
        tried[:, height] = np.clip(people[:, height] + (wanted - before) / slope, 0.0, 1.0)
    return tried


def _stature(source: Source, phenotypes: np.ndarray, ends: np.ndarray) -> np.ndarray:
    people = People(phenotypes, np.ones((len(phenotypes), 4)))
    return np.ptp(t_posed(source, people, ends)[0][..., 1], axis=1)


def t_posed(source: Source, people: People, keep: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """People in T-pose, pelvis joint at PELVIS: vertices (B, len(keep), 3) and joints (B, 24, 3)."""
    keep = np.arange(len(source.mirror)) if keep is None else keep
    vertices, joints = [], []
    for some in np.array_split(np.arange(len(people)), max(1, len(people) // 64)):
        rest, heads = source.rest(people.phenotypes[some], keep)
        centre, world, shift = _t_pose(source, heads)
        posed = np.einsum("bkij,bkj->bki", world, centre) + shift
        skin = dqs(rest, source.weights[keep], world, shift)
        limbs = people.limbs[some]
        vertices.append(stretched(skin, source.weights[keep], posed, limbs))
        joints.append(stretched(posed, np.eye(24), posed, limbs))
    vertices, joints = np.concatenate(vertices), np.concatenate(joints)
    move = PELVIS - joints[:, :1]
    return vertices + move, joints + move


def t_posed_heads(source: Source, people: People) -> np.ndarray:
    """Heads of anny's bones in T-pose, (B, 104, 3), each carried by the joint that its bone belongs to."""
    _, heads = source.rest(people.phenotypes, np.arange(1))
    centre, world, shift = _t_pose(source, heads)
    owner = [joint_of(b) for b in source.model.bone_labels]
    carried = np.einsum("bkij,bkj->bki", world[:, owner], heads) + shift[:, owner]
    posed = np.einsum("bkij,bkj->bki", world, centre) + shift
    pelvis = stretched(posed, np.eye(24), posed, people.limbs)[:, :1]
    return stretched(carried, np.eye(24)[owner], posed, people.limbs) + PELVIS - pelvis


def _t_pose(source: Source, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    centre = source.joints(heads)
    world = t_pose_rotations(centre)
    return centre, world, chain(centre, world)


def stretched(points: np.ndarray, weights: np.ndarray, joints: np.ndarray, limbs: np.ndarray) -> np.ndarray:
    """T-posed points (B, N, 3) with skinning weights (N, 24) after the limbs' length factors (B, 4)."""
    at = {name: joints[:, j, None] for j, name in enumerate(JOINT_NAMES)}
    upper, fore, thigh, shin = (limbs[:, k, None] - 1 for k in range(4))
    hip, knee, ankle, neck = (at[n][..., 1] for n in ("left_hip", "left_knee", "left_ankle", "neck"))
    shoulder, elbow = at["left_shoulder"][..., 0], at["left_elbow"][..., 0]
    x, y = np.abs(points[..., 0]), points[..., 1]
    out = points.copy()
    further = upper * np.clip(x - shoulder, 0, elbow - shoulder) + fore * np.maximum(x - elbow, 0)
    out[..., 0] += np.sign(points[..., 0]) * further * _membership(weights, "shoulder", "elbow", "wrist", "hand")
    lower = thigh * np.clip(hip - y, 0, hip - knee) + shin * np.clip(knee - y, 0, knee - ankle)
    longer = thigh * (hip - knee) + shin * (knee - ankle)
    out[..., 1] -= lower * _membership(weights, "hip", "knee", "ankle", "foot")
    out[..., 1] -= longer * np.clip((y - hip) / (neck - hip), 0, 1)
    return out


def _membership(weights: np.ndarray, *joints: str) -> np.ndarray:
    return weights[:, [k for k, name in enumerate(JOINT_NAMES) if name.rpartition("_")[2] in joints]].sum(1)

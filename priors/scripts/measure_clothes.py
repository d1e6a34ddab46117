"""How far clothes and hair stand off the body, by the joint that carries it: the table CLOTHES of the mask term.

    python priors/scripts/measure_clothes.py --motion FOLDER [--people 1500]

    gap = n_q . (q - Pi(x_v)) z_v/f      metres, q on the outline of a dressed person's mask, v the vertex nearest to it

of people of random shape in captured motion (train sequences) and made-up clothes (`hmrfit.synthetic.garments`), as the
mask term itself measures it, with the true body. Mean and standard deviation of the gaps below their 98 % quantile: a
skirt that spans both legs is not the width of a trouser leg. A vertex counts for the joint of its largest skinning
weight, both sides alike. Clothes are made up from what tailors add to a body's girths: the sets of clothed people whose
bodies are known may not be used commercially.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from hmrfit.build import load_body
from hmrfit.fitting.terms.mask import MaskMap, MaskTerm, mask_map, without_side
from hmrfit.keypoints import COCO17
from hmrfit.motion import load_frames, read_pool
from hmrfit.synthetic.garments import DressedBody, Garments
from hmrfit.synthetic.people import People, Views, make_people

TRIMMED = 0.98
CHUNK = 200


def poses_of(folder: Path, cache: str | None, count: int, generator: torch.Generator) -> Tensor:
    """(count, 24, 3) of train sequences, classes weighted as the priors have them."""
    frames = load_frames(read_pool(folder, cache=cache), "train")
    weight = torch.as_tensor(frames["weight"]).double()
    return torch.as_tensor(frames["poses"])[torch.multinomial(weight, count, True, generator=generator)]


def gaps(term: MaskTerm, people: People, known: MaskMap) -> tuple[Tensor, Tensor]:
    """Metres (N,) at all points of the outlines, and which of the term's vertices is nearest to each."""
    posed = term.surface.pose(people.params)
    seen = people.camera.project(posed.points)
    vertex = (seen.square().sum(-1)[:, None] - 2 * known.outline @ seen.mT).argmin(-1)
    nearest = seen.gather(1, vertex[..., None].expand(-1, -1, 2))
    pixels = (known.normal * (known.outline - nearest)).sum(-1)
    metres = pixels * posed.points[..., 2].gather(1, vertex) / people.camera.focal.mean(1, keepdim=True)
    there = known.length > 0
    return metres[there], vertex[there]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", type=Path, required=True)
    parser.add_argument("--cache", help="an npz that keeps the converted motion between runs")
    parser.add_argument("--people", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(options.seed)
    body = load_body("free_body")
    term, dressed = MaskTerm(body), DressedBody(body)
    poses = poses_of(options.motion, options.cache, options.people, generator)
    found = []
    for part in poses.split(CHUNK):
        people = make_people(body, part, COCO17, generator, Views(size=(512, 384)))
        worn = [Garments.everyday(generator) for _ in part]
        masks = dressed.masks(people.params, people.camera, worn, generator)
        found.append(gaps(term, people, mask_map([mask if mask.any() else None for mask in masks], people.clean)))
    metres, vertex = (torch.cat(column) for column in zip(*found, strict=True))
    joint = body.weights[term.surface.vertices].argmax(1)[vertex]
    names = [without_side(name) for name in body.joint_names]
    for name in dict.fromkeys(names):
        mine = 1e3 * metres[torch.isin(joint, torch.tensor([j for j, other in enumerate(names) if other == name]))]
        usual = mine[mine <= mine.quantile(TRIMMED)]
        print(f'    "{name}": ({usual.mean():.1f}, {usual.std():.1f}),  # {len(mine)} points', flush=True)


if __name__ == "__main__":
    main()

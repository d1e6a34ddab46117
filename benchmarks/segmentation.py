"""How much time and memory does LSP segmentation take, from given predictions to its table, and beside pytorch3d?

    python benchmarks/segmentation.py [--images 1000] [--pytorch3d 20] [--threads 2]

1,000 synthetic images of LSP's size (people of 100 to 190 pixels) with true part maps; the predictions are the truth
with every joint turned by 0.1 radians and the person moved. Timed is `hmrfit evaluate --protocol lsp-spin` with a
predictions file: pose the bodies, render foreground and parts at 224 x 224, bring them back into the image, count.
Reading masks from a disk is not included. pytorch3d, where it is installed, renders the first 20 of the same crops.

The last line is JSON: seconds_per_1000, peak_mb (of the whole process), ratio_to_pytorch3d (its time over ours for the
same crops), pixel_agreement (of those crops; without pytorch3d, of the 240 pictures that it drew for the tests), the
scores.
"""

import argparse
import resource
import time
from collections.abc import Sequence

import numpy as np
import torch
from _common import finish, threads, world_poses
from render_speed import agreement

from hmrfit.body.smpl import SmplBody
from hmrfit.build import load_body
from hmrfit.camera import PIXEL_CENTER
from hmrfit.datasets.download import boxes, spin_slots
from hmrfit.datasets.spin_npz import SpinDataset
from hmrfit.evaluate.predictions import Predictions
from hmrfit.evaluate.protocol import EvaluationData, Setting
from hmrfit.evaluate.protocols.lsp import LspSpin
from hmrfit.evaluate.scoring import SCORED_AT_ONCE
from hmrfit.evaluate.segmentation import Masks
from hmrfit.keypoints import LSP14
from hmrfit.ops.rotation import rotvec_to_matrix
from hmrfit.render.backends.builtin import BuiltinRenderer
from hmrfit.render.backends.pytorch3d import Pytorch3dRenderer
from hmrfit.render.rasteriser import Renderer, label_faces
from hmrfit.synthetic.people import Corruption, People, Views, make_people
from hmrfit.types import BodyParams

SIZES = ((160, 220), (200, 200), (220, 160), (140, 200))
"""(width, height), as many images of each."""
TURN, MOVE = 0.1, 0.02
"""Radians of every joint, metres of the person: standard deviations of the predictions' errors."""


def make(body: SmplBody, count: int) -> tuple[People, SpinDataset]:
    """People in images of the sizes in turn, and LSP's rows for them."""
    generator, parts = torch.Generator().manual_seed(0), []
    poses, _ = world_poses(None, None, count, 0)
    for i, size in enumerate(SIZES):
        own = poses[i :: len(SIZES)]
        views = Views(size=size, fill=(0.6, 0.95))
        parts.append(make_people(body, own, LSP14, generator, views, Corruption(0.0, 0.0)))
    people = People.cat([part for part in parts if len(part.joints)])
    points = people.clean.xy.numpy() - PIXEL_CENTER
    center, scale = boxes(points)
    names = np.array([f"im{i:04d}.png" for i in range(count)])
    return people, SpinDataset(names, center, scale, spin_slots(points, LSP14), maskname=names, partname=names)


def disturbed(people: People) -> Predictions:
    """The truth with errors."""
    generator, p = torch.Generator().manual_seed(1), people.params
    noise = lambda *shape: torch.randn(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    turned = p.rotations @ rotvec_to_matrix(TURN * noise(*p.rotations.shape[:2], 3))
    params = BodyParams(turned[:, 0], turned[:, 1:], p.betas, p.transl + MOVE * noise(*p.transl.shape))
    return Predictions(params, people.camera, torch.ones(len(params), dtype=torch.bool))


def true_masks(body: SmplBody, people: People) -> list[Masks]:
    """Rendered at the images' own size."""
    labels, found = label_faces(body.part_labels, body.faces), []
    for i in range(len(people.joints)):
        vertices = body(people.params[i]).vertices
        parts = BuiltinRenderer().parts(vertices, body.faces, people.camera[i], labels)[0].numpy()
        found.append(Masks(parts > 0, parts))
    return found


def timed_crops(body: SmplBody, renderer: Renderer, predictions: Predictions, rows: SpinDataset) -> tuple:
    """(seconds, part labels (N, 224, 224)) of the crops, one after the other, as both renderers get them."""
    protocol, pictures, begin = LspSpin(Setting(body, renderer=renderer)), [], time.perf_counter()
    for i in range(len(rows)):
        pictures.append(protocol.crops(predictions[i], rows[i]))
    return time.perf_counter() - begin, np.concatenate(pictures)


def beside_pytorch3d(body: SmplBody, predictions: Predictions, rows: SpinDataset) -> dict[str, float | None]:
    """Its time over ours and the fraction of pixels that agree, on the same crops."""
    try:
        theirs = Pytorch3dRenderer()
    except ImportError:
        print("pytorch3d is not installed: no ratio; the agreement is with the pictures it drew for the tests")
        return {"ratio_to_pytorch3d": None, "pixel_agreement": agreement()}
    ours, our_pictures = timed_crops(body, BuiltinRenderer(), predictions, rows)
    seconds, their_pictures = timed_crops(body, theirs, predictions, rows)
    print(f"{len(rows)} crops: {ours:.2f} s, pytorch3d {seconds:.1f} s")
    return {"ratio_to_pytorch3d": seconds / ours, "pixel_agreement": float((our_pictures == their_pictures).mean())}


def main(arguments: Sequence[str] | None = None) -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--pytorch3d", type=int, default=20, metavar="N", help="how many it renders; 0: none")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args(arguments)
    threads(options.threads)
    body = load_body("free_body")
    people, rows = make(body, options.images)
    predictions, truth = disturbed(people), true_masks(body, people)
    data, protocol = EvaluationData(None, rows), LspSpin(Setting(body))
    begin, busy = time.perf_counter(), time.process_time()
    for chunk in torch.arange(len(rows)).split(SCORED_AT_ONCE):
        found = protocol.prediction(predictions[chunk], data[chunk.numpy()])
        protocol.update(found, [truth[i] for i in chunk.tolist()])
    summary = protocol.summary()
    seconds, busy = time.perf_counter() - begin, time.process_time() - busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(rows)} images in {seconds:.1f} s ({busy:.1f} s of processor), peak {peak:.0f} MB")
    print(summary.to_table())
    first = slice(options.pytorch3d)
    figures = beside_pytorch3d(body, predictions[first], rows[first]) if options.pytorch3d else {}
    finish(
        benchmark="segmentation",
        images=len(rows),
        seconds_per_1000=1000 * seconds / len(rows),
        processor_seconds_per_1000=1000 * busy / len(rows),
        peak_mb=peak,
        threads=torch.get_num_threads(),
        fg_accuracy=summary["FG accuracy"],
        parts_f1=summary["parts F1"],
        **figures,
    )


if __name__ == "__main__":
    main()

"""priors/hand_hmr.npz, the initial estimate of hands, and its card.

    python priors/scripts/train_hand_hmr.py --poses fingers21.npz (ten minutes on one core)
    python priors/scripts/train_hand_hmr.py --poses fingers21.npz --without handyjs --steps 3000 --out out/left_out

Hands in the poses that `fit_hand_pose_gmm.py` reads, of every source but those that are left out, which are for
`benchmarks/hand_accuracy.py --networks out/left_out`: a network of every source left out in turn, so that none has seen
what it is scored on.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from fit_hand_pose_gmm import flat_hand, pose_gaussian
from free_hand_pose import read_poses

from hmrfit.assets import record_checksum, shipped
from hmrfit.body.points import PointBody
from hmrfit.body.smpl import SmplBody
from hmrfit.hand_keypoints import hand_set
from hmrfit.io.atomic import atomic_write
from hmrfit.network.checkpoints import load_hmr, save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.hand_estimate import HandHmr
from hmrfit.network.hmr import HMR
from hmrfit.ops.procrustes import similarity_align
from hmrfit.priors.gmm import PoseGmm
from hmrfit.synthetic.people import Corruption
from hmrfit.train.hand_stream import HAND_LOSS, HAND_NAMES, FingerPool, HandSampling, HandStream, hand_network
from hmrfit.train.objectives import KeypointObjective
from hmrfit.train.trainer import Trainer, TrainingSchedule, train
from hmrfit.types import Keypoints

NAME = "hand_hmr"
SOURCES = {"handyjs": ("handyjs",), "godot_xr": ("godot_xr",), "mesh2motion": ("mesh2motion_base", "mesh2motion_addon")}
"""What is left out together."""


def pool_of(vectors: np.ndarray, source: np.ndarray) -> FingerPool:
    """With the pose prior of these poses."""
    mean, covariance = pose_gaussian(vectors, source)
    gmm = PoseGmm(*(torch.as_tensor(a) for a in (mean[None], covariance[None], np.ones(1))))
    return FingerPool.build(vectors, source, gmm)


def measured(hmr: HMR, points: PointBody, pool: FingerPool, count: int = 2000) -> dict[str, float]:
    """Of hands in the pool's own poses with 2 % noise, a tenth of the 21 points missing."""
    usual = Corruption(noise=0.02, missing=0.1)
    how = HandSampling(mixed=0.0, from_prior=0.0, jitter=0.0, known_focal=1.0, corruption=usual)
    hands = HandStream(points, pool, torch.Generator().manual_seed(2), how).hands(count)
    names = hand_set("hand21", "right").names
    own = [HAND_NAMES.index(name) for name in names]
    seen = Keypoints(hands.keypoints.xy[:, own].double(), hands.keypoints.confidence[:, own].double(), names)
    found = HandHmr(hmr).predict(seen, hands.camera.to(torch.float64)).params.to(torch.float32)
    points21, truth = (points.pose(params).points[:, own] for params in (found, hands.params))
    normals = [torch.linalg.cross(p[:, 5] - p[:, 0], p[:, 17] - p[:, 0]) for p in (points21, truth)]
    cosine = torch.nn.functional.cosine_similarity(*normals)
    error = (similarity_align(points21, truth) - truth).norm(dim=-1)
    return {"pa_mpjpe_mm": 1e3 * float(error.mean()), "flips_percent": 100 * float((cosine < 0.5).double().mean())}


def card(facts: dict[str, float]) -> str:
    """What the file is, from what, and what it is worth."""
    parameters, pa, flips = f"{facts['parameters'] / 1e6:.2f}", f"{facts['pa_mpjpe_mm']:.1f}", facts["flips_percent"]
    return f"""# hand_hmr.npz

HMR of right hands that sees keypoints: ({len(HAND_NAMES)} names × x, y, confidence) in the hand's box and where the
box lies before the camera -> Θ (weak camera, 16 rotations in 6D, 10 betas of the free hand). The body's network
classes, {parameters} million parameters, matrices in 16 bits. It is where `hmrfit.fit_hand` starts; a left hand is the
mirror image of a right one.

**Origin and licence.** MIT. Trained from random weights on synthetic hands only: the free hand in the
{facts["poses"]:.0f} poses of handy.js (MIT, one person), Godot XR Tools (CC0) and mesh2motion (CC0) that
`hand_pose_gmm.md` names. NOTICE has the attribution.

**Rebuild**: `python priors/scripts/train_hand_hmr.py --poses fingers21.npz`, with the file that `priors/free_hand.md`
describes: {facts["steps"]:.0f} steps of 256 hands, a tenth of a second each on one core.

**Hands** (`hmrfit/train/hand_stream.py`): poses drawn by the root of their source's size, half of them with fingers of
several poses, each between two; a quarter draws of the pose prior; random betas; every orientation alike; 350 to 1,300
px lenses of 640 × 480, four in ten with the focal length not known; 0.3 to 4 % noise, up to 35 % missing, occluders,
low confidences; points of hand21, MANO's order or WebXR.

**Loss**: `keypoint_losses` of `hmrfit/train/losses.py`, distances of joints weighed by 60.

**Score**, {facts["count"]:.0f} hands in its own poses (not left out), 2 % noise, a tenth missing: {pa} mm PA-MPJPE,
palm and back exchanged in {flips:.1f} %. Scores of networks that never saw the source they are scored on are in
`benchmarks/results.md`.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses", required=True, help="fingers21.npz: xyz (N, 21, 3), side, source")
    parser.add_argument("--without", choices=SOURCES, help="sources that are left out")
    parser.add_argument("--steps", type=int, default=4000, help="of 256 hands; a tenth of a second each")
    parser.add_argument("--run", default="out/hand_hmr", help="folder of the run; with a run in it, that goes on")
    parser.add_argument("--out", help="folder of the network; default: priors, with its card")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    vectors, source = read_poses(arguments.poses, flat_hand())
    own = ~np.isin(source, SOURCES.get(arguments.without, ()))
    body = SmplBody.from_file(shipped() / "free_hand.npz").to(dtype=torch.float32)
    points = body.points(HAND_NAMES)
    stream = HandStream(points, pool_of(vectors[own], source[own]), torch.Generator().manual_seed(1))
    schedule = TrainingSchedule(batch=256, steps=arguments.steps, rate=2e-3, warm_up=100, half=False)
    network, discriminator = hand_network(), FactorizedDiscriminator(16, hidden=8)
    trainer = Trainer(network, discriminator, KeypointObjective(stream, points, HAND_LOSS), schedule)
    name = NAME if arguments.without is None else f"{NAME}_{arguments.without}"
    train(trainer, Path(arguments.run) / name, every=200, save_every=2000)
    target = Path(arguments.out or shipped()) / f"{name}.npz"
    target.parent.mkdir(parents=True, exist_ok=True)
    save_network(target, trainer.averaged(), half=True, step=trainer.step)
    if arguments.without is None:
        hmr, count = load_hmr(target), 2000
        sizes = {"parameters": sum(p.numel() for p in hmr.parameters()), "poses": len(vectors), "steps": trainer.step}
        facts = {**measured(hmr, points, stream.pool, count), **sizes, "count": count}
        with atomic_write(target.with_suffix(".md")) as temporary:
            temporary.write_text(card(facts))
        record_checksum(target)
        print(facts)
    print(target, trainer.step, "steps")


if __name__ == "__main__":
    main()

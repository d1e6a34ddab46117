"""priors/keypoint_hmr.npz and its card, from a training run.

    hmrfit train --config train_keypoints --out out/begun TRAIN.MOTION=FOLDER            (an hour on two cores)
    hmrfit train --config train_keypoints --out out/keypoint_hmr TRAIN.MOTION=FOLDER TRAIN.BEGIN=out/begun/hmr.npz \
        TRAIN.DEVICE=cuda TRAIN.BATCH=4096 TRAIN.RATE=0.0005 TRAIN.STEPS=6843           (five minutes on a GPU)
    python priors/scripts/train_keypoint_hmr.py --run out/keypoint_hmr --motion FOLDER

FOLDER holds the motion that the card names (AMASS, BVH, CMU's own files; see `hmrfit.motion`). The averaged
weights of the run are written in 16 bits, read back, and measured as they are shipped, on people posed by the
validation and by the test sequences.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from training import ATTRIBUTION, SETTINGS, SOURCES

from hmrfit.assets import locate, record_checksum
from hmrfit.body.smpl import SmplBody
from hmrfit.camera import Camera, weak_to_translation
from hmrfit.io.atomic import atomic_write
from hmrfit.motion import load_frames, read_pool
from hmrfit.network.checkpoints import load_hmr, save_network
from hmrfit.network.encoders import normalise_keypoints
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.train.validation import people_of, score_people
from hmrfit.types import BodyParams, Keypoints

NAME = "keypoint_hmr"
COMMAND = (
    "hmrfit train --config train_keypoints --out out/begun TRAIN.MOTION=FOLDER && "
    "hmrfit train --config train_keypoints --out out/keypoint_hmr TRAIN.MOTION=FOLDER TRAIN.BEGIN=out/begun/hmr.npz "
    "TRAIN.DEVICE=cuda TRAIN.BATCH=4096 TRAIN.RATE=0.0005 TRAIN.STEPS=6843 && "
    "hmrfit train --config train_keypoints --out out/hard TRAIN.MOTION=FOLDER TRAIN.BEGIN=out/keypoint_hmr/hmr.npz "
    "TRAIN.DEVICE=cuda TRAIN.BATCH=4096 TRAIN.RATE=0.0003 TRAIN.HARD=0.15 TRAIN.STEPS=1250 SEED=7 && "
    "python priors/scripts/train_keypoint_hmr.py --run out/hard --motion FOLDER"
)


def mean_person(hmr: KeypointHmr) -> Callable[[Keypoints, Camera], BodyParams]:
    """The mean Θ that the regressor starts from, in every box: a network that learned nothing."""

    def predict(keypoints: Keypoints, camera: Camera) -> BodyParams:
        regressor = hmr.hmr.regressor
        theta = regressor.mean.detach().double().expand(len(keypoints), -1)
        mean = regressor.layout.regression(theta)
        _, center, side = normalise_keypoints(keypoints)
        transl = weak_to_translation(mean.weak_camera, center, side, camera)
        return BodyParams(mean.params.global_orient, mean.params.body_pose, mean.params.betas, transl)

    return predict


def measure(hmr: KeypointHmr, body: SmplBody, frames: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Every setting's scores, and the mean person's at the first."""
    scores = {}
    for title, (names, how) in SETTINGS.items():
        people = people_of(body, frames, 2000, names, how)
        if not scores:
            scores["the mean person"] = score_people(body, people, mean_person(hmr))
        scores[title] = score_people(body, people, lambda points, camera: hmr.predict(points, camera).params)
    return scores


def table(scores: dict[str, dict[str, float]]) -> str:
    """Markdown rows."""
    return "\n".join(
        f"| {title} | {s['pa_mpjpe_mm']:.1f} | {s['mpjpe_mm']:.1f} | {s['reprojection_percent']:.2f} | "
        f"{s['facing_wrong_percent']:.1f} |"
        for title, s in scores.items()
    )


def card(facts: dict) -> str:
    """What the file is, from what, and what it is worth."""
    columns = ("", "PA-MPJPE, mm", "MPJPE, mm", "to the keypoints, % of the box", "facing flipped, %")
    header = f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|"
    return f"""# keypoint_hmr.npz

HMR that sees keypoints: ({facts["names"]} names × x, y, confidence) in the person's box -> Θ (24 rotations in 6D, 10
betas of the free body, weak camera). {facts["parameters"] / 1e6:.1f} million parameters, matrices in 16 bits; read by
`hmrfit.network.initial_estimate.KeypointHmr.from_file`. It is where `fit` starts when no image network is given.

* **From**: {SOURCES}. Train sequences of `hmrfit/motion/split.json` only.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `{COMMAND}`
  (the first run's length is in minutes: other machines make other bits. The second took 4.8 minutes on one NVIDIA
  H200, the third, whose step {facts["steps"]} this file is, 3.2. In the first two, coco17's shoulders and knees were
  those of the skeleton, which they lie one to two centimetres from; in the third they have slots of their own.)
* **People**: frames drawn by class weight, mirrored, three in ten with the legs and two in ten with an arm of another
  frame, small noise on every joint, one in ten a sample of the pose prior; joints that a source does not drive come
  from the prior in half of them; random betas; cameras all around, tilted and tumbled at times, 20-110 mm, one in four
  with its focal length known; a keypoint set drawn for each person, 0.3-3 % noise, up to 40 % missing, occluders,
  truncation, exchanged sides, confidences down to 0.02 and, the lower they are, keypoints that lie anywhere; all of it
  milder after 46 % of the run (`hmrfit/train/people_stream.py`). In the third run 15 in a hundred are as hard as real
  ones (`hmrfit/synthetic/hard_people.py`).
* **Loss**: `hmrfit/train/losses.py`, with the 25 discriminators at a small weight.

{facts["people"]} people each, 14 SMPL joints, focal length not known, the person and the mirror image averaged.
Sequences that chose the settings of the training (validation):

{header}
{table(facts["validation"])}

Sequences nothing was chosen on (test; whole classes of motion among them that were never trained on):

{header}
{table(facts["test"])}

**Limits.** Poses that motion capture of dancing, climbing and walking does not have (lying, yoga, sitting cross-legged)
become the nearest that it has. Poses that are ambiguous in 2D (near and far arm, bent towards or away) become one of
several. Adults only.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", required=True, help="folder of the training run")
    parser.add_argument("--motion", required=True, help="folder of motion (see hmrfit.motion)")
    parser.add_argument("--out", default="priors", help="folder to write keypoint_hmr.npz and keypoint_hmr.md into")
    parser.add_argument("--cache", help="file to keep the pool in between runs")
    args = parser.parse_args()
    target = Path(args.out) / f"{NAME}.npz"
    with np.load(Path(args.run) / "hmr.npz", allow_pickle=False) as run:
        steps = json.loads(str(run["settings"]))["notes"]["step"]
    trained = load_hmr(Path(args.run) / "hmr.npz")
    save_network(target, trained, half=True, step=steps)
    record_checksum(target)
    hmr, body = KeypointHmr.from_file(target), SmplBody.from_file(locate("free_body"))
    pool = read_pool(args.motion, args.cache)
    facts = {
        "names": len(trained.encoder.names),
        "parameters": sum(p.numel() for p in trained.parameters()),
        "steps": steps,
        "people": 2000,
        **{part: measure(hmr, body, load_frames(pool, part)) for part in ("validation", "test")},
    }
    with atomic_write(target.with_suffix(".md")) as temporary:
        temporary.write_text(card(facts))
    print(json.dumps(facts))


if __name__ == "__main__":
    torch.manual_seed(0)
    main()

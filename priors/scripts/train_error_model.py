"""priors/error_model.npz and its card: how wrong the shipped initial estimate is, learned from people posed by motion.

    python priors/scripts/train_error_model.py --motion FOLDER --out out/begun                   (50 minutes)
    python priors/scripts/train_error_model.py --motion FOLDER --begin out/begun/error_model.npz \
        --device cuda --batch 1024 --rate 0.0003 --minutes 4 --hard 0.4                         (on a GPU)

The averaged weights are written in 16 bits, read back, and the fit that uses them is measured on people posed by
the validation and by the test sequences. Train sequences only are trained on; validation chose the two weights of the
energy and the calibration of the covariance (`hmrfit/fitting/schedule.py`, `hmrfit/fitting/uncertainty.py`).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm
from training import ATTRIBUTION, SETTINGS, SOURCES

from hmrfit.assets import locate, record_checksum
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.fitting.fitter import Fitter
from hmrfit.io.atomic import atomic_write
from hmrfit.motion import load_frames, read_pool
from hmrfit.network.checkpoints import load_error_model, load_hmr, load_network, save_network
from hmrfit.network.encoders import KEYPOINT_NAMES
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.initial_estimate import KeypointHmr
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.train.error_model_training import Cases, train_error_model
from hmrfit.train.people_stream import PosePool
from hmrfit.train.validation import people_of, score_people

NAME = "error_model"
PEOPLE = 1000
COMMAND = (
    "python priors/scripts/train_error_model.py --motion FOLDER --out out/begun && "
    "python priors/scripts/train_error_model.py --motion FOLDER --out out/gpu "
    "--begin out/begun/error_model.npz --device cuda --batch 1024 --rate 0.0003 --minutes 3.2 && "
    "python priors/scripts/train_error_model.py --motion FOLDER --begin out/gpu/error_model.npz --device cuda "
    "--batch 1024 --rate 0.0003 --minutes 4 --hard 0.4"
)


def trained(args: argparse.Namespace) -> tuple[ErrorModel, int]:
    """(the averaged model, its steps)."""
    frames, device = load_frames(read_pool(args.motion, args.cache), "train"), args.device
    gmm, limits = PoseGmm.from_file(locate("pose_gmm")), JointLimits.from_file(locate("joint_limits"))
    body = SmplBody.from_file(locate("free_body")).to(dtype=torch.float32)
    hmr = KeypointHmr(load_hmr(locate("keypoint_hmr")).to(device))
    torch.manual_seed(0)
    model = load_error_model(args.begin).knowing(KEYPOINT_NAMES) if args.begin else ErrorModel(hmr.hmr.encoder.features)
    model = model.train().requires_grad_(True).to(device)
    pool, generator = PosePool.build(frames, gmm, limits).to(device), torch.Generator(device).manual_seed(1)
    cases = Cases(body, hmr, model, pool, generator, args.hard)
    with tqdm(total=100, bar_format="{n:5.1f} % |{bar:20}| {elapsed}<{remaining}{postfix}") as bar:
        run = train_error_model(model, cases, args.minutes, args.rate, args.batch, begun=bool(args.begin))
        for average, line in run:  # noqa: B007
            bar.update(100 * line["progress"] - bar.n)
            if line["step"] % 100 == 0:
                bar.set_postfix_str(" ".join(f"{k} {v:.3f}" for k, v in line.items() if k != "progress"))
    return average.cpu(), line["step"]


def measure(fitter: Fitter, frames: dict) -> dict[str, dict[str, dict[str, float]]]:
    """setting -> "initial_estimate" and "fit" -> scores."""
    scores = {}
    for title, (names, how) in SETTINGS.items():
        if names == "smpl24":  # a network's joints, not a detector's keypoints
            continue
        people = people_of(fitter.body, frames, PEOPLE, names, how)
        scores[title] = {
            "initial_estimate": score_people(
                fitter.body, people, lambda points, camera: fitter.network.predict(points, camera).params
            ),
            "fit": score_people(fitter.body, people, lambda points, camera: fitter.fit(points, camera).state.params),
        }
    return scores


def table(scores: dict) -> str:
    """Markdown rows."""
    keys = ("pa_mpjpe_mm", "mpjpe_mm", "reprojection_percent")
    pair = lambda s, key: f"{s['initial_estimate'][key]:.1f} -> {s['fit'][key]:.1f}"  # noqa: E731
    return "\n".join(f"| {title} | {' | '.join(pair(s, key) for key in keys)} |" for title, s in scores.items())


def card(facts: dict) -> str:
    """What the file is, from what, and what it is worth."""
    header = "| | PA-MPJPE, mm | MPJPE, mm | to the keypoints, % of the box |\n|---|---|---|---|"
    return f"""# error_model.npz

How wrong the shipped initial estimate (`keypoint_hmr.npz`) is: from a person's keypoints and the estimate to a
covariance of its error (24 rotation vectors in the camera's axes, 10 betas; rank 16 and a diagonal) and a noise level
of every keypoint. {facts["parameters"] / 1e6:.1f} million parameters, matrices in 16 bits; read by
`hmrfit.network.checkpoints.load_error_model`. The default fit is anchored by it (`hmrfit/fitting/anchor.py`).

* **From**: {SOURCES}. Train sequences of `hmrfit/motion/split.json` only.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `{COMMAND}`
  (the lengths are in minutes: other machines make other bits; this file is step {facts["steps"]} of the third run, on
  one NVIDIA H200, with the estimate as it is now and four in ten people as hard as real ones.)
* **Loss**: `hmrfit/train/error_model_training.py`: one Bayesian update of the estimate by the keypoints should give the
  true joints the highest likelihood.

The initial estimate alone -> the fit with default settings; {PEOPLE} people each, 14 SMPL joints, focal length not
known. Validation sequences (the energy's weights were chosen on them):

{header}
{table(facts["validation"])}

Test sequences (nothing was chosen on them; whole classes of motion were never trained on):

{header}
{table(facts["test"])}

**Limits.** It belongs to the initial estimate it was trained with, and to the free body's shapes. Keypoint names that
no built-in set has get a noise of 1.2 % of the box.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", required=True, help="folder of motion (see hmrfit.motion)")
    parser.add_argument("--minutes", type=float, default=50.0)
    parser.add_argument("--begin", help="an error model to begin with")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, default=256, help="people a step")
    parser.add_argument("--hard", type=float, default=0.0, help="the fraction of hard people")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--out", default="priors", help="folder to write error_model.npz and error_model.md into")
    parser.add_argument("--cache", help="file to keep the pool in between runs")
    parser.add_argument("--from-file", help="weights that are trained already: measure and write the card only")
    args = parser.parse_args()
    target = Path(args.out) / f"{NAME}.npz"
    if args.from_file:
        model, steps = load_network(args.from_file), _steps_of(Path(args.from_file))
    else:
        model, steps = trained(args)
    save_network(target, model, half=True, step=steps)
    record_checksum(target)
    fitter = build_fitter(load_config(overrides=[f"PRIORS.ERROR_MODEL={target}"]))
    pool = read_pool(args.motion, args.cache)
    facts = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "steps": steps,
        **{part: measure(fitter, load_frames(pool, part)) for part in ("validation", "test")},
    }
    with atomic_write(target.with_suffix(".md")) as temporary:
        temporary.write_text(card(facts))
    print(json.dumps(facts))


def _steps_of(file: Path) -> int:
    with np.load(file, allow_pickle=False) as data:
        return json.loads(str(data["settings"]))["notes"].get("step", 0)


if __name__ == "__main__":
    main()

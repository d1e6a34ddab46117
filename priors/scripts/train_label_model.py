"""priors/label_model.npz and its card: which keypoints carry a wrong name, learned from people posed by motion.

    python priors/scripts/train_label_model.py --motion FOLDER          (half an hour on one core)

The averaged weights are written in 16 bits, read back, and looked at on people posed by the validation and by the test
sequences. Train sequences only are trained on; validation chose from which odds on an answer is tried and believed
(`hmrfit/fitting/mend_labels.py`).
"""

import argparse
from pathlib import Path

import torch
from tqdm import tqdm
from training import ATTRIBUTION, SOURCES

from hmrfit.assets import locate, record_checksum
from hmrfit.body.smpl import SmplBody
from hmrfit.io.atomic import atomic_write
from hmrfit.motion import load_frames, read_pool
from hmrfit.motion.motion import Motion
from hmrfit.network.checkpoints import load_label_model, save_network
from hmrfit.network.label_model import TRAINED_BORROWED, TRAINED_EXCHANGED, LabelModel
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.train.label_training import LabelPeople, train_label_model
from hmrfit.train.people_stream import PosePool

NAME = "label_model"
PEOPLE = 8192
THRESHOLDS = (0.3, 0.5, 0.9)
COMMAND = "python priors/scripts/train_label_model.py --motion FOLDER"


def people_of(pool: list[Motion], part: str, seed: int) -> LabelPeople:
    """Endless people of one part of the motion."""
    gmm, limits = PoseGmm.from_file(locate("pose_gmm")), JointLimits.from_file(locate("joint_limits"))
    body = SmplBody.from_file(locate("free_body")).to(dtype=torch.float32)
    poses = PosePool.build(load_frames(pool, part), gmm, limits)
    return LabelPeople(body, poses, torch.Generator().manual_seed(seed))


def trained(pool: list[Motion], args: argparse.Namespace) -> LabelModel:
    """The averaged model."""
    torch.manual_seed(0)
    model = LabelModel(args.width, args.blocks)
    with tqdm(total=args.steps, disable=None) as bar:
        for average, line in train_label_model(model, people_of(pool, "train", 1), args.steps):  # noqa: B007
            bar.update()
            if line["step"] % 100 == 0:
                bar.set_postfix_str(f"exchange {line['exchange']:.3f} borrowed {line['borrowed']:.3f}")
    return average


def measured(model: LabelModel, pool: list[Motion], part: str) -> list[str]:
    """Lines of the card's table: of the people of one part, as often spoilt as in training."""
    found: list[torch.Tensor] = []
    truth: list[torch.Tensor] = []
    for spoiled, camera in people_of(pool, part, 2).batches(512):
        odds = model.look(spoiled.keypoints, camera)
        exchange, borrowed = odds.of_exchanges(TRAINED_EXCHANGED), odds.of_borrowed(TRAINED_BORROWED)
        found.append(torch.stack([exchange.sum(1), exchange.argmax(1) + 1, borrowed.sum(1), borrowed.argmax(1) + 1], 1))
        truth.append(torch.stack([spoiled.exchange, spoiled.borrowed], 1))
        if sum(map(len, truth)) >= PEOPLE:
            break
    said, real = torch.cat(found), torch.cat(truth)
    lines = []
    for title, i in (("sides exchanged", 0), ("another person's limb", 1)):
        spoilt, right = real[:, i] > 0, said[:, 2 * i + 1] == real[:, i]
        for threshold in THRESHOLDS:
            doubted = said[:, 2 * i] > threshold
            shares = [(doubted & spoilt)[spoilt], (doubted & right)[doubted & spoilt], doubted[~spoilt]]
            cells = " | ".join(f"{100 * share.double().mean():.1f}" for share in shares)
            lines.append(f"| {title} | {threshold} | {cells} |")
    return lines


def card(model: LabelModel, steps: int, lines: dict[str, list[str]]) -> str:
    """What the file is, and what it was seen to do."""
    numbers = sum(p.numel() for p in model.parameters()) / 1e6
    head = (
        "| | doubted above | of those spoilt, % | of these rightly named, % | of the others, % |\n|---|---|---|---|---|"
    )
    tables = "\n\n".join(
        f"{part.capitalize()} sequences, {PEOPLE} people:\n\n" + "\n".join([head, *rows])
        for part, rows in lines.items()
    )
    return f"""# {NAME}.npz

Which keypoints carry a wrong name: left and right exchanged, or a limb that is another person's. {numbers:.1f} million
parameters, matrices in 16 bits; read by `hmrfit.network.checkpoints.load_label_model`. People of whom it says so are
fitted with the names mended too (`hmrfit/fitting/mend_labels.py`), and the better of both is returned with a warning.

* **From**: {SOURCES}. Train sequences of `hmrfit/motion/split.json` only.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `{COMMAND}` ({steps} steps of 512 people, one thread)
* **People**: `hmrfit/train/label_training.py`; of {TRAINED_EXCHANGED:.0%} something is exchanged, of
  {TRAINED_BORROWED:.0%} a limb is another person's. All keypoint sets; focal length known for a quarter.

{tables}

**Limits.** It has seen bodies that were made up by this library, never a detector's own mistakes. Who is seen from the
side, or by few points, is as possible mirrored: there it says little.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", type=Path, required=True, help="a folder of motion files")
    parser.add_argument("--cache", type=Path, help="an npz that keeps the converted motion between runs")
    parser.add_argument("--out", type=Path, default=Path("priors"))
    parser.add_argument("--steps", type=int, default=26_000)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--blocks", type=int, default=3)
    parser.add_argument("--from-file", help="weights that are trained already: measure and write the card only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    pool = read_pool(args.motion, args.cache)
    model = load_label_model(args.from_file) if args.from_file else trained(pool, args)
    path = save_network(args.out / f"{NAME}.npz", model, half=True)
    model = load_label_model(path)
    lines = {part: measured(model, pool, part) for part in ("validation", "test")}
    record_checksum(path)
    with atomic_write(path.with_suffix(".md")) as temporary:
        temporary.write_text(card(model, args.steps, lines))


if __name__ == "__main__":
    main()

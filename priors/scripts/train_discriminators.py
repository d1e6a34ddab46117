"""priors/discriminators.npz and its card: the 25 discriminators of HMR, trained to be a prior of the fit.

    python priors/scripts/train_discriminators.py --motion FOLDER [--out priors] [--folder RUN]

Train sequences as real, against each kind of negatives of `hmrfit.train.discriminator_training` and against all of them
("mixed"). Each is written to FOLDER/discriminators_KIND.npz for `benchmarks/prior_ablation.py`, which measures them in
the fit; the one of --ship is shipped. The card says how well each distinguishes validation motion from each kind of
negatives.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from tqdm import tqdm
from training import ATTRIBUTION, SOURCES

from hmrfit.assets import locate, record_checksum
from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.fitting.fitter import Fitter
from hmrfit.io.atomic import atomic_write
from hmrfit.keypoints import resolve_set
from hmrfit.motion import load_frames, read_pool
from hmrfit.network.checkpoints import load_network, save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.priors.gmm import PoseGmm
from hmrfit.priors.limits import JointLimits
from hmrfit.train.discriminator_training import (
    estimates,
    fooled,
    perturbed,
    real_people,
    separation,
    train_discriminators,
    unfinished,
)
from hmrfit.train.people_stream import PosePool
from hmrfit.types import BodyParams

NAME = "discriminators"
KINDS = ("estimates", "perturbed", "unfinished", "mixed", "rounds")
PLAIN = KINDS[:3]
SHIPPED = "perturbed"
STEPS, PEOPLE, HELD_OUT = 1200, 8000, 1000
ROUNDS = 4
"""How often "rounds" adds fits that fooled the last discriminators to the mixed negatives and begins anew."""
COMMAND = "python priors/scripts/train_discriminators.py --motion FOLDER"


def sides(fitter: Fitter, frames: dict, count: int, seed: int, kinds: Sequence[str] = KINDS) -> dict[str, BodyParams]:
    """Real people, and as many negatives of each kind that is wanted, made of other people, in 32 bits."""
    pool = PosePool.build(frames, PoseGmm.from_file(locate("pose_gmm")), JointLimits.from_file(locate("joint_limits")))
    generator = torch.Generator().manual_seed(seed)
    body = fitter.point_body(resolve_set("coco17"))
    people, others = (real_people(body, pool, count, generator) for _ in range(2))
    makers = {
        "estimates": lambda: estimates(fitter.network, others),
        "perturbed": lambda: perturbed(others, body.skeleton, generator),
        "unfinished": lambda: unfinished(fitter, others[: count // 4], generator),
    }
    every = {"mixed", "rounds"} & set(kinds)
    made = {kind: make() for kind, make in makers.items() if kind in kinds or every}
    if every:
        made["mixed"] = BodyParams.cat(list(made.values()))
    return {name: params.to(torch.float32) for name, params in {"real": people.params, **made}.items()}


def in_rounds(
    fitter: Fitter, frames: dict, train: dict[str, BodyParams], steps: int, hidden: int, count: int
) -> FactorizedDiscriminator:
    """Mixed negatives, then again with fits that the discriminators so far take for real, as many as the mixed."""
    pool = PosePool.build(frames, PoseGmm.from_file(locate("pose_gmm")), JointLimits.from_file(locate("joint_limits")))
    generator = torch.Generator().manual_seed(3)
    body = fitter.point_body(resolve_set("coco17"))
    network, found = trained(train, "mixed", steps, hidden), []
    for _ in range(ROUNDS):
        people = real_people(body, pool, count // 4, generator)
        found.append(fooled(fitter, people, generator, network).to(torch.float32))
        fakes = BodyParams.cat([train["mixed"], *found])
        network = trained({"real": train["real"], "rounds": fakes}, "rounds", steps, hidden)
    return network


def trained(train: dict[str, BodyParams], kind: str, steps: int, hidden: int) -> FactorizedDiscriminator:
    """The discriminators against one kind of negatives."""
    with tqdm(total=steps, desc=kind, mininterval=10) as bar:

        def report(step: int, loss: float) -> None:
            bar.update()
            bar.set_postfix_str(f"loss {loss:.2f}", refresh=False)

        return train_discriminators(train["real"], train[kind], steps, hidden, report=report)


def card(scores: dict[str, dict[str, float]], shipped: str, parameters: int, steps: int, count: int) -> str:
    """What the file is, from what, and what it is worth."""
    rows = "\n".join(
        f"| {kind}{' (shipped)' if kind == shipped else ''} | {' | '.join(f'{v:.3f}' for v in row.values())} |"
        for kind, row in scores.items()
    )
    return f"""# discriminators.npz

The 25 discriminators of HMR (23 joints, all joints, shape; `hmrfit/network/discriminator.py`) as a prior of the fit:
residuals D_i - 1, the term "discriminators" (`hmrfit/fitting/terms/discriminators.py`). No default weight names it:
`hmrfit.fit(..., terms=["discriminators"], weights={{"discriminators": WEIGHT}})` does. {parameters:,} parameters,
matrices in 16 bits; read by `hmrfit.priors.discriminator_prior.DiscriminatorPrior.from_file`.

* **From**: {SOURCES}. Train sequences of `hmrfit/motion/split.json` only.
* **Attribution**: {ATTRIBUTION}
* **Licence of this file**: MIT, as the library.
* **Rebuild**: `{COMMAND}` ({steps} steps of 128 real and 128 other people, seeded; {count} people of each side)
* **Real**: frames of motion as they are and as a mirror shows them, betas of a normal distribution.
* **Negatives** ({shipped}): see `hmrfit/train/discriminator_training.py`.

AUC of Σ (D_i - 1)² on validation motion, real against each kind of negatives (1: always distinguished, 0.5: never); a
row is what the discriminators were trained against:

| trained against | {" | ".join(next(iter(scores.values())))} |
|---|{"---|" * len(next(iter(scores.values())))}
{rows}

What they are worth in the fit: `benchmarks/prior_ablation.py`, its table in `benchmarks/results.md`.

**Limits.** Poses that motion capture of dancing, climbing and walking does not have count as unlikely. Made for
betas of unit variance, the free body's or SMPL's.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--motion", required=True, help="folder of motion (see hmrfit.motion)")
    parser.add_argument("--cache", help="file to keep the pool in between runs")
    parser.add_argument("--out", default="priors", help="folder to write discriminators.npz and its card into")
    parser.add_argument("--folder", default="out/discriminators", help="where those of every kind are written")
    parser.add_argument("--ship", default=SHIPPED, choices=KINDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--kinds", default=",".join(KINDS), help="which to train; FOLDER has the others already")
    parser.add_argument("--only-train", action="store_true", help="leave scores, file and card to another call")
    args = parser.parse_args()
    pool = read_pool(args.motion, args.cache)
    fitter = build_fitter(load_config(overrides=["PRIORS.DISCRIMINATORS="]))
    folder = Path(args.folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {kind: folder / f"{NAME}_{kind}.npz" for kind in KINDS}
    if args.kinds:
        begin = time.perf_counter()
        frames = load_frames(pool, "train")
        train = sides(fitter, frames, args.people, 1, args.kinds.split(","))
        print(f"negatives made in {time.perf_counter() - begin:.0f} s", flush=True)
        for kind in args.kinds.split(","):
            if kind == "rounds":
                network = in_rounds(fitter, frames, train, args.steps, args.hidden, args.people)
            else:
                network = trained(train, kind, args.steps, args.hidden)
            save_network(files[kind], network, half=True, negatives=kind)
    if args.only_train:
        return
    held_out = sides(fitter, load_frames(pool, "validation"), HELD_OUT, 2, PLAIN)
    networks = {kind: load_network(file) for kind, file in files.items()}
    scores = {
        kind: {other: separation(network, held_out["real"], held_out[other]) for other in PLAIN}
        for kind, network in networks.items()
    }
    target = Path(args.out) / f"{NAME}.npz"
    save_network(target, networks[args.ship], half=True, negatives=args.ship)
    record_checksum(target)
    parameters = sum(p.numel() for p in networks[args.ship].parameters())
    with atomic_write(target.with_suffix(".md")) as temporary:
        temporary.write_text(card(scores, args.ship, parameters, args.steps, args.people))
    print(json.dumps(scores))


if __name__ == "__main__":
    main()

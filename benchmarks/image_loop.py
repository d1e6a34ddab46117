"""What a loop of fits is worth to an image HMR that knows its people's 2D keypoints alone.

    python benchmarks/image_loop.py --motion FOLDER [--config train_image_small] [--methods two_d loop] [--steps 3000]
    python benchmarks/image_loop.py --motion FOLDER --config train_image --device cuda --at-once      (a GPU)

Trainings of the same network on the same synthetic scenes in the same order, for the same number of steps, by `hmrfit
train`'s own settings (--config, and any of them after --set). The scenes' keypoints (SPIN's 49) are exact; their bodies
are known to nobody but the last.

    two_d          2D loss alone
    adversarial    2D loss and discriminators: HMR without 3D truth
    spin           SPIN's rules and losses (hmrfit.train.spin_loop), fits at visits 1, 2, 4, 8, ...
    loop           this library's loop (hmrfit.train.fit_loop)
    both           the loop and discriminators
    ceiling        HMR's losses with the truth in 3D of everybody

Nothing that has seen keypoints paired with 3D truth takes part in any but the last. Scores on scenes posed by the test
split, 14 joints: PA-MPJPE and MPJPE (mm), facing flipped (%). With --folder, curves.json holds every method's scores
over its steps. --at-once trains each method in a process of its own; the scenes are made once.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from _common import add_to_curve, finish, motion_argument, motion_pool, print_ends, threads

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.cli.train import build_image_trainer
from hmrfit.config import CfgNode, load_config
from hmrfit.motion import load_frames
from hmrfit.synthetic.dataset import SceneDataset
from hmrfit.train.images import ScenePeople
from hmrfit.train.trainer import Trainer
from hmrfit.train.validation import regress_images, scenes_of, score_scenes

METHODS: dict[str, list[str]] = {
    "two_d": ["TRAIN.PAIRED=False", "TRAIN.ADVERSARIAL=0.0"],
    "adversarial": ["TRAIN.PAIRED=False"],
    "spin": ["TRAIN.PAIRED=False", "TRAIN.ADVERSARIAL=0.0", "TRAIN.LOOP.KIND=spin", "TRAIN.LOOP.EVERY=False"],
    "loop": ["TRAIN.PAIRED=False", "TRAIN.ADVERSARIAL=0.0", "TRAIN.LOOP.KIND=fits"],
    "both": ["TRAIN.PAIRED=False", "TRAIN.LOOP.KIND=fits"],
    "ceiling": ["TRAIN.PAIRED=True", "TRAIN.ADVERSARIAL=0.0"],
}
TEST_SEED = 12
"""Of the scenes that are scored."""

POINTS = 8
"""Of a curve."""


def parser() -> argparse.ArgumentParser:
    """The options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    motion_argument(found)
    found.add_argument("--config", default="train_image_small", help="settings of the training")
    found.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="more of them")
    found.add_argument("--methods", nargs="+", choices=list(METHODS), default=["two_d", "adversarial", "loop"])
    found.add_argument("--steps", type=int, default=3000)
    found.add_argument("--scenes", type=int, default=3000, help="people, each in one synthetic image")
    found.add_argument("--scored", type=int, default=300, help="other scenes, in poses of the test split")
    found.add_argument("--makers", type=int, default=2, help="processes that make the scenes")
    found.add_argument("--device", default="cpu")
    found.add_argument("--at-once", action="store_true", help="each method in a process of its own")
    found.add_argument("--folder", type=Path, help="of curves and stores of fits")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--threads", type=int, default=1)
    return found


class Bench:
    """What all methods share: people, their images, and the scenes that are scored."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, pool = options, motion_pool(options)
        self.body, self.frames = SmplBody.from_file(locate("free_body")), load_frames(pool, "train")
        self.people = self._source(self.trainer("two_d", None))
        self.people.make(options.makers)
        test = torch.as_tensor(load_frames(pool, "test")["poses"])
        scenes = SceneDataset(self.body, test, options.scored, self.people.scenes.resolution, seed=TEST_SEED)
        self.scored = scenes_of(scenes, options.scored)

    @staticmethod
    def _source(trainer: Trainer[Any]) -> ScenePeople:
        (source,) = trainer.objective.people.sources
        return source

    def settings(self, method: str) -> CfgNode:
        """Of a method."""
        o = self.options
        own = [f"TRAIN.STEPS={o.steps}", f"TRAIN.DEVICE={o.device}", f"SEED={o.seed}", "TRAIN.IMAGE.DROPOUT=0.0"]
        scenes = ["TRAIN.IMAGE.REMEMBER=True", f"TRAIN.IMAGE.SCENE_COUNT={o.scenes}"]
        return load_config(o.config, own + scenes + METHODS[method] + o.set)

    def trainer(self, method: str, folder: Path | None) -> Trainer[Any]:
        """A method's, its store in the folder."""
        settings = self.settings(method)
        if folder is None:
            settings = settings.clone()
            settings.defrost()
            settings.TRAIN.DEVICE = "cpu"
        return build_image_trainer(settings, self.body, self.frames, folder)

    def score(self, trainer: Trainer[Any]) -> dict[str, float]:
        """Of the averaged network on the test scenes."""
        found = regress_images(trainer.average, self.scored.images.to(trainer.device))
        return score_scenes(self.body, self.scored, found.params.to("cpu"))

    def run(self, method: str, folder: Path) -> None:
        """Trains by a method; its curve goes into a file."""
        own = folder / method
        own.mkdir(parents=True, exist_ok=True)
        trainer = self.trainer(method, own)
        trainer.objective.people.sources[0] = self.people
        if trainer.fits is not None:
            trainer.fits.rollback(0)
        curve: list[dict[str, float]] = []
        begun, cpu = time.monotonic(), time.process_time()
        for losses in trainer.steps(max(1, self.options.steps // POINTS)):
            minutes = {"minutes": (time.monotonic() - begun) / 60, "cpu_minutes": (time.process_time() - cpu) / 60}
            kept = {} if trainer.fits is None else {"fits": float(len(trainer.fits))}
            scores = {"step": trainer.step, **minutes, **self.score(trainer), **kept}
            scores |= {f"loss_{name}": value for name, value in losses.items()}
            add_to_curve(curve, own / "curve.json", method, scores)


def at_once(bench: Bench, methods: Sequence[str], folder: Path) -> None:
    """Each in a process of its own, which shares the scenes' memory."""
    spawn = torch.multiprocessing.get_context("fork")
    runs = [spawn.Process(target=bench.run, args=(method, folder)) for method in methods]
    for run in runs:
        run.start()
    for run in runs:
        run.join()


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, measure, print."""
    options = parser().parse_args(arguments)
    threads(options.threads)
    bench = Bench(options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        if options.at_once:
            at_once(bench, options.methods, folder)
        else:
            for method in options.methods:
                bench.run(method, folder)
        files = {method: folder / method / "curve.json" for method in options.methods}
        curves = {method: json.loads(file.read_text()) for method, file in files.items() if file.is_file()}
        (folder / "curves.json").write_text(json.dumps(curves))
    last = print_ends(curves, ("pa_mpjpe_mm", "mpjpe_mm", "facing_wrong_percent"))
    settings = {"config": options.config, "steps": options.steps, "scenes": options.scenes, "seed": options.seed}
    finish(benchmark="image_loop", **last, **settings, device=options.device)


if __name__ == "__main__":
    main()

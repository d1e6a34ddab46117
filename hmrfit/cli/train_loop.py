"""What `hmrfit train` builds for a loop of fits: the loop that the settings name, its store in the run's folder, and
the people of whom 2D keypoints are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hmrfit.assets import locate
from hmrfit.body.smpl import SmplBody
from hmrfit.build import build_fitter, library_poses
from hmrfit.config import CfgNode, ConfigError, load_config
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.fitting.fitter import Fitter
from hmrfit.keypoints import resolve_set
from hmrfit.ops.check import did_you_mean
from hmrfit.priors.gmm import PoseGmm
from hmrfit.train import spin_loop
from hmrfit.train.fit_loop import ENERGY, FitLoop, LoopSettings
from hmrfit.train.fit_store import FitKey, FitStore
from hmrfit.train.images import SPIN49
from hmrfit.train.keypoint_people import KeypointPeople, KnownPeople
from hmrfit.train.spin_loop import SpinLoop
from hmrfit.train.trainer import FITS
from hmrfit.train.validation import people_of

DATASET_KEYS = ("FILE", "ROOT", "SHARE")

NO_NETWORKS = {"INITIAL_ESTIMATE": "", "ERROR_MODEL": "", "MIXTURE": "", "LABELS": ""}
"""A loop starts at the network in training; those that are shipped have seen 3D truth."""

PEOPLE_SEED = 11
"""Added to the seed: of the synthetic people."""


@dataclass(frozen=True)
class DatasetFile:
    """An entry of the settings' datasets."""

    file: Path
    root: str
    share: float

    @property
    def name(self) -> str:
        """In a store of fits."""
        return self.file.stem


def datasets_of(entries: Sequence[Mapping[str, Any]], key: str) -> list[DatasetFile]:
    """The entries of the setting `key`. Raises ConfigError: one is written otherwise."""
    found = []
    for entry in entries:
        for name in entry:
            if name not in DATASET_KEYS:
                raise ConfigError(f"{key}: there is no {name}.{did_you_mean(name, DATASET_KEYS)}")
        if not {"FILE", "ROOT"} <= set(entry):
            raise ConfigError(f"{key}: each is {{FILE: people.npz, ROOT: images, SHARE: 1}}, not {dict(entry)}.")
        found.append(DatasetFile(Path(entry["FILE"]), str(entry["ROOT"]), float(entry.get("SHARE", 1.0))))
    return found


def known_people(settings: CfgNode, body: SmplBody, frames: Mapping[str, Any]) -> KeypointPeople:
    """The keypoint HMR's people: of the datasets, and synthetic ones; without their truth where TRAIN.PAIRED is
    False."""
    loop = settings.TRAIN.LOOP
    files = datasets_of(loop.DATASETS, "TRAIN.LOOP.DATASETS")
    people = [KnownPeople.of_spin(read_spin_npz(f.file, drop_damaged=True), f.name, f.root) for f in files]
    shares = [file.share for file in files]
    if loop.PEOPLE > 0:
        names = SPIN49 if files else resolve_set(loop.KEYPOINT_SET)
        made = people_of(body, frames, loop.PEOPLE, names, seed=settings.SEED + PEOPLE_SEED)
        people.append(KnownPeople.synthetic(made, "synthetic"))
        shares.append(loop.PEOPLE_SHARE)
    if not people:
        raise ConfigError("There are no people to train on: TRAIN.LOOP.PEOPLE is 0 and TRAIN.LOOP.DATASETS is empty.")
    if not settings.TRAIN.PAIRED:
        people = [replace(some, has_truth=torch.zeros_like(some.has_truth)) for some in people]
    return KeypointPeople(people, shares, seed=settings.SEED)


def build_loop(
    settings: CfgNode, keys: Sequence[FitKey], folder: Path, source: str
) -> tuple[FitStore, FitLoop | SpinLoop]:
    """The store in the run's folder, and the loop that TRAIN.LOOP names. source: what the network in training is."""
    loop = settings.TRAIN.LOOP
    spin = loop.KIND == "spin"
    energy = spin_loop.ENERGY if spin else ENERGY
    if loop.BEGIN and not (folder / FITS).exists():
        file = locate("a store of fits to begin with", loop.BEGIN)
        with FitStore(file, "" if spin else energy) as begun:  # SPIN compares by its own measure, anew at every visit
            begun.step = begun.newest
            begun.copy_to(folder / FITS, energy)
    store = FitStore(folder / FITS, energy)
    if spin:
        return store, SpinLoop(_fitter(settings, "fit_spin"), store, keys, source, loop.EVERY)
    how = LoopSettings(loop.EVERY, loop.MIRROR, loop.LIBRARY, loop.WEIGHTED)
    fitter, poses = _fitter(settings), None
    if loop.LIBRARY:
        gmm = PoseGmm.from_file(locate(settings.PRIORS.GMM))
        poses = library_poses(gmm, settings.FIT.LIBRARY, settings.SEED, fitter.body.skeleton)
    return store, FitLoop(fitter, store, keys, how, poses, source)


def _fitter(settings: CfgNode, preset: str | None = None) -> Fitter:
    """Body, terms and stages of these settings, or with the stages of a preset, without any network."""
    chosen = settings.clone()
    chosen.defrost()
    if preset is not None:
        chosen.FIT.STAGES = load_config(preset).FIT.STAGES
        chosen.FIT.START = "mean_pose"
    for name, value in NO_NETWORKS.items():
        chosen.PRIORS[name] = value
    chosen.FIT.DEVICE = "cpu"
    return build_fitter(chosen)

"""hmrfit fits init | inspect | export | import: the store of fits that a training with a loop of fits keeps.

init      fits everybody of a data set by the shipped estimate and the fit: where a training may begin
inspect   what a store holds: data sets, energies, sources, how many are accepted
export    SPIN's NAME_fits.npy (N, 82) of a data set's rows, 0 for people without a fit
import    the other way round
"""

import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hmrfit.build import build_fitter
from hmrfit.config import load_config
from hmrfit.datasets.spin_npz import read_spin_npz
from hmrfit.fitting.fitter import Fitter
from hmrfit.io.atomic import atomic_write
from hmrfit.io.bounded import check_regular, read_npy
from hmrfit.ops.how_many import how_many
from hmrfit.ops.threads import use_threads
from hmrfit.train.fit_loop import ENERGY
from hmrfit.train.fit_offline import import_spin, initial_fits
from hmrfit.train.fit_store import NEVER, FitStore, as_spin
from hmrfit.train.keypoint_people import KnownPeople
from hmrfit.train.trainer import FITS

QUANTILES = (0.1, 0.5, 0.9)


def fits_command(
    action: str,
    store: str | None = None,
    data: str | None = None,
    out: str | None = None,
    root: str | None = None,
    name: str | None = None,
    config: str | None = None,
    overrides: tuple[str, ...] = (),
) -> int:
    """One of the four actions; 0, or 1 where nothing was there to be done with."""
    if action == "inspect":
        return _inspect(_existing(_wanted(store, "STORE", action)))
    people = _people(_wanted(data, "--data FILE.npz", action), root, name)
    if action == "export":
        return _export(_existing(_wanted(store, "STORE", action)), people, Path(_wanted(out, "-o FITS.npy", action)))
    target = Path(_wanted(out, "-o STORE", action))
    source = None if action == "init" else read_npy(_wanted(store, "FITS.npy", action))
    settings = load_config(config, overrides)
    use_threads(settings.THREADS)
    target.parent.mkdir(parents=True, exist_ok=True)
    with FitStore(target, ENERGY) as fits:
        fitter = build_fitter(settings)
        return _init(fitter, fits, people) if source is None else _import(fitter, fits, people, source)


def _wanted(value: str | None, what: str, action: str) -> str:
    if value is None:
        raise ValueError(f"hmrfit fits {action} needs {what}. See hmrfit fits --help.")
    return value


def _existing(store: str) -> Path:
    """The store's file; a folder of a run has one."""
    path = Path(store) / FITS if Path(store).is_dir() else Path(store)
    check_regular(path, "a fit store")
    return path


def _people(data: str, root: str | None, name: str | None) -> KnownPeople:
    return KnownPeople.of_spin(read_spin_npz(data, drop_damaged=True), name or Path(data).stem, root)


def _init(fitter: Fitter, store: FitStore, people: KnownPeople) -> int:
    bar = tqdm(total=len(people), unit="people", disable=not sys.stderr.isatty())
    progress = None
    for progress in initial_fits(fitter, store, people):
        bar.update(progress.fitted - bar.n)
    bar.close()
    assert progress is not None
    few = f"; {progress.left_out} have too few keypoints" if progress.left_out else ""
    truth = int(people.has_truth.sum())
    known = f"; of {truth} the truth is known, which no fit replaces" if truth else ""
    print(f"{store.path}: fits of {how_many(len(store), 'people')}, of {progress.people} in the data set{few}{known}.")
    return 0 if len(store) or truth else 1


def _import(fitter: Fitter, store: FitStore, people: KnownPeople, fits: np.ndarray) -> int:
    count = import_spin(fitter, store, people, fits)
    print(
        f"{store.path}: {how_many(count, 'fits')} of {how_many(len(people), 'people')}. Where a better one was there "
        "already, that stays."
    )
    return 0 if count else 1


def _export(path: Path, people: KnownPeople, out: Path) -> int:
    if out.exists():
        raise FileExistsError(f"'{out}' is there already, and is not overwritten. Give another name.")
    with FitStore(path) as store:
        store.step = store.newest
        rows = as_spin(store, people.keys)
    with atomic_write(out) as temporary, temporary.open("wb") as file:
        np.save(file, rows, allow_pickle=False)
    count = int((rows != 0).any(1).sum())
    print(f"{out}: {how_many(count, 'fits')} of {how_many(len(people), 'people')}.")
    return 0 if count else 1


def _inspect(path: Path) -> int:
    with FitStore(path) as store:
        store.step = store.newest
        counts, energies = store.counts(), store.energies()
        print(
            f"{path}: {how_many(len(store), 'people')}, as of step {store.step}; energy: {store.energy or 'not said'}"
        )
        for data_set, count in store.data_sets().items():
            print(f"  {data_set:40s} {how_many(count, 'people'):>16s}")
    for name, count in counts.items():
        print(f"  {name.replace('_', ' '):40s} {count:9d}")
    known = energies[(energies < NEVER).all(1)]
    for i, name in enumerate(("data", "prior")):
        if len(known):
            low, middle, high = np.quantile(known[:, i], QUANTILES)
            print(f"  {name} energy, nats: {low:.2f}, {middle:.2f}, {high:.2f} (10 %, half, 90 % have less)")
    return 0

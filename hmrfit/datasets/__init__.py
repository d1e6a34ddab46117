"""Datasets as their authors hand them out -> SPIN's npz format (`hmrfit.datasets.spin_npz`), one file per dataset.

    dataset = read_dataset("h36m-p2", "/data/human36m")
    convert_dataset("lsp-test", "/data/lsp_dataset", "dataset_extras")

The numbers are those that SPIN's own preprocessing writes, except where the reader's file says why not.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from hmrfit.datasets.coco import read_coco
from hmrfit.datasets.dexycb import read_dexycb
from hmrfit.datasets.freihand import read_freihand
from hmrfit.datasets.hand_dataset import HandDataset
from hmrfit.datasets.ho3d import read_ho3d
from hmrfit.datasets.human36m import read_human36m
from hmrfit.datasets.interhand import read_interhand
from hmrfit.datasets.lsp import read_lsp, read_lsp_extended
from hmrfit.datasets.mpi_inf_3dhp import read_3dhp_test, read_3dhp_train
from hmrfit.datasets.mpii import read_mpii
from hmrfit.datasets.rhd import read_rhd
from hmrfit.datasets.spin_npz import SpinDataset, read_spin_npz, write_spin_npz
from hmrfit.datasets.threedpw import read_3dpw
from hmrfit.ops.check import did_you_mean


@dataclass(frozen=True)
class Reader:
    """How a dataset is read, and the file name under which SPIN looks for the result."""

    read: Callable[[Path], SpinDataset]
    file: str


READERS = {
    "lsp-train": Reader(partial(read_lsp, split="train"), "lsp_dataset_original_train.npz"),
    "lsp-test": Reader(partial(read_lsp, split="test"), "lsp_dataset_test.npz"),
    "lsp-extended": Reader(read_lsp_extended, "hr-lspet_train.npz"),
    "mpii": Reader(read_mpii, "mpii_train.npz"),
    "coco": Reader(read_coco, "coco_2014_train.npz"),
    "coco-val": Reader(partial(read_coco, split="val2014"), "coco_2014_val.npz"),
    "h36m-train": Reader(partial(read_human36m, split="train"), "h36m_train.npz"),
    "h36m-p1": Reader(partial(read_human36m, split="protocol1"), "h36m_valid_protocol1.npz"),
    "h36m-p2": Reader(partial(read_human36m, split="protocol2"), "h36m_valid_protocol2.npz"),
    "3dhp-train": Reader(read_3dhp_train, "mpi_inf_3dhp_train.npz"),
    "3dhp-test": Reader(read_3dhp_test, "mpi_inf_3dhp_valid.npz"),  # SPIN writes ..._test.npz and looks for this
    "3dpw-train": Reader(partial(read_3dpw, split="train"), "3dpw_train.npz"),
    "3dpw-validation": Reader(partial(read_3dpw, split="validation"), "3dpw_validation.npz"),
    "3dpw-test": Reader(partial(read_3dpw, split="test"), "3dpw_test.npz"),
}


def read_dataset(name: str, root: str | os.PathLike) -> SpinDataset:
    """A dataset from the folder of its download.

    Raises:
        ValueError: an unknown name, or a damaged file. FileNotFoundError: a part of the download is missing; shows the
            tree that is expected. ImportError: h5py or cdflib is needed.
    """
    return _reader(name).read(Path(root))


def open_dataset(name: str, root: str | os.PathLike) -> SpinDataset:
    """A dataset as SPIN's npz, where there is one (`find_npz`); else from its download.

    Errors: those of `read_spin_npz` and `read_dataset`.
    """
    path = find_npz(name, root)
    if path is not None:
        return read_spin_npz(path)
    try:
        return read_dataset(name, root)
    except FileNotFoundError as error:
        file = _reader(name).file
        raise FileNotFoundError(
            f"{error} Or put {file}, in SPIN's format, there or into dataset_extras below."
        ) from None


def find_npz(name: str, root: str | os.PathLike) -> Path | None:
    """The dataset in SPIN's format: ROOT itself, or under its usual name in ROOT or ROOT/dataset_extras."""
    root, file = Path(root), _reader(name).file
    return next((p for p in (root, root / file, root / "dataset_extras" / file) if p.is_file()), None)


def convert_dataset(name: str, root: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Reads a download and writes its npz into `folder`; returns its path. Errors: those of `read_dataset`."""
    path = Path(folder) / _reader(name).file
    write_spin_npz(path, read_dataset(name, root))
    return path


def _reader(name: str) -> Reader:
    if name not in READERS:
        raise ValueError(f"There is no dataset '{name}'.{did_you_mean(name, READERS)} Known: {', '.join(READERS)}.")
    return READERS[name]


HAND_READERS: dict[str, Callable[..., HandDataset]] = {
    "freihand": read_freihand,
    "ho3d": read_ho3d,
    "interhand": read_interhand,
    "dexycb": read_dexycb,
    "rhd": read_rhd,
}
"""Data sets of hands, from the folders of their downloads."""


def read_hands(name: str, root: str | os.PathLike, split: str | None = None) -> HandDataset:
    """The hands of a data set, from the folder of its download.

    Args:
        name: "freihand", "ho3d", "interhand", "dexycb", "rhd". split: default its evaluation or test.
    Raises:
        ValueError: an unknown name, or a damaged file. FileNotFoundError: a part of the download is missing; shows the
            tree that is expected.
    """
    if name not in HAND_READERS:
        near = did_you_mean(name, HAND_READERS)
        raise ValueError(f"There is no data set of hands '{name}'.{near} Known: {', '.join(HAND_READERS)}.")
    read = HAND_READERS[name]
    return read(Path(root)) if split is None else read(Path(root), split)

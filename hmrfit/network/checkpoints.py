"""Weights on disk: our own npz, and checkpoints of others, which `convert_checkpoint` turns into ours.

    ours            npz: `settings` (JSON: what to build) and every tensor by its parameter's name
    of others       SPIN's model_checkpoint.pt, the original HMR's TensorFlow variables in an npz, torchvision's ResNets
                    (see `hmrfit.network.other_checkpoints`)

Loading is strict: every parameter is found with its shape and every array of the file has a use, or the error message
is a table of what does not fit. Nothing in a file is ever run.
"""

import json
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hmrfit.io.atomic import write_npz
from hmrfit.io.bounded import parse_json
from hmrfit.io.budget import brief
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import ENCODERS, Encoder
from hmrfit.network.error_model import ErrorModel
from hmrfit.network.hand_regressor import HandRegressor
from hmrfit.network.hmr import HMR
from hmrfit.network.label_model import LabelModel
from hmrfit.network.mixture import MixtureModel
from hmrfit.network.other_checkpoints import read_checkpoint_of_others
from hmrfit.network.regressor import IterativeRegressor
from hmrfit.network.strict import WeightSource, as_tensors, check_fits, load_from, read_arrays

Network = HMR | Encoder | FactorizedDiscriminator | ErrorModel | MixtureModel | LabelModel

FixedT = TypeVar("FixedT", ErrorModel, MixtureModel, LabelModel)

SETTINGS = "settings"

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]
"""A value that JSON can hold."""

MOST_LAYERS, MOST_WIDTH = 200, 1 << 20
"""Blocks or iterations, and any other number of a network's settings."""


def save_network(path: str | PathLike[str], network: Network, half: bool = False, **notes: Json) -> Path:
    """Writes a network as npz, atomically.

    Args:
        half: matrices and kernels in 16 bits; vectors (means, biases, variances of batch norm) stay in 32.
        notes: more to write into the settings, such as scores; plain JSON values.
    Raises:
        ValueError: the name does not end in .npz, or a weight is too large for 16 bits.
    """
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"Weights are written as .npz; '{path}' ends otherwise. Choose a name such as hmr.npz.")
    settings = json.dumps({**_settings(network), "notes": notes}, sort_keys=True)
    arrays = {name: _stored(name, tensor, half) for name, tensor in network.state_dict().items()}
    write_npz(path, {SETTINGS: np.array(settings), **arrays}, compress=False)
    return path


def _stored(name: str, tensor: Tensor, half: bool) -> np.ndarray:
    array = tensor.detach().cpu().numpy()
    if not (half and array.ndim >= 2 and array.dtype.kind == "f"):
        return array
    if np.abs(array).max(initial=0) > np.finfo(np.float16).max:
        raise ValueError(f"{name} holds {np.abs(array).max():.3g}, too large for 16 bits. Save with half=False.")
    return array.astype(np.float16)


def _settings(network: Network) -> dict[str, Any]:
    """What `_build` needs."""
    if isinstance(network, HMR):
        return {"kind": "hmr", "encoder": _settings(network.encoder), "regressor": network.regressor.settings()}
    if isinstance(network, FactorizedDiscriminator):
        return {"kind": "discriminator", **network.settings()}
    if isinstance(network, (ErrorModel, MixtureModel, LabelModel, Encoder)):
        return {"kind": network.kind, **network.settings()}
    raise TypeError(
        "Expected an HMR, an encoder, discriminators, an error model, a mixture or a label model to save, not "
        f"{type(network).__name__}."
    )


def _build(kind: str, notes: Any = None, **settings: Any) -> Network:
    """The network of these settings, its weights random."""
    if kind == "hmr":
        own = settings["regressor"]
        regressor = HandRegressor if own.get("kind") == HandRegressor.kind else IterativeRegressor
        return HMR(_build_encoder(**settings["encoder"]), regressor.from_settings(**own))
    if kind == "discriminator":
        return FactorizedDiscriminator(**settings)
    if kind == ErrorModel.kind:
        return ErrorModel(**settings)
    if kind == MixtureModel.kind:
        return MixtureModel.from_settings(**settings)
    if kind == LabelModel.kind:
        return LabelModel(**settings)
    return _build_encoder(kind, **settings)


def _build_encoder(kind: str, **settings: Any) -> Encoder:
    return ENCODERS[kind](**settings)


def load_network(path: str | PathLike[str], mean_params: str | PathLike[str] | None = None) -> Network:
    """A network from our own npz or a checkpoint of others, in float32, ready for inference (`eval`).

    Args:
        mean_params: SPIN's smpl_mean_params.npz, for a checkpoint of SPIN; by default the one inside the checkpoint,
            else the file of that name beside it.
    Raises:
        FileNotFoundError, ValueError (CheckpointMismatch with a table): the message says what to do.
    """
    arrays = read_arrays(path)
    if SETTINGS not in arrays:
        return read_checkpoint_of_others(Path(path), arrays, mean_params).eval()
    text = str(arrays.pop(SETTINGS))
    try:
        settings = parse_json(text, "its JSON")
        check_settings(settings)
        with torch.device("meta"):  # shapes without memory: whatever widths a file claims, its arrays must have them
            claimed = _build(**settings)
    except (TypeError, KeyError, ValueError, IndexError, RuntimeError, AttributeError, OverflowError) as error:
        raise ValueError(
            f"The settings in '{path}' are not those of a network of this version ({brief(str(error), 200)})."
        ) from error
    tensors = as_tensors(arrays)
    check_fits(claimed, tensors, f"'{path}' does not fit its own settings")
    network = _build(**settings)
    sources = {name: WeightSource((name,)) for name in network.state_dict()}
    load_from(network, tensors, sources, f"'{path}' does not fit its own settings")
    return network.eval()


def check_settings(settings: Json) -> None:
    """That settings are a dictionary of plain values, and no number in it makes more layers than a file can have.

    Raises:
        ValueError: says which.
    """
    if not isinstance(settings, dict):
        raise ValueError(f"expected a dictionary, not {type(settings).__name__}")
    for name, value in settings.items():
        if isinstance(value, dict) and name in ("encoder", "regressor", "errors"):
            check_settings(value)
        elif name in ("blocks", "iterations") and not (type(value) is int and 0 <= value <= MOST_LAYERS):
            raise ValueError(f"{name} should be a whole number of at most {MOST_LAYERS}, but is {brief(repr(value))}")
        elif type(value) is int and not 0 <= value <= MOST_WIDTH:
            raise ValueError(f"{brief(name)} should lie between 0 and {MOST_WIDTH}, but is {value:.3g}")
        elif name == "names" and not (isinstance(value, list) and all(type(n) is str for n in value)):
            raise ValueError("names should be a list of texts")


def load_hmr(path: str | PathLike[str], mean_params: str | PathLike[str] | None = None) -> HMR:
    """As `load_network`, for a file that holds a whole HMR.

    Raises:
        ValueError: it holds an encoder or discriminators alone.
    """
    network = load_network(path, mean_params)
    if not isinstance(network, HMR):
        raise ValueError(
            f"'{path}' holds {type(network).__name__} alone, not a whole HMR. An encoder becomes one by "
            "HMR(load_network(path)), its regressor still untrained."
        )
    return network


def load_error_model(path: str | PathLike[str]) -> ErrorModel:
    """As `load_network`, for a file that holds the error model of an initial estimate; its weights are fixed.

    Raises:
        ValueError: it holds another network.
    """
    return _load_fixed(path, ErrorModel, "an error model of an initial estimate")


def load_mixture(path: str | PathLike[str]) -> MixtureModel:
    """As `load_network`, for a file that holds the components beside an initial estimate; its weights are fixed.

    Raises:
        ValueError: it holds another network.
    """
    return _load_fixed(path, MixtureModel, "a mixture beside an initial estimate")


def load_label_model(path: str | PathLike[str]) -> LabelModel:
    """As `load_network`, for a file that holds what tells wrong names of keypoints; its weights are fixed.

    Raises:
        ValueError: it holds another network.
    """
    return _load_fixed(path, LabelModel, "a model of keypoint labels")


def _load_fixed(path: str | PathLike[str], kind: type[FixedT], what: str) -> FixedT:
    """A network of this kind, its weights fixed. what: how the error message calls the kind."""
    network = load_network(path)
    if not isinstance(network, kind):
        raise ValueError(f"'{path}' holds a {type(network).__name__}, not {what}.")
    return network.requires_grad_(False)


def convert_checkpoint(
    source: str | PathLike[str],
    target: str | PathLike[str],
    mean_params: str | PathLike[str] | None = None,
    half: bool = False,
) -> Path:
    """A checkpoint that `load_network` reads -> our npz; see there and `save_network` for the rest."""
    return save_network(target, load_network(source, mean_params), half, converted_from=Path(source).name)

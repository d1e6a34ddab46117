"""Checkpoints of others -> our networks: where each of our parameters stands in their files.

    SPIN          fc1's columns [φ | pose 144 | betas 10 | camera 3] -> [φ | camera | pose | betas]; its three heads
                  decpose, decshape, deccam are the rows of our fc3; init_pose, init_shape, init_cam our mean Θ
    HMR (TF1)     kernels (height, width, in, out) -> (out, in, height, width); matrices (in, out) -> (out, in);
                  3D_module/fc1..3 is the regressor, mean_param our mean Θ, D/… the discriminators
    torchvision   names as ours; the classifier fc is left out

The npz of TensorFlow variables is made where TensorFlow is installed:

    reader = tf.train.load_checkpoint("model.ckpt-667589")
    np.savez("hmr_tf.npz", **{name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()})
"""

import re
from collections.abc import Iterator, Mapping
from os import PathLike
from pathlib import Path

import torch
from torch import Tensor

from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import ImageEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.regressor import CAMERA, IterativeRegressor, ThetaLayout
from hmrfit.network.resnet import PreactBottleneck
from hmrfit.network.strict import Array, WeightSource, as_tensors, load_from, read_arrays

MEAN_PARAMS = "smpl_mean_params.npz"
MEAN_NAMES = {"cam": "init_cam", "pose": "init_pose", "shape": "init_shape"}
"""Names in SPIN's file of mean parameters -> names in its checkpoint."""

TF_ROOT, TF_HEAD, TF_MEAN, TF_DISCRIMINATORS = "resnet_v2_50/", "3D_module/", "mean_param", "D/"

TF_UNUSED = re.compile(
    r"(^|/)(Adam(_\d+)?|beta[12]_power(_\d+)?|global_step"
    r"|v_template|shapedirs|posedirs|J_regressor|lbs_weights|cocoplus_regressor)$"
)
"""The optimisers' own variables, and the SMPL body that the original HMR keeps in its checkpoint."""


def read_checkpoint_of_others(
    path: Path, arrays: Mapping[str, Array], mean_params: str | PathLike[str] | None
) -> HMR | ImageEncoder:
    """The network of SPIN's, the original HMR's or torchvision's checkpoint, recognised by its names.

    Raises:
        ValueError: none of the known ones; or, as CheckpointMismatch, not all of it is there.
    """
    tensors = as_tensors({name.removesuffix(":0"): a for name, a in arrays.items() if _is_number(a)})
    if "decpose.weight" in tensors:
        return read_spin(path, tensors, mean_params)
    if any(name.startswith((TF_ROOT, TF_HEAD)) for name in tensors):
        return read_hmr_tensorflow(path, tensors)
    if "layer1.0.conv1.weight" in tensors:
        return read_torchvision(path, tensors)
    if set(MEAN_NAMES) <= set(tensors):
        raise ValueError(
            f"'{path}' holds SPIN's mean parameters, not weights. Give model_checkpoint.pt, and this as mean_params."
        )
    raise ValueError(
        f"'{path}' is none of the checkpoints that are known here: ours, SPIN's, the original HMR's TensorFlow "
        f"variables, torchvision's ResNets. Its arrays begin with {', '.join(sorted(map(str, arrays))[:5])}."
    )


def _is_number(array: Array) -> bool:
    return isinstance(array, Tensor) or array.dtype.kind in "fiu"


def read_spin(path: Path, tensors: Mapping[str, Tensor], mean_params: str | PathLike[str] | None = None) -> HMR:
    """SPIN (Kolotouros et al., ICCV 2019): ResNet-50, 6D form, no non-linearity in the regressor."""
    tensors = {**tensors, **_spin_mean(path, tensors, mean_params)}
    encoder, layout = ImageEncoder("resnet50"), ThetaLayout("6d")
    hmr = HMR(encoder, IterativeRegressor(encoder.features, layout, activation=False))
    sources = {f"encoder.resnet.{name}": WeightSource((name,)) for name in encoder.resnet.state_dict()}
    heads = ("deccam", "decpose", "decshape")
    for part in ("weight", "bias"):
        sources[f"regressor.fc2.{part}"] = WeightSource((f"fc2.{part}",))
        sources[f"regressor.fc3.{part}"] = WeightSource(tuple(f"{head}.{part}" for head in heads), _rows)
    sources["regressor.fc1.weight"] = WeightSource(("fc1.weight",), lambda w: _camera_first(w, encoder.features))
    sources["regressor.fc1.bias"] = WeightSource(("fc1.bias",))
    sources["regressor.mean"] = WeightSource(
        ("init_cam", "init_pose", "init_shape"), lambda *m: _rows(*map(torch.ravel, m))
    )
    load_from(hmr, tensors, sources, f"'{path}' does not fit SPIN's network", lambda name: name.endswith("tracked"))
    return hmr


def _rows(*parts: Tensor) -> Tensor:
    return torch.cat(parts)


def _camera_first(weight: Tensor, features: int) -> Tensor:
    """Columns [φ | pose | betas | camera] -> [φ | camera | pose | betas]."""
    return torch.cat([weight[:, :features], weight[:, -CAMERA:], weight[:, features:-CAMERA]], 1)


def _spin_mean(path: Path, tensors: Mapping[str, Tensor], given: str | PathLike[str] | None) -> dict[str, Tensor]:
    """The mean parameters by their names in the checkpoint: those given, else the checkpoint's, else beside it."""
    if given is None and all(name in tensors for name in MEAN_NAMES.values()):
        return {}
    file = path.parent / MEAN_PARAMS if given is None else Path(given)
    if not file.is_file():
        raise FileNotFoundError(
            f"SPIN's mean parameters are neither in '{path}' nor at '{file}'. Put {MEAN_PARAMS} (it comes with SPIN's "
            "data) beside the checkpoint, or give its path as mean_params."
        )
    found = as_tensors(read_arrays(file))
    if lacking := [name for name in MEAN_NAMES if name not in found]:
        raise ValueError(f"'{file}' lacks {', '.join(lacking)}: it is not SPIN's {MEAN_PARAMS}.")
    return {theirs: found[name] for name, theirs in MEAN_NAMES.items()}


def read_torchvision(path: Path, tensors: Mapping[str, Tensor]) -> ImageEncoder:
    """A torchvision ResNet-18, 34 or 50, trained on ImageNet, as an encoder."""
    deep = "layer3.5.conv1.weight" in tensors
    variant = "resnet50" if "layer1.0.conv3.weight" in tensors else "resnet34" if deep else "resnet18"
    encoder = ImageEncoder(variant)
    sources = {name: WeightSource((name.removeprefix("resnet."),)) for name in encoder.state_dict()}
    load_from(encoder, tensors, sources, f"'{path}' does not fit torchvision's {variant}", _is_classifier_or_counter)
    return encoder


def _is_classifier_or_counter(name: str) -> bool:
    return name in ("fc.weight", "fc.bias") or name.endswith("tracked")


def read_hmr_tensorflow(path: Path, tensors: Mapping[str, Tensor]) -> HMR:
    """The original HMR (Kanazawa et al., CVPR 2018): slim's resnet_v2_50, axis-angle form, trained mean."""
    encoder, layout = ImageEncoder("resnet50_v2"), ThetaLayout("axis_angle")
    hmr = HMR(encoder, IterativeRegressor(encoder.features, layout, learn_mean=True))
    sources = dict(_slim_encoder(encoder))
    for layer in ("fc1", "fc2", "fc3"):
        sources |= _slim(f"regressor.{layer}", TF_HEAD + layer)
    sources["regressor.mean"] = WeightSource((TF_MEAN,), torch.ravel)
    load_from(hmr, tensors, sources, f"'{path}' does not fit the original HMR", _is_no_part_of_hmr)
    return hmr


def _is_unused(name: str) -> bool:
    return TF_UNUSED.search(name) is not None


def _is_no_part_of_hmr(name: str) -> bool:
    return name.startswith(TF_DISCRIMINATORS) or _is_unused(name)


def _slim(ours: str, theirs: str) -> dict[str, WeightSource]:
    """A convolution or a fully connected layer."""
    return {
        f"{ours}.weight": WeightSource((f"{theirs}/weights",), _transposed),
        f"{ours}.bias": WeightSource((f"{theirs}/biases",)),
    }


def _transposed(weight: Tensor) -> Tensor:
    """(h, w, in, out) -> (out, in, h, w);  (in, out) -> (out, in)."""
    return weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.T


def _slim_norm(ours: str, theirs: str) -> dict[str, WeightSource]:
    """A batch norm."""
    names = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
    return {
        **{f"{ours}.{mine}": WeightSource((f"{theirs}/{slim}",)) for mine, slim in names.items()},
        f"{ours}.num_batches_tracked": WeightSource((f"{theirs}/num_batches_tracked",)),
    }


def _slim_encoder(encoder: ImageEncoder) -> Iterator[tuple[str, WeightSource]]:
    """Every parameter of slim's resnet_v2_50."""
    yield from _slim("encoder.resnet.conv1", f"{TF_ROOT}conv1").items()
    yield from _slim_norm("encoder.resnet.postnorm", f"{TF_ROOT}postnorm").items()
    for name, unit in encoder.resnet.named_modules():
        if not isinstance(unit, PreactBottleneck):
            continue
        block, number = name.split(".")
        ours, theirs = f"encoder.resnet.{name}", f"{TF_ROOT}{block}/unit_{int(number) + 1}/bottleneck_v2"
        yield from _slim_norm(f"{ours}.preact", f"{theirs}/preact").items()
        for i in (1, 2):
            yield f"{ours}.conv{i}.weight", WeightSource((f"{theirs}/conv{i}/weights",), _transposed)
            yield from _slim_norm(f"{ours}.bn{i}", f"{theirs}/conv{i}/BatchNorm").items()
        for layer in ("conv3", "shortcut")[: 1 if unit.shortcut is None else 2]:
            yield from _slim(f"{ours}.{layer}", f"{theirs}/{layer}").items()


def read_hmr_discriminators(path: str | PathLike[str]) -> FactorizedDiscriminator:
    """The discriminators among the original HMR's TensorFlow variables (an npz of them).

    Raises:
        CheckpointMismatch: they are not all there; the released checkpoints may come without.
    """
    tensors = as_tensors({name.removesuffix(":0"): a for name, a in read_arrays(path).items() if _is_number(a)})
    own = {name: t for name, t in tensors.items() if name.startswith(TF_DISCRIMINATORS)}
    discriminators = FactorizedDiscriminator()
    layers = {"each.0": "D_conv1", "each.2": "D_conv2", "shape.4": "shape_final", "all_joints.4": "D_alljoints_out"}
    layers |= {f"shape.{2 * i}": f"shape_fc1/shape_fc1_{i + 1}" for i in range(2)}
    layers |= {f"all_joints.{2 * i}": f"D_alljoints_fc{i + 1}" for i in range(2)}
    sources: dict[str, WeightSource] = {}
    for ours, theirs in layers.items():
        sources |= _slim(ours, TF_DISCRIMINATORS + theirs)
        if ours.startswith("each"):
            sources[f"{ours}.weight"] = WeightSource((f"{TF_DISCRIMINATORS}{theirs}/weights",), lambda w: w[0, 0].T)
    each = [f"{TF_DISCRIMINATORS}pose_out_j{j}" for j in range(discriminators.joints - 1)]
    sources["joint_weight"] = WeightSource(tuple(f"{name}/weights" for name in each), lambda *w: torch.cat(w, 1).T)
    sources["joint_bias"] = WeightSource(tuple(f"{name}/biases" for name in each), _rows)
    load_from(discriminators, own, sources, f"'{path}' does not hold the original HMR's discriminators", _is_unused)
    return discriminators.eval()

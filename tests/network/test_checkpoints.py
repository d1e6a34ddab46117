"""Weights on disk: round trips, files in the published layouts against the published formulas, and the table."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hmrfit.keypoints import resolve_set
from hmrfit.network.checkpoints import convert_checkpoint, load_hmr, load_network, save_network
from hmrfit.network.discriminator import FactorizedDiscriminator
from hmrfit.network.encoders import ImageEncoder, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.other_checkpoints import read_hmr_discriminators
from hmrfit.network.regressor import IterativeRegressor, ThetaLayout
from hmrfit.network.strict import CheckpointMismatch

COCO = resolve_set("coco17")
SLIM_UNITS = ((64, 3, 2), (128, 4, 2), (256, 6, 2), (512, 3, 1))
"""slim's resnet_v2_50: (bottleneck width, units, stride of the last unit) of each block."""


def small_hmr(form: str = "6d", **settings) -> HMR:
    encoder = KeypointEncoder(24, 1)
    return HMR(
        encoder,
        IterativeRegressor(24, ThetaLayout(form), mean=torch.randn(ThetaLayout(form).size), hidden=32, **settings),
    ).eval()


def same_state(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.mark.parametrize("form", ["6d", "axis_angle"])
@pytest.mark.parametrize("learn_mean", [True, False])
def test_a_keypoint_hmr_round_trips(tmp_path: Path, form: str, learn_mean: bool):
    hmr = small_hmr(form, learn_mean=learn_mean, activation=learn_mean, dropout=0.1, iterations=2)
    again = load_hmr(save_network(tmp_path / "hmr.npz", hmr))
    assert again.regressor.settings() == hmr.regressor.settings()
    assert again.encoder.settings() == hmr.encoder.settings()
    assert same_state(again, hmr) and not again.training
    points = torch.rand(3, 17, 3)
    assert torch.equal(again(points, COCO)[-1].theta(), hmr(points, COCO)[-1].theta())


@pytest.mark.parametrize(
    "network", [FactorizedDiscriminator(hidden=16), KeypointEncoder(8, 1), ImageEncoder("resnet18")]
)
def test_parts_round_trip_too(tmp_path: Path, network):
    path = save_network(tmp_path / "part.npz", network)
    again = load_network(path)
    assert type(again) is type(network) and same_state(again, network)
    with pytest.raises(ValueError, match="not a whole HMR"):
        load_hmr(path)


def test_the_same_network_gives_the_same_bytes_and_half_of_them_in_16_bits(tmp_path: Path):
    hmr = small_hmr()
    one, two = (save_network(tmp_path / name, hmr).read_bytes() for name in ("one.npz", "two.npz"))
    assert one == two
    half = load_hmr(save_network(tmp_path / "half.npz", hmr, half=True))
    assert torch.equal(half.regressor.mean, hmr.regressor.mean), "vectors stay in 32 bits"
    # 16 bits round to a share of 2⁻¹¹; below 6e-5 they are subnormal with steps of 6e-8
    torch.testing.assert_close(half.regressor.fc1.weight, hmr.regressor.fc1.weight, rtol=2**-11, atol=6e-8)
    assert half.regressor.fc1.weight.dtype == torch.float32
    assert (tmp_path / "half.npz").stat().st_size < 0.62 * len(one)  # vectors and zip headers do not shrink


def test_weights_too_large_for_16_bits_are_refused(tmp_path: Path):
    hmr = small_hmr()
    with torch.no_grad():
        hmr.regressor.fc2.weight[3, 4] = 1e5
    with pytest.raises(ValueError, match=r"regressor\.fc2\.weight.*1e\+05"):
        save_network(tmp_path / "hmr.npz", hmr, half=True)
    assert not list(tmp_path.iterdir())


def test_notes_stay_in_the_file(tmp_path: Path):
    path = save_network(tmp_path / "hmr.npz", small_hmr(), scores={"pa_mpjpe_mm": 45.0})
    with np.load(path, allow_pickle=False) as data:
        assert json.loads(str(data["settings"]))["notes"] == {"scores": {"pa_mpjpe_mm": 45.0}}


# --- SPIN -------------------------------------------------------------------------------------------------------------


def spin_file(folder: Path) -> dict[str, torch.Tensor]:
    """A checkpoint as SPIN writes it, by its names and its order of numbers, all random."""
    state = {name: v.clone() for name, v in ImageEncoder("resnet50").resnet.state_dict().items()}
    for name, value in state.items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
        elif name.endswith("running_mean"):
            value.normal_(0, 0.1)
    sizes = {
        "fc1": (1024, 2048 + 157),
        "fc2": (1024, 1024),
        "decpose": (144, 1024),
        "decshape": (10, 1024),
        "deccam": (3, 1024),
    }
    for name, size in sizes.items():
        state[f"{name}.weight"], state[f"{name}.bias"] = 0.03 * torch.randn(size), 0.1 * torch.randn(size[0])
    state |= {
        "init_pose": torch.randn(1, 144),
        "init_shape": torch.randn(1, 10),
        "init_cam": torch.tensor([[0.9, 0.0, 0.1]]),
    }
    torch.save(
        {"model": state, "epoch": 7, "optimizer": {"state": {}, "param_groups": []}}, folder / "model_checkpoint.pt"
    )
    return state


def spin_forward(p: dict[str, torch.Tensor], phi: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """formulas 4.2: [φ | pose | shape | camera] -> fc1 -> fc2 -> three heads, three times; then 6D by Gram-Schmidt."""
    pose, shape, camera = (p[f"init_{name}"].expand(len(phi), -1) for name in ("pose", "shape", "cam"))
    for _ in range(3):
        x = torch.cat([phi, pose, shape, camera], 1)
        x = F.linear(F.linear(x, p["fc1.weight"], p["fc1.bias"]), p["fc2.weight"], p["fc2.bias"])
        pose, shape, camera = (
            before + F.linear(x, p[f"{head}.weight"], p[f"{head}.bias"])
            for before, head in ((pose, "decpose"), (shape, "decshape"), (camera, "deccam"))
        )
    rotations = torch.empty(len(phi), 24, 3, 3, dtype=phi.dtype)
    for i, person in enumerate(pose.reshape(-1, 24, 3, 2)):
        for j, columns in enumerate(person):
            b1 = columns[:, 0] / columns[:, 0].norm()
            b2 = columns[:, 1] - (b1 @ columns[:, 1]) * b1
            b2 = b2 / b2.norm()
            rotations[i, j] = torch.stack([b1, b2, torch.linalg.cross(b1, b2)], 1)
    return rotations, shape, camera


@pytest.fixture(scope="module")
def spin(tmp_path_factory) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("spin")
    return folder / "model_checkpoint.pt", spin_file(folder)


def test_spin_computes_what_its_formulas_say(spin, tmp_path: Path):
    path, state = spin
    hmr = load_hmr(convert_checkpoint(path, tmp_path / "ours.npz"))
    assert same_state(hmr, load_hmr(path))
    images, double = torch.rand(2, 3, 64, 64).double(), {name: value.double() for name, value in state.items()}
    hmr.double()
    with torch.no_grad():
        rotations, shape, camera = spin_forward(double, hmr.encoder(images))
        last = hmr(images)[-1]
    hmr.float()
    for name, value in hmr.encoder.resnet.state_dict().items():
        assert torch.equal(value, state[name]), name
    # float64 sums of 2205 products in another order, numbers up to 15; SPIN's own code agreed to 8e-15 in float64 and
    # to 2.4e-6 in float32 (built from its public code, random weights, four images of 224²)
    torch.testing.assert_close(last.params.rotations, rotations, rtol=0, atol=1e-11)
    torch.testing.assert_close(last.params.betas, shape, rtol=0, atol=1e-11)
    torch.testing.assert_close(last.weak_camera, camera, rtol=0, atol=1e-11)


def without(path: Path, target: Path, *names: str, **more: torch.Tensor) -> Path:
    state = torch.load(path, weights_only=True)["model"]
    torch.save({"model": {n: v for n, v in state.items() if n not in names} | more}, target)
    return target


def test_spins_mean_comes_from_the_file_beside_or_the_one_given(spin, tmp_path: Path):
    """From a checkpoint as old versions of torch wrote it, too: without batch norm's counters."""
    path, state = spin
    counters = [name for name in state if name.endswith("num_batches_tracked")]
    bare = without(path, tmp_path / "bare.pt", "init_pose", "init_shape", "init_cam", *counters)
    assert counters
    with pytest.raises(FileNotFoundError, match=r"smpl_mean_params\.npz.*mean_params"):
        load_hmr(bare)
    mean = {"pose": np.ones(144, np.float32), "shape": np.full(10, 2.0), "cam": np.array([3, 4, 5], np.float32)}
    np.savez(tmp_path / "elsewhere.npz", **mean)
    expected = torch.tensor([3.0, 4, 5] + [1] * 144 + [2] * 10)
    whole, old = load_hmr(path, tmp_path / "elsewhere.npz"), load_hmr(bare, tmp_path / "elsewhere.npz")
    assert torch.equal(whole.regressor.mean, expected) and same_state(whole, old)
    np.savez(tmp_path / "smpl_mean_params.npz", **mean)
    assert torch.equal(load_hmr(bare).regressor.mean, expected)
    with pytest.raises(ValueError, match=r"mean parameters, not weights.*mean_params"):
        load_network(tmp_path / "smpl_mean_params.npz")


def test_what_does_not_fit_is_a_table(spin, tmp_path: Path):
    names = ("layer3.2.bn1.bias", "deccam.weight", "layer1.0.bn1.num_batches_tracked")
    bad = without(spin[0], tmp_path / "bad.pt", *names, extra=torch.zeros(3), **{"fc2.bias": torch.zeros(7)})
    with pytest.raises(CheckpointMismatch) as caught:
        load_hmr(bad)
    head, counts, *rows = str(caught.value).splitlines()
    assert "bad.pt" in head and "SPIN" in head
    assert counts == "2 missing, 1 shape, 1 unexpected"
    words = [row.split() for row in rows]
    assert [row[:2] for row in words] == [
        ["missing", "deccam.weight"],
        ["missing", "layer3.2.bn1.bias"],
        ["shape", "fc2.bias"],
        ["unexpected", "extra"],
    ]
    assert "(7)" in rows[2] and "(1024)" in rows[2]


# --- the original HMR -------------------------------------------------------------------------------------------------


def slim_shapes() -> dict[str, tuple[int, ...]]:
    """Name -> shape of every TensorFlow variable of slim's resnet_v2_50, HMR's regressor and discriminators."""
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(scope: str, width: int) -> None:
        shapes.update({f"{scope}/{part}": (width,) for part in ("gamma", "beta", "moving_mean", "moving_variance")})

    def layer(scope: str, *size: int) -> None:
        shapes.update({f"{scope}/weights": size, f"{scope}/biases": size[-1:]})

    layer("resnet_v2_50/conv1", 7, 7, 3, 64)
    inputs = 64
    for block, (width, units, _) in enumerate(SLIM_UNITS, 1):
        for unit in range(1, units + 1):
            scope = f"resnet_v2_50/block{block}/unit_{unit}/bottleneck_v2"
            norm(f"{scope}/preact", inputs)
            if unit == 1:
                layer(f"{scope}/shortcut", 1, 1, inputs, 4 * width)
            shapes[f"{scope}/conv1/weights"] = (1, 1, inputs, width)
            shapes[f"{scope}/conv2/weights"] = (3, 3, width, width)
            norm(f"{scope}/conv1/BatchNorm", width)
            norm(f"{scope}/conv2/BatchNorm", width)
            layer(f"{scope}/conv3", 1, 1, width, 4 * width)
            inputs = 4 * width
    norm("resnet_v2_50/postnorm", inputs)
    for name, size in {"fc1": (2048 + 85, 1024), "fc2": (1024, 1024), "fc3": (1024, 85)}.items():
        layer(f"3D_module/{name}", *size)
    shapes["mean_param"] = (1, 85)
    layer("D/D_conv1", 1, 1, 9, 32)
    layer("D/D_conv2", 1, 1, 32, 32)
    for j in range(23):
        layer(f"D/pose_out_j{j}", 32, 1)
    layer("D/shape_fc1/shape_fc1_1", 10, 10)
    layer("D/shape_fc1/shape_fc1_2", 10, 5)
    layer("D/shape_final", 5, 1)
    layer("D/D_alljoints_fc1", 736, 1024)
    layer("D/D_alljoints_fc2", 1024, 1024)
    layer("D/D_alljoints_out", 1024, 1)
    return shapes


@pytest.fixture(scope="module")
def hmr_tf(tmp_path_factory) -> tuple[Path, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    values = {}
    for name, shape in slim_shapes().items():
        if name.endswith(("gamma", "moving_variance")):
            values[name] = rng.uniform(0.5, 1.0, shape).astype(np.float32)
        else:
            fan = np.prod(shape[:-1]) if len(shape) > 1 else 100.0
            values[name] = rng.normal(0, fan**-0.5, shape).astype(np.float32)
    path = tmp_path_factory.mktemp("hmr") / "hmr_tf.npz"
    other = {
        "global_step": np.array(3),
        "3D_module/fc1/weights/Adam": np.zeros(2),
        "beta1_power": np.array(0.9),
        "lbs_weights": np.zeros(4),
    }
    np.savez(path, **values, **other)
    return path, values


def tf_conv(x: np.ndarray | torch.Tensor, kernel: np.ndarray, stride: int = 1) -> torch.Tensor:
    """slim's conv2d_same on (B, H, W, C) with a TensorFlow kernel (h, w, in, out), summed over the kernel's places."""
    size = kernel.shape[0]
    x = F.pad(x, (0, 0, size // 2, size // 2, size // 2, size // 2))
    rows, columns = ((n - size) // stride + 1 for n in x.shape[1:3])
    out = 0
    for i in range(size):
        for j in range(size):
            patch = x[:, i : i + stride * rows : stride, j : j + stride * columns : stride][:, :rows, :columns]
            out = out + patch @ torch.from_numpy(kernel[i, j])
    return out


def tf_features(v: dict[str, np.ndarray], images: torch.Tensor) -> torch.Tensor:
    """slim's resnet_v2_50 in TensorFlow's layout (B, H, W, C)."""
    get = lambda name: torch.from_numpy(v[name])  # noqa: E731

    def norm(x: torch.Tensor, scope: str) -> torch.Tensor:
        scaled = (x - get(f"{scope}/moving_mean")) / (get(f"{scope}/moving_variance") + 1e-5).sqrt()
        return (scaled * get(f"{scope}/gamma") + get(f"{scope}/beta")).clamp_min(0)

    x = tf_conv(images, v["resnet_v2_50/conv1/weights"], 2) + get("resnet_v2_50/conv1/biases")
    x = F.pad(x, (0, 0, 0, 1, 0, 1), value=-torch.inf)  # even sizes: SAME pads one row below, one column right
    x = F.max_pool2d(x.permute(0, 3, 1, 2), 3, 2).permute(0, 2, 3, 1)
    for block, (_, units, last_stride) in enumerate(SLIM_UNITS, 1):
        for unit in range(1, units + 1):
            scope, stride = f"resnet_v2_50/block{block}/unit_{unit}/bottleneck_v2", last_stride if unit == units else 1
            before = norm(x, f"{scope}/preact")
            shortcut = x[:, ::stride, ::stride]
            if unit == 1:
                shortcut = tf_conv(before, v[f"{scope}/shortcut/weights"], stride) + get(f"{scope}/shortcut/biases")
            y = norm(tf_conv(before, v[f"{scope}/conv1/weights"]), f"{scope}/conv1/BatchNorm")
            y = norm(tf_conv(y, v[f"{scope}/conv2/weights"], stride), f"{scope}/conv2/BatchNorm")
            x = shortcut + tf_conv(y, v[f"{scope}/conv3/weights"]) + get(f"{scope}/conv3/biases")
    return norm(x, "resnet_v2_50/postnorm").mean((1, 2))


def test_the_original_hmr_computes_what_its_formulas_say(hmr_tf):
    path, v = hmr_tf
    hmr, v = load_hmr(path).double(), {name: value.astype(np.float64) for name, value in v.items()}
    images = torch.rand(2, 3, 32, 32).double()
    with torch.no_grad():
        thetas = hmr.thetas(images)
        phi = tf_features(v, 2 * images.permute(0, 2, 3, 1) - 1)
        theta = torch.from_numpy(v["mean_param"]).expand(2, -1)
        for found in thetas:
            x = torch.cat([phi, theta], 1)
            for name in ("fc1", "fc2", "fc3"):
                x = x @ torch.from_numpy(v[f"3D_module/{name}/weights"]) + torch.from_numpy(
                    v[f"3D_module/{name}/biases"]
                )
                x = x if name == "fc3" else x.clamp_min(0)
            theta = theta + x
            # float64 through 50 layers; tf-slim and HMR's own code agreed to 6e-6 in float32 (random weights, 224²)
            torch.testing.assert_close(found, theta, rtol=1e-9, atol=1e-9)
    assert isinstance(hmr.regressor.mean, torch.nn.Parameter)
    assert hmr.regressor.layout.form == "axis_angle"


def test_the_original_discriminators_compute_what_their_formulas_say(hmr_tf):
    path, v = hmr_tf
    layer = lambda x, name: x @ v[f"D/{name}/weights"].squeeze() + v[f"D/{name}/biases"]  # noqa: E731
    body_pose, betas = torch.randn(3, 23, 3, 3), torch.randn(3, 10)
    relu = lambda x: np.maximum(x, 0)  # noqa: E731
    h = relu(layer(relu(layer(body_pose.numpy().reshape(3, 23, 9), "D_conv1")), "D_conv2"))
    joints = [h[:, j] @ v[f"D/pose_out_j{j}/weights"] + v[f"D/pose_out_j{j}/biases"] for j in range(23)]
    both = relu(layer(relu(layer(h.reshape(3, -1), "D_alljoints_fc1")), "D_alljoints_fc2"))
    shape = relu(layer(relu(layer(betas.numpy(), "shape_fc1/shape_fc1_1")), "shape_fc1/shape_fc1_2"))
    last = [
        both @ v["D/D_alljoints_out/weights"] + v["D/D_alljoints_out/biases"],
        shape @ v["D/shape_final/weights"] + v["D/shape_final/biases"],
    ]
    with torch.no_grad():
        scores = read_hmr_discriminators(path)(body_pose, betas)
    torch.testing.assert_close(scores, torch.from_numpy(np.concatenate([*joints, *last], 1)), rtol=1e-5, atol=1e-5)


def test_variables_of_tensorflow_that_are_missing_are_named_as_tensorflow_names_them(hmr_tf, tmp_path: Path):
    values = {
        name: value for name, value in hmr_tf[1].items() if not name.endswith("unit_2/bottleneck_v2/conv3/biases")
    }
    np.savez(tmp_path / "cut.npz", **values)
    with pytest.raises(CheckpointMismatch, match=r"missing +resnet_v2_50/block1/unit_2/bottleneck_v2/conv3/biases"):
        load_hmr(tmp_path / "cut.npz")
    own = {name: value for name, value in values.items() if not name.startswith("D/")}
    np.savez(tmp_path / "cut.npz", **own)
    with pytest.raises(CheckpointMismatch, match=r"missing +D/D_alljoints_fc1/weights"):
        read_hmr_discriminators(tmp_path / "cut.npz")


# --- torchvision, and files that are none of these --------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["resnet18", "resnet34", "resnet50"])
def test_torchvisions_weights_become_an_encoder(tmp_path: Path, variant: str):
    encoder = ImageEncoder(variant)
    fc = {"fc.weight": torch.zeros(1000, encoder.features), "fc.bias": torch.zeros(1000)}
    torch.save({**encoder.resnet.state_dict(), **fc}, tmp_path / "imagenet.pth")
    again = load_network(tmp_path / "imagenet.pth")
    assert isinstance(again, ImageEncoder) and again.variant == variant
    assert same_state(again, encoder)
    with pytest.raises(ValueError, match=r"HMR\(load_network\(path\)\)"):
        load_hmr(tmp_path / "imagenet.pth")


def test_data_parallel_and_state_dict_are_looked_into(tmp_path: Path):
    encoder = ImageEncoder("resnet18")
    wrapped = {f"module.{name}": value for name, value in encoder.resnet.state_dict().items()}
    torch.save({"state_dict": wrapped}, tmp_path / "wrapped.pth")
    assert same_state(load_network(tmp_path / "wrapped.pth"), encoder)


class Harmful:
    """A pickle that would leave a file behind if it were run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path: Path):
    trace = tmp_path / "trace"
    torch.save({"model": {"x": Harmful(trace)}}, tmp_path / "bad.pt")
    np.savez(tmp_path / "bad.npz", settings=np.array([Harmful(trace)], dtype=object))
    for name in ("bad.pt", "bad.npz"):
        with pytest.raises(ValueError, match="cannot be read"):
            load_network(tmp_path / name)
    assert not trace.exists()


def test_other_files_are_answered(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        load_network(tmp_path / "none.pt")
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 cut off")
    (tmp_path / "cut.pt").write_bytes(b"\x80\x02 cut off")
    for name in ("cut.npz", "cut.pt"):
        with pytest.raises(ValueError, match="cannot be read"):
            load_network(tmp_path / name)
    np.savez(tmp_path / "other.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(ValueError, match=r"none of the checkpoints.*a, b"):
        load_network(tmp_path / "other.npz")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="no named tensors"):
        load_network(tmp_path / "list.pt")
    np.savez(tmp_path / "settings.npz", settings=np.array('{"kind": "hmr", "encoder": {"kind": "smell"}}'))
    with pytest.raises(ValueError, match=r"settings.*not those of a network"):
        load_network(tmp_path / "settings.npz")
    with pytest.raises(ValueError, match=r"\.npz"):
        save_network(tmp_path / "hmr.pt", small_hmr())
    with pytest.raises(TypeError, match="Linear"):
        save_network(tmp_path / "x.npz", torch.nn.Linear(1, 1))

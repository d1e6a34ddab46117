"""The ResNets: torchvision's names and slim's details, by slow twins written from the papers' formulas."""

import pytest
import torch
from torch.nn import functional as F

from hmrfit.network.encoders import RESNETS, ImageEncoder
from hmrfit.network.resnet import PreactResNet, ResNet, max_pool_same


def stir(network: torch.nn.Module) -> torch.nn.Module:
    """Random statistics in every batch norm, so that each of its four vectors counts."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, std=0.1)
        elif isinstance(module, torch.nn.Conv2d) and module.bias is not None:
            torch.nn.init.normal_(module.bias, std=0.1)
    return network.eval()


def norm(x: torch.Tensor, p: dict[str, torch.Tensor], name: str) -> torch.Tensor:
    """(x − mean)/√(var + 1e-5) · weight + bias, written out."""
    mean, var, weight, bias = (
        p[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def tf_same(x: torch.Tensor, kernel: int, stride: int, value: float = 0.0) -> torch.Tensor:
    """TensorFlow's rule: ceil(n/stride) windows, the odd one of the padding at the end."""
    for axis in (-1, -2):
        n = x.shape[axis]
        total = max((-(-n // stride) - 1) * stride + kernel - n, 0)
        pads = [0, 0, 0, 0]
        at = 0 if axis == -1 else 2
        pads[at], pads[at + 1] = total // 2, total - total // 2
        x = F.pad(x, pads, value=value)
    return x


def slow_v1(p: dict[str, torch.Tensor], x: torch.Tensor, units: tuple[int, ...]) -> torch.Tensor:
    """ResNet-50 from its parameters by torchvision's names."""
    x = norm(F.conv2d(x, p["conv1.weight"], stride=2, padding=3), p, "bn1").clamp_min(0)
    x = F.max_pool2d(x, 3, 2, 1)
    for stage, count in enumerate(units, 1):
        for unit in range(count):
            name, stride = f"layer{stage}.{unit}", 2 if stage > 1 and unit == 0 else 1
            y = norm(F.conv2d(x, p[f"{name}.conv1.weight"]), p, f"{name}.bn1").clamp_min(0)
            y = F.conv2d(y, p[f"{name}.conv2.weight"], stride=stride, padding=1)
            y = norm(y, p, f"{name}.bn2").clamp_min(0)
            y = norm(F.conv2d(y, p[f"{name}.conv3.weight"]), p, f"{name}.bn3")
            if unit == 0:
                down = F.conv2d(x, p[f"{name}.downsample.0.weight"], stride=stride)
                x = norm(down, p, f"{name}.downsample.1")
            x = (x + y).clamp_min(0)
    return x.mean((2, 3))


def slow_v2(p: dict[str, torch.Tensor], x: torch.Tensor, units: tuple[int, ...]) -> torch.Tensor:
    """slim's resnet_v2: conv2d_same pads explicitly where it strides, everything else is padding SAME."""
    x = F.conv2d(F.pad(x, (3, 3, 3, 3)), p["conv1.weight"], p["conv1.bias"], stride=2)
    x = F.max_pool2d(tf_same(x, 3, 2, -torch.inf), 3, 2)
    for block, count in enumerate(units, 1):
        for unit in range(count):
            name, stride = f"block{block}.{unit}", 2 if unit == count - 1 and block < 4 else 1
            before = norm(x, p, f"{name}.preact").clamp_min(0)
            if unit == 0:
                shortcut = F.conv2d(before, p[f"{name}.shortcut.weight"], p[f"{name}.shortcut.bias"], stride=stride)
            else:
                shortcut = F.max_pool2d(x, 1, stride)
            y = norm(F.conv2d(before, p[f"{name}.conv1.weight"]), p, f"{name}.bn1").clamp_min(0)
            y = F.pad(y, (1, 1, 1, 1)) if stride > 1 else tf_same(y, 3, 1)
            y = norm(F.conv2d(y, p[f"{name}.conv2.weight"], stride=stride), p, f"{name}.bn2").clamp_min(0)
            x = shortcut + F.conv2d(y, p[f"{name}.conv3.weight"], p[f"{name}.conv3.bias"])
    return norm(x, p, "postnorm").clamp_min(0).mean((2, 3))


@pytest.mark.parametrize(("variant", "slow"), [("resnet50", slow_v1), ("resnet50_v2", slow_v2)])
@pytest.mark.parametrize("size", [(64, 64), (37, 50)])
def test_features_equal_the_slow_twin(variant: str, slow, size: tuple[int, int]):
    encoder = stir(ImageEncoder(variant)).double()
    images = torch.rand(2, 3, *size, dtype=torch.float64)
    normalised = (images - encoder.mean) / encoder.std
    with torch.no_grad():
        fast = encoder(images)
        expected = slow(encoder.resnet.state_dict(), normalised, (3, 4, 6, 3))
    assert fast.shape == (2, 2048)
    torch.testing.assert_close(fast, expected, rtol=1e-9, atol=1e-9)  # float64 through 50 layers
    assert (fast[0] - fast[1]).abs().max() > 1e-4


def test_v1_has_torchvisions_names():
    """A few of the 320 names and shapes of torchvision's resnet50, from memory of its published file; without fc."""
    state = RESNETS["resnet50"][0]().state_dict()
    assert len(state) == 318
    for name, shape in {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer1.0.downsample.1.bias": (256,),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer3.5.conv3.weight": (1024, 256, 1, 1),
        "layer4.2.bn3.weight": (2048,),
    }.items():
        assert state[name].shape == shape, name
    assert len(RESNETS["resnet18"][0]().state_dict()) == 120
    assert len(RESNETS["resnet34"][0]().state_dict()) == 216


def test_parameter_counts_are_the_published_ones():
    """Millions of torchvision's resnet18, 34 and 50 (11.69, 21.80, 25.56) less those of their 1000-class fc."""
    for variant, total, features in (
        ("resnet18", 11_689_512, 512),
        ("resnet34", 21_797_672, 512),
        ("resnet50", 25_557_032, 2048),
    ):
        count = sum(p.numel() for p in RESNETS[variant][0]().parameters())
        assert count == total - 1000 * features - 1000


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (7, 8), (112, 112)])
def test_max_pool_same_is_tensorflows(size: tuple[int, int]):
    x = torch.randn(1, 2, *size)
    rows, columns = (-(-n // 2) for n in size)
    pooled = max_pool_same(x)
    assert pooled.shape == (1, 2, rows, columns)
    assert torch.equal(pooled, F.max_pool2d(tf_same(x, 3, 2, -torch.inf), 3, 2))


def test_at_even_sizes_nothing_is_padded_left_or_above():
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 2, 2] = 1.0  # the window from 2 sees it, and so does the one from 0: rows 0, 1, 2
    assert max_pool_same(x)[0, 0].tolist() == [[1, 1], [1, 1]]
    x[0, 0, 2, 2], x[0, 0, 3, 3] = 0.0, 1.0
    assert max_pool_same(x)[0, 0].tolist() == [[0, 0], [0, 1]]


@pytest.mark.parametrize("network", [ResNet, PreactResNet])
def test_gradients_reach_every_parameter(network):
    small = PreactResNet((1, 1, 1, 1)) if network is PreactResNet else RESNETS["resnet18"][0]()
    small(torch.randn(2, 3, 64, 64)).square().sum().backward()
    lost = [name for name, parameter in small.named_parameters() if not parameter.grad.abs().sum() > 0]
    assert not lost

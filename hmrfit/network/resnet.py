"""ResNets (He et al., CVPR and ECCV 2016), up to the average pool: images (B, 3, H, W) -> φ (B, features).

    v1            y = relu(x' + bn(W₃ relu(bn(W₂ relu(bn(W₁ x))))))     x' = x, or bn(W_s x) where the shape changes
    v2 (slim's)   y = x' + W₃ relu(bn(W₂ relu(bn(W₁ p)))),  p = relu(bn(x));   x' = x, or W_s p

v1 has torchvision's parameter names, so its weights load as they are; the stride is in the 3×3 convolution, as there
and in SPIN. v2 is TF-slim's resnet_v2_50, which the original HMR uses: the stride is in each block's LAST unit, the
first convolution has a bias and no norm, its max pool pads only right and below, and a norm and a ReLU come at the end.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STAGE_WIDTHS = (64, 128, 256, 512)
"""Channels of the 3×3 convolutions in the four stages."""


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, bias=bias)


def first_convolution(channels: int) -> nn.Conv2d:
    """v1's, of an image of so many channels."""
    return _conv(channels, 64, 7, 2)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut: ResNet-18 and 34."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = _projection(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions and a shortcut: ResNet-50."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, outputs, 1), nn.BatchNorm2d(outputs)
        self.downsample = _projection(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


def _projection(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """The shortcut where the shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(_conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """v1, with torchvision's names, without its classifier `fc`."""

    layer1: nn.Sequential
    layer2: nn.Sequential
    layer3: nn.Sequential
    layer4: nn.Sequential

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], units: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.conv1, self.bn1 = first_convolution(3), nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        inputs = 64
        for i, (width, count) in enumerate(zip(STAGE_WIDTHS, units, strict=True)):
            strides = [1 if i == 0 else 2] + [1] * (count - 1)
            blocks = []
            for stride in strides:
                blocks.append(block(inputs, width, stride))
                inputs = width * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.features = inputs
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images, already normalised, (B, 3, H, W) -> (B, features), the average over all places."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        for stage in self.stages():
            x = stage(x)
        return x.mean((-2, -1))

    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def blocks(self) -> list[BasicBlock | Bottleneck]:
        """Of all stages, in order."""
        return [block for stage in self.stages() for block in stage if isinstance(block, BasicBlock | Bottleneck)]


class PreactBottleneck(nn.Module):
    """slim's bottleneck_v2; the norm and ReLU before the convolutions are shared with a projected shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.preact = nn.BatchNorm2d(inputs)
        self.conv1, self.bn1 = _conv(inputs, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3 = _conv(width, outputs, 1, bias=True)
        self.shortcut = None if inputs == outputs else _conv(inputs, outputs, 1, stride, bias=True)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        p = F.relu(self.preact(x))
        shortcut = x[..., :: self.stride, :: self.stride] if self.shortcut is None else self.shortcut(p)
        y = F.relu(self.bn1(self.conv1(p)))
        y = F.relu(self.bn2(self.conv2(y)))
        return shortcut + self.conv3(y)


class PreactResNet(nn.Module):
    """v2 as in TF-slim; `block1` to `block4` are its blocks, `.0` and so on their units."""

    block1: nn.Sequential
    block2: nn.Sequential
    block3: nn.Sequential
    block4: nn.Sequential

    def __init__(self, units: tuple[int, int, int, int] = (3, 4, 6, 3)) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 7, 2, bias=True)
        inputs = 64
        for i, (width, count) in enumerate(zip(STAGE_WIDTHS, units, strict=True)):
            strides = [1] * (count - 1) + [1 if i == 3 else 2]
            blocks = []
            for stride in strides:
                blocks.append(PreactBottleneck(inputs, width, stride))
                inputs = width * PreactBottleneck.expansion
            self.add_module(f"block{i + 1}", nn.Sequential(*blocks))
        self.postnorm = nn.BatchNorm2d(inputs)
        self.features = inputs
        _initialise(self)

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1] (B, 3, H, W) -> (B, features), the average over all places."""
        x = max_pool_same(self.conv1(images))
        for stage in self.stages():
            x = stage(x)
        return F.relu(self.postnorm(x)).mean((-2, -1))

    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.block1, self.block2, self.block3, self.block4


def max_pool_same(x: Tensor, size: int = 3, stride: int = 2) -> Tensor:
    """TensorFlow's padding "SAME": as much as the last window needs, the larger half right and below."""
    height, width = (max(-(-n // stride) * stride - stride + size - n, 0) for n in x.shape[-2:])
    padding = (width // 2, width - width // 2, height // 2, height - height // 2)
    return F.max_pool2d(F.pad(x, padding, value=-torch.inf), size, stride)


def _initialise(network: nn.Module) -> None:
    """He's initialisation by the fan out, as torchvision and SPIN have it."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def channels_last(network: nn.Module) -> None:
    """The weights of convolutions in the layout in which they are quick, in place."""
    for parameter in network.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

"""Layers laid out for the processor: the same numbers, whoever stands beside, and a way without them."""

import pytest
import torch
from torch import nn

import hmrfit.network.packed as module
from hmrfit.network.encoders import ImageEncoder
from hmrfit.network.fast import FastImageEncoder, fold_batch_norm
from hmrfit.network.packed import PackedConv, PackedLinear, PackedRegressor, PackedResNet, can_pack, packed
from hmrfit.network.regressor import IterativeRegressor

needs_packing = pytest.mark.skipif(not can_pack(), reason="this torch has no packed layers on its CPU")


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_layer(bias):
    layer, x = nn.Linear(157, 70, bias=bias), torch.randn(9, 157)
    torch.testing.assert_close(PackedLinear(layer.weight, layer.bias)(x), layer(x), rtol=1e-5, atol=1e-5)


@needs_packing
@pytest.mark.parametrize("activation", [True, False])
def test_a_packed_regressor_is_the_regressor(activation):
    regressor = IterativeRegressor(40, hidden=64, activation=activation, iterations=4).eval()
    nn.init.normal_(regressor.fc3.weight, std=0.05)
    phi = torch.randn(5, 40)
    for one, other in zip(PackedRegressor(regressor)(phi), regressor(phi), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@needs_packing
def test_rows_do_not_depend_on_their_mates():
    layer = PackedLinear(torch.randn(300, 200), torch.randn(300))
    x = torch.randn(100, 200)
    whole = layer(x)
    for count in (4, 8, 12, 64):
        # to the bit with oneDNN's AVX-512 kernels; elsewhere another order of the sums may come out
        torch.testing.assert_close(layer(x[:count]), whole[:count], rtol=0, atol=1e-4)


def test_the_network_stays_as_it_is():
    network = nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.Dropout(), nn.Linear(4, 4))).train()
    x = torch.randn(3, 4)
    copy = packed(network)
    assert network.training and isinstance(network[0], nn.Linear) and network[0].weight.requires_grad
    torch.testing.assert_close(copy(x), network.eval()(x), rtol=1e-5, atol=1e-5)


def test_without_such_layers_the_copy_is_an_ordinary_one(monkeypatch):
    monkeypatch.setattr(module, "can_pack", lambda: False)
    network = nn.Sequential(nn.Linear(4, 4))
    copy = packed(network)
    assert isinstance(copy[0], nn.Linear) and copy[0] is not network[0]
    assert torch.equal(copy(torch.ones(1, 4)), network(torch.ones(1, 4)))


@needs_packing
@pytest.mark.parametrize(("size", "stride", "relu"), [(1, 1, False), (3, 2, True), (7, 2, True)])
def test_a_packed_convolution_is_the_convolution(size, stride, relu):
    conv = nn.Conv2d(5, 12, size, stride, padding=size // 2)
    packed_conv = PackedConv(conv, (1, 5, 20, 20), torch.float32, relu)
    with torch.no_grad():
        for shape in ((1, 5, 20, 20), (3, 5, 14, 22)):  # also another size than it was laid out for
            x = torch.randn(shape).to(memory_format=torch.channels_last)
            expected = conv(x)
            torch.testing.assert_close(packed_conv(x), expected.relu() if relu else expected, rtol=1e-5, atol=1e-5)
            aside = torch.randn_like(expected)
            given = aside.clone()
            torch.testing.assert_close(packed_conv.onto(x, aside), (expected + aside).relu(), rtol=1e-5, atol=1e-5)
            assert torch.equal(aside, given)


@needs_packing
@pytest.mark.parametrize("variant", ["resnet10", "resnet50"])
def test_a_packed_resnet_is_the_resnet(variant):
    resnet = fold_batch_norm(ImageEncoder(variant).resnet).requires_grad_(False)
    x = torch.rand(2, 3, 64, 64)
    expected = resnet(x)
    found = PackedResNet(resnet, 64, torch.float32)(x.to(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_convolutions_without_such_layers_are_ordinary_ones(monkeypatch):
    encoder = ImageEncoder("resnet10").eval()
    x = torch.rand(1, 3, 64, 64)
    quick = FastImageEncoder(encoder, torch.float32)(x)
    monkeypatch.setattr("hmrfit.network.fast.can_pack", lambda dtype: False)
    plain = FastImageEncoder(encoder, torch.float32)
    assert any(isinstance(m, nn.Conv2d) for m in plain.modules())
    torch.testing.assert_close(plain(x), quick, rtol=0, atol=1e-5 * quick.abs().max().item())

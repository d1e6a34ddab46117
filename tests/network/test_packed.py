"""Layers laid out for the processor: the same numbers, whoever stands beside, and a way without them."""

import pytest
import torch
from torch import nn

import hmrfit.network.packed as module
from hmrfit.network.encoders import ImageEncoder, ResidualBlock
from hmrfit.network.inference import FastImageEncoder, fold_batch_norm
from hmrfit.network.packed import (
    GROUP,
    HalfLinear,
    PackedConv,
    PackedLinear,
    PackedRegressor,
    PackedResNet,
    can_halve,
    can_pack,
    packed,
    packed_linear,
    pad_rows,
    rows_are_independent,
)
from hmrfit.network.regressor import IterativeRegressor

needs_packing = pytest.mark.skipif(not can_pack(), reason="this torch has no packed layers on its CPU")
needs_halves = pytest.mark.skipif(not can_halve(), reason="this torch has no layers of 16-bit weights on its CPU")


@needs_packing
@pytest.mark.parametrize("bias", [True, False])
def test_a_packed_layer_is_the_layer(bias):
    layer, x = nn.Linear(157, 70, bias=bias), torch.randn(9, 157)
    torch.testing.assert_close(PackedLinear(layer.weight, layer.bias)(x), layer(x), rtol=1e-5, atol=1e-5)


@needs_halves
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 9, 130])
def test_a_layer_of_16_bit_weights_multiplies_them_in_float32(bias, rows):
    weight, x = torch.randn(70, 157).half().float(), 100 * torch.randn(rows, 157)
    shift = torch.randn(70) if bias else None
    expected = nn.functional.linear(x.double(), weight.double(), None if shift is None else shift.double())
    # inputs of 16 bits would be off by 1e-3 of themselves, outputs by as much
    torch.testing.assert_close(HalfLinear(weight, shift)(x).double(), expected, rtol=1e-5, atol=2e-3)


@needs_halves
def test_only_weights_that_are_16_bit_numbers_become_so():
    weight = torch.randn(7, 5).half().float()
    assert isinstance(packed_linear(weight), HalfLinear)
    weight[3, 2] += 1e-6
    assert isinstance(packed_linear(weight), PackedLinear)
    huge = torch.full((7, 5), 1e6)  # infinite as 16 bits
    assert isinstance(packed_linear(huge), PackedLinear)


def test_rows_are_filled_up_only_where_the_layers_need_it():
    network, x = nn.Sequential(nn.Linear(3, 3)), torch.ones(GROUP + 1, 3)
    filled = pad_rows(x, network)
    assert len(filled) == 2 * GROUP and torch.equal(filled[: len(x)], x) and not filled[len(x) :].any()
    assert len(pad_rows(x, packed(network))) == (len(x) if rows_are_independent() else 2 * GROUP)


@pytest.mark.skipif(not rows_are_independent(), reason="on this processor packed layers need groups of rows")
@pytest.mark.parametrize("halves", [False, True])
def test_a_network_of_packed_layers_says_the_same_bits_of_a_row_alone(halves):
    network = nn.Sequential(ResidualBlock(96, 0.0), ResidualBlock(96, 0.0), nn.LayerNorm(96), nn.Linear(96, 41))
    network = network.half().float() if halves else network
    alone, x = packed(network), torch.randn(57, 96)
    together = alone(x)
    for i, count in ((0, 1), (56, 1), (3, 2), (8, 7)):
        assert torch.equal(alone(x[i : i + count]), together[i : i + count])


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
    monkeypatch.setattr("hmrfit.network.inference.can_pack", lambda dtype: False)
    plain = FastImageEncoder(encoder, torch.float32)
    assert any(isinstance(m, nn.Conv2d) for m in plain.modules())
    torch.testing.assert_close(plain(x), quick, rtol=0, atol=1e-5 * quick.abs().max().item())

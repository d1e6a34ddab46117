"""Layers laid out for the processor: the same numbers, whoever stands beside, and a way without them."""

import pytest
import torch
from torch import nn

import hmrfit.network.packed as module
from hmrfit.network.packed import PackedLinear, PackedRegressor, can_pack, packed
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

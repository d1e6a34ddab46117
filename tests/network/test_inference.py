"""Networks prepared for inference: packed layers give the same numbers, in a batch of any size, and there is a way
without them; the fast image HMR equals the plain one, bfloat16 is near, nothing of the original changes."""

import pytest
import torch
from torch import nn

from hmrfit.network import inference
from hmrfit.network.encoders import RESNETS, ImageEncoder, KeypointEncoder, ResidualBlock
from hmrfit.network.hmr import HMR
from hmrfit.network.inference import (
    GROUP,
    FastImageEncoder,
    HalfLinear,
    PackedConv,
    PackedLinear,
    PackedRegressor,
    PackedResNet,
    can_halve,
    can_pack,
    fast_inference,
    fold_batch_norm,
    has_bfloat16,
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
def test_a_network_of_packed_layers_gives_a_row_the_same_bits_in_a_batch_of_any_size(halves):
    network = nn.Sequential(ResidualBlock(96, 0.0), ResidualBlock(96, 0.0), nn.LayerNorm(96), nn.Linear(96, 41))
    network = network.half().float() if halves else network
    layers, x = packed(network), torch.randn(57, 96)
    together = layers(x)
    for i, count in ((0, 1), (56, 1), (3, 2), (8, 7)):
        assert torch.equal(layers(x[i : i + count]), together[i : i + count])


@needs_packing
@pytest.mark.parametrize("activation", [True, False])
def test_a_packed_regressor_is_the_regressor(activation):
    regressor = IterativeRegressor(40, hidden=64, activation=activation, iterations=4).eval()
    nn.init.normal_(regressor.fc3.weight, std=0.05)
    phi = torch.randn(5, 40)
    for one, other in zip(PackedRegressor(regressor)(phi), regressor(phi), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-5)


@needs_packing
def test_rows_are_independent_of_the_batch():
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
    monkeypatch.setattr(inference, "can_pack", lambda: False)
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
            shortcut = torch.randn_like(expected)
            given = shortcut.clone()
            torch.testing.assert_close(
                packed_conv.onto(x, shortcut), (expected + shortcut).relu(), rtol=1e-5, atol=1e-5
            )
            assert torch.equal(shortcut, given)


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


# ---- the image HMR


def lived_in(encoder: ImageEncoder) -> ImageEncoder:
    """With batch norms as training leaves them: statistics of real activations, scales and shifts of all sizes."""
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.2, 0.5)
            nn.init.uniform_(module.bias, -0.3, 0.3)
    with torch.no_grad():
        encoder.train()(images(4))
    return encoder.eval()


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64)


def network(variant: str = "resnet18") -> HMR:
    encoder = lived_in(ImageEncoder(variant))
    return HMR(encoder, IterativeRegressor(encoder.features, hidden=64)).eval()


@pytest.mark.parametrize("variant", RESNETS)
def test_folded_equals_unfolded(variant: str):
    """In float64, where rounding cannot hide a mistake; random deep networks magnify it a hundred times."""
    resnet = lived_in(ImageEncoder(variant)).resnet.double()
    x = images(2).double()
    with torch.no_grad():
        torch.testing.assert_close(fold_batch_norm(resnet)(x), resnet(x), rtol=1e-10, atol=1e-10)


def test_float32_features_are_the_same():
    """17 layers of rounding at 1e-7: 1e-5 of the largest feature."""
    encoder, x = lived_in(ImageEncoder("resnet18")), images(2)
    with torch.no_grad():
        expected, found = encoder(x), FastImageEncoder(encoder, torch.float32)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize(("variant", "left"), [("resnet18", 0), ("resnet50", 0), ("resnet50_v2", 17)])
def test_norms_that_follow_a_convolution_are_gone(variant: str, left: int):
    """v2 keeps those before its convolutions: one for each of 16 units, and the last."""
    folded = fold_batch_norm(ImageEncoder(variant).resnet)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in folded.modules()) == left


@pytest.mark.parametrize("variant", ["resnet18", "resnet50_v2"])
def test_bfloat16_is_near_and_answers_in_float32(variant: str):
    """8 bits round every number by up to 0.4 %; fifty random layers magnify that to 8 % of the features."""
    hmr, x = network(variant), images(2)
    quick = fast_inference(hmr, "bfloat16")
    with torch.no_grad():
        expected, found = hmr.encoder(x), quick.encoder(x)
        assert found.dtype == torch.float32
        assert (found - expected).norm() < 0.12 * expected.norm()
        assert not torch.equal(found, expected)  # it was not float32 all along
        for a, b in zip(quick(x), hmr(x), strict=True):
            assert a.params.body_pose.dtype == torch.float32
            torch.testing.assert_close(a.params.body_pose, b.params.body_pose, rtol=0, atol=0.05)


def test_float32_gives_the_same_people():
    hmr, x = network(), images(3)
    with torch.no_grad():
        for a, b in zip(fast_inference(hmr, "float32").thetas(x), hmr.thetas(x), strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


def test_the_original_stays_as_it_was():
    hmr, x = network().train(), images(2)
    before = {name: value.clone() for name, value in hmr.state_dict().items()}
    given = x.clone()
    quick = fast_inference(hmr, "bfloat16")
    quick(x)
    assert hmr.training and all(p.requires_grad for p in hmr.parameters())
    assert torch.equal(x, given)
    assert all(torch.equal(value, before[name]) for name, value in hmr.state_dict().items())
    assert not any(p.requires_grad for p in quick.parameters()) and not quick.training
    mine = {p.data_ptr() for p in hmr.parameters()}
    assert not any(p.data_ptr() in mine for p in quick.parameters())


def test_people_are_independent_of_the_batch():
    """A batch of one may take another path through oneDNN: rounding, no more."""
    quick, x = fast_inference(network(), "float32"), images(3)
    together = quick.thetas(x)[-1]
    for i in range(3):
        torch.testing.assert_close(quick.thetas(x[i : i + 1])[-1], together[i : i + 1], rtol=0, atol=1e-5)


def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch):
    hmr = network()
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(inference, "has_bfloat16", lambda device, has=has: has)
        assert fast_inference(hmr).encoder.dtype == dtype


@pytest.mark.parametrize(
    ("able", "has"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": False, "avx2": True}, False), ({"bf16": True}, True), ({}, False)],
)
def test_what_the_processor_has_decides(monkeypatch, able: dict, has: bool):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert has_bfloat16() is has


def test_error_messages():
    with pytest.raises(ValueError, match="sees keypoints"):
        fast_inference(HMR(KeypointEncoder(8, 1)))
    with pytest.raises(ValueError, match=r"'bfloat'.*mean 'bfloat16'"):
        fast_inference(network(), "bfloat")
    with pytest.raises(ValueError, match="channels first"):
        fast_inference(network()).encoder(images(2)[0])


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(inference.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"C\+\+ compiler"):
        fast_inference(network(), compiled=True)

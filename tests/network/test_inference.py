"""The fast image HMR: folded equals unfolded, bfloat16 is near, nothing of the original changes."""

import pytest
import torch
from torch import nn

from hmrfit.network import inference as fast
from hmrfit.network.encoders import RESNETS, ImageEncoder, KeypointEncoder
from hmrfit.network.hmr import HMR
from hmrfit.network.inference import FastImageEncoder, fast_inference, fold_batch_norm, has_bfloat16
from hmrfit.network.regressor import IterativeRegressor


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


def test_people_do_not_depend_on_their_mates():
    """A batch of one may take another path through oneDNN: rounding, no more."""
    quick, x = fast_inference(network(), "float32"), images(3)
    together = quick.thetas(x)[-1]
    for i in range(3):
        torch.testing.assert_close(quick.thetas(x[i : i + 1])[-1], together[i : i + 1], rtol=0, atol=1e-5)


def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch):
    hmr = network()
    for has, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        monkeypatch.setattr(fast, "has_bfloat16", lambda device, has=has: has)
        assert fast_inference(hmr).encoder.dtype == dtype


@pytest.mark.parametrize(
    ("able", "has"),
    [({"avx512_bf16": True}, True), ({"amx_bf16": False, "avx2": True}, False), ({"bf16": True}, True), ({}, False)],
)
def test_the_processor_is_asked(monkeypatch, able: dict, has: bool):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    assert has_bfloat16() is has


def test_letters():
    with pytest.raises(ValueError, match="sees keypoints"):
        fast_inference(HMR(KeypointEncoder(8, 1)))
    with pytest.raises(ValueError, match=r"'bfloat'.*mean 'bfloat16'"):
        fast_inference(network(), "bfloat")
    with pytest.raises(ValueError, match="channels first"):
        fast_inference(network()).encoder(images(2)[0])


def test_compiling_without_a_compiler_is_refused(monkeypatch):
    monkeypatch.setattr(fast.shutil, "which", lambda name: None)
    with pytest.raises(RuntimeError, match=r"C\+\+ compiler"):
        fast_inference(network(), compiled=True)

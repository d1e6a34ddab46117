"""The adapter of rtmlib, with tiny networks that have the inputs and outputs of the real ones."""

from pathlib import Path

import numpy as np
import pytest

from hmrfit.detectors.detector import DamagedWeights
from hmrfit.detectors.rtmlib import Rtmlib, check_recorded

X, Y = 60, 100
"""Where the pose network sees every keypoint, half pixels of its input of 192 × 256."""


def test_weights_have_to_stay_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMRFIT_HOME", str(tmp_path))
    check_recorded({"a.onnx": "1"})
    check_recorded({"a.onnx": "1", "b.onnx": "2"})
    with pytest.raises(DamagedWeights, match="of rtmlib are not those"):
        check_recorded({"b.onnx": "3"})


def constant_network(path: Path, shape: tuple[int, int], **outputs: np.ndarray) -> Path:
    """Adds nothing of its picture to its outputs."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    picture = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, *shape])
    nodes = [helper.make_node("ReduceMax", ["x"], ["m"], keepdims=0), helper.make_node("Sub", ["m", "m"], ["zero"])]
    nodes += [helper.make_node("Add", [f"{name}_", "zero"], [name]) for name in outputs]
    values = [numpy_helper.from_array(value.astype(np.float32), f"{name}_") for name, value in outputs.items()]
    found = [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(v.shape)) for n, v in outputs.items()]
    graph = helper.make_graph(nodes, "g", [picture], found, values)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return path


@pytest.mark.packages
def test_pixels_and_confidences(tmp_path: Path) -> None:
    pytest.importorskip("rtmlib", reason="rtmlib is not installed: pip install 'hmrfit[detect]'")
    finder = constant_network(tmp_path / "yolox.onnx", (640, 640), boxes=np.array([[[10, 20, 106, 148, 0.9]]]))
    x, y = np.zeros((1, 17, 384)), np.zeros((1, 17, 512))
    x[:, :, X], y[:, :, Y] = 0.8, 0.7
    pose = constant_network(tmp_path / "rtmpose.onnx", (256, 192), simcc_x=x, simcc_y=y)
    detector = Rtmlib(files=(finder, pose), sizes=((640, 640), (192, 256)))
    (person,) = detector.detect(np.zeros((640, 640, 3), np.uint8))
    # a box of 96 × 128, 1.25 times as large for the network: 120 × 160 about (58, 84), pixel centres at integers
    expected = np.array([58 - 60 + X / 2 * 120 / 192, 84 - 80 + Y / 2 * 160 / 256]) + 0.5
    np.testing.assert_allclose(person.xy, np.tile(expected, (17, 1)), atol=1e-4)
    assert person.confidence == pytest.approx(0.75, abs=0.06) and person.box == pytest.approx((10.5, 20.5, 96, 128))
    (boxed,) = detector.detect(np.zeros((640, 640, 3), np.uint8), np.array([[10.5, 20.5, 96, 128]]))
    np.testing.assert_allclose(boxed.xy, person.xy, atol=1e-4)
    assert detector.detect(np.zeros((640, 640, 3), np.uint8), np.zeros((0, 4))) == []

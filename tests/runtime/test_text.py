"""Text operators where the operator table has no oracle."""

from __future__ import annotations

import builtins

import numpy as np
import pytest

from toolkit.errors import UnsupportedOperatorError
from toolkit.runtime import _core
from toolkit.runtime.values import to_native, to_numpy


def run(op_type: str, *inputs, outputs: int = 1, **attributes):
    op = _core.Op("", op_type, attributes)
    return [to_numpy(y) for y in op.run([to_native(x) for x in inputs], outputs)]


def test_a_scalar_splits_into_a_vector():
    parts, count = run("StringSplit", np.array("a  b", object), outputs=2)
    assert parts.tolist() == ["a", "b"]
    assert count.shape == () and count == 2


def test_strings_of_a_load_outlive_what_is_swept():
    """Keys in a kernel's tables are references: they must stay those of equal strings."""
    before = _core.Op(
        "ai.onnx.ml", "LabelEncoder", {"keys_strings": ["needle"], "values_int64s": [7]}
    )
    for i in range(40):
        noise = np.array([f"{i} {j}" for j in range(20_000)], object)
        run("StringConcat", noise, np.array("!", object))
    (y,) = before.run([to_native(np.array(["needle", "x"], object))], 1)
    assert to_numpy(y).tolist() == [7, -1]


def test_a_jpeg_decodes_as_pillow_does():
    import io

    from PIL import Image

    ramp = np.linspace(0, 255, 32, dtype=np.uint8)
    picture = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None], ramp[::-1, None]), axis=-1)
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture)).save(buffer, "JPEG", quality=95)
    (y,) = run("ImageDecoder", np.frombuffer(buffer.getvalue(), np.uint8))
    assert abs(y.astype(int) - picture).max() < 16
    want = np.asarray(Image.open(io.BytesIO(buffer.getvalue())))
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize(
    ("mode", "scale"), [("L", 1), ("P", 1), ("RGBA", 1), ("1", 255), ("I;16", 1)]
)
def test_other_pixels_than_rgb_become_rgb(mode, scale):
    import io

    from PIL import Image

    values = np.array([[0, 1], [1, 0]], np.uint8)
    if mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16) << 8)
    else:
        image = Image.fromarray(values * scale).convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    (y,) = run("ImageDecoder", np.frombuffer(buffer.getvalue(), np.uint8))
    np.testing.assert_array_equal(y, np.repeat((values * scale)[:, :, None], 3, 2))


def test_without_pillow_the_error_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def none(name, *args, **kwargs):
        if name == "PIL":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", none)
    with pytest.raises(UnsupportedOperatorError, match="pip install"):
        _core.Op("", "ImageDecoder", {})


def test_strings_in_a_program_outlive_what_is_swept():
    """Temporaries of a session that makes far more strings than the table keeps."""
    from onnx import TensorProto, helper

    from toolkit.runtime import InferenceSession

    nodes = [
        helper.make_node("StringConcat", ["x", "x"], ["a"]),
        helper.make_node("StringConcat", ["a", "x"], ["b"]),
        helper.make_node("StringSplit", ["b"], ["y", "n"], delimiter="-"),
        helper.make_node("Equal", ["a", "b"], ["same"]),
    ]
    kinds = {"y": TensorProto.STRING, "n": TensorProto.INT64, "same": TensorProto.BOOL}
    infos = [helper.make_tensor_value_info(name, kind, None) for name, kind in kinds.items()]
    x = helper.make_tensor_value_info("x", TensorProto.STRING, [None])
    model = helper.make_model(
        helper.make_graph(nodes, "g", [x], infos),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    session = InferenceSession(model.SerializeToString())
    kept = []
    for turn in range(12):
        texts = [f"{turn}.{i}-" for i in range(5000)]
        y, n, same = session.run(None, {"x": np.array(texts, object)})
        kept.append((y, texts))
        assert (n == 4).all() and not same.any()
    for y, texts in kept:
        assert y[:, :3].tolist() == [[t[:-1]] * 3 for t in texts] and (y[:, 3] == "").all()

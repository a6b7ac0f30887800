"""Adapters in peft's files, written here by hand as safetensors and peft describe them."""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import toolkit as tk
from tests.tolerances import FORWARD
from toolkit import errors, nn
from toolkit.convert.safetensors import read_safetensors
from toolkit.train import load_adapters, merge

RTOL, ATOL = (4 * t for t in FORWARD["float32"])
NAMES = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "int64": "I64"}


def write(folder, arrays, **config):
    folder.mkdir(exist_ok=True)
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        offsets = [len(data), len(data) + array.nbytes]
        header[name] = {
            "dtype": NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": offsets,
        }  # fmt: skip
        data += array.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path = folder / "adapter_model.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    given = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "lora_dropout": 0.1, **config}
    (folder / "adapter_config.json").write_text(json.dumps(given))
    return folder


def draw(rng, *shape):
    return rng.standard_normal(shape).astype(np.float32) * 0.5


def test_onto_a_loaded_model(rng, tmp_path):
    """Layers are found by the names of weights or of an exporter's nodes."""
    q, out = draw(rng, 6, 5), draw(rng, 3, 5)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "onnx::MatMul_7"], ["h"], "/model/l.0/q_proj/MatMul"),
            helper.make_node("Gemm", ["h", "out.weight"], ["y"], "/out/Gemm", transB=1),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(q, "onnx::MatMul_7"), numpy_helper.from_array(out, "out.weight")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    a, b, m = draw(rng, 2, 6), draw(rng, 5, 2), np.abs(draw(rng, 5)) + 0.5
    c, d, n = draw(rng, 2, 5), draw(rng, 3, 2), np.abs(draw(rng, 3)) + 0.5
    prefix = "base_model.model."
    folder = write(
        tmp_path / "peft",
        {
            f"{prefix}model.l.0.q_proj.lora_A.weight": a,
            f"{prefix}model.l.0.q_proj.lora_B.weight": b,
            f"{prefix}model.l.0.q_proj.lora_magnitude_vector": m,
            f"{prefix}out.lora_A.weight": c,
            f"{prefix}out.lora_B.weight": d,
            f"{prefix}out.lora_magnitude_vector": n,
        },
        use_dora=True,
    )
    x = draw(rng, 4, 6)

    def dora(w, a, b, m):  # w: (out, in).
        moved = w + 3.0 * b @ a
        return moved * (m / np.linalg.norm(moved, axis=1))[:, None]

    want = x @ dora(q.T, a, b, m).T @ dora(out, c, d, n).T
    for path in (folder, folder / "adapter_model.safetensors"):
        model = load_adapters(tk.load(proto.SerializeToString()), path)
        np.testing.assert_allclose(model(tk.tensor(x)).detach().numpy(), want, RTOL, ATOL)
    merge(model).save(tmp_path / "merged.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "merged.onnx")
    np.testing.assert_allclose(session.run(None, {"x": x})[0], want, RTOL, ATOL)


def test_onto_a_module(rng, tmp_path):
    """Of bfloat16, with an embedding and a head that was trained in full."""
    model = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 4), nn.Linear(4, 2))
    narrow = ml_dtypes.bfloat16
    arrays = {
        "0.lora_embedding_A": draw(rng, 2, 7), "0.lora_embedding_B": draw(rng, 5, 2),
        "1.lora_A.weight": draw(rng, 2, 5).astype(narrow),
        "1.lora_B.weight": draw(rng, 4, 2).astype(narrow),
        "2.weight": draw(rng, 2, 4), "2.bias": draw(rng, 2),
    }  # fmt: skip
    folder = write(
        tmp_path / "peft", {f"base_model.model.{k}": v for k, v in arrays.items()}, use_rslora=True
    )
    ids = rng.integers(0, 7, (3,))
    table, w, bias = (model.state_dict()[k].numpy() for k in ("0.weight", "1.weight", "1.bias"))
    f = {k: v.astype(np.float32) for k, v in arrays.items()}
    s = 6 / np.sqrt(2)
    table = table + s * (f["0.lora_embedding_B"] @ f["0.lora_embedding_A"]).T
    w = w + s * f["1.lora_B.weight"] @ f["1.lora_A.weight"]
    want = (table[ids] @ w.T + bias) @ f["2.weight"].T + f["2.bias"]
    load_adapters(model, folder).eval()
    np.testing.assert_allclose(model(tk.tensor(ids)).detach().numpy(), want, RTOL, ATOL)


def test_an_attention(rng, tmp_path):
    """Names of both projections; peft adds the update of the second one twice, which is told."""

    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.attn = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x):
            return self.attn(x, x, x, need_weights=False)[0]

    pairs = {("attn", 18), ("attn.base_layer.out_proj", 6)}
    arrays = {f"base_model.model.{n}.lora_A.weight": draw(rng, 2, 6) for n, _ in pairs}
    arrays |= {f"base_model.model.{n}.lora_B.weight": draw(rng, k, 2) for n, k in pairs}
    folder = write(tmp_path / "peft", arrays)
    model = Attend()
    weights = {k: v.numpy().copy() for k, v in model.state_dict().items()}
    with pytest.warns(errors.ToolkitWarning, match="adds the update of out_proj twice"):
        load_adapters(model, folder)
    merge(model)
    keys = {"attn": "attn.in_proj_weight", "attn.base_layer.out_proj": "attn.out_proj.weight"}
    for name, key in keys.items():
        a, b = (arrays[f"base_model.model.{name}.lora_{f}.weight"] for f in "AB")
        got = model.get_parameter(key).detach().numpy()
        np.testing.assert_allclose(got, weights[key] + 3.0 * b @ a, RTOL, ATOL)


def test_what_is_refused(rng, tmp_path):
    pair = {"fc.lora_A.weight": draw(rng, 2, 5), "fc.lora_B.weight": draw(rng, 4, 2)}
    model = nn.Sequential(nn.Linear(5, 4))
    with pytest.raises(errors.InvalidArgumentError, match=r"layer 'fc' .* got none. Near .*'0'"):
        load_adapters(model, write(tmp_path / "a", pair))
    for config in ({"peft_type": "IA3"}, {"rank_pattern": {"fc": 4}}):
        with pytest.raises(errors.InvalidModelError, match="a LORA of one rank is required, got"):
            load_adapters(model, write(tmp_path / "a", pair, **config))
    (tmp_path / "empty").mkdir()
    with pytest.raises(errors.InvalidModelError, match=r"peft's adapter_config.json is required"):
        load_adapters(model, tmp_path / "empty")
    path = write(tmp_path / "a", pair) / "adapter_model.safetensors"
    whole = path.read_bytes()
    assert read_safetensors(path)["fc.lora_A.weight"].shape == (2, 5)
    for broken in (b"", whole[:5], whole[:40], whole[:-4], whole.replace(b"F32", b"F31")):
        path.write_bytes(broken)
        with pytest.raises(errors.InvalidArgumentError, match="read_safetensors"):
            read_safetensors(path)
    with pytest.raises(errors.InvalidArgumentError, match="a file is required"):
        read_safetensors(tmp_path / "none.safetensors")

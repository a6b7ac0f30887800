"""A BERT as onnxruntime's transformers tool writes it, and as its quantizers make it smaller."""

from __future__ import annotations

import logging

import numpy as np
import onnx
import onnxruntime
import pytest

import toolkit as tk
from toolkit.runtime import InferenceSession

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore")  # Of the exporter and the tools.
WIDTH, HEADS = 32, 4
KINDS = {
    "fused": {"Attention", "SkipLayerNormalization", "EmbedLayerNormalization", "BiasGelu"},
    "dynamic": {"QAttention"},
    "4 bits": {"MatMulNBits"},
}


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.q, self.k, self.v, self.o = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.a, self.b = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x, bias):
        def heads(y):
            return y.reshape(y.shape[0], y.shape[1], HEADS, -1).permute(0, 2, 1, 3)

        q, k, v = heads(self.q(x)), heads(self.k(x)), heads(self.v(x))
        scores = torch.softmax(q @ k.transpose(-1, -2) / (WIDTH // HEADS) ** 0.5 + bias, -1)
        x = self.norm1(self.o((scores @ v).permute(0, 2, 1, 3).reshape(x.shape)) + x)
        return self.norm2(self.b(torch.nn.functional.gelu(self.a(x))) + x)


class Bert(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        sizes = (50, 16, 2)
        self.word, self.place, self.kind = (torch.nn.Embedding(n, WIDTH) for n in sizes)
        self.norm = torch.nn.LayerNorm(WIDTH)
        self.layers = torch.nn.ModuleList([Layer() for _ in range(2)])

    def forward(self, ids, mask, kinds):
        places = torch.arange(ids.shape[1])[None].expand(ids.shape)
        x = self.norm(self.word(ids) + self.place(places) + self.kind(kinds))
        bias = (1.0 - mask[:, None, None, :].float()) * -10000.0
        for layer in self.layers:
            x = layer(x, bias)
        return x


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """(torch's module, its inputs, the folder with a file for each kind)."""
    from onnxruntime import quantization
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer
    from onnxruntime.transformers import optimizer

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    model = Bert().eval()
    ids, mask = torch.randint(0, 50, (2, 7)), torch.ones(2, 7, dtype=torch.int64)
    mask[1, 5:] = 0
    inputs = (ids, mask, torch.randint(0, 2, (2, 7)))
    names = ["input_ids", "attention_mask", "token_type_ids"]
    logging.disable(logging.WARNING)
    torch.onnx.export(
        model, inputs, str(folder / "plain"), input_names=names, output_names=["y"],
        opset_version=14, dynamo=False,
    )  # fmt: skip
    made = optimizer.optimize_model(
        str(folder / "plain"), "bert", num_heads=HEADS, hidden_size=WIDTH, opt_level=0
    )
    made.save_model_to_file(str(folder / "fused"))
    quantization.quantize_dynamic(
        folder / "fused", folder / "dynamic",
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )  # fmt: skip
    smaller = MatMulNBitsQuantizer(onnx.load(folder / "plain"), bits=4, block_size=16)
    smaller.process()
    smaller.model.save_model_to_file(str(folder / "4 bits"))
    logging.disable(logging.NOTSET)
    feeds = {n: v.numpy() for n, v in zip(names, inputs, strict=True)}
    return model, feeds, folder


@pytest.mark.parametrize("kind", KINDS)
def test_as_onnxruntime(kind, bert):
    _, feeds, folder = bert
    text = (folder / kind).read_bytes()
    found = {node.op_type for node in onnx.ModelProto.FromString(text).graph.node}
    assert found >= KINDS[kind], found
    other = onnxruntime.InferenceSession(text, providers=["CPUExecutionProvider"])
    (want,) = other.run(None, feeds)
    (got,) = InferenceSession(text).run(None, feeds)
    np.testing.assert_allclose(got, want, atol=1e-5 if kind == "fused" else 2e-2)


def test_the_fused_file_is_trained_further(bert):
    """The gradients of its tables are those of the module that was exported."""
    model, feeds, folder = bert
    loaded = tk.load(folder / "fused")
    loaded(*map(tk.from_numpy, feeds.values())).pow(2).sum().backward()
    model(*map(torch.from_numpy, feeds.values())).pow(2).sum().backward()
    grads = [p.grad.numpy() for p in loaded.parameters() if p.grad is not None]
    for table in (model.word, model.place, model.kind):  # Below all that the tool fused.
        want = table.weight.grad.numpy()
        (got,) = [g for g in grads if g.shape == want.shape]
        np.testing.assert_allclose(got, want, atol=1e-4 * max(1.0, np.abs(want).max()))

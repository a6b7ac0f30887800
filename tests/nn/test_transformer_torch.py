"""Multi-head attention and transformers beside torch's, on equal weights, in float64."""

import numpy as np
import pytest

import toolkit as tk
from toolkit import nn
from toolkit.errors import InvalidArgumentError, ShapeError

torch = pytest.importorskip("torch")

from tests.nn.twins import close, same_weights, values  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # torch's, of nested tensors.

N, L, S, D = 2, 5, 7, 12


def both(array):
    return None if array is None else (tk.tensor(array), torch.tensor(array))


def check(ours, theirs, arrays, how, first=lambda y: y):
    """Outputs and gradients of inputs and parameters; `how`: keyword arguments, arrays as such."""
    assert repr(ours) == repr(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    same_weights(ours, theirs)
    xs = [tk.tensor(a, requires_grad=True) for a in arrays]
    ys = [torch.tensor(a, requires_grad=True) for a in arrays]
    kwargs = [
        {k: make(v) if isinstance(v, np.ndarray) else v for k, v in how.items()}
        for make in (tk.tensor, torch.tensor)
    ]
    got, want = ours(*xs, **kwargs[0]), theirs(*ys, **kwargs[1])
    pairs = zip(got, want, strict=True) if isinstance(want, tuple) else [(got, want)]
    total, expected = 0.0, 0.0
    for i, (g, w) in enumerate(pairs):
        assert (g is None) == (w is None)
        if w is not None:
            close(g, w, f"output {i}")
            weights = values(tuple(w.shape), 9 + i)
            total = total + (g * tk.tensor(weights)).sum()
            expected = expected + (w * torch.tensor(weights)).sum()
    total.backward()
    expected.backward()
    for i, (x, y) in enumerate(zip(xs, ys, strict=True)):
        close(x.grad, y.grad, f"gradient of input {i}")
    for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        close(p.grad, q.grad, name)


CAUSAL = np.triu(np.ones((L, L), bool), 1)
PADDING = np.array([[False] * 5 + [True] * 2, [False] * 7])
FORBIDDEN = np.random.default_rng(3).random((L, S)) < 0.3
BIAS = values((L, S), 4)
EACH = np.random.default_rng(5).random((N * 3, L, S)) < 0.3

MODULES = [{}, {"bias": False}, {"batch_first": True}, {"kdim": 8, "vdim": 6},
           {"add_bias_kv": True}, {"add_zero_attn": True, "add_bias_kv": True}]  # fmt: skip
CALLS = [{}, {"average_attn_weights": False}, {"key_padding_mask": PADDING},
         {"attn_mask": FORBIDDEN}, {"attn_mask": BIAS}, {"attn_mask": EACH},
         {"attn_mask": FORBIDDEN, "key_padding_mask": PADDING},
         {"attn_mask": BIAS, "key_padding_mask": np.where(PADDING, -np.inf, 0.0)}]  # fmt: skip


def inputs(how, rows=L, keys=S):
    k, v = how.get("kdim", D), how.get("vdim", D)
    shapes = (rows, N, D), (keys, N, k), (keys, N, v)
    arrays = [values(s, i) for i, s in enumerate(shapes)]
    return [a.swapaxes(0, 1).copy() for a in arrays] if how.get("batch_first") else arrays


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("call", CALLS, ids=lambda c: "+".join(c) or "plain")
@pytest.mark.parametrize("how", MODULES, ids=lambda m: "+".join(m) or "plain")
def test_multihead_attention(how, call, need_weights):
    ours = nn.MultiheadAttention(D, 3, **how)
    theirs = torch.nn.MultiheadAttention(D, 3, **how)
    check(ours, theirs, inputs(how), {**call, "need_weights": need_weights})


@pytest.mark.parametrize("need_weights", [False, True])
def test_multihead_attention_to_itself(need_weights):
    ours, theirs = nn.MultiheadAttention(D, 3), torch.nn.MultiheadAttention(D, 3)
    how = {"attn_mask": CAUSAL, "is_causal": True, "need_weights": need_weights}
    x = values((L, N, D))
    same_weights(ours, theirs)
    a, b = tk.tensor(x), torch.tensor(x)
    got = ours(a, a, a, **{**how, "attn_mask": tk.tensor(CAUSAL)})
    want = theirs(b, b, b, **{**how, "attn_mask": torch.tensor(CAUSAL)})
    close(got[0], want[0])
    if need_weights:
        close(got[1], want[1])


def test_multihead_attention_without_a_batch():
    ours, theirs = nn.MultiheadAttention(D, 3), torch.nn.MultiheadAttention(D, 3)
    check(ours, theirs, [values((L, D)), values((S, D), 1), values((S, D), 2)], {})


def test_multihead_attention_drops_weights():
    m = nn.MultiheadAttention(8, 2, dropout=0.5)
    x = tk.ones(30, 1, 8)
    assert m(x, x, x, need_weights=False)[0].std(0).max() > 0
    m.eval()
    assert m(x, x, x, need_weights=False)[0].std(0).max() < 1e-6


def test_multihead_attention_refuses():
    with pytest.raises(InvalidArgumentError, match="multiple of num_heads"):
        nn.MultiheadAttention(8, 3)
    m, x = nn.MultiheadAttention(8, 2), tk.ones(3, 1, 8)
    with pytest.raises(InvalidArgumentError, match="attn_mask is required"):
        m(x, x, x, is_causal=True)
    with pytest.raises(ShapeError, match="2 or of 3 dimensions"):
        m(x[0, 0], x, x)
    with pytest.raises(ShapeError, match="attn_mask of 2 or 3"):
        m(x, x, x, attn_mask=tk.ones(3))


LAYERS = [{}, {"norm_first": True}, {"activation": "gelu", "bias": False}, {"batch_first": True}]


def layer(how):
    return {"dim_feedforward": 10, "dropout": 0.0, **how}


@pytest.mark.parametrize("how", LAYERS, ids=lambda m: "+".join(m) or "plain")
def test_encoder_layer(how):
    args = layer(how)
    ours = nn.TransformerEncoderLayer(D, 3, **args)
    theirs = torch.nn.TransformerEncoderLayer(D, 3, **args)
    padding = np.array([[False] * 4 + [True], [False] * 5])
    x = values((N, L, D) if "batch_first" in how else (L, N, D))
    for masks in ({}, {"src_mask": CAUSAL}, {"src_key_padding_mask": padding}):
        check(ours, theirs, [x], masks)
    check(ours, theirs, [x], {"src_mask": CAUSAL, "is_causal": True})


@pytest.mark.parametrize("how", LAYERS, ids=lambda m: "+".join(m) or "plain")
def test_decoder_layer(how):
    args = layer(how)
    ours = nn.TransformerDecoderLayer(D, 3, **args)
    theirs = torch.nn.TransformerDecoderLayer(D, 3, **args)
    x, memory = values((L, N, D)), values((S, N, D), 1)
    if "batch_first" in how:
        x, memory = x.swapaxes(0, 1).copy(), memory.swapaxes(0, 1).copy()
    masks = {"tgt_mask": CAUSAL, "memory_key_padding_mask": PADDING, "memory_mask": FORBIDDEN}
    for given in ({}, masks):
        check(ours, theirs, [x, memory], given)


def test_stacks():
    how = {"dim_feedforward": 10, "dropout": 0.0}
    ours = nn.TransformerEncoder(nn.TransformerEncoderLayer(D, 3, **how), 2, nn.LayerNorm(D))
    theirs = torch.nn.TransformerEncoder(
        torch.nn.TransformerEncoderLayer(D, 3, **how), 2, torch.nn.LayerNorm(D)
    )
    check(ours, theirs, [values((L, N, D))], {"mask": CAUSAL})
    ours = nn.TransformerDecoder(nn.TransformerDecoderLayer(D, 3, **how), 2)
    theirs = torch.nn.TransformerDecoder(torch.nn.TransformerDecoderLayer(D, 3, **how), 2)
    check(ours, theirs, [values((L, N, D)), values((S, N, D), 1)], {"tgt_mask": CAUSAL})
    layers = ours.layers
    assert layers[0].linear1.weight is not layers[1].linear1.weight


def test_transformer():
    how = {"num_encoder_layers": 2, "num_decoder_layers": 1, "dim_feedforward": 9, "dropout": 0.0}
    ours, theirs = nn.Transformer(D, 3, **how), torch.nn.Transformer(D, 3, **how)
    mask = nn.Transformer.generate_square_subsequent_mask(L)
    close(mask, torch.nn.Transformer.generate_square_subsequent_mask(L))
    masks = {"tgt_mask": mask.numpy().astype(np.float64), "src_key_padding_mask": PADDING}
    check(ours, theirs, [values((S, N, D)), values((L, N, D), 1)], masks)
    with pytest.raises(ShapeError, match="one batch size"):
        ours(tk.ones(3, 1, D), tk.ones(3, 2, D))


def test_transformer_exports(tmp_path):
    ort = pytest.importorskip("onnxruntime")
    model = nn.TransformerEncoderLayer(D, 3, 10, batch_first=True).eval()
    x = tk.tensor(values((N, L, D)).astype(np.float32))
    for opset in (21, 23):
        path = tmp_path / f"m{opset}.onnx"
        tk.save(path, model, inputs=x, opset=opset)
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        got = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
        np.testing.assert_allclose(got, model(x).detach().numpy(), 1e-4, 1e-5)

"""Networks that hypothesis draws: blocks as real ones have them, on sizes that none has."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

Case = tuple[onnx.ModelProto, dict[str, np.ndarray]]


class Net:
    """A graph under construction; `shape` is that of `value`, the result so far."""

    def __init__(self, shape: tuple[int, ...], seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.value, self.shape, self.first = "x", shape, shape

    def add(self, op_type: str, *inputs: Any, shape: tuple[int, ...] = (), **how: Any) -> str:
        """A node; arrays become constants, a `shape` makes its result the network's."""
        names = [i if isinstance(i, str) else self.constant(np.asarray(i)) for i in inputs]
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [name], **how))
        if shape:
            self.value, self.shape = name, shape
        return name

    def constant(self, array: np.ndarray) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def weight(self, *shape: int) -> np.ndarray:
        size = np.sqrt(np.prod(shape[1:]))
        return (self.rng.standard_normal(shape) / size).astype(np.float32)

    def vector(self, n: int, low: float = -0.5, high: float = 0.5) -> np.ndarray:
        return self.rng.uniform(low, high, n).astype(np.float32)

    def case(self) -> Case:
        x = self.rng.standard_normal(self.first).astype(np.float32)
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.first)],
            [helper.make_tensor_value_info(self.value, TensorProto.FLOAT, ["n", *self.shape[1:]])],
            [numpy_helper.from_array(a, n) for n, a in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", 24)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=10), {"x": x}


def convolution(draw: Any, net: Net, out: int, kernel: list[int], group: int = 1) -> bool:
    """Conv with drawn stride, dilation, pads; False where the image is too small for it."""
    n, c, *sides = net.shape
    strides = [draw(st.sampled_from([1, 1, 1, 2, 3])) for _ in range(2)]
    dilations = [draw(st.sampled_from([1, 1, 1, 2])) for _ in range(2)]
    pads = [draw(st.integers(0, k // 2 + 1)) for k in kernel * 2]
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    padded = [s + pads[i] + pads[i + 2] for i, s in enumerate(sides)]
    if any(p < e for p, e in zip(padded, extents, strict=True)):
        return False
    sizes = [(p - e) // s + 1 for p, e, s in zip(padded, extents, strides, strict=True)]
    weights = [net.weight(out, c // group, *kernel)]
    if draw(st.booleans()):
        weights.append(net.vector(out))
    how = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    net.add("Conv", net.value, *weights, shape=(n, out, *sizes), **how)
    return True


def activation(draw: Any, net: Net) -> None:
    kind = draw(st.sampled_from(["", "Relu", "Relu6", "Sigmoid", "HardSwish", "swish", "Gelu"]))
    x, shape = net.value, net.shape
    if kind == "Relu6":
        net.add("Clip", x, np.float32(0), np.float32(6), shape=shape)
    elif kind == "swish":
        net.add("Mul", x, net.add("Sigmoid", x), shape=shape)
    elif kind:
        net.add(kind, x, shape=shape)


def batch_norm(net: Net) -> None:
    c = net.shape[1]
    row = net.vector(c, 0.5, 1.5), net.vector(c), net.vector(c), net.vector(c, 0.5, 1.5)
    net.add("BatchNormalization", net.value, *row, shape=net.shape)


def inverted_residual(draw: Any, net: Net) -> None:
    """Pointwise, depthwise, pointwise, and the input again: a block of MobileNet."""
    x, shape = net.value, net.shape
    n, c, h, w = shape
    wide = c * draw(st.integers(2, 4))
    k = draw(st.sampled_from([3, 5]))
    net.add("Conv", x, net.weight(wide, c, 1, 1), net.vector(wide), shape=(n, wide, h, w))
    activation(draw, net)
    how = {"group": wide, "pads": [k // 2] * 4}
    net.add("Conv", net.value, net.weight(wide, 1, k, k), shape=net.shape, **how)
    batch_norm(net)
    activation(draw, net)
    net.add("Conv", net.value, net.weight(c, wide, 1, 1), net.vector(c), shape=shape)
    if draw(st.booleans()):
        net.add("Add", x, net.value, shape=shape)


def residual(draw: Any, net: Net) -> None:
    x, shape = net.value, net.shape
    c = shape[1]
    for _ in range(draw(st.integers(1, 2))):
        net.add("Conv", net.value, net.weight(c, c, 3, 3), shape=shape, pads=[1] * 4)
        batch_norm(net)
        activation(draw, net)
    net.add("Add", *draw(st.permutations([x, net.value])), shape=shape)
    net.add("Relu", net.value, shape=shape)


def branches(draw: Any, net: Net) -> None:
    """Two or three convolutions of one value, joined: Inception, and the skips of a U-Net."""
    x, (n, c, h, w) = net.value, net.shape
    made, outs = [], []
    for _ in range(draw(st.integers(2, 3))):
        out, k = draw(st.integers(1, 40)), draw(st.sampled_from([1, 3, 3, 5]))
        net.value, net.shape = x, (n, c, h, w)
        net.add("Conv", x, net.weight(out, c, k, k), shape=(n, out, h, w), pads=[k // 2] * 4)
        activation(draw, net)
        made.append(net.value)
        outs.append(out)
    net.add("Concat", *made, shape=(n, sum(outs), h, w), axis=1)


def squeeze(draw: Any, net: Net) -> None:
    """Squeeze and excitation: channels scaled by a function of their means."""
    x, shape = net.value, net.shape
    n, c = shape[:2]
    less = draw(st.integers(1, c))
    net.add("GlobalAveragePool", x, shape=(n, c, 1, 1))
    net.add("Conv", net.value, net.weight(less, c, 1, 1), shape=(n, less, 1, 1))
    activation(draw, net)
    net.add("Conv", net.value, net.weight(c, less, 1, 1), net.vector(c), shape=(n, c, 1, 1))
    gate = net.add(draw(st.sampled_from(["Sigmoid", "HardSigmoid"])), net.value)
    net.add("Mul", x, gate, shape=shape)


def pool(draw: Any, net: Net) -> None:
    n, c, *sides = net.shape
    k, s = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    if min(sides) < k:
        return
    shape = (n, c, *((side - k) // s + 1 for side in sides))
    kind = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    net.add(kind, net.value, shape=shape, kernel_shape=[k, k], strides=[s, s])


def upsample(draw: Any, net: Net) -> None:
    n, c, h, w = net.shape
    out, k = draw(st.integers(1, 24)), draw(st.integers(2, 3))
    if max(h, w) > 24:
        return
    weights = net.weight(c, out, k, k), net.vector(out)
    net.add("ConvTranspose", net.value, *weights, shape=(n, out, h * k, w * k), strides=[k, k])


@st.composite
def images(draw: Any) -> Case:
    """Blocks over (N, C, H, W), then a product of what a global pool leaves and Softmax."""
    shape = (draw(st.integers(1, 4)), draw(st.integers(1, 40)))
    net = Net(
        (*shape, draw(st.integers(5, 40)), draw(st.integers(5, 40))), draw(st.integers(0, 99))
    )
    blocks = [inverted_residual, residual, branches, squeeze, pool, upsample]
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from([*blocks, "conv", "conv", "depthwise", "grouped"]))
        c = net.shape[1]
        if callable(kind):
            kind(draw, net)
            continue
        kernel = [draw(st.integers(1, 7)) for _ in range(2)]
        if kind == "depthwise":
            convolution(draw, net, c * draw(st.integers(1, 2)), kernel, c)
        elif kind == "grouped":
            group = draw(st.sampled_from([g for g in range(1, 9) if c % g == 0]))
            convolution(draw, net, group * draw(st.integers(1, 12)), kernel, group)
        else:
            square = draw(st.sampled_from([[3, 3], [1, 1], kernel]))
            convolution(draw, net, draw(st.integers(1, 48)), square)
        activation(draw, net)
    n, c = net.shape[:2]
    if draw(st.booleans()):
        net.add("GlobalAveragePool", net.value, shape=(n, c, 1, 1))
        net.add("Flatten", net.value, shape=(n, c))
        net.add("Gemm", net.value, net.weight(9, c), net.vector(9), shape=(n, 9), transB=1)
        net.add("Softmax", net.value, shape=(n, 9))
    elif not net.nodes:
        net.add("Relu", net.value, shape=net.shape)
    return net.case()


def normalization(draw: Any, net: Net) -> None:
    width = net.shape[-1]
    kind = draw(st.sampled_from(["LayerNormalization", "RMSNormalization"]))
    rows = [net.vector(width, 0.5, 1.5), net.vector(width)]
    net.add(kind, net.value, *(rows if kind[0] == "L" else rows[:1]), shape=net.shape, axis=-1)


def attention(draw: Any, net: Net) -> None:
    """Heads written out, some sharing keys: causal, masked or neither; the input is added."""
    x, shape = net.value, net.shape
    rows, width = shape[1:]
    shared = draw(st.sampled_from([1, 2]))
    heads, d = shared * draw(st.integers(1, 2)), draw(st.sampled_from([1, 4, 8, 17, 32]))

    def head(count: int) -> str:
        product = net.add("MatMul", x, net.weight(width, count * d))
        apart = net.add("Reshape", product, np.array([0, rows, count, d]))
        return net.add("Transpose", apart, perm=[0, 2, 1, 3])

    def repeated(value: str) -> str:
        if shared == 1:
            return value
        one = net.add("Unsqueeze", value, np.array([2]))
        sizes = np.array([1, heads // shared, shared, rows, d])
        return net.add("Reshape", net.add("Expand", one, sizes), np.array([0, heads, rows, d]))

    q, k, v = head(heads), repeated(head(heads // shared)), repeated(head(heads // shared))
    k = net.add("Transpose", k, perm=[0, 1, 3, 2])
    scores = net.add("Mul", net.add("MatMul", q, k), np.float32(d**-0.5))
    mask = draw(st.sampled_from(["", "causal", "bias", "keep"]))
    if mask == "causal":
        bias = np.where(np.tri(rows, dtype=bool), 0, -np.inf).astype(np.float32)
        scores = net.add("Add", scores, bias)
    elif mask == "bias":
        scores = net.add("Add", scores, net.weight(1, 1, rows, rows))
    elif mask == "keep":
        keep = net.rng.random((1, 1, rows, rows)) < 0.7
        keep |= np.eye(rows, dtype=bool)
        low = np.float32(-np.inf)
        scores = net.add("Where", keep, scores, low)
    weights = net.add("Softmax", scores, axis=-1)
    back = net.add("Transpose", net.add("MatMul", weights, v), perm=[0, 2, 1, 3])
    joined = net.add("Reshape", back, np.array([0, rows, heads * d]))
    net.add("Add", net.add("MatMul", joined, net.weight(heads * d, width)), x, shape=shape)


def perceptron(draw: Any, net: Net) -> None:
    x, shape = net.value, net.shape
    wide = draw(st.sampled_from([1, 7, 32, 65, 128]))
    up, down = net.weight(shape[-1], wide), net.weight(wide, shape[-1])
    hidden = net.add("Add", net.add("MatMul", x, up), net.vector(wide))
    kind = draw(st.sampled_from(["Gelu", "Relu", "Tanh", "erf", "swish"]))
    if kind == "erf":
        erf = net.add("Erf", net.add("Div", hidden, np.float32(2**0.5)))
        scaled = net.add("Mul", hidden, net.add("Add", erf, np.float32(1)))
        hidden = net.add("Mul", scaled, np.float32(0.5))
    elif kind == "swish":
        hidden = net.add("Mul", hidden, net.add("Sigmoid", hidden))
    else:
        hidden = net.add(kind, hidden)
    net.add("Add", net.add("MatMul", hidden, down), x, shape=shape)


def recurrence(draw: Any, net: Net) -> None:
    """LSTM or GRU over the second axis, one or both ways."""
    n, rows, width = net.shape
    kind, gates = draw(st.sampled_from([("LSTM", 4), ("GRU", 3)]))
    ways, hidden = draw(st.integers(1, 2)), draw(st.sampled_from([1, 5, 16, 33]))
    w = net.rng.standard_normal((ways, gates * hidden, width)) / np.sqrt(width)
    r = net.rng.standard_normal((ways, gates * hidden, hidden)) / np.sqrt(hidden)
    b = net.rng.uniform(-0.5, 0.5, (ways, 2 * gates * hidden))
    how: dict[str, Any] = {"hidden_size": hidden}
    if ways == 2:
        how["direction"] = "bidirectional"
    if kind == "GRU":
        how["linear_before_reset"] = draw(st.integers(0, 1))
    time_first = net.add("Transpose", net.value, perm=[1, 0, 2])
    y = net.add(kind, time_first, *(a.astype(np.float32) for a in (w, r, b)), **how)
    back = net.add("Transpose", y, perm=[2, 0, 1, 3])
    net.add("Reshape", back, np.array([0, rows, ways * hidden]), shape=(n, rows, ways * hidden))


@st.composite
def sequences(draw: Any) -> Case:
    """Attention, norms, perceptrons and recurrences over (N, L, D), then a product."""
    shape = (draw(st.integers(1, 3)), draw(st.sampled_from([1, 2, 7, 16, 33, 70])))
    net = Net((*shape, draw(st.sampled_from([1, 8, 17, 48, 64]))), draw(st.integers(0, 99)))
    for _ in range(draw(st.integers(1, 4))):
        kinds = [attention, attention, normalization, perceptron, recurrence]
        draw(st.sampled_from(kinds))(draw, net)
    n, rows, width = net.shape
    net.add("MatMul", net.value, net.weight(width, 11), shape=(n, rows, 11))
    return net.case()

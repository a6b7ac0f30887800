"""What `nn.functional` holds under the names of the package's top level."""

from __future__ import annotations

from typing import Any

from tests.parity.core import FLOATS, Row, d

C, L = d(2, 4, 8, 7), d(2, 4, 9)


def top(name: str, *draws: Any, args: tuple[Any, ...] = (), note: str = "", **row: Any) -> Row:
    """One function on inputs and more arguments."""

    def call(m: Any, *inputs: Any) -> Any:
        return getattr(m, name)(*inputs, *args)

    return Row(f"top.{name}{args}{note}", call, draws, **row)


_CELL = (d(12, 4), d(12, 3), d(12), d(12))
ROWS = [
    top("conv1d", L, d(6, 4, 3), d(6), dtypes=FLOATS),
    top("conv2d", C, d(6, 4, 3, 3)), top("conv3d", d(2, 4, 5, 4, 3), d(2, 4, 2, 2, 2)),
    top("conv_transpose1d", L, d(4, 3, 2)), top("conv_transpose2d", C, d(4, 3, 2, 2)),
    top("conv_transpose3d", d(2, 4, 3, 4, 3), d(4, 2, 2, 2, 2)),
    top("conv_tbc", d(9, 2, 4), d(3, 4, 6), d(6), args=(1,)),
    Row("top.convolution", lambda m, x, w: m.convolution(
        x, w, None, [2, 1], [1, 0], [1, 1], False, [0, 0], 2), [C, d(6, 2, 3, 3)]),
    Row("top.convolution/transposed", lambda m, x, w, b: m.convolution(
        x, w, b, [2], [1], [1], True, [1], 1), [L, d(4, 2, 3), d(2)]),
    Row("top.batch_norm", lambda m, x, w, b: m.batch_norm(
        x, w, b, None, None, True, 0.1, 1e-5, False), [C, d(4), d(4)], dtypes=FLOATS),
    Row("top.instance_norm", lambda m, x, w, b: m.instance_norm(
        x, w, b, None, None, True, 0.1, 1e-5, False), [C, d(4), d(4)]),
    top("layer_norm", d(3, 4), args=((4,),)), top("rms_norm", d(3, 4), args=((4,),)),
    top("group_norm", C, args=(2,)), top("layer_norm", d(3, 4), args=((3,),), error=True),
    top("avg_pool1d", L, args=(2,)), top("max_pool1d", L, args=(2,)),
    top("max_pool2d", C, args=(2,)), top("max_pool3d", d(2, 3, 4, 5, 6), args=(2,)),
    top("max_pool1d_with_indices", L, args=(2,)), top("adaptive_avg_pool1d", L, args=(4,)),
    top("adaptive_max_pool1d", L, args=(4,)), top("bilinear", d(6, 3), d(6, 4), d(5, 3, 4)),
    top("channel_shuffle", C, args=(2,)), top("pixel_shuffle", C, args=(2,)),
    top("pixel_unshuffle", d(2, 3, 4, 6), args=(2,)), top("prelu", d(3, 4), d(4)),
    top("celu", d(3, 4)), top("selu", d(3, 4)), top("hardshrink", d(3, 4)),
    top("rrelu", d(3, 4), args=(0.1, 0.4, False)), top("threshold", d(3, 4), args=(0.2, 1.0)),
    *(Row(f"top.{n}", lambda m, x, n=n, a=a: getattr(m, n)(x * 1, *a), [d(3, 4)])
      for n, a in (("celu_", ()), ("selu_", ()), ("rrelu_", (0.1, 0.4, False)),
                   ("threshold_", (0.2, 1.0)))),
    *(top(n, d(3, 4, 5), args=(0.5, False))
      for n in ("dropout", "alpha_dropout", "feature_dropout", "feature_alpha_dropout")),
    *(Row(f"top.{n}_", lambda m, x, n=n: getattr(m, n + "_")(x * 1, 1.0, True), [d(3, 4, 5)])
      for n in ("dropout", "feature_dropout")),
    top("dropout", d(3), args=(1.5, True), error=True),
    top("feature_dropout", d(3), args=(0.5, True), error=True),
    top("native_dropout", d(3, 4), args=(0.5, False)),
    Row("top.embedding", lambda m, w: m.embedding(w, m.tensor([[1, 2], [0, 1]]), 1), [d(4, 3)]),
    Row("top.embedding_bag", lambda m, w: m.embedding_bag(
        w, m.tensor([1, 2, 0, 1, 1]), m.tensor([0, 3]))[0], [d(4, 3)]),
    Row("top.embedding_renorm_", lambda m, w: m.embedding_renorm_(
        w.clone(), m.tensor([1, 2]), 0.5, 2.0), [d(4, 3)], grad=False),
    top("constant_pad_nd", d(3, 4), args=((1, 2), 0.5)),
    top("affine_grid_generator", d(2, 2, 3), args=([2, 3, 4, 5], False)),
    *(top("grid_sampler", C, d(2, 3, 5, 2), args=(i, p, False)) for i in (0, 1) for p in (0, 1)),
    top("rnn_tanh_cell", d(2, 4), d(2, 3), d(3, 4), d(3, 3), d(3), d(3)),
    top("rnn_relu_cell", d(2, 4), d(2, 3), d(3, 4), d(3, 3)),
    top("gru_cell", d(2, 4), d(2, 3), d(9, 4), d(9, 3), d(9), d(9), dtypes=FLOATS),
    Row("top.lstm_cell", lambda m, x, h, c, *w: m.lstm_cell(x, (h, c), *w),
        [d(2, 4), d(2, 3), d(2, 3), *_CELL], dtypes=FLOATS),
    *(top("norm_except_dim", d(3, 4, 2), args=(2, k)) for k in (-1, 0, 2)),
]  # fmt: skip

"""Functions that make tensors, settings, questions, attributes, printing."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.parity.core import ALL, FLOATS, INTEGERS, Row, d, rows

CALLS: dict[str, Any] = {
    "asarray/list": lambda m: m.asarray([1.0, 2.0]),
    "asarray/number": lambda m: m.asarray(3),
    "asarray/array": lambda m: m.asarray(np.arange(3)),
    "asarray/copy": lambda m: m.asarray(m.ones(2), copy=True),
    "asarray/dtype": lambda m: m.asarray([1, 2], dtype=m.float64),
    "asarray/buffer": lambda m: m.asarray(bytearray(np.arange(3, dtype=np.float32).tobytes())),
    "scalar_tensor": lambda m: m.scalar_tensor(3),
    "scalar_tensor/int": lambda m: m.scalar_tensor(3, dtype=m.int32),
    "frombuffer": lambda m: m.frombuffer(bytearray(b"\x01\x02\x03\x04"), dtype=m.int16),
    "frombuffer/part": lambda m: m.frombuffer(
        bytearray(range(9)), dtype=m.uint8, count=3, offset=2
    ),
    "range": lambda m: m.range(1, 4),
    "range/step": lambda m: m.range(1, 2, 0.5),
    "range/down": lambda m: m.range(3, 1, -1),
    **{
        f"{n}/{r}x{c}/{o}": (lambda m, n=n, r=r, c=c, o=o: getattr(m, n)(r, c, o))
        for n in ("tril_indices", "triu_indices")
        for r, c, o in ((3, 4, 0), (3, 3, 1), (4, 2, -1), (0, 3, 0))
    },
    "tril_indices/dtype": lambda m: m.tril_indices(2, 2, dtype=m.int32),
    "vander": lambda m: m.vander(m.tensor([1.0, 2.0, 3.0])),
    "vander/N": lambda m: m.vander(m.tensor([1, 2, 3]), N=5, increasing=True),
    "vander/one": lambda m: m.vander(m.tensor([1.0, 2.0]), N=1),
    "empty_strided": lambda m: list(m.empty_strided((2, 3), (1, 2)).stride()),
    "empty_permuted": lambda m: list(m.empty_permuted((2, 3, 5), (1, 0, 2)).stride()),
    "new_empty_strided": lambda m: list(m.ones(1).new_empty_strided((2, 3), (3, 1)).shape),
    "randint_like": lambda m: list(m.randint_like(m.zeros(3, 4), 5).shape),
    "poisson/shape": lambda m: list(m.poisson(m.ones(3, 4)).shape),
    "poisson/zero": lambda m: m.poisson(m.zeros(4)),
    "binomial/sure": lambda m: m.binomial(m.tensor([3.0, 5.0]), m.tensor([1.0, 0.0])),
    "new_tensor": lambda m: m.ones(2, dtype=m.int32).new_tensor([1.5, 2.5]),
    "new_full": lambda m: m.ones(2, dtype=m.float64).new_full((2, 2), 3),
    "new_zeros": lambda m: m.ones(2, dtype=m.int32).new_zeros(3),
    "new_ones": lambda m: m.ones(2).new_ones((2, 1), dtype=m.int64),
    "new": lambda m: m.ones(2, dtype=m.float64).new([1, 2]),
    "fill": lambda m: m.fill(m.ones(2, 2), 3.0),
    "fill/tensor": lambda m: m.fill(m.ones(2, dtype=m.int64), m.tensor(3.0)),
    **{
        f"{n}": (lambda m, n=n: getattr(m, n)([1, 0, 2]))
        for n in (
            "FloatTensor",
            "DoubleTensor",
            "LongTensor",
            "IntTensor",
            "ShortTensor",
            "CharTensor",
            "ByteTensor",
            "BoolTensor",
        )
    },
    "FloatTensor/shape": lambda m: list(m.FloatTensor(2, 3).shape),
    "FloatTensor/empty": lambda m: list(m.FloatTensor().shape),
    "isinstance/typed": lambda m: [
        isinstance(m.ones(1), m.FloatTensor),
        isinstance(m.ones(1), m.LongTensor),
    ],
    "is_nonzero": lambda m: [m.is_nonzero(m.tensor(1.0)), m.tensor([0]).is_nonzero()],
    "is_signed": lambda m: [m.is_signed(m.ones(1)), m.ones(1, dtype=m.uint8).is_signed()],
    "is_same_size": lambda m: [
        m.is_same_size(m.ones(2), m.ones(2)),
        m.ones(2).is_same_size(m.ones(3)),
    ],
    "deterministic": lambda m: _deterministic(m),
    "matmul precision": lambda m: m.get_float32_matmul_precision(),
    "interop threads": lambda m: m.get_num_interop_threads() > 0,
    "warn_always": lambda m: m.is_warn_always_enabled(),
    "default device": lambda m: str(m.get_default_device()),
    "attributes": lambda m: [
        getattr(m.ones(2), n)
        for n in (
            "is_cpu",
            "is_meta",
            "is_sparse",
            "is_quantized",
            "is_mkldnn",
            "is_nested",
            "is_xpu",
        )
    ],
    "questions": lambda m: [
        getattr(m.ones(2), n)()
        for n in (
            "is_conj",
            "is_neg",
            "is_inference",
            "is_pinned",
            "get_device",
            "ndimension",
            "dense_dim",
            "is_signed",
        )
    ],
    "functions of questions": lambda m: [
        getattr(m, n)(m.ones(2))
        for n in ("is_conj", "is_neg", "is_inference", "get_device", "is_distributed")
    ],
    "retains_grad": lambda m: _retains(m),
    "dim_order": lambda m: list(m.ones(2, 3, 4).permute(2, 0, 1).dim_order()),
    "reversed": lambda m: reversed(m.arange(4)),
    "index": lambda m: [10, 20, 30][m.tensor(1)],
    "contains": lambda m: [2 in m.arange(3), 7 in m.arange(3)],
    "format": lambda m: [f"{m.tensor(1.5):.3f}", f"{m.tensor(7):04d}"],
    "len": lambda m: len(m.ones(5, 2)),
    "complex()": lambda m: complex(m.tensor(2.0)) == 2 + 0j,
    "rmatmul": lambda m: (np.ones((2, 3), np.float32) @ m.ones(3, 2).numpy()).tolist(),
    "rpow": lambda m: 2 ** m.arange(4),
    "rlshift": lambda m: [1 << m.arange(3), 16 >> m.arange(3)],
    "angle": lambda m: m.angle(m.tensor([1.0, -2.0, 0.0])),
    "real": lambda m: m.real(m.tensor([1.0, -2.0])),
    "resolve": lambda m: [m.resolve_conj(m.ones(2)), m.resolve_neg(m.ones(2))],
    "sym": lambda m: [m.sym_max(2, 3), m.sym_min(2, 3), m.sym_not(True), m.sym_float(2)],
}
REFUSED: dict[str, Any] = {
    "frombuffer/short": lambda m: m.frombuffer(bytearray(3), dtype=m.int16),
    "frombuffer/count": lambda m: m.frombuffer(bytearray(4), dtype=m.int16, count=5),
    "frombuffer/offset": lambda m: m.frombuffer(bytearray(4), dtype=m.uint8, offset=9),
    "from_file": lambda m: m.from_file("/nonexistent/file", size=4),
    "range/sign": lambda m: m.range(1, 4, -1),
    "tril_indices/negative": lambda m: m.tril_indices(-1, 3),
    "vander/matrix": lambda m: m.vander(m.ones(2, 2)),
    "empty_permuted/order": lambda m: m.empty_permuted((2, 3), (0, 0)),
    "is_nonzero/two": lambda m: m.is_nonzero(m.ones(2)),
    "finfo/int": lambda m: m.finfo(m.int32),
    "iinfo/float": lambda m: m.iinfo(m.float32),
    "debug mode": lambda m: m.set_deterministic_debug_mode(7),
    "exponential_": lambda m: m.ones(2).exponential_(-1),
    "cauchy_": lambda m: m.ones(2).cauchy_(0, -1),
    "geometric_": lambda m: m.ones(2).geometric_(1.5),
    "log_normal_": lambda m: m.ones(2).log_normal_(0, -1),
    "normal_": lambda m: m.ones(2).normal_(0, -1),
    "uniform_": lambda m: m.ones(2).uniform_(1, 0),
    "bernoulli_": lambda m: m.ones(2).bernoulli_(2.0),
    "imag": lambda m: m.ones(2).imag,
    "len/0-dim": lambda m: len(m.tensor(1)),
    "default type": lambda m: m.set_default_tensor_type("torch.LongTensor"),
}
PRINTED: dict[str, tuple[dict[str, Any], Any]] = {
    "precision": ({"precision": 2}, lambda m, x: x),
    "precision 8": ({"precision": 8}, lambda m, x: x.double()),
    "sci": ({"sci_mode": True}, lambda m, x: x),
    "no sci": ({"sci_mode": False}, lambda m, x: x * 1e6),
    "threshold": ({"threshold": 5}, lambda m, x: x),
    "edgeitems": ({"threshold": 5, "edgeitems": 1}, lambda m, x: x),
    "linewidth": ({"linewidth": 40}, lambda m, x: x),
    "short": ({"profile": "short"}, lambda m, x: x),
    "full": ({"profile": "full"}, lambda m, x: m.arange(1100)),
    "ints": ({"linewidth": 30}, lambda m, x: m.arange(30)),
}


def printed(options: dict[str, Any], value: Any) -> Any:
    def call(m: Any, x: Any) -> str:
        m.set_printoptions(**options)
        try:
            return repr(value(m, x)).replace("torch.", "toolkit.")
        finally:
            m.set_printoptions(profile="default")

    return call


def _deterministic(m: Any) -> Any:
    seen = [m.are_deterministic_algorithms_enabled(), m.get_deterministic_debug_mode()]
    try:
        m.use_deterministic_algorithms(True, warn_only=True)
        seen += [m.are_deterministic_algorithms_enabled(), m.get_deterministic_debug_mode(),
                 m.is_deterministic_algorithms_warn_only_enabled()]  # fmt: skip
        m.set_deterministic_debug_mode("error")
        seen.append(m.get_deterministic_debug_mode())
    finally:
        m.use_deterministic_algorithms(False)
    return seen


def _retains(m: Any) -> Any:
    x = m.ones(2, requires_grad=True)
    y, z = x * 2, x * 3
    y.retain_grad()
    return [x.retains_grad, y.retains_grad, z.retains_grad]


def limits(m: Any, dtype: str) -> Any:
    kind = getattr(m, dtype)
    if kind.is_floating_point:
        info = m.finfo(kind)
        return [info.bits, info.max, info.min, info.eps, info.tiny, info.smallest_normal,
                info.resolution, info.dtype, repr(info)]  # fmt: skip
    info = m.iinfo(kind)
    return [info.bits, info.max, info.min, info.dtype, repr(info)]


def promoted_default(m: Any) -> Any:
    m.set_default_dtype(m.float64)
    try:
        return [m.tensor(1.5), m.ones(2), m.get_default_dtype(), m.tensor([1]) / 2, m.finfo().bits]
    finally:
        m.set_default_dtype(m.float32)


ROWS = [
    *(Row(f"create/{n}", call) for n, call in CALLS.items()),
    *(Row(f"refuse/{n}", call, error=True) for n, call in REFUSED.items()),
    *(Row(f"print/{n}", printed(*case), [d(4, 5, low=-99, high=99, grad=False)], grad=False)
      for n, case in PRINTED.items()),
    *(Row(f"limits/{t}", lambda m, t=t: limits(m, t))
      for t in (*INTEGERS, *FLOATS, "float16", "bfloat16")),
    Row("default dtype", promoted_default),
    *rows("like", {n: (lambda m, x, n=n: getattr(m, n)(x)) for n in ("zeros_like", "ones_like")},
          d(2, 3), dtypes=ALL),
    Row("deepcopy", lambda m, x: __import__("copy").deepcopy(x), [d(2, 3)], ALL, grad=False),
    Row("asarray/tensor", lambda m, x: m.asarray(x, dtype=m.float64), [d(3)], ALL, grad=False),
    Row("prelu", lambda m, x, w: m.prelu(x, w), [d(2, 3, 4), d(3)], FLOATS),
    Row("prelu/one", lambda m, x, w: x.prelu(w), [d(2, 3), d(1)], FLOATS),
    Row("vander/grad", lambda m, x: m.vander(x, 4), [d(3)], FLOATS, grad=False),
]  # fmt: skip

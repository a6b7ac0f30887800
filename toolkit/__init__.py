"""toolkit: an interchange-first deep-learning toolkit. Everything is an ONNX graph.

`import toolkit as tk` offers PyTorch's names: tensors, `nn`, `optim`, `autograd`, `data`.
"""

from __future__ import annotations

from typing import Any

from toolkit import autograd, ops, random
from toolkit._tensor import functions as _functions
from toolkit._tensor import nn_names
from toolkit.autograd import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    no_grad,
    set_grad_enabled,
)
from toolkit.device import Device
from toolkit.dtypes import (
    DType,
    bfloat16,
    bool,
    complex64,
    complex128,
    double,
    float,
    float16,
    float32,
    float64,
    half,
    int,
    int8,
    int16,
    int32,
    int64,
    long,
    short,
    uint8,
    uint16,
    uint32,
    uint64,
)
from toolkit.graph import expansions
from toolkit.random import (
    Generator,
    default_generator,
    fork_rng,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)
from toolkit.runtime._core import get_num_threads, set_num_threads
from toolkit.tensor import Size, Tensor, tensor

__version__ = "0.1.0"

expansions.register("com.microsoft", None, "toolkit.graph.contrib:write_out")
expansions.register("com.microsoft.nchwc", None, "toolkit.graph.contrib:write_out")
expansions.register(
    "ai.onnx.preview.training", "Gradient", "toolkit.autodiff.preview:expand_gradients"
)

dtype = DType
device = Device
newaxis = None
cfloat, cdouble = complex64, complex128
inf, nan, pi, e = _functions.inf, _functions.nan, _functions.pi, _functions.e

_MODULES = ("array_api", "nn", "optim", "data", "train", "runtime", "autodiff", "graph", "convert",
            "models", "cli", "fft", "func", "linalg", "special", "tracing", "errors", "dtypes",
            "utils", "distributions", "compiler", "cuda", "amp", "testing",
            "backends")  # fmt: skip
_HOMES = {
    "load": "convert.loading",
    "save": "train.onefile",
    "load_training": "train.onefile",
    "export_train_step": "train.onefile",
    "vmap": "func",
    "GradScaler": "amp",
    **dict.fromkeys(
        ("is_anomaly_check_nan_enabled", "is_anomaly_enabled", "is_inference_mode_enabled",
         "set_anomaly_enabled"),
        "autograd",
    ),
    **dict.fromkeys(("compile", "cond", "scan", "while_loop"), "compiler"),
    **dict.fromkeys(("cosine_similarity", "pairwise_distance", "pdist"), "nn.functional"),
    **dict.fromkeys(
        ("binary_cross_entropy_with_logits", "cosine_embedding_loss", "ctc_loss",
         "hinge_embedding_loss", "kl_div", "margin_ranking_loss", "poisson_nll_loss",
         "triplet_margin_loss"),
        "nn.functional.numbered",
    ),
    **dict.fromkeys(("gru", "lstm", "rnn_relu", "rnn_tanh"), "nn.functional.recurrent"),
    **dict.fromkeys(nn_names.NAMES, "nn.functional.toplevel"),
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        import importlib

        return importlib.import_module(f"toolkit.{name}")
    if name in _HOMES:
        import importlib

        return getattr(importlib.import_module(f"toolkit.{_HOMES[name]}"), name)
    found = _functions.find(name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_functions.names(), *_MODULES, *_HOMES})


__all__ = [
    "DType",
    "Device",
    "Generator",
    "Size",
    "Tensor",
    "autograd",
    "bfloat16",
    "bool",
    "complex64",
    "complex128",
    "default_generator",
    "device",
    "double",
    "dtype",
    "e",
    "enable_grad",
    "float",
    "float16",
    "float32",
    "float64",
    "fork_rng",
    "get_num_threads",
    "get_rng_state",
    "half",
    "inf",
    "inference_mode",
    "initial_seed",
    "int",
    "int8",
    "int16",
    "int32",
    "int64",
    "is_grad_enabled",
    "long",
    "manual_seed",
    "nan",
    "no_grad",
    "ops",
    "pi",
    "random",
    "seed",
    "set_grad_enabled",
    "set_num_threads",
    "set_rng_state",
    "short",
    "tensor",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]  # fmt: skip

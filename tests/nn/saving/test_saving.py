"""Every module of nn and every function of nn.functional: saved once, right at every size."""

from __future__ import annotations

import inspect

import pytest

import toolkit as tk
from tests.nn.saving import functions, layers, losses, modules
from tests.nn.saving.core import Case, check, save
from toolkit import nn
from toolkit.nn import functional as F

TABLE: dict[str, list[Case]] = {
    **modules.CASES, **layers.CASES, **functions.CASES, **losses.CASES,
}  # fmt: skip
# A sample of families at older opsets and the newest one.
OPSETS = (13, 17, 21, 28)
SAMPLE = ("Linear", "Conv2d", "ConvTranspose2d", "MaxPool2d", "BatchNorm2d", "GroupNorm",
          "LayerNorm", "RMSNorm", "GELU", "Mish", "Softmax", "LSTM", "GRU", "MultiheadAttention",
          "TransformerEncoderLayer", "Embedding", "Upsample", "AdaptiveAvgPool2d", "Unfold",
          "CrossEntropyLoss", "CTCLoss", "TripletMarginLoss", "AdaptiveLogSoftmaxWithLoss",
          "scaled_dot_product_attention", "pad", "grid_sample", "pdist")  # fmt: skip

# Operator, node, what it needs, and what to do.
TOO_OLD = {"grid_sample-13": ("GridSample 'GridSample'", "opset 16", "got 13", "opset=28")}


def params(names=None, opsets=(None,)):
    return [
        pytest.param(case, opset, id="-".join([name, *map(str, filter(None, [case.key, opset]))]))
        for name, cases in TABLE.items()
        if names is None or name in names
        for case in cases
        for opset in opsets
    ]


@pytest.mark.filterwarnings("ignore:.nn.functional.upsample")
@pytest.mark.parametrize(("case", "opset"), params())
def test_saved_file_is_right_at_other_sizes(case, opset, tmp_path):
    if case.refused:
        with pytest.raises((RuntimeError, TypeError), match=case.refused):
            save(case, tmp_path / "m.onnx")
        return
    check(case, tmp_path / "m.onnx")


@pytest.mark.parametrize(("case", "opset"), params(SAMPLE, OPSETS))
def test_opsets(case, opset, tmp_path, request):
    if request.node.callspec.id in TOO_OLD:
        with pytest.raises(tk.errors.UnsupportedOperatorError) as error:
            save(case, tmp_path / "m.onnx", opset)
        text = str(error.value)
        assert all(part in text for part in TOO_OLD[request.node.callspec.id]), text
        return
    check(case, tmp_path / "m.onnx", opset)


def test_every_module_and_function_has_a_case():
    found = {
        name
        for name in nn.__all__
        if inspect.isclass(getattr(nn, name)) and issubclass(getattr(nn, name), nn.Module)
    }
    covered = {name for name, cases in TABLE.items() if cases}
    missing = (found | set(functions_of_f())) - modules.ABSTRACT - covered
    assert not missing, f"tests/nn/saving: cases are required for {sorted(missing)}"


def functions_of_f():
    return [n for n in F.__all__ if inspect.isfunction(getattr(F, n)) and not n.endswith("_")]

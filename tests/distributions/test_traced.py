"""Distributions inside graphs: densities and samples of a saved file are the eager ones."""

from __future__ import annotations

import numpy as np
import pytest

import toolkit as tk
from tests.distributions import test_distributions as rows
from toolkit import distributions, nn
from toolkit.errors import InvalidArgumentError

ort = pytest.importorskip("onnxruntime")
pytest.importorskip("torch")


class Both(nn.Module):
    """The log density of values, and samples, of a distribution made of its arguments."""

    def __init__(self, name, keywords):
        super().__init__()
        self.name, self.keywords = name, keywords

    def forward(self, value, *parameters):
        fixed = len(parameters) - len(self.keywords)
        named = dict(zip(self.keywords, parameters[fixed:], strict=True))
        d = getattr(distributions, self.name)(*parameters[:fixed], **named)
        sample = (d.rsample if d.has_rsample else d.sample)((3,))
        return d.log_prob(value), sample


COUNTS = {"Binomial", "Multinomial", "LKJCholesky"}  # Take numbers of Python.


def run(module, inputs, path):
    """The outputs of a saved file, of our session and onnxruntime's, beside the eager ones."""
    tk.manual_seed(5)
    module.save(path, inputs, dynamic={"value": {0: "batch"}})
    want = [y.detach().numpy() for y in module(*inputs)]
    for session in (tk.runtime.InferenceSession(path), ort.InferenceSession(path)):
        names = [i.name for i in session.get_inputs()]
        feed = dict(zip(names, [x.numpy() for x in inputs], strict=True))
        for x, y in zip(session.run(None, feed), want, strict=True):
            np.testing.assert_allclose(x, y, 2e-5, 2e-5)
        feed["value"] = feed["value"][:2]
        np.testing.assert_allclose(session.run(None, feed)[0], want[0][:2], 2e-5, 2e-5)


@pytest.mark.parametrize("name", [n for n in rows.ROWS if n.split()[0] not in COUNTS])
def test_files_give_the_eager_numbers(name, tmp_path, monkeypatch):
    """In onnxruntime and here: log_prob of parameters that are inputs, samples by the seed."""
    a, _ = rows.ROWS[name]()
    tk.manual_seed(1)
    value = a.sample((5,)).float()
    monkeypatch.setattr(rows, "both", lambda kind, *arrays, dtype=None, **named: (
        kind, [np.asarray(x, np.float32) for x in (*arrays, *named.values())], list(named)
    ))  # fmt: skip
    kind, arrays, keywords = rows.ROWS[name]()
    run(Both(kind, keywords), (value, *map(tk.tensor, arrays)), tmp_path / "d.onnx")


class Counted(Both):
    """With a first argument that is a number."""

    def forward(self, value, parameter):
        d = getattr(distributions, self.name)(self.keywords, parameter)
        return d.log_prob(value), d.sample((3,))


@pytest.mark.parametrize("name", sorted(COUNTS))
def test_files_of_counts(name, tmp_path):
    parameter = tk.tensor([0.2, 0.5, 0.3])
    value = getattr(distributions, name)(3, parameter).sample((4,))
    run(Counted(name, 3), (value, parameter), tmp_path / "d.onnx")


def test_a_count_inside_a_trace_is_refused():
    f = tk.compile(lambda n: distributions.Binomial(n, tk.tensor(0.5)).sample(), fullgraph=True)
    with pytest.raises(InvalidArgumentError, match="Give a number"):
        f(tk.tensor([3.0]))

"""Jacobians, recurrent functions and memory formats in a graph: as eagerly, and in onnxruntime."""

import pytest
from test_tensor_tracing import check

import toolkit as tk

F = tk.autograd.functional
PARAMS = [p.detach() for p in tk.nn.GRU(3, 5, num_layers=2).parameters()]


def cube(x):
    return (x**3).sum(0)


def number(x):
    return (x.sin() * x * x).sum()


CALLS = {
    "vjp": lambda x: F.vjp(lambda z: z.sin() * z, x, x * 2),
    "jvp": lambda x: F.jvp(lambda z: z.sin() * z, x, x * 2),
    "vhp": lambda x: F.vhp(number, x, x * 2)[1],
    "hvp": lambda x: F.hvp(number, x, x * 2)[1],
    "jacobian": lambda x: F.jacobian(lambda w: x @ w.tanh(), tk.ones(4)),
    "hessian": lambda x: F.hessian(lambda w: (x @ w.exp()).sum(), tk.ones(4)),
    "sum_to_size": lambda x: x.sum_to_size(x.shape[0], 1),
    "adjoint": lambda x: x.adjoint(),
    "channels_last": lambda x: x.reshape(-1, 1, 2, 2).to(memory_format=tk.channels_last) * 2,
    "special.softmax": lambda x: tk.special.log_softmax(x, 1),
}


@pytest.mark.parametrize("name", CALLS)
def test_call(name):
    check(CALLS[name], (5, 4))


def test_gru_with_weights_as_arguments():
    def run(x):
        h = tk.zeros(2, x.shape[0], 5)
        return list(tk.gru(x, h, PARAMS, True, 2, 0.0, False, False, True))

    check(run, (4, 6, 3))

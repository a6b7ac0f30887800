"""Hooks after accumulation, inference mode, and small methods of tensors."""

from __future__ import annotations

from typing import Any

from tests.parity.core import ALL, FLOATS, Row, d, rows


def stepped(m: Any, x: Any) -> Any:
    """An optimizer step in a hook, as fused optimizers do."""
    p = x.detach().clone().requires_grad_()
    seen: list[Any] = []

    def hook(q: Any) -> None:
        seen.append([q.grad.clone(), m.is_grad_enabled(), q is p])
        q.add_(q.grad, alpha=-0.1)
        q.grad = None

    handle = p.register_post_accumulate_grad_hook(hook)
    (p * p).sum().backward()
    (p * p).sum().backward()
    handle.remove()
    (p * 3).sum().backward()
    return [seen, p.detach(), p.grad]


def modes(m: Any, x: Any) -> Any:
    seen = [m.is_inference_mode_enabled()]
    with m.inference_mode():
        seen += [m.is_inference_mode_enabled(), m.is_grad_enabled(), (x * 2).requires_grad]
        with m.inference_mode(False):
            seen += [m.is_inference_mode_enabled(), m.is_grad_enabled()]
    with m.no_grad():
        seen.append(m.is_inference_mode_enabled())

    @m.inference_mode()
    def called() -> Any:
        return m.is_inference_mode_enabled()

    @m.inference_mode
    def plain() -> Any:
        return m.is_inference_mode_enabled(), m.is_grad_enabled()

    return [*seen, called(), plain(), m.is_inference_mode_enabled(), m.is_grad_enabled()]


def batch_norms(m: Any, x: Any) -> Any:
    net = m.nn.Sequential(m.nn.BatchNorm1d(4), m.nn.InstanceNorm1d(4, track_running_stats=True))
    made = m.func.replace_all_batch_norm_modules_(net)
    return [made is net, [(b.running_mean is None, b.track_running_stats) for b in net],
            sorted(net.state_dict()), net.eval()[0](x)]  # fmt: skip


def transferred(m: Any, x: Any) -> Any:
    P = m.nn.utils.parametrize

    class Double(m.nn.Module):  # type: ignore[misc]
        def forward(self, w: Any) -> Any:
            return w * 2

    a, b, c = m.nn.Linear(4, 4), m.nn.Linear(4, 4), m.nn.Module()
    a.weight.data.copy_(x.detach()[:4])
    P.register_parametrization(a, "weight", Double())
    made = P.transfer_parametrizations_and_params(a, b)
    P.transfer_parametrizations_and_params(a, c, "weight")
    same = P.transfer_parametrizations_and_params(m.nn.Linear(2, 2), b) is b
    return [made is b, same, b.weight, c.parametrizations.weight.original.shape == (4, 4),
            sorted(b.state_dict()), b.parametrizations.weight.original is a.parametrizations.weight.original]  # fmt: skip


def packed(m: Any, x: Any) -> Any:
    R = m.nn.utils.rnn
    parts = [x[:2], x[:5], x[:1]]
    return R.unpack_sequence(R.pack_sequence(parts, enforce_sorted=False))


ROWS: list[Row] = [
    *rows("hooks", {"post accumulate": stepped, "modes": modes, "batch norms": batch_norms,
                    "transfer_parametrizations_and_params": transferred,
                    "unpack_sequence": packed}, d(6, 4)),
    *rows("hooks refuse", {
        "post accumulate of no leaf": lambda m, x: (x * 2).register_post_accumulate_grad_hook(print),
        "post accumulate without grad": lambda m, x: x.detach().register_post_accumulate_grad_hook(print),
    }, d(2), error=True),
    *rows("Tensor.sum_to_size", {
        "ones": lambda m, x: x.sum_to_size(1, 3, 1), "tuple": lambda m, x: x.sum_to_size((3, 1)),
        "all": lambda m, x: x.sum_to_size(()), "itself": lambda m, x: x.sum_to_size(2, 3, 4),
        "lead": lambda m, x: x.sum_to_size(3, 4), "adjoint": lambda m, x: x.adjoint(),
        "torch.adjoint": lambda m, x: m.adjoint(x), "mH": lambda m, x: x.mH,
    }, d(2, 3, 4), dtypes=(*FLOATS, "int64")),
    *rows("Tensor.sum_to_size refuses", {
        "size": lambda m, x: x.sum_to_size(2, 4), "rank": lambda m, x: x.sum_to_size(1, 2, 3),
    }, d(2, 3), error=True),
    *rows("Tensor.to complex", {
        "cfloat": lambda m, x: m.view_as_real(x.cfloat()), "cdouble": lambda m, x: m.view_as_real(x.cdouble()),
        "chalf": lambda m, x: m.view_as_real(x.chalf()), "to": lambda m, x: m.view_as_real(x.to(m.complex64)),
        "adjoint": lambda m, x: [(z := x.reshape(1, 3).cfloat().adjoint()).real, z.imag + 0],
    }, d(3), dtypes=ALL),
    *rows("special", {
        "softmax": lambda m, x: m.special.softmax(x, 1), "softmax dtype": lambda m, x: m.special.softmax(x, 0, dtype=m.float64),
        "log_softmax": lambda m, x: m.special.log_softmax(x, -1),
        "log_softmax dtype": lambda m, x: m.special.log_softmax(x, dim=1, dtype=m.float64),
    }, d(3, 4), dtypes=FLOATS),
]  # fmt: skip

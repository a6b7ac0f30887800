"""Layouts and memory formats, and the options of factories that only say where memory is."""

from __future__ import annotations

from typing import Any

from tests.parity.core import Row, d, rows


def last(m: Any, x: Any) -> Any:
    return x.to(memory_format=m.channels_last)


def facts(m: Any, x: Any) -> Any:
    """What a program can see of a tensor's memory."""
    return [x.stride(), *(x.is_contiguous(memory_format=f) for f in
            (m.contiguous_format, m.channels_last, m.channels_last_3d)), x.is_contiguous(), x]  # fmt: skip


ROWS: list[Row] = [
    *rows("memory_format", {
        "to": lambda m, x: facts(m, last(m, x)),
        "to again": lambda m, x: last(m, last(m, x)).stride(),
        "plain": lambda m, x: facts(m, x),
        "contiguous": lambda m, x: facts(m, x.contiguous(memory_format=m.channels_last)),
        "back": lambda m, x: facts(m, last(m, x).contiguous()),
        "back by format": lambda m, x: facts(m, last(m, x).to(memory_format=m.contiguous_format)),
        "preserve": lambda m, x: facts(m, x.to(memory_format=m.preserve_format)),
        "clone": lambda m, x: facts(m, x.clone(memory_format=m.channels_last)),
        "clone contiguous": lambda m, x: facts(m, last(m, x).clone(memory_format=m.contiguous_format)),
        "with dtype": lambda m, x: facts(m, x.to(m.float64, memory_format=m.channels_last)),
        "double": lambda m, x: facts(m, x.double(memory_format=m.channels_last)),
        "permuted": lambda m, x: facts(m, x.permute(0, 3, 1, 2)),
        "one channel": lambda m, x: facts(m, last(m, x[:, :1])),
        "conv": lambda m, x: m.nn.functional.conv2d(last(m, x), x[:1, :, :2, :2]),
        "in place": lambda m, x: last(m, x.detach()).mul_(2),
        "3d": lambda m, x: facts(m, x.unsqueeze(2).to(memory_format=m.channels_last_3d)),
        "empty_like": lambda m, x: m.empty_like(x.detach(), memory_format=m.channels_last).stride(),
        "zeros_like": lambda m, x: facts(m, m.zeros_like(x, memory_format=m.channels_last)),
        "full_like": lambda m, x: facts(m, m.full_like(x, 2.0, memory_format=m.contiguous_format)),
        "empty": lambda m, x: m.empty(2, 3, 4, 5, memory_format=m.channels_last).stride(),
        "module": lambda m, x: m.nn.Conv2d(3, 2, 1).to(memory_format=m.channels_last)(last(m, x)).shape == (2, 2, 4, 5),
    }, d(2, 3, 4, 5)),
    *rows("memory_format refuses", {
        "rank": lambda m, x: last(m, x[0]),
        "contiguous rank": lambda m, x: x[0].contiguous(memory_format=m.channels_last),
        "3d rank": lambda m, x: x.to(memory_format=m.channels_last_3d),
        "no format": lambda m, x: x.to(memory_format="channels_last"),
        "view": lambda m, x: last(m, x).view(-1),
        "factory option": lambda m, x: m.ones(2, memory="fast"),
    }, d(2, 3, 4, 5), error=True),
    *rows("layout", {
        "of": lambda m, x: x.layout is m.strided,
        "class": lambda m, x: [isinstance(m.strided, m.layout), isinstance(m.channels_last, m.memory_format)],
        "zeros": lambda m, x: m.zeros(2, 3, layout=m.strided, pin_memory=False),
        "full": lambda m, x: m.full((2,), 3.0, layout=m.strided),
        "arange": lambda m, x: m.arange(3, layout=m.strided, pin_memory=False),
        "linspace": lambda m, x: m.linspace(0, 1, 3, layout=m.strided),
        "logspace": lambda m, x: m.logspace(0, 1, 3, requires_grad=True),
        "eye": lambda m, x: m.eye(3, layout=m.strided),
        "rand": lambda m, x: tuple(m.rand(2, layout=m.strided).shape),
        "zeros out": lambda m, x: m.zeros(2, 3, out=m.ones(6)),
        "arange out": lambda m, x: m.arange(3, out=m.ones(3)),
        "eye out": lambda m, x: m.eye(2, out=m.ones(2, 2)),
        "cat out": lambda m, x: m.cat([x.detach(), x.detach()], out=m.empty(0)),
        "stack out": lambda m, x: m.stack([x.detach(), x.detach()], out=m.empty(2, 3)),
    }, d(3)),
]  # fmt: skip

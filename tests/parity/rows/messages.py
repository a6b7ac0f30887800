"""Messages about shapes, which hold PyTorch's words: users search for them."""

from __future__ import annotations

from tests.parity.core import rows

ROWS = rows(
    "shape message",
    {
        "matrices": lambda m: m.ones(2, 3) @ m.ones(4, 5),
        "mm": lambda m: m.mm(m.ones(2, 3), m.ones(4, 5)),
        "addmm": lambda m: m.addmm(m.ones(2, 5), m.ones(2, 3), m.ones(4, 5)),
        "with gradient": lambda m: m.ones(2, 3, requires_grad=True) @ m.ones(4, 5),
        "vector and matrix": lambda m: m.ones(3) @ m.ones(4, 5),
        "matrix and vector": lambda m: m.ones(2, 3) @ m.ones(4),
        "mv": lambda m: m.mv(m.ones(2, 3), m.ones(4)),
        "dot": lambda m: m.dot(m.ones(2), m.ones(3)),
        "batch and matrix": lambda m: m.ones(2, 6, 3) @ m.ones(4, 5),
        "batches": lambda m: m.ones(2, 3, 4) @ m.ones(2, 5, 6),
        "bmm": lambda m: m.bmm(m.ones(2, 3, 4), m.ones(2, 5, 6)),
        "batch sizes": lambda m: m.ones(2, 3, 4) @ m.ones(3, 4, 6),
        "linear": lambda m: m.nn.functional.linear(m.ones(2, 3), m.ones(5, 4)),
        "Linear": lambda m: m.nn.Linear(4, 5)(m.ones(2, 3)),
        "Linear of a batch": lambda m: m.nn.Linear(4, 5)(m.ones(2, 2, 3)),
        "Linear of a vector": lambda m: m.nn.Linear(4, 5)(m.ones(3)),
        "Linear without bias": lambda m: m.nn.Linear(4, 5, bias=False)(m.ones(2, 3)),
        "add": lambda m: m.ones(2, 3) + m.ones(2, 4),
        "add of rows": lambda m: m.ones(3, 2) + m.ones(4, 2),
        "mul of ranks": lambda m: m.ones(2, 3) * m.ones(4),
        "add of nothing": lambda m: m.ones(0, 3) + m.ones(0, 2),
        "sub of integers": lambda m: m.arange(3) - m.arange(4),
        "comparison": lambda m: m.ones(3) == m.ones(4),
        "view": lambda m: m.ones(2, 3).view(5),
        "reshape": lambda m: m.ones(2, 3).reshape(4, -1),
        "two inferred": lambda m: m.ones(2, 3).view(-1, -1),
        "expand": lambda m: m.ones(3).expand(4),
        "cat": lambda m: m.cat([m.ones(2, 3), m.ones(2, 4)]),
        "cat of columns": lambda m: m.cat([m.ones(2, 3), m.ones(2, 1), m.ones(3, 3)], 1),
        "cat of ranks": lambda m: m.cat([m.ones(2, 3), m.ones(3)]),
        "stack": lambda m: m.stack([m.ones(2), m.ones(3)]),
        "cross_entropy": lambda m: m.nn.functional.cross_entropy(
            m.ones(3, 4), m.zeros(2, dtype=m.int64)
        ),
        "cross_entropy of images": lambda m: m.nn.functional.cross_entropy(
            m.ones(3, 4, 5), m.zeros(3, 6, dtype=m.int64)
        ),
        "conv2d of groups": lambda m: m.nn.functional.conv2d(
            m.ones(1, 3, 8, 8), m.ones(4, 2, 3, 3), groups=2
        ),
        "conv2d": lambda m: m.nn.functional.conv2d(m.ones(1, 3, 8, 8), m.ones(4, 2, 3, 3)),
    },
    error=True,
    words=True,
)

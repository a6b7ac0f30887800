"""A long tape as pieces whose structures repeat, so that each structure is compiled once.

Steps of an unrolled loop, time steps, episodes or layers give the same piece, whatever their
number. The cuts depend on the operators of the tape only: equal tapes give equal bits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from toolkit._tensor.tape import Record

LONG = 160  # Records: shorter tapes are compiled whole.
_PIECE = 96  # Records a piece, about.
_REPEATS = 4  # What is seen less often marks no repetition.
Token = tuple[int, int, int]  # An operator and the two before it.


def split(order: Sequence[Record]) -> list[list[Record]]:
    """Consecutive pieces of the records."""
    ops = [id(record.op) for record in order]
    tokens = list(zip([0, 0, *ops], [0, *ops], ops, strict=False))  # Three in a row.
    pieces, start = [], 0
    for size in _packed(_cut(tokens)):
        pieces.append(list(order[start : start + size]))
        start += size
    return pieces


def _cut(tokens: list[Token]) -> list[tuple[Token, ...]]:
    """Cuts before each occurrence of one token; what stays long is cut by another one."""
    done: list[tuple[Token, ...]] = []
    todo = [tokens]
    while todo:
        part = todo.pop()
        counts = Counter(part) if len(part) > _PIECE else {}
        often = [t for t, n in counts.items() if n >= max(_REPEATS, len(part) / _PIECE)]
        if not often:
            done.append(tuple(part))
            continue
        mark = min(often, key=counts.__getitem__)  # Of equal ones the first.
        at = [i for i, t in enumerate(part) if i and t == mark]
        bounds = zip([0, *at], [*at, len(part)], strict=True)
        todo += reversed([part[i:j] for i, j in bounds])
    return done


def _packed(pieces: list[tuple[Token, ...]]) -> list[int]:
    """Sizes where equal short neighbours are joined, by powers of two: few sizes of a group."""
    sizes, i = [], 0
    while i < len(pieces):
        run = 1
        while i + run < len(pieces) and pieces[i + run] == pieces[i]:
            run += 1
        size, i = len(pieces[i]), i + run
        group = 1
        while 2 * group * size <= _PIECE:
            group *= 2
        while run:
            while group > run:
                group //= 2
            sizes.append(group * size)
            run -= group
    return sizes

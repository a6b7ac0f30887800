"""Names that PyTorch removed: they say what to write in their place."""

from __future__ import annotations

from typing import Any

from toolkit.errors import InvalidArgumentError


def _gone(name: str, instead: str) -> Any:
    def removed(*args: Any, **kwargs: Any) -> Any:
        raise InvalidArgumentError(
            f"{name}: This function was deprecated since version 1.9 and is now removed. {instead}"
        )

    removed.__name__ = removed.__qualname__ = name
    removed.__doc__ = f"Removed. {instead}"
    return removed


REMOVED = {
    "symeig": _gone("symeig", "Use linalg.eigvalsh(A) or linalg.eigh(A), which read the lower "
                    "triangle unless UPLO='U'."),
    "eig": _gone("eig", "Use linalg.eig, or linalg.eigh for symmetric matrices."),
    "lstsq": _gone("lstsq", "Use linalg.lstsq(A, B): its arguments come in the other order, and it "
                   "gives no QR factors."),
    "solve": _gone("solve", "Use linalg.solve(A, B): its arguments come in the other order, and it "
                   "gives no LU factors (those are linalg.lu_factor's)."),
    "matrix_rank": _gone("matrix_rank", "Use linalg.matrix_rank, where 'symmetric' is called "
                         "'hermitian'."),
}  # fmt: skip

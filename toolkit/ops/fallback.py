"""Operators without a kernel, run by the functions that define them: inlined and lowered once for
each signature of inputs.
"""

from __future__ import annotations

from typing import Any

from toolkit.errors import UnsupportedOperatorError


class FallbackOp:
    """Stands where a kernel would; called in the same way."""

    def __init__(self, domain: str, op_type: str, attributes: dict[str, Any]) -> None:
        self.domain, self.op_type, self.attributes = domain, op_type, attributes
        self._programs: dict[Any, Any] = {}

    def __call__(self, *inputs: Any) -> Any:
        return self.run(inputs, 1)[0]

    def run(self, inputs: Any, num_outputs: int) -> list[Any]:
        """All outputs."""
        key = (num_outputs, *(None if t is None else (t.dtype, t.shape) for t in inputs))
        program = self._programs.get(key)
        if program is None:
            program = self._programs[key] = self._compile(inputs, num_outputs)
        return program.run([t for t in inputs if t is not None])  # type: ignore[no-any-return]

    def _compile(self, inputs: Any, num_outputs: int) -> Any:
        raise UnsupportedOperatorError(
            f"{self.op_type}: no CPU kernel for this operator of domain '{self.domain}'."
        )

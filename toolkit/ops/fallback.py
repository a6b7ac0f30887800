"""Operators without a kernel, run by the functions that define them.

The function is inlined and lowered once for each signature of inputs; the elementwise ones of
toolkit.special once for each rank.
"""

from __future__ import annotations

from typing import Any

_MAX_PROGRAMS = 64


class FallbackOp:
    """Stands where a kernel would; with the same two methods."""

    def __init__(self, domain: str, op_type: str, attributes: dict[str, Any]) -> None:
        self.domain, self.op_type, self.attributes = domain, op_type, attributes
        self._programs: dict[Any, Any] = {}
        self._elementwise = domain == "toolkit.special"

    def call(self, *inputs: Any) -> Any:
        """The first output."""
        return self.run(inputs, 1)[0]

    def run(self, inputs: Any, num_outputs: int) -> tuple[Any, ...]:
        """All outputs.

        Raises:
            UnsupportedOperatorError: no function defines the operator.
        """
        sizes = "ndim" if self._elementwise else "shape"
        key = (num_outputs, *(t if t is None else (t.dtype, getattr(t, sizes)) for t in inputs))
        program = self._programs.get(key)
        if program is None:
            if len(self._programs) >= _MAX_PROGRAMS:
                self._programs.clear()
            program = self._programs[key] = self._compile(inputs, num_outputs)
        return tuple(program.run([t for t in inputs if t is not None]))

    def _compile(self, inputs: Any, num_outputs: int) -> Any:
        from toolkit.graph.trace import Recorder
        from toolkit.runtime.lowering import lower

        recorder = Recorder(self.op_type)
        values = []
        for i, t in enumerate(inputs):
            shape = None if t is None else [None] * t.ndim if self._elementwise else t.shape
            values.append(None if t is None else recorder.input(f"x{i}", t.dtype, shape))
        outputs = recorder.add(self.op_type, self.domain, values, self.attributes, num_outputs)
        return lower(inputs=[v for v in values if v is not None], outputs=list(outputs))

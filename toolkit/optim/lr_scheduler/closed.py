"""The base of schedules whose rates are functions of the epoch, written as nodes of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from toolkit.optim.lr_scheduler.base import LRScheduler

if TYPE_CHECKING:
    import onnx_ir as ir

    from toolkit.graph.build import Builder


class ClosedForm(LRScheduler):
    """A schedule that defines `emit`."""

    @property
    def is_closed_form(self) -> bool:
        """Whether `emit` can write the rates as functions of the epoch."""
        return True

    def _scaled(self, b: Builder, factor: ir.Value, group: int) -> ir.Value:
        rate: ir.Value = b.Mul(factor, self.base_lrs[group])
        return rate

"""Anomaly detection: each record of the tape knows the user's line that made it.

A backward pass then runs record by record, and what fails in it names that line.
"""

from __future__ import annotations

import warnings
from typing import Any

from toolkit._tensor.tape import MODE, Record
from toolkit.source_lines import at


class detect_anomaly:
    """Inside, a backward pass that makes NaN is an error that names the forward line.

    Args:
        check_nan: look for NaN; else errors get the forward line only.
    """

    def __init__(self, check_nan: bool = True) -> None:
        self.prev = (MODE.anomaly, MODE.check_nan)
        self.check_nan = check_nan
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        MODE.anomaly, MODE.check_nan = True, self.check_nan

    def __exit__(self, *exc: Any) -> None:
        MODE.anomaly, MODE.check_nan = self.prev


class set_detect_anomaly:
    """Turns it on or off at once; as a `with` block, until its end.

    Args:
        mode: on or off.
        check_nan: look for NaN; else errors get the forward line only.
    """

    def __init__(self, mode: bool, check_nan: bool = True) -> None:
        self.prev = (MODE.anomaly, MODE.check_nan)
        MODE.anomaly, MODE.check_nan = mode, check_nan

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: Any) -> None:
        MODE.anomaly, MODE.check_nan = self.prev


def is_anomaly_enabled() -> bool:
    """Whether anomalies are looked for."""
    return MODE.anomaly


def is_anomaly_check_nan_enabled() -> bool:
    """Whether NaN in a backward pass is an anomaly."""
    return MODE.check_nan


def set_anomaly_enabled(enabled: bool, check_nan: bool = True) -> None:
    """Turns it on or off."""
    MODE.anomaly, MODE.check_nan = enabled, check_nan


def made_at(record: Record) -> str:
    """What an error's text ends with: the line that made the record, if that is known."""
    line = getattr(record, "line", None)
    return at(line) if line is not None else " (made while anomaly detection was off)"


def explain(error: Exception, record: Record) -> None:
    """Notes in an error which record's gradient it came from."""
    error.add_note(f"in the gradient of {record.name()}, of the forward pass{made_at(record)}")


def check(record: Record, grads: list[tuple[Any, Any]]) -> None:
    """Looks at the gradients that a record's inputs got.

    Raises:
        RuntimeError: one has NaN.
    """
    for (node, slot), grad in grads:
        if bool(grad.detach().isnan().any()):
            i = list(zip(record.nodes, record.slots, strict=True)).index((node, slot))
            raise RuntimeError(
                f"Function '{record.name()}' returned nan values in its {i}th output."
                f"{made_at(record)}"
            )

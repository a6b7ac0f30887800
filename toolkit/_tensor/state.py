"""What each thread carries while it computes: the gradient mode and the trace that records."""

from __future__ import annotations

import threading
from typing import Any


class State(threading.local):
    """Per-thread modes; class attributes are a new thread's defaults."""

    autocast: Any = None  # The `Casting` of the autocast around, see `_tensor.autocast`.
    autocast_cache: Any = None
    autocast_caches: bool = True
    autocast_code: int = 16  # bfloat16, where none is given.
    grad: bool = True
    inference: bool = False  # Inside `inference_mode`.
    journal: Any = None  # Written tensors whose values are put back; see `inplace.journal`.
    trace: Any = None  # A toolkit.tracing.Trace, or None: eager.


STATE = State()

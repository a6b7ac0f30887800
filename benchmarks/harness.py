"""The clock of all benchmarks: sides in turns, medians, ratios. `toolkit bench` has the same."""

from toolkit.runtime.measure.timing import Comparison, compare, header, settle, timed

__all__ = ["Comparison", "compare", "header", "settle", "timed"]

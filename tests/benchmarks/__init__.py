"""Tests of what the benchmarks run, not of how fast it is."""

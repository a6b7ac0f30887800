"""Tests of toolkit; `tests.opinfo` is the operator table."""

"""Tests known to fail, each with its reason: conftest.py expects them to. Empty is the goal."""

KNOWN: dict[str, str] = {}

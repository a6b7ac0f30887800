"""Tests of toolkit.autodiff."""

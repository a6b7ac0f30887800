"""Kernels and the runtime."""

"""Kernels of other instruction sets, run in a process of their own."""

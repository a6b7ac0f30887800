"""Compiled functions and control flow."""

"""Modules under the names that clients import from `onnxruntime.capi`."""

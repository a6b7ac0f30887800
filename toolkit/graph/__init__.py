"""ONNX graphs: build, load, save, infer, transform."""

"""What `toolkit.graph.infer` knows of shapes beyond ONNX's own inference."""

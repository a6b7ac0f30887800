"""What `save` writes, run in onnxruntime at sizes other than the traced ones."""

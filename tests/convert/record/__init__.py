"""What onnxruntime-training 1.19.2 made for the tests, and how."""

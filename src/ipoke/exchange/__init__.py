"""Models from and for other programs: released checkpoints, ONNX."""

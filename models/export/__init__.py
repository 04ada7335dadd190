"""A trained member for other programs: ONNX, plain weights."""

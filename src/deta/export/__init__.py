"""Detectors as files that run without deta: ONNX and exported programs of PyTorch."""

"""Trained models as files for other programs: ONNX, safetensors, a model card."""

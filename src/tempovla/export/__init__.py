"""Policies as single files that run without this package: ONNX, torch.export and TorchScript."""

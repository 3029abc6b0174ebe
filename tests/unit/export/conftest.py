"""Files that several tests look at, exported once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.export.bundles import save, traced_once

from tempovla.export.exporter import ExportConfig, Exported, export_checkpoint


@pytest.fixture(scope="session")
def flow_checkpoint(tmp_path_factory) -> Path:
    """A VLA with flow matching."""
    return save(tmp_path_factory.mktemp("checkpoints"), "flow_matching")


@pytest.fixture(scope="session")
def flow_onnx(tmp_path_factory, flow_checkpoint) -> Exported:
    """It as ONNX."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    with traced_once("flow_matching"):
        return export_checkpoint(flow_checkpoint, tmp_path_factory.mktemp("onnx") / "flow.onnx")


@pytest.fixture(scope="session")
def flow_script(tmp_path_factory, flow_checkpoint) -> Exported:
    """It as TorchScript, which takes less time to make."""
    return export_checkpoint(flow_checkpoint, tmp_path_factory.mktemp("script"), ExportConfig("torchscript"))

"""Files that several tests look at, exported once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.unit.export.bundles import save

from tempovla.export.exporter import ExportConfig, Exported, export_checkpoint


@pytest.fixture(scope="session")
def flow_checkpoint(tmp_path_factory) -> Path:
    """A VLA with flow matching."""
    return save(tmp_path_factory.mktemp("checkpoints"), "flow_matching")


@pytest.fixture(scope="session")
def flow_script(tmp_path_factory, flow_checkpoint) -> Exported:
    """It as TorchScript."""
    return export_checkpoint(flow_checkpoint, tmp_path_factory.mktemp("script"), ExportConfig("torchscript"))

"""`tempovla export`."""

from __future__ import annotations

import json
import sys

import pytest
from tests.unit.export.bundles import save

from tempovla.storage.extras import install_command


@pytest.fixture
def checkpoint(tmp_path):
    return save(tmp_path, "mlp")


def test_it_writes_the_file_and_says_what_it_takes_and_how_far_it_is_off(tmp_path, tempovla, checkpoint):
    out = tmp_path / "policy.pt"
    command = ["export", "--checkpoint", checkpoint, "--format", "torchscript", "--out", out]
    answer = tempovla(*command)
    assert answer.code == 0, answer.err
    assert "input  observation.images.front (batch, 3, 21, 27) uint8" in answer.out
    assert "output action (batch, 5, 4) float32" in answer.out
    assert [line.split()[0] for line in answer.out.splitlines() if "normalised action from PyTorch" in line] == [
        "1",
        "2",
        "5",
    ]
    answer = tempovla(*command, "--image-size", "front=48x32,wrist=16", "--json")
    said = json.loads(answer.out)
    assert said["file"] == str(out)
    assert said["bytes"] == out.stat().st_size
    assert said["difference"]["largest"] <= said["difference"]["tolerance"] == 1e-4
    inputs = json.loads((tmp_path / "policy.pt.json").read_text())["inputs"]
    assert [spec["shape"] for spec in inputs[:2]] == [["batch", 3, 48, 32], ["batch", 3, 16, 16]]


def test_mistakes_are_named_in_one_line(tmp_path, fails, checkpoint):
    export = ["export", "--checkpoint", checkpoint, "--out", tmp_path / "policy.pt", "--format"]
    assert "torchscrip" in fails(*export, "torchscrip")
    assert "image_size 'big' is not readable" in fails(*export, "torchscript", "--image_size", "big")
    assert fails(*export, "torchscript", "--tolerance", "0") == "tolerance=0.0 must be above 0"
    assert "does not end in .onnx" in fails(*export, "onnx")
    assert "no such file; give the folder that training saved" in fails(
        "export", "--checkpoint", tmp_path, "--out", "x"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mlp"]


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "onnxruntime"])
def test_without_the_extra_it_says_how_to_install_it(tmp_path, fails, checkpoint, monkeypatch, missing):
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if name != missing:
            pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, missing, None)
    said = fails("export", "--checkpoint", checkpoint, "--out", tmp_path / "policy.onnx")
    assert said == f"{missing} is not installed; install it with `{install_command('export')}`"
    assert not (tmp_path / "policy.onnx").exists()

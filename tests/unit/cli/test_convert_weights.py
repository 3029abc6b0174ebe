"""`tempovla convert weights`."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file


def test_weights_are_converted_and_mistakes_told_in_one_line(tmp_path, tempovla, fails):
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    answer = tempovla("convert", "weights", tmp_path)
    assert (answer.code, answer.out) == (0, f"{tmp_path}: wrote model.safetensors\n")
    assert load_file(tmp_path / "model.safetensors")["a"].tolist() == [1.0, 1.0]
    assert "model.safetensors: is there already" in fails("convert", "weights", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "model.safetensors").symlink_to("victim")  # to a place where nothing is yet
    assert "model.safetensors: is there already" in fails("convert", "weights", tmp_path)
    (tmp_path / "model.safetensors").unlink()
    answer = tempovla("convert", "weights", tmp_path, "--json")
    assert json.loads(answer.out) == {"files": [str(tmp_path / "model.safetensors")]}
    assert "no such folder" in fails("convert", "weights", tmp_path / "absent")

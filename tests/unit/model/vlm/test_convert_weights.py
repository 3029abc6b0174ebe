"""Pickles of weights become safetensors, bit for bit; what is no weights is refused, and nothing half-done stays."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tempovla.model.vlm.convert_weights import convert_weights, read_pickle
from tempovla.timeline.model_folder import safetensors_of

A, B = torch.arange(6.0).reshape(2, 3), torch.tensor([1.5, -2.0], dtype=torch.bfloat16)


def pickled(folder: Path, **files: object) -> Path:
    for name, content in files.items():
        torch.save(content, folder / f"{name}.bin")
    return folder


def sharded(folder: Path) -> Path:
    pickled(folder, one={"a": A}, two={"b": B, "c": A.T})
    weight_map = {"a": "one.bin", "b": "two.bin", "c": "two.bin"}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return folder


def refusal(folder: Path) -> str:
    before = sorted(folder.iterdir()) if folder.exists() else []
    with pytest.raises(ValueError, match="; ") as caught:
        convert_weights(folder)
    assert "\n" not in str(caught.value)
    assert before == (sorted(folder.iterdir()) if folder.exists() else [])
    return str(caught.value)


def test_weights_come_out_bit_for_bit_also_tied_turned_and_old_ones(tmp_path):
    tied = nn.Parameter(A)
    weights = {"embedding": tied, "head": tied, "turned": A.T, "half": A[1], "b": B}
    torch.save({"state_dict": weights}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert convert_weights(tmp_path) == [tmp_path / "model.safetensors"]
    found = load_file(tmp_path / "model.safetensors")
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert torch.equal(found[name], value)
        assert found[name].dtype == value.dtype


def test_parts_stay_parts_with_an_index(tmp_path):
    written = convert_weights(sharded(tmp_path))
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert [path.name for path in written] == names
    assert safetensors_of(tmp_path, "model") == {"a": names[0], "b": names[1], "c": names[1]}
    assert torch.equal(load_file(tmp_path / names[1])["c"], A.T)
    assert json.loads((tmp_path / names[2]).read_text())["metadata"] == {"total_size": 24 + 4 + 24}


def test_code_in_a_pickle_is_not_run(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps({"a": Bomb(tmp_path / "exploded")}))
    assert "pytorch_model.bin: not readable as weights alone (" in refusal(tmp_path)
    assert not (tmp_path / "exploded").exists()


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_what_is_missing_damaged_or_no_weights_is_named(tmp_path):
    assert "no such folder; give the folder of a transformers model" in refusal(tmp_path / "absent")
    assert "holds neither pytorch_model.bin nor pytorch_model.bin.index.json" in refusal(tmp_path)
    pickled(tmp_path, pytorch_model={"a": A, "step": 3})
    assert "'step' is of type int, not a weight; give a file of weights alone" in refusal(tmp_path)
    pickled(tmp_path, pytorch_model=[A])
    assert "holds a list, not weights by name; give the model's own file" in refusal(tmp_path)
    whole = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(whole[: len(whole) // 2])
    assert "not readable as weights alone" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    assert "run `git lfs pull`" in refusal(tmp_path)
    (tmp_path / "pytorch_model.bin").unlink()
    sharded(tmp_path)
    pickled(tmp_path, two={"b": B})
    assert "two.bin: holds no weight 'c', but pytorch_model.bin.index.json says so" in refusal(tmp_path)
    (tmp_path / "two.bin").unlink()
    assert "two.bin: no such file, but pytorch_model.bin.index.json names it" in refusal(tmp_path)


def test_safetensors_are_not_written_over(tmp_path):
    pickled(tmp_path, pytorch_model={"a": A})
    convert_weights(tmp_path)
    assert "model.safetensors: is there already, and needs no conversion; remove it to convert again" in refusal(
        tmp_path
    )


def test_an_index_that_names_no_files_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": {"b": []}}}))
    assert refusal(tmp_path).endswith("pytorch_model.bin.index.json: has no weight_map; copy the model again")


def test_a_pickle_with_any_bit_flipped_is_read_or_refused_in_one_line(tmp_path):
    path = tmp_path / "pytorch_model.bin"
    torch.save({"first": torch.ones(2), "second": torch.ones(2)}, path)
    whole = path.read_bytes()
    start = whole.index(b"ctorch._utils")
    refused = 0
    for place in range(start, start + 200):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            read_pickle(path)
        except ValueError as error:
            refused += 1
            said = str(error)
            assert (said.startswith(f"{path}: "), said.count("\n")) == (True, 0)
    assert refused > 100


@pytest.mark.parametrize("name", ["../secret.bin", "/etc/passwd"])
def test_an_index_that_names_a_file_elsewhere_is_refused_before_it_is_read(tmp_path, name):
    torch.save({"a": A}, tmp_path / "secret.bin")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    assert f"pytorch_model.bin.index.json: weight_map '{name}'" in refusal(folder)

"""Tensors out of files."""

from __future__ import annotations

import os
import struct

import pytest
import torch
from safetensors.torch import save_file

from tempovla.timeline.tensors import MOST_LEARNED, check_learned, read_tensors


def test_tensors_come_back(tmp_path):
    save_file({"a": torch.arange(3)}, tmp_path / "a.safetensors")
    assert read_tensors(tmp_path / "a.safetensors", remedy="copy it")["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("size", [100_000_001, 2**40, 2**63])
def test_a_header_larger_than_the_file_is_refused_before_memory_is_taken(tmp_path, size):
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + b"{}")
    with pytest.raises(ValueError, match=r"a\.safetensors: not readable \(.*[Hh]eader.*\); copy it$"):
        read_tensors(path, remedy="copy it")


def test_overlapping_tensors_are_refused(tmp_path):
    entry = '{"dtype":"U8","shape":[4],"data_offsets":[0,4]}'
    header = f'{{"a":{entry},"b":{entry}}}'.encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(ValueError, match=r"a\.safetensors: not readable \(.*\); copy it$"):
        read_tensors(path, remedy="copy it")


def test_a_pipe_and_a_folder_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="pipe: is a named pipe, not a file; copy it"):
        read_tensors(tmp_path / "pipe", remedy="copy it")
    with pytest.raises(ValueError, match="is a folder, not a file; copy it"):
        read_tensors(tmp_path, remedy="copy it")


@pytest.mark.parametrize("number", [1e18, -1e18, float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_weights_that_no_training_gives_are_named(number, dtype):
    sound = {"a": torch.full((3,), MOST_LEARNED / 2), "steps": torch.tensor(1 << 60), "empty": torch.zeros(0)}
    check_learned(sound, "run")
    with pytest.raises(
        ValueError, match=r"^run: weight 'b' holds -?(1e\+18|nan|inf), which no training produces; copy"
    ):
        check_learned(sound | {"b": torch.tensor([0.0, number], dtype=dtype)}, "run")

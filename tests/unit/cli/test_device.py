"""`--device`, which means the same in every command that trains or runs a policy."""

from __future__ import annotations

import pytest
import torch

from tempovla.cli.main import commands
from tempovla.timeline.device import choose_device
from tempovla.training import distributed
from tempovla.training.result import FitResult

WITH_DEVICE = [
    name for name in commands() if name.split()[0] in ("train", "diagnose", "eval", "export") and name != "eval compare"
]


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.mark.parametrize("name", WITH_DEVICE)
def test_it_is_cpu_or_cuda(fails, name):
    assert fails(*name.split(), "--device", "tpu").startswith('"device": expected cpu or cuda or null, got value: tpu;')


def test_cuda_is_refused_in_one_line_where_there_is_none(tmp_path, fails, tempovla, dataset, small_statevla):
    assert tempovla("train", "statevla", *small_statevla, "--device", "cpu", "--out", tmp_path / "run").code == 0
    checkpoint = tmp_path / "run" / "phase2_flow_matching" / "checkpoint_latest"
    refusal = "device cuda: torch sees no CUDA device on this machine; leave it out, or give cpu"
    cuda = ("--device", "cuda")
    assert fails("train", "statevla", *small_statevla, "--out", tmp_path / "other", *cuda) == refusal
    assert not (tmp_path / "other").exists()
    assert fails("eval", "offline", "--checkpoint", checkpoint, *cuda) == refusal
    assert fails("diagnose", "memory", "--checkpoint", checkpoint, "--dataset", dataset, *cuda) == refusal
    assert fails("export", "--checkpoint", checkpoint, "--out", tmp_path / "p.onnx", *cuda) == refusal
    assert tempovla("eval", "offline", "--checkpoint", checkpoint, "--split", "all", "--device", "cpu").code == 0


def test_training_runs_where_it_is_told(tmp_path, tempovla, monkeypatch):
    """The cpu though there is a CUDA device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    seen = []

    def train(recipe, out_dir, resume=None):
        with distributed.process_group() as device:
            seen.append((device.type, choose_device()))
        return FitResult(1, {}, tmp_path, None, 0.0)

    monkeypatch.setattr("tempovla.recipe.systems.vla.train_vla", train)
    assert tempovla("train", "vla", "--device", "cpu", "--out", tmp_path / "run").code == 0
    assert seen == [("cpu", "cpu")]
    assert choose_device() == "cuda"

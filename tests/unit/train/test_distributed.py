"""Two processes under torchrun learn what one does with the whole batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.unit.train.session import PAIR_STEPS, train
from tests.unit.train.test_interrupt import ROOT, wait_for_step

from tempovla.train.checkpoint import Checkpoint
from tempovla.train.metrics import read_metrics

SESSION = Path(__file__).with_name("session.py")


def torchrun(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(SESSION)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> Path:
    """Runs of two processes, with 3 and 2 rows a batch and unequally many valid entries."""
    folder = tmp_path_factory.mktemp("pair")
    process = torchrun(folder)
    _, errors = process.communicate(timeout=180)
    assert process.returncode == 0, errors
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("run", "accumulation"), [("plain", 1), ("accumulated", 2)])
def test_two_processes_have_the_losses_and_gradients_of_one(pair, tmp_path, run, accumulation):
    train(tmp_path, PAIR_STEPS, dropout=0.0, accumulation=accumulation)
    alone, together = read_metrics(tmp_path), read_metrics(pair / run)
    assert [line["train_step"] for line in together] == list(range(1, PAIR_STEPS + 1))
    for one, two in zip(alone, together, strict=True):
        losses = [name for name in one if name not in ("phase", "samples_per_s", "cpu_s")]
        assert {"total", "action", "code_variance", "grad_norm"} < set(losses)
        assert [two[name] for name in losses] == pytest.approx([one[name] for name in losses], rel=1e-4)
    one, two = (Checkpoint.load(folder / "checkpoint_latest") for folder in (tmp_path, pair / run))
    for name, value in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], value, rtol=1e-3, atol=1e-5, msg=name)


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit(pair):
    whole, resumed = (Checkpoint.load(pair / run / "checkpoint_latest") for run in ("plain", "resumed"))
    assert resumed.record["train_step"] == PAIR_STEPS
    assert all(torch.equal(resumed.tensors[name], value) for name, value in whole.tensors.items())


@pytest.mark.slow
def test_ctrl_c_under_torchrun_saves_one_checkpoint(tmp_path):
    process = torchrun(tmp_path, 100_000)
    wait_for_step(tmp_path, 5)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=180)
    saved = Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"]
    assert saved == read_metrics(tmp_path)[-1]["train_step"]


GROUP = """
import pathlib
import torch
from torch.nn.parallel import DistributedDataParallel
from tempovla.train import distributed

def train():
    model = DistributedDataParallel(torch.nn.Linear(2, 2))
    model(torch.ones(1, 2)).sum().backward()
    distributed.average(torch.ones(1))
    distributed.wait_for_all()

with distributed.process_group("cpu"):
    train()
threads = [path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")]
assert "pt_gloo_runloop" not in threads, threads
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's list of threads")
def test_no_thread_outlives_the_group_and_aborts_the_process_at_its_end(tmp_path):
    script = tmp_path / "group.py"
    script.write_text(GROUP)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1", str(script)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(launch, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr

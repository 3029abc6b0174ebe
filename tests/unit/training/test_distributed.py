"""Two processes under torchrun learn what one does with the whole batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.processes import ROOT, Nursery
from tests.rounding import tolerance
from tests.toy import LinearPolicy, toy_batch
from tests.training_steps import wait_for_step
from tests.unit.training.session import CLIP, PAIR_STEPS, PARALLEL, PartlyIdlePolicy, train, train_idle

from tempovla.objective import Objective
from tempovla.timeline import Bundle
from tempovla.training.checkpoint import Checkpoint, CheckpointFolder
from tempovla.training.metrics import read_metrics

SESSION = Path(__file__).with_name("session.py")


def torchrun(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(SESSION)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*command, *map(str, arguments)], env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True
    )


@pytest.fixture(scope="module")
def pair(tmp_path_factory, nursery) -> Path:
    """Runs of two processes, with 3 and 2 rows a batch and unequally many valid entries."""
    folder = tmp_path_factory.mktemp("pair")
    nursery.run(2, "tests.unit.training.session:train_pair", folder)
    return folder


def test_of_processes_that_find_their_folder_held_one_says_so_and_all_end(tmp_path: Path, nursery: Nursery) -> None:
    folder = CheckpointFolder(tmp_path)
    folder.hold()
    nursery.start(2, "tests.unit.training.session:train_held", tmp_path)
    codes, said = nursery.wait()
    folder.release()
    assert 2 in codes
    assert set(codes) <= {2, -signal.SIGTERM, -signal.SIGKILL}  # whoever started them ends the rest
    assert said.count(f"process {os.getpid()} trains") == 1
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def assert_same_figures(alone: Path, together: Path, rel: float) -> list[dict[str, Any]]:
    """All losses and gradient norms of two runs are equal but for rounding; the lines of the second."""
    one, two = read_metrics(alone), read_metrics(together)
    assert [line["train_step"] for line in two] == list(range(1, PAIR_STEPS + 1))
    for left, right in zip(one, two, strict=True):
        losses = [name for name in left if name not in ("phase", "samples_per_s", "cpu_s")]
        assert {"total", "action", "code_variance", "grad_norm"} < set(losses)
        assert [right[name] for name in losses] == pytest.approx([left[name] for name in losses], rel=rel)
    return two


def assert_same_tensors(alone: Path, together: Path, **tolerance: float) -> None:
    """Weights, their average and the optimiser's state are equal."""
    one, two = (Checkpoint.load(folder / "checkpoint_latest").tensors for folder in (alone, together))
    torch.testing.assert_close(dict(two), dict(one), **tolerance)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "accumulation"), [("plain", 1), ("accumulated", 2)])
def test_two_processes_have_the_losses_and_gradients_of_one(pair, tmp_path, run, accumulation):
    train(tmp_path, PAIR_STEPS, policy=LinearPolicy(), accumulation=accumulation)
    assert_same_figures(tmp_path, pair / run, rel=tolerance())
    assert_same_tensors(tmp_path, pair / run, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", PARALLEL)
@pytest.mark.parametrize("accumulation", [1, 2])
def test_frozen_and_idle_parts_and_an_active_clip_change_nothing_of_that(pair, tmp_path, parallel, accumulation):
    train_idle(tmp_path, accumulation)
    lines = assert_same_figures(tmp_path, pair / f"{parallel}_{accumulation}", rel=tolerance())
    assert [line["train_step"] for line in lines if "val_total" in line] == [3, 6, 9, 12]
    assert sum(line["grad_norm"] > CLIP for line in lines) > PAIR_STEPS / 2
    assert_same_tensors(tmp_path, pair / f"{parallel}_{accumulation}", rtol=1e-4, atol=1e-5)
    weights = Bundle.load(pair / f"{parallel}_{accumulation}/checkpoint_latest").weights
    start = PartlyIdlePolicy().state_dict()
    still = {name for name, value in start.items() if torch.equal(value, weights[name])}
    assert still == {name for name in start if "idle" in name or "frozen" in name}


@pytest.mark.slow
def test_sharded_each_process_holds_half_of_the_weights(pair):
    whole = sum(weight.numel() for weight in PartlyIdlePolicy().parameters())
    ddp, fsdp = ([json.loads((pair / f"{kind}_1/share_{i}.json").read_text()) for i in (0, 1)] for kind in PARALLEL)
    assert ddp == [whole, whole]
    assert sum(fsdp) == whole
    assert max(fsdp) < 0.55 * whole


@pytest.mark.slow
def test_what_a_sharded_run_saves_is_a_bundle_like_any_other(pair):
    """Its policy gives the validation loss that the run had with its averaged weights in shards."""
    policy = PartlyIdlePolicy().eval()
    policy.load_state_dict(dict(Bundle.load(pair / "fsdp_1/checkpoint_latest").weights))
    terms = [policy(toy_batch(torch.arange(*rows))) for rows in ((100, 108), (108, 111))]
    losses = [Objective()(each).terms["action"].item() for each in terms]
    (line,) = (line for line in read_metrics(pair / "fsdp_1") if line["train_step"] == PAIR_STEPS)
    assert line["val_action"] == pytest.approx((8 * losses[0] + 3 * losses[1]) / 11, rel=tolerance())


@pytest.mark.slow
def test_sharded_or_not_two_processes_go_on_from_each_others_checkpoints(pair):
    whole, resumed = (Checkpoint.load(pair / run / "checkpoint_latest").tensors for run in ("fsdp_1", "fsdp_then_fsdp"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert_same_tensors(pair / "ddp_1", pair / "ddp_then_fsdp", rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_two_processes_resume_bit_for_bit(pair):
    whole, resumed = (Checkpoint.load(pair / run / "checkpoint_latest") for run in ("plain", "resumed"))
    assert resumed.record["train_step"] == PAIR_STEPS
    assert all(torch.equal(resumed.tensors[name], value) for name, value in whole.tensors.items())


@pytest.mark.slow
def test_ctrl_c_under_torchrun_saves_one_checkpoint_of_all_shards(tmp_path):
    process = torchrun(tmp_path, 100_000)
    wait_for_step(tmp_path, 5)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=600)
    saved = Checkpoint.load(tmp_path / "checkpoint_latest").record["train_step"]
    assert saved == read_metrics(tmp_path)[-1]["train_step"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's list of threads")
def test_no_thread_outlives_the_group_and_aborts_the_process_at_its_end(nursery):
    nursery.run(1, "tests.unit.training.session:be_a_group_of_one")

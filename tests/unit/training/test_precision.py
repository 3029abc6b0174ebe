"""`auto` is bfloat16 where the device has instructions for it; a resumed run keeps what it began with."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.toy import LinearPolicy, ToyStream

from tempovla.timeline import Bundle
from tempovla.training import precision
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig
from tempovla.training.fit import fit
from tempovla.training.precision import autocast_dtype, computes_bfloat16, settle_precision
from tempovla.training.result import FitResult

CPU = torch.device("cpu")
AUTO = TrainConfig(
    train_steps=4, precision="auto", save_interval=0, save_interval_steps=2, keep_every=2, log_interval=1, num_threads=1
)
AVX2 = {"architecture": "x86_64", "avx2": True, "avx512_f": False, "avx512_bf16": False, "amx_bf16": False}


@pytest.fixture
def machine(monkeypatch):
    """Make this machine one that has, or lacks, bfloat16 instructions."""

    def pretend(native: bool) -> None:
        monkeypatch.setattr(precision, "computes_bfloat16", lambda device: native)

    return pretend


def run(run_dir: Path, config: TrainConfig = AUTO, resume: Path | None = None) -> FitResult:
    policy = LinearPolicy()
    return fit(policy, ToyStream(), config, run_dir, bundle=policy.bundle, resume=resume)


def halfway(run_dir: Path) -> Path:
    return run_dir / "checkpoints/step_00000002"


def assert_same_weights(one: FitResult, two: FitResult) -> None:
    for name in ("weights.safetensors", "training.safetensors"):
        assert (one.checkpoint / name).read_bytes() == (two.checkpoint / name).read_bytes()


@pytest.mark.parametrize(
    ("capabilities", "native"),
    [
        (AVX2, False),
        (AVX2 | {"avx512_f": True, "avx512_vnni": True}, False),  # oneDNN would widen to float32 and back
        (AVX2 | {"avx512_f": True, "avx512_bf16": True}, True),
        (AVX2 | {"amx_bf16": True}, True),
        ({"architecture": "arm64", "neon": True, "bf16": False}, False),
        ({"architecture": "arm64", "neon": True, "bf16": True}, True),
        ({}, False),
    ],
)
def test_a_cpu_computes_bfloat16_where_it_has_instructions_for_it(monkeypatch, capabilities, native):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert computes_bfloat16(CPU, capabilities) is native


def test_without_the_kernels_instructions_are_of_no_use(monkeypatch):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert not computes_bfloat16(CPU, {"amx_bf16": True})


def test_torch_knows_the_capabilities_that_are_asked_for():
    known = torch.cpu.get_capabilities()
    asked = {"x86_64": {"amx_bf16", "avx512_bf16"}, "arm64": {"bf16"}, "aarch64": {"bf16"}}
    assert asked.get(known["architecture"], set()) <= set(known)


def test_of_other_devices_nothing_is_assumed():
    assert not computes_bfloat16(torch.device("meta"))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_computes_bfloat16_from_ampere_on():
    device = torch.device("cuda", 0)
    assert computes_bfloat16(device) is (torch.cuda.get_device_capability(device) >= (8, 0))


def test_what_is_asked_for_by_name_is_left_as_it_is(machine):
    for native in (False, True):
        machine(native)
        for name in ("float32", "bfloat16"):
            config = replace(AUTO, precision=name)
            assert settle_precision(config, CPU, "nowhere") is config


@pytest.mark.parametrize(
    ("native", "settled", "dtype", "reason"),
    [(True, "bfloat16", torch.bfloat16, "has"), (False, "float32", None, "lacks")],
)
def test_auto_is_settled_once_and_logged(machine, caplog, native, settled, dtype, reason):
    caplog.set_level(logging.INFO, "tempovla")
    machine(native)
    config = settle_precision(AUTO, CPU)
    assert config == replace(AUTO, precision=settled)
    assert settle_precision(config, CPU) is config
    assert autocast_dtype(config) == dtype
    assert caplog.messages == [f"training.precision=auto: {settled}, as cpu {reason} bfloat16 instructions"]


@pytest.mark.parametrize(("native", "settled"), [(True, "bfloat16"), (False, "float32")])
def test_a_run_on_auto_is_the_run_on_what_it_settles_to_and_says_so(tmp_path, machine, native, settled):
    machine(native)
    auto = run(tmp_path / "auto")
    named = run(tmp_path / "named", replace(AUTO, precision=settled))
    assert_same_weights(auto, named)
    assert auto.metrics == named.metrics
    assert Bundle.load(auto.checkpoint).provenance["precision"] == settled
    assert Checkpoint.read_record(auto.checkpoint)["identity"]["training"]["precision"] == settled


@pytest.mark.parametrize("native", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one_on_any_machine(tmp_path, machine, caplog, native):
    caplog.set_level(logging.INFO, "tempovla.training.precision")
    machine(native)
    whole = run(tmp_path / "whole")
    for there in (native, not native):
        machine(there)
        caplog.clear()
        resumed = run(tmp_path / f"resumed_{there}", resume=halfway(tmp_path / "whole"))
        assert_same_weights(resumed, whole)
        (said,) = [record for record in caplog.records if record.name == "tempovla.training.precision"]
        assert said.levelname == ("INFO" if there is native else "WARNING")
        assert ("began on another kind of device" in said.getMessage()) is (there is not native)


def test_a_run_in_bfloat16_by_name_goes_on_under_auto_and_not_in_float32(tmp_path, machine):
    machine(False)
    whole = run(tmp_path / "whole", replace(AUTO, precision="bfloat16"))
    assert_same_weights(run(tmp_path / "resumed", resume=halfway(tmp_path / "whole")), whole)
    with pytest.raises(ValueError, match=r"training.precision was 'bfloat16', and is 'float32' now"):
        run(tmp_path / "other", replace(AUTO, precision="float32"), halfway(tmp_path / "whole"))


def test_a_folder_that_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"nowhere/trainer.json: no such file; resume from another checkpoint"):
        run(tmp_path / "run", resume=tmp_path / "nowhere")


def test_a_checkpoint_without_a_settled_precision_is_refused(tmp_path, machine):
    machine(False)
    run(tmp_path / "run")
    path = halfway(tmp_path / "run") / "trainer.json"
    record = json.loads(path.read_text())
    record["identity"]["training"]["precision"] = "float16"
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match=r"training.precision='float16' is unknown; choose float32, bfloat16 or auto"):
        run(tmp_path / "again", resume=path.parent)

"""The number format of a run: chosen once at its start, and kept when it is resumed."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch

from tempovla.training import distributed
from tempovla.training.checkpoint import Checkpoint
from tempovla.training.config import TrainConfig

LOGGER = logging.getLogger(__name__)

BFLOAT16_INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "bf16")
"""CPU capabilities of which one is enough, as `torch.cpu.get_capabilities` calls them; the last is ARM's."""


def computes_bfloat16(device: torch.device, capabilities: Mapping[str, Any] | None = None) -> bool:
    """Return whether a device has instructions to multiply matrices in bfloat16. Without them bfloat16 is slower than
    float32.

    On a CPU two things must be there: the instructions, and oneDNN, which has the kernels that use them. That oneDNN
    can compute in bfloat16 is not enough: it also does with AVX-512 alone, by widening to float32 and back.

    Args:
        device: CUDA or a CPU; for other devices the answer is no.
        capabilities: of the CPU; None queries torch.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    known = torch.cpu.get_capabilities() if capabilities is None else capabilities
    return any(known.get(name, False) for name in BFLOAT16_INSTRUCTIONS)


def settle_precision(config: TrainConfig, device: torch.device, resume: str | Path | None = None) -> TrainConfig:
    """Return the settings with `float32` or `bfloat16` for `auto`; all processes of a run get the same.

    A resumed run goes on with the precision that it began with, whatever the machine: both compute everywhere, if not
    equally fast, and a run that changed would no longer be one.

    Args:
        config: how to train.
        device: where this process computes.
        resume: checkpoint to go on from.

    Raises:
        ValueError: if the checkpoint cannot be read.
    """
    if config.precision != "auto":
        return config
    native = _all_compute_bfloat16(device)
    fast: Literal["float32", "bfloat16"] = "bfloat16" if native else "float32"
    if resume is None:
        LOGGER.info(
            "training.precision=auto: %s, as %s %s bfloat16 instructions",
            fast,
            device.type,
            "has" if native else "lacks",
        )
        return replace(config, precision=fast)
    begun = Checkpoint.read_record(resume)["identity"]["training"]["precision"]
    if begun == fast:
        LOGGER.info("training.precision=auto: %s, as the run began", begun)
    else:
        LOGGER.warning(
            "training.precision=auto: %s, as the run began on another kind of device; a run that begins on this one "
            "would compute in %s, which is faster here",
            *(begun, fast),
        )
    return replace(config, precision=begun)


def autocast_dtype(config: TrainConfig) -> torch.dtype | None:
    """Return the number format of autocast; None for no autocast.

    Raises:
        AssertionError: if the precision is not settled yet.
    """
    assert config.precision != "auto", "settle_precision comes first"
    return torch.bfloat16 if config.precision == "bfloat16" else None


def _all_compute_bfloat16(device: torch.device) -> bool:
    native = torch.tensor(float(computes_bfloat16(device)), device=device)
    return distributed.average(native).item() == 1.0

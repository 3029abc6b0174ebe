"""Several processes under torchrun: set-up, roles, and the agreement between them."""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
import torch.distributed.nn  # its defaults keep the group that exists when it is first imported: none, here
from torch import Tensor

from tempovla.timeline.device import choose_device

USERS_ERROR = 2
"""Exit code of a process that a user's error ended."""
_SESSIONS = itertools.count()


def is_distributed() -> bool:
    """Return whether several processes train together."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if is_distributed() else 0


def world_size() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if is_distributed() else 1


@contextmanager
def process_group(device: str | None = None) -> Iterator[torch.device]:
    """Join the processes that torchrun started, yield the device of this one, and leave the group at the end.

    Args:
        device: `cpu` or `cuda`; see `choose_device`. CUDA talks through nccl, the CPU through gloo.

    Raises:
        ValueError: if `device` is CUDA and there is none.
    """
    kind = choose_device(device)
    local = torch.device(kind, int(os.environ.get("LOCAL_RANK", "0"))) if kind == "cuda" else torch.device(kind)
    if local.type == "cuda":
        torch.cuda.set_device(local)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield local
        return
    store, number, count = next(dist.rendezvous("env://"))
    store = dist.PrefixStore(f"session_{next(_SESSIONS)}", store)  # else a second group meets the first one's addresses
    backend = "nccl" if local.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=number, world_size=count)
    try:
        yield local
    finally:
        dist.destroy_process_group()


def add_up(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes.

    A thread of gloo lets go of the tensor later than the sum is there, and needs the interpreter for it: were that at
    its end, the process would abort. So this waits until it has, or for a second.
    """
    if is_distributed():
        references = sys.getrefcount(values)
        dist.all_reduce(values)
        latest_s = time.monotonic() + 1.0
        while values.device.type == "cpu" and sys.getrefcount(values) > references and time.monotonic() < latest_s:
            time.sleep(0)
    return values


def average(values: Tensor) -> Tensor:
    """Return the mean of a tensor over the processes."""
    if is_distributed():
        add_up(values)
        values /= world_size()
    return values


@contextmanager
def ends_for_all() -> Iterator[None]:
    """In the first process: do something while the others are in `follow_first`, which end where it fails."""
    try:
        yield
    except (ValueError, OSError):
        _tell(failed=True)
        raise
    _tell(failed=False)


def follow_first() -> None:
    """In another process: return once the first one is through its `ends_for_all`.

    Raises:
        SystemExit: with the exit code of a user's error, if the first process failed; it alone writes the reason.
    """
    if _tell(failed=False):
        raise SystemExit(USERS_ERROR)


def _tell(*, failed: bool) -> bool:
    """Whether the first process failed."""
    told = [failed]
    if is_distributed():
        dist.broadcast_object_list(told, src=0)
    return told[0]


def wait_for_all() -> None:
    """Return once every process has come here."""
    if is_distributed():
        dist.barrier()

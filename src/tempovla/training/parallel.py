"""Several processes train one policy: each holds all of it (DDP), or its share of every weight (FSDP2).

FSDP2 is `torch.distributed.fsdp.fully_shard`, after ZeRO's third stage (Rajbhandari et al., 2020, arXiv:1910.02054):
every process keeps a part of each weight, of its gradient and of the optimiser's moments. The whole weights of a unit
are put together just before it is run, and dropped right after.
"""

from __future__ import annotations

import functools
import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from tempovla.objective import LossReport
from tempovla.timeline import ShardedPolicy
from tempovla.training import distributed
from tempovla.training.backward import LossGraph
from tempovla.training.config import TrainConfig

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

LOGGER = logging.getLogger(__name__)


def parallel(graph: LossGraph, config: TrainConfig) -> nn.Module:
    """Return the module to train instead of `graph`: with several processes, the graph in DDP, or itself sharded.

    All processes begin with the weights of the first.

    Raises:
        ValueError: if the policy cannot be sharded.
    """
    if not distributed.is_distributed():
        if config.parallel == "fsdp":
            LOGGER.info("training.parallel=fsdp: one process holds everything; start several with torchrun")
        return graph
    if config.parallel == "fsdp":
        shard(graph)
        return graph
    # A policy may leave parameters out of a step's loss, just as in a single process.
    return DistributedDataParallel(graph, find_unused_parameters=True, gradient_as_bucket_view=True)


def shard(graph: LossGraph) -> None:
    """Leave every process with its share of the policy's parameters, in place (they become `DTensor`s).

    What a unit does not hold stays together as one more unit, the root. Weights of every unit, the root included, are
    dropped after its forward pass and gathered again for the backward pass, so that between steps there are shards
    alone: what the optimiser, averages and `after_step` work on.

    Raises:
        ValueError: if a parameter is a scalar, two units share one, or those of a unit that learn differ in dtype.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    units = _units(graph)
    _check(graph, units)
    marked = {name: vars(parameter) for name, parameter in graph.named_parameters()}
    for parameter in graph.parameters():
        parameter.data = parameter.data.contiguous()  # convolutions may be held channels-last
    for tensor in (*graph.parameters(), *graph.buffers()):
        dist.broadcast(tensor.detach(), src=0)
    mesh = init_device_mesh(next(graph.parameters()).device.type, (distributed.world_size(),))
    for module in (*units, graph):
        fully_shard(module, mesh=mesh, reshard_after_forward=True)
    for name, parameter in graph.named_parameters():
        vars(parameter).update(marked[name])
    register_fsdp_forward_method(graph, "terms")
    graph.keep_casts = False
    _let_torch_look_into_reports()
    share = sum(local(parameter).numel() for parameter in graph.parameters())
    whole = sum(parameter.numel() for parameter in graph.parameters())
    LOGGER.info("FSDP: %d units; this process holds %d of %d weights", len(units) + 1, share, whole)


def is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    """Return whether this process has but its share of a tensor.

    The module of these takes a second to import, so it is looked up, not imported: where nothing was sharded, it need
    not be there.
    """
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(tensor: Tensor) -> Tensor:
    """Return the share of a sharded tensor that is held here; any other tensor as it is."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def scattered(whole: Tensor, like: Tensor) -> Tensor:
    """Return a whole tensor, which every process has, sharded as another one is; no communication."""
    if not is_sharded(like):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return whole tensors in the main process, those that were sharded in the CPU's memory; without these in the
    others.

    All processes must call it, as they exchange their shards.
    """
    is_main, found = distributed.rank() == 0, {}
    for name, tensor in tensors.items():
        if is_sharded(tensor):
            whole = tensor.full_tensor()
            if is_main:
                found[name] = whole.detach().cpu()
        else:
            found[name] = tensor
    return found


def _units(graph: LossGraph) -> list[nn.Module]:
    """Innermost first, as `fully_shard` wants them."""
    policy = graph.policy
    if not isinstance(policy, ShardedPolicy):
        LOGGER.warning(
            "FSDP: %s has no shard_units(), so its weights are put together all at once in each pass",
            type(policy).__name__,
        )
        return []
    chosen = {id(module) for module in policy.shard_units()}
    found = [module for module in policy.modules() if id(module) in chosen and any(True for _ in module.parameters())]
    return found[::-1]


def _check(graph: LossGraph, units: Sequence[nn.Module]) -> None:
    owner: dict[int, nn.Module] = {}
    for unit in (*units, graph):
        own = [parameter for parameter in unit.parameters() if owner.setdefault(id(parameter), unit) is unit]
        dtypes = {parameter.dtype for parameter in own if parameter.requires_grad}
        if len(dtypes) > 1:
            raise ValueError(
                f"training.parallel=fsdp: weights of {sorted(map(str, dtypes))} of several types learn in "
                f"{type(unit).__name__}; give them one dtype (model.vlm.language.dtype=float32), or use ddp"
            )
    inside = {id(module): unit for unit in reversed(units) for module in unit.modules()}
    users: dict[int, nn.Module] = {}
    for name, parameter in graph.policy.named_parameters(remove_duplicate=False):
        if parameter.dim() == 0:
            raise ValueError(
                f"training.parallel=fsdp: weight {name!r} is a scalar, which cannot be sharded; give it shape (1,), or "
                "use ddp"
            )
        user = inside.get(id(graph.policy.get_submodule(name.rpartition(".")[0])), graph)
        if users.setdefault(id(parameter), user) is not user:
            raise ValueError(
                f"training.parallel=fsdp: weight {name!r} is shared between units of the policy; leave these out of "
                "its shard_units(), or use ddp"
            )


@functools.cache
def _let_torch_look_into_reports() -> None:
    """FSDP hangs its hooks on the tensors that a call returns; before torch 2.13 it finds those of known classes."""
    torch.export.register_dataclass(LossReport)

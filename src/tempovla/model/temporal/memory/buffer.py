"""Key-value memory with content addressing, after the Neural Turing Machine (Graves et al., 2014, section 3.3).

A free slot is found by usage as in the Differentiable Neural Computer (Graves et al., 2016, dynamic memory allocation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.layers.dtype import sums_dtype
from tempovla.model.layers.row_state import RowState, choose_rows, map_tensors, zero_rows
from tempovla.model.temporal.memory.explicit import ExplicitMemory
from tempovla.model.temporal.memory.slots import SlotAttention, check_slots

SLOTS_AT_ONCE = 16
"""Slots by which a sequence grows the part of the memory that it works on."""


@dataclass(frozen=True)
class MemoryConfig:
    """Sizes of a memory buffer.

    Attributes:
        hidden_dim: features H of contents, queries and reads.
        memory_size: slots N.
        key_dim: features K by which a slot is found.
        value_dim: features V that a slot holds.
        num_heads: heads of the attention that joins what the read heads found; they divide `value_dim`.
        num_read_heads: read heads R, each with its own key and sharpness.
    """

    hidden_dim: int = 512
    memory_size: int = 1000
    key_dim: int = 64
    value_dim: int = 512
    num_heads: int = 8
    num_read_heads: int = 4

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            check_slots(f"MemoryConfig.{name}", value)
        if self.value_dim % self.num_heads:
            raise ValueError(
                f"MemoryConfig.value_dim={self.value_dim} is not divisible by num_heads={self.num_heads}; "
                "choose heads that divide it"
            )


@dataclass(frozen=True)
class BufferState(RowState):
    """All that a memory buffer remembers.

    Attributes:
        keys: (B, N, K).
        values: (B, N, V).
        strength: (B, N) in [0, 1], how much of a slot was ever written; an empty slot has 0, and no read sees it.
        usage: (B, N) in [0, 1], how much a slot is in use; it fades with every write, so old slots are free first.
    """

    keys: Tensor
    values: Tensor
    strength: Tensor
    usage: Tensor

    @property
    def size(self) -> int:
        """Number of slots N."""
        return self.strength.shape[1]

    def first_unused(self) -> int:
        """Return the place from which on all slots are new in all rows. This waits for the device."""
        touched = ((self.strength > 0) | (self.usage > 0)).any(dim=0)
        return int((touched * torch.arange(1, self.size + 1, device=touched.device)).max())

    def resized(self, slots: int) -> BufferState:
        """Return the state with this many slots: the first ones, or all of them followed by empty ones."""
        if slots <= self.size:
            return map_tensors(lambda x: x[:, :slots], self)
        missing = slots - self.size
        return map_tensors(lambda x: torch.cat([x, x.new_zeros(x.shape[0], missing, *x.shape[2:])], dim=1), self)


class _Writes(NamedTuple):
    """What a step writes, or a sequence of steps: gates (write, allocate, free), sharpness of the key, and the rest."""

    gates: Tensor
    sharpness: Tensor
    key: Tensor
    value: Tensor
    erase: Tensor

    def steps(self) -> list[_Writes]:
        """Return the writes of each step of a sequence."""
        return [_Writes(*step) for step in zip(*(x.unbind(1) for x in self), strict=True)]


class MemoryBuffer(ExplicitMemory[BufferState, Tensor]):
    """Slots of a key and a value, written and read by content.

    Addressing: the weight of a slot is its strength times exp(sharpness * cosine of keys), normalised together with a
    learned null, whose key is always there. A write looks for its own key; what falls to the null there ("nothing like
    this is known") goes to free slots, as does a share that a gate chooses. A read head takes its null value for it.

    Allocation: with slots in ascending order of usage u, the j-th gets (1 - u_j) * prod_{i<j} u_i. Before a write all
    usage fades by 1 / N, and a gate frees the least used slot: a full memory overwrites what was written longest ago.

    Writing with weight w, of which a is the allocated part: keys become (1 - w) k + w k', values
    v (1 - a - (w - a) e) + w v' with an erase vector e (an allocated slot is emptied), usage and strength x + w - x w.

    Args:
        config: sizes.
    """

    def __init__(self, config: MemoryConfig) -> None:
        super().__init__(config.hidden_dim)
        self.config = config
        hidden, heads, value = config.hidden_dim, config.num_read_heads, config.value_dim
        self.norm = nn.LayerNorm(hidden)
        self.write_key = nn.Linear(hidden, config.key_dim)
        self.write_value = nn.Linear(hidden, value)
        self.erase = nn.Linear(hidden, value)
        self.gates = nn.Linear(hidden, 4)  # write, allocate, free, sharpness
        self.read_keys = nn.Linear(hidden, heads * config.key_dim)
        self.read_sharpness = nn.Linear(hidden, heads)
        self.null_key = nn.Parameter(torch.randn(config.key_dim))
        self.null_value = nn.Parameter(0.02 * torch.randn(heads, value))
        self.read_query = nn.Linear(hidden, value)
        self.join = SlotAttention(value, config.num_heads)
        self.out = nn.Linear(value, hidden)
        with torch.no_grad():
            self.gates.bias.copy_(torch.tensor([3.0, 3.0, 3.0, 8.0]))
            self.read_sharpness.bias.fill_(8.0)
            self.read_keys.weight[: config.key_dim].copy_(self.write_key.weight)  # one head finds what it is shown
            self.read_keys.bias[: config.key_dim].copy_(self.write_key.bias)

    def initial_state(self, batch: int) -> BufferState:
        """The state of `batch` rows that have seen nothing."""
        size, new = self.config.memory_size, self.null_key.new_zeros
        return BufferState(
            new(batch, size, self.config.key_dim),
            new(batch, size, self.config.value_dim),
            new(batch, size),
            new(batch, size),
        )

    def _write(self, state: BufferState, content: Tensor, valid: Tensor) -> BufferState:
        writes = self._writes(content)
        return self._put(state, writes, self._address(state, writes.key[:, None], writes.sharpness), valid)

    def _writes(self, content: Tensor) -> _Writes:
        """Return what contents (..., H) write."""
        x = self.norm(content)
        gates = self.gates(x)
        return _Writes(
            gates[..., :3].sigmoid(),
            1 + F.softplus(gates[..., 3:]),
            self.write_key(x),
            self.write_value(x),
            self.erase(x).sigmoid(),
        )

    def _put(self, state: BufferState, writes: _Writes, address: tuple[Tensor, Tensor], valid: Tensor) -> BufferState:
        """Return the state after a step's writes, whose keys are found at `address` (B, 1, N) and (B, 1)."""
        write, allocate, free = writes.gates.split(1, dim=1)
        write = zero_rows(write, ~valid)  # nothing is written, to the bit
        alike, unknown = address
        usage = free_least_used(state.usage * (1 - 1 / self.config.memory_size), free)
        usage = choose_rows(valid, usage, state.usage)
        allocated = write * (allocate + (1 - allocate) * unknown) * allocation(usage)
        found = write * (1 - allocate) * alike[:, 0]
        weight = allocated + found
        kept = torch.baddbmm(1 - allocated[..., None], found[..., None], writes.erase[:, None], alpha=-1)
        return BufferState(
            torch.baddbmm(state.keys * (1 - weight[..., None]), weight[..., None], writes.key[:, None]),
            torch.baddbmm(state.values * kept, weight[..., None], writes.value[:, None]),
            state.strength + weight - state.strength * weight,
            usage + weight - usage * weight,
        )

    def _sequence(self, state: BufferState, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, BufferState]:
        """Compute all projections and the joining of all reads at once; only slots are written and found by steps.

        Slots are taken from the first one on. Slots that no write can have reached yet are all zeros and are left out:
        a write takes the first free slot, and its gradient reaches the one after it.
        """
        steps, size, used = x.shape[1], state.size, state.first_unused()
        asked = self.norm(x)
        writes, (read_keys, read_sharpness) = self._writes(x), self._reads(asked)
        # A step reads from the slots in which the next one looks for its key: both are looked up at once.
        next_key, next_sharpness = (F.pad(part[:, 1:], (0, 0, 0, 1)) for part in (writes.key, writes.sharpness))
        keys = torch.cat([read_keys, next_key[:, :, None]], dim=2).unbind(1)
        sharpness = torch.cat([read_sharpness, next_sharpness], dim=2).unbind(1)
        valid = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        if lengths is not None:
            valid = torch.arange(steps, device=x.device) < lengths[:, None]
        found = []
        for step, write in enumerate(writes.steps()):
            if step % SLOTS_AT_ONCE == 0:
                state = state.resized(min(size, used + step + SLOTS_AT_ONCE + 1))
                address = self._address(state, write.key[:, None], write.sharpness)
            state = self._put(state, write, address, valid[:, step])
            weight, unknown = self._address(state, keys[step], sharpness[step])
            address = weight[:, -1:], unknown[:, -1:]
            found.append(weight[:, :-1] @ state.values + unknown[:, :-1, None] * self.null_value)
        return self._join(asked, torch.stack(found, dim=1)), state.resized(size)

    def _read(self, state: BufferState, query: Tensor) -> Tensor:
        x = self.norm(query)
        keys, sharpness = self._reads(x)
        weight, unknown = self._address(state, keys.flatten(1, 2), sharpness.flatten(1, 2))
        found = weight @ state.values + unknown[..., None] * self.null_value.repeat(query.shape[1], 1)
        return self._join(x, found.unflatten(1, sharpness.shape[1:]))

    def _reads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Keys (B, T, R, K) and sharpness (B, T, R) of the read heads, of normalised queries (B, T, H)."""
        keys = self.read_keys(x).unflatten(2, (self.config.num_read_heads, -1))
        return keys, 1 + F.softplus(self.read_sharpness(x))

    def _join(self, x: Tensor, found: Tensor) -> Tensor:
        """The output (B, T, H) for normalised queries (B, T, H), of what the heads found (B, T, R, V)."""
        values = found.flatten(0, 1)
        seen = torch.ones(values.shape[:2], dtype=torch.bool, device=found.device)
        joined = self.join(self.read_query(x).flatten(0, 1)[:, None], values, seen)
        return self.out(joined[:, 0]).unflatten(0, x.shape[:2])

    def _address(self, state: BufferState, keys: Tensor, sharpness: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (B, M, N) of slots and (B, M) of the null, for keys (B, M, K) and sharpness (B, M)."""
        asked = F.normalize(keys, dim=-1)
        slots = sharpness[..., None] * (asked @ _unit(state.keys).mT)
        null = sharpness * (asked @ F.normalize(self.null_key, dim=0))
        strength = torch.cat([state.strength, torch.ones_like(state.strength[:, :1])], dim=1)[:, None]
        scores = torch.cat([slots, null[..., None]], dim=-1)
        top = scores.masked_fill(strength == 0, -torch.inf).amax(dim=-1, keepdim=True).detach()
        # Bounded, as what has no strength may score above the top.
        weight = strength * (scores - top).clamp(max=0.0).exp()
        weight = weight / weight.sum(dim=-1, keepdim=True)
        return weight[..., :-1], weight[..., -1]


def allocation(usage: Tensor) -> Tensor:
    """Weights (B, N) of free slots, which sum to 1 - prod(usage), for usage (B, N) in [0, 1] (Graves et al., 2016).

    Of equally used slots the first comes first.
    """
    if torch.compiler.is_exporting():  # ONNX has neither a stable sort nor a cumulative product
        place = torch.arange(usage.shape[1], device=usage.device)
        mine, other = usage[:, :, None], usage[:, None]
        comes_before = (other < mine) | ((other == mine) & (place < place[:, None]))
        return (1 - usage) * torch.where(comes_before, other, 1.0).prod(dim=2)
    ordered, order = usage.sort(dim=1, stable=True)
    before = torch.cat([torch.ones_like(ordered[:, :1]), ordered[:, :-1]], dim=1).cumprod(dim=1)
    return ((1 - ordered) * before).gather(1, order.argsort(dim=1))


def free_least_used(usage: Tensor, free: Tensor) -> Tensor:
    """Usage (B, N) with that of the least used slot times 1 - free (B, 1)."""
    least = F.one_hot(usage.argmin(dim=1), usage.shape[1]).bool()
    return torch.where(least, usage * (1 - free), usage)


def _unit(x: Tensor) -> Tensor:
    """Vectors of length 1; zeros stay zeros, with a finite gradient."""
    full = x.to(sums_dtype(x.dtype))  # float16 has no number as small as the one that is added
    squares = full.square().sum(dim=-1, keepdim=True)
    # In a graph that is exported, the optimiser of ONNX takes so small a summand for none.
    squares = squares.clamp(min=1e-12) if torch.compiler.is_exporting() else squares + 1e-12
    return (full / squares.sqrt()).to(x.dtype)

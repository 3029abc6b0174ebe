"""The selective scan of Mamba-1, plain PyTorch with a hand-written backward pass.

The recurrence of Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces" (2023), section 3.2,
for channel e and state dimension n, with the zero-order hold of A and the Euler step of B that the paper uses:

    h_t[n, e] = exp(delta_t[e] * A[e, n]) * h_{t-1}[n, e] + delta_t[e] * u_t[e] * B_t[n]
    y_t[e]    = sum_n C_t[n] * h_t[n, e]

The sequence is walked in short chunks whose work arrays stay in cache. Within a chunk everything but the recurrence
itself is done in bulk. Channels are the innermost axis of every array, so that each operation runs over long contiguous
rows. Only the inputs and the state at the start of each chunk are kept for the backward pass; the rest is recomputed.
Every exponent is a single delta * A <= 0: nothing overflows, and nothing is divided.
"""

import functools
import importlib.util
import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

LOG2_E = math.log2(math.e)
CPU_STATE_SIZE = 2**17
"""Most elements of state that a CPU steps at once: more rows than that run in turns, each within the cache."""


def selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, initial_state: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run the selective state space model over a sequence.

    Computes in float32 whatever the inputs and autocast say (float64 if `delta` is float64). Gradients flow through
    both results and into every input. A sequence may have any length, zero included. On CUDA, and where `mamba-ssm`
    is installed, a float32 scan that starts from no state runs in its kernel.

    Args:
        u: (batch, length, channels) inputs.
        delta: (batch, length, channels) step sizes, >= 0. A zero leaves the state as it is.
        A: (channels, d_state) rates, <= 0.
        B: (batch, length, d_state) input weights.
        C: (batch, length, d_state) output weights.
        initial_state: (batch, d_state, channels) state before the first step; None means zeros.

    Returns:
        Outputs (batch, length, channels) and the state after the last step (batch, d_state, channels).

    Raises:
        RuntimeError: in the backward pass, if a loss depends on the final state of the mamba-ssm kernel, which has no
            gradient for it. Pass an initial state (zeros will do) to stay on the PyTorch path.
    """
    dtype = torch.float64 if delta.dtype == torch.float64 else torch.float32
    u, delta, A, B, C = (x.to(dtype) for x in (u, delta, A, B, C))
    if initial_state is None:
        if _kernel_applies(u):
            return _kernel_scan(u, delta, A, B, C)
        initial_state = u.new_zeros(u.shape[0], A.shape[1], u.shape[2])
    if torch.compiler.is_exporting():
        return _graph_scan(u, delta, A, B, C, initial_state.to(dtype))
    per_row = (u, delta, B, C, initial_state.to(dtype))
    rows = max(CPU_STATE_SIZE // A.numel(), 1) if u.device.type == "cpu" else len(u)
    if len(u) <= rows:
        return _SelectiveScan.apply(*per_row, A)
    groups = zip(*(x.split(rows) for x in per_row), strict=True)
    y, final = zip(*(_SelectiveScan.apply(*group, A) for group in groups), strict=True)
    return torch.cat(y), torch.cat(final)


def _graph_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, initial_state: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence as one loop in a graph that is exported (ONNX's Scan), for inference; any length is one node."""
    from torch._higher_order_ops.scan import scan

    rates = _rates(A)

    def step(state: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        delta_t, drive_t, B_t, C_t = inputs
        decay = torch.exp2(delta_t.unsqueeze(1) * rates)
        state = decay * state + drive_t.unsqueeze(1) * B_t.unsqueeze(2)
        return state, (C_t.unsqueeze(2) * state).sum(1)

    final, y = scan(step, initial_state, tuple(_time_first(x) for x in (delta, delta * u, B, C)), dim=0)
    return y.transpose(0, 1), final


def chunk_length(batch: int) -> int:
    """Steps per chunk: work arrays that fit the cache, but no shorter than makes bulk operations worth their call."""
    return min(max(64 // max(batch, 1), 8), 32)


class _SelectiveScan(torch.autograd.Function):
    """Arrays inside are time-first: (length, batch, ...), states (length, batch, d_state, channels)."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, delta: Tensor, B: Tensor, C: Tensor, initial_state: Tensor, A: Tensor
    ) -> tuple[Tensor, Tensor]:
        batch, length, channels = u.shape
        chunk = chunk_length(batch)
        rates = _rates(A)
        delta_t, B_t, C_t = (_time_first(x) for x in (delta, B, C))
        drive = delta_t * u.transpose(0, 1)
        decay, states = _work_arrays(min(chunk, length), initial_state)
        states[0] = initial_state
        y = u.new_empty(length, batch, channels)
        starts = []
        for first in range(0, length, chunk):
            span = slice(first, first + chunk)
            steps = len(delta_t[span])
            starts.append(states[0].clone())
            _advance(delta_t[span], drive[span], B_t[span], rates, decay[:steps], states[: steps + 1])
            _contract_states(C_t[span], states[1 : steps + 1], y[span])
            states[0] = states[steps]
        ctx.save_for_backward(u, delta, B, C, A, *starts)
        return y.transpose(0, 1), states[0].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_final: Tensor) -> tuple[Tensor, ...]:
        """Walk the chunks backwards: recompute the states of each, then run the adjoint recurrence over them."""
        u, delta, B, C, A, *starts = ctx.saved_tensors
        batch, length, _ = u.shape
        chunk = chunk_length(batch)
        rates, A_rows = _rates(A), A.T.contiguous()
        delta_t, B_t, C_t, grad_y = (_time_first(x) for x in (delta, B, C, grad_y))
        drive = delta_t * u.transpose(0, 1)
        all_decay, all_states = _work_arrays(min(chunk, length), grad_final)
        all_grads = torch.empty_like(all_decay)
        grad_drive, grad_exponent = torch.empty_like(delta_t), torch.empty_like(delta_t)
        grad_B, grad_C = torch.empty_like(B_t), torch.empty_like(C_t)
        carry = grad_final.clone(memory_format=torch.contiguous_format)  # what reaches the state from later steps
        grad_A = torch.zeros_like(carry)
        for index in reversed(range(len(starts))):
            span = slice(index * chunk, (index + 1) * chunk)
            steps = len(delta_t[span])
            decay, states, grads = all_decay[:steps], all_states[: steps + 1], all_grads[:steps]
            states[0] = starts[index]
            _advance(delta_t[span], drive[span], B_t[span], rates, decay, states)
            _contract_channels(grad_y[span], states[1:], grad_C[span])
            torch.mul(grad_y[span].unsqueeze(2), C_t[span].unsqueeze(3), out=grads)
            later = carry
            for grad, decay_step in zip(reversed(grads.unbind()), reversed(decay.unbind()), strict=True):
                grad.add_(later)
                later = decay_step.mul_(grad)
            carry.copy_(later)
            _contract_states(B_t[span], grads, grad_drive[span])
            _contract_channels(drive[span], grads, grad_B[span])
            by_exponent = decay.mul_(states[:-1])  # gradient of delta * A, as decay holds decay * grad by now
            for by_step, delta_step in zip(by_exponent.unbind(), delta_t[span].unsqueeze(2).unbind(), strict=True):
                grad_A.addcmul_(by_step, delta_step)
            torch.sum(by_exponent.mul_(A_rows), dim=2, out=grad_exponent[span])
        grad_delta = grad_exponent.addcmul_(grad_drive, u.transpose(0, 1))
        grad_u = grad_drive.mul_(delta_t)
        per_row = (x.transpose(0, 1) for x in (grad_u, grad_delta, grad_B, grad_C))
        return *per_row, carry, grad_A.sum(0).T


def _advance(delta: Tensor, drive: Tensor, B: Tensor, rates: Tensor, decay: Tensor, states: Tensor) -> None:
    """Fill `decay` and `states[1:]` of one chunk, starting from `states[0]`."""
    torch.mul(delta.unsqueeze(2), rates, out=decay).exp2_()
    torch.mul(drive.unsqueeze(2), B.unsqueeze(3), out=states[1:])
    previous, *rest = states.unbind()
    for decay_step, state in zip(decay.unbind(), rest, strict=True):
        state.addcmul_(decay_step, previous)
        previous = state


def _rates(A: Tensor) -> Tensor:
    """A as (d_state, channels) rows in powers of two: exp2 is several times faster than exp on CPUs."""
    return A.T.contiguous() * LOG2_E


def _time_first(x: Tensor) -> Tensor:
    return x.transpose(0, 1).contiguous()


def _work_arrays(steps: int, state: Tensor) -> tuple[Tensor, Tensor]:
    """Uninitialised decays of `steps` steps and the states before, between and after them."""
    return state.new_empty(steps, *state.shape), state.new_empty(steps + 1, *state.shape)


def _contract_states(weights: Tensor, states: Tensor, out: Tensor) -> None:
    """out[t, b, e] = sum_n weights[t, b, n] * states[t, b, n, e]."""
    torch.bmm(weights.flatten(0, 1).unsqueeze(1), states.flatten(0, 1), out=out.flatten(0, 1).unsqueeze(1))


def _contract_channels(weights: Tensor, states: Tensor, out: Tensor) -> None:
    """out[t, b, n] = sum_e weights[t, b, e] * states[t, b, n, e]."""
    torch.bmm(weights.flatten(0, 1).unsqueeze(1), states.flatten(0, 1).mT, out=out.flatten(0, 1).unsqueeze(1))


@functools.cache
def _kernel_installed() -> bool:
    return importlib.util.find_spec("mamba_ssm") is not None


def _kernel_applies(u: Tensor) -> bool:
    return u.is_cuda and u.dtype == torch.float32 and _kernel_installed()


def _kernel_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, Tensor]:
    """The scan as `mamba-ssm` computes it, from a zero state; its arrays have time last."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    time_last = (x.transpose(1, 2).contiguous() for x in (B, C))
    y, final = selective_scan_fn(u.mT.contiguous(), delta.mT.contiguous(), A, *time_last, return_last_state=True)
    return y.mT, _NoGradient.apply(final.mT)


class _NoGradient(torch.autograd.Function):
    """Identity that refuses a gradient which would otherwise be dropped without a word."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        raise RuntimeError(
            "mamba-ssm gives no gradient for the final state; pass an initial state to use the PyTorch scan instead"
        )

import importlib.util
import sys
import types

import pytest
import torch
from torch.nn import functional as F

from tempovla.model.layers import selective_scan as selective_scan_module
from tempovla.model.layers.selective_scan import chunk_length, selective_scan

NAMES = ("u", "delta", "A", "B", "C", "initial_state")


def make_inputs(batch, length, channels, d_state, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    tensors = (
        normal(batch, length, channels),
        F.softplus(normal(batch, length, channels) - 2),
        -torch.exp(normal(channels, d_state)),
        normal(batch, length, d_state),
        normal(batch, length, d_state),
        normal(batch, d_state, channels),
    )
    return [x.to(dtype).requires_grad_() for x in tensors]


def scan_by_definition(u, delta, A, B, C, state):
    """The recurrence written with plain exp, one step after the other."""
    outputs = []
    for t in range(u.shape[1]):
        decay = torch.exp(delta[:, t, None, :] * A.T)
        state = decay * state + (delta[:, t] * u[:, t])[:, None, :] * B[:, t, :, None]
        outputs.append((C[:, t, :, None] * state).sum(1))
    y = torch.stack(outputs, dim=1) if outputs else torch.zeros_like(u)
    return y, state


def outputs_and_gradients(scan, inputs):
    y, final = scan(*inputs)
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=generator, dtype=torch.float64).to(x.dtype) for x in (y, final)]
    return y, final, torch.autograd.grad((y, final), inputs, weights)


def relative_error(actual, expected):
    return ((actual.double() - expected.double()).norm() / expected.double().norm()).item()


@pytest.mark.parametrize(("batch", "length"), [(2, 1), (1, 32), (1, 33), (3, 50), (9, 8), (9, 23), (70, 9)])
def test_values_and_gradients_are_those_of_the_recurrence_at_any_length(batch, length):
    inputs = make_inputs(batch, length, channels=5, d_state=3)
    y, final, gradients = outputs_and_gradients(selective_scan, inputs)
    y_expected, final_expected, gradients_expected = outputs_and_gradients(scan_by_definition, inputs)
    torch.testing.assert_close(y, y_expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(final, final_expected, rtol=1e-12, atol=1e-12)
    for name, gradient, expected in zip(NAMES, gradients, gradients_expected, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-11, atol=1e-11, msg=lambda m, name=name: f"{name}: {m}")


def test_gradcheck_passes_in_float64_through_outputs_and_final_state():
    assert torch.autograd.gradcheck(selective_scan, make_inputs(2, 11, channels=3, d_state=2))


@pytest.mark.parametrize(("batch", "length"), [(1, 70), (2, 40)])
def test_gradcheck_passes_across_chunk_borders(batch, length):
    inputs = make_inputs(batch, length, channels=2, d_state=2)
    assert length > chunk_length(batch)
    assert torch.autograd.gradcheck(selective_scan, inputs, fast_mode=True)


def test_float32_stays_within_rounding_of_a_float64_loop():
    """Errors relative in the Euclidean norm: 1e-6 for results, 5e-6 for gradients; and in the maximum norm alike."""
    inputs = make_inputs(4, 395, channels=64, d_state=16, dtype=torch.float32)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    y, final, gradients = outputs_and_gradients(selective_scan, inputs)
    y_expected, final_expected, gradients_expected = outputs_and_gradients(scan_by_definition, exact)
    assert y.dtype == final.dtype == torch.float32
    for actual, expected in ((y, y_expected), (final, final_expected)):
        assert relative_error(actual, expected) < 1e-6
        assert (actual - expected).abs().max() < 1e-6 * expected.abs().max()
    for name, actual, expected in zip(NAMES, gradients, gradients_expected, strict=True):
        assert relative_error(actual, expected) < 5e-6, name
        assert (actual - expected).abs().max() < 5e-6 * expected.abs().max(), name


def test_no_steps_give_no_outputs_and_leave_the_state():
    inputs = make_inputs(2, 0, channels=3, d_state=2)
    y, final, gradients = outputs_and_gradients(selective_scan, inputs)
    assert y.shape == (2, 0, 3)
    torch.testing.assert_close(final, inputs[-1])
    assert gradients[-1].abs().sum() > 0
    assert selective_scan(*make_inputs(0, 4, channels=3, d_state=2))[0].shape == (0, 4, 3)


def test_without_initial_state_it_starts_from_zeros():
    *inputs, state = make_inputs(2, 10, channels=3, d_state=2)
    torch.testing.assert_close(selective_scan(*inputs), selective_scan(*inputs, torch.zeros_like(state)))


def test_a_sequence_in_two_parts_equals_the_whole_with_gradients():
    inputs = make_inputs(2, 45, channels=4, d_state=3)

    def in_two_parts(u, delta, A, B, C, state):
        first, state = selective_scan(u[:, :17], delta[:, :17], A, B[:, :17], C[:, :17], state)
        second, state = selective_scan(u[:, 17:], delta[:, 17:], A, B[:, 17:], C[:, 17:], state)
        return torch.cat([first, second], dim=1), state

    y, final, gradients = outputs_and_gradients(in_two_parts, inputs)
    y_whole, final_whole, gradients_whole = outputs_and_gradients(selective_scan, inputs)
    torch.testing.assert_close((y, final), (y_whole, final_whole))
    torch.testing.assert_close(gradients, gradients_whole)


@pytest.mark.parametrize("state_size", [1, 30, 36])
def test_rows_run_in_turns_give_the_same(monkeypatch, state_size):
    inputs = make_inputs(7, 20, channels=4, d_state=3)
    expected = outputs_and_gradients(selective_scan, inputs)
    monkeypatch.setattr(selective_scan_module, "CPU_STATE_SIZE", state_size)
    torch.testing.assert_close(outputs_and_gradients(selective_scan, inputs), expected)


def test_zero_step_size_leaves_the_state():
    u, delta, A, B, C, state = make_inputs(2, 9, channels=4, d_state=3)
    torch.testing.assert_close(selective_scan(u, torch.zeros_like(delta), A, B, C, state)[1], state)


def test_strong_decay_over_a_long_sequence_stays_finite():
    inputs = make_inputs(1, 500, channels=4, d_state=16, dtype=torch.float32)
    with torch.no_grad():
        inputs[1].mul_(100)
        inputs[2].mul_(100)
    y, final, gradients = outputs_and_gradients(selective_scan, inputs)
    assert all(x.isfinite().all() for x in (y, final, *gradients))


def test_inputs_of_any_memory_layout_give_the_same():
    inputs = make_inputs(3, 20, channels=4, d_state=3)
    strided = [x.detach().mT.contiguous().mT.requires_grad_() for x in inputs]
    expected = outputs_and_gradients(selective_scan, inputs)
    torch.testing.assert_close(outputs_and_gradients(selective_scan, strided), expected)


def test_inputs_are_left_as_they_were():
    inputs = make_inputs(1, 40, channels=4, d_state=3)
    before = [x.detach().clone() for x in inputs]
    outputs_and_gradients(selective_scan, inputs)
    torch.testing.assert_close([x.detach() for x in inputs], before, rtol=0, atol=0)


def test_autocast_does_not_lower_the_precision():
    inputs = make_inputs(2, 30, channels=8, d_state=4, dtype=torch.float32)
    expected = outputs_and_gradients(selective_scan, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = outputs_and_gradients(selective_scan, inputs)
    assert actual[0].dtype == actual[1].dtype == torch.float32
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_bfloat16_inputs_are_computed_in_float32():
    inputs = make_inputs(2, 30, channels=8, d_state=4, dtype=torch.bfloat16)
    widened = [x.detach().float() for x in inputs]
    torch.testing.assert_close(selective_scan(*inputs), selective_scan(*widened), rtol=0, atol=0)


def test_autograd_keeps_inputs_and_chunk_starts_only():
    batch, length, channels, d_state = 8, 64, 32, 16
    inputs = make_inputs(batch, length, channels, d_state, dtype=torch.float32)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(x.data_ptr(), x), lambda x: x):
        selective_scan(*inputs)
    starts = length // chunk_length(batch) * batch * channels * d_state
    inputs_size = sum(x.numel() for x in inputs[:-1])
    assert sum(x.numel() for x in kept.values()) == inputs_size + starts


@pytest.mark.parametrize(("batch", "steps"), [(0, 32), (1, 32), (3, 21), (8, 8), (64, 8)])
def test_chunks_shorten_as_the_batch_grows(batch, steps):
    assert chunk_length(batch) == steps


def test_the_mamba_ssm_kernel_is_called_with_time_last(monkeypatch):
    """Against a stand-in with the interface of mamba-ssm 2; the kernel itself needs CUDA."""

    def selective_scan_fn(u, delta, A, B, C, *, return_last_state):
        assert return_last_state
        y, final = scan_by_definition(u.mT, delta.mT, A, B.mT, C.mT, u.new_zeros(len(u), A.shape[1], u.shape[1]))
        return y.mT, final.mT

    stand_in = types.SimpleNamespace(selective_scan_fn=selective_scan_fn)
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", stand_in)
    *inputs, state = make_inputs(2, 12, channels=5, d_state=3)
    expected = selective_scan(*inputs)
    monkeypatch.setattr(selective_scan_module, "_kernel_applies", lambda u: True)
    y, final = selective_scan(*inputs)
    torch.testing.assert_close((y, final), expected)
    gradients = torch.autograd.grad(y.sum(), inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad(expected[0].sum(), inputs))
    with pytest.raises(RuntimeError, match="pass an initial state"):
        final.sum().backward()
    selective_scan(*inputs, torch.zeros_like(state))[1].sum().backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.skipif(importlib.util.find_spec("mamba_ssm") is None, reason="mamba-ssm is not installed")
def test_the_mamba_ssm_kernel_gives_the_same_on_cuda():
    *inputs, state = (x.detach().cuda().requires_grad_() for x in make_inputs(2, 50, 16, 8, dtype=torch.float32))
    y, final = selective_scan(*inputs)
    y_plain, final_plain = selective_scan(*inputs, torch.zeros_like(state))
    torch.testing.assert_close((y, final), (y_plain, final_plain), rtol=1e-4, atol=1e-4)
    gradients = torch.autograd.grad(y.square().sum(), inputs)
    torch.testing.assert_close(gradients, torch.autograd.grad(y_plain.square().sum(), inputs), rtol=1e-3, atol=1e-3)
    with pytest.raises(RuntimeError, match="initial state"):
        final.sum().backward()


class Scanned(torch.nn.Module):
    def forward(self, *inputs):
        return selective_scan(*inputs)


@pytest.mark.parametrize("length", [1, 40])
def test_a_graph_holds_one_loop_whatever_the_length_and_gives_the_same(length):
    inputs = [x.detach() for x in make_inputs(3, length, 6, 4, torch.float32)]
    rows = {0: torch.export.Dim("batch")}
    shapes = {"inputs": tuple(rows if index != NAMES.index("A") else None for index in range(len(inputs)))}
    with torch.no_grad():
        program = torch.export.export(Scanned(), tuple(inputs), dynamic_shapes=shapes, strict=False)
        calls = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
        assert calls.count("scan") == 1
        assert len(program.graph.nodes) < 40
        others = [x.detach() for x in make_inputs(5, length, 6, 4, torch.float32, seed=1)]
        for got, want in zip(program.module()(*others), selective_scan(*others), strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)

"""The selective scan and the Mamba layer around it, side by side with transformers' PyTorch path, forward and backward.

    python benchmarks/selective_scan.py [--json FILE] [--length 395] [--batch 8]

CPU time on one thread, the best of a few runs taken in turns. Retained memory is what autograd keeps between forward
and backward, each storage counted once. Errors are against a float64 loop: relative, in the Euclidean norm.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import transformers
from torch import Tensor
from torch.nn import functional as F
from transformers.models.mamba import modeling_mamba

from tempovla.model.layers.mamba import MambaConfig, MambaMixer
from tempovla.model.layers.selective_scan import selective_scan

NAMES = ("u", "delta", "A", "B", "C")
Run = Callable[[], tuple[Tensor, ...]]


def scan_inputs(batch: int, length: int, channels: int, d_state: int) -> list[Tensor]:
    inputs = (
        torch.randn(batch, length, channels),
        F.softplus(torch.randn(batch, length, channels) - 3),
        -torch.arange(1.0, d_state + 1).repeat(channels, 1),
        torch.randn(batch, length, d_state),
        torch.randn(batch, length, d_state),
    )
    return [x.requires_grad_() for x in inputs]


def transformers_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return modeling_mamba.mamba_selective_scan(u.mT, delta.mT, A, B.mT, C.mT).mT


def float64_loop(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    steps = zip(*(x.unbind(1) for x in (u, delta, B, C)), strict=True)
    state = u.new_zeros(u.shape[0], u.shape[2], A.shape[1])
    outputs = []
    for u_t, delta_t, B_t, C_t in steps:
        state = torch.exp(delta_t.unsqueeze(2) * A) * state + (delta_t * u_t).unsqueeze(2) * B_t.unsqueeze(1)
        outputs.append((state @ C_t.unsqueeze(2)).squeeze(2))
    return torch.stack(outputs, dim=1)


def layers(batch: int, length: int, d_model: int, d_state: int) -> tuple[torch.nn.Module, torch.nn.Module, Tensor]:
    """Our layer, transformers' with the same weights, and an input."""
    config = transformers.MambaConfig(hidden_size=d_model, state_size=d_state, num_hidden_layers=1)
    theirs = modeling_mamba.MambaMixer(config, layer_idx=0).train()
    ours = MambaMixer(MambaConfig(d_model=d_model, d_state=d_state))
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs, torch.randn(batch, length, d_model, requires_grad=True)


def forward_and_backward(function: Callable[..., Tensor], variables: list[Tensor], weight: Tensor) -> Run:
    def run() -> tuple[Tensor, ...]:
        y = function()
        return y.detach(), *torch.autograd.grad(y, variables, weight.to(y.dtype))

    return run


def cpu_seconds(run: Run) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def retained_bytes(function: Callable[[], Tensor]) -> int:
    storages = {}

    def keep(x: Tensor) -> Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        y = function()  # alive until counted, so that no address is used twice
    assert y.requires_grad
    return sum(storages.values())


def compare(
    ours: Callable[[], Tensor], theirs: Callable[[], Tensor], variables: tuple[list[Tensor], list[Tensor]], runs: int
) -> dict:
    """CPU seconds and retained bytes of both, and the ratios."""
    with torch.no_grad():
        weight = torch.randn_like(ours())
        difference = relative_error(ours(), theirs())
    run_ours = forward_and_backward(ours, variables[0], weight)
    run_theirs = forward_and_backward(theirs, variables[1], weight)
    cpu_seconds(run_ours)
    seconds_ours, seconds_theirs = [], []
    for _ in range(runs):
        seconds_ours += [cpu_seconds(run_ours) for _ in range(3)]
        seconds_theirs.append(cpu_seconds(run_theirs))
    bytes_ours, bytes_theirs = retained_bytes(ours), retained_bytes(theirs)
    return {
        "cpu_seconds": min(seconds_ours),
        "transformers_cpu_seconds": min(seconds_theirs),
        "times_faster": min(seconds_theirs) / min(seconds_ours),
        "retained_mib": bytes_ours / 2**20,
        "transformers_retained_mib": bytes_theirs / 2**20,
        "retained_share": bytes_ours / bytes_theirs,
        "outputs_differ_by": difference,
    }


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return ((actual - expected).double().norm() / expected.double().norm()).item()


def errors(inputs: list[Tensor]) -> dict[str, float]:
    """Of the float32 scan against the loop in float64: outputs, then gradients by name."""
    exact = [x.detach().double().requires_grad_() for x in inputs]
    weight = torch.randn_like(inputs[0])
    actual = forward_and_backward(lambda: selective_scan(*inputs)[0], inputs, weight)()
    expected = forward_and_backward(lambda: float64_loop(*exact), exact, weight)()
    names = ("y", *(f"grad_{name}" for name in NAMES))
    return {name: relative_error(a, b) for name, a, b in zip(names, actual, expected, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=395)
    parser.add_argument("--d-model", type=int, default=256, help="the scan runs over twice as many channels")
    parser.add_argument("--d-state", type=int, default=16)
    parser.add_argument("--runs", type=int, default=2, help="of transformers; three of ours to each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)

    inputs = scan_inputs(args.batch, args.length, 2 * args.d_model, args.d_state)
    ours, theirs, x = layers(args.batch, args.length, args.d_model, args.d_state)
    report = {
        "machine": f"{platform.processor() or platform.machine()}, {cpu_model()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__}
        | {"transformers": transformers.__version__},
        "shape": {"batch": args.batch, "length": args.length, "channels": 2 * args.d_model, "d_state": args.d_state},
        "scan": compare(
            lambda: selective_scan(*inputs)[0], lambda: transformers_scan(*inputs), (inputs, inputs), args.runs
        ),
        "layer": compare(
            lambda: ours(x)[0],
            lambda: theirs(x),
            ([x, *ours.parameters()], [x, *theirs.parameters()]),
            args.runs,
        ),
        "scan_error": errors(inputs),
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")
    print_report(report)


def cpu_model() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def print_report(report: dict) -> None:
    print(report["machine"])
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    print(", ".join(f"{name} {size}" for name, size in report["shape"].items()))
    print(f"{'forward + backward':22}{'CPU s':>10}{'kept MiB':>10}")
    for part in ("scan", "layer"):
        row = report[part]
        for name, prefix in (("transformers", "transformers_"), ("tempovla", "")):
            seconds, kept = row[f"{prefix}cpu_seconds"], row[f"{prefix}retained_mib"]
            print(f"{part + ', ' + name:22}{seconds:10.3f}{kept:10.1f}")
        ratios = f"{row['times_faster']:9.1f}x{row['retained_share']:10.1%}"
        print(f"{'':22}{ratios}   outputs differ by {row['outputs_differ_by']:.1e}")
    print("float32 scan against a float64 loop: " + ", ".join(f"{k} {v:.1e}" for k, v in report["scan_error"].items()))


if __name__ == "__main__":
    main()

"""What one more step costs once a stream is long: every temporal core, and running the newest steps again.

    python benchmarks/streaming.py [--hidden-dim 256] [--batch 1] [--rounds 60] [--json FILE]

Each core first streams `history` steps and is then timed on single steps. The unit is CPU time on one thread;
histories and cores take turns, and medians are reported. "recompute" runs the transformer over the whole window of the
newest steps for every step, as a buffer of frames in front of an encoder does.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from tempovla.model.temporal.core.encoder import TemporalEncoder, TemporalEncoderConfig
from tempovla.model.temporal.core.registry import TEMPORAL_REGISTRY

HISTORIES = (16, 64, 256, 1024)
STEPS = 8  # timed together, for the clock's sake


class Stream:
    """An encoder that has seen `history` steps and goes on."""

    def __init__(self, encoder: TemporalEncoder, history: Tensor) -> None:
        self.encoder, self.x = encoder, history[:, -1]
        _, self.state = encoder.run(history, encoder.initial_state(len(history)))

    def __call__(self) -> None:
        """One step."""
        _, self.state = self.encoder.step(self.x, self.state)


class Recompute:
    """A buffer of the newest steps that is encoded anew for every step."""

    def __init__(self, encoder: TemporalEncoder, history: Tensor) -> None:
        self.encoder, self.x, self.frames = encoder, history[:, -1:], history

    def __call__(self) -> None:
        """One step."""
        self.frames = torch.cat([self.frames[:, 1:], self.x], dim=1)
        self.encoder(self.frames, return_sequence=False)


def build(args: argparse.Namespace) -> dict[str, dict[int, Callable[[], None]]]:
    """What is timed, by name and history."""
    sizes = {"input_dim": args.hidden_dim, "hidden_dim": args.hidden_dim, "output_dim": args.hidden_dim}
    options = {"num_layers": args.layers, "max_seq_len": args.window, "chunk_long_sequences": True}
    timed: dict[str, dict[int, Callable[[], None]]] = {}
    torch.manual_seed(0)
    steps = torch.randn(args.batch, max(HISTORIES), args.hidden_dim)
    for kind in TEMPORAL_REGISTRY:
        encoder = TemporalEncoder(TemporalEncoderConfig(encoder_type=kind, **sizes, **options)).eval()
        timed[kind] = {history: Stream(encoder, steps[:, :history]) for history in HISTORIES}
        if kind == "transformer":
            whole = TemporalEncoder(TemporalEncoderConfig(**sizes, num_layers=args.layers, max_seq_len=max(HISTORIES)))
            timed["recompute window"] = {h: Recompute(encoder, steps[:, : min(h, args.window)]) for h in HISTORIES}
            timed["recompute all"] = {h: Recompute(whole.eval(), steps[:, :h]) for h in HISTORIES}
    return timed


def cpu_ms(step: Callable[[], None], repeats: int) -> float:
    """CPU time of one step [ms]."""
    started_s = time.process_time()
    for _ in range(repeats):
        step()
    return (time.process_time() - started_s) * 1e3 / repeats


@torch.inference_mode()
def measure(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians [ms] by core and history."""
    timed = build(args)
    taken: dict[tuple[str, int], list[float]] = {(name, h): [] for name in timed for h in HISTORIES}
    for turn in range(args.rounds + 1):
        # In another order each time, so that nothing always follows the same neighbour, its caches cold or warm.
        order = random.Random(turn).sample(list(taken), len(taken))
        for name, history in order:
            recomputed = name.startswith("recompute")
            if recomputed and turn > max(1, args.rounds // 10):
                continue
            spent = cpu_ms(timed[name][history], 1 if recomputed else STEPS)
            if turn:  # the first turn warms up
                taken[name, history].append(spent)
    return {name: {str(h): statistics.median(taken[name, h]) for h in HISTORIES} for name in timed}


def cpu_model() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden-dim", type=int, default=256, help="features of inputs, core and outputs")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--window", type=int, default=64, help="steps that the transformer sees")
    parser.add_argument("--batch", type=int, default=1, help="parallel streams")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)

    rows = measure(args)
    report = {
        "machine": f"{platform.machine()}, {cpu_model()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "sizes": {"hidden_dim": args.hidden_dim, "layers": args.layers, "window": args.window, "batch": args.batch},
        "cpu_ms_per_step": rows,
    }
    print(report["machine"])
    print(", ".join(f"{name} {number}" for name, number in {**report["versions"], **report["sizes"]}.items()))
    print(
        f"{'CPU ms per step, history':26}" + "".join(f"{history:>10}" for history in HISTORIES) + f"{'1024 / 64':>12}"
    )
    for name, row in rows.items():
        print(f"{name:26}" + "".join(f"{ms:10.3f}" for ms in row.values()) + f"{row['1024'] / row['64']:12.3f}")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

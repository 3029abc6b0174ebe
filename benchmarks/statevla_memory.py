"""Memory and speed of a training step of StateVLA with its original sizes, which are the defaults.

    python benchmarks/statevla_memory.py [--batches 32,64,128,256] [--phases 1,2] [--json FILE]

On a GPU: the peak that its allocator reaches in a whole step, optimiser included, and samples per second. On a CPU: the
peak of what a step allocates on top of the weights, at two small batches, and from them the gigabytes at the batches
asked for: fixed bytes (weights, gradients, Adam's two moments, the target encoder) and bytes a sample. The CPU's figure
stands for a GPU's: it counts tensors, not how a kernel library pads them, and a scan in mamba-ssm's kernel needs less.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from peak import peak_bytes
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.objective import Objective
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, LANGUAGE_KEY, STATE_KEY
from tempovla.timeline.sample import split_tracks
from tempovla.training.backward import LossGraph, backward
from tempovla.training.config import TrainConfig
from tempovla.training.optimizer import build_optimizer

PUBLISHED_GB = {32: 10, 64: 16, 128: 24, 256: 40}
CPU_BATCHES = (8, 16)
GB = 1e9


@dataclass(frozen=True)
class Setting:
    """One way to train."""

    phase: int
    precision: str
    recompute: bool

    def __str__(self) -> str:
        return f"phase {self.phase}, {self.precision}{', recomputed' if self.recompute else ''}"


class Session:
    """A policy, its optimiser and a batch of random observations."""

    def __init__(self, setting: Setting, batch: int, device: str) -> None:
        torch.manual_seed(0)
        self.policy = StateVLA(StateVLAConfig(), setting.phase).to(device)  # type: ignore[arg-type]
        self.policy.recompute_activations(setting.recompute)
        dtype = torch.bfloat16 if setting.precision == "bfloat16" else None
        self.graph = LossGraph(self.policy, Objective(), dtype)
        self.optimizer = build_optimizer(self.policy, TrainConfig())
        self.sample = random_sample(self.policy, batch).to(device)

    def step(self) -> None:
        """One optimiser step."""
        self.optimizer.zero_grad(set_to_none=True)
        backward(self.graph, [self.sample], lambda batch: None)
        self.optimizer.step()
        self.policy.after_step(1)

    def fixed_bytes(self) -> int:
        """Weights, and for those that learn gradients and two moments."""
        weights = list(self.policy.parameters())
        return 4 * sum(weight.numel() * (4 if weight.requires_grad else 1) for weight in weights)


def random_sample(policy: StateVLA, batch: int) -> TimelineSample:
    """A batch as the transforms leave it."""
    config = policy.config
    shapes = {STATE_KEY: config.robot_state_dim, ACTION_KEY: config.action_dim}
    tracks = {}
    for window in policy.windows():
        length = len(window.offsets)
        if window.key in config.cameras:
            value = torch.randint(0, 256, (batch, length, 3, config.image_size, config.image_size), dtype=torch.uint8)
        else:
            value = torch.randn(batch, length, shapes[window.key])
        tracks[window.key] = Track.of(value, window.offsets)
    past, now, future = split_tracks(tracks)
    now[LANGUAGE_KEY] = Track.of(torch.randn(batch, 1, config.lang_emb_dim), (0,))
    body = Embodiment("benchmark", config.robot_state_dim, config.action_dim, rate_hz=20.0)
    context = Context(past, now, (Task("pick up the butter", body),) * batch, torch.ones(batch, dtype=torch.bool))
    return TimelineSample(context, future, torch.arange(batch))


def cuda_figures(setting: Setting, batch: int, steps: int = 5) -> dict[str, float]:
    """Peak gigabytes of whole steps, and samples per second after a warm-up."""
    torch.cuda.empty_cache()
    session = Session(setting, batch, "cuda")
    session.step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    started_s = time.perf_counter()
    for _ in range(steps):
        session.step()
    torch.cuda.synchronize()
    rate = steps * batch / (time.perf_counter() - started_s)
    return {"peak_gb": torch.cuda.max_memory_allocated() / GB, "samples_per_s": rate}


def cpu_peak_bytes(session: Session) -> int:
    """The most that forward and backward of one step hold on top of what was there before."""
    session.optimizer.zero_grad(set_to_none=True)
    return peak_bytes(lambda: backward(session.graph, [session.sample], lambda batch: None), "cpu")


def cpu_figures(setting: Setting) -> dict[str, float]:
    """Fixed bytes, bytes and CPU time a sample."""
    peaks, seconds = [], []
    for batch in CPU_BATCHES:
        session = Session(setting, batch, "cpu")
        started_s = time.process_time()
        session.step()
        seconds.append(time.process_time() - started_s)
        peaks.append(cpu_peak_bytes(session))
    each = (peaks[1] - peaks[0]) / (CPU_BATCHES[1] - CPU_BATCHES[0])
    return {
        "fixed_gb": session.fixed_bytes() / GB,
        "mb_per_sample": each / 1e6,
        "cpu_s_per_sample": seconds[1] / CPU_BATCHES[1],
        **{f"cpu_s_per_step_of_{batch}": spent for batch, spent in zip(CPU_BATCHES, seconds, strict=True)},
    }


def settings(phases: list[int], precisions: list[str]) -> Iterator[Setting]:
    """All that is measured."""
    for phase, precision, recompute in itertools.product(phases, precisions, (False, True)):
        if phase == 1 or not recompute:  # with a frozen encoder there is next to nothing to compute again
            yield Setting(phase, precision, recompute)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", default="32,64,128,256", help="batch sizes")
    parser.add_argument("--phases", default="1,2")
    parser.add_argument("--precisions", default="float32,bfloat16")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    batches = [int(batch) for batch in args.batches.split(",")]
    has_gpu = torch.cuda.is_available()
    torch.set_num_threads(1)
    machine = torch.cuda.get_device_name() if has_gpu else f"{platform.machine()} CPU, one thread"
    print(f"{machine}, torch {torch.__version__}")
    report: dict[str, object] = {"machine": machine, "torch": torch.__version__}
    print(f"{'GB at batch':34}" + "".join(f"{batch:>9}" for batch in batches) + "   speed")
    print(f"{'the original recipe states':34}" + "".join(f"{PUBLISHED_GB.get(batch, '-'):>9}" for batch in batches))
    for setting in settings([int(phase) for phase in args.phases.split(",")], args.precisions.split(",")):
        if has_gpu:
            figures = {str(batch): cuda_figures(setting, batch) for batch in batches}
            peaks = [figures[str(batch)]["peak_gb"] for batch in batches]
            speed = ", ".join(f"{figures[str(batch)]['samples_per_s']:.0f}" for batch in batches) + " samples/s"
            report[str(setting)] = figures
        else:
            each = cpu_figures(setting)
            peaks = [each["fixed_gb"] + batch * each["mb_per_sample"] / 1e3 for batch in batches]
            speed = f"{each['mb_per_sample']:.1f} MB, {each['cpu_s_per_sample']:.2f} CPU s a sample"
            report[str(setting)] = each
        print(f"{setting!s:34}" + "".join(f"{peak:9.1f}" for peak in peaks) + f"   {speed}", flush=True)
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

"""Which action head learns that there are two ways round an obstacle.

    python benchmarks/two_modes.py [--steps 400] [--out docs/images/two_modes.png] [--json FILE]

A chunk is two waypoints that pass an obstacle on its left or on its right, each half of the time; the features say
nothing about the side. Every head trains on the same batches. Counted over samples for fresh features: how many chunks
have both waypoints near those of one way, how these divide over the ways, and the squared error against fresh chunks.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tempovla.model.action_head.base import ActionHeadBase
from tempovla.model.action_head.registry import build_action_head
from tempovla.objective import Objective

FEATURES, HORIZON, ACTION = 8, 2, 2
LEFT = torch.tensor([[-0.8, -0.4], [-0.8, 0.4]])
RIGHT = torch.tensor([[0.8, -0.4], [0.8, 0.4]])
SPREAD = 0.05
NEAR = 0.25
BEST_CONSTANT_MSE = float((RIGHT - LEFT).square().mean()) / 4.0 + SPREAD**2
"""What the mean of both ways gets; nothing that answers one chunk for a feature can do better."""

SMALL = {"hidden_dim": 64, "num_layers": 2}
HEADS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "MLP": ("mlp", {"loss": "mse", **SMALL}),
    "Gaussian": ("gaussian", SMALL),
    "Gaussian mixture": ("gaussian", {"num_modes": 4, **SMALL}),
    "diffusion, U-Net": ("diffusion", {"hidden_dim": 32, "num_layers": 2}),
    "diffusion, transformer": ("diffusion", {"denoiser": "transformer", **SMALL}),
    "flow matching": ("flow_matching", SMALL),
    "transformer, mixtures": ("transformer", SMALL),
    "transformer, bins": ("transformer", {"num_bins": 64, **SMALL}),
}


@dataclass(frozen=True)
class Result:
    """What a trained head answers.

    Attributes:
        chunks: (N, 2, 2) samples.
        near: share of samples near one of the ways.
        right: share of the right way among these.
        mse: mean squared error against fresh chunks.
        train_s: seconds of CPU time of the training.
        sample_ms: milliseconds of CPU time for one chunk.
    """

    chunks: Tensor
    near: float
    right: float
    mse: float
    train_s: float
    sample_ms: float


def draw(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Features (N, 8) and chunks (N, 2, 2)."""
    features = torch.randn(count, FEATURES, generator=generator)
    is_right = torch.rand(count, 1, 1, generator=generator) < 0.5
    noise = SPREAD * torch.randn(count, HORIZON, ACTION, generator=generator)
    return features, torch.where(is_right, RIGHT, LEFT) + noise


def train(head: ActionHeadBase, steps: int, batch: int = 256, rate: float = 3e-3) -> None:
    """Adam with a rate that falls to 0, on fresh batches."""
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(head.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - step / steps)
    objective = Objective()
    for _ in range(steps):
        features, chunks = draw(batch, generator)
        valid = torch.ones(batch, HORIZON, dtype=torch.bool)
        optimizer.zero_grad()
        objective(head.loss_terms(features, chunks, valid, generator)).total.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def measure(name: str, steps: int, count: int = 1000, **training: Any) -> Result:
    """Build, train and sample one of `HEADS`; `training` goes to `train`."""
    kind, options = HEADS[name]
    torch.manual_seed(0)
    head = build_action_head(kind, FEATURES, ACTION, HORIZON, options)
    started_s = time.process_time()
    train(head, steps, **training)
    train_s = time.process_time() - started_s
    features, truth = draw(count, torch.Generator().manual_seed(1))
    head.eval()
    with torch.inference_mode():
        chunks = head.sample(features, torch.arange(count))
        started_s = time.process_time()
        for row in range(10):
            head.sample(features[row : row + 1], torch.tensor([row]))
    sample_ms = (time.process_time() - started_s) * 100.0
    left, right = ((chunks - way).norm(dim=2).amax(dim=1) < NEAR for way in (LEFT, RIGHT))
    near = int((left | right).sum())
    mse = float((chunks - truth).square().mean())
    return Result(chunks, near / count, int(right.sum()) / max(near, 1), mse, train_s, sample_ms)


def picture(results: Mapping[str, Result], path: Path) -> None:
    """The samples of every head beside each other."""
    from matplotlib.figure import Figure  # not needed for the table, nor by the tests

    figure = Figure(figsize=(11, 6), layout="constrained")
    for axes, (name, result) in zip(figure.subplots(2, 4).flat, results.items(), strict=True):
        start, goal = torch.tensor([0.0, -1.2]), torch.tensor([0.0, 1.2])
        for chunk in result.chunks[:120]:
            way = torch.stack([start, *chunk, goal])
            axes.plot(way[:, 0], way[:, 1], color="#1f6fb4", alpha=0.12, linewidth=1)
            axes.plot(chunk[:, 0], chunk[:, 1], ".", color="#0b3d66", alpha=0.3, markersize=3)
        axes.add_patch(_obstacle())
        axes.plot(*start, "k^", *goal, "k*", markersize=8)
        axes.set(xlim=(-1.6, 1.6), ylim=(-1.4, 1.4), aspect="equal", xticks=[], yticks=[])
        sides = f", {result.right:.0%} of them right" if result.near else ""
        axes.set_title(f"{name}\n{result.near:.0%} near a way{sides}", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def _obstacle() -> Any:
    from matplotlib.patches import Circle

    return Circle((0.0, 0.0), 0.3, color="#c8553d", zorder=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="training steps of every head")
    parser.add_argument("--out", type=Path, metavar="PNG", help="draw the samples there; needs matplotlib")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.machine()} CPU, one thread (CPU times), torch {torch.__version__}, {args.steps} steps of 256 chunks"
    )
    print(f"{'head':24}{'near a way':>11}{'right':>7}{'MSE':>7}{'train s':>9}{'sample ms':>11}")
    results = {}
    for name in HEADS:
        result = results[name] = measure(name, args.steps)
        sides = f"{result.right:7.0%}" if result.near else f"{'-':>7}"
        times = f"{result.train_s:9.0f}{result.sample_ms:11.1f}"
        print(f"{name:24}{result.near:11.0%}{sides}{result.mse:7.3f}{times}", flush=True)
    print(
        f"the mean of both ways has MSE {BEST_CONSTANT_MSE:.3f}; two samples of the truth, {2 * BEST_CONSTANT_MSE:.3f}"
    )
    if args.out:
        picture(results, args.out)
    if args.json:
        figures = {
            name: {key: value for key, value in vars(result).items() if key != "chunks"}
            for name, result in results.items()
        }
        args.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

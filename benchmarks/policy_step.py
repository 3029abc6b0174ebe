"""One decision for many environments at once: raw observations in, action chunks in the robot's units out.

    python benchmarks/policy_step.py [--reference] [--json FILE]

Measures what a rollout does between two calls of the simulator: the context from the latest observations, transforms,
StateVLA, transforms undone. The unit is CPU time on one thread; batch sizes take turns, and medians are reported.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from tempovla.control.context_builder import ContextBuilder
from tempovla.control.controller import Controller
from tempovla.model.vla.statevla import StateVLA
from tempovla.model.vla.statevla_config import StateVLAConfig
from tempovla.recipe.demo import DemoConfig, demo_recipe
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import ACTION_KEY, STATE_KEY
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder

ENVIRONMENTS = (1, 8, 32)
INSTRUCTIONS = ("open the drawer", "push the button", "close the window", "put the red cup on the plate")


def build_controller(config: StateVLAConfig) -> Controller:
    """An untrained policy behind the transforms that training would give it."""
    torch.manual_seed(0)
    body = Embodiment("benchmark", config.robot_state_dim, config.action_dim, rate_hz=20.0)
    dims = {STATE_KEY: config.robot_state_dim, ACTION_KEY: config.action_dim}
    moments = {key: {"mean": np.zeros(dim), "std": np.ones(dim)} for key, dim in dims.items()}
    normalize = Normalize.fit(moments, {key: NormalizationConfig() for key in dims})
    embed = EmbedInstruction(HashedNgramEmbedder(config.lang_emb_dim))
    transform = TransformPipeline([ResizeImages(config.image_size), normalize, embed])
    policy = StateVLA(config)
    bundle = Bundle(
        "statevla", config_to_json(config), policy.windows(), body, transform.to_json(), policy.state_dict()
    )
    return Controller.from_bundle(bundle)


class Decisions:
    """Environments that have just been observed, and the policy that is asked for their next actions."""

    def __init__(self, controller: Controller, config: StateVLAConfig, environments: int) -> None:
        random = np.random.default_rng(0)
        self.controller = controller
        self.builder = ContextBuilder(controller.windows, controller.embodiment, environments)
        self.state = controller.initial_state(environments)
        for row in range(environments):
            shape = (config.image_size, config.image_size, 3)
            observation = {camera: random.integers(0, 256, shape, dtype=np.uint8) for camera in config.cameras}
            observation[STATE_KEY] = random.normal(size=config.robot_state_dim).astype(np.float32)
            self.builder.reset(row, INSTRUCTIONS[row % len(INSTRUCTIONS)], observation)

    def cpu_ms(self) -> float:
        """CPU time of one decision for all environments [ms]."""
        started_s = time.process_time()
        _, self.state = self.controller.act(self.builder.context(), self.state)
        return (time.process_time() - started_s) * 1e3


def measure(config: StateVLAConfig, rounds: int) -> dict[str, dict[str, float]]:
    """Medians by number of environments."""
    controller = build_controller(config)
    decisions = {count: Decisions(controller, config, count) for count in ENVIRONMENTS}
    taken: dict[int, list[float]] = {count: [] for count in ENVIRONMENTS}
    for turn in range(rounds + 1):
        for count in ENVIRONMENTS:
            # Single decisions are short: as many of them as there are rows in the largest batch.
            for _ in range(max(ENVIRONMENTS) // count):
                spent = decisions[count].cpu_ms()
                if turn:  # the first turn warms up
                    taken[count].append(spent)
    medians = {count: statistics.median(values) for count, values in taken.items()}
    return {
        str(count): {
            "cpu_ms": ms,
            "cpu_ms_per_environment": ms / count,
            "times_cheaper_per_environment": medians[1] * count / ms,
        }
        for count, ms in medians.items()
    }


def cpu_model() -> str:
    """Name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), "unknown CPU")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", action="store_true", help="also measure the original sizes (a minute)")
    parser.add_argument("--rounds", type=int, default=30, help="turns of the demo's sizes; the original sizes take two")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)

    report = {
        "machine": f"{platform.machine()}, {cpu_model()}, one thread",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "demo": measure(demo_recipe(DemoConfig()).model, args.rounds),
    }
    if args.reference:
        report["reference"] = measure(StateVLAConfig(), 2)
    print(report["machine"])
    print(", ".join(f"{name} {number}" for name, number in report["versions"].items()))
    for name in ("demo", "reference"):
        if name in report:
            print(f"{name + ', environments':26}{'CPU ms a call':>14}{'an environment':>16}{'cheaper':>10}")
        for count, row in report.get(name, {}).items():
            each, cheaper = row["cpu_ms_per_environment"], row["times_cheaper_per_environment"]
            print(f"{count:>26}{row['cpu_ms']:14.2f}{each:16.2f}{cheaper:9.1f}x")
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

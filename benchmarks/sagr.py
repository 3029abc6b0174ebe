r"""What a training step and a decision of SA-GR cost, and how much of the forward pass is the frame k steps ahead.

    python benchmarks/sagr.py [--config sagr_metaworld] [--rounds 30] [--batch_size 32] [--json FILE]

Arms take turns on the same batch, so that they meet the same load of the machine. Times are CPU time of one thread:
medians over the rounds, of which the larger model gets a quarter, and medians of the ratios to flow matching alone in
the same round. A decision is of one row, in the middle of an episode. The larger model has a language model of 12
layers of width 384, and 64 vision tokens a camera.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from policy_step import cpu_model
from tempovla.model.vla.sagr import SAGR
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vlm import lm_attention
from tempovla.model.vlm.language_model import LLMBackbone
from tempovla.objective import Objective
from tempovla.recipe.settings.recipe_parser import read_recipe
from tempovla.recipe.systems.registry import find_system
from tempovla.timeline import CameraCalibration, Context, Embodiment, Progress, Task, TimelineSample, Track
from tempovla.timeline.keys import (
    ACTION_KEY,
    DEPTH_KEY_PREFIX,
    IMAGE_KEY_PREFIX,
    STATE_KEY,
    TOKENS_KEY,
)

OFF: dict[str, Any] = {"loss_w_dyn": 0.0, "loss_w_geo": 0.0, "use_drift": False}
FLOW = "flow matching alone"
ARMS: dict[str, dict[str, Any]] = {
    FLOW: OFF,
    "+ dyn": {**OFF, "loss_w_dyn": 0.2},
    "+ dyn, which moves the tokens": {
        **OFF,
        "loss_w_dyn": 0.2,
        "world_detach_input": False,
        "world_target_encoder": "ema",
    },
    "+ dyn + geo + drift": {},
    "the same, v4 tokens": {"algorithm_version": "v4"},
    "FLARE": {**OFF, "flare_weight": 0.2, "world_target_encoder": "ema"},
    "VLA-JEPA": {
        **OFF,
        "loss_w_dyn": 0.2,
        "world_target": "vision",
        "world_target_encoder": "ema",
        "world_condition": "tokens",
    },
}
"""By name, how an arm differs from the config; task tokens are of version v3 where nothing else is said."""
WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal", "masked_select")
"""Operators for which a processor waits until a GPU has caught up."""
LIMIT = 0.35
"""Largest share of the forward pass that the frame k steps ahead may take with tokens of version v3."""
DONE = Progress(10**6, 10**6)


class Arm:
    """A policy, and what its forward and backward passes take."""

    def __init__(self, config: SAGRConfig, sample: TimelineSample) -> None:
        torch.manual_seed(0)
        self.policy, self.sample = SAGR(config).train(), sample
        self.ahead_ms = 0.0
        target = self.policy.frames.target

        def timed(tracks: Mapping[str, Track], offset: int, *arguments: Any) -> Tensor:
            started_s = time.process_time()
            found = target(tracks, offset, *arguments)
            if offset > 0:
                self.ahead_ms += 1e3 * (time.process_time() - started_s)
            return found

        self.policy.frames.target = timed  # type: ignore[method-assign]

    def step_ms(self) -> dict[str, float]:
        """CPU time [ms] of the forward pass, of the frame k steps ahead in it, and of the backward pass."""
        self.policy.zero_grad(set_to_none=True)
        self.ahead_ms = 0.0
        started_s = time.process_time()
        total = Objective()(self.policy(self.sample, DONE)).total
        forward_s = time.process_time()
        total.backward()
        ended_s = time.process_time()
        forward_ms, backward_ms = 1e3 * (forward_s - started_s), 1e3 * (ended_s - forward_s)
        self.policy.after_step(1)
        decision_ms = self.decision_ms()
        return {"forward": forward_ms, "ahead": self.ahead_ms, "backward": backward_ms, "decision": decision_ms}

    @torch.no_grad()
    def decision_ms(self) -> float:
        """CPU time of a decision [ms], of one row that remembers the one before."""
        policy = self.policy.eval()
        context = self.sample.context.rows([0])
        _, state = policy.act(context, policy.initial_state(1))
        started_s = time.process_time()
        policy.act(context, state)
        decision_ms = 1e3 * (time.process_time() - started_s)
        policy.train()
        return decision_ms

    def waits(self) -> int:
        """How often a forward pass would wait for a GPU."""

        class Counting(TorchDispatchMode):
            count = 0

            def __torch_dispatch__(
                self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
            ) -> Any:
                self.count += function.overloadpacket.__name__ in WAITS
                return function(*args, **kwargs or {})

        with Counting() as counting, as_on_a_gpu():
            self.policy(self.sample, DONE)
        return counting.count


@contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Within it nothing is looked at that is looked at on a CPU alone, where looking costs nothing."""
    waits, check = lm_attention.reading_waits, LLMBackbone._check_vocabulary
    lm_attention.reading_waits = lambda device: True
    LLMBackbone._check_vocabulary = lambda self, ids: None  # type: ignore[method-assign]
    try:
        yield
    finally:
        lm_attention.reading_waits = waits
        LLMBackbone._check_vocabulary = check  # type: ignore[method-assign]


def larger(config: SAGRConfig) -> SAGRConfig:
    """The config with 12 layers of width 384, and 64 vision tokens a camera."""
    language = config.vlm.language
    assert language.architecture is not None
    sizes = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 512}
    vlm = replace(
        config.vlm,
        vision=replace(config.vlm.vision, image_size=128, patch_size=16),
        language=replace(language, architecture={**language.architecture, **sizes, **heads}),
    )
    head = replace(config.action_head, hidden_dim=384, head_dim=64, mlp_dim=1024)
    return replace(config, vlm=vlm, action_head=head, world_hidden_dim=256, drift_hidden_dim=256)


def sample_of(config: SAGRConfig, rows: int) -> TimelineSample:
    """A batch of noise in which everything is valid."""
    generator = torch.Generator().manual_seed(0)
    size = config.vlm.vision.image_size
    assert size is not None
    makers: dict[str, Callable[[int], Tensor]] = {
        IMAGE_KEY_PREFIX: lambda steps: torch.randint(
            0, 256, (rows, steps, 3, size, size), dtype=torch.uint8, generator=generator
        ),
        DEPTH_KEY_PREFIX: lambda steps: torch.rand(rows, steps, 1, size, size, generator=generator) + 0.5,
        STATE_KEY: lambda steps: torch.randn(rows, steps, config.robot_state_dim or 0, generator=generator),
        ACTION_KEY: lambda steps: torch.randn(rows, steps, config.action_dim, generator=generator).clamp(-1, 1),
    }
    past: dict[str, Track] = {}
    now: dict[str, Track] = {}
    future: dict[str, Track] = {}
    with torch.random.fork_rng():
        windows = SAGR(config).training_windows()
    for window in windows:
        make = next(make for prefix, make in makers.items() if window.key.startswith(prefix))
        is_action = window.key == ACTION_KEY
        groups = (
            (past, [offset for offset in window.offsets if offset < 0]),
            (now, [] if is_action else [0]),
            (future, [offset for offset in window.offsets if offset > 0 or (is_action and offset == 0)]),
        )
        for tracks, offsets in groups:
            if offsets:
                tracks[window.key] = Track.of(make(len(offsets)), offsets)
    ids = torch.randint(0, 500, (rows, 1, config.max_instruction_tokens), generator=generator)
    now[TOKENS_KEY] = Track.of(ids, (0,))
    cameras = tuple(CameraCalibration(key, size, size, size, size, size / 2, size / 2) for key in config.depths)
    body = Embodiment("noise", config.robot_state_dim or 0, config.action_dim, 80.0, cameras=cameras)
    context = Context(past, now, tuple(Task("push", body) for _ in range(rows)), torch.zeros(rows, dtype=torch.bool))
    return TimelineSample(context, future, torch.arange(rows))


def measured(config: SAGRConfig, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """The figures of every arm."""
    arms = {}
    for name, options in ARMS.items():
        made = replace(config, **options)
        arms[name] = Arm(made, sample_of(made, rows))
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
    for turn in range(rounds + 2):
        for name, arm in arms.items():
            figures = arm.step_ms()
            if turn >= 2:
                taken[name].append(figures)
    return {name: _row(name, figures, taken[FLOW]) | {"waits": arms[name].waits()} for name, figures in taken.items()}


def _row(name: str, figures: list[dict[str, float]], plain: list[dict[str, float]]) -> dict[str, float]:
    def whole(each: Mapping[str, float]) -> float:
        return each["forward"] + each["backward"]

    ratios = [whole(one) / whole(other) for one, other in zip(figures, plain, strict=True)]
    return {
        "forward_ms": statistics.median(each["forward"] for each in figures),
        "backward_ms": statistics.median(each["backward"] for each in figures),
        "ratio": statistics.median(ratios),
        "decision_ms": statistics.median(each["decision"] for each in figures),
        "share_ahead": statistics.median(each["ahead"] / each["forward"] for each in figures),
    }


def print_table(title: str, rows: Mapping[str, Mapping[str, float]]) -> None:
    """The table, in Markdown."""
    print(
        f"\n{title}\n\n| arm | forward, CPU ms | backward | step / flow alone | frame at t+k in the forward "
        "| decision, CPU ms | waits |"
    )
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, row in rows.items():
        cells = (
            name,
            f"{row['forward_ms']:.0f}",
            f"{row['backward_ms']:.0f}",
            f"{row['ratio']:.2f}",
            f"{row['share_ahead']:.0%}",
            f"{row['decision_ms']:.1f}",
            f"{row['waits']:.0f}",
        )
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Print one table a model, and whether the limit holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="sagr_metaworld", help="packaged config, or a YAML file")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--batch_size", type=int, default=32, help="of the config; the larger model gets a quarter")
    parser.add_argument("--json", help="where to write the figures")
    options = parser.parse_args()
    torch.set_num_threads(1)
    recipe = read_recipe("sagr", find_system("sagr"), options.config, {})
    config = recipe.resolved_model
    big = larger(config)
    big_rounds = max(2, options.rounds // 4)
    few = max(2, options.batch_size // 4)
    tables = {
        f"{options.config}, {options.batch_size} rows": measured(config, options.batch_size, options.rounds),
        f"12 layers of width 384, 64 vision tokens a camera, {few} rows": measured(big, few, big_rounds),
    }
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{cpu_model()}, one thread; {versions}; {options.rounds} rounds")
    for title, rows in tables.items():
        print_table(title, rows)
        early = [row["share_ahead"] for name, row in rows.items() if "v4" not in name]
        print(f"\nlargest share with tokens from before the language model: {max(early):.1%}, limit {LIMIT:.0%}")
    if options.json:
        Path(options.json).write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()

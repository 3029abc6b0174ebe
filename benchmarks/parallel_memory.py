"""What every process holds when one trains a VLA, or several do by DDP or FSDP.

    torchrun --nproc_per_node=2 benchmarks/parallel_memory.py [--batch 4] [--precision float32] [--json FILE]

Each row is one way to train the same model, on batches of `--batch` rows a process: megabytes of the first process
(weights, Adam's two moments, the average of the weights, gradients; all that stays between two steps; the most in
forward and backward of a step), and seconds a step (the median of several). On a GPU with nccl, on a CPU with gloo,
where the peak counts tensors.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from peak import peak_bytes
from tempovla.model.vla.vla_config import VLAConfig
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.model.vlm.vlm_model import VLMConfig
from tempovla.objective import Objective
from tempovla.timeline import Context, Embodiment, Task, TimelineSample, Track
from tempovla.timeline.keys import ACTION_KEY, IMAGE_KEY_PREFIX, TOKENS_KEY
from tempovla.training import distributed
from tempovla.training.backward import LossGraph, backward
from tempovla.training.config import TrainConfig
from tempovla.training.ema import WeightEma
from tempovla.training.optimizer import build_optimizer, clip_gradients, trainable_parameters
from tempovla.training.parallel import local, parallel

CAMERA = IMAGE_KEY_PREFIX + "front"
VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "intermediate_size": 1024,
    "image_size": 64,
    "patch_size": 16,
    "vision_use_head": False,
}
LANGUAGE = {
    "model_type": "qwen2",
    "hidden_size": 384,
    "num_hidden_layers": 10,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "intermediate_size": 1536,
    "vocab_size": 4096,
}
MB = 1e6


@dataclass(frozen=True)
class Setting:
    """One way to train; `alone` is one process that knows of no other."""

    way: str
    recompute: bool = False

    def __str__(self) -> str:
        return f"{self.way}{', recomputed' if self.recompute else ''}"


SETTINGS = [Setting("alone"), *(Setting(way, recompute) for way in ("ddp", "fsdp") for recompute in (False, True))]
COLUMNS = ("weights", "moments", "average", "gradients", "between steps", "in a step", "seconds")


class Session:
    """A policy, its optimiser, the average of its weights and a batch."""

    def __init__(self, setting: Setting, batch: int, precision: str, device: torch.device) -> None:
        torch.manual_seed(0)
        config = TrainConfig(parallel="fsdp" if setting.way == "fsdp" else "ddp")
        vlm = VLMConfig(
            VisionEncoderConfig("siglip", architecture=VISION, freeze=False), LLMBackboneConfig(architecture=LANGUAGE)
        )
        self.policy = VLAModel(VLAConfig(vlm, action_head="flow_matching", cameras=(CAMERA,))).to(device)
        if setting.recompute:
            self.policy.enable_gradient_checkpointing()
        graph = LossGraph(self.policy, Objective(), torch.bfloat16 if precision == "bfloat16" else None)
        self.graph = parallel(graph, config)
        self.optimizer = build_optimizer(self.policy, config)
        self.average = WeightEma(self.policy, 0.99)
        self.sample = random_sample(self.policy.config, batch).to(device)
        self.train_step = 0

    def gradients(self) -> None:
        """Forward and backward."""
        self.optimizer.zero_grad(set_to_none=True)
        backward(self.graph, [self.sample], torch.manual_seed)

    def step(self) -> float:
        """One optimiser step; its seconds."""
        started_s = time.perf_counter()
        self.gradients()
        clip_gradients(list(trainable_parameters(self.policy).values()), 1.0)
        self.optimizer.step()
        self.train_step += 1
        self.average.update(self.train_step)
        if self.sample.seed.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started_s

    def held_bytes(self) -> dict[str, int]:
        """What lies in this process after a step."""
        weights = list(self.policy.parameters())
        moments = [slot for slots in self.optimizer.state.values() for slot in slots.values()]
        return {
            "weights": total_bytes(weights),
            "moments": total_bytes(moments),
            "average": total_bytes(self.average.average.values()),
            "gradients": total_bytes(weight.grad for weight in weights if weight.grad is not None),
        }


def total_bytes(tensors: Iterable[Tensor]) -> int:
    """Of the shares that are held here."""
    return sum(local(tensor).numel() * tensor.element_size() for tensor in tensors)


def random_sample(config: VLAConfig, batch: int) -> TimelineSample:
    """A batch as the transforms leave it."""
    now = {
        CAMERA: Track.of(torch.randint(0, 256, (batch, 1, 3, 64, 64), dtype=torch.uint8), (0,)),
        TOKENS_KEY: Track.of(torch.randint(0, 4096, (batch, 1, config.max_instruction_tokens)), (0,)),
    }
    actions = Track.of(torch.randn(batch, config.action_horizon, config.action_dim), range(config.action_horizon))
    task = Task("pick up the butter", Embodiment("benchmark", 1, config.action_dim, rate_hz=20.0))
    context = Context({}, now, (task,) * batch, torch.ones(batch, dtype=torch.bool))
    return TimelineSample(context, {ACTION_KEY: actions}, torch.arange(batch))


def measure(setting: Setting, batch: int, precision: str, device: torch.device, repeats: int) -> dict[str, float]:
    """Megabytes and seconds."""
    session = Session(setting, batch, precision, device)
    session.step()
    seconds = statistics.median(session.step() for _ in range(repeats))
    held = {name: size / MB for name, size in session.held_bytes().items()}
    gradients = held["gradients"]
    session.optimizer.zero_grad(set_to_none=True)
    peak = peak_bytes(session.gradients, device.type) / MB
    # DDP's gradients lie in buffers that stay; the others' come and go with a step, and its peak counts them.
    between = sum(held.values()) - (0 if setting.way == "ddp" else gradients)
    return {**held, "between steps": between, "in a step": between + peak, "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="rows of a process")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    has_gpu = torch.cuda.is_available()
    machine = torch.cuda.get_device_name() if has_gpu else f"{platform.machine()} CPU, a thread a process"
    report: dict[str, object] = {"machine": machine, "torch": torch.__version__, "precision": args.precision}
    is_main = os.environ.get("RANK", "0") == "0"
    if is_main:
        print(f"{machine}, torch {torch.__version__}, {args.precision}, {args.batch} rows a process")
        print(f"{'MB in the first process':24}" + "".join(f"{name:>14}" for name in COLUMNS))
    for setting in SETTINGS:
        alone = torch.device("cuda" if has_gpu else "cpu")
        with nullcontext(alone) if setting.way == "alone" else distributed.process_group() as device:
            figures = measure(setting, args.batch, args.precision, device, args.repeats)
        report[str(setting)] = figures
        if is_main:
            print(f"{setting!s:24}" + "".join(f"{figures[name]:14.1f}" for name in COLUMNS), flush=True)
    if args.json and is_main:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

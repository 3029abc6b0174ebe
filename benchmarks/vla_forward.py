"""Speed and memory of a vision-language model's forward pass, and of forward and backward.

    python benchmarks/vla_forward.py [--batch 8] [--cameras 2] [--depths 2,8] [--json FILE]

Each row is one configuration: tokens of the language model's sequence per second, and the most that the call holds on
top of the weights. Three questions: fused attention beside the model's own, in float32 and bfloat16; one call of the
vision encoder for all cameras beside one call each; and whether deeper language models hold more copies of the vision
tokens (they do not: without gradients the peak does not grow with the depth). On a CPU, time is CPU time of one thread.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import transformers
from torch import Tensor

from peak import peak_bytes
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.model.vlm.vlm_model import VLMConfig, VLMModel

VISION = {
    "model_type": "siglip_vision_model",
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "intermediate_size": 768,
    "image_size": 128,
    "patch_size": 16,
    "vision_use_head": False,
}
LANGUAGE = {
    "model_type": "qwen2",
    "hidden_size": 256,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 1024,
    "vocab_size": 1024,
    "tie_word_embeddings": True,
}
TEXT_LENGTH = 16


@dataclass(frozen=True)
class Setting:
    """One configuration of the model and one way to call it."""

    attention: str
    precision: str
    depth: int
    projector: str = "mlp"
    vision: str = "one call"
    backward: bool = False

    def __str__(self) -> str:
        kind = "forward, backward" if self.backward else "forward"
        return (
            f"{self.attention:5} {self.precision:8} depth {self.depth:2} {self.projector:17} {self.vision:14} {kind:17}"
        )


class Session:
    """A model and a batch; the texts of half of the rows are shorter."""

    def __init__(self, setting: Setting, batch: int, cameras: int, device: str) -> None:
        torch.manual_seed(0)
        language = LLMBackboneConfig(
            attention=setting.attention,  # type: ignore[arg-type]
            architecture={**LANGUAGE, "num_hidden_layers": setting.depth},
        )
        vision = VisionEncoderConfig("siglip", freeze=True, architecture=VISION)
        options = {} if setting.projector == "mlp" else {"num_queries": 16}
        config = VLMConfig(vision, language, setting.projector, options, cameras)
        self.model = VLMModel(config).to(device)
        if setting.vision == "call a camera":
            self.model.vision.forward = one_by_one(self.model.vision.forward)  # type: ignore[method-assign]
        self.setting, self.device = setting, device
        self.images = torch.randint(0, 256, (batch, cameras, 3, 128, 128), dtype=torch.uint8, device=device)
        self.words = torch.randint(0, 1024, (batch, TEXT_LENGTH), device=device)
        self.mask = torch.ones(batch, TEXT_LENGTH, dtype=torch.bool, device=device)
        self.mask[::2, TEXT_LENGTH // 2 :] = False
        self.tokens = batch * (self.model.num_vision_tokens + TEXT_LENGTH + config.num_queries)

    def step(self) -> None:
        """One call."""
        self.model.zero_grad(set_to_none=True)
        low = self.setting.precision == "bfloat16"
        with torch.set_grad_enabled(self.setting.backward), torch.autocast(self.device, torch.bfloat16, enabled=low):
            features = self.model(self.images, self.words, self.mask).features
        if self.setting.backward:
            features.float().square().mean().backward()


def one_by_one(encode: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The encoder called once a camera, for comparison."""
    return lambda images: torch.stack([encode(images[:, camera]) for camera in range(images.shape[1])], dim=1)


def measure(setting: Setting, batch: int, cameras: int, device: str, repeats: int) -> dict[str, float]:
    """Tokens a second (the best of several), and megabytes."""
    session = Session(setting, batch, cameras, device)
    session.step()
    clock = time.perf_counter if device == "cuda" else time.process_time
    seconds = []
    for _ in range(repeats):
        started_s = clock()
        session.step()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(clock() - started_s)
    session.model.zero_grad(set_to_none=True)
    return {"tokens_per_s": session.tokens / min(seconds), "peak_mb": peak_bytes(session.step, device) / 1e6}


def settings(depths: list[int]) -> Iterator[Setting]:
    """All that is measured."""
    for backward in (False, True):
        for precision in ("float32", "bfloat16"):
            for attention in ("auto", "sdpa", "eager"):
                yield Setting(attention, precision, depths[0], backward=backward)
        for depth in depths[1:]:
            yield Setting("auto", "float32", depth, backward=backward)
        yield Setting("auto", "float32", depths[0], "attention_pooling", backward=backward)
    yield Setting("auto", "float32", depths[0], vision="call a camera")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--depths", default="2,8", help="layers of the language model")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    machine = torch.cuda.get_device_name() if device == "cuda" else f"{platform.machine()} CPU, one thread"
    print(f"{machine}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"batch {args.batch}, {args.cameras} cameras of 128 px")
    report: dict[str, object] = {"machine": machine, "torch": torch.__version__, "batch": args.batch}
    first: float | None = None
    for setting in settings([int(depth) for depth in args.depths.split(",")]):
        figures = measure(setting, args.batch, args.cameras, device, args.repeats)
        first = first or figures["tokens_per_s"]
        ratio = figures["tokens_per_s"] / first
        print(
            f"{setting!s:66} {figures['tokens_per_s']:9.0f} tokens/s  x{ratio:5.2f}  {figures['peak_mb']:8.1f} MB",
            flush=True,
        )
        report[" ".join(str(setting).split())] = figures
    if args.json:
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()

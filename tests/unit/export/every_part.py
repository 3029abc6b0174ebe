"""A VLA with one of every part that the case `mlp` does not have: exported one by one they take twice as long.

The parts of a kind stand side by side and are given the same, and what each of them makes of it is in the actions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.unit.export import bundles
from tests.unit.export.bundles import SMALL, case, language, pooled, vision
from torch import Tensor, nn

from tempovla.model.action_head.base import DrawingActionHead
from tempovla.model.action_head.registry import ACTION_HEAD_REGISTRY
from tempovla.model.vlm import vlm_model
from tempovla.model.vlm.language_model import LanguageOutput, LLMBackbone, LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoder, VisionEncoderConfig
from tempovla.model.vlm.vision_projector import PROJECTOR_REGISTRY, VisionProjector, build_projector

NAME = "every part"
HEADS: tuple[tuple[str, int, Mapping[str, Any]], ...] = (
    ("gaussian", 2, {"num_modes": 2, "squash": True, "hidden_dim": 8}),
    ("diffusion", 5, {"diffusion_steps": 4, "num_steps": 2, "hidden_dim": 8, "num_layers": 1}),
    ("flow_matching", 2, {"num_steps": 2, **SMALL}),
    ("transformer", 2, {"num_modes": 2, **SMALL}),
    ("transformer", 1, {"num_bins": 4, "bin_range": 3.0, **SMALL}),
)
"""Each with its share of the chunk's steps; a transformer writes one step, or one number, after the other."""
VISIONS, LANGUAGES = ("siglip_vision_model", "clip_vision_model", "dinov2"), ("llama", "qwen3", "phi3")
READ = vlm_model.VLMModel._read
PROJECTORS: tuple[tuple[str, Mapping[str, int]], ...] = (
    ("attention_pooling", {"num_queries": 3}),
    ("perceiver", {"num_latents": 3, "num_layers": 1}),
)


class EveryHead(DrawingActionHead):
    """Each decides on some steps of the chunk. The Gaussian one draws in the graph, both kinds of numbers."""

    def __init__(self, input_dim: int, action_dim: int, action_horizon: int) -> None:
        super().__init__(input_dim, action_dim, action_horizon)
        made = [ACTION_HEAD_REGISTRY[name].build(input_dim, action_dim, steps, how) for name, steps, how in HEADS]
        self.heads = nn.ModuleList(made)
        self.names = [tuple(self._draw(place, torch.zeros(1, dtype=torch.int64))) for place in range(len(HEADS))]

    def _draw(self, place: int, seeds: Tensor) -> dict[str, Tensor]:
        return {"seed": seeds} if HEADS[place][0] == "gaussian" else self.heads[place].random_numbers(seeds)

    def random_numbers(self, seeds: Tensor) -> dict[str, Tensor]:
        drawn = [self._draw(place, seeds) for place in range(len(HEADS))]
        return {f"{name}_{place}": value for place, own in enumerate(drawn) for name, value in own.items()}

    def sample_with(self, features, numbers, own=None, *, feature_valid=None) -> Tensor:
        chunks = []
        for place, (name, _, _) in enumerate(HEADS):
            given = {key: numbers[f"{key}_{place}"] for key in self.names[place]}
            head = self.heads[place]
            if name == "gaussian":
                chunks.append(head.sample(features, given["seed"], feature_valid=feature_valid))
            else:
                chunks.append(head.sample_with(features, given, own, feature_valid=feature_valid))
        return torch.cat(chunks, dim=1)


class EveryVision(nn.Module):
    """Tokens of every encoder, one after the other."""

    def __init__(self, config: VisionEncoderConfig) -> None:
        super().__init__()
        self.resolved_config = config
        self.encoders = nn.ModuleList(VisionEncoder(vision(kind)) for kind in VISIONS)
        self.hidden_dim = self.encoders[0].hidden_dim
        self.num_tokens = sum(encoder.num_tokens for encoder in self.encoders)

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([encoder(images) for encoder in self.encoders], dim=-2)


class EveryProjector(VisionProjector):
    """Tokens of every projector, one after the other."""

    def __init__(self, vision_dim: int, llm_dim: int) -> None:
        super().__init__(vision_dim, llm_dim)
        self.parts = nn.ModuleList(build_projector(name, vision_dim, llm_dim, how) for name, how in PROJECTORS)

    def num_output_tokens(self, num_tokens: int) -> int:
        return sum(part.num_output_tokens(num_tokens) for part in self.parts)

    def output_mask(self, mask: Tensor) -> Tensor:
        return torch.cat([part.output_mask(mask) for part in self.parts], dim=1)

    def project(self, tokens: Tensor, mask: Tensor) -> Tensor:
        return torch.cat([part.project(tokens, mask) for part in self.parts], dim=1)


class EveryLanguage(nn.Module):
    """The sum of what all language models say."""

    def __init__(self, config: LLMBackboneConfig) -> None:
        super().__init__()
        self.resolved_config = config
        self.models = nn.ModuleList(LLMBackbone(language(kind)) for kind in LANGUAGES)
        self.hidden_dim = self.models[0].hidden_dim

    def forward(self, *given: Any) -> LanguageOutput:
        said = [model(*given) for model in self.models]
        return LanguageOutput(sum(output.hidden for output in said), said[0].valid)


def every_readout(model: vlm_model.VLMModel, output: LanguageOutput) -> vlm_model.VLMOutput:
    """What every read-out gives, one after the other."""
    shared = {"readout_norm": model.readout_norm, "readout": model.readout}
    each = [
        READ(SimpleNamespace(config=SimpleNamespace(readout=name), queries=queries, **shared), output)
        for name, queries in (("queries", model.queries), ("last", None), ("mean", None))
    ]
    return vlm_model.VLMOutput(*(torch.cat(parts, dim=1) for parts in zip(*each, strict=True)))


@contextmanager
def every_part() -> Iterator[str]:
    """Within it a case of this name can be saved and exported."""
    steps = sum(steps for _, steps, _ in HEADS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ACTION_HEAD_REGISTRY, "every", EveryHead)
        patch.setitem(PROJECTOR_REGISTRY, "every", EveryProjector)
        patch.setattr(vlm_model, "VisionEncoder", EveryVision)
        patch.setattr(vlm_model, "LLMBackbone", EveryLanguage)
        patch.setattr(vlm_model.VLMModel, "_read", every_readout)
        made = case("every", {"action_horizon": steps, "action_dim": 2, "readout": "queries"}, pooled("every"))
        patch.setitem(bundles.CASES, NAME, made)
        yield NAME

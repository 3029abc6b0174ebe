"""Task tokens of a frame, by weights that learn, that follow, or that stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.semantic_anchor import SemanticAnchor
from tempovla.model.vla.observation import observed_vector
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vlm.language_model import LayerStates
from tempovla.model.vlm.vlm_model import VLMModel
from tempovla.model.world_model.ema_target import EmaTarget
from tempovla.timeline import Track
from tempovla.timeline.keys import STATE_KEY, TOKENS_KEY


@dataclass(frozen=True)
class Words:
    """The instruction: its word pieces (B, L) int64 and their embeddings (B, L, H), and which there are (B, L) bool."""

    ids: Tensor
    embedded: Tensor
    valid: Tensor

    def rows(self, index: Tensor) -> Words:
        """Return the chosen rows."""
        return Words(self.ids[index], self.embedded[index], self.valid[index])


@dataclass(frozen=True)
class Frame:
    """What one frame shows.

    Attributes:
        words: the instruction.
        raw: (B, V * N, D) tokens of the vision encoder.
        vision: (B, P, H) the same behind the projector, as the language model reads them.
        seen: (B, P) bool, which of these are valid.
        tokens: (B, K, H) task tokens.
        layers: the language model's layers, where the task tokens needed them.
    """

    words: Words
    raw: Tensor
    vision: Tensor
    seen: Tensor
    tokens: Tensor
    layers: LayerStates | None = None

    def rows(self, index: Tensor) -> Frame:
        """Return the chosen rows."""
        layers = self.layers
        if layers is not None:
            layers = LayerStates(tuple(layer[index] for layer in layers.layers), layers.valid[index])
        raw, vision, seen, tokens = (part[index] for part in (self.raw, self.vision, self.seen, self.tokens))
        return Frame(self.words.rows(index), raw, vision, seen, tokens, layers)


class FrameEncoder(nn.Module):
    """Pictures and words to task tokens.

    The policy's own weights are those of its parts, which this module does not hold, but is given; a target may have a
    copy of them that follows or stays.

    Args:
        config: of the policy.
        vlm: its vision-language model.
        anchor: makes its task tokens.
    """

    def __init__(self, config: SAGRConfig, vlm: VLMModel, anchor: SemanticAnchor) -> None:
        super().__init__()
        self.config = config
        self.copy = EmaTarget(_parts(vlm, anchor)) if config.copies_encoder else None

    def words(self, vlm: VLMModel, now: Mapping[str, Track]) -> Words:
        """Return the instruction."""
        ids, told = now[TOKENS_KEY].at(0)
        valid = told[:, None] & (ids >= 0)
        return Words(ids, vlm.language.embed(ids, valid), valid)

    def frame(self, parts: Any, vlm: VLMModel, tracks: Mapping[str, Track], offset: int, words: Words) -> Frame:
        """Return what the frame at one offset shows.

        Args:
            parts: vision, projector and anchor by these names.
            vlm: the language model beside them.
            tracks: hold the pictures.
            offset: of the frame.
            words: the instruction.
        """
        cameras = [tracks[key].at(offset) for key in self.config.cameras]
        pictures, there = (torch.stack(column, dim=1) for column in zip(*cameras, strict=True))
        raw, vision, seen = vlm.see(pictures, there, parts["vision"], parts["projector"])
        anchor = parts["anchor"]
        if self.config.algorithm_version == "v3":
            return Frame(words, raw, vision, seen, anchor(words.embedded, words.valid, vision, seen))
        layers = vlm.layers(vision, seen, words.ids, words.valid)
        split = vision.shape[1]
        pictured, said = layers.layers[-1][:, :split], layers.layers[-1][:, split:]
        return Frame(words, raw, vision, seen, anchor(said, words.valid, pictured, seen), layers)

    def now(self, vlm: VLMModel, anchor: SemanticAnchor, now: Mapping[str, Track]) -> Frame:
        """Return what the present frame shows, by the policy's own weights, which may learn from it."""
        return self.frame(_parts(vlm, anchor), vlm, now, 0, self.words(vlm, now))

    @torch.no_grad()
    def task_tokens(
        self, vlm: VLMModel, anchor: SemanticAnchor, tracks: Mapping[str, Track], offset: int, words: Words
    ) -> Tensor:
        """Return task tokens (B, K, H) of another frame, without gradient and without dropout."""
        with _evaluated(vlm, anchor):
            return self.frame(_parts(vlm, anchor), vlm, tracks, offset, words).tokens

    def target(
        self, vlm: VLMModel, anchor: SemanticAnchor, tracks: Mapping[str, Track], offset: int, words: Words
    ) -> Tensor:
        """Return what the world predictor speaks of, (B, M, D) float32, of one offset, without gradient or dropout."""
        if self.config.world_target == "state":
            return observed_vector(tracks, STATE_KEY, offset)[:, None].float()
        parts: Any = _parts(vlm, anchor) if self.copy is None else self.copy.module
        with torch.no_grad(), _evaluated(vlm, anchor):
            return self.as_target(self.frame(parts, vlm, tracks, offset, words))

    def target_now(self, vlm: VLMModel, anchor: SemanticAnchor, frame: Frame, now: Mapping[str, Track]) -> Tensor:
        """Return what the prediction starts from, in the form of the target, (B, M, D) float32.

        With `world_detach_input` it is the target of the present frame, without gradient; else it is made by the
        policy's own weights, with one.
        """
        config = self.config
        if config.world_target == "state" or (self.copy is not None and config.world_detach_input):
            return self.target(vlm, anchor, now, 0, frame.words)
        target = self.as_target(frame)
        return target.detach() if config.world_detach_input else target

    def as_target(self, frame: Frame) -> Tensor:
        """Return tokens of a frame as the target has them: each normalised by itself."""
        if self.config.world_target == "vision":
            return normalized(frame.raw)
        tokens = frame.tokens
        return normalized(tokens.mean(dim=1, keepdim=True) if self.config.world_target == "z" else tokens)

    def follow(self, vlm: VLMModel, anchor: SemanticAnchor) -> None:
        """Move a copy that follows towards the policy's own weights."""
        if self.copy is not None and self.config.world_target_encoder == "ema":
            self.copy.update(_parts(vlm, anchor), self.config.world_target_decay)


def _parts(vlm: VLMModel, anchor: SemanticAnchor) -> nn.ModuleDict:
    return nn.ModuleDict({"vision": vlm.vision, "projector": vlm.projector, "anchor": anchor})


def normalized(tokens: Tensor) -> Tensor:
    """Return tokens in float32 with mean 0 and variance 1 each."""
    return F.layer_norm(tokens.float(), tokens.shape[-1:])


@contextmanager
def _evaluated(*modules: nn.Module) -> Iterator[None]:
    """Let modules compute as in control, without dropout; each of their parts is put back as it was."""
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True

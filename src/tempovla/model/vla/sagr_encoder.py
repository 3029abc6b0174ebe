"""Task tokens of a frame, by weights that learn, that follow, or that stay."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tempovla.model.fusion.semantic_anchor import SemanticAnchor
from tempovla.model.vla.observation import all_observed, observed_vector
from tempovla.model.vla.sagr_config import SAGRConfig
from tempovla.model.vla.sagr_geometry import GeometryBranch
from tempovla.model.vlm.language_model import LayerStates
from tempovla.model.vlm.vlm_model import VLMModel
from tempovla.model.world_model.ema_target import EmaTarget
from tempovla.timeline import Context, Task, Track
from tempovla.timeline.keys import STATE_KEY, TOKENS_KEY


@dataclass(frozen=True)
class Words:
    """The instruction: its word pieces (B, L) int64 and their embeddings (B, L, H), and which there are (B, L) bool.

    `spoken` (B, L) bool is True for those of them that are words, which a tokenizer's special tokens are not. The tasks
    of the rows hold the words as text, and the body with its cameras.
    """

    ids: Tensor
    embedded: Tensor
    valid: Tensor
    spoken: Tensor
    tasks: tuple[Task, ...]

    def rows(self, index: Tensor) -> Words:
        """Return the chosen rows."""
        tasks = tuple(self.tasks[row] for row in index.tolist())
        ids, embedded, valid, spoken = (part[index] for part in (self.ids, self.embedded, self.valid, self.spoken))
        return Words(ids, embedded, valid, spoken, tasks)


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
    """Pictures and words to task tokens, with a copy of its weights for targets where these are not its own.

    Args:
        config: of the policy.

    Attributes:
        vlm: the vision-language model.
        geometry: tells where things are; None sees pictures alone.
        anchor: makes the task tokens.
    """

    def __init__(self, config: SAGRConfig) -> None:
        super().__init__()
        self.vlm = VLMModel(replace(config.vlm, num_cameras=len(config.cameras)))
        self.config = replace(config, vlm=self.vlm.resolved_config)
        width = self.vlm.language.hidden_dim
        self.geometry = None
        if config.geometry is not None:
            streams = (config.cameras, config.depths)
            self.geometry = GeometryBranch(config.geometry, *streams, width, config.geometry_heads)
        reads_geometry = self.geometry is not None
        heads = config.task_token_heads
        self.anchor = SemanticAnchor(width, config.task_token_num, heads, reads_geometry=reads_geometry)
        self.copy = EmaTarget(self._parts()) if config.copies_encoder else None

    def _parts(self) -> nn.ModuleDict:
        """What makes task tokens of version v3."""
        parts: dict[str, nn.Module] = {
            "vision": self.vlm.vision,
            "projector": self.vlm.projector,
            "anchor": self.anchor,
        }
        return nn.ModuleDict(parts if self.geometry is None else {**parts, "geometry": self.geometry})

    @property
    def raw_shape(self) -> tuple[int, int]:
        """Width of the vision encoder's tokens, and their number in all pictures of a frame."""
        return self.vlm.vision.hidden_dim, len(self.config.cameras) * self.vlm.vision.num_tokens

    @property
    def target_shape(self) -> tuple[int, int]:
        """Number M and width D of the tokens that the world predictor speaks of.

        Raises:
            ValueError: if FLARE is to align another number of tokens with them.
        """
        config, width = self.config, self.vlm.language.hidden_dim
        if config.world_target == "vision":
            _, tokens = self.raw_shape
            if config.flare_weight and tokens != config.action_head.num_target_vision_tokens:
                raise ValueError(
                    f"model.world_target=vision has {tokens} tokens; set "
                    f"model.action_head.num_target_vision_tokens={tokens}, or model.flare_weight=0"
                )
            return tokens, self.vlm.vision.hidden_dim
        if config.world_target == "state":
            return 1, config.robot_state_dim or 0
        return config.target_tokens or 0, width

    def words(self, context: Context) -> Words:
        """Return the instruction."""
        ids, told = context.now[TOKENS_KEY].at(0)
        valid = told[:, None] & (ids >= 0)
        spoken = valid
        for special in self.config.special_token_ids:
            spoken = spoken & (ids != special)
        return Words(ids, self.vlm.language.embed(ids, valid), valid, spoken, context.task)

    def now(self, context: Context) -> Frame:
        """Return what the present frame shows, by the policy's own weights, which may learn from it."""
        return self._frame(self._parts(), context.now, 0, self.words(context))

    def seen(self, tracks: Mapping[str, Track], offset: int = 0, *, state: bool = True) -> Tensor:
        """Return (B,) True where the frame at an offset is there: all that a body must have, and some camera.

        Without `state` it need not have the robot's.
        """
        required = [key for key in self.config.required if state or key != STATE_KEY]
        some = torch.stack([tracks[key].at(offset)[1] for key in self.config.cameras]).any(dim=0)
        return some & all_observed(tracks, required, offset) if required else some

    def seen_again(
        self, now: Mapping[str, Track], tracks: Mapping[str, Track], offset: int, keys: Sequence[str]
    ) -> Tensor:
        """Return (B,) True where these streams are valid at an offset, but for those that the body lacks now, too."""
        there = []
        for key in keys:
            valid = tracks[key].at(offset)[1]
            there.append(valid | ~now[key].at(0)[1] if key in self.config.optional else valid)
        return torch.stack(there).all(dim=0)

    @torch.no_grad()
    def task_tokens(self, tracks: Mapping[str, Track], offset: int, words: Words) -> Tensor:
        """Return task tokens (B, K, H) of another frame, without gradient and without dropout."""
        with _evaluated(self):
            return self._frame(self._parts(), tracks, offset, words).tokens

    @torch.no_grad()
    def raw(self, tracks: Mapping[str, Track], offset: int) -> Tensor:
        """Return the vision encoder's tokens (B, V * N, D) of another frame, without gradient and without dropout."""
        cameras = [tracks[key].at(offset) for key in self.config.cameras]
        pictures, there = (torch.stack(column, dim=1) for column in zip(*cameras, strict=True))
        with _evaluated(self):
            return self.vlm.see(pictures, there)[0]

    def target(self, tracks: Mapping[str, Track], offset: int, words: Words) -> Tensor:
        """Return what the world predictor speaks of, (B, M, D) float32, of one offset, without gradient or dropout."""
        if self.config.world_target == "state":
            return observed_vector(tracks, STATE_KEY, offset)[:, None].float()
        parts: Any = self._parts() if self.copy is None else self.copy.module
        with torch.no_grad(), _evaluated(self):
            return self.as_target(self._frame(parts, tracks, offset, words))

    def target_now(self, frame: Frame, context: Context) -> Tensor:
        """Return the target of the present frame, (B, M, D) float32, without gradient."""
        if self.config.world_target == "state" or self.copy is not None:
            return self.target(context.now, 0, frame.words)
        return self.as_target(frame).detach()

    def start_now(self, frame: Frame, target: Tensor) -> Tensor:
        """Return what the prediction starts from, in the form of the target, (B, M, D) float32.

        With `world_detach_input` it is the target of the present frame, without gradient; else it is made by the
        policy's own weights, with one.
        """
        config = self.config
        return target if config.world_detach_input or config.world_target == "state" else self.as_target(frame)

    @property
    def starts_apart(self) -> bool:
        """Whether the prediction starts from tokens of other weights than those that make the target."""
        return self.copy is not None and not self.config.world_detach_input

    @torch.no_grad()
    def start(self, tracks: Mapping[str, Track], offset: int, words: Words, target: Tensor) -> Tensor:
        """Return what a prediction at another offset starts from, whose `target` is given, without gradient."""
        if not self.starts_apart:
            return target
        with _evaluated(self):
            return self.as_target(self._frame(self._parts(), tracks, offset, words))

    def renew_copy(self) -> None:
        """Let the target begin again from the policy's own weights."""
        if self.copy is not None:
            self.copy.module.load_state_dict(self._parts().state_dict())

    def as_target(self, frame: Frame) -> Tensor:
        """Return tokens of a frame as the target has them: each normalised by itself."""
        if self.config.world_target == "vision":
            return normalized(frame.raw)
        tokens = frame.tokens
        return normalized(tokens.mean(dim=1, keepdim=True) if self.config.world_target == "z" else tokens)

    def layers(self, frame: Frame) -> LayerStates:
        """Return the layers of the language model over a frame."""
        if frame.layers is not None:
            return frame.layers
        return self.vlm.layers(frame.vision, frame.seen, frame.words.ids, frame.words.valid)

    def follow(self) -> None:
        """Move a copy that follows towards the weights that learn."""
        if self.copy is not None and self.config.world_target_encoder == "ema":
            self.copy.update(self._parts(), self.config.world_target_decay)

    def _frame(self, parts: Any, tracks: Mapping[str, Track], offset: int, words: Words) -> Frame:
        """What the frame at one offset shows, by these parts."""
        cameras = [tracks[key].at(offset) for key in self.config.cameras]
        pictures, there = (torch.stack(column, dim=1) for column in zip(*cameras, strict=True))
        raw, vision, seen = self.vlm.see(pictures, there, parts["vision"], parts["projector"])
        anchor: Any = parts["anchor"]
        around: tuple[Tensor, ...] = ()
        if "geometry" in parts:
            found, counts = parts["geometry"](pictures, there, tracks, offset, words.tasks)
            vision = parts["geometry"].fuse(vision, found, counts)
            around = (parts["geometry"].as_context(found), counts)
        if self.config.algorithm_version == "v3":
            return Frame(words, raw, vision, seen, anchor(words.embedded, words.spoken, vision, seen, *around))
        layers = self.vlm.layers(vision, seen, words.ids, words.valid)
        split = vision.shape[1]
        pictured, said = layers.layers[-1][:, :split], layers.layers[-1][:, split:]
        return Frame(words, raw, vision, seen, anchor(said, words.spoken, pictured, seen, *around), layers)


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

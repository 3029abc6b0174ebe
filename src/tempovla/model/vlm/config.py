"""Options of the vision encoder, the language model and the model that joins them.

Nothing here loads torch, so that the command line can show and check these options at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

FROM_SCRATCH = ("conv", "patch")
"""Names of vision encoders that have no pretrained weights."""

ResizePolicy = Literal["stretch", "pad", "crop"]
Readout = Literal["queries", "last", "mean", "all_tokens"]


@dataclass(frozen=True)
class VisionEncoderConfig:
    """A vision encoder.

    Attributes:
        model_name: a key of `ENCODER_REGISTRY` (`conv` and `patch` train from scratch) or `VISION_MODELS`, another name
            on the hub, or a local folder.
        image_size: side of the square that the encoder sees [px]; None takes what the model was made for, and 224 where
            nothing says.
        output_dim: width of a token. Of a pretrained model a learned linear layer gives it, where it is not its own
            width; None takes that, and 256 for those from scratch.
        freeze: the encoder's weights do not learn. None freezes pretrained ones.
        resize: how pictures of another shape become a square: `stretch`, `pad` with grey or `crop` the centre.
        patch_size: side of a patch of an encoder from scratch [px].
        layer: hidden layer of a pretrained model that is read: -1 its output, -2 what goes into its last layer.
        mean, std: what pixels in [0, 1] are scaled by, a channel; None takes the image processor's, or 0.5.
        architecture: transformers' config as plain values, with its `model_type`. Given, the model is built from it
            with fresh weights and nothing is read from `model_name`, as when weights are loaded later.
    """

    model_name: str = "siglip-base"
    image_size: int | None = None
    output_dim: int | None = None
    freeze: bool | None = None
    resize: ResizePolicy = "stretch"
    patch_size: int = 16
    layer: int = -1
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    architecture: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("image_size", "output_dim", "patch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"vision.{name}={value} must be at least 1")
        for name in ("mean", "std"):
            value = getattr(self, name)
            least, told = (0.0, " above 0") if name == "std" else (-math.inf, "")
            if value is not None and (len(value) != 3 or not all(least < number < math.inf for number in value)):
                raise ValueError(f"vision.{name}={list(value)} must be three numbers{told}, one of each colour")
        if self.resize not in ("stretch", "pad", "crop"):
            raise ValueError(f"vision.resize={self.resize!r} is unknown; choose from stretch, pad, crop")
        if self.freeze and self.model_name in FROM_SCRATCH:
            raise ValueError(
                f"vision.model_name={self.model_name} has no pretrained weights to freeze; set freeze=False"
            )


@dataclass(frozen=True)
class LLMBackboneConfig:
    """A causal language model that gives hidden states.

    Attributes:
        model_name: a key of `LANGUAGE_MODELS`, another name on the hub, or a local folder.
        dtype: of the weights; None takes bfloat16 for pretrained weights and float32 for fresh ones, which would not
            learn well in bfloat16 (autocast is for the trainer).
        attention: `sdpa` is torch's fused attention and `eager` the model's own; `auto` is fused, but for training on a
            CPU in bfloat16, where the plain formula is several times faster.
        freeze: the weights do not learn; gradients still reach the inputs.
        layer: hidden states that are read: -1 are the model's output, k (or k - depth - 1) what the first k layers
            give, without the final norm. Layers above are dropped.
        lm_head: keep the head that predicts words, for `logits`.
        architecture: transformers' config as plain values, with its `model_type`. Given, the model is built from it
            with fresh weights and nothing is read from `model_name`, as when weights are loaded later.
    """

    model_name: str = "Qwen/Qwen2-1.5B"
    dtype: Literal["bfloat16", "float32"] | None = None
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    freeze: bool = False
    layer: int = -1
    lm_head: bool = False
    architecture: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name, known in (("dtype", ("bfloat16", "float32", None)), ("attention", ("auto", "sdpa", "eager"))):
            if getattr(self, name) not in known:
                raise ValueError(f"language.{name}={getattr(self, name)!r} is unknown; choose from {list(known)}")
        if self.lm_head and self.layer != -1:
            raise ValueError(f"language.layer={self.layer} has no head that predicts words; set lm_head=False")


@dataclass(frozen=True)
class VLMConfig:
    """A vision-language model that is read for acting.

    Attributes:
        vision: the vision encoder.
        language: the language model.
        projector: name in `PROJECTOR_REGISTRY`.
        projector_options: its options, such as `num_queries`.
        num_cameras: pictures an observation; of several, each gets a learned embedding.
        readout: what is read of the hidden states: those of learned `queries` behind the text, of the `last` valid
            token, the `mean` over valid tokens, or `all_tokens`.
        num_queries: learned queries of the read-out `queries`.
        readout_dim: width of the features; None takes the language model's.
    """

    vision: VisionEncoderConfig = field(default_factory=VisionEncoderConfig)
    language: LLMBackboneConfig = field(default_factory=LLMBackboneConfig)
    projector: str = "mlp"
    projector_options: Mapping[str, Any] = field(default_factory=dict)
    num_cameras: int = 1
    readout: Readout = "queries"
    num_queries: int = 8
    readout_dim: int | None = None

    def __post_init__(self) -> None:
        if self.readout not in ("queries", "last", "mean", "all_tokens"):
            raise ValueError(f"readout={self.readout!r} is unknown; choose from queries, last, mean, all_tokens")
        for name in ("num_cameras", "num_queries", "readout_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

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
Readout = Literal["queries", "last", "mean", "all_tokens", "layers"]


@dataclass(frozen=True)
class VisionEncoderConfig:
    """A vision encoder.

    Attributes:
        model_name: a key of `ENCODER_REGISTRY` (`conv` and `patch` train from scratch) or `VISION_MODELS`, another name
            on the hub, or a local folder.
        image_size: side of the square picture that the encoder sees [px]; None takes the size for which the model was
            made, or 224.
        output_dim: width of a token. If a pretrained model has another width, a learned linear layer changes it. None
            takes the width of the pretrained model, and 256 from scratch.
        freeze: do not train the encoder's weights; None freezes pretrained ones.
        resize: how pictures that are not square become square: `stretch`, `pad` with grey, or `crop` the centre.
        patch_size: side of a patch of an encoder from scratch [px].
        layer: hidden layer of a pretrained model whose output is used: -1 is the model's output, -2 the input of its
            last layer.
        mean, std: values by which each channel of the pixels in [0, 1] is normalised; None takes those of the image
            processor, or 0.5.
        architecture: transformers' config as plain values, with its `model_type`. The model is then built from it with
            fresh weights, and nothing is read from `model_name`.
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


def is_fetched(vision: VisionEncoderConfig) -> bool:
    """Return whether the weights of an encoder, and its sizes, come from the hub or a folder."""
    return vision.architecture is None and vision.model_name not in FROM_SCRATCH


@dataclass(frozen=True)
class LLMBackboneConfig:
    """A causal language model that gives hidden states.

    Attributes:
        model_name: a key of `LANGUAGE_MODELS`, another name on the hub, or a local folder.
        dtype: type of the weights; None takes bfloat16 for pretrained weights, and float32 for fresh ones, which would
            not learn well in bfloat16.
        attention: `sdpa` is torch's fused attention and `eager` the model's own. `auto` is `sdpa`, except for training
            on a CPU in bfloat16, where the plain formula is several times faster.
        freeze: do not train the weights. Gradients still reach the inputs.
        layer: hidden states that are used: -1 is the model's output; k (or k - depth - 1) is the output of the first k
            layers, without the final norm. Layers above are dropped.
        lm_head: keep the head that predicts words, for `logits`.
        architecture: transformers' config as plain values, with its `model_type`. The model is then built from it with
            fresh weights, and nothing is read from `model_name`.
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
        projector: name of the projector, from `PROJECTOR_REGISTRY`.
        projector_options: options of the projector, such as `num_queries`.
        num_cameras: number of pictures in an observation. If there are several, each has a learned embedding.
        readout: which hidden states are the output: those of learned `queries` behind the text, of the `last` valid
            token, the `mean` over valid tokens, or `all_tokens`. `layers` gives the hidden states of all tokens behind
            every layer, for a head that reads the model layer by layer.
        num_queries: number of learned queries of the read-out `queries`.
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
        known = ("queries", "last", "mean", "all_tokens", "layers")
        if self.readout not in known:
            raise ValueError(f"readout={self.readout!r} is unknown; choose from {', '.join(known)}")
        if self.readout == "layers" and self.readout_dim is not None:
            raise ValueError(f"readout_dim={self.readout_dim} is of no use with readout=layers; leave it out")
        for name in ("num_cameras", "num_queries", "readout_dim"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")

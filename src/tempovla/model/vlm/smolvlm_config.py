"""Options of SmolVLM as a backbone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class SmolVLMBackboneConfig:
    """A SmolVLM (or Idefics3) whose first layers are read.

    Attributes:
        model_name: name on the Hugging Face hub, such as HuggingFaceTB/SmolVLM2-500M-Video-Instruct, or a local folder.
        num_layers: layers of the language model that are used, the first ones; None takes half of them.
        image_size: side of the square that the vision model sees [px]; None takes its own size.
        resize: how pictures of another shape become a square: `pad` fits them in at the lower right, with black around,
            `stretch` changes their shape.
        image_tokenizer: `smolvlm` is the vision transformer and the pixel shuffle behind it; `conv`, for training from
            scratch, a small stack of convolutions in their place, with as many tokens.
        dtype: of the weights; None takes bfloat16 for a pretrained model that does not learn, else float32.
        scale_embeddings: multiply what goes into the language model by the square root of its width, as LeRobot's
            SmolVLA does, though SmolVLM was not trained so.
        rope_theta: base of the rotary positions; None takes the language model's. LeRobot's SmolVLA has 10,000.
        architecture: transformers' config of the whole as plain values, with its `model_type` (`smolvlm`). Given, the
            model is built from it with fresh weights and nothing is read from `model_name`.
    """

    model_name: str = "HuggingFaceTB/SmolVLM-256M-Instruct"
    num_layers: int | None = 16
    image_size: int | None = None
    resize: Literal["pad", "stretch"] = "pad"
    image_tokenizer: Literal["smolvlm", "conv"] = "smolvlm"
    dtype: Literal["bfloat16", "float32"] | None = None
    scale_embeddings: bool = False
    rope_theta: float | None = None
    architecture: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("num_layers", "image_size", "rope_theta"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"vlm.{name}={value} must be at least 1")
        choices = {
            "resize": ("pad", "stretch"),
            "image_tokenizer": ("smolvlm", "conv"),
            "dtype": ("bfloat16", "float32", None),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"vlm.{name}={getattr(self, name)!r} is unknown; choose from {list(known)}")
        if self.image_tokenizer == "conv" and self.architecture is None:
            raise ValueError("vlm.image_tokenizer=conv trains from scratch; give vlm.architecture, too")

"""Vision and language: encoders, projectors, language models, and all of them as one.

Each name is loaded at first use.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.vlm.config import LLMBackboneConfig, VisionEncoderConfig, VLMConfig
    from tempovla.model.vlm.language_model import LANGUAGE_MODELS, LanguageOutput, LLMBackbone
    from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY, VISION_MODELS, VisionEncoder
    from tempovla.model.vlm.vision_projector import (
        PROJECTOR_REGISTRY,
        AttentionPoolingProjector,
        MLPProjector,
        PerceiverProjector,
    )
    from tempovla.model.vlm.vlm_model import VLMModel, VLMOutput

__all__ = [
    "ENCODER_REGISTRY",
    "LANGUAGE_MODELS",
    "PROJECTOR_REGISTRY",
    "VISION_MODELS",
    "AttentionPoolingProjector",
    "LLMBackbone",
    "LLMBackboneConfig",
    "LanguageOutput",
    "MLPProjector",
    "PerceiverProjector",
    "VLMConfig",
    "VLMModel",
    "VLMOutput",
    "VisionEncoder",
    "VisionEncoderConfig",
]

_MODULES = {
    "config": (
        "LLMBackboneConfig",
        "VLMConfig",
        "VisionEncoderConfig",
    ),
    "language_model": (
        "LANGUAGE_MODELS",
        "LanguageOutput",
        "LLMBackbone",
    ),
    "vision_encoder": (
        "ENCODER_REGISTRY",
        "VISION_MODELS",
        "VisionEncoder",
    ),
    "vision_projector": (
        "PROJECTOR_REGISTRY",
        "AttentionPoolingProjector",
        "MLPProjector",
        "PerceiverProjector",
    ),
    "vlm_model": (
        "VLMModel",
        "VLMOutput",
    ),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)

"""Vision and language: encoders, projectors, language models, and all of them as one.

Each name is loaded when it is asked for.
"""

from typing import TYPE_CHECKING

from tempovla.timeline.lazy import lazy_names

if TYPE_CHECKING:
    from tempovla.model.vlm.language_model import LANGUAGE_MODELS, LanguageOutput, LLMBackbone, LLMBackboneConfig
    from tempovla.model.vlm.vision_encoder import ENCODER_REGISTRY, VISION_MODELS, VisionEncoder, VisionEncoderConfig
    from tempovla.model.vlm.vision_projector import (
        PROJECTOR_REGISTRY,
        AttentionPoolingProjector,
        MLPProjector,
        PerceiverProjector,
    )
    from tempovla.model.vlm.vlm_model import VLMConfig, VLMModel, VLMOutput

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
    "language_model": (
        "LANGUAGE_MODELS",
        "LanguageOutput",
        "LLMBackbone",
        "LLMBackboneConfig",
    ),
    "vision_encoder": (
        "ENCODER_REGISTRY",
        "VISION_MODELS",
        "VisionEncoder",
        "VisionEncoderConfig",
    ),
    "vision_projector": (
        "PROJECTOR_REGISTRY",
        "AttentionPoolingProjector",
        "MLPProjector",
        "PerceiverProjector",
    ),
    "vlm_model": (
        "VLMConfig",
        "VLMModel",
        "VLMOutput",
    ),
}

if not TYPE_CHECKING:
    __getattr__ = lazy_names(__name__, _MODULES)

"""Checkpoints of tiny untrained policies, saved as training saves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.contract.registry import METAWORLD, POLICIES, WRIST, PolicyCase, seeded, tiny_vla_config, vla
from tests.contract.toys import ACTION, FRONT, STATE
from tests.tiny_models import VISION_SIZES, language_architecture

from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.timeline import Bundle, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction, WordTokenizer


def pooling(projector: str, **options: int) -> PolicyCase:
    """A VLA whose projector gives fewer tokens than it takes."""
    config = tiny_vla_config("mlp", projector=projector)
    config = replace(config, vlm=replace(config.vlm, projector_options=options))
    return PolicyCase(lambda: seeded(lambda: VLAModel(config).eval()), POLICIES["vla-mlp"].shapes)


def transformers_models(vision: str, language: str) -> PolicyCase:
    """A VLA of transformers' own models, small; DINOv2's positions are interpolated."""
    config = tiny_vla_config("mlp")
    sizes = {**VISION_SIZES, "model_type": vision, "image_size": 24 if vision == "dinov2" else 16, "patch_size": 8}
    encoder = VisionEncoderConfig(vision, image_size=16, architecture=sizes)
    model = LLMBackboneConfig(architecture=language_architecture(language, num_hidden_layers=2))
    config = replace(config, vlm=replace(config.vlm, vision=encoder, language=model))
    return PolicyCase(lambda: seeded(lambda: VLAModel(config).eval()), POLICIES["vla-mlp"].shapes)


SMALL = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2}
READ = {"token_dim": 4, "feature_dim": 8, "readout": "all_tokens"}
HEADS: dict[str, PolicyCase] = {
    "mlp": vla("mlp", (), READ, hidden_dim=8),
    "gaussian": vla("gaussian", (), num_modes=2, squash=True, hidden_dim=8),
    "diffusion": vla("diffusion", (), {"readout": "last"}, diffusion_steps=4, num_steps=2, hidden_dim=8, num_layers=2),
    "flow_matching": vla("flow_matching", (), {"readout": "mean"}, num_steps=2, **SMALL),
    "transformer": vla("transformer", (), num_modes=2, **SMALL),
}
"""A VLA a head; all read-outs are among them."""
CASES: dict[str, PolicyCase] = {
    **HEADS,
    "bins": vla("transformer", (), num_bins=4, bin_range=3.0, **SMALL),
    "metaworld": vla("flow_matching", (), METAWORLD, num_steps=2, **SMALL),
    "perceiver": pooling("perceiver", num_latents=3),
    "attention_pooling": pooling("attention_pooling", num_queries=3),
    "siglip_llama": transformers_models("siglip_vision_model", "llama"),
    "clip_qwen3": transformers_models("clip_vision_model", "qwen3"),
    "dinov2_phi3": transformers_models("dinov2", "phi3"),
    "no_state": POLICIES["vla-no-state"],
    "statevla": POLICIES["statevla-policy-demo"],
    "mamba": POLICIES["statevla-policy"],
}

MOMENTS = {STATE: ([0.5, -3.0, 100.0], [0.1, 2.0, 5.0]), ACTION: ([0.2, -1.0, 3.0, 0.0], [0.03, 5.0, 1.0, 1.0])}
INSTRUCTIONS = ["open the drawer", "push the red button"]
IMAGE_SHAPES = {FRONT: [21, 27, 3], WRIST: [32, 32, 3]}
"""The wrist's pictures are halved; odd sides in front, where no pixel lies halfway between two whole numbers."""
BODY = Embodiment("toy", 3, 4, 10.0)


def tiny_bundle(name: str, image: Any = None, provenance: Mapping[str, Any] | None = None) -> Bundle:
    """The bundle of a case, whose layers that start at zero have learned something.

    Args:
        name: in `CASES`.
        image: a transform of pictures in place of resizing them to 16 px.
        provenance: what is different in it.
    """
    policy: Any = CASES[name].build()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for weight in policy.parameters():
            if not weight.any():
                weight.normal_(std=0.2)
    keep = (3,) if policy.config.has_gripper else ()
    config = {STATE: NormalizationConfig(), ACTION: NormalizationConfig("mean_std", keep)}
    statistics = {key: {"mean": np.array(mean), "std": np.array(std)} for key, (mean, std) in MOMENTS.items()}
    is_vla = "language" not in CASES[name].shapes
    words = TokenizeInstruction(WordTokenizer(16), 6) if is_vla else EmbedInstruction(HashedNgramEmbedder(12))
    pipeline = TransformPipeline([image or ResizeImages(16), Normalize.fit(statistics, config), words])
    known = {"instructions": INSTRUCTIONS, "image_shapes": IMAGE_SHAPES, **(provenance or {})}
    kind = "vla" if is_vla else "statevla"
    fields = config_to_json(policy.config)
    return Bundle(kind, fields, policy.windows(), BODY, pipeline.to_json(), policy.state_dict(), known)


def save(folder: Path, name: str, **options: Any) -> Path:
    """A checkpoint of a case in `folder / name`."""
    tiny_bundle(name, **options).save(folder / name)
    return folder / name

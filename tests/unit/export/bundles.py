"""Checkpoints of tiny untrained policies, saved as training saves them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.contract.policy_cases import WRIST, PolicyCase, seeded, statevla
from tests.contract.registry import DEMO, FLOW, METAWORLD, POLICIES
from tests.contract.samples import VOCABULARY
from tests.contract.toys import ACTION, FRONT, STATE
from tests.tiny import tiny_vla_config
from tests.tiny_models import VISION_SIZES, language_architecture

from tempovla.export import formats
from tempovla.model.vla.context_policy import base_of
from tempovla.model.vla.vla_model import VLAModel
from tempovla.model.vlm.language_model import LLMBackboneConfig
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.timeline import Bundle, CameraCalibration, Embodiment
from tempovla.timeline.config import config_to_json
from tempovla.timeline.keys import DEPTH_KEY_PREFIX
from tempovla.transform.blind import BlankImages
from tempovla.transform.depth import ResizeDepth
from tempovla.transform.image import ResizeImages
from tempovla.transform.normalize import NormalizationConfig, Normalize
from tempovla.transform.pipeline import TransformPipeline
from tempovla.transform.text import EmbedInstruction, HashedNgramEmbedder
from tempovla.transform.tokenize import TokenizeInstruction
from tempovla.transform.tokenizer import WordTokenizer


def case(head: str, model: Mapping[str, Any] | None = None, vlm: Mapping[str, Any] | None = None, **options: Any):
    """A VLA of this head with its `options`; `model` is for `tiny_vla_config`, `vlm` for fields of its VLM."""
    plain = tiny_vla_config(head, action_head_options={head: options}, **model or {})
    config = replace(plain, vlm=replace(plain.vlm, **{"language": language("qwen2"), **(vlm or {})}))
    return PolicyCase(lambda: seeded(lambda: VLAModel(config).eval()), POLICIES["vla-mlp"].shapes)


def vision(kind: str) -> VisionEncoderConfig:
    """An encoder of transformers, small; DINOv2's positions are interpolated."""
    sizes = {
        **VISION_SIZES,
        "num_hidden_layers": 1,
        "model_type": kind,
        "image_size": 24 if kind == "dinov2" else 16,
        "patch_size": 8,
    }
    return VisionEncoderConfig(kind, image_size=16, architecture=sizes)


def language(kind: str) -> LLMBackboneConfig:
    """A language model of transformers, small."""
    architecture = language_architecture(kind, num_hidden_layers=1, vocab_size=VOCABULARY)
    return LLMBackboneConfig(architecture=architecture)


def pooled(projector: str, **options: int) -> dict[str, Any]:
    """A projector that gives fewer tokens than it takes."""
    return {"projector": projector, "projector_options": options}


SMALL = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2}
READ = {"token_dim": 4, "feature_dim": 8, "readout": "all_tokens"}
BARE = {"robot_state_dim": None, "readout": "last", "has_gripper": False}
ONE, TWO = {"action_horizon": 1, "action_dim": 2}, {"action_horizon": 2}
"""Actions of heads that write one number, or one step, after the other: each is a part of the graph of its own."""
CASES: dict[str, PolicyCase] = {
    "mlp": case("mlp", READ, hidden_dim=8),
    "gaussian": case(
        *("gaussian", {"readout": "mean"}, pooled("perceiver", num_latents=3, num_layers=1)),
        **{"num_modes": 2, "squash": True, "hidden_dim": 8},
    ),
    "diffusion": case(
        *("diffusion", BARE, pooled("attention_pooling", num_queries=3)),
        **{"diffusion_steps": 4, "num_steps": 2, "hidden_dim": 8, "num_layers": 1},
    ),
    "flow_matching": case(
        *("flow_matching", METAWORLD, {"vision": vision("siglip_vision_model"), "language": language("llama")}),
        **{"num_steps": 2, **SMALL},
    ),
    "transformer": case(
        *("transformer", TWO, {"vision": vision("clip_vision_model"), "language": language("qwen3")}),
        **{"num_modes": 2, **SMALL},
    ),
    "bins": case(
        *("transformer", ONE, {"vision": vision("dinov2"), "language": language("phi3")}),
        **{"num_bins": 4, "bin_range": 3.0, **SMALL},
    ),
    "statevla": statevla(2, FLOW, freeze_encoder=False, flow_draws=3, **DEMO),
    "mamba": POLICIES["statevla-policy"],
    "sagr": POLICIES["sagr-flow"],
}
"""Each head, read-out, projector, vision encoder and language model is in one of them; graphs are slow to export."""

MOMENTS = {STATE: ([0.5, -3.0, 100.0], [0.1, 2.0, 5.0]), ACTION: ([0.2, -1.0, 3.0, 0.0], [0.03, 5.0, 1.0, 1.0])}
INSTRUCTIONS = ["open the drawer", "push the red button"]
IMAGE_SHAPES = {FRONT: [21, 27, 3], WRIST: [32, 32, 3]}
"""The wrist's pictures are halved; odd sides in front, where no pixel lies halfway between two whole numbers."""
DEPTHS = (DEPTH_KEY_PREFIX + "front", DEPTH_KEY_PREFIX + "wrist")
BODY = Embodiment(
    "toy", 3, 4, 10.0, cameras=tuple(CameraCalibration(key, 32, 32, 30.0, 28.0, 15.0, 17.0) for key in DEPTHS)
)


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
    dims = {STATE: 3, ACTION: policy.config.action_dim}
    keep = (dims[ACTION] - 1,) if policy.config.has_gripper else ()
    config = {STATE: NormalizationConfig(), ACTION: NormalizationConfig("mean_std", keep)}
    statistics = {
        key: {"mean": np.array(mean[: dims[key]]), "std": np.array(std[: dims[key]])}
        for key, (mean, std) in MOMENTS.items()
    }
    is_vla = "language" not in CASES[name].shapes
    words = TokenizeInstruction(WordTokenizer(16), 6) if is_vla else EmbedInstruction(HashedNgramEmbedder(12))
    blind = isinstance(image, BlankImages)
    depths = [ResizeDepth(DEPTHS, 16, blind)] if {window.key for window in policy.windows()} >= set(DEPTHS) else []
    pipeline = TransformPipeline([image or ResizeImages(16), *depths, Normalize.fit(statistics, config), words])
    known = {"instructions": INSTRUCTIONS, "image_shapes": IMAGE_SHAPES, **(provenance or {})}
    kind = base_of(policy).kind
    fields = config_to_json(policy.config)
    body = replace(BODY, action_dim=dims[ACTION])
    return Bundle(kind, fields, policy.windows(), body, pipeline.to_json(), policy.state_dict(), known)


def save(folder: Path, name: str, **options: Any) -> Path:
    """A checkpoint of a case in `folder / name`."""
    tiny_bundle(name, **options).save(folder / name)
    return folder / name


GRAPHS: dict[str, Any] = {}
"""What `torch.export` made of a case, which has the same weights each time."""


@contextmanager
def traced_once(name: str) -> Iterator[None]:
    """Within it the case of this name is exported, for whichever format; its graph is traced for the first alone."""

    def export_program(*given: Any) -> Any:
        if name not in GRAPHS:
            GRAPHS[name] = trace(*given)
        return GRAPHS[name]

    trace = formats.export_program
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "export_program", export_program)
        yield

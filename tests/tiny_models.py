"""Tiny transformers models, made on the spot and saved as the hub has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
VISION_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
VISION_KINDS = ("siglip", "clip", "dinov2", "dinov2_with_registers")
LANGUAGE_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 48,
    "vocab_size": 60,
    "max_position_embeddings": 64,
}
LANGUAGE_KINDS = ("qwen2", "qwen3", "llama", "phi3")
WORDS = ["[PAD]", "[UNK]", "[EOS]", "open", "close", "push", "the", "drawer", "button"]
TEXT_SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}


def vision_model(kind: str, size: int = 24) -> Any:
    """A whole model: CLIP and SigLIP with their text halves."""
    import transformers

    vision = {**VISION_SIZES, "image_size": size, "patch_size": 8}
    if kind in ("siglip", "clip"):
        text = {**VISION_SIZES, "vocab_size": 9}
        if kind == "siglip":
            return transformers.SiglipModel(transformers.SiglipConfig(text_config=text, vision_config=vision))
        halves = {"text_config": {**text, "projection_dim": 12}, "vision_config": {**vision, "projection_dim": 12}}
        return transformers.CLIPModel(transformers.CLIPConfig(**halves, projection_dim=12))
    if kind == "dinov2":
        return transformers.Dinov2Model(transformers.Dinov2Config(**vision, mlp_ratio=2))
    config = transformers.Dinov2WithRegistersConfig(**vision, mlp_ratio=2, num_register_tokens=3)
    return transformers.Dinov2WithRegistersModel(config)


def image_processor(kind: str, size: int = 24) -> Any:
    """SigLIP's stretches; the others crop."""
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    scale = {"image_mean": list(MEAN), "image_std": list(STD)}
    sides = {"height": size, "width": size}
    if kind == "siglip":
        return SiglipImageProcessorPil(size=sides, **scale)
    return CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size=sides, **scale)


def save_vision(folder: Path, kind: str = "siglip", size: int = 24, seed: int = 0) -> str:
    """The folder, with a model and its image processor in it."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = vision_model(kind, size)
        for name, weight in model.named_parameters():
            if "position" in name or "bias" in name:  # as trained ones, which are not zero
                torch.nn.init.normal_(weight, std=0.1)
    model.eval().save_pretrained(folder)
    image_processor(kind, size).save_pretrained(folder)
    return str(folder)


def language_architecture(kind: str = "qwen2", **sizes: Any) -> dict[str, Any]:
    """Plain values that `LLMBackboneConfig.architecture` takes."""
    more = {"qwen3": {"head_dim": 8}, "phi3": {"pad_token_id": 0}}.get(kind, {})
    return {"model_type": kind, "tie_word_embeddings": kind == "qwen2", **LANGUAGE_SIZES, **more, **sizes}


def language_model(kind: str = "qwen2", seed: int = 0, **sizes: Any) -> Any:
    """A causal language model with its head, float32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**language_architecture(kind, **sizes)))
        for weight in model.parameters():
            if weight.dim() > 1:  # with the usual 0.02, attention in a model so small hardly matters
                torch.nn.init.normal_(weight, std=0.3)
    return model.float().eval()


def save_language(folder: Path, kind: str = "qwen2", seed: int = 0, **sizes: Any) -> str:
    """The folder, with a causal language model in it."""
    language_model(kind, seed, **sizes).save_pretrained(folder)
    return str(folder)


def pictures(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random uint8 pictures."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def smooth_pictures(height: int, width: int, count: int = 1) -> torch.Tensor:
    """(count, 3, height, width) uint8: waves and edges far from black and white."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    waves = [(rows / 3).sin() + (columns / 5).cos(), ((rows + columns) / 4).sin().sign(), (rows * columns / 99).sin()]
    one = torch.stack([128 + 40 * wave for wave in waves])
    return torch.stack([one + 5 * index for index in range(count)]).to(torch.uint8)


def save_tokenizer(folder, *, pad=True):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A [EOS]", special_tokens=[("[EOS]", 2)])
    special = {"unk_token": "[UNK]", "eos_token": "[EOS]", **({"pad_token": "[PAD]"} if pad else {})}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(folder)


def build_bert():
    from transformers import BertConfig, BertModel

    return BertModel(BertConfig(vocab_size=len(WORDS), **TEXT_SIZES))

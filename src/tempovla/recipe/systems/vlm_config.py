"""The config of a training on pictures and words: data, text, model and training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from tempovla.model.vla.lora_config import LoRAConfig
from tempovla.model.vlm.config import VLMConfig
from tempovla.recipe.settings.system import Option, System
from tempovla.recipe.systems.vla_config import VLATraining


@dataclass(frozen=True)
class ConversationDataConfig:
    """Where conversations about pictures come from.

    Attributes:
        dataset: file of conversations in LLaVA's format: JSON objects, one on each line or all in one array.
        image_root: folder to which the paths of images are relative; None takes the folder of the file.
        train_split: share of the pictures whose conversations are trained on. The others validate.
        split_seed: seed of this split. It does not depend on the seed of the training, so no stage trains on what
            another held out.
        validation_batches: number of batches in one validation.
        cache_bytes: largest size of the resized pictures that are kept in memory [bytes].
        num_workers: number of loader processes; 0 reads in the training process.
    """

    dataset: str = ""
    image_root: str | None = None
    train_split: float = 0.98
    split_seed: int = 0
    validation_batches: int = 8
    cache_bytes: int = 1 << 30
    num_workers: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.train_split <= 1:
            raise ValueError(f"data.train_split={self.train_split} must lie in (0, 1]")
        for name, least in {"validation_batches": 1, "cache_bytes": 0, "num_workers": 0}.items():
            if getattr(self, name) < least:
                raise ValueError(f"data.{name}={getattr(self, name)} must be at least {least}")


@dataclass(frozen=True)
class ChatConfig:
    """How conversations become token ids.

    Attributes:
        tokenizer: name or folder of a transformers tokenizer, or `words` for hashed words. None takes the tokenizer of
            a pretrained language model, and hashed words for a language model from scratch.
        template: `own` is the chat template of the tokenizer, if it has one; `plain` always writes USER: and
            ASSISTANT:.
        max_text_tokens: number of tokens of the longest conversation. Longer ones lose the end of an answer.
    """

    tokenizer: str | None = None
    template: Literal["own", "plain"] = "own"
    max_text_tokens: int = 512

    def __post_init__(self) -> None:
        if self.max_text_tokens < 2:
            raise ValueError(f"transform.max_text_tokens={self.max_text_tokens} must be at least 2")


@dataclass(frozen=True)
class VLMTrainConfig:
    """The model that learns from conversations.

    Attributes:
        vlm: the parts of the model. Settings for acting, such as `readout`, have no effect.
        lora: adapters in the language model. Its own weights then do not learn, and checkpoints have the adapters added
            to them. With None the whole language model learns.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    lora: LoRAConfig | None = None


@dataclass(frozen=True)
class VLMTraining(VLATraining):
    """Training on conversations.

    Attributes:
        learn_vision: train the vision encoder as well.
    """

    learn_vision: bool = False


@dataclass(frozen=True)
class VLMRecipe:
    """All settings of a training on conversations.

    Attributes:
        data: the conversations.
        transform: tokenisation of the conversations.
        model: parts and sizes of the model.
        training: settings of the training.
    """

    data: ConversationDataConfig = field(default_factory=ConversationDataConfig)
    transform: ChatConfig = field(default_factory=ChatConfig)
    model: VLMTrainConfig = field(default_factory=VLMTrainConfig)
    training: VLMTraining = field(default_factory=VLMTraining)


START = (
    Option("pretrained_vlm", "checkpoint or folder with the vision-language model from which the run starts"),
    Option("new_projector", "start with a new projector, not with that of --pretrained-vlm", bool),
)

ALIGN = System(
    recipe=VLMRecipe,
    train="tempovla.recipe.systems.vlm:train_align",
    out="checkpoints/align",
    options=START,
    dataset="",
    examples="""
tempovla train align --config configs/vlm_siglip_qwen2.yaml --dataset captions.jsonl --image-root images \\
    --out outputs/align
tempovla train align --config configs/vlm_siglip_qwen2.yaml --dataset captions.jsonl --image-root images \\
    --out outputs/align --checkpoint outputs/align/checkpoint_latest
tempovla train align --config configs/vlm_align_tiny.yaml --dataset captions.jsonl --out outputs/align_tiny \\
    --pretrained-vlm outputs/instruct_tiny/checkpoint_latest --new-projector
tempovla train align --config configs/vlm_siglip_qwen2.yaml --batch_size 16 --print_config > mine.yaml
""",
)

INSTRUCT = System(
    recipe=VLMRecipe,
    train="tempovla.recipe.systems.vlm:train_instruct",
    out="checkpoints/instruct",
    options=START,
    dataset="",
    examples="""
tempovla train instruct --config configs/vlm_siglip_qwen2.yaml --dataset questions.jsonl --image-root images \\
    --pretrained-vlm outputs/align/checkpoint_latest --out outputs/instruct --training.learning_rate 2e-5
tempovla train instruct --config configs/vlm_siglip_qwen2.yaml --dataset questions.jsonl --image-root images \\
    --pretrained-vlm outputs/align/checkpoint_latest --out outputs/instruct_lora --model.lora.r 64
tempovla train instruct --config configs/vlm_align_tiny.yaml --dataset captions.jsonl --learn_vision true \\
    --out outputs/instruct_tiny
""",
)

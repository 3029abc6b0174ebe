"""What a run on pictures and words is made of: data, text, model and training, as one config."""

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
        dataset: file of conversations in LLaVA's format, JSON objects one a line or in one array.
        image_root: folder that the paths of images are relative to; None takes the file's own.
        train_split: share of the pictures whose conversations are trained on; the others validate.
        split_seed: which pictures these are; another training seed does not change it, so that no stage trains on what
            another held out.
        validation_batches: batches of one validation.
        cache_bytes: size of the pictures that are kept in memory, in the model's size [bytes].
        num_workers: loader processes; 0 reads in the training process.
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
        tokenizer: name or folder of a transformers tokenizer, or `words` for hashed words; None takes that of a
            pretrained language model, and hashed words for one from scratch.
        template: `own` is the tokenizer's chat template where it has one, `plain` USER: and ASSISTANT: in any case.
        max_text_tokens: tokens of the longest conversation; longer ones lose the end of an answer.
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
        vlm: its parts; how it is read for acting (`readout` and so on) plays no part.
        lora: adapters in the language model, whose own weights then do not learn; what is saved has them added to the
            weights. None has it learn as a whole.
    """

    vlm: VLMConfig = field(default_factory=VLMConfig)
    lora: LoRAConfig | None = None


@dataclass(frozen=True)
class VLMTraining(VLATraining):
    """Training on conversations.

    Attributes:
        learn_vision: the vision encoder learns, too.
    """

    learn_vision: bool = False


@dataclass(frozen=True)
class VLMRecipe:
    """All that a run on conversations is made of.

    Attributes:
        data: where conversations come from.
        transform: how they become token ids.
        model: the model's parts and sizes.
        training: how it is trained.
    """

    data: ConversationDataConfig = field(default_factory=ConversationDataConfig)
    transform: ChatConfig = field(default_factory=ChatConfig)
    model: VLMTrainConfig = field(default_factory=VLMTrainConfig)
    training: VLMTraining = field(default_factory=VLMTraining)


START = (
    Option("pretrained_vlm", "whose vision-language model the run starts from"),
    Option("new_projector", "start with a new projector all the same", bool),
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

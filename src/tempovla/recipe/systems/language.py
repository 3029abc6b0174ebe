"""What recipes with a language model share: the choice of its tokenizer and of the type of its weights."""

from __future__ import annotations

from dataclasses import replace

from tempovla.model.vlm.language_model import LANGUAGE_MODELS, LLMBackboneConfig
from tempovla.transform.tokenizer import Tokenizer, TransformersTokenizer, WordTokenizer

WORDS = "words"


def choose_tokenizer(name: str | None, language: LLMBackboneConfig, vocab_size: int) -> Tokenizer:
    """Return a tokenizer by its name or folder; `words` gives hashed words, None the language model's own tokenizer.

    Args:
        name: value of `transform.tokenizer`.
        language: the language model.
        vocab_size: number of ids that the language model has embeddings for.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the language model.
    """
    return fitting_tokenizer(name or _own_tokenizer(language), vocab_size)


def special_token_ids(name: str | None, language: LLMBackboneConfig) -> tuple[int, ...]:
    """Return the ids of the special tokens of the tokenizer that `choose_tokenizer` gives; hashed words have none."""
    chosen = name or _own_tokenizer(language)
    return () if chosen == WORDS else tuple(sorted(TransformersTokenizer(chosen).special_ids))


def _own_tokenizer(language: LLMBackboneConfig) -> str:
    return WORDS if language.architecture else LANGUAGE_MODELS.get(language.model_name, language.model_name)


def fitting_tokenizer(name: str, vocab_size: int) -> Tokenizer:
    """Return a tokenizer by its name or folder; `words` gives hashed words.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the `vocab_size` of the language model.
    """
    tokenizer = WordTokenizer(vocab_size) if name == WORDS else TransformersTokenizer(name)
    if tokenizer.vocab_size > vocab_size:
        raise ValueError(
            f"transform.tokenizer={name} has {tokenizer.vocab_size} ids, but the language model knows {vocab_size}; "
            "choose the tokenizer that goes with it"
        )
    return tokenizer


def with_trainable_dtype(language: LLMBackboneConfig) -> LLMBackboneConfig:
    """Return the config with float32 weights where the whole model learns and the config leaves the type open.

    Steps as small as those of fine-tuning would be lost in bfloat16's rounding.
    """
    is_open = language.dtype is None and not language.freeze
    return replace(language, dtype="float32") if is_open else language

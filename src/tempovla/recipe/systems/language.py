"""What recipes with a language model share: its tokenizer, and how its weights are held."""

from __future__ import annotations

from dataclasses import replace

from tempovla.model.vlm.language_model import LANGUAGE_MODELS, LLMBackboneConfig
from tempovla.transform.tokenize import Tokenizer, TransformersTokenizer, WordTokenizer

WORDS = "words"


def choose_tokenizer(name: str | None, language: LLMBackboneConfig, vocab_size: int) -> Tokenizer:
    """The tokenizer of a name or folder, hashed words for `words`, or for None the one that goes with the model.

    Args:
        name: what `transform.tokenizer` says.
        language: the language model.
        vocab_size: how many ids it knows.

    Raises:
        ValueError: if there is no such tokenizer, or it has more ids than the language model knows.
    """
    own = WORDS if language.architecture else LANGUAGE_MODELS.get(language.model_name, language.model_name)
    return fitting_tokenizer(name or own, vocab_size)


def fitting_tokenizer(name: str, vocab_size: int) -> Tokenizer:
    """The tokenizer of a name or folder, or hashed words for `words`.

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


def held_to_learn(language: LLMBackboneConfig) -> LLMBackboneConfig:
    """A language model that learns as a whole is held in float32, unless its config says otherwise.

    Steps as small as those of fine-tuning would be lost in bfloat16's rounding.
    """
    learns_as_told = language.dtype is None and not language.freeze
    return replace(language, dtype="float32") if learns_as_told else language

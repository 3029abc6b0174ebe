"""Instructions as token ids of a language model, for calls without transforms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from tempovla.model.vlm.language_model import LLMBackbone

PADDING = -1
"""Stands where an instruction has ended."""


def instruction_ids(
    text: str | Sequence[str] | Tensor | None, rows: int, max_length: int, language: LLMBackbone
) -> Tensor:
    """Return token ids (rows, max_length) int64 on the device of the language model, -1 where an instruction has ended.

    Args:
        text: one instruction for all rows, one for each, or token ids (rows, L) with L up to `max_length`.
        rows: how many there are.
        max_length: tokens of the longest instruction.
        language: its tokenizer reads the words.

    Raises:
        ValueError: if there is no text, one of another number of rows, or one that is too long or holds no word.
    """
    device = next(language.parameters()).device
    if text is None:
        raise ValueError("get_features: text is missing; give an instruction for each picture")
    if isinstance(text, Tensor):
        if text.dim() != 2 or len(text) != rows or text.shape[1] > max_length:
            raise ValueError(
                f"token ids {tuple(text.shape)} must be ({rows}, up to {max_length}), a row for each picture"
            )
        return F.pad(text.to(device), (0, max_length - text.shape[1]), value=PADDING)
    sentences = [text] * rows if isinstance(text, str) else list(text)
    if len(sentences) != rows:
        raise ValueError(
            f"{len(sentences)} instructions do not go with {rows} pictures; give one for each, or one text"
        )
    ids = torch.full((rows, max_length), PADDING, dtype=torch.int64)
    for row, sentence in enumerate(sentences):
        tokens = language.tokenizer.encode(sentence)
        if not 0 < len(tokens) <= max_length:
            raise ValueError(
                f"instruction {sentence!r} has {len(tokens)} tokens, and 1 to max_instruction_tokens={max_length} are "
                "read; shorten it, or raise that"
            )
        ids[row, : len(tokens)] = torch.tensor(tokens)
    return ids.to(device)

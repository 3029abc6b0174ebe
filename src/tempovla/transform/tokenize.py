"""The transform that gives instructions to a policy as the token ids which its language model reads."""

from __future__ import annotations

import logging
import re
from typing import Any

import torch
from torch import Tensor

from tempovla.storage.json_files import shown
from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.arguments import brief
from tempovla.timeline.assets import assets_of
from tempovla.timeline.keys import TOKENS_KEY, WORDS_KEY
from tempovla.transform.tokenizer import Tokenizer, tokenizer_from_json

LOGGER = logging.getLogger(__name__)

PADDING = -1
"""Stands where an instruction has ended; no tokenizer has such an id."""

LONGEST = 131_072
"""Tokens of an instruction: more than a language model reads."""

INSTRUCTION = "{instruction}"
"""Where the instruction stands in a prompt."""


class TokenizeInstruction:
    """Adds the track ``instruction_tokens`` (B, 1, max_length) int64 at offset 0, -1 behind the end of an instruction.

    Where the context holds the words of past steps under `WORDS_KEY`, they become a track (B, T, max_length) of the
    past.

    Args:
        tokenizer: converts words to ids.
        max_length: tokens of the longest instruction, its prompt included.
        prompt: text for the model, with ``{instruction}`` in the place of the instruction.
        lowercase: put the instruction into small letters, without space around it; the prompt stays as it is.
    """

    def __init__(
        self, tokenizer: Tokenizer, max_length: int = 32, prompt: str = INSTRUCTION, lowercase: bool = False
    ) -> None:
        if not (type(max_length) is int and 1 <= max_length <= LONGEST):
            raise ValueError(f"max_length={max_length!r} must be a whole number from 1 to {LONGEST:,} tokens")
        if not isinstance(prompt, str):
            raise ValueError(f"prompt={shown(prompt)} is no text; give one with {INSTRUCTION} in it")
        if not isinstance(lowercase, bool):
            raise ValueError(f"lowercase={shown(lowercase)} must be true or false")
        if INSTRUCTION not in prompt:
            raise ValueError(f"prompt={prompt!r} has no place for the instruction; write {INSTRUCTION} there")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.prompt = prompt
        self.lowercase = lowercase
        self._cache: dict[str, Tensor] = {}
        self._first_with: dict[tuple[int, ...], str] = {}

    def prompted(self, sentence: str) -> str:
        """Return the prompt for one instruction."""
        return self.prompt.replace(INSTRUCTION, sentence.strip().lower() if self.lowercase else sentence)

    def tokens(self, sentence: str) -> Tensor:
        """Return ids (max_length,) int64 of one instruction in its prompt.

        A warning names two that differ in their words, but not in their ids: a policy cannot tell them apart.

        Raises:
            ValueError: if there is no token, or more than `max_length`.
        """
        if sentence not in self._cache:
            ids = self.tokenizer.encode(self.prompted(sentence))
            bare = self.prompt == INSTRUCTION
            if not ids and _words(sentence):
                raise ValueError(
                    f"the tokenizer finds no token in instruction {brief(sentence)}; choose the one that goes with the "
                    "language model (transform.tokenizer)"
                )
            if not ids or not (bare or sentence.strip()):
                raise ValueError(f"instruction {brief(sentence)} holds no word; give the task an instruction")
            if len(ids) > self.max_length:
                count = f"{len(ids)} tokens" if bare else f"{len(ids)} tokens with its prompt"
                raise ValueError(
                    f"instruction {brief(sentence)} has {count}, more than max_length={self.max_length}; raise it "
                    "(model.max_instruction_tokens, or transform.max_prompt_tokens of openvla)"
                )
            other = self._first_with.setdefault(tuple(ids), sentence)
            if _words(other) != _words(sentence):
                LOGGER.warning(
                    "instructions %r and %r have the same tokens, so the policy cannot distinguish them; choose "
                    "another one (transform.tokenizer), or other words",
                    *(other, sentence),
                )
            self._cache[sentence] = torch.tensor(ids + [PADDING] * (self.max_length - len(ids)))
        return self._cache[sentence]

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Tokenize the instructions of all rows."""
        value = torch.stack([self.tokens(task.instruction) for task in context.task])[:, None].to(context.device)
        now = {**context.now, TOKENS_KEY: Track.of(value, (0,))}
        return Context(self._past(context.past), now, context.task, context.first), future

    def _past(self, past: Tracks) -> dict[str, Track]:
        """The past with token ids in the place of the words of earlier steps."""
        kept = {key: track for key, track in past.items() if key != WORDS_KEY}
        if WORDS_KEY not in past:
            return kept
        told = past[WORDS_KEY]
        nothing = torch.full((self.max_length,), PADDING)
        rows = [
            torch.stack([self.tokens(_decoded(words)) if there else nothing for words, there in zip(*row, strict=True)])
            for row in zip(told.value.cpu(), told.valid.tolist(), strict=True)
        ]
        return {**kept, TOKENS_KEY: told.with_value(torch.stack(rows).to(told.value.device))}

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action

    def assets(self) -> dict[str, bytes]:
        """Return the tokenizer's files."""
        return assets_of([self.tokenizer])

    def to_json(self) -> dict[str, Any]:
        """Return the tokenizer's config, the length and the prompt."""
        own = {"max_length": self.max_length, "prompt": self.prompt, "lowercase": self.lowercase}
        return {"tokenizer": self.tokenizer.to_json(), **own}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> TokenizeInstruction:
        """Read what `to_json` wrote. Files of earlier versions have no prompt."""
        prompt, lowercase = data.get("prompt", INSTRUCTION), data.get("lowercase", False)
        return cls(tokenizer_from_json(data["tokenizer"]), data["max_length"], prompt, lowercase)


def _decoded(words: Tensor) -> str:
    """The instruction of bytes (L,) uint8 with zeros behind its end."""
    return bytes(words.tolist()).rstrip(b"\0").decode()


def _words(sentence: str) -> list[str]:
    """The words of a sentence, whatever stands between them and whether they are capital."""
    return re.findall(r"\w+", sentence.casefold())

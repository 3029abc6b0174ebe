"""Instructions as sentence embeddings.

The default, hashed n-grams, needs no download, no vocabulary and no training: every word, word pair and letter trigram
of the sentence adds a fixed pseudo-random direction. Sentences that share words are near each other, any two different
sentences are told apart, a new word needs no refit, and the linear layer behind it learns what the words mean. For
paraphrases that share no words use a transformers text model, by name or local folder.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from tempovla.timeline import ActionChunk, Context, Track, Tracks
from tempovla.timeline.arguments import brief
from tempovla.timeline.assets import assets_of
from tempovla.timeline.keys import LANGUAGE_KEY
from tempovla.timeline.noise import row_normal

LARGEST_DIM = 2**20
"""Most numbers of an embedding of hashed n-grams."""


class SentenceEmbedder(Protocol):
    """Turns sentences into vectors."""

    @property
    def dim(self) -> int:
        """Size of one embedding."""

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32 embeddings of N sentences."""

    def to_json(self) -> dict[str, Any]:
        """Return the config, from which `embedder_from_json` builds it again."""


class HashedNgramEmbedder:
    """Unit-length sum of fixed random directions, one for each word, word pair and letter trigram."""

    def __init__(self, dim: int = 512) -> None:
        if not (type(dim) is int and 1 <= dim <= LARGEST_DIM):
            raise ValueError(f"dim={dim!r} of an embedding must be a whole number from 1 to {LARGEST_DIM:,}")
        self._dim = dim

    @property
    def dim(self) -> int:
        """Size of one embedding."""
        return self._dim

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """Return (N, dim) float32; case, punctuation and spacing do not matter.

        Raises:
            ValueError: if a sentence holds no word.
        """
        return torch.stack([self._embed_one(sentence) for sentence in sentences])

    def _embed_one(self, sentence: str) -> Tensor:
        words = re.findall(r"\w+", sentence.lower())
        if not words:
            raise ValueError(f"instruction {brief(sentence)} holds no word; give the task an instruction")
        pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
        letters = [f"#{word}#"[i : i + 3] for word in words for i in range(len(word))]
        grams = [*words, *pairs, *letters]
        digests = [hashlib.blake2b(gram.encode(), digest_size=8).digest() for gram in grams]
        seeds = torch.tensor([int.from_bytes(digest, "big", signed=True) for digest in digests])
        weights = torch.tensor([1.0] * (len(words) + len(pairs)) + [0.25] * len(letters))
        total = weights @ row_normal(seeds, (self._dim,))
        return total / total.norm()

    def to_json(self) -> dict[str, Any]:
        """Return the config."""
        return {"kind": "hashed_ngram", "dim": self._dim}


def embedder_from_json(data: dict[str, Any]) -> SentenceEmbedder:
    """Build an embedder from its config.

    Raises:
        ValueError: if its kind is unknown, or its model is no longer the one that it was.
    """
    if data["kind"] == "hashed_ngram":
        return HashedNgramEmbedder(data["dim"])
    if data["kind"] == "transformers":
        from tempovla.transform.text_model import TransformersTextEmbedder

        return TransformersTextEmbedder(data["name_or_path"], data.get("fingerprint"), data.get("files"))
    raise ValueError(f"sentence embedder {data['kind']!r} is unknown; choose hashed_ngram or transformers")


class EmbedInstruction:
    """Adds the track ``language`` (B, 1, dim) at offset 0: the embedding of each row's instruction, cached by text."""

    def __init__(self, embedder: SentenceEmbedder) -> None:
        self.embedder = embedder
        self._cache: dict[str, Tensor] = {}

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Embed the instructions of all rows."""
        sentences = [task.instruction for task in context.task]
        # Each sentence alone: padding it to the length of its neighbours would change its last bits.
        for sentence in {*sentences} - {*self._cache}:
            self._cache[sentence] = self.embedder.embed([sentence])[0]
        value = torch.stack([self._cache[sentence] for sentence in sentences])[:, None].to(context.device)
        now = {**context.now, LANGUAGE_KEY: Track.of(value, (0,))}
        return Context(context.past, now, context.task, context.first), future

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Return the action as it is."""
        return action

    def assets(self) -> dict[str, bytes]:
        """Return the embedder's files."""
        return assets_of([self.embedder])

    def to_json(self) -> dict[str, Any]:
        """Return the embedder's config."""
        return {"embedder": self.embedder.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EmbedInstruction:
        """Read what `to_json` wrote."""
        return cls(embedder_from_json(data["embedder"]))

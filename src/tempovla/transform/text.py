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

LANGUAGE_KEY = "language"


class SentenceEmbedder(Protocol):
    """Turns sentences into vectors."""

    @property
    def dim(self) -> int:
        """Size of one embedding."""

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(N, dim) float32 embeddings of N sentences."""

    def to_json(self) -> dict[str, Any]:
        """The config, from which `embedder_from_json` builds it again."""


class HashedNgramEmbedder:
    """Unit-length sum of fixed random directions, one for each word, word pair and letter trigram."""

    def __init__(self, dim: int = 512) -> None:
        self._dim = dim

    @property
    def dim(self) -> int:
        """Size of one embedding."""
        return self._dim

    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(N, dim) float32; case, punctuation and spacing do not matter.

        Raises:
            ValueError: if a sentence holds no word.
        """
        return torch.stack([self._embed_one(sentence) for sentence in sentences])

    def _embed_one(self, sentence: str) -> Tensor:
        words = re.findall(r"\w+", sentence.lower())
        if not words:
            raise ValueError(f"instruction {sentence!r} holds no word; give the task an instruction")
        pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
        letters = [f"#{word}#"[i : i + 3] for word in words for i in range(len(word))]
        total = torch.zeros(self._dim)
        for gram, weight in [*((w, 1.0) for w in words), *((p, 1.0) for p in pairs), *((t, 0.25) for t in letters)]:
            digest = hashlib.blake2b(gram.encode(), digest_size=8).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
            total += weight * torch.randn(self._dim, generator=generator)
        return total / total.norm()

    def to_json(self) -> dict[str, Any]:
        """The config."""
        return {"kind": "hashed_ngram", "dim": self._dim}


class TransformersTextEmbedder:
    """Embeddings of a transformers text model (CLIP, BERT, T5 encoder, ...), by name or local folder, frozen.

    Uses the model's `text_embeds` or `pooler_output` where it has one, else the mean over valid tokens.
    """

    def __init__(self, name_or_path: str) -> None:
        from transformers import AutoConfig, AutoModel, AutoTokenizer, CLIPTextModelWithProjection

        self.name_or_path = name_or_path
        self.tokenizer = AutoTokenizer.from_pretrained(name_or_path)
        is_clip = AutoConfig.from_pretrained(name_or_path).model_type in ("clip", "clip_text_model")
        self.model = (CLIPTextModelWithProjection if is_clip else AutoModel).from_pretrained(name_or_path).eval()
        self._dim = self.embed(["size"]).shape[1]

    @property
    def dim(self) -> int:
        """Size of one embedding."""
        return self._dim

    @torch.no_grad()
    def embed(self, sentences: Sequence[str]) -> Tensor:
        """(N, dim) float32."""
        tokens = self.tokenizer(list(sentences), padding=True, truncation=True, return_tensors="pt")
        output = self.model(**tokens)
        for name in ("text_embeds", "pooler_output"):
            if getattr(output, name, None) is not None:
                return getattr(output, name).float()
        mask = tokens["attention_mask"].bool()[..., None]
        hidden = torch.where(mask, output.last_hidden_state.float(), 0.0)
        return hidden.sum(dim=1) / mask.sum(dim=1)

    def to_json(self) -> dict[str, Any]:
        """The config."""
        return {"kind": "transformers", "name_or_path": self.name_or_path}


def embedder_from_json(data: dict[str, Any]) -> SentenceEmbedder:
    """Build an embedder from its config.

    Raises:
        ValueError: if its kind is unknown.
    """
    if data["kind"] == "hashed_ngram":
        return HashedNgramEmbedder(data["dim"])
    if data["kind"] == "transformers":
        return TransformersTextEmbedder(data["name_or_path"])
    raise ValueError(f"sentence embedder {data['kind']!r} is unknown; choose hashed_ngram or transformers")


class EmbedInstruction:
    """Adds the track ``language`` (B, 1, dim) at offset 0: the embedding of each row's instruction, cached by text."""

    def __init__(self, embedder: SentenceEmbedder) -> None:
        self.embedder = embedder
        self._cache: dict[str, Tensor] = {}

    def forward(self, context: Context, future: Tracks) -> tuple[Context, Tracks]:
        """Embed the instructions of all rows."""
        sentences = [task.instruction for task in context.task]
        new = sorted({sentence for sentence in sentences if sentence not in self._cache})
        if new:
            self._cache.update(zip(new, self.embedder.embed(new), strict=True))
        value = torch.stack([self._cache[sentence] for sentence in sentences])[:, None].to(context.device)
        now = {**context.now, LANGUAGE_KEY: Track.of(value, (0,))}
        return Context(context.past, now, context.task, context.first), future

    def inverse(self, action: ActionChunk) -> ActionChunk:
        """Actions are not touched."""
        return action

    def to_json(self) -> dict[str, Any]:
        """The embedder's config."""
        return {"embedder": self.embedder.to_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> EmbedInstruction:
        """Read what `to_json` wrote."""
        return cls(embedder_from_json(data["embedder"]))

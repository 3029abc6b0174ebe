"""Batches of conversations about pictures, in an order that resumes exactly."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tempovla.data.byte_cache import ByteCache
from tempovla.data.conversations import Conversation
from tempovla.data.errors import DatasetError
from tempovla.data.identity import DataIdentity, evenly, files_of
from tempovla.data.image_codec import MOST_PICTURE_BYTES, decode_any_image
from tempovla.data.loader import ResumableLoader
from tempovla.data.sampler import MixtureSampler, SampleBatch
from tempovla.storage.json_files import read_bytes
from tempovla.timeline.bodies import NO_BODY
from tempovla.timeline.keys import CUT_KEY, LEARNED_KEY, PICTURE_KEY, TEXT_KEY
from tempovla.timeline.sample import Context, TimelineSample
from tempovla.timeline.task import Task
from tempovla.timeline.track import Track
from tempovla.transform.chat import ChatTokenizer
from tempovla.transform.tokenize import PADDING

SAMPLED_PICTURES = 2048
"""Number of pictures of a dataset of conversations that are compared when a run goes on."""


@dataclass(frozen=True)
class TokenizedConversation:
    """A conversation in ids.

    Attributes:
        where: file and line, for messages.
        image: file of the picture, if there is one.
        ids: (L,) int32.
        learned: (L,) bool, which of them are to be predicted.
        is_cut: whether the text was too long and lost its end.
    """

    where: str
    image: Path | None
    ids: NDArray[np.int32]
    learned: NDArray[np.bool_]
    is_cut: bool


def tokenize_conversations(
    conversations: Sequence[Conversation], chat: ChatTokenizer
) -> tuple[TokenizedConversation, ...]:
    """Return all conversations in ids; errors appear before training.

    Raises:
        DatasetError: naming file and line, if one does not go with the template or its prompt is too long.
    """
    tokenized = []
    for conversation in conversations:
        try:
            ids, learned, is_cut = chat.encode(conversation.turns)
        except ValueError as error:
            raise DatasetError(f"{conversation.where}: {error}") from None
        arrays = np.array(ids, dtype=np.int32), np.array(learned, dtype=bool)
        tokenized.append(TokenizedConversation(conversation.where, conversation.image, *arrays, is_cut))
    return tuple(tokenized)


@dataclass(frozen=True)
class ConversationBatches:
    """Makes batches of conversations.

    A batch has, at offset 0, the tracks `PICTURE_KEY` (B, 1, 3, size, size) uint8, not valid where there is none,
    `TEXT_KEY` (B, 1, L) int64, -1 behind the end of each, and in the future `LEARNED_KEY` (B, 1, L) and `CUT_KEY`
    (B, 1) bool; L is the length of the batch's longest text.

    Attributes:
        conversations: all conversations.
        chosen: indices of those that are samples.
        fit: makes of a picture (H, W, 3) uint8 the square (3, size, size) uint8 that the model sees.
        image_size: side of the square [px].
        cache: keeps squares that were made.
    """

    conversations: tuple[TokenizedConversation, ...]
    chosen: Sequence[int]
    fit: Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
    image_size: int
    cache: ByteCache

    def for_worker(self, workers: int) -> ConversationBatches:
        """Return the same with a share of the cache."""
        return replace(self, cache=ByteCache(self.cache.max_bytes // workers))

    def make(self, batch: SampleBatch) -> TimelineSample:
        """Return the batch.

        Raises:
            DatasetError: naming file, line and image, if an image is missing or damaged.
        """
        rows = [self.conversations[self.chosen[index]] for index in batch.index.tolist()]
        count, length = len(rows), max(len(row.ids) for row in rows)
        pictures = np.zeros((count, 3, self.image_size, self.image_size), dtype=np.uint8)
        ids = np.full((count, length), PADDING, dtype=np.int64)
        learned = np.zeros((count, length), dtype=bool)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = row.ids
            learned[place, : len(row.ids)] = row.learned
            if row.image is not None:
                pictures[place] = self._picture(row.image, row.where)
        seen = torch.tensor([[row.image is not None] for row in rows])
        now = {PICTURE_KEY: Track.of(_at_zero(pictures), (0,), seen), TEXT_KEY: Track.of(_at_zero(ids), (0,))}
        cut = np.array([row.is_cut for row in rows])
        future = {LEARNED_KEY: Track.of(_at_zero(learned), (0,)), CUT_KEY: Track.of(_at_zero(cut), (0,))}
        context = Context({}, now, (Task("", NO_BODY),) * count, torch.ones(count, dtype=torch.bool))
        return TimelineSample(context, future, batch.seed)

    def identity(self) -> DataIdentity:
        """Return the identity of the texts in ids, and of up to `SAMPLED_PICTURES` pictures, spread evenly."""
        digest = hashlib.sha256()
        for conversation in self.conversations:
            digest.update(f"{len(conversation.ids)} {conversation.image is not None}:".encode())
            digest.update(conversation.ids.tobytes())
        facts = {"conversations": len(self.conversations), "texts": digest.hexdigest()}
        pictures = sorted({conversation.image for conversation in self.conversations if conversation.image})
        name = self.conversations[0].where.rpartition(":")[0]
        chosen = [path for index in evenly(len(pictures), SAMPLED_PICTURES) if (path := pictures[index]).is_file()]
        if not chosen:
            return DataIdentity(name, facts)
        root = Path(os.path.commonpath([path.parent for path in pictures]))
        return DataIdentity(name, facts | {"pictures": len(pictures)}, files_of(root, chosen))

    def _picture(self, path: Path, where: str) -> NDArray[np.uint8]:
        square = self.cache.get(path)
        if square is None:
            try:
                encoded = read_bytes(path, remedy="add it again", most_bytes=MOST_PICTURE_BYTES)
            except ValueError as error:
                raise DatasetError(f"{where}: image {error}") from None
            square = self.fit(decode_any_image(encoded, f"{where}: image {path}"))
            self.cache.put(path, square)
        return square


def conversation_loader(
    batches: ConversationBatches,
    batch_size: int,
    *,
    num_workers: int,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    epochs: int | None = None,
) -> ResumableLoader:
    """Return batches without end, or for some epochs; see `MixtureSampler` for the order and the shares of ranks."""
    samples = len(batches.chosen)
    return ResumableLoader(
        batches,
        MixtureSampler((samples,), (1.0,), batch_size, seed=seed, rank=rank, world_size=world_size, epochs=epochs),
        num_workers=num_workers,
        samples_per_epoch=samples,
        batches_per_epoch=math.ceil(samples / (batch_size * world_size)),
        identities=lambda: [batches.identity()],
    )


def _at_zero(values: NDArray[np.generic]) -> Tensor:
    """(B, ...) as (B, 1, ...)."""
    return torch.from_numpy(values)[:, None]

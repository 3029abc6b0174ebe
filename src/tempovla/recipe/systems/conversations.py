"""Conversations for training: reading, tokenising, splitting, batching."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tempovla.data.byte_cache import ByteCache
from tempovla.data.conversation_loader import (
    ConversationBatches,
    TokenizedConversation,
    conversation_loader,
    tokenize_conversations,
)
from tempovla.data.conversations import read_conversations
from tempovla.data.loader import ResumableLoader
from tempovla.data.split import split_episodes
from tempovla.model.vlm.preprocess import ResizePolicy, resize_square, unit_pixels
from tempovla.model.vlm.vision_encoder import VisionEncoderConfig
from tempovla.recipe.systems.vlm_config import ConversationDataConfig, VLMRecipe
from tempovla.timeline import TimelineSample
from tempovla.timeline.arguments import with_noun
from tempovla.training import distributed
from tempovla.transform.chat import ChatTokenizer
from tempovla.transform.tokenizer import Tokenizer, WordTokenizer, words_of

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class SquarePictures:
    """Resizes a picture of any shape to the encoder's square, rounded to bytes.

    Attributes:
        size: side of the square [px].
        policy: treatment of other shapes.
    """

    size: int
    policy: ResizePolicy

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 to (3, size, size) uint8."""
        pixels = unit_pixels(torch.from_numpy(picture).movedim(-1, 0)[None])
        square = resize_square(pixels, self.size, self.policy)[0]
        return (square * 255.0).round().to(torch.uint8).numpy()


def load_conversations(data: ConversationDataConfig, chat: ChatTokenizer) -> tuple[TokenizedConversation, ...]:
    """Return the conversations in ids; log how many there are, and how many were too long.

    Raises:
        ValueError: if no file is named, or it is not as it should be.
    """
    if not data.dataset:
        raise ValueError("data.dataset is empty; give a JSONL file of conversations (LLaVA's format)")
    conversations = tokenize_conversations(read_conversations(data.dataset, data.image_root), chat)
    cut = sum(conversation.is_cut for conversation in conversations)
    LOGGER.info("%s: %s", data.dataset, with_noun(len(conversations), "conversation"))
    if cut:
        LOGGER.warning(
            "%s: %d of %d conversations are longer than transform.max_text_tokens=%d and lose the end of an answer",
            data.dataset,
            cut,
            len(conversations),
            chat.max_length,
        )
    return conversations


def answer_words(data: ConversationDataConfig, tokenizer: Tokenizer) -> list[str]:
    """Return the words of all answers, with which hashed ids are decoded later.

    Of several words with one id the most frequent one is returned; a tokenizer that reads its own ids needs none.
    """
    if not isinstance(tokenizer, WordTokenizer):
        return []
    found: Counter[str] = Counter()
    for conversation in read_conversations(data.dataset, data.image_root):
        for turn in conversation.turns:
            if turn.speaker == "assistant":
                found.update(words_of(turn.text))
    by_id: dict[int, str] = {}
    for word, _ in found.most_common():
        by_id.setdefault(tokenizer.encode(word)[0], word)
    return list(by_id.values())


def split_by_picture(
    conversations: tuple[TokenizedConversation, ...], train_split: float, seed: int
) -> tuple[list[int], list[int]]:
    """Return the training and validation conversations: those about one picture are on one side."""
    groups: dict[object, list[int]] = {}
    for index, conversation in enumerate(conversations):
        groups.setdefault(conversation.image or index, []).append(index)
    sides = split_episodes(len(groups), round(1.0 - train_split, 9), seed)
    members = list(groups.values())
    training, validation = (sorted(index for group in side for index in members[group]) for side in sides)
    return training, validation


def build_batches(
    conversations: tuple[TokenizedConversation, ...], recipe: VLMRecipe, vision: VisionEncoderConfig
) -> tuple[ResumableLoader, list[TimelineSample] | None]:
    """Return the training batches of this process, and the fixed ones of the validation where pictures are held out."""
    data, training = recipe.data, recipe.training
    assert vision.image_size is not None
    fit = SquarePictures(vision.image_size, vision.resize)

    def loader(chosen: list[int], workers: int) -> ResumableLoader:
        batches = ConversationBatches(conversations, chosen, fit, fit.size, ByteCache(data.cache_bytes))
        rank, ranks = distributed.rank(), distributed.world_size()
        return conversation_loader(
            batches, training.batch_size, num_workers=workers, seed=training.seed, rank=rank, world_size=ranks
        )

    chosen, held_out = split_by_picture(conversations, data.train_split, data.split_seed)
    validation = None
    if held_out:
        stream = iter(loader(held_out, 0))
        validation = [next(stream) for _ in range(data.validation_batches)]
    return loader(chosen, data.num_workers), validation

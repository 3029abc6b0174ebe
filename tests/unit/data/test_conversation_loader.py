"""Batches of conversations: padding, masks, pictures, order."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from tests.chats import item, picture, write_conversations

from tempovla.data.byte_cache import ByteCache
from tempovla.data.conversation_loader import ConversationBatches, conversation_loader, tokenize_conversations
from tempovla.data.conversations import read_conversations
from tempovla.data.errors import DatasetError
from tempovla.data.sampler import SampleBatch
from tempovla.timeline.keys import CUT_KEY, LEARNED_KEY, PICTURE_KEY, TEXT_KEY
from tempovla.transform.chat import ChatTokenizer
from tempovla.transform.tokenizer import WordTokenizer

WORDS = WordTokenizer(4096)


def channels_first(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def batches(path, max_length: int = 99, cache: int = 1 << 20) -> ConversationBatches:
    rows = tokenize_conversations(read_conversations(path), ChatTokenizer.of(WORDS, max_length))
    return ConversationBatches(rows, range(len(rows)), channels_first, 16, ByteCache(cache))


def chosen(*index: int) -> SampleBatch:
    return SampleBatch(np.zeros(len(index), np.int64), np.array(index), torch.arange(len(index)))


def values(sample, key: str):
    track = {**sample.context.now, **sample.future}[key]
    assert track.offset.tolist() == [0]
    return track.value[:, 0]


def test_texts_are_padded_on_the_right_and_padding_is_not_learned(tmp_path):
    path = write_conversations(tmp_path, [item("red"), item("a red square"), item("blue", "which", image=None)])
    sample = batches(path).make(chosen(0, 1, 2))
    encode = WORDS.encode
    prompt, end = encode("user what is it assistant"), encode("end_of_turn")
    assert values(sample, TEXT_KEY).tolist() == [
        [*prompt, *encode("red"), *end, -1, -1],
        [*prompt, *encode("a red square"), *end],
        [*encode("user which assistant blue"), *end, -1, -1, -1, -1],
    ]
    assert values(sample, LEARNED_KEY).int().tolist() == [
        [0, 0, 0, 0, 0, 1, 1, 0, 0],
        [0, 0, 0, 0, 0, 1, 1, 1, 1],
        [0, 0, 0, 1, 1, 0, 0, 0, 0],
    ]
    assert sample.context.now[PICTURE_KEY].valid.tolist() == [[True], [True], [False]]
    assert values(sample, CUT_KEY).tolist() == [False, False, False]
    alone = batches(path).make(chosen(2))
    assert values(alone, TEXT_KEY).shape == (1, 5)


def test_pictures_are_those_of_the_files_whether_they_are_kept_or_not(tmp_path):
    Image.fromarray(picture(7)).save(tmp_path / "seven.png")
    path = write_conversations(tmp_path, [item(image="seven.png"), item()])
    for cache in (0, 1 << 20):
        made = batches(path, cache=cache)
        for _ in range(2):
            seen = values(made.make(chosen(0, 1, 0)), PICTURE_KEY)
            assert seen.dtype == torch.uint8
            assert torch.equal(seen[0].movedim(0, -1), torch.from_numpy(picture(7)))
            assert torch.equal(seen[0], seen[2])
        assert made.cache.used_bytes == (0 if cache == 0 else 2 * 3 * 16 * 16)


def test_a_text_that_lost_its_end_is_marked(tmp_path):
    path = write_conversations(tmp_path, [item("red"), item("a red square")])
    assert values(batches(path, max_length=7).make(chosen(0, 1)), CUT_KEY).tolist() == [False, True]


def test_a_prompt_that_leaves_no_room_is_named_before_training(tmp_path):
    path = write_conversations(tmp_path, [item(question="a"), item()])
    with pytest.raises(DatasetError, match=r"conversations.jsonl:2: its first prompt has 5 tokens"):
        batches(path, max_length=4)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_that_is_taken_up_goes_on_where_it_was(tmp_path, workers):
    made = batches(write_conversations(tmp_path, count=7))
    stream = iter(conversation_loader(made, 3, num_workers=workers, seed=5))
    whole = [values(next(stream), PICTURE_KEY) for _ in range(6)]
    first = conversation_loader(made, 3, num_workers=workers, seed=5)
    stream = iter(first)
    for _ in range(2):
        next(stream)
    again = conversation_loader(made, 3, num_workers=0, seed=5)
    again.load_state_dict(first.state_dict())
    stream = iter(again)
    assert all(torch.equal(values(next(stream), PICTURE_KEY), pictures) for pictures in whole[2:])
    assert (again.samples_per_epoch, again.batches_per_epoch) == (7, 3)


def test_ranks_share_what_one_process_would_take(tmp_path):
    made = batches(write_conversations(tmp_path, count=7))
    one = iter(conversation_loader(made, 4, num_workers=0, seed=5))
    ranks = [iter(conversation_loader(made, 2, num_workers=0, seed=5, rank=rank, world_size=2)) for rank in (0, 1)]
    for _ in range(4):
        together = torch.cat([values(next(rank), PICTURE_KEY) for rank in ranks])
        assert torch.equal(together, values(next(one), PICTURE_KEY))


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_a_truncated_picture_is_named_with_its_line(tmp_path, workers, kind):
    path = write_conversations(tmp_path, [item(image=f"cut.{kind}")])
    Image.fromarray(picture(1, 64, 64)).save(tmp_path / f"cut.{kind}")
    content = (tmp_path / f"cut.{kind}").read_bytes()
    (tmp_path / f"cut.{kind}").write_bytes(content[: len(content) // 2])
    with pytest.raises(DatasetError, match=rf"conversations.jsonl:1: image .*cut.{kind}: damaged image") as error:
        next(iter(conversation_loader(batches(path), 1, num_workers=workers, seed=0)))
    assert "\n" not in str(error.value)


def test_a_picture_that_went_away_is_named_with_its_line(tmp_path):
    made = batches(write_conversations(tmp_path))
    (tmp_path / "images" / "0.png").unlink()
    with pytest.raises(DatasetError, match=r"conversations.jsonl:1: image .*0.png: no such file; add it again"):
        made.make(chosen(0))

"""Conversations as ids, and which of them are learned; expected ids are written out by hand."""

from __future__ import annotations

import json

import pytest
from tests.chats import IDS, MEANING, save_chat_tokenizer
from tests.tiny_models import WORDS, save_tokenizer

from tempovla.transform.chat import ChatTokenizer, Turn
from tempovla.transform.tokenizer import TransformersTokenizer, WordTokenizer

ONE = (Turn("user", "what is it"), Turn("assistant", "a red square"))
TWO = (*ONE, Turn("user", "is it red"), Turn("assistant", "it is"))


def hashed(*words: str) -> list[int]:
    return [WordTokenizer(4096).encode(word)[0] for word in words]


def chat(folder, max_length: int = 512, **options) -> ChatTokenizer:
    return ChatTokenizer.of(TransformersTokenizer(save_chat_tokenizer(folder, **options)), max_length)


def spelled(tokens) -> str:
    """Ids as words, those that are learned in capitals."""
    words = [MEANING[token] for token in tokens.ids]
    return " ".join(word.upper() if learned else word for word, learned in zip(words, tokens.learned, strict=True))


def test_hashed_words_get_the_plain_template():
    tokens = ChatTokenizer.of(WordTokenizer(4096)).encode(ONE)
    prompt, answer = ("user", "what", "is", "it", "assistant"), ("a", "red", "square", "end_of_turn")
    assert tokens.ids == hashed(*prompt, *answer)
    assert tokens.learned == [False] * 5 + [True] * 4
    assert not tokens.is_cut


def test_a_prompt_ends_where_the_answer_begins(tmp_path):
    """With the ids that end an answer; earlier answers are part of it."""
    plain = ChatTokenizer.of(WordTokenizer(4096))
    assert plain.prompt(ONE[:1]) == (hashed("user", "what", "is", "it", "assistant"), hashed("end_of_turn"))
    own = chat(tmp_path, max_length=8)
    for turns in (TWO[:1], TWO[:3]):
        prompt, end = own.prompt(turns)
        whole = chat(tmp_path).encode([*turns, Turn("assistant", "a red square")]).ids
        assert prompt == whole[: len(prompt)]
        assert [MEANING[token] for token in whole[len(prompt) :]] == ["a", "red", "square", "</turn>"]
        assert [MEANING[token] for token in end] == ["</turn>"]


def test_every_answer_of_several_turns_is_learned_and_no_question():
    tokens = ChatTokenizer.of(WordTokenizer(4096)).encode((Turn("system", "be short"), *TWO))
    assert tokens.ids == hashed(
        *("be", "short", "user", "what", "is", "it", "assistant", "a", "red", "square", "end_of_turn"),
        *("user", "is", "it", "red", "assistant", "it", "is", "end_of_turn"),
    )
    assert [place for place, learned in enumerate(tokens.learned) if learned] == [7, 8, 9, 10, 16, 17, 18]


def test_a_tokenizer_without_a_template_ends_answers_with_its_own_end(tmp_path):
    save_tokenizer(tmp_path)
    tokens = ChatTokenizer.of(TransformersTokenizer(str(tmp_path))).encode(
        (Turn("user", "open the"), Turn("assistant", "drawer"))
    )
    words = ("[UNK]", "[UNK]", "open", "the", "[UNK]", "[UNK]", "drawer", "[EOS]")  # "USER" ":" and "ASSISTANT" ":"
    assert tokens.ids == [WORDS.index(word) for word in words]
    assert tokens.learned == [False] * 6 + [True] * 2


def test_the_tokenizers_own_template_is_used_and_what_follows_the_end_of_a_turn_is_not_learned(tmp_path):
    tokens = chat(tmp_path).encode(TWO)
    assert spelled(tokens) == (
        "<s> <turn> user nl what is it </turn> nl <turn> assistant nl A RED SQUARE </TURN> nl "
        "<turn> user nl is it red </turn> nl <turn> assistant nl IT IS </TURN>"
    )
    assert tokens.ids[:7] == [IDS[word] for word in ("<s>", "<turn>", "user", "nl", "what", "is", "it")]


def test_the_plain_template_can_be_had_of_a_tokenizer_with_its_own(tmp_path):
    tokenizer = TransformersTokenizer(save_chat_tokenizer(tmp_path))
    assert spelled(ChatTokenizer.of(tokenizer, 512, "plain").encode(ONE)) == (
        "<s> <unk> what is it nl <unk> nl A RED SQUARE </TURN>"
    )


def test_prompt_and_answer_are_what_the_template_gives_as_a_whole(tmp_path):
    """Piece by piece the ids are those of transformers for the whole conversation, but for the last line's end."""
    chats = chat(tmp_path)
    whole = chats.tokenizer._tokenizer.apply_chat_template(
        [{"role": turn.speaker, "content": turn.text} for turn in TWO], tokenize=True, return_dict=False
    )
    assert [*chats.encode(TWO).ids, IDS["nl"]] == whole


@pytest.mark.parametrize(("max_length", "kept"), [(9, 9), (8, 8), (6, 6)])
def test_a_long_answer_loses_its_end(max_length, kept):
    tokens = ChatTokenizer.of(WordTokenizer(4096), max_length).encode(ONE)
    assert len(tokens.ids) == len(tokens.learned) == kept
    assert tokens.is_cut == (kept < 9)
    assert tokens.learned == [False] * 5 + [True] * (kept - 5)


def test_an_exchange_of_which_no_answer_would_be_left_is_dropped_whole():
    for max_length in range(9, 15):
        tokens = ChatTokenizer.of(WordTokenizer(4096), max_length).encode(TWO)
        assert len(tokens.ids) == 9  # the second question alone teaches nothing
        assert tokens.is_cut
    assert ChatTokenizer.of(WordTokenizer(4096), 17).encode(TWO).learned[-3:] == [True] * 3


@pytest.mark.parametrize("max_length", [2, 5])
def test_a_prompt_is_never_cut(max_length):
    with pytest.raises(ValueError, match=f"prompt has 5 tokens, .* none of max_text_tokens={max_length} .*; raise it"):
        ChatTokenizer.of(WordTokenizer(4096), max_length).encode(ONE)


def test_a_template_that_changes_what_was_said_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"changes earlier turns, .* set transform.template=plain"):
        chat(tmp_path, template="{% for m in messages %}{{ loop.length }} {{ m.content }}{% endfor %}").encode(TWO)


def test_a_template_that_refuses_the_conversation_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"refuses it \(no system here\); set transform.template=plain"):
        chat(tmp_path, template="{{ raise_exception('no system here') }}").encode(ONE)


def test_a_tokenizer_without_template_and_end_is_refused(tmp_path):
    tokenizer = TransformersTokenizer(save_chat_tokenizer(tmp_path, template=None, end=None))
    with pytest.raises(ValueError, match="has no eos_token, which ends an answer"):
        ChatTokenizer.of(tokenizer).encode(ONE)


@pytest.mark.parametrize("kind", ["words", "transformers"])
def test_json_there_and_back(tmp_path, kind):
    chats = ChatTokenizer.of(WordTokenizer(99), 12) if kind == "words" else chat(tmp_path, 30)
    data = json.loads(json.dumps(chats.to_json()))
    again = ChatTokenizer.from_json(data)
    assert again.to_json() == data
    assert again.encode(ONE) == chats.encode(ONE)

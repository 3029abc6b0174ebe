"""Words as token ids, without transforms."""

from __future__ import annotations

import pytest
import torch
from tests.tiny_models import language_architecture

from tempovla.model.vla.instruction_ids import instruction_ids
from tempovla.model.vlm.language_model import LLMBackbone
from tempovla.transform.tokenizer import WordTokenizer

WORDS = WordTokenizer(60)
PUSH, OPEN = WORDS.encode("push it"), WORDS.encode("open the drawer")


@pytest.fixture
def language():
    backbone = LLMBackbone(architecture=language_architecture())
    backbone.tokenizer = WORDS
    return backbone


def test_an_instruction_for_each_row_or_one_for_all(language):
    ids = instruction_ids(["push it", "open the drawer"], 2, 5, language)
    assert ids.tolist() == [[*PUSH, -1, -1, -1], [*OPEN, -1, -1]]
    assert instruction_ids("push it", 2, 3, language).tolist() == [[*PUSH, -1]] * 2


def test_ids_are_padded_to_the_longest(language):
    given = torch.tensor([[3, 4], [5, -1]])
    assert instruction_ids(given, 2, 4, language).tolist() == [[3, 4, -1, -1], [5, -1, -1, -1]]


def test_what_does_not_fit_is_refused(language):
    with pytest.raises(ValueError, match="1 instructions do not go with 2 pictures; give one for each, or one text"):
        instruction_ids(["push it"], 2, 5, language)
    with pytest.raises(
        ValueError, match="instruction 'open the drawer' has 3 tokens, and 1 to max_instruction_tokens=2"
    ):
        instruction_ids("open the drawer", 1, 2, language)
    with pytest.raises(ValueError, match="instruction '!' has 0 tokens"):
        instruction_ids("!", 1, 2, language)
    with pytest.raises(ValueError, match=r"token ids \(2, 3\) must be \(2, up to 2\), a row for each picture"):
        instruction_ids(torch.zeros(2, 3, dtype=torch.int64), 2, 2, language)

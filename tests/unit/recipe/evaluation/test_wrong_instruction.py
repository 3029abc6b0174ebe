"""Whose words a policy is told in place of a task's own."""

from __future__ import annotations

import pytest

from tempovla.recipe.evaluation.wrong_instruction import other_tasks

WORDS = {"kitchen_1": "turn on the stove", "kitchen_2": "Turn on the stove", "drawer": "open it", "door": "close it"}


def others(*tasks: str, spare: tuple[str, ...] = ()) -> dict[str, str]:
    return other_tasks(tasks, spare, WORDS.__getitem__)


def test_every_task_is_told_the_next_ones_words_and_the_last_the_firsts():
    assert others("kitchen_1", "drawer", "door") == {"kitchen_1": "drawer", "drawer": "door", "door": "kitchen_1"}


def test_a_task_alone_is_told_the_first_spare_ones():
    assert others("door", spare=("door", "drawer", "kitchen_1")) == {"door": "drawer"}


def test_words_that_are_the_tasks_own_are_not_wrong():
    told = others("kitchen_1", "kitchen_2", "drawer")
    assert told == {"kitchen_1": "drawer", "kitchen_2": "drawer", "drawer": "kitchen_1"}
    assert others("kitchen_1", "kitchen_2", spare=("door",)) == {"kitchen_1": "door", "kitchen_2": "door"}


def test_where_all_are_worded_alike_nothing_can_be_told():
    with pytest.raises(ValueError, match="kitchen_1: no other task is worded differently"):
        others("kitchen_1", spare=("kitchen_1", "kitchen_2"))

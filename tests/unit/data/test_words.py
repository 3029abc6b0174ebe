"""Steps that are told nothing are found, named, and told something else on request."""

import pytest
from tests.foreign import WRITERS, Foreign, write_v21

from tempovla.data.errors import DatasetError
from tempovla.data.inspection import inspect
from tempovla.data.lerobot import open_dataset
from tempovla.data.open import open_source
from tempovla.data.words import check_words, episode_words, has_words, steps_without_words, words_told

GO, SILENT = "go", {1: "", 2: " \t", 3: "...", 4: None}


def partly_silent(version: str, root):
    """Four episodes; the second one falls silent at step 2, the fourth at once."""
    kinds = {1: [0, 0, 1, 2], 3: [3, 4, 0, 0]}
    foreign = Foreign(lengths=(4,) * 4, tasks={0: GO, **SILENT}, cameras=())
    foreign.task_of = lambda place, length: kinds.get(place, [0] * length)
    return WRITERS[version](root, foreign)


def test_words_are_of_any_script():
    assert all(has_words(words) for words in ("a", "7", "把红色", "é!"))
    assert not any(has_words(words) for words in ("", " ", "\n", "...", "!?", "\u2028"))


@pytest.mark.parametrize("version", WRITERS)
def test_steps_that_are_told_nothing_are_named(tmp_path, version):
    source = open_source(partly_silent(version, tmp_path / "set"))
    assert steps_without_words(source) == {1: 2, 3: 0}
    message = r"set: episode 1 has no instruction at step 2 \(''; 2 of 4 episodes have such steps\); write it into the"
    with pytest.raises(DatasetError, match=message) as error:
        check_words(source)
    assert '--data.default_instruction "..."' in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(DatasetError, match=message + '.* with --default_instruction "..."'):
        inspect(tmp_path / "set")
    assert inspect(tmp_path / "set", default_instruction="do it")["tasks"] == [GO, "do it"]


@pytest.mark.parametrize("version", WRITERS)
def test_a_default_is_told_where_nothing_else_is(tmp_path, version):
    source = open_source(partly_silent(version, tmp_path / "set"), default_instruction="do it")
    assert source.instructions(1) == (GO, GO, "do it", "do it")
    assert source.instructions(3) == ("do it", "do it", GO, GO)
    assert words_told(source) == [GO, "do it"]
    assert episode_words(source, 3) == "do it / go"
    check_words(source)


def test_a_default_is_told_where_episodes_list_no_task(tmp_path):
    foreign = Foreign(tasks_of_episode=lambda _: [], cameras=(), features={"task_index": None})
    foreign.columns = lambda usual, index, length: {key: usual[key] for key in usual if key != "task_index"}
    root = write_v21(tmp_path / "set", foreign)
    with pytest.raises(DatasetError, match="episode 0 has no instruction at step 0"):
        check_words(open_dataset(root))
    assert words_told(open_dataset(root, default_instruction="do it")) == ["do it"]

"""Episodes kept on the disk."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tempovla.recipe.evaluation.journal import EpisodeJournal
from tempovla.rollout.runner import EpisodeResult, EpisodeSpec

WHO = {"checkpoint": "abc", "simulator": {"cameras": ("front",)}}
RESULT = EpisodeResult(
    EpisodeSpec("push-v3", 7, "push it", init_state=2),
    instruction="push it",
    success=True,
    steps=2,
    total_reward=0.1 + 0.2,
    actions=np.array([[0.1, -1.0], [1 / 3, 1.0]], np.float32),
    policy_calls=1,
    policy_s=0.25,
)
OTHER = replace(RESULT, spec=replace(RESULT.spec, seed=8), actions=None)


def interrupted(path, *results):
    journal = EpisodeJournal(path, WHO)
    for result in results:
        journal.add(result)
    journal.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)


def test_episodes_come_back_to_the_bit(tmp_path):
    path = tmp_path / "results.partial.jsonl"
    interrupted(path, RESULT)
    interrupted(path, OTHER)
    with EpisodeJournal(path, WHO) as journal:
        assert list(journal.episodes) == [RESULT.spec, OTHER.spec]
        again = journal.episodes[RESULT.spec]
        np.testing.assert_array_equal(again.actions, RESULT.actions)
        assert again.actions.dtype == np.float32
        assert replace(again, actions=None) == replace(RESULT, actions=None)
        assert journal.episodes[OTHER.spec] == OTHER
    assert not path.exists()


def test_an_episode_that_a_kill_cut_off_is_dropped(tmp_path):
    path = tmp_path / "results.partial.jsonl"
    interrupted(path, RESULT, OTHER)
    path.write_text(path.read_text()[:-20])
    interrupted(path, OTHER)
    assert set(EpisodeJournal(path, WHO).episodes) == {RESULT.spec, OTHER.spec}


def test_a_journal_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "results.partial.jsonl"
    interrupted(path, RESULT)
    before = path.read_text()
    for other, difference in (
        ({"checkpoint": "def"}, r'checkpoint was "abc", and is "def" now'),
        ({"simulator": {"cameras": []}}, r'simulator\.cameras was \["front"\], and is \[\] now'),
    ):
        said = rf"keeps episodes of another checkpoint, simulator or version \({difference}\); evaluate that one to"
        with pytest.raises(ValueError, match=said):
            EpisodeJournal(path, WHO | other)
        assert path.read_text() == before


def test_a_journal_without_episodes_blocks_nobody(tmp_path):
    path = tmp_path / "results.partial.jsonl"
    for left in ('{"checkpoint": "def"}\n', '{"checkpoint": "abc", "sim', "", '{"checkpoint": "def"}\n{"spec": {"ta'):
        path.write_text(left)
        interrupted(path, RESULT)
        assert set(EpisodeJournal(path, WHO).episodes) == {RESULT.spec}


def test_a_call_that_fails_before_its_first_episode_leaves_nothing(tmp_path):
    path = tmp_path / "deep" / "results.partial.jsonl"
    interrupted(path)
    assert not path.parent.exists()
    path.parent.mkdir()
    path.write_text('{"checkpoint": "def"}\n')
    interrupted(path)
    assert not path.exists()


def test_what_is_no_journal_is_said_in_one_line(tmp_path):
    path = tmp_path / "results.partial.jsonl"
    path.write_text("episode,success\n1,0\n")
    with pytest.raises(ValueError, match=r"results.partial.jsonl: not readable as JSON .*; remove the file"):
        EpisodeJournal(path, WHO)
    interrupted(tmp_path / "good.jsonl", RESULT)
    path.write_text((tmp_path / "good.jsonl").read_text() + '{"task": "push-v3"}\n')
    with pytest.raises(ValueError, match=r"line 3: not readable \(KeyError: 'spec'\); remove the file"):
        EpisodeJournal(path, WHO)


def test_a_journal_that_is_a_link_to_elsewhere_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    interrupted(tmp_path / "victim", RESULT)
    before = (tmp_path / "victim").read_text()
    path = tmp_path / "out" / "results.partial.jsonl"
    path.symlink_to("../victim")
    with pytest.raises(
        ValueError, match=r"results\.partial\.jsonl: a link that leads out of .*/out, to .*/victim; copy"
    ):
        EpisodeJournal(path, WHO)
    assert (tmp_path / "victim").read_text() == before

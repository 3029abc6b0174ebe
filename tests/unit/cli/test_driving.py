"""`tempovla collect driving`: scenes in all or of each task, and settings of its own."""

import pytest

COLLECT = ("collect", "driving")


def test_either_scenes_or_episodes_say_how_many(tempovla) -> None:
    for given in ((), ("--scenes", "2", "--episodes", "3")):
        answer = tempovla(*COLLECT, *given, "--out", "data")
        assert answer.code == 2
        assert "--episodes and --scenes both say how many; give one of them" in answer.err


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--scenes", "0", "--scenes 0 must be at least 1"),
        ("--parked", "2", "must be a share from 0 to 1"),
        ("--without", '["sonar"]', "no sensor 'sonar'"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(tempovla, option: str, value: str, words: str) -> None:
    given = [] if option == "--scenes" else ["--scenes", "1"]
    answer = tempovla(*COLLECT, *given, option, value, "--out", "data")
    assert answer.code == 2
    assert words in answer.err
    assert len(answer.err.strip().splitlines()) == 1

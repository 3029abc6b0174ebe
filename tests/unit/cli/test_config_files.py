"""Which config a complaint is about."""

from __future__ import annotations

import pytest

from tempovla.cli.config_files import config_files, config_to_blame


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a.yaml", "b c.yaml"):
        (tmp_path / name).touch()
    return tmp_path


GIVEN = ["--config", "a.yaml", "--x", "1", "--config=b c.yaml", "--config", "missing.yaml", "--help"]


def blamed(wrong: set[str]) -> str | None:
    """What is blamed for a complaint that each of these arguments gives alone."""
    looked_at = []

    def complaint_of(arguments):
        looked_at.append(arguments)
        return "wrong" if wrong & set(arguments) else None

    config = config_to_blame(GIVEN, "wrong", complaint_of)
    assert all("--help" not in arguments for arguments in looked_at)
    return None if config is None else config.name


def test_configs_that_are_there_are_found_in_order(folder):
    assert [path.name for path in config_files(GIVEN)] == ["a.yaml", "b c.yaml"]
    assert config_files(["--config"]) == []


def test_the_first_that_is_wrong_is_blamed_and_none_for_the_command_line(folder):
    assert blamed({"a.yaml"}) == "a.yaml"
    assert blamed({"--config=b c.yaml"}) == "b c.yaml"
    assert blamed({"a.yaml", "--config=b c.yaml"}) == "a.yaml"
    assert blamed({"--x"}) is None

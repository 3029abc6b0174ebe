"""Configs go by their names, and a complaint is about one of them."""

from __future__ import annotations

import pytest

from tempovla.recipe.settings.config_files import PACKAGED, config_files, config_to_blame, with_packaged_configs


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


@pytest.mark.parametrize(
    "form", [["--config", "vla_metaworld"], ["--config=vla_metaworld"], ["--config=vla_metaworld.yaml"]]
)
def test_a_packaged_config_goes_by_its_name(folder, form):
    assert config_files(with_packaged_configs([*form, "--x", "1"])) == [PACKAGED / "vla_metaworld.yaml"]


def test_a_file_goes_before_a_packaged_config_of_its_name(folder):
    (folder / "vla_metaworld").touch()
    assert with_packaged_configs(["--config", "vla_metaworld"]) == ["--config", "vla_metaworld"]


def test_other_paths_and_a_missing_value_are_left_to_the_parser(folder):
    for arguments in (GIVEN, ["--config"], ["--config", "--help"], ["--config", "absent/mine.yaml"], ["--config="]):
        assert with_packaged_configs(arguments) == arguments


def test_an_unknown_name_is_refused_with_near_ones_or_all(folder):
    with pytest.raises(
        ValueError, match=r"--config vla_metawrld: neither a file nor .*; did you mean vla_metaworld or"
    ):
        with_packaged_configs(["--config", "vla_metawrld"])
    with pytest.raises(ValueError, match=r"there are driving_city, .*, world_model_recording$"):
        with_packaged_configs(["--config", "zzz"])


def test_a_path_that_only_a_checkout_has_is_refused_with_the_name(folder):
    with pytest.raises(ValueError, match=r"no such file; --config vla_metaworld is the one that comes with TempoVLA"):
        with_packaged_configs(["--config", "configs/vla_metaworld.yaml"])


def test_a_command_takes_a_packaged_config(tempovla, folder):
    answer = tempovla("train", "vla", "--config", "vla_metaworld", "--print_config")
    assert answer.code == 0
    assert "action_head: flow_matching" in answer.out

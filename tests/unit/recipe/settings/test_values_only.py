"""A config is data: nothing that it names is imported or read."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from tempovla.recipe.settings.values_only import MOST_VALUES, load_yaml

REMEDY = "a config names no classes and no files of other values, and modules of your own come in with --plugin MODULE"


@pytest.fixture
def canary(tmp_path, monkeypatch) -> Path:
    """A file that `evil_config` makes as it is imported."""
    home, ran = tmp_path / "modules", tmp_path / "ran"
    home.mkdir()
    (home / "evil_config.py").write_text(f"open({str(ran)!r}, 'w')\n\nclass Thing:\n    pass\n")
    monkeypatch.syspath_prepend(home)
    yield ran
    sys.modules.pop("evil_config", None)


SPECS = ["evil_config.Thing", '{"class_path": "evil_config.Thing"}', "{class_path: evil_config.Thing, init_args: {}}"]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("key", ["model", "data", "training", "model.vlm", "model.context"])
def test_a_class_that_a_value_names_is_not_imported(fails, canary, key, spec):
    said = fails("train", "vla", f"--{key}", spec)
    assert "evil_config.Thing" in said
    if key != "model.context":
        assert said.startswith(f"\"{key}\": is 'evil_config.Thing', but holds values of its own, such as --{key}.KEY")
        assert REMEDY in said
    assert not canary.exists()


@pytest.mark.parametrize("spec", SPECS)
def test_nor_one_that_a_file_names(fails, canary, tmp_path, spec):
    config = tmp_path / "config.yaml"
    config.write_text(f"model: {spec}\n")
    said = fails("train", "vla", "--config", config)
    assert said.startswith(f"{config}: ")
    assert "'evil_config.Thing'" in said
    assert REMEDY in said
    assert not canary.exists()


def test_a_file_that_a_config_names_is_not_read(fails, tmp_path):
    secret, config = tmp_path / "secret.yaml", tmp_path / "config.yaml"
    secret.write_text("canary_content: 1\n")
    config.write_text(f"model: {secret}\n")
    said = fails("train", "vla", "--config", config)
    assert "canary_content" not in said
    assert f"\"model\": is '{secret}'"[:60] in said


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: !!python/object/apply:os.system [true]\n", "could not determine a constructor for the tag"),
        ("model: !!python/name:evil_config.Thing\n", "could not determine a constructor for the tag"),
        ("model: &m [*m]\n", "an alias stands for what it is part of; write the values out"),
        (
            "a: &a [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]\n"
            + "".join(
                f"{y}: &{y} [{', '.join([f'*{x}'] * 10)}]\n" for x, y in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            f"its aliases stand for more than {MOST_VALUES} values; write the values out",
        ),
        (
            "model: " + "[" * 5000 + "]" * 5000 + "\n",
            "it is nested deeper than 50 levels, as no config is; write it flat",
        ),
    ],
)
def test_yaml_that_would_build_or_multiply_objects_is_refused(fails, canary, tmp_path, text, message):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    said = fails("train", "vla", "--config", config)
    assert said.startswith(f"{config}: ")
    assert message in said
    assert not canary.exists()


def test_plain_aliases_are_read():
    assert load_yaml("a: &a [1, 2]\nb: *a\n") == {"a": [1, 2], "b": [1, 2]}
    with pytest.raises(yaml.YAMLError):
        load_yaml("a: &a {b: *a}\n")

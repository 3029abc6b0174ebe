"""Config files that hold something else than settings are refused in one line, and nothing in them is passed over."""

from __future__ import annotations

import pytest


@pytest.fixture
def told(tmp_path, monkeypatch, fails):
    """Train from a config with this text; the complaint."""
    monkeypatch.chdir(tmp_path)

    def complain(text: str) -> str:
        (tmp_path / "mine.yaml").write_text(text)
        return fails("train", "vla", "--config", "mine.yaml", "--out", "run")

    return complain


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "mine.yaml: is empty, where a config holds keys and values, such as `training: {batch_size: 8}`"),
        ("- 1", "mine.yaml: holds [1], where a config holds keys and values"),
        ("hello", "mine.yaml: holds 'hello', where a config holds keys and values"),
        ("config: other.yaml", "mine.yaml: has a key 'config', but reads no other config; give --config once for each"),
        ("config: {a: 1}", "mine.yaml: has a key 'config'"),
        ("system: [vla]", "mine.yaml: system is ['vla']; give the name of one system, such as vla"),
        ("model: 3", "mine.yaml: model is 3; give it keys and values, or leave it out"),
        ("model:\ntraining: {batch_size: 2}", "mine.yaml: model is nothing; give it keys and values, or leave it out"),
        ("model: []", "mine.yaml: model is []; give it keys and values"),
        ("model: {vlm: {vision: 3}}", "mine.yaml: model.vlm.vision is 3; give it keys and values, or leave it out"),
        ("data: []", "mine.yaml: data is []; give it keys and values"),
        ("model: {vlm: siglip}", "mine.yaml: \"model.vlm\": is 'siglip', but holds values of its own"),
        (
            "model: {context: {memory: {kind: [working]}}}",
            "memory.kind=['working'] is unknown; did you mean",
        ),
        (
            "training: {batch_size: 1}\nmodel: {}\ntraining: {seed: 2}",
            "mine.yaml: Problems parsing config: 'training' is there twice, in lines 1 and 3; write it once",
        ),
        ("training:\n  seed: 1\n  seed: 2", "'seed' is there twice, in lines 2 and 3; write it once"),
        (
            f"training: {{save_interval: {2**63}}}",
            "mine.yaml: training.save_interval=9223372036854775808 is too",
        ),
        ("training: {train_steps: true}", '"training.train_steps": expected int or null, got value: True'),
        ("training: {train_steps: 1.5}", '"training.train_steps": expected int or null, got value: 1.5'),
        ("training: {batch_size: [1]}", '"training.batch_size": expected int, got value: [1]'),
        (
            "model: {vlm: {vision: {model_name: null}}}",
            "mine.yaml: model.vlm.vision.model_name is None; it must be text",
        ),
        ("model: {cameras: front}", '"model.cameras": expected a list, got value: front; write [front]'),
        ("model: {action_head_options: 3}", '"model.action_head_options": expected keys and values, got value: 3'),
        ("training: {parameter_groups: {vlm: 3}}", "an entry of it is not keys and values, but 3; see"),
    ],
)
def test_what_is_no_setting_is_named(told, text, message):
    line = told(text)
    assert message in line
    assert "class_path" not in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{flare_weight: null}", "model.flare_weight is None; it must be a number"),
        ("{horizons: null}", "model.horizons is None; it must be a list"),
        ("{temporal_delta_k: null}", "model.temporal_delta_k is None; it must be a whole number"),
        ("{action_head: {dropout: null}}", "model.action_head.dropout is None; it must be a number"),
    ],
)
def test_null_is_refused_by_the_key_that_cannot_be_null(tmp_path, fails, text, message):
    (tmp_path / "mine.yaml").write_text(f"model: {text}")
    assert fails("train", "sagr", "--config", tmp_path / "mine.yaml") == f"{tmp_path / 'mine.yaml'}: {message}"


def test_null_stays_where_a_key_may_be_null(tempovla, tmp_path):
    (tmp_path / "mine.yaml").write_text("model: {flare_layer: null, geometry: null}\ntraining: {train_steps: null}")
    answer = tempovla("train", "sagr", "--config", tmp_path / "mine.yaml", "--print_config")
    assert answer.code == 0, answer.err


def test_keys_that_several_mappings_have_and_merged_ones_are_no_repetition(tempovla, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        "training: &shared\n  batch_size: 3\n  seed: 1\n"
        "data:\n  train_split: 1.0\n  mixture: [{data_directory: a}, {data_directory: b}]\n"
    )
    with (tmp_path / "mine.yaml").open("a") as file:
        file.write("model: {context: null, lora: null}\n")
    answer = tempovla("train", "vla", "--config", tmp_path / "mine.yaml", "--print_config")
    assert answer.code == 0, answer.err
    assert "batch_size: 3" in answer.out


def test_settings_that_exclude_each_other_are_said_by_their_file(tmp_path, monkeypatch, fails):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("data: {encoding_cache: kept}")
    line = fails("train", "statevla", "--config", "mine.yaml", "--phase", "2", "--out", "run")
    assert "mine.yaml: data.encoding_cache=kept keeps what is encoded once" in line
